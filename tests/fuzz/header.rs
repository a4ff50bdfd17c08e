//! The header section: counted and judged the same in any pieces, and our own field fits into it.

use angarium::syntax::header::{HopCounter, Received, Start, judge_start};
use fastrand::Rng;

use crate::{Target, pieces};

pub(crate) const TARGET: Target = Target {
    name: "header",
    words: &[
        "Received:",
        "received:",
        "Received :",
        "Received-SPF:",
        "Subject: x",
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        ":",
        "From ",
        ">From ",
        " ",
        "\t",
        "é",
        "(",
        ")",
        "\\",
        "helo.example",
    ],
    octets_max: 10_000,
    check,
};

/// `Received` fields, by lines.
fn count(message: &[u8]) -> usize {
    let plain: Vec<u8> = message.iter().copied().filter(|octet| *octet != b'\r').collect();
    plain
        .split(|octet| *octet == b'\n')
        .take_while(|line| !line.is_empty())
        .filter(|line| line.get(..9).is_some_and(|name| name.eq_ignore_ascii_case(b"received:")))
        .count()
}

fn hops<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let mut counter = HopCounter::default();
    pieces.into_iter().for_each(|piece| counter.look(piece));
    counter.hops()
}

/// A judgement is the same however much more has come.
fn judge(message: &[u8], random: &mut Rng) -> Option<Start> {
    let whole = judge_start(message, true);
    assert!(whole.is_some(), "a whole message is judged");
    let mut begin = 0;
    for piece in pieces(message.get(..600).unwrap_or(message), random) {
        begin += piece.len();
        if let Some(early) = judge_start(&message[..begin], false) {
            assert_eq!(Some(early), whole, "after {begin} octets");
        }
    }
    whole
}

fn check(message: &[u8], random: &mut Rng) {
    assert_eq!(hops([message]), count(message));
    assert_eq!(hops(pieces(message, random)), count(message));
    judge(message, random);
    let hello: String = String::from_utf8_lossy(message).chars().take(255).collect();
    let field = Received {
        hello: &hello,
        peer: Some([192, 0, 2, 1].into()),
        caller: Some(1000).filter(|_| random.bool()),
        by: "mx.example",
        with: "ESMTP",
        id: "0100000100000001",
        recipient: Some("u@d.example").filter(|_| random.bool()),
        priority: None,
        tls: None,
        date: "Tue, 24 Nov 2026 10:00:00 +0000",
    };
    let mut out = String::new();
    field.write(&mut out);
    let lines: Vec<&str> = out.strip_suffix("\r\n").unwrap().split("\r\n").collect();
    assert!(lines.iter().all(|line| line.len() <= 998), "{out}");
    assert!(lines[1..].iter().all(|line| line.starts_with('\t') && line.len() > 1), "{out}");
    let is_text = |character: char| character == '\t' || !character.is_control();
    assert!(lines.iter().all(|line| line.chars().all(is_text)), "{out}");
    assert_eq!(
        (hops([out.as_bytes()]), judge_start(out.as_bytes(), true)),
        (1, Some(Start::Header))
    );
}
