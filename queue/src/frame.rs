//! Frames and labels: how octets on the disk prove that they are ours, whole and in their place.
//!
//! A *label* opens each segment and fills each slot of the superblock. A *frame* is one atomic
//! batch in a segment. A frame's mark and checksum are seeded with the spool's secret, the segment,
//! its epoch and the frame's offset: neither octets left over from earlier nor a frame forged
//! within a message body validates, and a sender cannot even make the scan stop to look.
//! Reading never panics, whatever the octets. `FORMAT.md` draws both.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crc32fast::Hasher;

use crate::input::Input;

/// Octets that a segment's label takes; the first frame follows.
pub(crate) const LABEL_SPACE: u64 = 4096;
/// Octets of a label itself.
pub(crate) const LABEL_OCTETS: usize = 36;
/// Octets in front of a frame's payload.
pub(crate) const FRAME_HEAD: usize = 12;
/// The version of everything on the disk.
pub(crate) const VERSION: u32 = 1;

const BORDER: usize = 8;

/// Which kind of thing a label opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Superblock,
    Segment,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Superblock => b"ANGARSUP",
            Self::Segment => b"ANGARLOG",
        }
    }
}

/// The fields of a segment's label or of a superblock slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) version: u32,
    /// The segment's number, or the shard.
    pub(crate) number: u32,
    pub(crate) epoch: u32,
    pub(crate) secret: u64,
}

impl Label {
    pub(crate) fn encode(&self, kind: Kind) -> Vec<u8> {
        let mut out = Vec::with_capacity(LABEL_OCTETS);
        out.extend_from_slice(kind.magic());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&self.secret.to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a label; `None` when it is not one, or damaged.
    pub(crate) fn decode(kind: Kind, octets: &[u8]) -> Option<Self> {
        let covered = octets.get(..LABEL_OCTETS - 4)?;
        let mut input = Input::new(octets);
        if input.take(8)? != kind.magic() {
            return None;
        }
        let (version, number, epoch) = (input.u32()?, input.u32()?, input.u32()?);
        input.u32()?;
        let secret = input.u64()?;
        (input.u32()? == crc32fast::hash(covered)).then_some(Self {
            version,
            number,
            epoch,
            secret,
        })
    }
}

/// What every frame of one segment is sealed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seal {
    pub(crate) secret: u64,
    pub(crate) segment: u32,
    pub(crate) epoch: u32,
}

impl Seal {
    fn seeded(&self) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(&self.secret.to_le_bytes());
        hasher.update(&self.segment.to_le_bytes());
        hasher.update(&self.epoch.to_le_bytes());
        hasher
    }

    /// The four octets that open each frame of this segment; never zero.
    fn mark(&self) -> u32 {
        self.seeded().finalize() | 1
    }

    fn crc(&self, offset: u64, payload: &[u8]) -> u32 {
        let mut hasher = self.seeded();
        hasher.update(&offset.to_le_bytes());
        hasher.update(&(payload.len() as u32).to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }
}

/// Frames under construction, to be written at `base` in one piece.
pub(crate) struct Frames {
    seal: Seal,
    base: u64,
    octets: Vec<u8>,
}

impl Frames {
    pub(crate) fn new(seal: Seal, base: u64) -> Self {
        Self { seal, base, octets: Vec::new() }
    }

    pub(crate) fn segment(&self) -> u32 {
        self.seal.segment
    }

