//! What a spool is opened with, and what opening it can find.
//!
//! Every bound of the spool is one of the [`Options`]. Options that contradict each other are
//! refused before the disk is touched.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::label::{BLOCK, VERSION};
use crate::log::longest_group;

/// The spool's bounds. All sizes in octets.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which spool this is; the first part of every message id.
    pub shard: u8,
    /// Length of a segment of the log.
    pub segment_size: u64,
    /// The part of each segment that appends leave to completions and the operator's verbs.
    pub reserve: u64,
    /// The largest body that may be appended from memory; larger ones are staged.
    pub inline_max: usize,
    /// About how much one sync may cover.
    pub group_max_octets: usize,
    /// How long batches that nobody waits for may wait for company, in ms.
    pub completion_delay_ms: u64,
    /// How many such batches are enough company.
    pub completion_batch: usize,
    /// Room that shall stay free on the file system: with less, new mail is refused.
    pub min_free: u64,
    /// Housekeeping has a thread of its own, and recovery may go on beside the first commits.
    /// Without it, all is done in between by the writer, in an order that depends on nothing else.
    pub background: bool,
    /// Messages of earlier starts may be appended: this is a copy of another spool.
    pub adopt: bool,
    /// The lowest epoch that this start may have.
    pub least_epoch: u32,
    /// Who is told of each group, if anybody.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Somebody who measures. Called on the writer thread, which goes on only when the call returns;
/// it may ask a clock, as the queue has none.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A group is about to be written and synced.
    fn writing(&self);
    /// It is durable.
    fn synced(&self, group: Synced);
}

/// What one sync covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Synced {
    /// Batches, whose owners are answered now.
    pub batches: usize,
    /// Octets written to the log.
    pub octets: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            shard: 0,
            segment_size: 32 << 20,
            reserve: 2 << 20,
            inline_max: 128 << 10,
            group_max_octets: 4 << 20,
            completion_delay_ms: 2,
            completion_batch: 64,
            min_free: 64 << 20,
            background: true,
            adopt: false,
            least_epoch: 1,
            observer: None,
        }
    }
}

/// Room for the other fields of an append, in the log and in the footer.
const APPEND_MARGIN: u64 = 8 << 10;

impl Options {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let needed = BLOCK
            .saturating_add(self.reserve)
            .saturating_add(self.inline_max as u64)
            .saturating_add(APPEND_MARGIN)
            .next_multiple_of(BLOCK);
        if self.segment_size > u64::from(u32::MAX) {
            return Err(OpenError::Options("segment_size must be below 4 GiB".into()));
        }
        if self.segment_size < needed || !self.segment_size.is_multiple_of(BLOCK) {
            return Err(OpenError::Options(format!(
                "segment_size must be a multiple of {BLOCK} and at least {needed}: label, reserve \
                 and the largest inline body"
            )));
        }
        Ok(())
    }

    /// Octets that a batch with appends may take, in the log and in the footer.
    pub(crate) fn append_max(&self) -> u64 {
        longest_group(self.segment_size, self.reserve)
    }

    /// Octets that any other batch may take.
    pub(crate) fn control_max(&self) -> u64 {
        longest_group(self.segment_size, 0)
    }

    /// With no more room than this, new mail is refused before it comes.
    pub(crate) fn low_water(&self) -> u64 {
        self.segment_size / 8
    }

    /// Octets of a segment for control records alone, on a full disk.
    pub(crate) fn short_segment(&self) -> u64 {
        (3 * BLOCK + 2 * self.reserve).next_multiple_of(BLOCK).min(self.segment_size)
    }
}

/// Why a spool could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The disk failed.
    Io(io::Error),
    /// Options that contradict each other; the text says which.
    Options(String),
    /// The spool belongs to another shard.
    Shard {
        /// Whose it is.
        found: u32,
        /// Whose it should be.
        expected: u8,
    },
    /// Written by a version of this program that this one does not know.
    Version(u32),
    /// Neither the superblock nor any segment's label can be read.
    Unreadable,
    /// No epoch is left: the spool was started a million times.
    Exhausted,
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the spool cannot be opened: {error}"),
            Self::Options(why) => write!(f, "the spool's options do not fit: {why}"),
            Self::Shard { found, expected } => {
                write!(f, "the spool belongs to shard {found}, not to shard {expected}")
            }
            Self::Version(version) => {
                write!(
                    f,
                    "the spool has format version {version}; this program knows version {VERSION}"
                )
            }
            Self::Unreadable => {
                f.write_str("neither the superblock nor any segment's label can be read")
            }
            Self::Exhausted => f.write_str("the spool has no epoch left"),
        }
    }
}

impl std::error::Error for OpenError {}

/// What opening the spool found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Live messages.
    pub messages: usize,
    /// What could not be read. Everything else was.
    pub damage: Vec<Damage>,
    /// Files that would have been removed were it not for damage; their names now.
    pub set_aside: Vec<String>,
}

/// A stretch of a file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file's name in the spool, at the time of the report.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub octets: u64,
    /// What is wrong, for the operator.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}, {} octets: {}", self.file, self.offset, self.octets, self.what)
    }
}
