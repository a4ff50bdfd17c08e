//! Binary content: what becomes of it, and that nothing binary is left.

use super::*;

const TOP: &str = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=b\"\r\n\
                   Content-Transfer-Encoding: binary\r\n\r\n";

fn part(fields: &str, body: &[u8]) -> Vec<u8> {
    [b"--=b\r\n", fields.as_bytes(), b"\r\n", body, b"\r\n"].concat()
}

/// A message of such a part, after conversion.
fn made(fields: &str, body: &[u8]) -> Result<String, Refusal> {
    let message = [TOP.as_bytes(), &part(fields, body), b"--=b--\r\n"].concat();
    let made = from_binary(&message)?.octets;
    assert_eq!(from_binary(&made).unwrap().octets, made);
    Ok(String::from_utf8(made).unwrap())
}

#[track_caller]
fn becomes(fields: &str, body: &[u8], other_fields: &str, other: &str) {
    let top = TOP.replace("binary", "7bit");
    let expected = [part(other_fields, other.as_bytes()), b"--=b--\r\n".to_vec()].concat();
    let expected = format!("{top}{}", String::from_utf8(expected).unwrap());
    assert_eq!(made(fields, body).unwrap(), expected);
}

#[test]
fn each_part_gets_the_encoding_it_needs() {
    let label = |label: &str| format!("Content-Transfer-Encoding: {label}\r\n");
    let image = |coding: &str| format!("Content-Type: image/x\r\n{}", label(coding));
    let html = |coding: &str| format!("Content-Type: text/html\r\n{}", label(coding));
    becomes(&image("binary"), b"\0\r\n\n\xFF\r", &image("base64"), "AA0KCv8N");
    becomes(&image("binary"), b"plain\r\n", &image("7bit"), "plain\r\n");
    becomes(&image("8bit"), b"a\nb", &image("base64"), "YQpi");
    becomes(&html("binary"), b"a\n", &html("base64"), "YQo=");
    becomes(
        &html("8bit"),
        b"a\nb\rc\0\r\nd\r\n",
        &html("quoted-printable"),
        "a=0Ab=0Dc=00\r\nd\r\n",
    );
    becomes(&html("7bit"), b"plain\r\n", &html("7bit"), "plain\r\n");
    becomes("", b"a\nb", &label("quoted-printable"), "a=0Ab");
    let long = "x".repeat(999);
    let mut coded = Vec::new();
    encode::base64(long.as_bytes(), &mut coded);
    let coded = String::from_utf8(coded).unwrap();
    becomes(&image("binary"), long.as_bytes(), &image("base64"), &coded);
    becomes(&image("base64"), b"AA\n0K\r\0Cv8N\r\n", &image("base64"), "AA0KCv8N\r\n");
}

#[test]
fn a_message_within_is_looked_into() {
    let message = |label: &str, coding: &str, body: &str| {
        format!(
            "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: {label}\r\n\r\nMIME-Version: \
             1.0\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: {coding}\r\n\r\n{body}"
        )
    };
    let (fields, body) = ("", message("binary", "binary", "\0\n"));
    let made = made(fields, body.as_bytes());
    // The part begins with an empty line, so that the message is its text: nothing to look into.
    assert!(
        made.unwrap().contains("Content-Transfer-Encoding: quoted-printable\r\n\r\nContent-Type")
    );
    let whole = message("binary", "binary", "\0\n").replacen(
        "\r\n\r\n",
        "\r\nMIME-Version: 1.0\r\n\r\n",
        1,
    );
    let other =
        message("7bit", "base64", "AAo=").replacen("\r\n\r\n", "\r\nMIME-Version: 1.0\r\n\r\n", 1);
    assert_eq!(from_binary(whole.as_bytes()).unwrap().octets, other.as_bytes());
}

