//! The calls on one group that all campaigns make.

use damo::embedding::Embedding;
use damo::error::Result;

#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    Lookup { group: u16, keys: Vec<i64> },
    Apply { group: u16, keys: Vec<i64>, gradients: Vec<f32> },
    Insert { group: u16, keys: Vec<i64>, weights: Vec<f32> },
    Delete { group: u16, keys: Vec<i64> },
    Clear { group: u16 },
    SetStep { group: u16, step: i64 },
}

impl Call {
    pub fn name(&self) -> &'static str {
        match self {
            Call::Lookup { .. } => "lookup",
            Call::Apply { .. } => "apply_gradients",
            Call::Insert { .. } => "insert",
            Call::Delete { .. } => "delete",
            Call::Clear { .. } => "clear",
            Call::SetStep { .. } => "set_step",
        }
    }

    pub fn group(&self) -> u16 {
        match self {
            Call::Lookup { group, .. }
            | Call::Apply { group, .. }
            | Call::Insert { group, .. }
            | Call::Delete { group, .. }
            | Call::Clear { group }
            | Call::SetStep { group, .. } => *group,
        }
    }

    /// Makes it on the group's embedding. What a lookup finds is not looked at.
    pub fn make(&self, embedding: &Embedding) -> Result<()> {
        match self {
            Call::Lookup { keys, .. } => {
                embedding.lookup(keys, &mut vec![0.0; keys.len() * embedding.dim()])
            }
            Call::Apply { keys, gradients, .. } => embedding.apply_gradients(keys, gradients),
            Call::Insert { keys, weights, .. } => embedding.insert(keys, weights),
            Call::Delete { keys, .. } => embedding.delete(keys),
            Call::Clear { .. } => embedding.clear(),
            Call::SetStep { step, .. } => embedding.set_step(*step),
        }
    }
}
