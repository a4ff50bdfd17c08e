//! Whole sessions: any pieces give the same one, replies are well formed, what is accepted stands in
//! the input line by line, and a session holds little whatever it is sent.

use std::sync::Arc;

use allocation_counter::measure;
use angarium::registry::mechanism::Mechanism;
use angarium::registry::offer::{Offer, Protocol, Terms};
use angarium::session::Demand;
use angarium::session::limit::COMMAND_OCTETS_MAX;
use angarium::syntax::content::BareLineEnds;
use fastrand::Rng;

use crate::machine::{Machine, play, settings};
use crate::{Target, pieces};

pub(crate) const TARGET: Target = Target {
    name: "session",
    words: &[
        "EHLO c.example\r\n",
        "HELO c\r\n",
        "MAIL FROM:<a@c.example>\r\n",
        "MAIL FROM:<> SIZE=9\r\n",
        "RCPT TO:<u@local.example>\r\n",
        "RCPT TO:<nobody@local.example>\r\n",
        "DATA\r\n",
        "RSET\r\n",
        "QUIT\r\n",
        "\r\n.\r\n",
        "\r\n",
        "\n",
        "\r",
        ".",
        "\n.\n",
        "\0",
        "Subject: x\r\n\r\n",
        "NOOP\r\n",
        "AUTH PLAIN\r\n",
        "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n",
        "AUTH LOGIN\r\n",
        "AGFubgBzZWNyZXQ=\r\n",
        "*\r\n",
    ],
    octets_max: 20_000,
    check,
};

/// What a session may hold besides its input buffer: a hundred recipients of two long addresses.
const HELD_MAX: i64 = 256 * 1024;

fn check(input: &[u8], random: &mut Rng) {
    let bare = random.choice([BareLineEnds::Refuse, BareLineEnds::Normalise]).unwrap();
    let mut settings = settings(bare);
    if random.bool() {
        let mechanisms = Some([Mechanism::Plain, Mechanism::Login].as_slice());
        let terms = Terms::new(Protocol::Smtp, settings.limits.message_octets_max);
        settings.offer = Arc::new(Offer::new(&Terms { mechanisms, ..terms }));
        settings.standing.demand = random.choice([Demand::Nothing, Demand::Login]).unwrap();
    }
    settings.limits.message_octets_max = random.choice([50, 1_000, 100_000]).unwrap();
    settings.limits.errors_max = random.choice([3, 1_000]).unwrap();
    let whole = play(&settings, [input]);
    let cut = play(&settings, pieces(input, random));
    assert_eq!(cut.replies(), whole.replies());
    assert_eq!((cut.messages, cut.closed), (whole.messages.clone(), whole.closed));
    check_replies(&whole);
    check_messages(&whole, input, bare);
    if random.u8(0..32) == 0 {
        check_memory(&settings, input);
    }
}

fn check_replies(machine: &Machine) {
    let replies = machine.replies();
    for line in replies.strip_suffix("\r\n").unwrap().split("\r\n") {
        assert!(line.len() <= 510 && !line.contains(|c: char| c.is_ascii_control()), "{line:?}");
        let digits = line.get(..3).is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit()));
        assert!(digits && matches!(line.as_bytes().get(3), Some(b' ' | b'-')), "{line:?}");
    }
    let farewells = replies.matches("\r\n221 ").count() + replies.matches("\r\n421 ").count();
    assert_eq!(farewells, usize::from(machine.closed), "{replies}");
    assert_eq!(replies.matches("\r\n250 2.0.0 queued as ").count(), machine.messages.len());
}

/// Accepted content is a run of lines of the input, one dot less where one began.
fn check_messages(machine: &Machine, input: &[u8], bare: BareLineEnds) {
    let unstuffed = |line: &[u8]| line.strip_prefix(b".").unwrap_or(line).to_vec();
    let wire: Vec<Vec<u8>> = lines(input).map(unstuffed).collect();
    for message in &machine.messages {
        assert!((1..=100).contains(&message.envelope.recipients.len()));
        assert!(!message.content.contains(&0));
        let content: Vec<Vec<u8>> = lines(&message.content).map(<[u8]>::to_vec).collect();
        assert!(content.iter().all(|line| !line.contains(&b'\r') && !line.contains(&b'\n')));
        let found = bare == BareLineEnds::Normalise || holds(&wire, &content);
        assert!(found, "{} is not in the input", message.content.escape_ascii());
    }
}

/// The lines that end in CRLF.
fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    memchr::memmem::find_iter(octets, b"\r\n").map(move |end| {
        let line = &octets[begin..end];
        begin = end + 2;
        line
    })
}

fn holds(wire: &[Vec<u8>], content: &[Vec<u8>]) -> bool {
    content.is_empty() || wire.windows(content.len()).any(|window| window == content)
}

/// The same input over and over makes no session grow.
fn check_memory(settings: &angarium::session::Settings, input: &[u8]) {
    let (mut machine, mut held) = (None, 0);
    let begun = measure(|| machine = Some(Machine::new(settings)));
    held += begun.bytes_current;
    let mut machine = machine.unwrap();
    let most = HELD_MAX + 4 * (COMMAND_OCTETS_MAX + input.len()) as i64;
    for _ in 0..(200_000 / input.len().max(1)).clamp(2, 2_000) {
        let said = measure(|| {
            machine.say(input);
            // What the client and the queue were given is no longer the session's.
            machine.forget();
        });
        held += said.bytes_current;
        assert!(held < most, "{held} octets are held");
    }
}
