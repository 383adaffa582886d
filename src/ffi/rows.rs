//! `damo_rows_gather`: a row per distinct key becomes a row per key. `damo_rows_pin`: rows that the
//! caller changes itself.

use super::arguments::{bytes, check_all_apart};
use super::pin::in_use;
use super::{arguments, damo_embedding, damo_pin, guard, handle};
use crate::embedding::Pin;
use crate::error::{Error, damo_status};
use crate::kernels::rows_gather;
use crate::locks::Mutex;

/// Copies the row at each position: row i of outputs becomes row positions[i] of rows.
///
/// - rows: rows of dim floats. The next row begins rows_stride floats after the beginning of a row.
///   rows_len says how many there are; what lies behind the last row may be missing.
/// - dim: 1 to 262144.
/// - positions: positions_len numbers, each that of a row, as damo_keys_partition writes them.
/// - outputs: positions_len rows of dim floats, with their stride and length likewise. The floats
///   between them are neither read nor written.
///
/// With a stride, outputs may be some columns of a matrix, such as those of one feature: pass the
/// address of the first one. Several threads may fill different columns of it at once. The call
/// works on the caller's thread alone.
///
/// Errors, after which nothing is written:
/// - INVALID_ARGUMENT: a position that is no row's (the message has its index and value); a wrong
///   dim; a stride below dim; a length that ends within a row; another number of outputs than
///   positions; a NULL buffer with a length; overlapping buffers, also where their rows do not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_rows_gather(
    rows: *const f32,
    rows_len: usize,
    rows_stride: usize,
    dim: usize,
    positions: *const u32,
    positions_len: usize,
    outputs: *mut f32,
    outputs_len: usize,
    outputs_stride: usize,
) -> damo_status {
    guard::status("damo_rows_gather", || {
        let read = [bytes(rows, rows_len, "rows"), bytes(positions, positions_len, "positions")];
        check_all_apart(&read, &[bytes(outputs, outputs_len, "outputs")])?;
        // SAFETY: the contract of `arguments`; outputs overlap no other buffer.
        let (rows, positions, outputs) = unsafe {
            (
                arguments::rows((rows, rows_len), (dim, rows_stride), "rows")?,
                arguments::slice(positions, positions_len, "positions")?,
                arguments::rows_mut((outputs, outputs_len), (dim, outputs_stride), "outputs")?,
            )
        };
        rows_gather(rows, positions, outputs)
    })
}

/// Pins rows: copies them for the caller to change, until damo_pin_commit brings them back.
///
/// - keys: keys_len keys, at most 2^20.
/// - rows: room for keys_len addresses. Gets the address of each key's row: row_len floats, the dim
///   weights and then the optimizer's state. row_len is what damo_optimizer_row_len gives for dim.
///   A key given twice gives the same address twice. The rows lie one behind the other, in the
///   order in which their keys first occur in keys.
/// - created: keys_len bytes: 1 for a key whose row the commit makes, 0 for others. May be NULL.
/// - pin: the address of a pin, or of NULL, which becomes a new pin. A pin that has rows already
///   loses them, and its memory is used again: a trainer has one pin a thread. Free it with
///   damo_pin_free.
///
/// A key without a row gets the floats that its row begins with. The padding key reads as zeros. A
/// filter counts the keys as in damo_embedding_lookup. Nothing is made and nothing is locked before
/// the commit: other calls go on, any number of pins can have the same rows, and a pin that is not
/// committed has changed nothing.
///
/// The addresses are valid until the pin is committed, used again or freed. They belong to the pin,
/// and only one thread at a time may use them.
///
/// Errors, after which the pin may have lost the rows that it had:
/// - INVALID_ARGUMENT: a NULL handle or pin; a NULL buffer with a length; overlapping buffers; too
///   many keys.
/// - NOT_SUPPORTED: the storage is open with read_only.
/// - BUSY: another thread is using the pin.
/// - OUT_OF_MEMORY, IO, CORRUPTION, FORKED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn damo_rows_pin(
    embedding: *const damo_embedding,
    keys: *const i64,
    keys_len: usize,
    rows: *mut *mut f32,
    created: *mut u8,
    pin: *mut *mut damo_pin,
) -> damo_status {
    guard::status("damo_rows_pin", || {
        let written = [
            bytes(rows, keys_len, "rows"),
            bytes(created, keys_len, "created"),
            bytes(pin, 1, "pin"),
        ];
        check_all_apart(&[bytes(keys, keys_len, "keys")], &written)?;
        // SAFETY: the contract of `arguments`; no written buffer overlaps another one.
        let (embedding, keys, rows, pin) = unsafe {
            (
                arguments::handle(embedding, "embedding")?,
                arguments::slice(keys, keys_len, "keys")?,
                arguments::slice_mut(rows, keys_len, "rows")?,
                arguments::out(pin, "pin")?,
            )
        };
        let created = match created.is_null() {
            true => None,
            // SAFETY: as above.
            false => Some(unsafe { arguments::slice_mut(created, keys_len, "created") }?),
        };
        // SAFETY: the contract of `arguments`: NULL or a live handle.
        if let Some(known) = unsafe { arguments::optional_handle(pin.cast_const(), "*pin") }? {
            let mut inner = known.inner.try_lock().ok_or_else(in_use)?;
            embedding.inner.pin_rows(keys, &mut inner)?;
            return give(&mut inner, rows, created);
        }
        let mut inner = embedding.inner.new_pin();
        embedding.inner.pin_rows(keys, &mut inner)?;
        give(&mut inner, rows, created)?;
        *pin = handle::make(damo_pin { inner: Mutex::new(inner) });
        Ok(())
    })
}

/// Writes where each key's row is, and whether commit makes it.
fn give(pin: &mut Pin, rows: &mut [*mut f32], created: Option<&mut [u8]>) -> Result<(), Error> {
    let first = pin.rows_mut().as_mut_ptr();
    for (position, address) in rows.iter_mut().enumerate() {
        let range = pin.range_of(position).ok_or_else(|| Error::bug("a key has no copy"))?;
        *address = first.wrapping_add(range.start);
    }
    for (position, created) in created.into_iter().flatten().enumerate() {
        *created = u8::from(pin.is_new(position));
    }
    Ok(())
}
