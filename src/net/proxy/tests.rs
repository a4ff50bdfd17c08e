//! PROXY headers whole, split, broken, too long and too late.

use proptest::prelude::*;
use proxy_header::{ProxiedAddress, Tlv};
use tokio::io::AsyncWriteExt;

use super::*;

const AFTER: &[u8] = b"EHLO c.example\r\nMAIL FROM:<>\r\n";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What is read, and what is left of the wire.
fn read_from(wire: &[u8]) -> (Result<Option<SocketAddr>, Fault>, &[u8]) {
    let mut rest = wire;
    let read = runtime().block_on(read_header(&mut rest, HEADER_TIME));
    (read, rest)
}

fn named(text: &str) -> ProxyHeader<'static> {
    let client: SocketAddr = text.parse().unwrap();
    let own = if client.is_ipv4() { "192.0.2.25:25" } else { "[2001:db8::25]:25" };
    ProxyHeader::with_address(ProxiedAddress::stream(client, own.parse().unwrap()))
}

/// A header in both versions.
fn both(header: &ProxyHeader<'_>) -> [Vec<u8>; 2] {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    header.encode_v1(&mut first).unwrap();
    header.encode_v2(&mut second).unwrap();
    [first, second]
}

#[test]
fn a_header_names_the_client_and_ends_where_the_session_begins() {
    for client in ["198.51.100.7:50000", "[2001:db8::7]:1"] {
        for mut wire in both(&named(client)) {
            wire.extend_from_slice(AFTER);
            let (read, rest) = read_from(&wire);
            assert_eq!(read.unwrap(), Some(client.parse().unwrap()));
            assert_eq!(rest, AFTER);
        }
    }
}

#[test]
fn a_proxy_that_speaks_for_itself_names_nobody() {
    let mut wires: Vec<Vec<u8>> = both(&ProxyHeader::with_local()).into();
    wires.push(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec());
    // An address of its own machine is none of ours.
    for local in ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9", "0.0.0.0:9", "224.0.0.1:9"] {
        wires.extend(both(&named(local)));
    }
    // AF_UNIX: 216 octets of paths.
    wires.push([V2_SIGNATURE, &[0x21, 0x31, 0, 216], &[b'/'; 216]].concat());
    // LOCAL with addresses, of a family that nobody knows, and too short for its own.
    for rest in [&[0x20, 0x11, 0, 4, 9, 9, 9, 9][..], &[0x20, 0xf7, 0, 1, 9], &[0x20, 0x21, 0, 0]] {
        wires.push([V2_SIGNATURE, rest].concat());
    }
    for mut wire in wires {
        wire.extend_from_slice(AFTER);
        let (read, rest) = read_from(&wire);
        assert_eq!(read.unwrap(), None, "{}", wire.escape_ascii());
        assert_eq!(rest, AFTER);
    }
}

