//! Files and directories: opened only when they are regular, copied whole, published under their
//! names for good or not at all. Knows nothing of what is in them.

pub(crate) mod copy;
pub(crate) mod folder;
pub(crate) mod publish;
pub(crate) mod regular;
pub(crate) mod temporary;
