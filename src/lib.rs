//! Angarium, a mail transfer agent.

pub mod delivery;
pub mod envelope;
pub mod registry;
pub mod session;
pub mod syntax;
