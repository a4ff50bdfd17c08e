//! What is asked of every mail server beside Angarium, whoever wrote it: pass on the corpus.
//!
//! Promises: each message arrives exactly once. Its octets are those that were sent below the
//! trace; where the neighbour changes a message, those that the same neighbour makes of it without
//! Angarium. What a neighbour does not take at all, and what it changes by itself, it tells.

use std::net::SocketAddr;
use std::time::Duration;

use crate::compare::{below_received_by, below_trace};
use crate::dovecot::{DOMAIN, Dovecot};
use crate::exim::{self, Exim};
use crate::final_delivery::domain;
use crate::opensmtpd::{self, OpenSmtpd};
use crate::postfix::{self, Postfix};
use crate::sink::Sink;
use crate::support::corpus::{Message, is_folded, sendable};
use crate::support::daemon::{Daemon, HOSTNAME};
use crate::support::smtp::Client;
use crate::support::{ARRIVAL, free_port, loopback};

/// The reverse-path of all that is sent here.
pub(crate) const SENDER: &str = "atossa@susa.example";

/// Messages that no neighbour may have an excuse for.
const CARRIED: [&str; 7] = [
    "eight-bit-as-seven.eml",
    "eight-bit-undeclared.eml",
    "expires.eml",
    "list-unsubscribe.eml",
    "odd-folding.eml",
    "sig.eml",
    "white-space.eml",
];

/// A mail server that passes mail on.
pub(crate) trait Neighbour {
    /// The name in its Received fields.
    const HOSTNAME: &'static str;

    /// One that sends mail for each domain to the address beside it, and knows no other domain.
    fn start(next_hops: &[(&str, SocketAddr)]) -> Self;

    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// Waits until its queue is empty, or panics.
    fn drain(&self, limit: Duration);

    /// Whether it accepts a message.
    fn takes(_message: &Message) -> bool {
        true
    }

    /// Whether it passes a message on unchanged.
    fn leaves_alone(message: &Message) -> bool {
        message.has_sound_header()
    }

    /// What it has passed on, without what is new in it each time.
    fn lasting(_sent: &Message, octets: &[u8]) -> Vec<u8> {
        octets.to_vec()
    }
}

impl Neighbour for Postfix {
    const HOSTNAME: &'static str = postfix::HOSTNAME;

    fn start(next_hops: &[(&str, SocketAddr)]) -> Self {
        Self::start(next_hops)
    }

    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn drain(&self, limit: Duration) {
        self.drain(limit);
    }
}

impl Neighbour for Exim {
    const HOSTNAME: &'static str = exim::HOSTNAME;

    fn start(next_hops: &[(&str, SocketAddr)]) -> Self {
        Self::start(next_hops)
    }

    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn drain(&self, limit: Duration) {
        self.drain(limit);
    }

    /// It ends a header section with an empty line where no body follows.
    fn leaves_alone(message: &Message) -> bool {
        message.has_sound_header() && message.has_body()
    }
}

impl Neighbour for OpenSmtpd {
    const HOSTNAME: &'static str = opensmtpd::HOSTNAME;

    fn start(next_hops: &[(&str, SocketAddr)]) -> Self {
        Self::start(next_hops)
    }

    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn drain(&self, limit: Duration) {
        self.drain(limit);
    }

    /// It refuses longer lines, and header lines without a colon.
    fn takes(message: &Message) -> bool {
        let mut lines = message.octets.split(|octet| *octet == b'\n');
        lines.all(|line| line.len() <= 65_534)
            && message.header().all(|line| is_folded(line) || line.contains(&b':'))
    }

    /// It makes up the first two fields where they are missing, and ends addresses without a
    /// domain in its own name.
    fn leaves_alone(message: &Message) -> bool {
        let addresses = ["From", "To", "Cc"].map(|name| message.field(name));
        ["Date", "Message-ID"].iter().all(|name| message.field(name).is_some())
            && addresses.iter().flatten().all(|value| value.contains(&b'@'))
    }

    /// Without a time and an identifier that nobody has sent.
    fn lasting(sent: &Message, octets: &[u8]) -> Vec<u8> {
        let made_up = |line: &&[u8]| {
            let field = line.starts_with(b"Date: ") || line.starts_with(b"Message-ID: ");
            field && !sent.octets.windows(line.len()).any(|part| part == *line)
        };
        let lines = octets.split_inclusive(|octet| *octet == b'\n');
        lines.filter(|line| !made_up(line)).collect::<Vec<_>>().concat()
    }
}

/// The messages that the neighbour accepts.
fn takeable<N: Neighbour>() -> Vec<Message> {
    sendable().into_iter().filter(N::takes).collect()
}

/// Tables that let this machine relay, and send all of it to one next hop.
pub(crate) fn relay_to(via: &str) -> String {
    format!("[relay]\nfrom = [\"127.0.0.1/32\"]\n\n[[route]]\nrecipient = \"*\"\nvia = \"{via}\"\n")
}

