//! Floor 0: what IANA and the RFCs have named, as data.
//!
//! Promises that every reply code, enhanced status, verb and EHLO keyword that the program uses
//! comes from one table here. Knows nothing of the rest of the program.

pub mod change;
pub mod export;
pub mod extension;
pub mod file;
pub mod grammar;
pub mod mechanism;
pub mod names;
pub mod offer;
pub mod page;
pub mod parameter;
pub mod reply;
pub mod rules;
pub mod status;
pub mod trace;
pub mod verb;
mod word;
