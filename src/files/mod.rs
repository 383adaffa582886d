//! Files that are whole or not there: opened only when they are regular, copied whole, and
//! published under their names for good or not at all. Does not know what is in them.

pub(crate) mod copy;
pub(crate) mod folder;
pub(crate) mod publish;
pub(crate) mod regular;
pub(crate) mod temporary;
