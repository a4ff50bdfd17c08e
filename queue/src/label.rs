//! Labels: the first block of each segment, and the two slots of the superblock.
//!
//! A label says whose the file is, which place it has and what it is used for. Names of segments are
//! the numbers of their slots. Reading never panics; a damaged label is no label.

use crate::input::Input;
use crate::seal::Seal;

/// The unit in which groups are written: no acknowledged block is ever written again.
pub(crate) const BLOCK: u64 = 4096;
/// Octets of a label.
pub(crate) const LABEL_OCTETS: usize = 60;
/// The version of everything on the disk.
pub(crate) const VERSION: u32 = 2;

const MAGIC: &[u8; 8] = b"ANGARIUM";
const SUFFIX: &str = ".segment";

/// What a file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A segment that may be used for anything.
    Free,
    /// A part of the log.
    Log,
    /// Blocks of large bodies.
    Bulk,
    /// Blocks of large bodies; nothing new is put there, as damage may hide whose they are.
    Kept,
    /// A slot of the superblock.
    Superblock,
}

impl Use {
    const ALL: [Self; 5] = [Self::Free, Self::Log, Self::Bulk, Self::Kept, Self::Superblock];

    fn decode(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|usage| *usage as u32 == number)
    }
}

/// The fields of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) version: u32,
    pub(crate) usage: Use,
    /// The slot; in the superblock, the shard.
    pub(crate) slot: u32,
    /// The start that wrote it.
    pub(crate) epoch: u32,
    pub(crate) secret: u64,
    /// Rises with each segment that is taken into use; orders the log.
    pub(crate) serial: u64,
    /// The number of the first group; groups of this number or higher in segments before it are
    /// void. In the superblock, that of the oldest group that counts.
    pub(crate) first: u64,
    /// Octets of the segment, the label's block included.
    pub(crate) size: u64,
}

impl Label {
    pub(crate) fn encode(&self) -> [u8; LABEL_OCTETS] {
        let mut out = Vec::with_capacity(LABEL_OCTETS);
        out.extend_from_slice(MAGIC);
        for number in [self.version, self.usage as u32, self.slot, self.epoch] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.secret, self.serial, self.first, self.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        let mut label = [0; LABEL_OCTETS];
        label.copy_from_slice(&out);
        label
    }

    /// Reads a label; `None` when it is none, or damaged.
    pub(crate) fn decode(octets: &[u8]) -> Option<Self> {
        let covered = octets.get(..LABEL_OCTETS - 4)?;
        let mut input = Input::new(octets);
        if input.take(8)? != MAGIC {
            return None;
        }
        let (version, usage) = (input.u32()?, input.u32()?);
        let (slot, epoch) = (input.u32()?, input.u32()?);
        let (secret, serial, first, size) =
            (input.u64()?, input.u64()?, input.u64()?, input.u64()?);
        if input.u32()? != crc32fast::hash(covered) {
            return None;
        }
        // A later version may have uses that this one does not know; its number tells.
        let usage = Use::decode(usage).or((version != VERSION).then_some(Use::Free))?;
        Some(Self { version, usage, slot, epoch, secret, serial, first, size })
    }

    /// What the segment's content is sealed with.
    pub(crate) fn seal(&self) -> Seal {
        Seal::new(self.secret, self.slot, self.epoch, self.serial)
    }
}

/// The name of the segment in a slot.
pub(crate) fn segment_name(slot: u32) -> String {
    format!("{slot:08}{SUFFIX}")
}

/// The slot of the segment that has this name.
pub(crate) fn segment_slot(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    let slot = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    // Only the spelling this crate writes: two names must not mean one segment.
    (segment_name(slot) == name).then_some(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_and_damage_shows() {
        let label = Label {
            version: VERSION,
            usage: Use::Kept,
            slot: 7,
            epoch: 8,
            secret: 9,
            serial: 10,
            first: 11,
            size: 12,
        };
        let octets = label.encode();
        assert_eq!(Label::decode(&octets), Some(label));
        for bit in 0..octets.len() * 8 {
            let mut bad = octets;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Label::decode(&bad), None, "bit {bit}");
        }
        for short in 0..octets.len() {
            assert_eq!(Label::decode(&octets[..short]), None);
        }
    }

    #[test]
    fn names_are_numbers_in_one_spelling() {
        assert_eq!(segment_name(7), "00000007.segment");
        assert_eq!(segment_slot("00000007.segment"), Some(7));
        assert_eq!(segment_slot("4294967295.segment"), Some(u32::MAX));
        for name in ["7.segment", "000000007.segment", "+0000007.segment", "damaged-7", ".segment"]
        {
            assert_eq!(segment_slot(name), None, "{name}");
        }
    }
}
