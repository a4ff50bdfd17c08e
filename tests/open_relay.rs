//! No open relay: every spelling by which relays were once opened, by everyone who can connect, on
//! listeners of every role, with and without a login.
//!
//! Whoever may not relay reaches only mailboxes of our domains. Whoever may reaches the domain behind
//! the last "@" and no other, however a third one is named before it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;
use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::tls::{SecureClient, trusting, write_certificate};
use support::users::{accounts, plain};
use support::{ARRIVAL, free_port, loopback, wait_until};

const NAME: &str = "mx.example";
const JOE: &str = "joe@ours.example";
/// A proxy on loopback that may name clients, and, by the operator's mistake, may relay itself.
const PROXY: &str = "127.0.0.3";
/// A client that may relay, and one elsewhere.
const TRUSTED: &str = "127.0.0.9";
const CUSTOMER: &str = "203.0.113.9";

/// Where a message goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    Refused,
    /// To our own mailstore.
    Home,
    /// To far.example and all others, by a `[[route]]`.
    Away,
    /// To third.example, by a `[[route]]` of its own.
    Third,
}

use Fate::{Away, Home, Refused, Third};

/// A forward-path, what becomes of it for strangers and for those who may relay, and whom it reaches.
type Row = (&'static str, Fate, Fate, &'static str);

const MATRIX: [Row; 32] = [
    ("joe@ours.example", Home, Home, "joe@ours.example"),
    ("victim@third.example", Refused, Third, "victim@third.example"),
    ("victim@THIRD.example", Refused, Third, "victim@third.example"),
    ("victim@far.example", Refused, Away, "victim@far.example"),
    // Percent hack.
    ("victim%third.example@ours.example", Refused, Refused, ""),
    ("victim%third.example@any.example", Home, Home, "victim%third.example@any.example"),
    ("victim%third.example@far.example", Refused, Away, "victim%third.example@far.example"),
    ("victim@third.example%ours.example", Refused, Refused, ""),
    ("victim%third.example", Refused, Refused, ""),
    // Bang paths.
    ("third.example!victim@ours.example", Refused, Refused, ""),
    ("third.example!victim@any.example", Home, Home, "third.example!victim@any.example"),
    ("third.example!victim@far.example", Refused, Away, "third.example!victim@far.example"),
    ("third.example!victim", Refused, Refused, ""),
    // Quoted.
    ("\"victim@third.example\"@ours.example", Refused, Refused, ""),
    ("\"victim@third.example\"@any.example", Home, Home, "\"victim@third.example\"@any.example"),
    ("\"victim@third.example\"@far.example", Refused, Away, "\"victim@third.example\"@far.example"),
    ("\"victim@third.example\"", Refused, Refused, ""),
    ("\"victim\"@third.example", Refused, Third, "victim@third.example"),
    ("\"\"@third.example", Refused, Refused, ""),
    // Two at signs, and ends of domains.
    ("victim@third.example@ours.example", Refused, Refused, ""),
    ("victim@ours.example@third.example", Refused, Refused, ""),
    ("victim@third.example.", Refused, Refused, ""),
    ("victim@third.example\t@ours.example", Refused, Refused, ""),
    // Source routes: what stands before the colon is dropped, and nobody is asked there.
    ("@third.example:joe@ours.example", Home, Home, "joe@ours.example"),
    ("@third.example:victim@far.example", Refused, Away, "victim@far.example"),
    ("@ours.example:victim@third.example", Refused, Third, "victim@third.example"),
    ("@ours.example,@any.example:victim@third.example", Refused, Third, "victim@third.example"),
    ("@ours.example:@any.example:victim@third.example", Refused, Refused, ""),
    // Literals, of strangers and of our own.
    ("victim@[192.0.2.7]", Refused, Away, "victim@[192.0.2.7]"),
    ("victim@[127.0.0.1]", Refused, Away, "victim@[127.0.0.1]"),
    ("victim%third.example@[127.0.0.1]", Refused, Away, "victim%third.example@[127.0.0.1]"),
    ("victim@[IPv6:::1]", Refused, Away, "victim@[IPv6:::1]"),
];

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    /// May reach our mailboxes.
    Stranger,
    /// May reach nobody: nothing but a login counts there.
    Outsider,
    /// Has logged in as joe.
    User,
    /// Comes from a network of `[relay]`.
    Relay,
}

