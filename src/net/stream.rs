//! Outgoing connections to next hops, over TCP or a Unix socket.
//!
//! Promises to try each address of a host in order, each within the time given, and to say what
//! failed in words for the log and the queue listing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use crate::route::next_hop::Place;

/// A connection to a next hop.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
}

/// Connects; each address gets `limit`. The error is a sentence.
pub async fn connect(place: &Place, limit: Duration) -> Result<Stream, String> {
    match place {
        Place::Unix(path) => match timeout(limit, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Stream::Unix(stream)),
            Ok(Err(error)) => Err(format!("can't connect to {}: {error}", path.display())),
            Err(_) => Err(format!("can't connect to {} in time", path.display())),
        },
        Place::Tcp { host, port } => connect_tcp(host, *port, limit).await,
    }
}

async fn connect_tcp(host: &str, port: u16, limit: Duration) -> Result<Stream, String> {
    let addresses = match timeout(limit, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("can't look up {host}: {error}")),
        Err(_) => return Err(format!("can't look up {host} in time")),
    };
    let mut failure = format!("{host} has no address");
    for address in addresses {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small commands must not wait for each other's acknowledgements.
                let _ = stream.set_nodelay(true);
                return Ok(Stream::Tcp(stream));
            }
            Ok(Err(error)) => failure = format!("can't connect to {address}: {error}"),
            Err(_) => failure = format!("can't connect to {address} in time"),
        }
    }
    Err(failure)
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
