//! Bytes as a checkpoint's list of files and as its list of filters: each is refused, or right
//! about the files that exist.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use damo::embedding::Embedding;
use damo::filter::Filter;
use damo::params::Value;
use damo::storage::Storage;
use damo_fuzz::scratch;
use damo_fuzz::storage::{START_MS, embedding, open, optimizer, params, text};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (checkpoint, storage, _) = prepared();
    fs::write(checkpoint.join("checkpoint.json"), bytes).unwrap();
    damo::fuzzing::checkpoint_list(checkpoint);
    fs::write(checkpoint.join("filters/filters.json"), bytes).unwrap();
    damo::fuzzing::filter_list(storage, checkpoint);
});

/// A folder with the files that the lists of the corpus name, and a storage whose group 7 has the
/// filter of the copy in it.
fn prepared() -> &'static (PathBuf, Storage, Embedding) {
    static PREPARED: OnceLock<(PathBuf, Storage, Embedding)> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let folder = scratch().join("checkpoint");
        fs::create_dir_all(folder.join("journal")).unwrap();
        fs::create_dir_all(folder.join("filters")).unwrap();
        for (name, bytes) in
            [("CURRENT", 16), ("000009.sst", 100), ("journal/00000000000000000001.journal", 24)]
        {
            fs::write(folder.join(name), vec![0; bytes]).unwrap();
        }
        let path = scratch().join("live.filter");
        let options = [("path", text(path.to_str().unwrap())), ("capacity", Value::Int(10))];
        let filter = Arc::new(Filter::open(&params(&options)).unwrap());
        filter.save_copy(&folder.join("filters/0.filter")).unwrap();
        let storage = open(&scratch().join("storage"), "checkpoint", 0, 1 << 20, START_MS);
        let embedding = embedding(&storage, optimizer("sgd"), 2, 7, &[]);
        embedding.set_filter(Some(filter)).unwrap();
        (folder, storage, embedding)
    })
}
