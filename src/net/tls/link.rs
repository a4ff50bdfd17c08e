//! A connection in clear or under TLS, in either direction.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::facts::Facts;

/// A stream that may be secured.
#[derive(Debug)]
pub enum Link<S> {
    /// As it is.
    Clear(S),
    /// Under TLS.
    Secured(Box<TlsStream<S>>),
    /// Taken out for a handshake that is under way, or that failed: at its end in both directions.
    Gone,
}

impl<S> Link<S> {
    /// What the handshake has agreed on; `None` in clear.
    pub fn facts(&self) -> Option<Facts> {
        match self {
            Self::Clear(_) | Self::Gone => None,
            Self::Secured(stream) => Some(Facts::of(stream)),
        }
    }

    /// Takes the connection out of its place, for a handshake that gives it back.
    pub fn take_out(&mut self) -> Self {
        std::mem::replace(self, Self::Gone)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Link<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Link<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_write(context, octets),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_flush(context),
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(stream) => Pin::new(&mut **stream).poll_shutdown(context),
            Self::Gone => Poll::Ready(Ok(())),
        }
    }
}
