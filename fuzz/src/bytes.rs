//! A program in bytes: each read takes the next bytes; beyond the end it reads zeros.

/// The rest of an input.
pub struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes { rest: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// A small float of either sign, exact in float32.
    pub fn float(&mut self) -> f32 {
        f32::from(self.byte() as i8) / 32.0
    }

    /// Keys as callers give them: a few, some of them twice, or a range of many. The ends of the
    /// key range are among them.
    pub fn keys(&mut self) -> Vec<i64> {
        let count = self.byte();
        if count >= 128 {
            let first = i64::from(self.byte());
            return (first..first + i64::from(count - 127)).collect();
        }
        (0..count % 8).map(|_| key(self.byte())).collect()
    }
}

fn key(byte: u8) -> i64 {
    match byte {
        254 => i64::MIN,
        255 => i64::MAX,
        byte => i64::from(byte) - 16,
    }
}
