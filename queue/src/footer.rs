//! Footers: at the end of a segment that is full, all its records without the bodies.
//!
//! Promises that a footer that is accepted is the whole of it: two checksums, sealed with the place,
//! say so. With it a start reads what it needs in one piece and no body. Reading never panics and
//! takes no memory beyond the footer.

use std::io;

use crate::disk::{DiskFile, read_exact_at};
use crate::input::Input;
use crate::label::{BLOCK, Label};
use crate::record::{BORDER, Written, claimed_octets};
use crate::seal::Seal;

/// Octets of the trailer that ends a segment.
pub(crate) const TRAILER: usize = 32;
/// Octets by which a footer grows in memory.
const GROWTH: usize = 256 << 10;
/// Octets in front of each record.
const ENTRY: usize = 8;

/// A footer that grows with its segment.
#[derive(Debug, Default)]
pub(crate) struct Footer {
    octets: Vec<u8>,
    count: u32,
}

impl Footer {
    /// Octets that a record of so many octets takes in a footer.
    pub(crate) fn entry_octets(record: usize) -> usize {
        ENTRY + record.next_multiple_of(BORDER)
    }

    /// What it takes at the end of the segment, with so many octets of entries more.
    pub(crate) fn space(&self, more: usize) -> u64 {
        (self.octets.len() + more + TRAILER) as u64
    }

    pub(crate) fn push(&mut self, written: &Written, record: &[u8]) {
        let more = Self::entry_octets(record.len());
        if self.octets.capacity() - self.octets.len() < more {
            // Doubling would hold twice what a segment of small messages needs.
            self.octets.reserve_exact(more.max(GROWTH));
        }
        self.octets.extend_from_slice(&(written.offset as u32).to_le_bytes());
        self.octets.extend_from_slice(&(written.body as u32).to_le_bytes());
        self.octets.extend_from_slice(record);
        self.octets.resize(self.octets.len().next_multiple_of(BORDER), 0);
        self.count += 1;
    }

    /// Appends the trailer; the answer belongs at the returned offset of the segment.
    pub(crate) fn finish(mut self, seal: &Seal, size: u64, last: u64) -> Option<(u64, Vec<u8>)> {
        let octets = self.octets.len() as u64;
        let offset = size.checked_sub(octets + TRAILER as u64)?;
        let crc = seal.crc(offset, &self.octets);
        let mut trailer = crc.to_le_bytes().to_vec();
        trailer.extend_from_slice(&octets.to_le_bytes());
        trailer.extend_from_slice(&last.to_le_bytes());
        trailer.extend_from_slice(&self.count.to_le_bytes());
        trailer.extend_from_slice(&0u32.to_le_bytes());
        let crc = seal.crc(size - TRAILER as u64, &trailer);
        self.octets.extend_from_slice(&crc.to_le_bytes());
        self.octets.extend_from_slice(&trailer);
        Some((offset, self.octets))
    }
}

/// A footer that was read.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its octets, without the trailer.
    pub(crate) octets: Vec<u8>,
    /// Each record: where it stands in the octets, and in the segment.
    pub(crate) records: Vec<(usize, Written)>,
    /// The number of the segment's last group.
    pub(crate) last: u64,
}

/// Reads the footer of a segment; `None` when there is none, or none that is whole.
pub(crate) fn read(file: &dyn DiskFile, label: &Label, seal: &Seal) -> io::Result<Option<Found>> {
    let Some(at) = label.size.checked_sub(TRAILER as u64) else { return Ok(None) };
    let mut trailer = [0; TRAILER];
    read_exact_at(file, at, &mut trailer)?;
    let Some((crc, octets, last, count)) = decode_trailer(&trailer, seal, at) else {
        return Ok(None);
    };
    let Some(offset) = at.checked_sub(octets).filter(|offset| *offset >= BLOCK) else {
        return Ok(None);
    };
    let mut footer = vec![0; octets as usize];
    read_exact_at(file, offset, &mut footer)?;
    if seal.crc(offset, &footer) != crc {
        return Ok(None);
    }
    let records = entries(&footer, count, offset);
    Ok(records.map(|records| Found { octets: footer, records, last }))
}

fn decode_trailer(trailer: &[u8], seal: &Seal, at: u64) -> Option<(u32, u64, u64, u32)> {
    let mut input = Input::new(trailer);
    let sealed = input.u32()?;
    let fields = (input.u32()?, input.u64()?, input.u64()?, input.u32()?);
    (seal.crc(at, trailer.get(4..)?) == sealed).then_some(fields)
}

/// The entries of a footer that begins at `start`, before which all bodies end.
fn entries(footer: &[u8], count: u32, start: u64) -> Option<Vec<(usize, Written)>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < footer.len() {
        let mut input = Input::new(footer.get(at..)?);
        let (offset, body) = (u64::from(input.u32()?), input.u32()? as usize);
        let octets = claimed_octets(footer.get(at + ENTRY..)?)?;
        footer.get(at + ENTRY..)?.get(..octets)?;
        let end = offset.saturating_add((octets + body) as u64);
        (end <= start).then_some(())?;
        records.push((at + ENTRY, Written { offset, octets, body }));
        at += Footer::entry_octets(octets);
    }
    (records.len() == count as usize).then_some(records)
}

#[cfg(test)]
mod tests;
