//! Content in pieces, against an octet-wise decoder and back.

use proptest::prelude::*;

use super::*;

/// Decodes `wire` cut at `cut`; the content, the fault, and the octets after the end if any.
fn decode(
    wire: &[u8],
    cut: usize,
    bare: BareLineEnds,
) -> (Vec<u8>, Option<ContentFault>, Option<Vec<u8>>) {
    let (mut decoder, mut out) = (Decoder::new(bare), Vec::new());
    let cut = cut.min(wire.len());
    let (used, end) = decoder.decode(&wire[..cut], &mut out);
    if end {
        return (out, decoder.fault(), Some(wire[used..].to_vec()));
    }
    let (used, end) = decoder.decode(&wire[cut..], &mut out);
    let rest = end.then(|| wire[cut + used..].to_vec());
    (out, decoder.fault(), rest)
}

#[test]
fn ends_only_on_the_real_end() {
    for cut in 0..12 {
        let (content, fault, rest) = decode(b".\r\nQUIT\r\n", cut, BareLineEnds::Refuse);
        assert_eq!((content.as_slice(), fault), (&b""[..], None));
        assert_eq!(rest.as_deref(), Some(&b"QUIT\r\n"[..]));
        let (content, _, rest) = decode(b"a\r\n..b\r\n.\r\n", cut, BareLineEnds::Refuse);
        assert_eq!((content.as_slice(), rest), (&b"a\r\n.b\r\n"[..], Some(Vec::new())));
    }
}

#[test]
fn smuggling_never_ends_content() {
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r\n.\n",
        "\r\n.\r",
        "\r.\r\n",
        "\r\n.\r\r\n",
        "\n\n.\n\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
        "\r\r\n.\r\r\n",
        "\n.\r",
        "\r.\n",
    ] {
        let wire = format!("text{end}MAIL FROM:<x@y.example>\r\n");
        for cut in 0..wire.len() {
            for bare in [BareLineEnds::Refuse, BareLineEnds::Normalise] {
                let (content, fault, rest) = decode(wire.as_bytes(), cut, bare);
                assert_eq!(rest, None, "{end:?}");
                if bare == BareLineEnds::Refuse {
                    assert!(fault.is_some(), "{end:?} is clean: {content:?}");
                }
            }
        }
    }
}

#[test]
fn normalises_bare_line_ends() {
    let (content, fault, _) = decode(b"a\nb\rc\r\r\nd\n.\r\n", 3, BareLineEnds::Normalise);
    assert_eq!(content, b"a\r\nb\r\nc\r\n\r\nd\r\n.\r\n");
    assert_eq!(fault, None);
}

#[test]
fn traits_do_not_depend_on_the_pieces() {
    let line = |octets: usize| [vec![b'x'; octets], b"\r\n".to_vec()].concat();
    let cases = [
        ([line(998), line(5)].concat(), false),
        ([line(5), line(999), line(5)].concat(), true),
        (vec![b'x'; 1001], true),
    ];
    for (content, long_lines) in cases {
        for cut in [0, 1, 5, 7, 500, 997, 999, 1000, content.len()] {
            let mut reader = TraitReader::default();
            let cut = cut.min(content.len());
            reader.look(&content[..cut]);
            reader.look(&content[cut..]);
            assert_eq!(reader.traits(), Traits { long_lines, ..Traits::default() }, "{cut}");
            reader.look(b"\xe9");
            assert!(reader.traits().eight_bit);
        }
    }
}

#[test]
fn the_header_ends_at_the_empty_line() {
    for (content, expected) in [
        (&b"Subject: \xc3\xa9\r\n\r\nx\r\n"[..], true),
        (b"A: b\r\nSubject: \xc3\xa9", true),
        (b"A: b\r\n\r\n\xc3\xa9\r\n", false),
        (b"\r\n\xc3\xa9\r\n", false),
        (b"A: b\r\n \r\n\xc3\xa9: c\r\n", true),
        (b"A: b\r\n\r\nc\r\n\r\n\xc3\xa9: d\r\n", false),
    ] {
        for cut in 0..content.len() {
            let mut reader = TraitReader::default();
            reader.look(&content[..cut]);
            reader.look(&content[cut..]);
            let traits = reader.traits();
            assert_eq!((traits.eight_bit, traits.eight_bit_header), (true, expected), "{cut}");
        }
    }
}

