//! Every answer agrees with the reference, with re-openings in between.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::begun::Begun;
use crate::common::{lookup, peek};
use crate::history::{Action, SPECS, call, now};
use crate::pins::Pins;
use crate::reference::{Engine, Opening, Reference, bits, model, references};
use crate::{seed, setting};

/// The options of the next session. The smallest cache has one shard a group; two large ones have
/// several, so calls with many keys change rows on several threads. The largest evicts nothing.
fn opening(random: &mut ChaCha8Rng) -> Opening {
    Opening {
        durability: ["process", "checkpoint"][random.random_range(0..2)],
        cache_bytes: [65536, 65536, 65536, 3 << 20, 64 << 20][random.random_range(0..5)],
        threads: random.random_range(1..=3),
    }
}

fn check_all(engine: &Engine, references: &[Reference], index: u64) {
    for (reference, read) in references.iter().zip(engine.read(references)) {
        reference.compare(&read, false).unwrap_or_else(|why| panic!("before call {index}: {why}"));
    }
    // Iteration sees the same, and nothing else.
    let mut rows = engine.storage.rows(None).unwrap();
    let mut count = 0;
    while let Some(record) = rows.next_row().unwrap() {
        let reference =
            references.iter().find(|reference| reference.spec.group == record.group).unwrap();
        let row = reference.row(record.key);
        let row =
            row.unwrap_or_else(|| panic!("before call {index}: {record:?} should not be there"));
        assert_eq!(
            (bits(&row.data), row.updates, row.time),
            (bits(&record.data), record.update_num, record.update_time)
        );
        count += 1;
    }
    let live = |reference: &Reference| {
        reference.rows.keys().filter(|key| reference.row(**key).is_some()).count()
    };
    assert_eq!(count, references.iter().map(live).sum::<usize>(), "before call {index}");
}

#[test]
fn random_calls_agree_with_a_plain_reference() {
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut models = references(&SPECS);
    let mut opened = Opening { durability: "process", cache_bytes: 65536, threads: 2 };
    let mut engine = Engine::open(dir.path(), opened, &models);
    let (mut session, mut evictions, mut loaded) = (0, 0, 0);
    let mut checkpoints: Vec<(std::path::PathBuf, Vec<Reference>)> = Vec::new();
    let scratch = tempfile::tempdir().unwrap();
    let mut restored = 0;
    let (mut begun, mut pins) = (Begun::default(), Pins::default());
    for index in 0..setting("DAMO_MODEL_CALLS", 800) {
        models.iter_mut().for_each(|model| model.now = now(index));
        engine.storage.set_clock_for_test(now(index)).unwrap();
        if random.random_range(0..40) == 0 {
            let path = scratch.path().join(index.to_string());
            engine.storage.checkpoint(&path).unwrap();
            checkpoints.push((path, models.clone()));
        }
        if random.random_range(0..60) == 0
            && let Some((path, saved)) = checkpoints.last()
        {
            engine.storage.load_from_checkpoint(path).unwrap();
            for (model, saved) in models.iter_mut().zip(saved) {
                model.rows.clone_from(&saved.rows);
                model.step = saved.step;
            }
            restored += 1;
        }
        if random.random_range(0..60) == 0 {
            check_all(&engine, &models, index);
            evictions += engine.stat("evictions");
            loaded += engine.stat("rows_loaded");
            begun.forget();
            pins.forget();
            drop(engine);
            session += 1;
            models.iter_mut().for_each(|model| model.faces = model.spec.faces(session));
            opened = opening(&mut random);
            engine = Engine::open(dir.path(), opened, &models);
        }
        begun.begin(&mut random, &engine, &models, index);
        begun.finish(&engine, &mut models, index);
        pins.finish(&mut random, &mut models, index);
        pins.pin(&mut random, &engine, &models, index);
        let call = call(seed, index);
        let (group, embedding) = (call.group, &engine.groups[call.group][call.face]);
        let place = || format!("call {index} on group {group} of session {session}, {opened:?}");
        match &call.action {
            Action::Lookup(keys) => {
                let expected = models[group].lookup(keys);
                assert!(bits(&lookup(embedding, keys)) == bits(&expected), "lookup, {}", place());
            }
            Action::Peek(keys) => {
                let (weights, found) = peek(embedding, keys);
                let expected = models[group].peek(keys);
                assert!(found == expected.1, "peek finds other rows, {}", place());
                assert!(bits(&weights) == bits(&expected.0), "peek, {}", place());
            }
            _ => {
                // It sets the rate, which the engine's embedding shares.
                model(&mut models, &call);
                engine.make(&call);
            }
        }
    }
    check_all(&engine, &models, u64::MAX);
    evictions += engine.stat("evictions");
    loaded += engine.stat("rows_loaded");
    println!(
        "{session} re-openings, {restored} restorations, {evictions} evictions, \
         {loaded} rows loaded; {} keys of begun lookups, {} of them written by finishing; {} pins \
         committed, {} refused, {} forgotten",
        begun.keys, begun.written, pins.committed, pins.refused, pins.forgotten
    );
    assert!(pins.committed > 50 && pins.refused > 20 && pins.forgotten > 20);
    assert!(begun.written > 10_000 && begun.written < begun.keys / 10 * 9);
    assert!(restored > 0);
    assert!(evictions > 50_000 && loaded > 50_000, "nearly everything stayed in memory");
    assert!(models.iter().all(|model| model.rows.len() > 1000), "the history was too short");
}