    /// The offset in the segment at which the next octet will stand.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.octets.len() as u64
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Opens a frame; the payload is then appended to the answer's buffer.
    pub(crate) fn begin(&mut self) -> usize {
        let start = self.octets.len();
        self.octets.resize(start + FRAME_HEAD, 0);
        start
    }

    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.octets
    }

    /// Seals the frame that began at `start`; one without payload vanishes.
    pub(crate) fn end(&mut self, start: usize) {
        let Some(payload) = self.octets.get(start + FRAME_HEAD..).filter(|p| !p.is_empty()) else {
            return self.undo(start);
        };
        let length = payload.len() as u32;
        let crc = self.seal.crc(self.base + start as u64, payload);
        let head = [self.seal.mark(), length, crc].map(u32::to_le_bytes).concat();
        if let Some(place) = self.octets.get_mut(start..start + FRAME_HEAD) {
            place.copy_from_slice(&head);
        }
        self.octets.resize(self.octets.len().next_multiple_of(BORDER), 0);
    }

    /// Takes the frame that began at `start` back.
    pub(crate) fn undo(&mut self, start: usize) {
        self.octets.truncate(start);
    }
}

/// A stretch of a segment: from the first octet to before the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What a walk through a segment found.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Where each payload lies.
    pub(crate) payloads: Vec<Stretch>,
    /// What could not be read, with a valid frame after it.
    pub(crate) gaps: Vec<Stretch>,
    /// What could not be read, with nothing valid after it: perhaps a torn last write.
    pub(crate) tail: Option<Stretch>,
    /// The end of the last valid frame.
    pub(crate) end: usize,
}

/// Finds every valid frame of a segment, whose whole content is given.
///
/// Zeros are no proof of the end: a lost page reads as zeros too, so the rest is searched for a
/// further frame in any case.
pub(crate) fn walk(seal: &Seal, segment: &[u8]) -> Walk {
    let mark = seal.mark().to_le_bytes();
    let mut found = Walk { end: LABEL_SPACE as usize, ..Walk::default() };
    let mut at = found.end;
    while let Some(next) = next_mark(&mark, segment, at) {
        let Some(payload) = frame_at(seal, &mark, segment, next) else {
            at = next + BORDER;
            continue;
        };
        if next > found.end {
            found.gaps.push(Stretch { start: found.end, end: next });
        }
        at = payload.end.next_multiple_of(BORDER);
        found.end = at;
        found.payloads.push(payload);
    }
    let rest = segment.get(found.end..).unwrap_or_default();
    found.tail = rest
        .iter()
        .rposition(|&octet| octet != 0)
        .map(|last| Stretch { start: found.end, end: found.end + last + 1 });
    found
}

/// The next border at or after `at` where a frame's mark stands.
fn next_mark(mark: &[u8; 4], segment: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let found = at + memchr::memmem::find(segment.get(at..)?, mark)?;
        if found.is_multiple_of(BORDER) {
            return Some(found);
        }
        at = found + 1;
    }
}

/// Finds out which of these epochs the segment's frames are sealed with.
pub(crate) fn find_epoch(
    secret: u64,
    segment: u32,
    epochs: RangeInclusive<u32>,
    octets: &[u8],
) -> Option<Seal> {
    let seals = epochs.map(|epoch| Seal { secret, segment, epoch });
    let marks: HashMap<[u8; 4], Seal> =
        seals.map(|seal| (seal.mark().to_le_bytes(), seal)).collect();
    (LABEL_SPACE as usize..octets.len()).step_by(BORDER).find_map(|at| {
        let mark: [u8; 4] = octets.get(at..at + 4)?.try_into().ok()?;
        let seal = marks.get(&mark)?;
        frame_at(seal, &mark, octets, at).map(|_| *seal)
    })
}