/// What the decoder is to give, from the whole wire at once: an octet at a time, as RFC text goes.
fn reference(wire: &[u8], bare: BareLineEnds) -> (Vec<u8>, Option<ContentFault>, Option<Vec<u8>>) {
    let (mut out, mut fault, mut rest, mut line_start) = (Vec::new(), None, wire, true);
    let stands_alone = |octet: u8, out: &mut Vec<u8>, fault: &mut Option<ContentFault>| match bare {
        BareLineEnds::Normalise => out.extend_from_slice(b"\r\n"),
        BareLineEnds::Refuse => {
            out.push(octet);
            fault.get_or_insert(ContentFault::BareLineEnd);
        }
    };
    loop {
        if std::mem::take(&mut line_start) && rest.starts_with(b".") {
            match rest {
                [_, b'\r', b'\n', after @ ..] => return (out, fault, Some(after.to_vec())),
                // The next octet would tell.
                [_] | [_, b'\r'] => return (out, fault, None),
                _ => rest = &rest[1..],
            }
        }
        rest = match rest {
            [] | [b'\r'] => return (out, fault, None),
            [b'\r', b'\n', after @ ..] => {
                out.extend_from_slice(b"\r\n");
                line_start = true;
                after
            }
            [octet @ (b'\r' | b'\n'), after @ ..] => {
                stands_alone(*octet, &mut out, &mut fault);
                after
            }
            [0, after @ ..] => {
                fault.get_or_insert(ContentFault::Nul);
                after
            }
            [octet, after @ ..] => {
                out.push(*octet);
                after
            }
        };
    }
}

/// A stretch of a wire: mostly what a chunk is made of, sometimes what breaks it.
fn stretch() -> impl Strategy<Value = Vec<u8>> {
    let text = (0usize..300).prop_map(|octets| vec![b'x'; octets]);
    prop_oneof![
        3 => text,
        3 => Just(b"\r\n".to_vec()),
        3 => "[.\r\nx\0]{1,4}".prop_map(String::into_bytes),
        1 => Just(b"\r\n.\r\n".to_vec()),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        lines in proptest::collection::vec("[.a\u{e9}]{0,5}", 0..6),
        cuts in (0usize..40, 0usize..40, 0usize..60),
    ) {
        let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let content = content.as_bytes();
        let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
        let first = cuts.0.min(content.len());
        let second = (first + cuts.1).min(content.len());
        for piece in [&content[..first], &content[first..second], &content[second..]] {
            encoder.encode(piece, &mut wire);
        }
        encoder.finish(&mut wire);
        let (decoded, fault, rest) = decode(&wire, cuts.2, BareLineEnds::Refuse);
        prop_assert_eq!(decoded.as_slice(), content);
        prop_assert_eq!((fault, rest), (None, Some(Vec::new())));
    }

    #[test]
    fn decodes_as_the_reference_does(
        wire in proptest::collection::vec(stretch(), 0..12),
        cuts in proptest::collection::vec(0usize..700, 0..6),
        normalise: bool,
    ) {
        let wire = wire.concat();
        let bare = if normalise { BareLineEnds::Normalise } else { BareLineEnds::Refuse };
        let (mut decoder, mut out, mut begin) = (Decoder::new(bare), Vec::new(), 0);
        let mut rest = None;
        for octets in cuts.into_iter().chain([wire.len()]) {
            let end = (begin + octets).min(wire.len());
            let (used, ended) = decoder.decode(&wire[begin..end], &mut out);
            begin += used;
            if ended {
                rest = Some(wire[begin..].to_vec());
                break;
            }
            prop_assert_eq!(begin, end);
        }
        prop_assert_eq!((out, decoder.fault(), rest), reference(&wire, bare));
    }
}
