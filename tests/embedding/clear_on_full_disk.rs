//! A clear on a full disk: the rows are gone, and give their space back before a write needs any. A
//! file size limit, which is the whole process's, stands in for the disk.

use damo::embedding::Embedding;
use damo::error::Status;
use damo::storage::Storage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::common::{failure, initializer, is_alone, open, optimizer, params, peek};

const DIM: usize = 256;

fn embed(storage: &Storage) -> Embedding {
    let (sgd, normal) = (optimizer("sgd", &[]), initializer("random_normal", &[]));
    Embedding::new(storage.clone(), sgd, normal, DIM, 4, &params(&[])).unwrap()
}

#[test]
fn space_comes_back_where_there_is_no_room() {
    if !is_alone(space_comes_back_where_there_is_no_room) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = embed(&storage);
    let keys: Vec<i64> = (0..20_000).collect();
    embedding.lookup(&keys, &mut vec![0.0; keys.len() * DIM]).unwrap();
    storage.compact().unwrap();
    let bytes = || storage.stat("bytes_on_disk").unwrap();
    assert!(bytes() > 20 << 20, "{}", bytes());

    let usual = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), ..usual }).unwrap();
    embedding.clear().unwrap();
    // Every round after a clear checks for room first, and reports that there is none before
    // RocksDB has to stop.
    for _ in 0..2 {
        let error = failure(storage.flush(), Status::Io);
        assert!(error.message().contains("no room"), "{error}");
        assert!(bytes() < 4 << 20, "{}", bytes());
        assert_eq!(peek(&embedding, &[0, 19_999]).1, [0, 0]);
        embedding.apply_gradients(&[5], &[1.0; DIM]).unwrap();
    }
    setrlimit(Resource::Fsize, usual).unwrap();

    storage.flush().unwrap();
    assert_eq!((storage.row_count(None).unwrap(), embedding.step().unwrap()), (1, 2));
    drop((embedding, storage));
    let storage = open(dir.path());
    let record = embed(&storage).record(5).unwrap();
    assert_eq!((storage.row_count(None).unwrap(), record.update_num), (1, 2));
}
