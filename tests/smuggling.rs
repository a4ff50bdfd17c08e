//! The smuggling matrix: no sequence but CRLF . CRLF ends content, and none of it reaches others.
//!
//! Each string of CR, LF, NUL, dot and a letter up to a length stands between text and a smuggled
//! transaction, in one piece and cut at each octet. All of them go into a session, and what it
//! accepts goes on as a next hop would get it; known attacks go through a running daemon, from a
//! client whose bare line ends are refused and from one for whom they are normalised, to a strict
//! next hop and to a lax one. The same goes in by BDAT, whose content may hold any of it, and out by
//! DATA. A second message anywhere, or a bare CR or LF on the way out, fails.
//! `ANGARIUM_LONG` makes the strings longer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

#[path = "smuggling/lax.rs"]
mod lax;
mod machine;
mod support;

use std::time::Duration;

use angarium::session::Settings;
use angarium::syntax::content::{BareLineEnds, Encoder};
use lax::{Sink, lax_end};
use machine::{Machine, OPENING, play, settings};
use support::daemon::{Daemon, Parts};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, wait_until};

const TEXT: &str = "Subject: real\r\n\r\ntext";
const SMUGGLED: &str = "MAIL FROM:<evil@c.example>\r\nRCPT TO:<u@local.example>\r\nDATA\r\n\
                        Subject: smuggled\r\n\r\nyes\r\n.\r\n";
const LETTERS: &[u8] = b"\r\n\0.x";

/// What has been tried on real servers, with what comes near it.
const KNOWN: &[&str] = &[
    "\n.\n",
    "\n.\r\n",
    "\r.\r",
    "\r.\r\n",
    "\r.\n",
    "\n.\r",
    "\r\n.\n",
    "\r\n.\r",
    "\r\n.\r\r\n",
    "\r\r\n.\r\r\n",
    "\n\n.\n\n",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n.\r\0\n",
    "\0\r\n.\r\r\n",
    "\r\n..\r\n",
    "\r\n.x\r\n",
    "\r\n.\r.\r\n",
];

/// Every string of the letters of so many octets.
fn strings(octets: u32) -> impl Iterator<Item = Vec<u8>> {
    let base = LETTERS.len();
    (0..base.pow(octets))
        .map(move |number| (0..octets).map(|at| LETTERS[number / base.pow(at) % base]).collect())
}

fn holds(octets: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(octets, part).is_some()
}

/// Whether a CR or LF stands alone.
fn has_bare(octets: &[u8]) -> bool {
    let count = |part: &[u8]| memchr::memmem::find_iter(octets, part).count();
    count(b"\r") != count(b"\r\n") || count(b"\n") != count(b"\r\n")
}

/// What goes out of a message holds one end of content for everybody, at its end.
fn check_outbound(content: &[u8], shown: &str) {
    let (mut encoder, mut wire) = (Encoder::default(), b"\r\n".to_vec());
    encoder.encode(content, &mut wire);
    encoder.finish(&mut wire);
    assert!(!has_bare(&wire) && !wire.contains(&0), "{shown}: {}", wire.escape_ascii());
    let ends = (1..wire.len()).filter(|end| lax_end(&wire[..*end])).count();
    // The last octet but one ends it for those whom CR is enough.
    assert_eq!(ends, 1, "{shown}: {}", wire.escape_ascii());
}

/// One message was refused or accepted, as one.
fn check(machine: &Machine, middle: &[u8], settings: &Settings) {
    let shown = &format!("{} {:?}", middle.escape_ascii(), settings.bare_line_ends);
    let replies = machine.replies();
    assert!(machine.closed && replies.ends_with("221 2.0.0 closing, good bye\r\n"), "{shown}");
    let nul = middle.contains(&0);
    let whole = [middle, b"MAIL"].concat();
    let bare = settings.bare_line_ends == BareLineEnds::Refuse && has_bare(&whole);
    let refused = replies.matches("\n554 5.6.0 ").count();
    let accepted = replies.matches("\n250 2.0.0 queued").count();
    assert_eq!((refused, accepted), if nul || bare { (1, 0) } else { (0, 1) }, "{shown} {replies}");
    assert_eq!(machine.messages.len(), accepted, "{shown}");
    for message in &machine.messages {
        assert_eq!(message.envelope.reverse_path.to_string(), "a@c.example", "{shown}");
        assert!(holds(&message.content, b"MAIL FROM:<evil@c.example>\r\n"), "{shown}");
        assert!(!has_bare(&message.content) && !message.content.contains(&0), "{shown}");
        check_outbound(&message.content, shown);
    }
}

