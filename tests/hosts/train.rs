//! train DIR: trains through bindgen's bindings of damo.h, which BINDINGS names at compile time.

#![allow(non_camel_case_types, non_upper_case_globals, dead_code)]

include!(env!("BINDINGS"));

use std::ffi::{CStr, CString};
use std::ptr::null;

const DIM: usize = 8;
const KEYS: usize = 200;
const ROWS: i64 = 1000;
const STEPS: i64 = 2000;
const STEPS_A_FLUSH: i64 = 50;

fn message() -> String {
    unsafe { CStr::from_ptr(damo_last_error_message()) }.to_string_lossy().into_owned()
}

fn ok(status: damo_status) {
    assert_eq!(status, damo_status_DAMO_STATUS_OK, "{}", message());
}

fn main() {
    assert_eq!((DAMO_ALL_GROUPS, DAMO_GROUP_BY_NAME), (u32::MAX, u32::MAX - 1));
    let dir = CString::new(std::env::args().nth(1).unwrap()).unwrap();
    unsafe {
        let (adam_params, normal_params) = (damo_params_new(), damo_params_new());
        let options = damo_params_new();
        ok(damo_params_set_float(adam_params, c"gamma".as_ptr(), 0.01));
        ok(damo_params_set_int(normal_params, c"seed".as_ptr(), 7));
        ok(damo_params_set_str(options, c"duplicates".as_ptr(), c"sum".as_ptr()));
        let adam = damo_optimizer_new(c"adam".as_ptr(), adam_params, null());
        let normal = damo_initializer_new(c"random_normal".as_ptr(), normal_params);
        let storage = damo_storage_new(dir.as_ptr(), 0, null());
        assert!(!storage.is_null(), "{}", message());
        let users = damo_embedding_new(storage, adam, normal, DIM as _, 0, options);
        assert!(!users.is_null(), "{}", message());
        let (mut weights, mut gradients) = (vec![0f32; KEYS * DIM], vec![0f32; KEYS * DIM]);
        let mut keys = vec![0i64; KEYS];
        let (n, floats) = (KEYS as _, (KEYS * DIM) as _);
        for step in 0..STEPS {
            for (index, key) in (0..).zip(&mut keys) {
                *key = -(1 << 62) + (index * 7919 + step * 104729) % ROWS;
            }
            for (index, gradient) in (0..).zip(&mut gradients) {
                *gradient = ((index * 37 + step * 11) % 101 - 50) as f32 / 64.0;
            }
            ok(damo_embedding_lookup(users, keys.as_ptr(), n, weights.as_mut_ptr(), floats));
            ok(damo_embedding_apply_gradients(users, keys.as_ptr(), n, gradients.as_ptr(), floats));
            if step % STEPS_A_FLUSH == 0 {
                ok(damo_storage_flush(storage));
            }
        }
        gradients[5] = f32::NAN;
        let refused =
            damo_embedding_apply_gradients(users, keys.as_ptr(), n, gradients.as_ptr(), floats);
        let failure = std::io::Error::last_os_error().raw_os_error().unwrap();
        assert_eq!(refused, damo_status_DAMO_STATUS_INVALID_ARGUMENT);
        assert_eq!(damo_failure_code(failure), refused);
        damo_embedding_free(users);
        damo_storage_free(storage);
        damo_optimizer_free(adam);
        damo_initializer_free(normal);
        for params in [adam_params, normal_params, options] {
            damo_params_free(params);
        }
    }
}
