//! `damo_abi_version`: the binary interface of the library that was loaded.

/// The number of the binary interface. tests/source/header.rs writes it into the header.
///
/// cbindgen:ignore
pub const DAMO_ABI_VERSION: u32 = 1;

/// Returns the number of the loaded library's binary interface. See DAMO_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn damo_abi_version() -> u32 {
    DAMO_ABI_VERSION
}
