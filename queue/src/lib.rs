//! A durable disk queue for store-and-forward services: what it takes, it keeps until it ends.
//!
//! # The promise
//!
//! Cited elsewhere as I1 to I9.
//!
//! 1. **Durable.** A batch is answered as done only after a completed sync of all of it.
//! 2. **Whole.** Nothing is recovered that was not received whole: checksums cover each batch, each
//!    envelope and each body, and are seeded so that no octets but our own can satisfy them.
//! 3. **Not again.** A recipient is offered for another attempt only while no durable completion
//!    for it exists.
//! 4. **One end.** Every recipient ends exactly once: delivered, failed, expired, or removed by the
//!    operator. Whatever arrives after the end changes nothing.
//! 5. **Memory.** Attempts, due times and last replies survive a restart.
//! 6. **Damage is local.** One damaged record loses at most the message it holds, and is reported
//!    with file, offset and length. Nothing is deleted because it could not be read: it is set
//!    aside under a name that begins with `damaged-`.
//! 7. **All or nothing.** A message that was never acknowledged may appear after a crash, whole;
//!    half of one never does.
//! 8. **A full disk** loses nothing, and never stops the recording of completions: they have room
//!    of their own, and should that run out, they wait in memory for more.
//! 9. **Recovery may be interrupted** at any point, and begun again with the same result.
//!
//! What it does not promise: that a completion nobody waited for survives a crash in the
//! milliseconds before its sync (the recipient is then attempted twice), and that the last group of a
//! crashed run can be told from damage, until another one stands behind it (it is reported).
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`id`] | message identifiers |
//! | [`entry`] | recipients, their states, and which changes may happen |
//! | [`spool`] | the face: open, commit, record, stage, load, list |
//! | [`schedule`] | which job is delivered next, and when a deferred one is tried again; pure |
//! | [`fsck`], [`snapshot`], [`copy`] | a spool that nobody has open: checked, read, copied |
//! | `op`, `open`, `staging` | what may be committed; options and reports of opening; large bodies |
//! | `engine`, `memory` | the engine on a disk, put together; the one in memory |
//! | `shared`, `writer`, `group` | the queue to the writer's thread, its loop, one synced group |
//! | `appended` | which messages were appended since the start |
//! | `log`, `footer`, `bulk`, `pool` | the log and its footers, blocks of large bodies, segments |
//! | `traffic` | which sync goes first |
//! | `label`, `seal`, `record`, `walk`, `input` | what stands in a segment, and reading it totally |
//! | `index`, `mark`, `census` | what is alive and where, in memory: numbers, no text |
//! | `read` | reading back with checks |
//! | `superblock`, `recovery` | the claim of ownership; start-up in two steps |
//! | `chores` | sealing, freeing the oldest segment, moving live messages forward |
//! | [`disk`] | the only file calls |
//!
//! Only `disk` calls the file system. Syncs are waited for by the writer's thread, by the
//! housekeeper's, and by who stages a large body. The crate knows no protocol, no socket, no clock.
//! `FORMAT.md` draws what is on the disk.

pub mod copy;
pub mod disk;
pub mod entry;
pub mod fsck;
pub mod id;
pub mod schedule;
pub mod snapshot;
pub mod spool;

mod appended;
mod bulk;
mod census;
mod chores;
mod engine;
mod footer;
mod group;
mod index;
mod input;
mod label;
mod log;
mod mark;
mod memory;
mod op;
mod open;
mod pool;
mod read;
mod record;
mod recovery;
mod seal;
mod shared;
mod staging;
mod superblock;
mod traffic;
mod walk;
mod writer;
