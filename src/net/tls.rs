//! TLS by rustls: what secures a connection, in either direction.

mod anyone;
mod certificate;
pub mod client;
mod facts;
mod handshakes;
mod link;
mod pem;
pub mod self_signed;
mod server;
mod store;

pub use certificate::{Certificate, Unfit};
pub use facts::Facts;
pub use handshakes::Limits;
pub use link::Link;
pub use pem::{Chain, Key};
pub use server::{HandshakeFault, Resumption, Server, accept};
pub use store::Kept;

#[cfg(test)]
mod tests;