impl Who {
    fn senders(self) -> &'static [&'static str] {
        match self {
            Self::User => &["", JOE],
            Self::Stranger | Self::Outsider | Self::Relay => &["", JOE, "victim@third.example"],
        }
    }

    fn fate(self, row: &Row) -> Fate {
        match self {
            Self::Stranger => row.1,
            Self::Outsider => Refused,
            Self::User | Self::Relay => row.2,
        }
    }
}

/// A connection that says and hears lines.
enum Wire {
    Clear(Client),
    Secured(Box<SecureClient>),
}

impl Wire {
    /// The last line of the reply, with its code.
    fn say(&mut self, line: &str) -> String {
        match self {
            Self::Clear(client) => last_line(&client.command(line)),
            Self::Secured(client) => client.command(line).unwrap().pop().unwrap(),
        }
    }

    fn expect(&mut self, line: &str, code: &str) {
        let reply = self.say(line);
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
}

fn last_line(reply: &support::smtp::Reply) -> String {
    format!("{} {}", reply.code, reply.lines.last().unwrap())
}

/// A session up to its first transaction.
struct Situation {
    name: String,
    who: Who,
    wire: Wire,
}

/// A daemon with a listener of each role, once for everyone and once for proxies.
struct Ground {
    daemon: Daemon,
    lmtp: SocketAddr,
    submission: SocketAddr,
    starttls: SocketAddr,
    proxied_mx: SocketAddr,
    proxied_lmtp: SocketAddr,
    proxied_submission: SocketAddr,
    trusted: Arc<ClientConfig>,
    /// The stores of `Home`, `Away` and `Third`.
    stores: [(Fate, Store); 3],
}

fn listener(place: SocketAddr, role: &str, more: &str) -> String {
    format!("[[listener]]\nbind = \"{place}\"\nrole = \"{role}\"\nmax_errors = 10000\n{more}\n")
}

fn ground() -> Ground {
    let site = Site::new();
    let (chain, key) = (site.path("mx.pem"), site.path("mx.key"));
    write_certificate(&chain, &key, NAME);
    let (users, known) = (site.path("users"), site.path("known"));
    std::fs::write(&users, accounts(&[JOE]).text().unwrap()).unwrap();
    std::fs::write(&known, "joe\n").unwrap();
    let stores = [Home, Away, Third].map(|fate| (fate, Store::tcp(Behaviour::next_hop())));
    let [home, away, third] = stores.each_ref().map(|(_, store)| store.url());
    let places: [SocketAddr; 6] = std::array::from_fn(|_| loopback(free_port()));
    let [lmtp, submission, starttls, proxied_mx, proxied_lmtp, proxied_submission] = places;
    let from = format!("proxy_from = [\"{PROXY}\"]\n");
    let listeners = [
        listener(lmtp, "lmtp", ""),
        listener(submission, "submission", "tls = \"implicit\""),
        listener(starttls, "submission", ""),
        listener(proxied_mx, "mx", &from),
        listener(proxied_lmtp, "lmtp", &from),
        listener(proxied_submission, "submission", &format!("tls = \"implicit\"\n{from}")),
    ]
    .concat();
    let tables = format!(
        "{listeners}[[certificate]]\nname = \"mx\"\nchain = {chain:?}\nkey = {key:?}\n\
         [auth]\nusers = {users:?}\n\
         [submission]\nmessages_per_hour = 0\nmessages_per_day = 0\nrecipients_per_hour = 0\nrecipients_per_day = 0\n\
         [relay]\nfrom = [\"{TRUSTED}\", \"{CUSTOMER}\", \"{PROXY}\"]\n\
         [[domain]]\nname = \"ours.example\"\ndeliver = \"{home}\"\nrecipients = \"file:{}\"\n\
         [[domain]]\nname = \"any.example\"\ndeliver = \"{home}\"\nrecipients = \"any\"\n\
         [[route]]\nrecipient = \"*@third.example\"\nvia = \"{third}\"\n\
         [[route]]\nrecipient = \"*\"\nvia = \"{away}\"\n",
        known.display()
    );
    let parts = Parts { listener: "max_errors = 10000\n", tables: &tables, ..Parts::default() };
    let text = site.configuration(&parts);
    let daemon = Daemon::start_at(site, &text);
    for place in places {
        assert!(wait_until(ARRIVAL, || TcpStream::connect(place).is_ok()));
    }
    let trusted = trusting(&chain);
    Ground {
        daemon,
        lmtp,
        submission,
        starttls,
        proxied_mx,
        proxied_lmtp,
        proxied_submission,
        trusted,
        stores,
    }
}

impl Ground {
    fn clear(&self, from: &str, to: SocketAddr) -> Client {
        let mut client = Client::connect_from(from.parse().unwrap(), to);
        client.expect(220);
        client
    }