/// Sends each message to the recipient that its number makes.
pub(crate) fn send_all(server: SocketAddr, messages: &[Message], to: impl Fn(usize) -> String) {
    let mut client = Client::greet(server, "harness.test");
    for (number, message) in messages.iter().enumerate() {
        let reply = client.send_message(SENDER, &[&to(number)], &message.octets);
        assert_eq!(reply.code, 250, "{}: {reply:?}", message.name);
    }
    client.quit();
}

/// The neighbour by itself changes none of the messages that it says it leaves alone.
pub(crate) fn passes_on_unchanged<N: Neighbour>() {
    let sink = Sink::dumping();
    let neighbour = N::start(&[("sink.example", sink.address())]);
    let messages: Vec<Message> = takeable::<N>().into_iter().filter(N::leaves_alone).collect();
    for name in CARRIED {
        assert!(messages.iter().any(|message| message.name == name), "{name} is not left alone");
    }
    send_all(neighbour.address(), &messages, |number| format!("m{number}@sink.example"));
    sink.wait_for(messages.len(), ARRIVAL);
    neighbour.drain(ARRIVAL);
    let dumps = sink.by_recipient();
    for (number, message) in messages.iter().enumerate() {
        let trace = below_trace(message, &dumps[&format!("m{number}@sink.example")]);
        assert_eq!(trace.received_by(N::HOSTNAME), 1, "{trace:?}");
    }
}

/// The neighbour does refuse the messages that it says it does not take.
pub(crate) fn refuses_what_it_does_not_take<N: Neighbour>() {
    let neighbour = N::start(&[("sink.example", loopback(free_port()))]);
    let refused = |message: &Message| !N::takes(message);
    for message in sendable().into_iter().filter(refused) {
        let mut client = Client::greet(neighbour.address(), "harness.test");
        let reply = client.send_message(SENDER, &["b@sink.example"], &message.octets);
        assert_eq!(reply.code / 100, 5, "{}: {reply:?}", message.name);
    }
}

/// Angarium, the neighbour, the sink; beside it the neighbour alone.
pub(crate) fn behind_makes_no_difference<N: Neighbour>() {
    let messages = takeable::<N>();
    let sink = Sink::dumping();
    let neighbour = N::start(&[("sink.example", sink.address())]);
    let daemon = Daemon::start(&relay_to(&format!("smtp://{}", neighbour.address())));
    send_all(neighbour.address(), &messages, |number| format!("alone{number}@sink.example"));
    send_all(daemon.addr(), &messages, |number| format!("ours{number}@sink.example"));
    daemon.drain(ARRIVAL);
    sink.wait_for(2 * messages.len(), ARRIVAL);
    neighbour.drain(ARRIVAL);
    let dumps = sink.by_recipient();
    assert_eq!(dumps.len(), 2 * messages.len());
    for (number, message) in messages.iter().enumerate() {
        let dump = |who: &str| &dumps[&format!("{who}{number}@sink.example")];
        let (above_alone, alone) = below_received_by(N::HOSTNAME, dump("alone"));
        let (above_ours, ours) = below_received_by(HOSTNAME, dump("ours"));
        assert_eq!((above_alone, above_ours), (1, 2), "{}", message.name);
        assert_same::<N>(message, ours, alone);
    }
}

/// The neighbour, Angarium, Dovecot; beside it the neighbour alone before the sink.
pub(crate) fn before_makes_no_difference<N: Neighbour>() {
    let messages = takeable::<N>();
    let names: Vec<String> = (0..messages.len()).map(|number| format!("m{number}")).collect();
    let (sink, dovecot) = (Sink::dumping(), Dovecot::start_new(&names));
    let daemon = Daemon::start(&domain(&dovecot.lmtp_unix_url()));
    let hops = [("sink.example", sink.address()), (DOMAIN, daemon.addr())];
    let neighbour = N::start(&hops);
    send_all(neighbour.address(), &messages, |number| format!("m{number}@sink.example"));
    send_all(neighbour.address(), &messages, |number| Dovecot::address(&names[number]));
    neighbour.drain(ARRIVAL);
    daemon.drain(ARRIVAL);
    let dumps = sink.by_recipient();
    assert_eq!(dumps.len(), messages.len());
    for (name, message) in names.iter().zip(&messages) {
        let stored = dovecot.only_message(name);
        let (above, ours) = below_received_by(N::HOSTNAME, &stored);
        let (_, alone) = below_received_by(N::HOSTNAME, &dumps[&format!("{name}@sink.example")]);
        assert_eq!(above, 2, "{}: Received by Dovecot and by Angarium", message.name);
        assert_eq!(below_received_by(HOSTNAME, &stored).0, 1, "{}", message.name);
        assert_same::<N>(message, ours, alone);
    }
}

#[track_caller]
fn assert_same<N: Neighbour>(message: &Message, ours: &[u8], alone: &[u8]) {
    let name = &message.name;
    let (ours, alone) = (N::lasting(message, ours), N::lasting(message, alone));
    assert!(ours == alone, "{name}: with Angarium\n{:?}\nwithout\n{:?}", text(&ours), text(&alone));
    if N::leaves_alone(message) {
        assert!(ours == message.octets, "{name} differs from what was sent: {:?}", text(&ours));
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
