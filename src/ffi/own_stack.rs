//! A thread with a large stack, for the few calls that need one.
//!
//! RocksDB takes 60 KiB of stack to open a database. musl's threads of default size do not have
//! that, nor do those that a host makes small on purpose.

use std::panic::resume_unwind;
use std::thread;

use crate::file_size_limit;
use crate::threads;

/// The size of that stack. Only the part that is touched takes memory.
const SIZE: usize = 1 << 20;

/// Runs `body` on a thread of its own and waits for it. If no thread can be made, runs it on the
/// caller's.
pub(super) fn run<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    // The threads of the database that `body` opens inherit the signals that are blocked here.
    let _writes_that_return = file_size_limit::block();
    let mut body = Some(body);
    let slot = &mut body;
    let done = thread::scope(|scope| {
        let builder = thread::Builder::new().name("damo-open".to_owned()).stack_size(SIZE);
        let started = builder.spawn_scoped(scope, move || {
            threads::mark_own();
            slot.take().map(|body| body())
        });
        // A panic resumes on the caller's thread, where the guard catches it.
        started.ok().and_then(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    match (done, body) {
        (Some(done), _) => done,
        (None, Some(body)) => body(),
        (None, None) => unreachable!("a body that was taken gives a value or a panic"),
    }
}