/// Plays the whole, cut after so many octets of the middle.
fn attack(settings: &Settings, middle: &[u8], cuts: &[usize]) -> Machine {
    let before = [OPENING, TEXT].concat();
    let wire = [before.as_bytes(), middle, SMUGGLED.as_bytes(), b"QUIT\r\n"].concat();
    let mut begin = 0;
    let cuts = cuts.iter().map(|cut| before.len() + cut).chain([wire.len()]);
    let pieces = cuts.map(|end| &wire[std::mem::replace(&mut begin, end)..end]);
    play(settings, pieces)
}

/// In one piece, octet by octet, and cut in two at each place where there is time for it.
fn ways(middle: &[u8], each: bool) -> Vec<Vec<usize>> {
    let places: Vec<usize> = (0..=middle.len()).collect();
    let two = places.iter().filter(|_| each).map(|place| vec![*place]);
    two.chain([Vec::new(), places.clone()]).collect()
}

#[test]
fn no_string_ends_content_but_its_end() {
    let longest = if support::long() { 6 } else { 5 };
    let mut sessions = 0;
    for middle in (0..=longest).flat_map(strings) {
        if holds(&middle, b"\r\n.\r\n") {
            continue;
        }
        for bare in [BareLineEnds::Refuse, BareLineEnds::Normalise] {
            let settings = settings(bare);
            for cuts in ways(&middle, support::long() || middle.len() < 5) {
                check(&attack(&settings, &middle, &cuts), &middle, &settings);
                sessions += 1;
            }
        }
    }
    println!("smuggling.sessions = {sessions} sessions");
}

#[test]
fn the_end_of_content_does_end_it() {
    let settings = settings(BareLineEnds::Refuse);
    for cut in 0..=5 {
        let machine = attack(&settings, b"\r\n.\r\n", &[cut]);
        let senders: Vec<String> =
            machine.messages.iter().map(|m| m.envelope.reverse_path.to_string()).collect();
        assert_eq!(senders, ["a@c.example", "evil@c.example"]);
    }
}

/// Content in chunks that end after so many octets each, and at its end.
fn chunks(content: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut begin, mut wire) = (0, Vec::new());
    for end in cuts.iter().copied().chain([content.len()]) {
        let last = if end == content.len() { " LAST" } else { "" };
        wire.extend(format!("BDAT {}{last}\r\n", end - begin).bytes());
        wire.extend(&content[std::mem::replace(&mut begin, end)..end]);
    }
    wire
}

#[test]
fn chunks_hold_what_they_hold() {
    let opening = OPENING.strip_suffix("DATA\r\n").unwrap();
    let longest = if support::long() { 5 } else { 4 };
    for middle in (0..=longest).flat_map(strings) {
        for bare in [BareLineEnds::Refuse, BareLineEnds::Normalise] {
            let settings = settings(bare);
            let content = [TEXT.as_bytes(), &middle, SMUGGLED.as_bytes()].concat();
            for cuts in ways(&middle, true) {
                let cuts: Vec<usize> = cuts.iter().map(|cut| TEXT.len() + cut).collect();
                let wire = [opening.as_bytes(), &chunks(&content, &cuts), b"QUIT\r\n"].concat();
                check(&play(&settings, [&wire[..]]), &middle, &settings);
            }
        }
    }
}

/// A daemon between clients and two next hops; 127.0.0.2 may send bare line ends.
struct Relay {
    daemon: Daemon,
    strict: Store,
    lax: Sink,
    accepted: usize,
}

impl Relay {
    fn start() -> Self {
        let (strict, lax) = (Store::tcp(Behaviour::next_hop()), Sink::start());
        let domain = |name: &str, url: &str| {
            format!("[[domain]]\nname = \"{name}\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n")
        };
        let tables = domain("strict.example", &strict.url()) + &domain("lax.example", &lax.url());
        let listener = "bare_line_ends_from = [\"127.0.0.2\"]";
        let daemon = Daemon::start_with(&Parts { listener, tables: &tables, ..Parts::default() });
        Self { daemon, strict, lax, accepted: 0 }
    }

