//! Content: it ends where CRLF . CRLF is and nowhere else, in any pieces, and what was decoded is
//! encoded and decoded again to the same.

use angarium::syntax::content::{BareLineEnds, ContentFault, Decoder, Encoder, TraitReader};
use fastrand::Rng;

use crate::{Target, pieces};

pub(crate) const TARGET: Target = Target {
    name: "content",
    words: &["\r\n", "\r\n.\r\n", "\r\n.", "\n.\n", "\r.\r", ".", "..", "\0", "\r", "\n", "é", "x"],
    octets_max: 20_000,
    check,
};

/// Decodes pieces up to the end; the content, its fault, and the octets used when it ended.
fn decode<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    bare: BareLineEnds,
) -> (Vec<u8>, Option<ContentFault>, Option<usize>) {
    let (mut decoder, mut out, mut octets) = (Decoder::new(bare), Vec::new(), 0);
    for piece in pieces {
        let (used, ended) = decoder.decode(piece, &mut out);
        octets += used;
        if ended {
            return (out, decoder.fault(), Some(octets));
        }
        assert_eq!(used, piece.len());
    }
    (out, decoder.fault(), None)
}

fn end(wire: &[u8]) -> Option<usize> {
    if wire.starts_with(b".\r\n") {
        return Some(3);
    }
    memchr::memmem::find(wire, b"\r\n.\r\n").map(|at| at + 5)
}

fn is_clean(content: &[u8]) -> bool {
    let count = |part: &[u8]| memchr::memmem::find_iter(content, part).count();
    let pairs = count(b"\r\n");
    count(b"\r") == pairs && count(b"\n") == pairs && !content.contains(&0)
}

fn check(wire: &[u8], random: &mut Rng) {
    let bare = random.choice([BareLineEnds::Refuse, BareLineEnds::Normalise]).unwrap();
    let read = decode([wire], bare);
    assert_eq!(decode(pieces(wire, random), bare), read);
    let (content, fault, ended) = read;
    assert_eq!(ended, end(wire));
    assert!(content.len() <= 2 * wire.len());
    let clean = is_clean(&wire[..ended.unwrap_or(0)]);
    if ended.is_some() && bare == BareLineEnds::Refuse {
        assert_eq!(fault.is_none(), clean);
    }
    if fault.is_none() {
        assert!(is_clean(&content));
        check_outbound(&content, random);
    }
    check_traits(&content, random);
}

fn check_outbound(content: &[u8], random: &mut Rng) {
    let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
    pieces(content, random).into_iter().for_each(|piece| encoder.encode(piece, &mut wire));
    encoder.finish(&mut wire);
    let line_end: &[u8] =
        if content.is_empty() || content.ends_with(b"\r\n") { b"" } else { b"\r\n" };
    let (decoded, fault, ended) = decode([wire.as_slice()], BareLineEnds::Refuse);
    assert_eq!((decoded, fault), ([content, line_end].concat(), None));
    assert_eq!(ended, Some(wire.len()));
}

fn check_traits(content: &[u8], random: &mut Rng) {
    let (mut whole, mut cut) = (TraitReader::default(), TraitReader::default());
    whole.look(content);
    pieces(content, random).into_iter().for_each(|piece| cut.look(piece));
    assert_eq!(whole.traits(), cut.traits());
    assert_eq!(whole.traits().eight_bit, content.iter().any(|octet| *octet > 127));
    // The CR before an LF is part of the line end; one that stands elsewhere is not counted either.
    let long = content.split(|octet| *octet == b'\n').any(|line| line.len() > 999);
    assert_eq!(whole.traits().long_lines, long);
}
