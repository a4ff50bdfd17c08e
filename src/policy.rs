//! Floor 3: verdicts on clients, senders and recipients, and what tenants may ask for.
//!
//! Promises that mail is taken only for what is ours, or from those who may relay; everything a
//! verdict needs comes in as a value.

pub mod access;
pub mod blocklist;
pub mod client;
pub mod gateway;
pub mod guard;
pub mod owner;
pub mod quota;
pub mod rate;
pub mod recipient;
pub mod sender;
pub mod tenant;
pub mod timing;
pub mod verify;
