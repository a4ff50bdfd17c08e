//! The PROXY header, in which a proxy says whom it speaks for, versions 1 and 2.
//!
//! Promises to read the header and not an octet more, so that what follows belongs to TLS or the
//! session; a bound on its length and time; and that a client which a proxy places on its own machine
//! is never taken for one of ours. Whom to believe is the caller's business.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How long a header may take: its sender has nothing to wait for.
pub const HEADER_TIME: Duration = Duration::from_secs(5);

/// The shortest header, `PROXY UNKNOWN` and its line end, is shorter than any of version 2.
const SHORTEST_OCTETS: usize = 15;
/// The longest of version 1, as its specification counts.
const V1_OCTETS_MAX: usize = 107;
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, LOCAL: the octet behind the signature.
const V2_LOCAL: u8 = 0x20;
/// The most after the fixed part of version 2: room for the certificate of a client.
const V2_REST_OCTETS_MAX: usize = 8192;

/// Why a connection has no header that can be used.
#[derive(Debug)]
pub enum Fault {
    /// It begins with something else.
    Missing,
    /// It is none of either version.
    Malformed,
    /// It is longer than a header may be.
    TooLong,
    /// It did not come within this time.
    Late(Duration),
    /// The connection ended.
    Failed(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no PROXY header"),
            Self::Malformed => f.write_str("the PROXY header is malformed"),
            Self::TooLong => f.write_str("the PROXY header is too long"),
            Self::Late(limit) => write!(f, "there is no PROXY header within {limit:?}"),
            Self::Failed(error) => write!(f, "the PROXY header is cut off: {error}"),
        }
    }
}

/// Reads the header within `limit`; gives the client that it names, or `None` when the proxy speaks for itself
/// (LOCAL, UNKNOWN) or for a client without an address that means anything here.
pub async fn read_header<S: AsyncRead + Unpin>(
    stream: &mut S,
    limit: Duration,
) -> Result<Option<SocketAddr>, Fault> {
    let octets = timeout(limit, read(stream)).await.map_err(|_| Fault::Late(limit))??;
    parse(&octets)
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, Fault> {
    let mut octets = Vec::with_capacity(V1_OCTETS_MAX);
    read_more(stream, &mut octets, SHORTEST_OCTETS).await?;
    if octets.starts_with(b"PROXY ") {
        while !octets.ends_with(b"\r\n") {
            if octets.len() >= V1_OCTETS_MAX {
                return Err(Fault::TooLong);
            }
            // Only its end tells where it ends.
            read_more(stream, &mut octets, 1).await?;
        }
    } else if octets.starts_with(V2_SIGNATURE) {
        read_more(stream, &mut octets, 1).await?;
        let Some(length) = octets.last_chunk() else { return Err(Fault::Malformed) };
        let rest = usize::from(u16::from_be_bytes(*length));
        if rest > V2_REST_OCTETS_MAX {
            return Err(Fault::TooLong);
        }
        read_more(stream, &mut octets, rest).await?;
    } else {
        return Err(Fault::Missing);
    }
    Ok(octets)
}

/// Reads `count` octets, or fails.
async fn read_more<S: AsyncRead + Unpin>(
    stream: &mut S,
    octets: &mut Vec<u8>,
    count: usize,
) -> Result<(), Fault> {
    let wanted = octets.len() + count;
    let mut rest = stream.take(count as u64);
    while octets.len() < wanted {
        if rest.read_buf(octets).await.map_err(Fault::Failed)? == 0 {
            return Err(Fault::Failed(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

fn parse(octets: &[u8]) -> Result<Option<SocketAddr>, Fault> {
    let rest = octets.strip_prefix(V2_SIGNATURE);
    if rest.and_then(<[u8]>::first) == Some(&V2_LOCAL) {
        // What else it says has no meaning, not even a family that nobody knows (2.2).
        return Ok(None);
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, consumed) = ProxyHeader::parse(octets, config).map_err(|_| Fault::Malformed)?;
    if consumed != octets.len() {
        return Err(Fault::Malformed);
    }
    let Some(named) = header.proxied_address() else { return Ok(None) };
    if named.protocol != Protocol::Stream {
        return Err(Fault::Malformed);
    }
    let client = named.source;
    Ok(means_something(client.ip().to_canonical()).then_some(client))
}

/// A loopback address is the proxy's machine, which may be another than ours.
fn means_something(client: IpAddr) -> bool {
    !client.is_loopback() && !client.is_unspecified() && !client.is_multicast()
}

#[cfg(test)]
mod tests;
