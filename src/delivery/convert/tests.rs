//! Conversions one by one, and any message built at random against a reader of its own.

mod binary;

use proptest::prelude::*;

use super::*;

fn converted(message: &[u8]) -> Converted {
    to_seven_bit(message).unwrap()
}

#[track_caller]
fn becomes(message: &str, expected: &str) -> Converted {
    let message = message.replace('\n', "\r\n");
    let converted = converted(message.as_bytes());
    let text = String::from_utf8(converted.octets.clone()).unwrap();
    assert_eq!(text.replace("\r\n", "\n"), expected);
    assert_eq!(to_seven_bit(&converted.octets).unwrap().octets, converted.octets);
    converted
}

#[track_caller]
fn refused(message: &str, refusal: Refusal) {
    assert_eq!(to_seven_bit(message.replace('\n', "\r\n").as_bytes()), Err(refusal), "{message}");
}

#[test]
fn a_text_becomes_quoted_printable_in_place() {
    let converted = becomes(
        "A: 1\nContent-transfer-encoding :\n 8bit (so it is)\nMIME-Version: 1.0\nContent-Type: text/html\nB:\n\t2\n\n\
         <p>=é \nFrom here\n.\n..\n--x\n\n \t\n",
        "A: 1\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\nContent-Type: text/html\n\
         B:\n\t2\n\n<p>=3D=C3=A9=20\n=46rom here\n=2E\n=2E.\n=2D-x\n\n =09\n",
    );
    assert!(!converted.broke_signature && !converted.raw_header && !converted.masked);
}

#[test]
fn a_message_that_declares_nothing_gets_the_fields() {
    let added = "MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
                 Content-Transfer-Encoding: quoted-printable\n";
    becomes("A: 1\n\na é", &format!("A: 1\n{added}\na =C3=A9"));
    becomes("A: 1\né b\n", &format!("A: 1\n{added}\n=C3=A9 b\n"));
    becomes("hé b c\n", &format!("{added}\nh=C3=A9 b c\n"));
    becomes("\nhé b c\n", &format!("{added}\nh=C3=A9 b c\n"));
    becomes(
        "Content-Type: image/x\n\né\n",
        "Content-Type: image/x\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\nw6kNCg==\n",
    );
}

#[test]
fn the_kind_of_content_chooses_the_encoding() {
    let mime = "MIME-Version: 1.0\nContent-Type: ";
    for (kind, label, body, coded) in [
        ("text/plain", "8bit", "ééé\n", "base64\n\nw6nDqcOpDQo=\n"),
        ("text/plain", "binary", "a bc dé\n", "base64\n\nYSBiYyBkw6kNCg==\n"),
        ("application/json", "8bit", "[\"é\"]", "base64\n\nWyLDqSJd"),
        ("application/pkcs7-mime", "binary", "é", "base64\n\nw6k="),
        ("message/delivery-status", "8bit", "a: aé\n", "quoted-printable\n\na: a=C3=A9\n"),
        ("what is this", "none", "a bé\n", "quoted-printable\n\na b=C3=A9\n"),
        ("text/plain", "base64", "YWJj\né\n", "base64\n\nYWJj\n##\n"),
        (
            "text/plain",
            "quoted-printable",
            "=41= =é=\n =\n",
            "quoted-printable\n\n=41=3D =3D=C3=A9=\n =\n",
        ),
    ] {
        let fields = format!("{mime}{kind}\nContent-Transfer-Encoding: ");
        becomes(&format!("{fields}{label}\n\n{body}"), &format!("{fields}{coded}"));
    }
}

