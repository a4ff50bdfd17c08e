//! Messages converted to 7 bits, read again by a reader that is not ours: Python's email package.
//!
//! Takes made-up messages, and the corpus as it is and with accents strewn over its texts. Messages
//! whose header sections or boundaries Python finds defective are not compared: it takes them apart
//! in ways of its own. Without python3 the reading is left out, loudly, unless `ANGARIUM_REQUIRE_PEERS` is set.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use angarium::delivery::convert::{Refusal, from_binary, to_seven_bit, to_short_lines};

const READER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/convert/compare.py");

/// A message before and after.
struct Pair {
    name: String,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Converts a message, and checks what can be said without reading it.
fn convert(name: &str, before: Vec<u8>) -> Result<Pair, Refusal> {
    let converted = to_seven_bit(&before)?;
    assert!(converted.octets.is_ascii() || converted.raw_header, "{name}: 8-bit octets are left");
    assert!(!before.is_ascii() || converted.octets == before, "{name}: changed without a reason");
    let again = to_seven_bit(&converted.octets).unwrap();
    assert!(again.octets == converted.octets, "{name}: a second conversion changes it again");
    Ok(Pair { name: name.to_owned(), before, after: converted.octets })
}

/// Breaks the long lines of a message, and checks what can be said without reading it.
fn shorten(name: &str, before: Vec<u8>) -> Option<Pair> {
    let after = to_short_lines(&before)?;
    assert!(to_short_lines(&after).is_none(), "{name}: a second time changes it again");
    Some(Pair { name: format!("{name}, short"), before, after })
}

/// Lets Python compare; fails with its findings.
fn read_again(pairs: &[Pair]) {
    let child =
        Command::new("python3").arg(READER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(fault) => {
            let required = std::env::var_os("ANGARIUM_REQUIRE_PEERS").is_some();
            assert!(!required, "python3 does not start: {fault}");
            let _ = writeln!(std::io::stderr(), "LEFT OUT: reading again: no python3: {fault}");
            return;
        }
    };
    let mut input = child.stdin.take().unwrap();
    for Pair { name, before, after } in pairs {
        let (before, after) = (base64(before), base64(after));
        let line = serde_json::json!({ "name": name, "before": before, "after": after });
        writeln!(input, "{line}").unwrap();
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.is_empty(), "{}\n{said}", output.status);
}

/// A plain coder: the one under test must not vouch for itself.
fn base64(octets: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = octets.iter().map(|octet| format!("{octet:08b}")).collect();
    let sextets = bits.as_bytes().chunks(6).map(|bits| {
        let bits = format!("{:0<6}", std::str::from_utf8(bits).unwrap());
        char::from(alphabet[usize::from_str_radix(&bits, 2).unwrap()])
    });
    let mut coded: String = sextets.collect();
    while !coded.len().is_multiple_of(4) {
        coded.push('=');
    }
    coded
}

/// Replaces each `e` of lines that look like text, so that header sections, boundaries and encoded
/// parts stay what they are.
fn strew_accents(octets: &[u8]) -> Vec<u8> {
    let mut strewn = vec![];
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let is_text = line.contains(&b' ')
            && !line.starts_with(b"--")
            && !line.starts_with(b" ")
            && !line.starts_with(b"\t")
            && !line.contains(&b':')
            && !line.contains(&b'=');
        for &octet in line {
            if is_text && octet == b'e' { strewn.extend("é".bytes()) } else { strewn.push(octet) }
        }
    }
    strewn
}

/// A multipart of several kinds of leaves, each with the same text.
fn report(text: &str) -> String {
    let mut report = "From: a@a.example\r\nSubject: raw é\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/mixed;\r\n\tboundary=\"outer (1)\"; charset=utf-8\r\n\
        Content-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n"
        .to_owned();
    for fields in [
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
        "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: binary\r\n",
        "Content-Type: application/json\r\nContent-Disposition: attachment; filename=\"é.json\"\r\n",
        "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inside\r\n",
        "",
    ] {
        report += &format!("--outer (1)\r\n{fields}\r\n{text}\r\n");
    }
    report + "--outer (1)--\r\nepilogue\r\n"
}

#[test]
fn python_reads_the_same_in_messages_made_up() {
    let texts = [
        "é".to_owned(),
        "\r\n".to_owned(),
        "Ж".repeat(500),
        "From é \r\n.\r\n--outer (1)x\r\n-- \r\nsee=20é=\r\n \t\r\n\r\n".to_owned(),
        "word é ".repeat(300),
        "word e ".repeat(300),
        format!("{}--outer (1)\u{e9}", "x".repeat(75)),
    ];
    let mut pairs = vec![];
    for (number, text) in texts.iter().enumerate() {
        let plain = format!("Subject: plain\r\n\r\n{text}");
        for (kind, message) in [("report", report(text)), ("plain", plain)] {
            let name = format!("{kind} {number}");
            let short = shorten(&name, message.clone().into_bytes());
            assert_eq!(short.is_some(), text.len() > 998, "{name}");
            pairs.extend(short);
            pairs.push(convert(&name, message.into_bytes()).unwrap());
        }
    }
    read_again(&pairs);
}

#[test]
fn python_reads_the_same_in_binary_messages() {
    let mut random = fastrand::Rng::with_seed(3030);
    let mut pairs = vec![];
    for number in 0..200 {
        let mut before = b"From: a@a.example\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/mixed; boundary=\"outer (1)\"\r\n\
            Content-Transfer-Encoding: binary\r\n\r\n"
            .to_vec();
        for kind in ["image/png", "text/plain; charset=utf-8", "application/octet-stream"] {
            let label = random.choice(["binary", "8bit"]).unwrap();
            let fields = format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {label}\r\n");
            before.extend(format!("--outer (1)\r\n{fields}\r\n").bytes());
            let octets = random.usize(..300);
            before.extend((0..octets).map(|_| random.choice(*b"\r\n\0-.ab\x80\xFF").unwrap()));
            before.extend(b"\r\n");
        }
        before.extend(b"--outer (1)--\r\n");
        let after = from_binary(&before).unwrap().octets;
        assert!(after.is_ascii() && !after.contains(&0));
        pairs.push(Pair { name: format!("binary {number}"), before, after });
    }
    read_again(&pairs);
}

#[test]
fn python_reads_the_same_in_the_corpus() {
    let mut pairs = vec![];
    let mut refused = vec![];
    for message in support::corpus() {
        let strewn = strew_accents(&message.octets);
        for (way, octets) in [("as it is", message.octets), ("with accents", strewn)] {
            let name = format!("{} {way}", message.name);
            match convert(&name, octets) {
                Ok(pair) => pairs.push(pair),
                Err(refusal) => refused.push(format!("{name}: {refusal}")),
            }
        }
    }
    println!("{} converted; refused:\n{}", pairs.len(), refused.join("\n"));
    assert!(pairs.len() > refused.len() * 5, "too many refused: {refused:?}");
    assert!(pairs.iter().any(|pair| pair.before != pair.after), "nothing to convert");
    read_again(&pairs);
}
