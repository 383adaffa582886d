//! Names of groups, and the checkpoint id: stored, carried by checkpoints, never another's.

use std::path::Path;

use damo::embedding::{Embedding, GROUP_BY_NAME};
use damo::error::{Result, Status};
use damo::params::{Params, Value};
use damo::storage::Storage;

use crate::common::{failure, initializer, int, lookup, open, optimizer, params, text};

fn try_group(storage: &Storage, group: u32, name: Option<&str>, dim: usize) -> Result<Embedding> {
    let options = name.map_or_else(Params::new, |name| params(&[("name", text(name))]));
    Embedding::new(
        storage.clone(),
        optimizer("sgd", &[]),
        initializer("zeros", &[]),
        dim,
        group,
        &options,
    )
}

fn group(storage: &Storage, group: u32, name: Option<&str>) -> Embedding {
    try_group(storage, group, name, 2).unwrap()
}

fn names(storage: &Storage) -> Vec<(u16, Option<String>)> {
    storage.groups().iter().map(|group| (group.id(), group.name())).collect()
}

fn named(list: &[(u16, &str)]) -> Vec<(u16, Option<String>)> {
    list.iter()
        .map(|(id, name)| (*id, Some(*name).filter(|name| !name.is_empty()).map(str::to_owned)))
        .collect()
}

fn describe(storage: &Storage) -> serde_json::Value {
    serde_json::from_str(&storage.describe().unwrap()).unwrap()
}

#[test]
fn a_name_gets_the_lowest_free_group_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = open(dir.path());
        for number in [0, 1, 3] {
            group(&storage, number, None);
        }
        assert_eq!(group(&storage, GROUP_BY_NAME, Some("user")).group().id(), 2);
        assert_eq!(group(&storage, GROUP_BY_NAME, Some("товар 商品")).group().id(), 4);
        assert_eq!(group(&storage, GROUP_BY_NAME, Some("user")).group().id(), 2);
        // A group without a name, opened by its number and a name, gets the name.
        assert_eq!(group(&storage, 9, Some("ad")).group().id(), 9);
        assert_eq!(group(&storage, 1, Some("query")).group().id(), 1);
        group(&storage, 1, Some("query"));
        group(&storage, 1, None);
    }
    let storage = open(dir.path());
    let all = named(&[(0, ""), (1, "query"), (2, "user"), (3, ""), (4, "товар 商品"), (9, "ad")]);
    assert_eq!(names(&storage), all);
    assert_eq!(group(&storage, GROUP_BY_NAME, Some("ad")).group().id(), 9);
    assert_eq!(storage.group_named("user").unwrap().id(), 2);
    let error = failure(storage.group_named("users"), Status::NotFound);
    assert!(
        error.message().contains("'users'") && error.message().contains("'query', 'user'"),
        "{error}"
    );
}

#[test]
fn names_that_cannot_be_are_refused_and_nothing_is_registered() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    group(&storage, 0, Some("user"));
    group(&storage, 1, None);
    let long = "x".repeat(256);
    for (number, name, status, words) in [
        (
            0,
            Some("item"),
            Status::AlreadyExists,
            "group 0 is called 'user' and was asked for as 'item'",
        ),
        (1, Some("user"), Status::AlreadyExists, "'user' is group 0 and was asked for as group 1"),
        (7, Some("user"), Status::AlreadyExists, "'user' is group 0"),
        (GROUP_BY_NAME, None, Status::InvalidArgument, "the option name"),
        (GROUP_BY_NAME - 1, Some("item"), Status::InvalidArgument, "group is 4294967293"),
        (u32::MAX, Some("item"), Status::InvalidArgument, "group is 4294967295"),
        (GROUP_BY_NAME, Some(""), Status::InvalidArgument, "1 to 255 bytes"),
        (GROUP_BY_NAME, Some("a\nb"), Status::InvalidArgument, "control characters"),
        (GROUP_BY_NAME, Some(&*long), Status::InvalidArgument, "1 to 255 bytes"),
    ] {
        let error = failure(try_group(&storage, number, name, 2), status);
        assert!(error.message().contains(words), "{error}");
    }
    let number = Embedding::new(
        storage.clone(),
        optimizer("sgd", &[]),
        initializer("zeros", &[]),
        2,
        GROUP_BY_NAME,
        &params(&[("name", int(3))]),
    );
    failure(number, Status::InvalidArgument);
    // The group is found by its name, and keeps name and dim when another dim is refused.
    let error = failure(try_group(&storage, GROUP_BY_NAME, Some("user"), 3), Status::AlreadyExists);
    assert!(error.message().contains("group 0 has dim 2"), "{error}");
    // A group that is refused for its dim gets no name.
    failure(try_group(&storage, 1, Some("item"), 3), Status::AlreadyExists);
    assert_eq!(names(&storage), named(&[(0, "user"), (1, "")]));
    drop(storage);
    assert_eq!(names(&open(dir.path())), named(&[(0, "user"), (1, "")]));
}