    /// A connection in clear after a hello, as the protocol has it.
    fn greeted(&self, from: &str, to: SocketAddr, name: &str) -> Wire {
        let mut wire = Wire::Clear(self.clear(from, to));
        wire.expect(&format!("{} {name}", self.hello(to)), "250 ");
        wire
    }

    fn hello(&self, to: SocketAddr) -> &'static str {
        if [self.lmtp, self.proxied_lmtp].contains(&to) { "LHLO" } else { "EHLO" }
    }

    fn secured(&self, from: &str, to: SocketAddr, header: &[u8]) -> Wire {
        let mut client = Client::connect_from(from.parse().unwrap(), to);
        client.write(header);
        let mut client = SecureClient::over(client.into_tcp(), &self.trusted, NAME).unwrap();
        assert!(client.reply().unwrap()[0].starts_with("220 "));
        let mut wire = Wire::Secured(Box::new(client));
        wire.expect("EHLO c.example", "250 ");
        wire
    }

    fn over_starttls(&self) -> Wire {
        let mut client = self.clear("127.0.0.1", self.starttls);
        assert_eq!(client.command("EHLO c.example").code, 250);
        assert_eq!(client.command("STARTTLS").code, 220);
        let client = SecureClient::over(client.into_tcp(), &self.trusted, NAME).unwrap();
        let mut wire = Wire::Secured(Box::new(client));
        wire.expect("EHLO c.example", "250 ");
        wire
    }

    /// Those who connect in clear to a role for everyone.
    fn open(&self, role: &str, to: SocketAddr) -> Vec<Situation> {
        let situation =
            |name: &str, who, wire| Situation { name: format!("{role}, {name}"), who, wire };
        let mut found = Vec::new();
        for name in ["c.example", "ours.example", "[127.0.0.9]", "localhost"] {
            found.push(situation(name, Who::Stranger, self.greeted("127.0.0.1", to, name)));
        }
        let lies = [
            plain(JOE, "secret"),
            plain(JOE, "wrong"),
            format!("XCLIENT ADDR={TRUSTED} LOGIN={JOE}"),
            format!("PROXY TCP4 {TRUSTED} 127.0.0.1 1 25"),
        ];
        for lie in lies {
            let mut wire = self.greeted("127.0.0.1", to, "c.example");
            wire.expect(&lie, "50");
            found.push(situation(&lie, Who::Stranger, wire));
        }
        found.push(situation("trusted", Who::Relay, self.greeted(TRUSTED, to, "c.example")));
        found
    }