fn frame_at(seal: &Seal, mark: &[u8; 4], segment: &[u8], at: usize) -> Option<Stretch> {
    let mut input = Input::new(segment.get(at..at + FRAME_HEAD)?);
    if input.take(4)? != mark {
        return None;
    }
    let (length, crc) = (input.u32()? as usize, input.u32()?);
    let payload = Stretch { start: at + FRAME_HEAD, end: (at + FRAME_HEAD).checked_add(length)? };
    let octets = segment.get(payload.start..payload.end)?;
    (length > 0 && seal.crc(at as u64, octets) == crc).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEAL: Seal = Seal { secret: 0x1234_5678_9ABC_DEF0, segment: 3, epoch: 9 };

    fn segment(payloads: &[&[u8]], space: usize) -> Vec<u8> {
        let mut frames = Frames::new(SEAL, LABEL_SPACE);
        for payload in payloads {
            let start = frames.begin();
            frames.payload().extend_from_slice(payload);
            frames.end(start);
        }
        let mut all = vec![0; LABEL_SPACE as usize];
        all.extend_from_slice(frames.octets());
        all.resize(all.len() + space, 0);
        all
    }

    fn texts<'a>(segment: &'a [u8], walk: &Walk) -> Vec<&'a [u8]> {
        walk.payloads.iter().map(|p| &segment[p.start..p.end]).collect()
    }

    #[test]
    fn labels_come_back_and_damage_shows() {
        let label = Label { version: VERSION, number: 7, epoch: 8, secret: 9 };
        let octets = label.encode(Kind::Segment);
        assert_eq!(octets.len(), LABEL_OCTETS);
        assert_eq!(Label::decode(Kind::Segment, &octets), Some(label));
        assert_eq!(Label::decode(Kind::Superblock, &octets), None);
        for bit in 0..octets.len() * 8 {
            let mut bad = octets.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Label::decode(Kind::Segment, &bad), None, "bit {bit}");
        }
    }

    #[test]
    fn every_torn_tail_is_seen_as_a_tail() {
        let whole = segment(&[b"first", b"second one"], 64);
        let second = LABEL_SPACE as usize + 24;
        for kept in second..second + FRAME_HEAD + 10 {
            let mut torn = whole.clone();
            torn[kept..].fill(0);
            let found = walk(&SEAL, &torn);
            assert_eq!(texts(&torn, &found), [b"first"], "kept {kept}");
            assert!(found.gaps.is_empty());
            assert_eq!(found.tail.is_some(), kept > second, "kept {kept}");
        }
    }

    #[test]
    fn a_page_of_zeros_hides_nothing_behind_it() {
        let mut segment = segment(&[&[1; 700], &[2; 700], &[3; 700]], 0);
        let start = LABEL_SPACE as usize + 712;
        segment[start..start + 512].fill(0);
        let found = walk(&SEAL, &segment);
        assert_eq!(texts(&segment, &found), [&[1u8; 700][..], &[3; 700]]);
        assert_eq!(found.gaps, [Stretch { start, end: start + 712 }]);
        assert_eq!(found.tail, None);
    }

    #[test]
    fn a_frame_is_valid_only_where_it_was_written() {
        let inner = segment(&[b"forged"], 0);
        let forged = &inner[LABEL_SPACE as usize..];
        // The head takes 12 octets: four more put the forged frame on a border.
        let outer = segment(&[&[&[0; 4], forged].concat()], 64);
        let found = walk(&SEAL, &outer);
        assert_eq!(found.payloads.len(), 1);
        let mut broken = outer.clone();
        broken[LABEL_SPACE as usize] ^= 1;
        assert!(walk(&SEAL, &broken).payloads.is_empty());
        for other in
            [Seal { secret: 1, ..SEAL }, Seal { segment: 4, ..SEAL }, Seal { epoch: 10, ..SEAL }]
        {
            assert!(walk(&other, &outer).payloads.is_empty());
        }
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..600),
                                   marks in proptest::collection::vec(0usize..70, 0..8)) {
            for at in marks {
                if let Some(place) = octets.get_mut(at * 8..at * 8 + 4) {
                    place.copy_from_slice(&SEAL.mark().to_le_bytes());
                }
            }
            let mut all = vec![0; LABEL_SPACE as usize];
            all.extend_from_slice(&octets);
            prop_assert!(walk(&SEAL, &all).payloads.is_empty());
            walk(&SEAL, &octets);
            Label::decode(Kind::Segment, &octets);
        }
    }
}
