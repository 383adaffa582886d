//! Corrects checksums, so that mutated files get past them. Each function follows a file as its
//! reader does and replaces every checksum. docs/formats.md has the layouts.

/// A journal file: its header, and the entries, each found by the length of the one before.
pub fn journal(file: &mut [u8]) {
    let file_len = file.len() as u64;
    let Some((header, mut rest)) = file.split_first_chunk_mut::<24>() else { return };
    header[..8].copy_from_slice(b"damojrnl");
    let sum = sum_of(&[&header[..12], &header[16..]]);
    header[12..16].copy_from_slice(&sum.to_le_bytes());
    // A mapped file has its end word next, and zeros.
    if header[8..12] == 2u32.to_le_bytes() {
        let Some((more, entries)) = rest.split_first_chunk_mut::<40>() else { return };
        let end = u64_at(more, 0) & ((1 << 40) - 1);
        let end = end.clamp(64, file_len);
        let sum = sum_of(&[&end.to_le_bytes(), &header[16..]]);
        more.fill(0);
        more[..8].copy_from_slice(&(end | u64::from(sum) << 40).to_le_bytes());
        rest = entries;
    }
    while let Some((header, payload)) = rest.split_first_chunk_mut::<64>() {
        let len = usize::try_from(u64_at(header, 8)).unwrap_or(usize::MAX);
        let (payload, next) = payload.split_at_mut(len.min(payload.len()));
        let sum = crc32fast::hash(payload);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
        let sum = crc32fast::hash(&header[4..]);
        header[..4].copy_from_slice(&sum.to_le_bytes());
        rest = next;
    }
}

/// A table or an increment: its header has the length, and each entry the places of its sections.
pub fn table(file: &mut [u8]) {
    const UNIT: usize = 64;
    if file.len() < UNIT {
        return;
    }
    let len = file.len() as u64;
    file[..8].copy_from_slice(b"damotabl");
    let sum = crc32fast::hash(&file[..12]);
    file[12..16].copy_from_slice(&sum.to_le_bytes());
    file[48..56].copy_from_slice(&len.to_le_bytes());
    let is_increment = u32::from_le_bytes(file[28..32].try_into().unwrap()) == 1;
    let entries =
        (u32::from_le_bytes(file[24..28].try_into().unwrap()) as usize).min(file.len() / UNIT - 1);
    for entry in 1..=entries {
        let at = entry * UNIT;
        let [rows, more] = [16, 32].map(|offset| u64_at(&file[at..], offset));
        let count = u64_at(&file[at..], 40).saturating_mul(if is_increment { 8 } else { 4 });
        let sums = [section(file, rows, more), section(file, more, more.saturating_add(count))];
        file[at + 24..at + 28].copy_from_slice(&sums[0].to_le_bytes());
        file[at + 28..at + 32].copy_from_slice(&sums[1].to_le_bytes());
    }
    let sum = crc32fast::hash(&file[20..UNIT * (entries + 1)]);
    file[16..20].copy_from_slice(&sum.to_le_bytes());
}

/// A filter: its header.
pub fn filter(file: &mut [u8]) {
    let Some(header) = file.get_mut(..4096) else { return };
    header[..8].copy_from_slice(b"damofltr");
    let sum = sum_of(&[&header[..12], &header[16..]]);
    header[12..16].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum of a section with its padding to a multiple of 64; of nothing if it leaves the
/// file.
fn section(file: &[u8], start: u64, end: u64) -> u32 {
    let end = end.checked_next_multiple_of(64).unwrap_or(u64::MAX);
    let range =
        usize::try_from(start).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
    crc32fast::hash(file.get(range).unwrap_or_default())
}

fn sum_of(pieces: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.finalize()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}
