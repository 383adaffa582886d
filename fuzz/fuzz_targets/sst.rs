//! Bytes as an SST file, as they are and with corrected checksums: it is refused, or each way to
//! read it finds the same rows.
#![no_main]

use damo_fuzz::{file, sst};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    damo::fuzzing::sst(&file("000009.sst", bytes));
    let mut right = bytes.to_vec();
    sst::correct_checksums(&mut right);
    damo::fuzzing::sst(&file("000009.sst", &right));
});
