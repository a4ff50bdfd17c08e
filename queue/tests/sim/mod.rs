//! Mail in virtual time: sources, a discipline that orders it, receivers that take or refuse it.
//!
//! Deterministic from a seed: the same scenario and discipline give the same figures. Time is in
//! microseconds inside; disciplines are told milliseconds. There is no disk and no network, so what
//! is compared is the order alone. Each run checks, and panics otherwise: nothing is delivered twice
//! or ends twice, and no more is in flight than there are slots.
//!
//! `discipline` is what is compared, with `ours`, `fifo`, `slots` (Postfix) and
//! `ready` (KumoMTA); `world` is the event loop over `source`, `receiver` and `ledger`; `scenario` puts
//! them together.

// Each test takes what it needs; and a test may fail where it stands.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each target uses its share")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

pub mod chance;
pub mod discipline;
pub mod fifo;
pub mod ledger;
pub mod ours;
pub mod ready;
pub mod receiver;
pub mod scenario;
pub mod slots;
pub mod source;
pub mod world;

/// A second, a minute, an hour, a day in microseconds, as the world counts.
pub const SECOND: u64 = 1_000_000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;
