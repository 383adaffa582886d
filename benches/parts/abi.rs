//! The part of include/damo.h that the benches call, safe enough for them: handles live until the
//! process ends.

use std::ffi::{CString, c_char, c_void};
use std::path::Path;
use std::ptr::null;

type Handle = *mut c_void;

#[link(name = "damo")]
unsafe extern "C" {
    fn damo_params_new() -> Handle;
    fn damo_params_set_int(params: Handle, key: *const c_char, value: i64) -> i32;
    fn damo_params_set_str(params: Handle, key: *const c_char, value: *const c_char) -> i32;
    fn damo_storage_new(dir: *const c_char, ttl: i64, options: Handle) -> Handle;
    fn damo_storage_compact(storage: Handle) -> i32;
    fn damo_storage_free(storage: Handle);
    fn damo_optimizer_new(
        name: *const c_char,
        params: *const c_void,
        scheduler: *const c_void,
    ) -> Handle;
    fn damo_optimizer_row_len(optimizer: Handle, dim: usize, row_len: *mut usize) -> i32;
    fn damo_optimizer_apply(
        o: Handle,
        row: *mut f32,
        row_len: usize,
        g: *const f32,
        g_len: usize,
        step: i64,
    ) -> i32;
    fn damo_initializer_new(name: *const c_char, params: *const c_void) -> Handle;
    fn damo_embedding_new(
        s: Handle,
        o: Handle,
        i: Handle,
        dim: usize,
        group: u32,
        options: Handle,
    ) -> Handle;
    fn damo_embedding_lookup(
        e: Handle,
        keys: *const i64,
        keys_len: usize,
        w: *mut f32,
        w_len: usize,
    ) -> i32;
    fn damo_embedding_apply_gradients(
        e: Handle,
        keys: *const i64,
        keys_len: usize,
        g: *const f32,
        g_len: usize,
    ) -> i32;
    fn damo_embedding_free(embedding: Handle);
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no zero byte")
}

fn ok(status: i32) {
    assert_eq!(status, 0, "a call failed");
}

pub struct Optimizer(Handle);

impl Optimizer {
    pub fn new(name: &str) -> Optimizer {
        // SAFETY: a valid string; NULL means defaults.
        let handle = unsafe { damo_optimizer_new(text(name).as_ptr(), null(), null()) };
        assert!(!handle.is_null());
        Optimizer(handle)
    }

    pub fn row_len(&self, dim: usize) -> usize {
        let mut row_len = 0;
        // SAFETY: a live handle and a valid pointer.
        ok(unsafe { damo_optimizer_row_len(self.0, dim, &mut row_len) });
        row_len
    }

    pub fn step(&self, row: &mut [f32], gradient: &[f32]) {
        // SAFETY: a live handle; the buffers have the lengths that are given.
        ok(unsafe {
            damo_optimizer_apply(
                self.0,
                row.as_mut_ptr(),
                row.len(),
                gradient.as_ptr(),
                gradient.len(),
                5,
            )
        });
    }
}

/// An adam table of dim 16 that sums duplicates.
pub struct Table {
    storage: Handle,
    embedding: Handle,
}

impl Table {
    pub fn open(dir: &Path, cache_bytes: usize, durability: &str) -> Table {
        // SAFETY: valid strings and live handles throughout.
        unsafe {
            let options = damo_params_new();
            ok(damo_params_set_int(options, text("cache_bytes").as_ptr(), cache_bytes as i64));
            ok(damo_params_set_str(
                options,
                text("durability").as_ptr(),
                text(durability).as_ptr(),
            ));
            let storage = damo_storage_new(text(dir.to_str().expect("UTF-8")).as_ptr(), 0, options);
            let normal = damo_initializer_new(text("random_normal").as_ptr(), null());
            let sum = damo_params_new();
            ok(damo_params_set_str(sum, text("duplicates").as_ptr(), text("sum").as_ptr()));
            let embedding =
                damo_embedding_new(storage, Optimizer::new("adam").0, normal, 16, 0, sum);
            assert!(!embedding.is_null());
            Table { storage, embedding }
        }
    }

    pub fn lookup(&self, keys: &[i64], weights: &mut [f32]) {
        // SAFETY: a live handle; the buffers have the lengths that are given.
        ok(unsafe {
            damo_embedding_lookup(
                self.embedding,
                keys.as_ptr(),
                keys.len(),
                weights.as_mut_ptr(),
                weights.len(),
            )
        });
    }

    pub fn apply(&self, keys: &[i64], gradients: &[f32]) {
        let (keys_ptr, gradients_ptr) = (keys.as_ptr(), gradients.as_ptr());
        // SAFETY: as above.
        ok(unsafe {
            damo_embedding_apply_gradients(
                self.embedding,
                keys_ptr,
                keys.len(),
                gradients_ptr,
                gradients.len(),
            )
        });
    }

    pub fn compact(&self) {
        // SAFETY: a live handle.
        ok(unsafe { damo_storage_compact(self.storage) });
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: live handles, not used again.
        unsafe {
            damo_embedding_free(self.embedding);
            damo_storage_free(self.storage);
        }
    }
}
