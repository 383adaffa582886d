//! The last error of each thread.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

use super::kept_failures;
use crate::error::{Error, Status, damo_status};
use crate::locks::UntracedMutex;

type Slot = Option<(Status, CString)>;

thread_local! {
    /// None until something fails on this thread.
    static LAST: RefCell<Slot> = const { RefCell::new(None) };
}

/// The slot of threads whose own is gone: those that are ending, and the main thread in exit
/// handlers. They share it.
static LAST_OF_ENDING_THREADS: UntracedMutex<Slot> = UntracedMutex::new(None);

/// The largest message, in bytes: the process keeps thousands of them (kept_failures.rs).
const MAX_MESSAGE: usize = 8 << 10;

/// The text, without its middle if it is too long.
fn shortened(text: String) -> String {
    if text.len() <= MAX_MESSAGE {
        return text;
    }
    const KEPT: usize = MAX_MESSAGE / 2 - 32;
    let (head, tail) = (text.floor_char_boundary(KEPT), text.ceil_char_boundary(text.len() - KEPT));
    format!("{} [{} bytes left out] {}", &text[..head], tail - head, &text[tail..])
}

/// Keeps a failure of `function` as the thread's last error. A success leaves the slot alone.
pub(super) fn set(function: &str, error: Error) -> Status {
    // Callers' strings cannot hold NUL, but RocksDB's messages may quote stored bytes.
    let text = format!("{function}: {}", error.message()).replace('\0', "\u{fffd}");
    let message = CString::new(shortened(text)).unwrap_or_default();
    let number = kept_failures::keep(error.status(), &message);
    with_slot(|slot| *slot = Some((error.status(), message)));
    let status = error.status();
    // Freeing memory may set errno.
    drop(error);
    kept_failures::leave(number);
    status
}

fn with_slot<T>(access: impl FnOnce(&mut Slot) -> T) -> T {
    if LAST.try_with(|_| ()).is_ok() {
        LAST.with(|slot| access(&mut slot.borrow_mut()))
    } else {
        access(&mut LAST_OF_ENDING_THREADS.lock())
    }
}

/// Returns the status of the last call that failed on this thread, or OK if none has failed.
///
/// Read it right after a call has returned NULL or a status other than OK. Calls that succeed do
/// not change it, and neither does any _free function.
#[unsafe(no_mangle)]
pub extern "C" fn damo_last_error_code() -> damo_status {
    with_slot(|slot| slot.as_ref().map_or(Status::Ok, |(status, _)| *status))
}

/// Returns the message of the last call that failed on this thread, or "" if none has failed.
///
/// The message is UTF-8. It names the function, the argument, its value and what would be accepted.
/// A message of more than 8 KiB lacks its middle, and says so.
///
/// Never NULL; do not free it. It stays valid until the next call that fails on this thread, or
/// until the thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn damo_last_error_message() -> *const c_char {
    with_slot(|slot| match slot {
        Some((status, message)) if *status != Status::Ok => message.as_ptr(),
        _ => c"".as_ptr(),
    })
}

/// Forgets the last failure of this thread: the code becomes OK and the message "".
///
/// This is for wrappers that do not know which functions can fail, such as generated ones. They
/// call it before a function, and damo_last_error_code after it.
#[unsafe(no_mangle)]
pub extern "C" fn damo_last_error_clear() {
    // The message stays: a pointer to it is valid until the next failure.
    with_slot(|slot| slot.iter_mut().for_each(|(status, _)| *status = Status::Ok));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_keep_both_ends() {
        let short = "x".repeat(MAX_MESSAGE);
        assert_eq!(shortened(short.clone()), short);
        // Characters of two bytes, at both parities.
        for head in ["head", "heads"] {
            let text = format!("{head}{}, tail", "\u{e9}".repeat(50_000));
            let message = shortened(text.clone());
            assert!(
                message.len() <= MAX_MESSAGE && message.len() > MAX_MESSAGE - 64,
                "{}",
                message.len()
            );
            let (start, rest) = message.split_once(" [").unwrap();
            let (left_out, end) = rest.split_once(" bytes left out] ").unwrap();
            assert!(text.starts_with(start) && text.ends_with(end), "{message}");
            assert_eq!(start.len() + left_out.parse::<usize>().unwrap() + end.len(), text.len());
        }
    }
}
