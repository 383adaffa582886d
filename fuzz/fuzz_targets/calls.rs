//! Bytes as a program of calls on a small storage, compared with a plain model after each of them:
//! training, lookups, flushes, checkpoints and loading, dumps and increments, passing time, closing
//! and reopening.
#![no_main]

use damo_fuzz::bytes::Bytes;
use damo_fuzz::session::Session;

/// Calls of a program, at most.
const CALLS: usize = 40;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes::new(bytes);
    let mut session = Session::new(&mut bytes);
    for _ in 0..CALLS {
        if bytes.is_empty() {
            break;
        }
        call(&mut session, &mut bytes);
    }
    session.compare_all();
    session.reopen();
    session.compare_all();
});

fn call(session: &mut Session, bytes: &mut Bytes) {
    match bytes.below(22) {
        0 | 1 => session.lookup(bytes),
        2 => session.peek(bytes),
        3..=6 => session.apply(bytes),
        7 => session.insert(bytes),
        8 => session.delete(bytes),
        9 => session.set_step(bytes),
        10 => session.flush(),
        11 => session.compact(),
        12 => session.reopen(),
        13 => session.checkpoint(bytes),
        14 => session.load(bytes),
        15 => session.dump_table(),
        16 => session.dump_increment(),
        17 => session.dump_classic(),
        18 => session.pass_time(bytes),
        19 => session.insert_records(bytes),
        20 => session.clear(bytes),
        _ => session.compare_all(),
    }
}
