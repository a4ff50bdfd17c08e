//! The log: numbered segments, of which the newest is written to.
//!
//! Promises: a segment's label and name are durable before its first frame; a segment whose write
//! or sync failed is never written again; a number is used once. Appends leave the reserve of each
//! segment to control records, and when the disk has no room for a whole segment, control records
//! go to a shorter one, or at last to a spare one that was laid by (I8).

use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile, is_full};
use crate::frame::{Frames, Kind, LABEL_SPACE, Label, Seal, VERSION};
use crate::open::Options;
use crate::superblock::Claim;

const SUFFIX: &str = ".log";
const SPARE: &str = "spare";

/// The name of a segment.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:08}{SUFFIX}")
}

/// The number of the segment that has this name.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    // Only the spelling this crate writes: two names must not mean one segment.
    (segment_name(number) == name).then_some(number)
}

/// The segment that is written to.
struct Active {
    number: u32,
    file: Arc<dyn DiskFile>,
    /// Where the next frame goes.
    end: u64,
    size: u64,
}

pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    claim: Claim,
    segment_size: u64,
    reserve: u64,
    next: u32,
    active: Option<Active>,
    /// A spare segment lies by.
    spare: bool,
}

impl Log {
    pub(crate) fn new(disk: Arc<dyn Disk>, claim: Claim, options: &Options, next: u32) -> Self {
        let (segment_size, reserve) = (options.segment_size, options.reserve);
        Self { disk, claim, segment_size, reserve, next, active: None, spare: false }
    }

    /// The segment that is written to, when there is one.
    pub(crate) fn active(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.number)
    }

    /// Frames to be written next; `None` without an active segment.
    pub(crate) fn frames(&self) -> Option<Frames> {
        let active = self.active.as_ref()?;
        Some(Frames::new(self.seal(active.number), active.end))
    }

    fn seal(&self, segment: u32) -> Seal {
        Seal { secret: self.claim.secret, segment, epoch: self.claim.epoch }
    }

    /// Frames that end at this offset have room in the active segment.
    pub(crate) fn fits(&self, end: u64, control: bool) -> bool {
        let Some(active) = &self.active else { return false };
        let reserve = if control { 0 } else { self.reserve };
        end <= active.size.saturating_sub(reserve)
    }

    /// Octets that the active segment still has for appends.
    pub(crate) fn append_room(&self) -> u64 {
        let Some(active) = &self.active else { return 0 };
        active.size.saturating_sub(self.reserve).saturating_sub(active.end)
    }

    /// Opens the next segment, with room for a frame of `need` octets.
    ///
    /// When the disk is full and only control records are to be written, a shorter one will do.
    pub(crate) fn roll(&mut self, control: bool, need: u64) -> io::Result<()> {
        let error = match self.create(self.segment_size) {
            Err(error) if control && is_full(&error) => error,
            other => return other,
        };
        let short = LABEL_SPACE + self.reserve.max(need);
        match self.create(short) {
            Err(again) if is_full(&again) => {}
            other => return other,
        }
        self.use_spare(LABEL_SPACE + need).map_err(|_| error)
    }

    /// Lays a short segment by for when the disk is full, unless there is one.
    pub(crate) fn lay_spare_by(&mut self) {
        if self.spare {
            return;
        }
        let size = LABEL_SPACE + self.reserve;
        let laid = match self.disk.create(SPARE, size) {
            // From an earlier start; perhaps with another reserve, or cut short by a crash.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.disk.open(SPARE),
            other => other,
        };
        let laid = laid.and_then(|file| {
            file.sync()?;
            self.disk.sync_dir()?;
            if file.size()? < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        });
        if laid.is_err() {
            let _ = self.disk.remove(SPARE);
        }
        // Without room there is none for now; it is tried again when space comes back.
        self.spare = laid.is_ok();
    }

    fn use_spare(&mut self, need: u64) -> io::Result<()> {
        let file = self.disk.open(SPARE)?;
        let size = file.size()?;
        if size < need {
            return Err(io::Error::other("the spare segment is too short"));
        }
        self.disk.rename(SPARE, &segment_name(self.next))?;
        self.spare = false;
        self.begin(file, size)
    }

    fn create(&mut self, size: u64) -> io::Result<()> {
        let file = self.disk.create(&segment_name(self.next), size)?;
        self.begin(file, size)
    }

    /// Makes a file that has the next segment's name the active segment.
    fn begin(&mut self, file: Arc<dyn DiskFile>, size: u64) -> io::Result<()> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or_else(|| io::Error::other("no segment left"))?;
        if let Err(error) = self.label(number, &*file) {
            // It holds nothing; should it stay, recovery frees it in its turn.
            let _ = self.disk.remove(&segment_name(number));
            return Err(error);
        }
        self.active = Some(Active { number, file, end: LABEL_SPACE, size });
        Ok(())
    }

    fn label(&self, number: u32, file: &dyn DiskFile) -> io::Result<()> {
        let (epoch, secret) = (self.claim.epoch, self.claim.secret);
        let label = Label { version: VERSION, number, epoch, secret };
        file.write_at(0, &label.encode(Kind::Segment))?;
        file.sync()?;
        self.disk.sync_dir()
    }

    /// Writes the frames and makes them durable. After an error the segment is not written again.
    pub(crate) fn write(&mut self, frames: &Frames) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("no segment is open"));
        };
        let written = active.file.write_at(active.end, frames.octets());
        match written.and_then(|()| active.file.sync()) {
            Ok(()) => {
                active.end = frames.offset();
                Ok(())
            }
            Err(error) => {
                self.active = None;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbers_in_one_spelling() {
        assert_eq!(segment_name(7), "00000007.log");
        assert_eq!(segment_number("00000007.log"), Some(7));
        assert_eq!(segment_number("4294967295.log"), Some(u32::MAX));
        for name in ["7.log", "000000007.log", "+0000007.log", "damaged-00000007.log", ".log"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
