//! Angarium, a mail transfer agent: SMTP in, a durable disk queue, SMTP and LMTP out.
//!
//! # The way of a message
//! ```text
//!  client ──TCP──▶ daemon::listeners ─▶ receive ─drives▶ session (sans-IO) ──asks──▶ policy, route
//!                                          │ content                              door, probe
//!                                          ▼
//!                                       intake ──▶ queue (log) ── group commit, synced ──▶ 250
//!                                          │ accepted
//!                                          ▼
//!                                       dispatch ── owns queue::schedule, picks
//!                                          │ assignment                 ▲ outcomes
//!                                          ▼                            │
//!                                       agent ─drives▶ delivery::dialog (sans-IO) ──▶ next hop
//!                                          └────── outcome per recipient ──▶ queue (completion)
//! ```
//! Data flows one way. Nothing downstream calls back up; results travel as values.
//!
//! # Rooms, by floor
//! A room imports only from floors below its own, or from a room to its left; `tests/tidy.rs` holds
//! the house to that.
//!
//! | floor | rooms, left to right |
//! |---|---|
//! | Q | the crate `angarium-queue`: spool and scheduler; knows no SMTP, no socket, no tokio |
//! | 0 | [`registry`] what IANA and the RFCs have named; [`metric`] the figures; [`event`] the lines of the log |
//! | 1 | [`syntax`] octets to values and back; [`envelope`] what travels beside content |
//! | 2 | [`session`] receiving, without I/O |
//! | 3 | [`policy`] verdicts; [`route`] recipient to destination |
//! | 4 | [`delivery`] sending, without I/O, and what becomes of each recipient; [`report`] to senders; [`submission`] what users may send, repaired |
//! | 5 | [`net`] sockets and clock; [`auth`] who a client is; [`pool`]; [`probe`]; [`backlog`]; [`door`]; [`intake`]; [`limits`]; [`receive`]; [`local`]; [`agent`]; [`dispatch`] |
//! | 6 | [`config`]; [`control`]; [`daemon`]; [`demo`]; [`cli`] |
//!
//! # Invariants
//! - A `250` after content is said only after the spool's sync returned (`intake`).
//! - Floors 0 to 4 open no socket and ask no clock: `now` is an argument.
//! - Each recipient of an assignment gets one outcome, decided in `delivery::outcome`.
//! - A report is durable together with the failure that it tells of (`dispatch::notify`).
//! - The scheduler belongs to one task and holds no lock; where a recipient goes is never stored.
//! - A panic ends one session or one delivery, and loses no accepted message.

pub mod agent;
pub mod auth;
pub mod backlog;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod delivery;
pub mod demo;
pub mod dispatch;
pub mod door;
pub mod envelope;
pub mod event;
pub mod intake;
pub mod limits;
pub mod local;
pub mod metric;
pub mod net;
pub mod policy;
pub mod pool;
pub mod probe;
pub mod receive;
pub mod registry;
pub mod report;
pub mod route;
pub mod session;
pub mod submission;
pub mod syntax;
