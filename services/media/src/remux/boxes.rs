//! Writing ISO base media file format boxes (ISO/IEC 14496-12, 4.2).

/// A growing row of boxes.
#[derive(Debug, Default)]
pub(crate) struct Boxes {
    bytes: Vec<u8>,
}

impl Boxes {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// A box with what `fill` writes into it.
    pub(crate) fn boxed(&mut self, kind: &[u8; 4], fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.u32(0).bytes(kind);
        fill(self);
        // Sizes stay far below 4 GiB: an access unit is bounded, and so is the sound between two.
        let size = (self.bytes.len() - start) as u32;
        self.patch(start, size);
    }

    /// A box that starts with its version and flags.
    pub(crate) fn full(&mut self, kind: &[u8; 4], version: u8, flags: u32, fill: impl FnOnce(&mut Self)) {
        self.boxed(kind, |b| {
            b.u32(u32::from(version) << 24 | flags);
            fill(b);
        });
    }

    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn zeros(&mut self, count: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + count, 0);
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Overwrites the four bytes at `at`.
    pub(crate) fn patch(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