#[test]
fn what_a_proxy_adds_is_read_over_up_to_the_bound() {
    for (octets, fits) in [(8192 - 12 - 3, true), (8192 - 12 - 2, false)] {
        let mut header = named("198.51.100.7:50000");
        header.append_tlv(Tlv::Custom(0xe0, vec![7; octets].into()));
        let mut wire = Vec::new();
        header.encode_v2(&mut wire).unwrap();
        wire.extend_from_slice(AFTER);
        match read_from(&wire) {
            (Ok(Some(_)), rest) if fits => assert_eq!(rest, AFTER),
            (Err(Fault::TooLong), _) if !fits => {}
            other => panic!("{octets}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_header_is_refused() {
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200], b"\r\n"].concat();
    let datagram = [V2_SIGNATURE, &[0x21, 0x12, 0, 12], &[9; 12]].concat();
    let version_3 = [V2_SIGNATURE, &[0x31, 0x11, 0, 12], &[9; 12]].concat();
    let short = [V2_SIGNATURE, &[0x21, 0x11, 0, 4], &[9; 4]].concat();
    let wires: [(&[u8], &str); 12] = [
        (b"EHLO c.example\r\n", "there is no PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03xxxxx", "there is no PROXY header"),
        (b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "there is no PROXY header"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "the PROXY header is malformed"),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "the PROXY header is malformed"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", "the PROXY header is malformed"),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "the PROXY header is malformed"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rx\n\r\n", "the PROXY header is malformed"),
        (&long, "the PROXY header is too long"),
        (&datagram, "the PROXY header is malformed"),
        (&version_3, "the PROXY header is malformed"),
        (&short, "the PROXY header is malformed"),
    ];
    for (wire, why) in wires {
        match read_from(wire).0 {
            Err(fault) => assert_eq!(fault.to_string(), why, "{}", wire.escape_ascii()),
            Ok(read) => panic!("{}: {read:?}", wire.escape_ascii()),
        }
    }
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let (mut proxy, mut server) = tokio::io::duplex(64);
    proxy.write_all(b"PROXY TCP4 192.0.2.1 ").await.unwrap();
    let limit = Duration::from_millis(20);
    let read = read_header(&mut server, limit).await;
    assert!(matches!(read, Err(Fault::Late(told)) if told == limit), "{read:?}");
    drop(proxy);
    let read = read_header(&mut server, HEADER_TIME).await;
    assert!(matches!(read, Err(Fault::Failed(_))), "{read:?}");
}

proptest! {
    #[test]
    fn a_header_in_pieces_is_the_same(
        octets: [u8; 4], port: u16, version in 0..2_usize, pieces in prop::collection::vec(1..40_usize, 1..60),
    ) {
        let client = SocketAddr::from((octets, port));
        let mut wire = both(&named(&client.to_string()))[version].clone();
        wire.extend_from_slice(AFTER);
        runtime().block_on(async {
            let (mut proxy, mut server) = tokio::io::duplex(4096);
            let sending = tokio::spawn(async move {
                let mut rest = wire.as_slice();
                for piece in pieces.iter().cycle() {
                    let (now, later) = rest.split_at((*piece).min(rest.len()));
                    proxy.write_all(now).await.unwrap();
                    tokio::task::yield_now().await;
                    if later.is_empty() {
                        break;
                    }
                    rest = later;
                }
            });
            let read = read_header(&mut server, HEADER_TIME).await.unwrap();
            assert_eq!(read, means_something(client.ip()).then_some(client));
            sending.await.unwrap();
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, AFTER);
        });
    }

    /// Whatever comes, it is a header or it is refused, and no more is taken than a header may have.
    #[test]
    fn rubbish_is_refused_in_bounds(
        start in prop::sample::select(vec![
            b"".as_slice(), b"PROXY ", b"PROXY TCP4 192.0.2.1 ", b"PROXY UNKNOWN", V2_SIGNATURE,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c",
        ]),
        more in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let wire = [start, &more, &[b'\n'; 10_000]].concat();
        let (read, rest) = read_from(&wire);
        let taken = wire.len() - rest.len();
        prop_assert!(taken <= 16 + V2_REST_OCTETS_MAX);
        if !wire.starts_with(b"PROXY ") && !wire.starts_with(V2_SIGNATURE) {
            prop_assert!(matches!(read, Err(Fault::Missing)));
            prop_assert_eq!(taken, SHORTEST_OCTETS);
        }
    }

    /// A broken octet never lets the header reach into the session.
    #[test]
    fn a_broken_octet_moves_no_border(version in 0..2_usize, at in 0..28_usize, octet: u8) {
        let whole = &both(&named("198.51.100.7:50000"))[version];
        let mut wire = whole.clone();
        wire[at] = octet;
        wire.extend_from_slice(AFTER);
        if let (Ok(_), rest) = read_from(&wire) {
            // Only the length of version 2 says otherwise, and then it is believed.
            prop_assert!(rest == AFTER || (version == 1 && (14..16).contains(&at)));
        }
    }
}
