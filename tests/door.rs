//! The front door, with the real daemon: the operator's lists, block lists, early talkers, rates.
//!
//! Clients come from addresses of 127.0.0.0/8; the name server is one of the test's own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use support::daemon::{Daemon, Parts, Site};
use support::dns::{Dns, Entry};
use support::smtp::{Client, Reply};
use support::store::{Behaviour, Store};
use support::{ARRIVAL, free_port, long, loopback, wait_until};

const NOTE: &[u8] = b"Subject: note\r\n\r\nnote\r\n";
/// No client of these tests is spared for being on loopback.
const RATES: &str = "[rates]\nexempt = []\n";

fn domain(store: &Store) -> String {
    let url = store.url();
    format!("[[domain]]\nname = \"ours.example\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n")
}

/// A session of 127.0.0.`host` that has said EHLO.
fn hello(daemon: &Daemon, host: u8, name: &str) -> Client {
    let mut client = connect(daemon, host);
    client.try_hello(&format!("EHLO {name}")).unwrap();
    client
}

fn connect(daemon: &Daemon, host: u8) -> Client {
    Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), daemon.addr())
}

/// MAIL, which is taken, and the reply to RCPT.
fn recipient(client: &mut Client, sender: &str, recipient: &str) -> Reply {
    client.command("RSET").is(250, "2.0.0");
    client.command(&format!("MAIL FROM:<{sender}>")).is(250, "2.1.0");
    client.command(&format!("RCPT TO:<{recipient}>"))
}

/// The reply to a recipient of ours, for a client of that address.
fn reply_to(daemon: &Daemon, host: u8) -> Reply {
    recipient(&mut hello(daemon, host, "c.example"), "s@c.example", "u@ours.example")
}

/// Lists in the daemon's directory.
struct Lists(Site);

impl Lists {
    fn write(site: &Site, name: &str, lines: &str) {
        std::fs::write(site.path(name), lines).unwrap();
    }

    fn section(&self) -> String {
        let option = |name: &str| match self.0.path(name) {
            path if path.exists() => format!("{name} = \"file:{}\"\n", path.display()),
            _ => String::new(),
        };
        let options: String = ["client", "hello", "sender", "recipient"].map(option).concat();
        format!("[access]\n{options}")
    }
}

/// A daemon with these lists, each a name and its lines.
fn start(store: &Store, lists: &[(&str, &str)], tables: &str) -> Daemon {
    let site = Site::new();
    for (name, lines) in lists {
        Lists::write(&site, name, lines);
    }
    let lists = Lists(site);
    let tables = format!("{}{}{tables}", domain(store), lists.section());
    let text = lists.0.configuration(&Parts { tables: &tables, ..Parts::default() });
    Daemon::start_at(lists.0, &text)
}

fn logged(daemon: &Daemon, event: &str, parts: &[&str]) {
    let event = format!("\"event\":\"{event}\"");
    let found = || {
        let log = daemon.log();
        log.lines()
            .any(|line| line.contains(&event) && parts.iter().all(|part| line.contains(part)))
    };
    assert!(wait_until(ARRIVAL, found), "no {event} with {parts:?}:\n{}", daemon.log_tail());
}

