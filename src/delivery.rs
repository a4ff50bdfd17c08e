//! Floor 4: sending, a machine without I/O.
//!
//! Promises that each recipient of a transaction gets exactly one outcome, whatever the other side
//! does, and that the mapping of replies and failures to outcomes is in one file.

pub mod complaint;
pub mod convert;
pub mod dialog;
mod features;
pub mod outcome;
