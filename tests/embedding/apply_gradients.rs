//! apply_gradients: duplicates, counts and steps, and what it refuses without a change.

use damo::embedding::Embedding;
use damo::error::Status;
use damo::params::Params;
use damo::scheduler::Scheduler;

use crate::common::{
    self, failure, float, initializer, lookup, open, optimizer, params, sgd, text,
};

#[test]
fn duplicates_are_stepped_in_order_or_coalesced_as_asked() {
    // sgd with lambda makes the order of steps visible: w = w - gamma (g + lambda w). sequential: 1
    // - .1 (1 + 1) = .8, then .8 - .1 (2 + .8) = .52; sum: 1 - .1 (3 + 1); mean: 1 - .1 (1.5 + 1).
    for (mode, expected, updates) in [("sequential", 0.52, 2), ("sum", 0.6, 1), ("mean", 0.75, 1)] {
        let dir = tempfile::tempdir().unwrap();
        let sgd = optimizer("sgd", &[("gamma", float(0.1)), ("lambda", float(1.0))]);
        let options = params(&[("duplicates", text(mode))]);
        let embedding =
            Embedding::new(open(dir.path()), sgd, initializer("ones", &[]), 1, 0, &options)
                .unwrap();
        embedding.apply_gradients(&[8, 9, 8], &[1.0, 0.0, 2.0]).unwrap();
        assert!((lookup(&embedding, &[8])[0] - expected).abs() < 1e-6, "{mode}");
        assert!((lookup(&embedding, &[9])[0] - 0.9).abs() < 1e-6, "{mode}");
        assert_eq!(embedding.record(8).unwrap().update_num, updates, "{mode}");
        assert_eq!(embedding.record(9).unwrap().update_num, 1);
    }
}

#[test]
fn a_row_follows_its_optimizer_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let names = damo::optimizer::Optimizer::names();
    for (group, name) in names.iter().filter(|name| **name != "none").enumerate() {
        let optimizer = optimizer(name, &[]);
        let start = initializer("random_uniform", &[]);
        let embedding = Embedding::new(
            storage.clone(),
            optimizer.clone(),
            start.clone(),
            3,
            group as u32,
            &Params::new(),
        )
        .unwrap();
        let mut row = vec![0.0; optimizer.row_len(3)];
        start.fill(group as u16, -4, &mut row[..3]);
        for t in 1..=5 {
            let gradient = [0.1 * t as f32, -0.2, 0.0];
            embedding.apply_gradients(&[-4], &gradient).unwrap();
            optimizer.step(&mut row, &gradient, optimizer.learning_rate(), t);
        }
        let record = embedding.record(-4).unwrap();
        assert_eq!((record.data, record.update_num), (row, 5), "{name}");
    }
}

#[test]
fn late_rows_get_their_own_bias_correction() {
    let dir = tempfile::tempdir().unwrap();
    let adam = optimizer("adam", &[("gamma", float(0.1))]);
    let embedding =
        Embedding::new(open(dir.path()), adam, initializer("zeros", &[]), 1, 0, &Params::new())
            .unwrap();
    for _ in 0..50 {
        embedding.apply_gradients(&[1], &[1.0]).unwrap();
    }
    embedding.apply_gradients(&[2], &[1.0]).unwrap();
    // Adam's first step is the learning rate, whenever it comes.
    assert!((lookup(&embedding, &[2])[0] + 0.1).abs() < 1e-6);
}

#[test]
fn nan_infinity_and_overflowing_sums_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = sgd(&storage, 2, 0.5, &[("duplicates", text("sum"))]);
    embedding.apply_gradients(&[1], &[1.0, 1.0]).unwrap();
    let before = embedding.record(1).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e18, -3e38] {
        let gradients = [1.0, 1.0, 1.0, bad, 1.0, 1.0];
        let error =
            failure(embedding.apply_gradients(&[1, -77, 3], &gradients), Status::InvalidArgument);
        assert!(error.message().contains("key -77 (position 1, column 1)"), "{error}");
    }
    let error = failure(
        embedding.apply_gradients(&[1, 1], &[0.0, 9e17, 0.0, 9e17]),
        Status::InvalidArgument,
    );
    assert!(error.message().contains("gradients of key 1 add up to more than 1e18"), "{error}");
    assert_eq!(embedding.record(1).unwrap(), before);
    failure(embedding.record(3), Status::NotFound);
    assert_eq!(embedding.step().unwrap(), 1);
}