#[test]
fn only_parts_that_need_it_change() {
    let inner = "Content-Type: text/plain; charset=utf-8\n";
    let message = |label: &str, own: &str, text: &str| {
        format!(
            "Content-Type: multipart/mixed; boundary=\"a b\" ; x=y\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: {label}\n\npreamble\n--a b  \n{inner}{own}\n{text}\n\
             --a bc\n--a b\n\nseven \n--a b\nContent-Transfer-Encoding: 8bit\n\n7\n--a b--\nepilogue\n--a b\n"
        )
    };
    let quoted = "Content-Transfer-Encoding: quoted-printable\n";
    let after = message("7bit", quoted, "a b=C3=A9\n--a b")
        .replace("a b=C3=A9\n--a b\n--a bc", "a b=C3=A9\n=2D-a bc");
    becomes(&message("binary", "", "a bé"), &after);
    let seven = message("8bit", "", "e");
    becomes(&seven, &seven);
}

#[test]
fn messages_in_messages_are_converted_each_with_its_fields() {
    let digest = |label: &str, added: &str, text: &str| {
        format!(
            "MIME-Version: 1.0\nContent-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: s\n{added}\n\
             {text}\n--d\nContent-Type: message/rfc822\nContent-Transfer-Encoding: {label}\n\nA: 1\n{added}\n{text}\n--d--\n"
        )
    };
    let added = "MIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n\
                 Content-Transfer-Encoding: quoted-printable\n";
    becomes(&digest("8bit", "", "a bé"), &digest("7bit", added, "a b=C3=A9"));
}

#[test]
fn what_must_not_be_touched_is_refused_when_it_is_8_bit() {
    let of = |subtype: &str, text: &str| {
        format!(
            "Content-Type: multipart/{subtype}; boundary=s\n\n{text}--s\n\n{text}\n--s--\n{text}"
        )
    };
    refused(&of("signed", "é\n"), Refusal::Signed);
    refused(&of("encrypted", "é\n"), Refusal::Encrypted);
    for subtype in ["signed", "encrypted"] {
        becomes(&of(subtype, "e\n"), &of(subtype, "e\n"));
    }
    let raw = "Content-Type: multipart/signed; boundary=s\n\n--s\nA: é\n\ne\n--s--\n";
    assert!(becomes(raw, raw).raw_header);
    let around = |signed: &str, text: &str| {
        let header = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n--m\n";
        format!("{header}{signed}\n--m\n{text}\n--m--\n")
    };
    becomes(
        &around(&of("signed", "e\n"), "\na bé"),
        &around(&of("signed", "e\n"), "Content-Transfer-Encoding: quoted-printable\n\na b=C3=A9"),
    );
    refused(&around(&of("signed", "é\n"), "\na"), Refusal::Signed);
}

#[test]
fn a_part_with_its_own_signature_is_not_touched() {
    let mixed =
        |part: &str| format!("Content-Type: multipart/mixed; boundary=m\n\n--m\n{part}\n--m--\n");
    let signed = |text: &str| mixed(&format!("Sig: t=p; b=xx\nContent-Type: text/plain\n\n{text}"));
    refused(&signed("é"), Refusal::Signed);
    becomes(&signed("e"), &signed("e"));
    refused("Sig: t=p; b=xx\nMIME-Version: 1.0\nContent-Type: text/plain\n\né", Refusal::Signed);
}

#[test]
fn what_readers_would_read_differently_is_refused() {
    for header in [
        "Content-Type: multipart/mixed\n",
        "Content-Type: multipart/mixed; boundary=\"\"\n",
        "Content-Type: multipart/mixed; boundary=elsewhere\n",
        "Content-Type: multipart/mixed; boundary=\"\u{e9}\"\n",
        "Content-Type: message/partial\n",
        "Content-Type: message/external-body\n",
        "Content-Transfer-Encoding: X-UUencode\n",
    ] {
        let message = format!("{header}\n--\u{e9}\n\na\n").replace('\n', "\r\n");
        let refusal = to_seven_bit(message.as_bytes()).unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_)), "{message}: {refusal}");
        let seven = message.replace('\u{e9}', "e");
        assert_eq!(converted(seven.as_bytes()).octets, seven.as_bytes());
    }
    let said = Refusal::Malformed("why").to_string();
    assert_eq!(said, "the message cannot be converted to 7 bits: why");
}

