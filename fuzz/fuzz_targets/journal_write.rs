//! Bytes as calls that are written to a journal: they read back as they were made, and a file that
//! is cut off at any byte has the calls before it.
#![no_main]

use damo_fuzz::fresh_folder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    damo::fuzzing::write_journal(&fresh_folder().path().join("journal"), bytes);
});
