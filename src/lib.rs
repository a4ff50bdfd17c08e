//! Angarium, a mail transfer agent.
