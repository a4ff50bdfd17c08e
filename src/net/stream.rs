//! Connections over TCP or a Unix socket, and how next hops are reached by them.
//!
//! Promises that each step is within the time given, and that what failed is said in words for the
//! log and the queue listing.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::route::next_hop::Place;

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// One address of a next hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The addresses of a place, in the order to try them; at least one. The error is a sentence.
pub async fn addresses(place: &Place, limit: Duration) -> Result<Vec<Address>, String> {
    let (host, port) = match place {
        Place::Unix(path) => return Ok(vec![Address::Unix(path.clone())]),
        Place::Tcp { host, port } => (host.as_str(), *port),
    };
    let found: Vec<Address> = match timeout(limit, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.map(Address::Tcp).collect(),
        Ok(Err(error)) => return Err(format!("can't look up {host}: {error}")),
        Err(_) => return Err(format!("can't look up {host} in time")),
    };
    if found.is_empty() { Err(format!("{host} has no address")) } else { Ok(found) }
}

/// Connects within `limit`. The error is a sentence.
pub async fn connect(address: &Address, limit: Duration) -> Result<Stream, String> {
    let connecting = async {
        match address {
            Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                // Small commands must not wait for each other's acknowledgements.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
        }
    };
    match timeout(limit, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("can't connect to {address}: {error}")),
        Err(_) => Err(format!("can't connect to {address} in time")),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
