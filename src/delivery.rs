//! Floor 4: sending, a machine without I/O.
//!
//! Promises that each recipient of a transaction gets exactly one outcome, whatever the other side
//! does; that the mapping of replies and failures to outcomes is in one file; and that what they say of
//! the site is told beside the outcomes.

pub mod complaint;
pub mod convert;
pub mod dialog;
pub mod features;
pub mod finding;
mod login;
pub mod outcome;
pub mod relay;
