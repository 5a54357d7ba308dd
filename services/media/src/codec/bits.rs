//! Reading bits, most significant first, as H.264 (clause 7.2) and H.265 (clause 7.2) write them.

/// Reads bits from a slice; every read past the end is `None`.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Next byte to load.
    next: usize,
    /// The loaded byte, and how many of its low bits are unread.
    byte: u8,
    left: u32,
    /// Zero bytes in a row before `next`; only counted when `escaped`.
    zeros: u32,
    escaped: bool,
}

impl<'a> BitReader<'a> {
    /// Reads the bytes as they are.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, byte: 0, left: 0, zeros: 0, escaped: false }
    }

    /// Reads a NAL unit, leaving out its emulation prevention bytes (the 3 of `00 00 03`).
    pub fn escaped(bytes: &'a [u8]) -> Self {
        Self { escaped: true, ..Self::new(bytes) }
    }

    fn load(&mut self) -> Option<()> {
        let mut byte = *self.bytes.get(self.next)?;
        if self.escaped && self.zeros >= 2 && byte == 3 {
            self.next += 1;
            self.zeros = 0;
            byte = *self.bytes.get(self.next)?;
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        self.next += 1;
        self.byte = byte;
        self.left = 8;
        Some(())
    }

    /// One bit, `u(1)`.
    pub fn flag(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.load()?;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// `count` bits as a number, `u(n)`; `None` for more than 32.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        if count > 32 {
            return None;
        }
        let mut value = 0u64;
        let mut wanted = count;
        while wanted > 0 {
            if self.left == 0 {
                self.load()?;
            }
            let take = wanted.min(self.left);
            self.left -= take;
            let part = u64::from(self.byte) >> self.left & ((1 << take) - 1);
            value = value << take | part;
            wanted -= take;
        }
        u32::try_from(value).ok()
    }

    /// Leaves out `count` bits.
    pub fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count / 32 {
            self.bits(32)?;
        }
        self.bits(count % 32).map(|_| ())
    }

    /// Unsigned Exp-Golomb code, `ue(v)` (H.264 clause 9.1).
    pub fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            // 32 zeros would need a 33-bit number; no syntax element is that large.
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// Signed Exp-Golomb code, `se(v)` (H.264 clause 9.1.1).
    pub fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_read_as_the_standard_numbers_them() {
        // 1 010 011 00100 00101 1: 0, 1, 2, 3, 4, 0
        let bytes = [0b1010_0110, 0b0100_0010, 0b1100_0000];
        let mut reader = BitReader::new(&bytes);
        let codes: Vec<u32> = std::iter::from_fn(|| reader.ue()).take(6).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 0]);
        let mut reader = BitReader::new(&bytes);
        let codes: Vec<i32> = std::iter::from_fn(|| reader.se()).take(5).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn emulation_prevention_bytes_are_left_out() {
        let mut reader = BitReader::escaped(&[0, 0, 3, 1, 0, 0, 3]);
        assert_eq!(reader.bits(24), Some(1));
        assert_eq!(reader.bits(16), Some(0));
        assert_eq!(reader.flag(), None);
    }

    #[test]
    fn a_code_without_an_end_is_refused() {
        assert_eq!(BitReader::new(&[0; 16]).ue(), None);
        assert_eq!(BitReader::new(&[0xff; 8]).bits(33), None);
        assert_eq!(BitReader::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).ue(), Some(u32::MAX - 1));
    }
}
