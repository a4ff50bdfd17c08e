//! Footers come back whole, or are no footers.

use proptest::prelude::*;

use super::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::id::MessageId;
use crate::label::{Use, VERSION};
use crate::op::Op;
use crate::record::Target;

const SIZE: u64 = 4 * BLOCK;

fn label() -> Label {
    let (usage, slot, epoch, secret, serial, first) = (Use::Log, 3, 9, 1, 21, 40);
    Label { version: VERSION, usage, slot, epoch, secret, serial, first, size: SIZE }
}

/// A segment with a footer for so many records, those records, and where the footer begins.
fn segment(records: u64) -> (Vec<u8>, Vec<Vec<u8>>, usize) {
    let seal = label().seal();
    let mut octets = vec![0; SIZE as usize];
    let (mut footer, mut all, mut entries) = (Footer::default(), Vec::new(), 0);
    for number in 0..records {
        let mut out = Vec::new();
        let op = Op::Via(MessageId::from_u64(number), "x".repeat(number as usize).into());
        let written = Target { seal: &seal, base: BLOCK + 64 * number, out: &mut out }.put(&op, 0);
        out.truncate(written.octets);
        footer.push(&Written { body: 7, ..written }, &out);
        entries += Footer::entry_octets(written.octets);
        assert_eq!(footer.space(0), (entries + TRAILER) as u64);
        all.push(out);
    }
    let (offset, footer) = footer.finish(&seal, SIZE, 77).unwrap();
    assert_eq!(offset as usize + footer.len(), octets.len());
    octets[offset as usize..].copy_from_slice(&footer);
    (octets, all, offset as usize)
}

fn read_from(octets: &[u8]) -> io::Result<Option<Found>> {
    let disk = MemoryDisk::default();
    let file = disk.create("segment", 0).unwrap();
    file.write_at(0, octets).unwrap();
    read(&*file, &label(), &label().seal())
}

#[test]
fn a_footer_comes_back() {
    for records in [0, 1, 20] {
        let (octets, all, _) = segment(records);
        let found = read_from(&octets).unwrap().unwrap();
        assert_eq!(found.last, 77);
        let record = |(at, written): &(usize, Written)| {
            assert_eq!(written.body, 7);
            found.octets[*at..*at + written.octets].to_vec()
        };
        assert_eq!(found.records.iter().map(record).collect::<Vec<_>>(), all);
        let offsets = found.records.iter().map(|(_, written)| written.offset);
        assert!(offsets.eq((0..records).map(|number| BLOCK + 64 * number)));
    }
}

#[test]
fn a_flipped_bit_or_a_cut_makes_it_none() {
    let (octets, _, start) = segment(9);
    for bit in start * 8..octets.len() * 8 {
        let mut bad = octets.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(read_from(&bad).unwrap().is_none(), "bit {bit}");
    }
    for kept in (0..octets.len()).step_by(5) {
        assert!(read_from(&octets[..kept]).is_err(), "the label says how long the segment is");
        let mut bad = octets.clone();
        bad[kept..].fill(0);
        assert!(bad == octets || read_from(&bad).unwrap().is_none(), "{kept}");
    }
    let other = Label { serial: 22, ..label() };
    let disk = MemoryDisk::default();
    let file = disk.create("segment", 0).unwrap();
    file.write_at(0, &octets).unwrap();
    assert!(read(&*file, &other, &other.seal()).unwrap().is_none());
}

proptest! {
    /// Trailers that are sealed, and claim what is not there.
    #[test]
    fn claims_beyond_the_segment_are_refused(
        octets in prop_oneof![0..2 * SIZE, any::<u64>()],
        count in any::<u32>(),
        crc in any::<u32>(),
        right in any::<bool>(),
    ) {
        let seal = label().seal();
        let (mut segment, _, _) = segment(3);
        let at = SIZE - TRAILER as u64;
        let footer = at.checked_sub(octets).and_then(|from| segment.get(from as usize..at as usize));
        let right_crc = footer.map(|footer| seal.crc(at - octets, footer));
        let crc = right_crc.filter(|_| right).unwrap_or(crc);
        let mut trailer = crc.to_le_bytes().to_vec();
        trailer.extend_from_slice(&octets.to_le_bytes());
        trailer.extend_from_slice(&77u64.to_le_bytes());
        trailer.extend_from_slice(&count.to_le_bytes());
        trailer.extend_from_slice(&[0; 4]);
        let sealed = seal.crc(at, &trailer);
        segment[at as usize..][..4].copy_from_slice(&sealed.to_le_bytes());
        segment[at as usize + 4..].copy_from_slice(&trailer);
        if let Some(found) = read_from(&segment).unwrap() {
            prop_assert_eq!((found.records.len(), found.octets.len() as u64), (count as usize, octets));
        }
    }
}