    /// Sends the attack in pieces from the client; its one reply is 250 or 554.
    fn attack(&mut self, client: &str, middle: &[u8], cut: Option<usize>) {
        let shown = middle.escape_ascii();
        let mut client = Client::connect_from(client.parse().unwrap(), self.daemon.addr());
        client.try_hello("EHLO c.example").unwrap();
        client.envelope("a@c.example", &["u@strict.example", "u@lax.example"]);
        assert_eq!(client.command("DATA").code, 354);
        let wire = [TEXT.as_bytes(), middle, SMUGGLED.as_bytes()].concat();
        let (before, after) = wire.split_at(cut.map_or(0, |cut| TEXT.len() + cut));
        client.write(before);
        if cut.is_some() {
            std::thread::sleep(Duration::from_millis(5));
        }
        client.write(after);
        let reply = client.reply();
        assert!(matches!(reply.code, 250 | 554), "{shown}: {reply:?}");
        self.accepted += usize::from(reply.code == 250);
        // A second transaction would have been answered by now.
        client.quit();
    }

    /// The same in one chunk or two.
    fn attack_by_chunks(&mut self, client: &str, middle: &[u8], cut: Option<usize>) {
        let shown = middle.escape_ascii();
        let mut client = Client::connect_from(client.parse().unwrap(), self.daemon.addr());
        client.try_hello("EHLO c.example").unwrap();
        client.envelope("a@c.example", &["u@strict.example", "u@lax.example"]);
        let cuts: Vec<usize> = cut.iter().map(|cut| TEXT.len() + cut).collect();
        let content = [TEXT.as_bytes(), middle, SMUGGLED.as_bytes()].concat();
        client.write(&chunks(&content, &cuts));
        for _ in &cuts {
            let reply = client.reply();
            assert!(matches!(reply.code, 250 | 554), "{shown}: {reply:?}");
        }
        let reply = client.reply();
        assert!(matches!(reply.code, 250 | 554 | 503), "{shown}: {reply:?}");
        self.accepted += usize::from(reply.code == 250);
        client.quit();
    }

    /// Each message has come to both next hops as one, and clean.
    fn check(self) {
        let both =
            || self.strict.count() >= self.accepted && self.lax.taken().len() >= self.accepted;
        assert!(wait_until(ARRIVAL, both), "{}", self.daemon.log_tail());
        self.daemon.drain(ARRIVAL);
        let (strict, lax) = (self.strict.deliveries(), self.lax.taken());
        assert_eq!((strict.len(), lax.len()), (self.accepted, self.accepted));
        for delivery in strict {
            assert_eq!(delivery.from, "a@c.example");
            assert!(!has_bare(&delivery.content), "{}", delivery.content.escape_ascii());
        }
        for taken in lax {
            assert!(taken.mail.contains("<a@c.example>"), "{}", taken.mail);
            // Such a server may go on at the CR of the final CRLF.
            let wire = [taken.wire.strip_suffix(b"\r").unwrap(), b"\r\n"].concat();
            assert!(!has_bare(&wire) && !wire.contains(&0), "{}", wire.escape_ascii());
        }
    }
}

#[test]
fn no_next_hop_gets_two_messages_of_one_that_came_in_chunks() {
    let mut relay = Relay::start();
    for middle in KNOWN.iter().copied().chain(["\r\n.\r\n"]) {
        for client in ["127.0.0.1", "127.0.0.2"] {
            relay.attack_by_chunks(client, middle.as_bytes(), None);
            for cut in 0..=middle.len() {
                relay.attack_by_chunks(client, middle.as_bytes(), Some(cut));
            }
        }
    }
    assert!(relay.accepted > 60, "{} were accepted", relay.accepted);
    relay.check();
}

#[test]
fn no_next_hop_gets_two_messages_of_one() {
    let mut relay = Relay::start();
    for middle in KNOWN {
        for client in ["127.0.0.1", "127.0.0.2"] {
            relay.attack(client, middle.as_bytes(), None);
            for cut in 0..=middle.len() {
                relay.attack(client, middle.as_bytes(), Some(cut));
            }
        }
    }
    let ends = ["\r", "\n", "\r\n", "\n\r", "\r\r\n", "\0", "\r\0"];
    for (before, after) in ends.iter().flat_map(|before| ends.map(|after| (before, after))) {
        let middle = format!("{before}.{after}");
        if !holds(middle.as_bytes(), b"\r\n.\r\n") {
            relay.attack("127.0.0.1", middle.as_bytes(), None);
            relay.attack("127.0.0.2", middle.as_bytes(), None);
        }
    }
    assert!(relay.accepted > 100, "{} were accepted", relay.accepted);
    relay.check();
}