#[test]
fn each_list_accepts_refuses_and_defers() {
    let store = Store::tcp(Behaviour::default());
    let lists = [
        (
            "client",
            "127.0.0.0/29 defer not today\n127.0.0.3 reject 554 go away\n127.0.0.4 accept\n",
        ),
        ("hello", ".dynamic.example reject\nslow.example defer\n"),
        (
            "sender",
            "<> defer\nspam.example reject 553 5.1.8 no such domain\njoe@spam.example accept\n",
        ),
        ("recipient", "gone@ours.example reject 5.1.6 has moved\nlater@ours.example defer\n"),
    ];
    let daemon = start(&store, &lists, "");
    for (host, name, sender, to, code, status) in [
        (2, "c.example", "s@c.example", "u@ours.example", 450, "4.7.1"),
        (3, "c.example", "s@c.example", "u@ours.example", 554, "5.7.1"),
        (4, "a.dynamic.example", "a@spam.example", "gone@ours.example", 250, "2.1.5"),
        (9, "A.Dynamic.example", "s@c.example", "u@ours.example", 550, "5.7.1"),
        (9, "dynamic.example", "s@c.example", "u@ours.example", 250, "2.1.5"),
        (9, "slow.example", "s@c.example", "u@ours.example", 450, "4.7.1"),
        (9, "c.example", "", "u@ours.example", 450, "4.7.1"),
        (9, "c.example", "a@Spam.example", "u@ours.example", 553, "5.1.8"),
        (9, "c.example", "Joe@spam.example", "gone@ours.example", 250, "2.1.5"),
        (9, "c.example", "s@c.example", "Gone@ours.example", 550, "5.1.6"),
        (9, "c.example", "s@c.example", "later@ours.example", 450, "4.7.1"),
        (9, "c.example", "s@c.example", "u@ours.example", 250, "2.1.5"),
        // To be accepted is no leave to relay.
        (4, "c.example", "s@c.example", "u@far.example", 550, "5.7.1"),
    ] {
        let mut client = hello(&daemon, host, name);
        let reply = recipient(&mut client, sender, to);
        assert_eq!((reply.code, reply.status()), (code, status), "{host} {name} {sender} {to}");
    }
    assert_eq!(reply_to(&daemon, 3).text(), "5.7.1 go away");
    let line = format!("\"by\":\"client {}:2\"", daemon.path("client").display());
    let parts = ["\"rule\":\"client\"", &line, "\"sender\":\"s@c.example\"", "u@ours.example"];
    logged(&daemon, "door-refused", &parts);
}

#[test]
fn a_held_message_is_accepted_and_waits_for_the_operator() {
    let store = Store::tcp(Behaviour::default());
    let daemon = start(&store, &[("sender", "odd.example hold look at this\n")], "");
    let mut client = hello(&daemon, 2, "c.example");
    let held = client.send_message("a@odd.example", &["u@ours.example"], NOTE).queue_id();
    let free = client.send_message("a@c.example", &["u@ours.example"], NOTE).queue_id();
    client.envelope("a@odd.example", &["u@ours.example"]);
    client.command("RSET").is(250, "2.0.0");
    let after = client.send_message("a@c.example", &["u@ours.example"], NOTE).queue_id();
    store.wait_for(2, ARRIVAL);
    assert!(wait_until(ARRIVAL, || daemon.rows().len() == 1), "{free} and {after} are delivered");
    let rows = daemon.rows();
    assert_eq!((&rows[0]["queue_id"], &rows[0]["queue_name"]), (&held.into(), &"hold".into()));
    let held = rows[0]["queue_id"].as_str().unwrap();
    logged(&daemon, "held", &[held, "look at this", "sender:1"]);
    daemon.queue(&["release", held]);
    store.wait_for(3, ARRIVAL);
}

#[test]
fn a_reload_reads_the_lists_again_and_a_bad_one_changes_nothing() {
    let store = Store::tcp(Behaviour::default());
    let mut daemon = start(&store, &[("client", "127.0.0.3 reject\n")], "");
    let mut open = hello(&daemon, 2, "c.example");
    reply_to(&daemon, 2).is(250, "2.1.5");
    std::fs::write(daemon.path("client"), "127.0.0.2 reject 554 you, today\n").unwrap();
    daemon.hangup();
    assert!(wait_until(ARRIVAL, || reply_to(&daemon, 2).code == 554), "{}", daemon.log_tail());
    reply_to(&daemon, 3).is(250, "2.1.5");
    // A session keeps the rules that it began with.
    recipient(&mut open, "s@c.example", "u@ours.example").is(250, "2.1.5");
    std::fs::write(daemon.path("client"), "127.0.0.3 reject\n127.0.0.2/8 reject\n").unwrap();
    daemon.hangup();
    let fault = format!("{}:2:1: `127.0.0.2/8 reject`", daemon.path("client").display());
    logged(&daemon, "reload-refused", &[&fault]);
    reply_to(&daemon, 2).is(554, "5.7.1");
    reply_to(&daemon, 3).is(250, "2.1.5");
}

