//! The registry remembers groups; their layout cannot change, everything else may.

use damo::embedding::Embedding;
use damo::error::{Result, Status};
use damo::params::{Params, Value};
use damo::scheduler::Scheduler;
use damo::storage::Storage;

use crate::common::{failure, float, initializer, int, open, optimizer, params, text};

fn group(storage: &Storage, name: &str, dim: usize, group: u32) -> Result<Embedding> {
    let zeros = initializer("zeros", &[]);
    Embedding::new(storage.clone(), optimizer(name, &[]), zeros, dim, group, &Params::new())
}

#[test]
fn another_dim_or_optimizer_is_refused_now_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    for opening in 0..2 {
        let storage = open(dir.path());
        let embedding = group(&storage, "adam", 8, 7).unwrap();
        embedding.apply_gradients(&[1], &[1.0; 8]).unwrap();
        let before = embedding.record(1).unwrap();

        let error = failure(group(&storage, "adam", 16, 7), Status::AlreadyExists);
        assert!(
            error.message().contains("group 7 has dim 8 and was asked for with dim 16"),
            "{error}"
        );
        let error = failure(group(&storage, "amsgrad", 8, 7), Status::AlreadyExists);
        assert!(error.message().contains("group 7 has optimizer adam"), "{error}");
        assert!(error.message().contains("asked for with optimizer amsgrad"), "{error}");

        assert_eq!(embedding.record(1).unwrap(), before);
        assert_eq!(before.update_num, opening + 1);
        assert_eq!(storage.stat("groups").unwrap(), 1);
    }
    // Nothing is registered before it is used, and another group may be different.
    let storage = open(dir.path());
    group(&storage, "sgd", 3, 8).unwrap();
    assert_eq!(storage.stat("groups").unwrap(), 2);
}

#[test]
fn hyper_parameters_may_change_and_the_last_ones_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = open(dir.path());
        group(&storage, "adam", 2, 1).unwrap();
        let decay = Scheduler::new("cosine_decay", &params(&[("decay_steps", int(10))])).unwrap();
        let bag = params(&[("gamma", float(0.5)), ("beta1", int(0))]);
        let adam = damo::optimizer::Optimizer::new("adam", &bag, Some(decay.into())).unwrap();
        let normal = initializer("normal", &[("seed", int(-3))]);
        Embedding::new(storage, adam.into(), normal, 2, 1, &Params::new()).unwrap();
    }
    let storage = open(dir.path());
    let groups = storage.groups();
    assert_eq!(groups.iter().map(|group| group.id()).collect::<Vec<_>>(), [1]);
    let config = groups[0].config();
    assert_eq!((config.dim, config.optimizer.name.as_str()), (2, "adam"));
    assert_eq!(config.optimizer.params.get("gamma"), Some(&Value::Float(0.5)));
    assert_eq!(config.optimizer.params.get("beta1"), Some(&Value::Int(0)));
    let scheduler = config.scheduler.unwrap();
    assert_eq!(
        (scheduler.name.as_str(), scheduler.params.to_json()),
        ("cosine_decay", r#"{"decay_steps":10}"#.into())
    );
    // The canonical name, not the alias that was given.
    assert_eq!(
        (config.initializer.name.as_str(), config.initializer.params.to_json()),
        ("random_normal", r#"{"seed":-3}"#.into())
    );
}

#[test]
fn dims_groups_and_options_out_of_range_are_refused_and_not_registered() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    for (dim, id, words) in [
        (0, 0, "dim is 0"),
        (usize::MAX, 0, "dim is 18446744073709551615"),
        (damo::limits::MAX_DIM + 1, 0, "a number from 1 to 262144"),
        (4, 65536, "group is 65536; a number from 0 to 65535"),
        (4, u32::MAX, "group is 4294967295"),
    ] {
        let error = failure(group(&storage, "sgd", dim, id), Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    for (key, value, words) in [
        ("duplicates", text("max"), "one of 'sequential', 'sum', 'mean'"),
        ("padding_key", float(0.5), "an int"),
        ("padding", int(0), "valid names are 'duplicates', 'padding_key', 'name'"),
    ] {
        let (sgd, zeros) = (optimizer("sgd", &[]), initializer("zeros", &[]));
        let made = Embedding::new(storage.clone(), sgd, zeros, 4, 0, &params(&[(key, value)]));
        let error = failure(made, Status::InvalidArgument);
        assert!(error.message().contains(words), "{error}");
    }
    assert_eq!(storage.stat("groups").unwrap(), 0);
    group(&storage, "sgd", damo::limits::MAX_DIM, 65535).unwrap();
}

#[test]
fn two_embeddings_of_one_group_share_rows_and_step() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let (one, two) = (group(&storage, "sgd", 1, 0).unwrap(), group(&storage, "sgd", 1, 0).unwrap());
    one.apply_gradients(&[1], &[1.0]).unwrap();
    two.apply_gradients(&[1], &[1.0]).unwrap();
    assert_eq!((one.step().unwrap(), one.record(1).unwrap().update_num), (2, 2));
    // A storage lives until its last embedding is gone.
    drop((storage, one));
    assert_eq!(two.record(1).unwrap().update_num, 2);
    failure(Storage::open(dir.path(), 0, &Params::new()), Status::Busy);
    drop(two);
    open(dir.path());
}
