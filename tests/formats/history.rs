//! The calls that the storages of the fixtures have seen, and their content as text.
//!
//! A call is a function of its index alone: a storage that goes on from a fixture can be compared
//! with one that never stopped. The calls leave every kind of entry in a journal: gradients,
//! insert, delete, set_step.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use damo::embedding::Embedding;
use damo::filter::Filter;
use damo::optimizer::Optimizer;
use damo::scheduler::Scheduler;
use damo::storage::Storage;

use crate::common::{float, initializer, int, lookup, optimizer, params, text};

/// In the year 2096: the library forgets dumps after 30 days, and must remember these whenever the
/// fixtures are read.
const START: u64 = 4_000_000_000_000;
const ITEM: u32 = 7;

fn embeddings(storage: &Storage) -> [Embedding; 4] {
    let decay =
        params(&[("decay_steps", int(5)), ("decay_rate", float(0.5)), ("warmup_steps", int(2))]);
    let decay = Arc::new(Scheduler::new("exponential_decay", &decay).unwrap());
    let amsgrad = Arc::new(
        Optimizer::new("amsgrad", &params(&[("gamma", float(0.1))]), Some(decay)).unwrap(),
    );
    let open = |optimizer, initializer, dim, group, options: &[_]| {
        Embedding::new(storage.clone(), optimizer, initializer, dim, group, &params(options))
            .unwrap()
    };
    let normal = initializer("random_normal", &[("seed", int(42)), ("stddev", float(0.1))]);
    let adam = optimizer("adam", &[("gamma", float(0.01))]);
    let (sgd, zeros) = (optimizer("sgd", &[("gamma", float(1.0))]), initializer("zeros", &[]));
    let rowwise = optimizer("rowwise_adagrad", &[]);
    [
        open(adam, normal, 4, 0, &[("name", text("user")), ("duplicates", text("sum"))]),
        open(sgd, zeros, 3, ITEM, &[]),
        open(amsgrad, initializer("xavier_uniform", &[]), 2, 300, &[]),
        open(rowwise, initializer("ones", &[]), 5, 65535, &[("duplicates", text("mean"))]),
    ]
}

/// Keys that differ from call to call, some of them repeated, and the ends of their range.
fn keys(index: u64) -> Vec<i64> {
    let some = (0..12).map(|n| (n * n * 31 + index as i64 * 17) % 24 - 8);
    [i64::MIN, i64::MAX].into_iter().chain(some).collect()
}

/// Makes the calls of `range`. A filter admits the rows of one group; a checkpoint includes it
/// while the returned embedding lives.
pub fn go_on(storage: &Storage, filter: Option<&Arc<Filter>>, range: Range<u64>) -> [Embedding; 4] {
    let all = embeddings(storage);
    let [user, item, _, admitting] = &all;
    admitting.set_filter(filter.cloned()).unwrap();
    for index in range {
        storage.set_clock_for_test(START + index * 1000).unwrap();
        let keys = keys(index);
        for embedding in &all {
            lookup(embedding, &keys);
            let count = keys.len() * embedding.dim();
            let gradients: Vec<f32> =
                (0..count as u64).map(|n| ((n * 7 + index) % 13) as f32 - 6.0).collect();
            embedding.apply_gradients(&keys, &gradients).unwrap();
        }
        match index % 4 {
            1 => item.insert(&[1000 + index as i64], &[0.5, -0.0, index as f32]).unwrap(),
            2 => user.delete(&keys[..5]).unwrap(),
            3 => item.set_step(100 * index as i64).unwrap(),
            _ => {}
        }
    }
    all
}

/// The weights that the group with sgd must have, computed by addition alone.
pub fn expected_items(calls: u64) -> Vec<(i64, [f32; 3])> {
    let mut rows = std::collections::BTreeMap::new();
    for index in 0..calls {
        for (place, key) in keys(index).into_iter().enumerate() {
            let row = rows.entry(key).or_insert([0.0; 3]);
            for (column, weight) in row.iter_mut().enumerate() {
                *weight -=
                    ((3 * place as u64 + column as u64) * 7 + index).rem_euclid(13) as f32 - 6.0;
            }
        }
        if index % 4 == 1 {
            rows.insert(1000 + index as i64, [0.5, -0.0, index as f32]);
        }
    }
    rows.into_iter().collect()
}

/// The weights of the group with sgd, by ascending key.
pub fn items(storage: &Storage) -> Vec<(i64, [f32; 3])> {
    let mut rows = storage.rows(Some(ITEM as u16)).unwrap();
    std::iter::from_fn(|| rows.next_row().unwrap())
        .map(|row| (row.key, row.data.try_into().unwrap()))
        .collect()
}

/// The content of a storage: a line for each group and each row, with the bits of its floats.
pub fn content(storage: &Storage) -> String {
    let mut content = String::new();
    for group in storage.groups() {
        let (config, name) = (group.config(), group.name());
        let optimizer = config.optimizer.name;
        writeln!(content, "group {} {name:?} {optimizer} step {}", group.id(), group.step())
            .unwrap();
    }
    let mut rows = storage.rows(None).unwrap();
    while let Some(row) = rows.next_row().unwrap() {
        write!(content, "{} {} {} {}", row.group, row.key, row.update_num, row.update_time)
            .unwrap();
        row.data.iter().for_each(|float| write!(content, " {:08x}", float.to_bits()).unwrap());
        content.push('\n');
    }
    content
}

/// A filter that admits a key with its third lookup.
pub fn filter(path: &Path) -> Arc<Filter> {
    let list = [("path", text(path.to_str().unwrap())), ("capacity", int(200)), ("count", int(3))];
    Arc::new(Filter::open(&params(&list)).unwrap())
}
