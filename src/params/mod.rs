//! A typed key/value bag that configures everything else: a new hyper-parameter changes neither the
//! header nor the ABI.
//!
//! The bag does not know what its keys mean. Its consumer reads it through [`ParamReader`], which
//! refuses unknown keys, wrong types and values out of range.

mod bag;
mod reader;

pub use bag::{Params, Value};
pub(crate) use reader::find_name;
pub use reader::{FloatRange, ParamReader};
