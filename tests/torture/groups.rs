//! The groups of every storage that the campaigns make.

use std::sync::{Arc, LazyLock};

use damo::initializer::Initializer;
use damo::optimizer::Optimizer;
use damo::params::Params;

/// One group: what it is opened with.
pub struct Spec {
    pub group: u16,
    pub dim: usize,
    pub optimizer: Arc<Optimizer>,
    pub initializer: Arc<Initializer>,
}

impl Spec {
    pub fn row_len(&self) -> usize {
        self.optimizer.row_len(self.dim)
    }
}

/// Opened in every session.
pub const USUAL: usize = 3;
/// What `Op::NewGroup` opens, after the usual ones.
pub const LATE: usize = 3;

static SPECS: LazyLock<[Spec; 4]> = LazyLock::new(|| {
    [
        spec(0, 4, "sgd", &[("gamma", 0.5)], "ones"),
        spec(7, 3, "adam", &[("gamma", 0.125)], "random_normal"),
        spec(300, 2, "rowwise_adagrad", &[("gamma", 0.25)], "zeros"),
        spec(9, 5, "ftrl", &[("alpha", 0.5)], "ones"),
    ]
});

pub fn spec(
    group: u16,
    dim: usize,
    optimizer: &str,
    params: &[(&str, f64)],
    initializer: &str,
) -> Spec {
    let params =
        params.iter().fold(Params::new(), |bag, (name, value)| bag.with(name, *value).unwrap());
    Spec {
        group,
        dim,
        optimizer: Arc::new(Optimizer::new(optimizer, &params, None).unwrap()),
        initializer: Arc::new(Initializer::new(initializer, &Params::new()).unwrap()),
    }
}

pub fn specs() -> &'static [Spec; 4] {
    &SPECS
}

/// The spec of a group's number.
pub fn of(group: u16) -> &'static Spec {
    SPECS.iter().find(|spec| spec.group == group).unwrap_or_else(|| panic!("no group {group}"))
}
