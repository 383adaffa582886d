//! Bytes as JSON: parameters for everything that takes some, and the documents of a storage. A
//! consumer works with a bag or refuses it with an error.
#![no_main]

use std::sync::Arc;

use damo::embedding::EmbeddingOptions;
use damo::filter::FilterOptions;
use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::params::Params;
use damo::scheduler::Scheduler;
use damo::storage::{DumpOptions, StorageOptions};

const DIM: usize = 5;
const STEPS: [i64; 6] = [i64::MIN, 0, 1, 1000, 1 << 40, i64::MAX];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    damo::fuzzing::documents(bytes);
    let Ok(bag) = serde_json::from_slice::<Params>(bytes) else { return };
    assert_eq!(serde_json::from_str::<Params>(&bag.to_json()).unwrap(), bag);
    let _ = StorageOptions::read(&bag);
    let _ = DumpOptions::read(&bag);
    let _ = EmbeddingOptions::read(&bag);
    let _ = FilterOptions::read(&bag);
    initializers(&bag);
    optimizers(&bag);
    schedulers(&bag);
});

fn initializers(bag: &Params) {
    for name in Initializer::names() {
        let Ok(initializer) = Initializer::new(name, bag) else { continue };
        let mut weights = [f32::NAN; DIM];
        initializer.fill(9, -1, &mut weights);
        assert!(weights.iter().all(|weight| weight.is_finite()), "'{name}' draws {weights:?}");
    }
}

fn optimizers(bag: &Params) {
    for name in Optimizer::names() {
        let Ok(optimizer) = Optimizer::new(name, bag, None) else { continue };
        if optimizer.check_steps().is_err() {
            continue;
        }
        let mut row = vec![0.0; optimizer.row_len(DIM)];
        for t in [1, 2, u64::MAX] {
            optimizer.step(&mut row, &[0.5, -0.5, 0.0, 1e18, -1e18], optimizer.rate(0).unwrap(), t);
        }
    }
}

fn schedulers(bag: &Params) {
    for name in Scheduler::names() {
        let Ok(scheduler) = Scheduler::new(name, bag) else { continue };
        let optimizer = Optimizer::new("sgd", &Params::new(), Some(Arc::new(scheduler))).unwrap();
        for step in STEPS {
            if let Ok(rate) = optimizer.rate(step) {
                assert!(
                    rate >= 0.0 && (rate as f32).is_finite(),
                    "'{name}' gives {rate} at {step}"
                );
            }
        }
    }
}