#[test]
fn a_long_list_is_read_while_the_daemon_starts() {
    let store = Store::tcp(Behaviour::default());
    let count = if long() { 1_000_000_u32 } else { 50_000 };
    let clients = (0..count).map(|number| {
        let address = Ipv4Addr::from(0x0a00_0000 + number);
        format!("{address} reject {}\n", if number % 2 == 0 { "spam" } else { "554 more spam" })
    });
    let senders =
        (0..count).map(|number| format!("user{number}@d{}.example reject\n", number % 999));
    let clients = clients.collect::<String>() + "127.0.0.2 reject\n";
    let lists = [("client", clients.as_str()), ("sender", &senders.collect::<String>())];
    let daemon = start(&store, &lists, "");
    reply_to(&daemon, 2).is(550, "5.7.1");
    let mut client = hello(&daemon, 3, "c.example");
    recipient(&mut client, "user998@d998.example", "u@ours.example").is(550, "5.7.1");
    recipient(&mut client, "user998@d997.example", "u@ours.example").is(250, "2.1.5");
}

fn block_list(zone: &str, more: &str) -> String {
    format!("[[blocklist]]\nzone = \"{zone}\"\n{more}\n")
}

fn records(addresses: &[[u8; 4]], text: &'static str) -> Entry {
    Entry::Records(addresses.iter().map(|octets| Ipv4Addr::from(*octets)).collect(), text)
}

#[test]
fn a_block_list_refuses_whom_it_has_and_nobody_when_it_fails() {
    let (store, dns) = (Store::tcp(Behaviour::default()), Dns::start());
    for (host, entry) in [
        (2, records(&[[127, 0, 0, 2]], "https://bl.example/why?ip=127.0.0.2")),
        (3, records(&[[127, 0, 0, 9]], "not what is meant")),
        (4, records(&[[127, 255, 255, 254]], "Error: open resolver")),
        (5, records(&[[192, 0, 2, 80]], "for sale")),
        (6, Entry::Silence),
        (7, Entry::Failure),
        (8, records(&[[127, 0, 0, 3]], "")),
    ] {
        dns.set(&format!("{host}.0.0.127.bl.example"), entry);
    }
    dns.set("9.0.0.127.grey.example", records(&[[127, 0, 0, 2]], "too new"));
    let tables = [
        block_list("bl.example", "answers = [\"127.0.0.2-4\"]\ntimeout = \"1s\""),
        block_list("grey.example", "action = \"defer\"\ntext = \"wait: {reason} ({zone})\""),
        dns.section(),
        RATES.to_owned(),
    ];
    let port = free_port();
    let metrics = format!("[metrics]\nbind = \"127.0.0.1:{port}\"\n");
    let client = [("client", "127.0.0.10 accept\n")];
    let daemon = start(&store, &client, &(tables.concat() + &metrics));

    let listed = reply_to(&daemon, 2);
    let text =
        "5.7.1 client [127.0.0.2] blocked by bl.example: https://bl.example/why?ip=127.0.0.2";
    assert_eq!((listed.code, listed.text().as_str()), (554, text));
    let bare = reply_to(&daemon, 8);
    assert_eq!(bare.text(), "5.7.1 client [127.0.0.8] blocked by bl.example");
    let grey = reply_to(&daemon, 9);
    assert_eq!((grey.code, grey.text().as_str()), (450, "4.7.1 wait: too new (grey.example)"));
    for host in [3, 4, 5, 6, 7, 11] {
        reply_to(&daemon, host).is(250, "2.1.5");
    }
    logged(
        &daemon,
        "door-refused",
        &["\"rule\":\"blocklist\"", "\"by\":\"bl.example\"", "127.0.0.2"],
    );
    logged(&daemon, "block-list-failed", &["127.255.255.254", "127.0.0.4"]);
    logged(&daemon, "block-list-failed", &["no answer in time", "127.0.0.6"]);
    logged(&daemon, "block-list-failed", &["192.0.2.80", "127.0.0.5"]);

    dns.set("10.0.0.127.bl.example", records(&[[127, 0, 0, 2]], "never asked"));
    reply_to(&daemon, 10).is(250, "2.1.5");
    assert_eq!(dns.asked("10.0.0.127.bl.example"), 0, "the operator accepts it");

    let figures = scrape(port);
    for (result, count) in [("listed", 2), ("clear", 3), ("error", 2), ("silence", 2)] {
        let line = format!(
            "angarium_dnsbl_lookups_total{{list=\"bl.example\",result=\"{result}\"}} {count}\n"
        );
        assert!(figures.contains(&line), "{line}{figures}");
    }
    assert!(figures.contains("angarium_smtpd_door_refusals_total{rule=\"blocklist\"} 3\n"));
}

