//! PROXY headers: what is read is what a plain reading of the specification gives, in any pieces, and
//! not an octet of the session behind the header is taken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use angarium::net::proxy::{Fault, HEADER_TIME, read_header};
use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use crate::{Target, pieces};

pub(crate) const TARGET: Target = Target {
    name: "proxy",
    words: &[
        "PROXY ",
        "TCP4 ",
        "TCP6 ",
        "UNKNOWN",
        " 192.0.2.7",
        " 127.0.0.1",
        " 2001:db8::7",
        " ::1",
        " ::ffff:127.0.0.1",
        " 25",
        " 65535",
        " 65536",
        " 01",
        " ",
        "\r\n",
        "\r",
        "\n",
        "\r\n\r\n\0\r\nQUIT\n",
        "\x20",
        "\x21",
        "\x11",
        "\x31",
        "\0\x0c",
        "\0\x24",
        "\x1f\x7f",
        "\x20\0",
        "\x7f\0\0\x01",
        "\x03\0\x04\0\0\0\0",
        "EHLO c.example\r\n",
    ],
    octets_max: 20_000,
    check,
};

/// The most that a header may take, in octets: of version 2 with what a proxy adds.
const OCTETS_MAX: usize = 16 + 8192;
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());
    &RUNTIME
}

type Read = Result<Option<SocketAddr>, Fault>;

/// What is read, and how many octets were taken for it.
fn read(wire: &[u8]) -> (Read, usize) {
    let mut rest = wire;
    let read = runtime().block_on(read_header(&mut rest, HEADER_TIME));
    (read, wire.len() - rest.len())
}

/// The same from a connection that brings pieces.
fn read_pieces(wire: &[u8], random: &mut Rng) -> (Read, usize) {
    runtime().block_on(async {
        let (mut proxy, mut server) = tokio::io::duplex(64 * 1024);
        let reading = async {
            let read = read_header(&mut server, HEADER_TIME).await;
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            (read, wire.len() - rest.len())
        };
        let writing = async {
            for piece in pieces(wire, random) {
                proxy.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(proxy);
        };
        tokio::join!(reading, writing).0
    })
}

/// The client that a plain reading finds, and where the header ends; `None` where there is none.
fn plain(wire: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
    if wire.starts_with(b"PROXY ") {
        let end = memchr::memmem::find(wire, b"\r\n").filter(|end| end + 2 <= 107)?;
        return Some((plain_1(&String::from_utf8_lossy(&wire[..end]))?, end + 2));
    }
    let head = wire.strip_prefix(SIGNATURE)?.first_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let rest = wire.get(16..16 + length).filter(|rest| rest.len() <= 8192)?;
    Some((plain_2(head[0], head[1], rest)?, 16 + length))
}

fn plain_1(line: &str) -> Option<Option<SocketAddr>> {
    if line.contains('\r') {
        return None;
    }
    if line.starts_with("PROXY UNKNOWN") {
        return Some(None);
    }
    let words: Vec<&str> = line.split(' ').collect();
    let [_, family, client, own, client_port, own_port] = words[..] else { return None };
    let _ = own_port.parse::<u16>().ok()?;
    let client: IpAddr = match family {
        "TCP4" => (client.parse::<Ipv4Addr>().ok()?, own.parse::<Ipv4Addr>().ok()?).0.into(),
        "TCP6" => (client.parse::<Ipv6Addr>().ok()?, own.parse::<Ipv6Addr>().ok()?).0.into(),
        _ => return None,
    };
    Some(usable(SocketAddr::new(client, client_port.parse().ok()?)))
}

fn plain_2(version: u8, family: u8, rest: &[u8]) -> Option<Option<SocketAddr>> {
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    match (version, family) {
        (0x20, _) | (0x21, 0) => Some(None),
        (0x21, 0x11) => {
            let client: [u8; 4] = *rest.get(..12)?.first_chunk()?;
            Some(usable((client, port(8)).into()))
        }
        (0x21, 0x21) => {
            let client: [u8; 16] = *rest.get(..36)?.first_chunk()?;
            Some(usable((client, port(32)).into()))
        }
        (0x21, 0x31) => (rest.len() >= 216).then_some(None),
        _ => None,
    }
}

/// An address of the proxy's own machine means nothing on ours.
fn usable(client: SocketAddr) -> Option<SocketAddr> {
    let ip = client.ip().to_canonical();
    let odd = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    (!odd).then_some(client)
}

fn check(wire: &[u8], random: &mut Rng) {
    let (read, taken) = read(wire);
    assert!(taken <= OCTETS_MAX);
    let (in_pieces, taken_in_pieces) = read_pieces(wire, random);
    assert_eq!((format!("{in_pieces:?}"), taken_in_pieces), (format!("{read:?}"), taken));
    match (read, plain(wire)) {
        (Ok(client), Some((expected, end))) => assert_eq!((client, taken), (expected, end)),
        (Ok(client), None) => panic!("{client:?} is read where there is no header"),
        (Err(fault), Some(found)) => panic!("{fault}, where there is {found:?}"),
        (Err(_), None) => {}
    }
}
