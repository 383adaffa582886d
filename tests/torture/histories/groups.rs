//! The groups of every history, and the keys that it uses.

use std::sync::LazyLock;

use crate::groups::{Spec, spec};

/// Groups that share a filter at times.
pub const FILTERED: [u16; 2] = [7, 9];

/// The group whose rows are so wide that an iterator cannot read far ahead. Few histories open it.
pub const WIDE: u16 = 2;
/// Its keys: more rows than an iterator and its thread have in hand.
pub const WIDE_KEYS: std::ops::Range<i64> = 0..64;

static SPECS: LazyLock<[Spec; 6]> = LazyLock::new(|| {
    [
        spec(0, 4, "sgd", &[("gamma", 0.5)], "ones"),
        spec(7, 8, "adam", &[("gamma", 0.125)], "random_normal"),
        spec(9, 3, "ftrl", &[("alpha", 0.5), ("lambda1", 0.01)], "ones"),
        // Wide enough that the smallest cache does not hold all rows.
        spec(300, 32, "amsgrad", &[("gamma", 0.125)], "random_normal"),
        spec(65_535, 2, "rowwise_adagrad", &[("gamma", 0.25)], "zeros"),
        spec(WIDE, 1 << 16, "sgd", &[], "zeros"),
    ]
});

/// The usual ones, and then `WIDE`.
pub fn specs() -> &'static [Spec; 6] {
    &SPECS
}

/// The spec of a group's number.
pub fn of(group: u16) -> &'static Spec {
    SPECS.iter().find(|spec| spec.group == group).unwrap_or_else(|| panic!("no group {group}"))
}

/// Every key that a history may use.
pub fn all_keys() -> impl Iterator<Item = i64> {
    (-10..160).chain([i64::MIN, i64::MAX])
}