    /// Those who lie in front of the greeting, at a listener for everyone and one for proxies.
    fn faked(&self, role: &str, to: SocketAddr) -> Situation {
        let mut client = Client::connect_from("127.0.0.1".parse().unwrap(), to);
        client.write(format!("PROXY TCP4 {CUSTOMER} 127.0.0.1 1 25\r\n").as_bytes());
        client.expect(220);
        client.expect(500);
        let mut wire = Wire::Clear(client);
        wire.expect(&format!("{} c.example", self.hello(to)), "250 ");
        Situation { name: format!("{role}, faked header"), who: Who::Stranger, wire }
    }

    /// Those for whom the proxy on loopback speaks.
    fn proxied(&self, role: &str, to: SocketAddr) -> Vec<Situation> {
        let headers: [(&[u8], Who); 8] = [
            (b"PROXY TCP4 198.51.100.7 127.0.0.1 1 25\r\n", Who::Stranger),
            (b"PROXY TCP4 203.0.113.9 127.0.0.1 1 25\r\n", Who::Relay),
            (b"PROXY TCP4 127.0.0.9 127.0.0.1 1 25\r\n", Who::Stranger),
            (b"PROXY TCP4 127.0.0.3 127.0.0.1 1 25\r\n", Who::Stranger),
            (b"PROXY TCP6 ::ffff:127.0.0.9 ::1 1 25\r\n", Who::Stranger),
            (b"PROXY UNKNOWN\r\n", Who::Stranger),
            (b"PROXY UNKNOWN 203.0.113.9 127.0.0.1 1 25\r\n", Who::Stranger),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x20\x11\x00\x0c\xcb\x00\x71\x09\x7f\0\0\x01\0\x01\0\x19",
                Who::Stranger,
            ),
        ];
        let begin = |(header, who): (&[u8], Who)| {
            let mut client = Client::connect_from(PROXY.parse().unwrap(), to);
            client.write(header);
            client.expect(220);
            let mut wire = Wire::Clear(client);
            // A second header comes too late.
            wire.expect(&format!("PROXY TCP4 {CUSTOMER} 127.0.0.1 1 25"), "500 ");
            wire.expect(&format!("{} c.example", self.hello(to)), "250 ");
            Situation { name: format!("{role}, {}", header.escape_ascii()), who, wire }
        };
        headers.into_iter().map(begin).collect()
    }

    /// Those who connect where users do.
    fn submission(&self) -> Vec<Situation> {
        let stranger = b"PROXY TCP4 198.51.100.7 127.0.0.1 1 25\r\n".as_slice();
        let customer = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 25\r\n".as_slice();
        let wires = || {
            [
                ("implicit", self.secured("127.0.0.1", self.submission, b"")),
                ("starttls", self.over_starttls()),
                ("trusted", self.secured(TRUSTED, self.submission, b"")),
                ("proxied", self.secured(PROXY, self.proxied_submission, stranger)),
                ("proxied customer", self.secured(PROXY, self.proxied_submission, customer)),
                (
                    "proxied nobody",
                    self.secured(PROXY, self.proxied_submission, b"PROXY UNKNOWN\r\n"),
                ),
            ]
        };
        let situation = |name, how, who, wire| Situation {
            name: format!("submission {name}, {how}"),
            who,
            wire,
        };
        let mut found = vec![
            situation(
                "clear",
                "silent",
                Who::Outsider,
                self.greeted("127.0.0.1", self.starttls, "c.example"),
            ),
            situation(
                "clear trusted",
                "silent",
                Who::Outsider,
                self.greeted(TRUSTED, self.starttls, "c.example"),
            ),
        ];
        for (name, wire) in wires() {
            found.push(situation(name, "silent", Who::Outsider, wire));
        }
        for (name, mut wire) in wires() {
            wire.expect(&plain(JOE, "wrong"), "535 ");
            found.push(situation(name, "refused", Who::Outsider, wire));
        }
        for (name, mut wire) in wires() {
            wire.expect("AUTH PLAIN", "334");
            wire.expect("*", "501 ");
            found.push(situation(name, "given up", Who::Outsider, wire));
        }
        for (name, mut wire) in wires() {
            wire.expect(&plain(JOE, "wrong"), "535 ");
            wire.expect(&plain(JOE, "secret"), "235 ");
            found.push(situation(name, "logged in", Who::User, wire));
        }
        found
    }

    fn situations(&self) -> Vec<Situation> {
        let mx = self.daemon.addr();
        let mut found = self.open("mx", mx);
        found.extend(self.open("lmtp", self.lmtp));
        for (role, to) in [("mx", mx), ("lmtp", self.lmtp)] {
            found.push(self.faked(role, to));
        }
        for (role, to) in [("proxied mx", self.proxied_mx), ("proxied lmtp", self.proxied_lmtp)] {
            found.push(self.faked(role, to));
            found.extend(self.proxied(role, to));
        }
        found.extend(self.submission());
        found
    }
}

