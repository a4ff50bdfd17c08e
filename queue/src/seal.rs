//! The seal: how octets on the disk prove that they are ours, and where they were written.
//!
//! Every checksum in a segment is seeded with the spool's secret, the slot, the start and the use of
//! the slot, and with its own offset. So neither what an earlier use left behind, nor what was
//! written to a wrong place, nor a record that a sender has forged within a body can validate.

use crc32fast::Hasher;

/// What everything in one segment is sealed with.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    seeded: Hasher,
}

impl Seal {
    pub(crate) fn new(secret: u64, slot: u32, epoch: u32, serial: u64) -> Self {
        let mut seeded = Hasher::new();
        seeded.update(&secret.to_le_bytes());
        seeded.update(&slot.to_le_bytes());
        seeded.update(&epoch.to_le_bytes());
        seeded.update(&serial.to_le_bytes());
        Self { seeded }
    }

    /// The checksum of octets that belong to this offset of the segment.
    pub(crate) fn crc(&self, offset: u64, octets: &[u8]) -> u32 {
        let mut hasher = self.seeded.clone();
        hasher.update(&offset.to_le_bytes());
        hasher.update(octets);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_seed_counts() {
        let crc = |seal: Seal, offset| seal.crc(offset, b"octets");
        let all = [
            crc(Seal::new(1, 2, 3, 4), 5),
            crc(Seal::new(9, 2, 3, 4), 5),
            crc(Seal::new(1, 9, 3, 4), 5),
            crc(Seal::new(1, 2, 9, 4), 5),
            crc(Seal::new(1, 2, 3, 9), 5),
            crc(Seal::new(1, 2, 3, 4), 9),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