#[test]
fn threads_that_ask_for_one_new_name_get_one_group() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let numbers: Vec<u16> = std::thread::scope(|scope| {
        let ask = |index: usize| {
            let storage = &storage;
            scope.spawn(move || {
                group(storage, GROUP_BY_NAME, Some(["user", "item"][index % 2])).group().id()
            })
        };
        let threads: Vec<_> = (0..8).map(ask).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(
        (0..8).all(|index| numbers[index] == numbers[index % 2]) && numbers[0] != numbers[1],
        "{numbers:?}"
    );
    assert_eq!(storage.groups().len(), 2);
}

#[test]
fn all_groups_taken_is_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let storage =
        Storage::open(dir.path(), 0, &params(&[("durability", text("checkpoint"))])).unwrap();
    let (sgd, zeros) = (optimizer("sgd", &[]), initializer("zeros", &[]));
    for number in 0..=65535 {
        Embedding::new(storage.clone(), sgd.clone(), zeros.clone(), 1, number, &Params::new())
            .unwrap();
    }
    let error =
        failure(try_group(&storage, GROUP_BY_NAME, Some("one more"), 1), Status::AlreadyExists);
    assert!(error.message().contains("all 65536 groups are taken"), "{error}");
    assert_eq!(try_group(&storage, 500, Some("one more"), 1).unwrap().group().id(), 500);
}

#[test]
fn checkpoints_carry_names_and_are_known_by_digits_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open(&path("a"));
    let users = group(&storage, GROUP_BY_NAME, Some("user"));
    users.insert(&[1], &[1.0, 2.0]).unwrap();
    assert_eq!(
        (storage.checkpoint_id().unwrap(), &describe(&storage)["checkpoint"]),
        (None, &serde_json::Value::Null)
    );
    let checkpoint = |name: &str| {
        storage.checkpoint(path(name)).unwrap();
        storage.checkpoint_id().unwrap().unwrap()
    };
    let monday = checkpoint("monday");
    assert!(monday.len() == 32 && monday.bytes().all(|byte| byte.is_ascii_hexdigit()), "{monday}");
    group(&storage, GROUP_BY_NAME, Some("item"));
    let tuesday = checkpoint("tuesday");
    assert_ne!(monday, tuesday);
    let list: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path("tuesday/checkpoint.json")).unwrap()).unwrap();
    assert_eq!(list["id"], tuesday);
    // One that fails leaves it.
    failure(storage.checkpoint(path("tuesday")), Status::AlreadyExists);
    failure(storage.checkpoint(path("no/folder")), Status::Io);
    assert_eq!(storage.checkpoint_id().unwrap().as_ref(), Some(&tuesday));

    storage.load_from_checkpoint(path("monday")).unwrap();
    assert_eq!(
        (storage.checkpoint_id().unwrap(), names(&storage)),
        (Some(monday.clone()), named(&[(0, "user")]))
    );
    assert_eq!(lookup(&users, &[1]), [1.0, 2.0]);
    let opened = open(&path("tuesday"));
    assert_eq!(
        (opened.checkpoint_id().unwrap(), names(&opened)),
        (Some(tuesday), named(&[(0, "user"), (1, "item")]))
    );
    drop((storage, users));
    assert_eq!(open(&path("a")).checkpoint_id().unwrap(), Some(monday));
}

/// A checkpoint at `path` with these groups.
fn checkpoint_of(scratch: &Path, path: &Path, groups: &[(u32, Option<&str>)]) {
    let storage = open(&scratch.join("other"));
    for (number, name) in groups {
        group(&storage, *number, *name).insert(&[1], &[*number as f32; 2]).unwrap();
    }
    storage.checkpoint(path).unwrap();
    drop(storage);
    std::fs::remove_dir_all(scratch.join("other")).unwrap();
}

#[test]
fn an_open_group_never_goes_on_with_another_ones_rows() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let storage = open(&path("a"));
    let users = group(&storage, 0, Some("user"));
    let plain = group(&storage, 1, None);
    users.insert(&[1], &[5.0; 2]).unwrap();
    for (index, (groups, words)) in [
        (&[(0, Some("item"))][..], "group 0 is called 'item'"),
        (&[(4, Some("user"))], "'user' is group 4"),
        (&[(0, None), (4, Some("user"))], "'user' is group 4"),
    ]
    .into_iter()
    .enumerate()
    {
        let checkpoint = path(&format!("bad{index}"));
        checkpoint_of(scratch.path(), &checkpoint, groups);
        let error = failure(storage.load_from_checkpoint(&checkpoint), Status::AlreadyExists);
        assert!(error.message().contains(words), "{error}");
        assert_eq!(
            (lookup(&users, &[1]), names(&storage)),
            (vec![5.0; 2], named(&[(0, "user"), (1, "")]))
        );
    }
    // If one side has no name, the number decides, and the name stays.
    checkpoint_of(scratch.path(), &path("good"), &[(0, None), (1, Some("query"))]);
    storage.load_from_checkpoint(path("good")).unwrap();
    assert_eq!((lookup(&users, &[1]), lookup(&plain, &[1])), (vec![0.0; 2], vec![1.0; 2]));
    assert_eq!(names(&storage), named(&[(0, "user"), (1, "query")]));
    drop((storage, users, plain));
    assert_eq!(names(&open(&path("a"))), named(&[(0, "user"), (1, "query")]));
}

#[test]
fn a_description_has_what_groups_were_opened_with() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let adam = optimizer("adam", &[("gamma", Value::Float(0.5))]);
    let options = params(&[("name", text("user"))]);
    let users =
        Embedding::new(storage.clone(), adam, initializer("ones", &[]), 3, 7, &options).unwrap();
    users.apply_gradients(&[1], &[1.0; 3]).unwrap();
    let description = describe(&storage);
    assert_eq!(description["dir"], storage.dir().to_str().unwrap());
    let group = serde_json::json!({
        "group": 7, "name": "user", "dim": 3, "row_len": 9, "step": 1,
        "scheduler": null, "max_norm": null, "clients": [],
        "optimizer": { "name": "adam", "params": { "gamma": 0.5 } },
        "initializer": { "name": "ones", "params": {} },
    });
    assert_eq!(description["groups"], serde_json::json!([group]));
}
