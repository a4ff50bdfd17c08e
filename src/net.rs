//! Floor 5: sockets and the clock.
//!
//! Promises that only these files ask the machine for the time or open a connection.

pub mod clock;
pub mod connection;
pub mod http;
pub mod https;
pub mod proxy;
pub mod resolver;
pub mod socket;
pub mod stream;
pub mod tls;