#[test]
fn signatures_raw_fields_and_masks_are_reported() {
    let signed = "DKIM-Signature: a\nMIME-Version: 1.0\nContent-Type: text/plain\n";
    let label = "Content-Transfer-Encoding: quoted-printable\n";
    assert!(
        becomes(&format!("{signed}\na é"), &format!("{signed}{label}\na =C3=A9")).broke_signature
    );
    let seven = format!("Subject: é\n{signed}\na");
    let same = becomes(&seven, &seven);
    assert!(!same.broke_signature && same.raw_header && !same.masked);
    let mixed = |text: &str| {
        format!(
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=m\n\n{text}\n--m\n\nb\n--m--\n{text}\n"
        )
    };
    assert!(becomes(&mixed("aé"), &mixed("a##")).masked);
}

#[test]
fn long_lines_are_broken_only_in_a_message_that_changes_anyway() {
    let long = "x".repeat(999);
    let of = |text: &str| {
        let text = text.replace('\n', "\r\n");
        format!(
            "Content-Type: multipart/mixed; boundary=m\r\nMIME-Version: 1.0\r\n\r\n--m\r\n\r\n{long}\r\n--m\r\n\r\n{text}\r\n--m--\r\n"
        )
    };
    assert_eq!(converted(of("e").as_bytes()).octets, of("e").as_bytes());
    let broken = converted(of("e é").as_bytes()).octets;
    assert!(broken.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
    assert_eq!(converted(&broken).octets, broken);
}

/// A message with its long lines broken, in LF lines; none where it stays as it is.
fn shortened(message: &str) -> Option<String> {
    let short = to_short_lines(message.replace('\n', "\r\n").as_bytes())?;
    assert_eq!(to_short_lines(&short), None, "a second time");
    Some(String::from_utf8(short).unwrap().replace("\r\n", "\n"))
}

#[test]
fn long_lines_are_broken_where_they_are_and_nowhere_else() {
    let (long, quoted) = ("x".repeat(999), format!("{}=\n", "x".repeat(75)).repeat(13));
    let quoted = format!("{quoted}{}", "x".repeat(24));
    let mime = "MIME-Version: 1.0\n";
    let label = "Content-Transfer-Encoding: quoted-printable\n";
    assert_eq!(
        shortened(&format!("A: é\n\n{long}\nb.\n")).as_deref(),
        Some(&*format!("A: é\n{mime}{label}\n{quoted}\nb.\n"))
    );
    let mixed = |first: &str, last: &str| {
        format!(
            "{mime}Content-Type: multipart/mixed; boundary=m\nContent-Transfer-Encoding: 8bit\n\n\
             {long}é\n--m\n{first}\n--m\nContent-Transfer-Encoding: 8bit\n\n=é\n--m\n{last}\n--m--\n{long}\n"
        )
    };
    let text = |label: &str, body: &str| format!("Content-Type: text/html\n{label}\n{body}\n");
    assert_eq!(
        shortened(&mixed(&text("", &long), "\nlast")),
        Some(mixed(&text(label, &quoted), "\nlast"))
    );
    let base64 = |body: &str| format!("{mime}Content-Transfer-Encoding: base64\n\n{body}\n");
    let lines = [&"QUJD".repeat(19); 14].map(|line| &**line).join("\n");
    assert_eq!(shortened(&base64(&"QUJD".repeat(19 * 14))), Some(base64(&lines)));
    let binary = format!("{mime}Content-Type: image/x\n");
    let broken = shortened(&format!("{binary}\n{long}")).unwrap();
    let (header, body) = broken.split_once("\n\n").unwrap();
    assert_eq!(header, format!("{binary}Content-Transfer-Encoding: base64"));
    assert_eq!(decode("base64", body.as_bytes()), long.as_bytes());
    let said = format!("{mime}{label}\n=3D{long}\n");
    let broken = shortened(&said).unwrap();
    let body = broken.split_once("\n\n").unwrap().1.replace('\n', "\r\n");
    assert_eq!(decode("quoted-printable", body.as_bytes()), format!("={long}\r\n").as_bytes());
}

#[test]
fn long_lines_stay_in_what_is_signed_or_cannot_be_read() {
    let long = "é".repeat(500);
    let nested = "MIME-Version: 1.0\nContent-Type: message/rfc822\n\n";
    for message in [
        format!("A: 1\n\n{}", "x".repeat(998)),
        format!("A: {long}\n\nx\n"),
        format!("DKIM-Signature: a\n\n{long}\n"),
        format!("{nested}ARC-Message-Signature: a\n\n{long}\n"),
        format!("Content-Type: multipart/signed; boundary=m\n\n--m\n\n{long}\n--m--\n"),
        format!("Content-Type: multipart/encrypted; boundary=m\n\n--m\n\n{long}\n--m--\n"),
        format!("Content-Type: multipart/mixed\n\n--m\n\n{long}\n--m--\n"),
        format!("Content-Type: message/partial\n\n{long}\n"),
        format!("Content-Transfer-Encoding: x-own\n\n{long}\n"),
        format!("{}A: 1\n\n{long}\n", nested.repeat(DEPTH_MAX + 1)),
    ] {
        assert_eq!(shortened(&message), None, "{message}");
    }
}

#[test]
fn depth_is_bounded() {
    let nest = |depth: usize, text: &str| {
        let around = "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n\r\n".repeat(depth);
        format!("{around}MIME-Version: 1.0\r\n\r\n{text}\r\n")
    };
    assert!(converted(nest(DEPTH_MAX, "é").as_bytes()).octets.is_ascii());
    let deep = to_seven_bit(nest(DEPTH_MAX + 1, "é").as_bytes());
    assert_eq!(deep, Err(Refusal::Malformed("its parts are nested too deeply")));
    let seven = nest(100_000, "e");
    assert_eq!(converted(seven.as_bytes()).octets, seven.as_bytes());
}

/// Decodes as RFC 2045 says, and knows nothing of the encoders.
fn decode(encoding: &str, octets: &[u8]) -> Vec<u8> {
    match encoding {
        "base64" => decode_base64(octets),
        "quoted-printable" => decode_quoted(octets),
        _ => octets.to_vec(),
    }
}

fn decode_base64(octets: &[u8]) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut count) = (vec![], 0_u32, 0);
    for value in octets.iter().filter_map(|o| alphabet.iter().position(|letter| letter == o)) {
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

fn decode_quoted(octets: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let mut at = 0;
    while at < octets.len() {
        if octets[at] != b'=' {
            out.push(octets[at]);
            at += 1;
            continue;
        }
        let pair = std::str::from_utf8(&octets[at + 1..at + 3]).unwrap();
        if pair != "\r\n" {
            out.push(u8::from_str_radix(pair, 16).unwrap());
        }
        at += 3;
    }
    out
}

/// A part to be written out, whose conversion a test can follow.
#[derive(Clone, Debug)]
enum Part {
    Leaf { kind: &'static str, label: &'static str, body: Vec<u8> },
    Multi { label: &'static str, parts: Vec<Self>, preamble: String, epilogue: String },
    Message { label: &'static str, part: Box<Self> },
}

const OWN: &str = "X-Own: folded\r\n\t (field)\r\n";

impl Part {
    fn is_seven_bit(&self) -> bool {
        match self {
            Self::Leaf { body, .. } => body.is_ascii(),
            Self::Multi { parts, .. } => parts.iter().all(Self::is_seven_bit),
            Self::Message { part, .. } => part.is_seven_bit(),
        }
    }

    fn header(&self, path: &str, version: bool, label: &str) -> String {
        let kind = match self {
            Self::Leaf { kind, .. } => (*kind).to_owned(),
            Self::Multi { .. } => format!("multipart/mixed;\r\n boundary=\"={path}=\""),
            Self::Message { .. } => MESSAGE.to_owned(),
        };
        let version = if version { "MIME-Version: 1.0\r\n" } else { "" };
        format!(
            "{OWN}{version}Content-Type: {kind}\r\nContent-Transfer-Encoding: {label}\r\n{OWN}\r\n"
        )
    }

    fn write(&self, path: &str, version: bool, out: &mut Vec<u8>) {
        let (Self::Leaf { label, .. } | Self::Multi { label, .. } | Self::Message { label, .. }) =
            self;
        out.extend_from_slice(self.header(path, version, label).as_bytes());
        match self {
            Self::Leaf { body, .. } => out.extend_from_slice(body),
            Self::Multi { parts, preamble, epilogue, .. } => {
                out.extend_from_slice(preamble.as_bytes());
                for (number, part) in parts.iter().enumerate() {
                    out.extend_from_slice(format!("\r\n--={path}=\r\n").as_bytes());
                    part.write(&format!("{path}.{number}"), false, out);
                }
                out.extend_from_slice(format!("\r\n--={path}=--\r\n{epilogue}").as_bytes());
            }
            Self::Message { part, .. } => part.write(&format!("{path}.m"), true, out),
        }
    }

    /// Takes this part, converted, off the front of a text that goes on with `end`.
    fn check(&self, path: &str, version: bool, end: &str, text: &mut &str) {
        if self.is_seven_bit() {
            let mut same = vec![];
            self.write(path, version, &mut same);
            return expect(text, std::str::from_utf8(&same).unwrap());
        }
        match self {
            Self::Leaf { kind, label, body } => {
                let coding = if text.starts_with(&self.header(path, version, "base64")) {
                    "base64"
                } else {
                    "quoted-printable"
                };
                assert!(coding == "base64" || (kind.starts_with("text/") && *label != "binary"));
                expect(text, &self.header(path, version, coding));
                let length = if end.is_empty() { text.len() } else { text.find(end).unwrap() };
                let coded = &text[..length];
                assert!(
                    coded
                        .split("\r\n")
                        .all(|line| line.len() <= 76 && !line.ends_with([' ', '\t']))
                );
                assert!(
                    coded
                        .split("\r\n")
                        .all(|line| !line.starts_with('.') && !line.starts_with("From "))
                );
                assert_eq!(&decode(coding, coded.as_bytes()), body);
                *text = &text[length..];
            }
            Self::Multi { parts, preamble, epilogue, label } => {
                let label = if *label == "7bit" { label } else { "7bit" };
                expect(text, &self.header(path, version, label));
                expect(text, preamble);
                for (number, part) in parts.iter().enumerate() {
                    expect(text, &format!("\r\n--={path}=\r\n"));
                    part.check(
                        &format!("{path}.{number}"),
                        false,
                        &format!("\r\n--={path}="),
                        text,
                    );
                }
                expect(text, &format!("\r\n--={path}=--\r\n{epilogue}"));
            }
            Self::Message { part, .. } => {
                expect(text, &self.header(path, version, "7bit"));
                part.check(&format!("{path}.m"), true, end, text);
            }
        }
    }
}

#[track_caller]
fn expect(text: &mut &str, wanted: &str) {
    let start: String = text.chars().take(wanted.len() + 20).collect();
    *text = text.strip_prefix(wanted).unwrap_or_else(|| panic!("{start:?} is not {wanted:?}"));
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "From ",
        ".",
        "--",
        "=",
        " ",
        "\t",
        "\r\n",
        "\r\n",
        "é",
        "Ж",
        "word",
        "=0",
        "--=0=",
        "\u{7f}",
        "a line that is long enough to be broken somewhere before its end, and nowhere else",
    ]);
    prop_oneof![
        3 => prop::collection::vec(words, 0..60).prop_map(|words| words.concat().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => prop::collection::vec(0x80_u8.., 0..300),
    ]
    // As in a message that was made with care, no line is a delimiter or too long.
    .prop_filter("has a line that is a delimiter or too long", |body| {
        body.split(|octet| *octet == b'\n').all(|line| {
            let after = line.strip_prefix(b"--=0=").map(|rest| rest.trim_ascii());
            line.len() < 990 && after.is_none_or(|rest| !rest.is_empty() && rest != b"--")
        })
    })
}

fn part() -> impl Strategy<Value = Part> {
    let label = || prop::sample::select(vec!["7bit", "8bit", "binary"]);
    let kind = prop::sample::select(vec!["text/plain; charset=utf-8", "text/html", "image/png"]);
    let leaf =
        (kind, label(), body()).prop_map(|(kind, label, body)| Part::Leaf { kind, label, body });
    leaf.prop_recursive(5, 24, 4, move |inner| {
        let multi = (label(), prop::collection::vec(inner.clone(), 1..4), "[a-z ]{0,9}", "[a-z ]{0,9}");
        prop_oneof![
            3 => multi.prop_map(|(label, parts, preamble, epilogue)| Part::Multi { label, parts, preamble, epilogue }),
            1 => (label(), inner).prop_map(|(label, part)| Part::Message { label, part: Box::new(part) }),
        ]
    })
}

/// Octets that look like a message often enough to reach every branch.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "Content-Type: multipart/mixed; boundary=b\r\n",
        "Content-Type: multipart/signed; boundary=b\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: ",
        "text/plain",
        ";",
        "boundary=",
        "\"",
        "(",
        "\\",
        "Content-Transfer-Encoding: ",
        "quoted-printable\r\n",
        "base64\r\n",
        "8bit\r\n",
        "x-uu\r\n",
        "\r\n",
        "\r\n",
        "--b\r\n",
        "--b--\r\n",
        "--b",
        "é",
        "=",
        "=4",
        " ",
        "\r",
        "\n",
        "\t",
        "a",
        ":",
        ".",
        "From ",
    ]);
    let pieces = prop_oneof![
        9 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    prop::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_part_decodes_to_what_it_was(part in part()) {
        let mut message = vec![];
        part.write("0", true, &mut message);
        let converted = converted(&message);
        prop_assert!(!converted.raw_header && !converted.masked);
        let text = String::from_utf8(converted.octets.clone()).unwrap();
        prop_assert!(text.is_ascii());
        let mut rest = text.as_str();
        part.check("0", true, "", &mut rest);
        prop_assert_eq!(rest, "");
        prop_assert_eq!(to_seven_bit(&converted.octets).unwrap().octets, converted.octets);
    }

    #[test]
    fn anything_ends_in_a_stable_message_or_a_refusal(octets in anything()) {
        if let Ok(once) = to_seven_bit(&octets) {
            prop_assert!(once.octets.is_ascii() || once.raw_header);
            prop_assert!(!octets.is_ascii() || once.octets == octets);
            let twice = to_seven_bit(&once.octets);
            prop_assert_eq!(twice.map(|twice| twice.octets), Ok(once.octets));
        }
    }

    #[test]
    fn quoting_again_does_not_change_the_meaning(body in body()) {
        let mut quoted = vec![];
        encode::quoted_printable(&body, &mut quoted);
        prop_assert_eq!(decode_quoted(&quoted), body);
        // As broken senders do: some octets are not escaped.
        let lapse = String::from_utf8_lossy(&quoted).replace("=C3=A9", "é");
        let mut again = vec![];
        encode::requote(lapse.as_bytes(), &mut again);
        prop_assert!(again.is_ascii());
        prop_assert!(again.split(|octet| *octet == b'\n').all(|line| line.len() <= 77));
        prop_assert_eq!(decode_quoted(&again), decode_quoted(&quoted));
    }
}
