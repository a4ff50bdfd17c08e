//! Octets read from the disk, taken from the front; each taking may find too few.
//!
//! Refuses by `None`, and never panics: what stands on a disk is input like any other.

use crate::id::MessageId;

/// A position in octets that are being decoded.
#[derive(Default)]
pub(crate) struct Input<'a> {
    octets: &'a [u8],
    taken: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { octets, taken: 0 }
    }

    /// Octets taken so far.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.taken >= self.octets.len()
    }

    pub(crate) fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let end = self.taken.checked_add(octets)?;
        let part = self.octets.get(self.taken..end)?;
        self.taken = end;
        Some(part)
    }

    /// Takes all that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let rest = self.octets.get(self.taken..).unwrap_or_default();
        self.taken = self.octets.len();
        rest
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn id(&mut self) -> Option<MessageId> {
        self.u64().map(MessageId::from_u64)
    }

    /// A text of so many octets.
    pub(crate) fn text(&mut self, octets: usize) -> Option<&'a str> {
        std::str::from_utf8(self.take(octets)?).ok()
    }
}
