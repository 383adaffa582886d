//! Bytes as a journal of one or two files, as they are and with corrected checksums: reading ends
//! with the calls or an error, and takes no more memory than the files have bytes.
#![no_main]

use std::fs;

use damo_fuzz::{checksums, fresh_folder};

/// Between the two files of a journal.
const SEPARATOR: &[u8] = b"=next=file=";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    read(bytes, false);
    read(bytes, true);
});

fn read(bytes: &[u8], with_right_checksums: bool) {
    let folder = fresh_folder();
    let second = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
    let (first, second) = match second {
        Some(at) => (&bytes[..at], Some(&bytes[at + SEPARATOR.len()..])),
        None => (bytes, None),
    };
    for file in [Some(first), second].into_iter().flatten() {
        let mut file = file.to_vec();
        if with_right_checksums {
            checksums::journal(&mut file);
        }
        // Files are named after their first call's sequence number, which is in the header, too.
        let number =
            file.get(16..24).map_or(1, |number| u64::from_le_bytes(number.try_into().unwrap()));
        fs::write(folder.path().join(format!("{number:020}.journal")), file).unwrap();
    }
    damo::fuzzing::read_journal(folder.path());
}
