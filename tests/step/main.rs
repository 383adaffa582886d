//! Training steps over several groups: they are what calls on single groups are, and whole.

mod callers;
mod clients;
mod clip;
#[path = "../common/mod.rs"]
mod common;
mod damaged;
mod equal;
mod expected;
mod non_finite;
mod once;
mod refused;
mod whole;

use std::sync::Arc;

use damo::bags::{Offsets, Pooling};
use damo::embedding::Embedding;
use damo::error::Result;
use damo::kernels::{Rows, RowsMut};
use damo::params::Value;
use damo::step::{GivenBags, Step};
use damo::storage::Storage;

use common::{float, initializer, optimizer, params, text};

/// Dims and optimizers of the groups 0, 1, and so on.
const GROUPS: [(usize, &str); 5] =
    [(4, "adam"), (8, "sgd"), (16, "adagrad"), (3, "ftrl"), (32, "rowwise_adagrad")];

/// The embeddings of [`GROUPS`], with these options and "sum" for duplicates.
fn embeddings(storage: &Storage, options: &[(&str, Value)]) -> Vec<Arc<Embedding>> {
    let options: Vec<_> =
        [("duplicates", text("sum"))].into_iter().chain(options.iter().cloned()).collect();
    let embedding = |(group, (dim, name)): (usize, &(usize, &str))| {
        let (optimizer, start) = (
            optimizer(name, &[("gamma", float(0.05))]),
            initializer("random_uniform", &[("min", float(-0.1)), ("max", float(0.1))]),
        );
        let group = group as u32;
        Embedding::new(storage.clone(), optimizer, start, *dim, group, &params(&options)).unwrap()
    };
    GROUPS.iter().enumerate().map(embedding).map(Arc::new).collect()
}

/// Looks a step up. Returns the rows of each part.
fn look_up(step: &mut Step, rows: &[usize]) -> Result<Vec<Vec<f32>>> {
    let dims = step.dims(rows.len())?;
    let mut outputs: Vec<_> =
        rows.iter().zip(&dims).map(|(rows, dim)| vec![f32::NAN; rows * dim]).collect();
    let given = outputs.iter_mut().zip(&dims);
    step.lookup(given.map(|(rows, dim)| RowsMut::new(rows, *dim, *dim).unwrap()).collect())?;
    Ok(outputs)
}

/// Applies gradients, a list of rows a part.
fn apply(step: &mut Step, gradients: &[Vec<f32>]) -> Result<()> {
    let dims = step.dims(gradients.len())?;
    let given = gradients.iter().zip(dims);
    let rows: Vec<_> = given.map(|(rows, dim)| Rows::new(rows, dim, dim).unwrap()).collect();
    step.apply_gradients(&rows)
}

fn bags(offsets: &[i64], pooling: Pooling) -> GivenBags<'_> {
    GivenBags { offsets: Offsets { offsets, has_last: false }, pooling, weights: None }
}

/// Group, key, floats and update count.
type Row = (u16, i64, Vec<f32>, u64);

/// All rows of a storage: group, key, floats and update counts. And the groups' steps.
fn content(storage: &Storage) -> (Vec<Row>, Vec<i64>) {
    let (mut rows, mut found) = (storage.rows(None).unwrap(), Vec::new());
    while let Some(row) = rows.next_row().unwrap() {
        found.push((row.group, row.key, row.data.to_vec(), row.update_num));
    }
    (found, storage.groups().iter().map(|group| group.step()).collect())
}
