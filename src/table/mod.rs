//! Serving tables: files that a dump writes and that serving maps into memory and reads in place.
//! docs/formats.md has their bytes, docs/design/table.md the reasons.
//!
//! Knows nothing of storages: serving needs no RocksDB. `classic` writes the other formats of a
//! dump, which share only the way in which a file is made.

mod classic;
mod contents;
mod file;
mod format;
mod group_list;
mod half;
mod hash;
mod index;
mod lookup;
mod merge;
mod output;
mod removed;
mod rows;
mod serving;
mod system;
mod values;
mod verify;
mod writer;

pub use classic::ClassicWriter;
pub use contents::{Contents, GroupInfo};
pub use merge::merge;
pub use rows::TableRows;
pub use serving::Table;
pub use values::ValueType;
pub use writer::{Options, Summary, Writer};