/// Keys are worked on by shard, on several threads. The first wrong float of the batch is named.
#[test]
fn the_first_of_several_wrong_gradients_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let embedding = sgd(&open(dir.path()), 1, 0.5, &[]);
    for count in [10, 256, 257, 600, 3_000, 9_000] {
        let keys: Vec<i64> = (0..count).map(|key| key % 2_000).collect();
        let mut gradients = vec![1.0; keys.len()];
        for first in [8, 6, 2] {
            gradients[first] = f32::NAN;
            gradients[keys.len() - 1] = f32::INFINITY;
            let error =
                failure(embedding.apply_gradients(&keys, &gradients), Status::InvalidArgument);
            assert!(error.message().contains(&format!("(position {first}, column 0) is NaN")));
        }
    }
    assert_eq!(embedding.step().unwrap(), 0);
}

#[test]
fn the_mean_of_gradients_that_are_small_enough_is_small_enough() {
    let dir = tempfile::tempdir().unwrap();
    let embedding = sgd(&open(dir.path()), 1, 1.0, &[("duplicates", text("mean"))]);
    embedding.apply_gradients(&[1; 15], &[1e18; 15]).unwrap();
    assert_eq!(lookup(&embedding, &[1]), [-1e18]);
}

#[test]
fn every_call_is_one_global_step_that_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    {
        let storage = open(dir.path());
        let embedding = sgd(&storage, 1, 0.5, &[]);
        embedding.apply_gradients(&[1, 2, 3], &[0.0; 3]).unwrap();
        embedding.apply_gradients(&[], &[]).unwrap();
        embedding.lookup(&[1], &mut [0.0]).unwrap();
        assert_eq!(embedding.step().unwrap(), 2);
    }
    let storage = open(dir.path());
    let embedding = sgd(&storage, 1, 0.5, &[]);
    assert_eq!(embedding.step().unwrap(), 2);
    embedding.set_step(i64::MAX).unwrap();
    let error = failure(embedding.apply_gradients(&[1], &[1.0]), Status::InvalidArgument);
    assert!(error.message().contains("cannot rise"), "{error}");
    assert_eq!(lookup(&embedding, &[1]), [1.0]);
}

#[test]
fn the_rate_follows_the_schedule_of_the_global_step_and_what_is_set_at_run_time() {
    let dir = tempfile::tempdir().unwrap();
    let decay = params(&[("decay_steps", common::int(1)), ("decay_rate", float(0.5))]);
    let halving = Scheduler::new("exponential_decay", &decay).unwrap();
    let optimizer = std::sync::Arc::new(
        damo::optimizer::Optimizer::new(
            "sgd",
            &params(&[("gamma", float(1.0))]),
            Some(halving.into()),
        )
        .unwrap(),
    );
    let embedding = Embedding::new(
        open(dir.path()),
        optimizer.clone(),
        initializer("zeros", &[]),
        1,
        0,
        &Params::new(),
    )
    .unwrap();
    embedding.apply_gradients(&[1], &[1.0]).unwrap(); // rate 1
    embedding.apply_gradients(&[1], &[1.0]).unwrap(); // rate 1/2
    assert_eq!(lookup(&embedding, &[1]), [-1.5]);
    optimizer.set_learning_rate(8.0).unwrap();
    embedding.apply_gradients(&[1], &[1.0]).unwrap(); // rate 8/4
    assert_eq!(lookup(&embedding, &[1]), [-3.5]);
    embedding.set_step(0).unwrap();
    // The step is the group's, not the row's.
    embedding.apply_gradients(&[2], &[1.0]).unwrap(); // rate 8
    assert_eq!(lookup(&embedding, &[2]), [-8.0]);
}

#[test]
fn update_time_is_the_time_of_the_last_write() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(dir.path());
    let embedding = sgd(&storage, 1, 0.5, &[]);
    let before = storage.engine().now_ms();
    lookup(&embedding, &[1]);
    let created = embedding.record(1).unwrap().update_time;
    assert!((before..=storage.engine().now_ms()).contains(&created));
    std::thread::sleep(std::time::Duration::from_millis(2));
    lookup(&embedding, &[1]);
    assert_eq!(embedding.record(1).unwrap().update_time, created, "reading is no update");
    embedding.apply_gradients(&[1], &[1.0]).unwrap();
    assert!(embedding.record(1).unwrap().update_time > created);
}