#[test]
fn what_cannot_be_encoded_is_refused() {
    for (fields, body) in [
        ("Content-Transfer-Encoding: quoted-printable\r\n", "a\nb"),
        ("Content-Type: message/partial\r\n", "a\nb"),
        ("Content-Type: multipart/mixed\r\n", "a\nb"),
        ("A: b\nC: d\r\n", "a"),
        ("A: \0\r\n", "a"),
    ] {
        let refusal = made(fields, body.as_bytes()).unwrap_err();
        assert!(matches!(refusal, Refusal::Malformed(_)), "{fields}: {refusal}");
    }
    for (fields, refusal) in [
        ("Content-Type: multipart/signed; boundary=s\r\n", Refusal::Signed),
        ("Content-Type: multipart/encrypted; boundary=s\r\n", Refusal::Encrypted),
    ] {
        let body = "--s\r\n\r\na\nb\r\n--s--\r\n";
        assert_eq!(made(fields, body.as_bytes()), Err(refusal));
        assert!(made(fields, body.replace("a\nb", "a").as_bytes()).is_ok());
    }
    assert_eq!(made("Sig: t=p\r\nContent-Type: image/x\r\n", b"\0"), Err(Refusal::Signed));
}

#[test]
fn what_readers_do_not_show_gives_way() {
    let message = format!("{TOP}pre\namble\r\n--=b\r\n\r\na\r\n--=b--\r\n\0");
    let made = from_binary(message.as_bytes()).unwrap();
    let expected = TOP.replace("binary", "7bit") + "#\r\n--=b\r\n\r\na\r\n--=b--\r\n#";
    assert_eq!((made.octets, made.masked), (expected.into_bytes(), true));
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        Just(b'\r'),
        Just(b'\n'),
        Just(b'.'),
        Just(b'-'),
        Just(0),
        Just(b'a'),
        any::<u8>()
    ];
    let body = prop_oneof![
        9 => prop::collection::vec(octet, 0..90),
        1 => prop::collection::vec(any::<u8>(), 900..1200),
    ];
    body.prop_filter("has a delimiter", |body| memchr::memmem::find(body, b"--=b").is_none())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_part_decodes_to_the_octets_it_had(
        parts in prop::collection::vec(
            (prop::sample::select(vec!["text/plain", "image/x"]), body(), any::<bool>()), 1..4)
    ) {
        let mut message = TOP.as_bytes().to_vec();
        for (kind, body, is_labelled) in &parts {
            let label = if *is_labelled { "Content-Transfer-Encoding: binary\r\n" } else { "" };
            message.extend(part(&format!("Content-Type: {kind}\r\n{label}"), body));
        }
        message.extend(b"--=b--\r\n");
        let made = from_binary(&message).unwrap();
        prop_assert!(made.octets.is_ascii() && is_text(&made.octets) && !made.masked);
        prop_assert!(!entity::lines(&made.octets).any(is_long));
        let text = String::from_utf8(made.octets).unwrap();
        let (_, text) = text.split_once("\r\n--=b\r\n").unwrap();
        let text = text.strip_suffix("\r\n--=b--\r\n").unwrap();
        let found: Vec<Vec<u8>> = text.split("\r\n--=b\r\n").map(|part| {
            let (header, coded) = part.split_once("\r\n\r\n").unwrap();
            let label = header.split_once("Content-Transfer-Encoding: ").map_or("", |(_, label)| label);
            decode(label, coded.as_bytes())
        }).collect();
        let bodies: Vec<Vec<u8>> = parts.into_iter().map(|(_, body, _)| body).collect();
        prop_assert_eq!(found, bodies);
    }

    #[test]
    fn nothing_binary_is_left_of_anything(octets in anything()) {
        if let Ok(once) = from_binary(&octets) {
            prop_assert!(is_text(&once.octets));
            prop_assert!(once.octets.is_ascii() || once.raw_header);
            let twice = from_binary(&once.octets);
            prop_assert_eq!(twice.map(|twice| twice.octets), Ok(once.octets));
        }
    }
}