fn scrape(port: u16) -> String {
    let mut stream = TcpStream::connect(loopback(port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_listed_client_is_asked_about_once_and_still_reaches_postmaster() {
    let (store, dns) = (Store::tcp(Behaviour::default()), Dns::start());
    dns.set("2.0.0.127.bl.example", records(&[[127, 0, 0, 2]], "listed"));
    let daemon = start(&store, &[], &(block_list("bl.example", "") + &dns.section()));
    let mut client = hello(&daemon, 2, "c.example");
    recipient(&mut client, "s@c.example", "Postmaster@ours.example").is(250, "2.1.5");
    assert_eq!(dns.asked("bl.example"), 0);
    client.command("RCPT TO:<Postmaster>").is(250, "2.1.5");
    client.command("RCPT TO:<u@ours.example>").is(554, "5.7.1");
    client.command("RCPT TO:<v@ours.example>").is(554, "5.7.1");
    let asked = dns.asked("bl.example");
    assert_eq!(asked, 2, "an address and a text");
    client.data(NOTE).queue_id();
    reply_to(&daemon, 2).is(554, "5.7.1");
    assert_eq!(dns.asked("bl.example"), asked, "the answers are kept for their time to live");
}

#[test]
fn a_dead_list_costs_only_a_few_clients_their_time() {
    let (store, dns) = (Store::tcp(Behaviour::default()), Dns::start());
    dns.set(".dead.example", Entry::Silence);
    dns.set(".bl.example", records(&[[127, 0, 0, 2]], ""));
    let lists =
        ["dead.example", "bl.example"].map(|zone| block_list(zone, "timeout = \"200ms\"")).concat();
    let daemon = start(&store, &[], &(lists + &dns.section()));
    for host in 2..7 {
        reply_to(&daemon, host).is(554, "5.7.1");
    }
    logged(&daemon, "block-list-rests", &["dead.example"]);
    let asked = dns.asked("dead.example");
    reply_to(&daemon, 20).is(554, "5.7.1");
    assert_eq!(dns.asked("dead.example"), asked, "it is left alone");
    assert!(dns.asked("20.0.0.127.bl.example") > 0, "the other is not");
}

#[test]
fn those_who_may_relay_are_never_looked_up_or_counted() {
    let (store, dns) = (Store::tcp(Behaviour::default()), Dns::start());
    dns.set(".bl.example", records(&[[127, 0, 0, 2]], ""));
    let relay = "[relay]\nfrom = [\"127.0.0.2\"]\n";
    let rates = "[rates]\nexempt = []\nconnections = \"1/h\"\nmessages = \"1/h\"\n";
    let tables = block_list("bl.example", "") + &dns.section() + relay + rates;
    let daemon = start(&store, &[], &tables);
    for _ in 0..3 {
        reply_to(&daemon, 2).is(250, "2.1.5");
    }
    assert_eq!(dns.asked("bl.example"), 0);
    reply_to(&daemon, 3).is(554, "5.7.1");
    connect(&daemon, 3).expect(421);
}

/// Checks: S05
#[test]
fn who_speaks_before_the_greeting_is_let_go() {
    let store = Store::tcp(Behaviour::default());
    let tables = domain(&store) + "[relay]\nfrom = [\"127.0.0.9\"]\n";
    let parts = Parts { listener: "greet_delay = \"700ms\"", tables: &tables, ..Parts::default() };
    let mut daemon = Daemon::start_with(&parts);
    let began = Instant::now();
    let mut early = connect(&daemon, 2);
    early.write(b"EHLO c.example\r\n");
    early.reply().is(421, "4.5.0");
    assert!(early.is_closed());
    assert!(began.elapsed() < Duration::from_millis(600), "at once");
    logged(&daemon, "door-refused", &["\"rule\":\"greeting\"", "421 4.5.0"]);

    let began = Instant::now();
    reply_to(&daemon, 3).is(250, "2.1.5");
    assert!(began.elapsed() >= Duration::from_millis(700), "the others wait");
    let began = Instant::now();
    reply_to(&daemon, 9).is(250, "2.1.5");
    assert!(began.elapsed() < Duration::from_millis(600), "but for those who may relay");

    let slow = Parts { listener: "greet_delay = \"30s\"", ..parts };
    daemon.rewrite(&slow);
    daemon.hangup();
    logged(&daemon, "reloaded", &[]);
    let mut waiting = connect(&daemon, 4);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(daemon.terminate().code(), Some(0));
    // The session hears why; it need not be greeted.
    while let Ok(reply) = waiting.try_reply() {
        assert!(reply.code == 220 || reply.code == 421, "{reply:?}");
    }
}

#[test]
fn one_abuser_is_shut_out_while_others_get_through() {
    let store = Store::tcp(Behaviour::default());
    let rates = "[rates]\nexempt = []\nconnections = \"3/h\"\n";
    let daemon = start(&store, &[("client", "127.0.0.4 accept\n")], rates);
    for _ in 0..3 {
        reply_to(&daemon, 2).is(250, "2.1.5");
    }
    for _ in 0..5 {
        let mut shut = connect(&daemon, 2);
        shut.reply().is(421, "4.7.0");
        assert!(shut.is_closed());
    }
    reply_to(&daemon, 3).is(250, "2.1.5");
    for _ in 0..6 {
        reply_to(&daemon, 4).is(250, "2.1.5");
    }
    logged(&daemon, "session-refused", &["127.0.0.2", "\"rule\":\"connection-rate\"", "3/h"]);
    connect(&daemon, 2).expect(421);
}

#[test]
fn messages_recipients_and_commands_have_their_rates() {
    let store = Store::tcp(Behaviour::default());
    let rates = "[rates]\nexempt = []\nmessages = \"2/h\"\nrecipients = \"4/h\"\n";
    let daemon = start(&store, &[], &format!("{rates}commands = \"20/h\"\n"));
    let mut client = hello(&daemon, 2, "c.example");
    for _ in 0..2 {
        client.send_message("s@c.example", &["u@ours.example"], NOTE).queue_id();
    }
    client.command("MAIL FROM:<s@c.example>").is(450, "4.7.1");
    logged(&daemon, "door-refused", &["\"rule\":\"message-rate\"", "\"by\":\"2/h\""]);

    let mut other = hello(&daemon, 3, "c.example");
    other.envelope("s@c.example", &["a@ours.example", "b@ours.example", "c@ours.example"]);
    other.command("RCPT TO:<d@far.example>").is(550, "5.7.1");
    other.command("RCPT TO:<e@ours.example>").is(450, "4.7.1");
    other.data(NOTE).queue_id();

    let mut busy = hello(&daemon, 4, "c.example");
    busy.write(&b"NOOP\r\n".repeat(30));
    let mut codes: Vec<u16> = std::iter::from_fn(|| Some(busy.try_reply().ok()?.code)).collect();
    assert_eq!(codes.pop(), Some(421), "the last word");
    assert!(codes.len() < 20 && codes.iter().all(|code| *code == 250), "{codes:?}");
    logged(&daemon, "door-refused", &["\"rule\":\"command-rate\"", "421 4.7.0"]);
    other.command("NOOP").is(250, "2.0.0");
}
