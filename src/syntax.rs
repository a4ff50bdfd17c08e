//! Floor 1: octets to values and back.
//!
//! Promises that every parser is total: any input gives a value or an error, never a panic, and
//! costs no more than the input's length. Knows no socket, no clock and no policy.

pub mod command;
pub mod content;
pub mod domain;
pub mod header;
pub mod lint;
pub mod local_part;
mod mailbox;
pub mod parameter;
pub mod path;
pub mod reply;
pub mod sasl;
pub mod stream;
pub mod xclient;
pub mod xtext;
