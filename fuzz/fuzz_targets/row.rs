//! Bytes as a stored row and as stored keys: whatever reads, is written again the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| damo::fuzzing::row(bytes));