/// One transaction, to its end where it is given a subject; where its message has to arrive.
fn attempt(
    situation: &mut Situation,
    row: &Row,
    sender: &str,
    subject: Option<String>,
) -> Option<(Fate, String, String)> {
    let (fate, wire) = (situation.who.fate(row), &mut situation.wire);
    let what = format!("{} from <{sender}> to <{}>", situation.name, row.0);
    let mail = wire.say(&format!("MAIL FROM:<{sender}>"));
    assert_eq!(mail.starts_with("250 "), situation.who != Who::Outsider, "{what}: {mail}");
    let rcpt = wire.say(&format!("RCPT TO:<{}>", row.0));
    assert_eq!(rcpt.starts_with("250 "), fate != Refused, "{what}: {rcpt}");
    let Some(subject) = subject.filter(|_| fate != Refused) else {
        assert!(fate != Refused || rcpt.starts_with('5'), "{what}: {rcpt}");
        if fate == Refused {
            let data = wire.say("DATA");
            assert!(data.starts_with('5'), "{what}: {data}");
        }
        if situation.who != Who::Outsider {
            wire.expect("RSET", "250 ");
        }
        return None;
    };
    wire.expect("DATA", "354 ");
    let text = format!("From: {JOE}\r\nSubject: {subject}\r\n\r\nx\r\n.");
    let end = wire.say(&text);
    assert!(end.starts_with("250 "), "{what}: {end}");
    Some((fate, row.3.to_owned(), subject))
}

fn subject(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(content);
    let line = text.lines().find_map(|line| line.strip_prefix("Subject: "));
    line.unwrap().to_owned()
}

#[test]
fn nobody_relays_who_may_not_and_nobody_to_a_third_place() {
    // Checks: B01
    let ground = ground();
    let (mut expected, mut attempts) = (Vec::new(), 0);
    for (number, mut situation) in ground.situations().into_iter().enumerate() {
        let senders = situation.who.senders();
        for (at, row) in MATRIX.iter().enumerate() {
            for (turn, sender) in senders.iter().enumerate() {
                // A message a row is enough, by each sender in turn: each costs a sync.
                let whole = (number + at + turn) % senders.len() == 0;
                let subject = whole.then(|| format!("{number} {at}"));
                expected.extend(attempt(&mut situation, row, sender, subject));
                attempts += 1;
            }
        }
    }
    ground.daemon.drain(ARRIVAL);
    let all = ground.stores.iter().flat_map(|(fate, store)| {
        store.deliveries().into_iter().map(|one| (*fate, one.to.join(" "), subject(&one.content)))
    });
    let mut arrived: Vec<_> = all.collect();
    arrived.sort();
    expected.sort();
    println!("open_relay = {attempts} attempts, {} messages", arrived.len());
    assert!(arrived == expected, "{:?}", arrived.iter().zip(&expected).find(|(a, b)| a != b));
}
