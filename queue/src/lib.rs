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
//! milliseconds before its sync (the recipient is then attempted twice), and that the last write of
//! a crashed run can be told from damage (it is reported, and its segment kept).
//!
//! # The map
//!
//! | module | what it is |
//! |---|---|
//! | [`id`] | message identifiers |
//! | [`entry`] | recipients, their states, and which changes may happen |
//! | [`spool`] | the face: open, commit, record, stage, load, list |
//! | [`schedule`] | which job is delivered next, and when a deferred one is tried again; pure |
//! | `op`, `open` | what may be committed; options, errors and reports of opening |
//! | `shared`, `writer`, `group` | the queue to the writer thread, its loop, one synced group |
//! | `log`, `frame`, `record`, `input` | segments, sealed frames, records, total decoding |
//! | `content`, `read` | staged bodies; reading back with checks |
//! | `index` | what is alive and where, in memory |
//! | `superblock`, `recovery` | the claim of ownership; start-up |
//! | `housekeeping` | freeing the oldest segment, moving live messages forward |
//! | [`disk`] | the only file calls |
//!
//! Only `disk` calls the file system; only the writer thread waits for syncs, apart from the
//! staging of large bodies, which blocks its caller. The crate knows no protocol, no socket, no
//! clock. `FORMAT.md` draws what is on the disk.

pub mod disk;
pub mod entry;
pub mod id;
pub mod schedule;
pub mod spool;

mod census;
mod content;
mod frame;
mod group;
mod housekeeping;
mod index;
mod input;
mod log;
mod op;
mod open;
mod read;
mod record;
mod recovery;
mod shared;
mod superblock;
mod writer;
