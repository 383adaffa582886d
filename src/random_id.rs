//! Random ids, unique anywhere.

use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

/// A random id of 32 hexadecimal digits. The standard library's hashers have random keys, which is
/// random enough here.
pub(crate) fn random_id() -> String {
    let random =
        |half: u64| RandomState::new().hash_one((half, std::process::id(), SystemTime::now()));
    format!("{:016x}{:016x}", random(0), random(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_32_digits_and_differ() {
        let [one, other] = [random_id(), random_id()];
        assert_ne!(one, other);
        assert!(
            [&one, &other].iter().all(|id| id.len() == 32 && u128::from_str_radix(id, 16).is_ok())
        );
    }
}
