//! What strangers do to the daemon, and what it must not do to others because of it.
//!
//! Bounded memory, replies in sync, other clients unaffected, nothing half received in the queue.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::daemon::{Daemon, Parts};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, wait_until};

/// What one hostile client may make the daemon grow by, in octets.
const GROWTH_MAX: u64 = 8 << 20;

fn victim() -> (Daemon, Store) {
    let store = Store::tcp(Behaviour::knowing(&["u@ours.example"]));
    let tables = format!("[[domain]]\nname = \"ours.example\"\ndeliver = \"{}\"\n", store.url());
    let listener = "max_connections_per_client = 4096\nmax_errors = 10000";
    (Daemon::start_with(&Parts { tables: &tables, listener, ..Parts::default() }), store)
}

/// Resident memory of the daemon, in octets.
fn memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[track_caller]
fn assert_small(daemon: &Daemon, before: u64) {
    let now = memory(daemon);
    assert!(now < before + GROWTH_MAX, "memory went from {before} to {now}");
}

/// A normal client gets its message through at once.
#[track_caller]
fn others_are_unaffected(daemon: &Daemon, store: &Store) {
    let (before, started) = (store.count(), Instant::now());
    let mut client = Client::greet(daemon.addr(), "other.example");
    client
        .send_message("s@other.example", &["u@ours.example"], b"Subject: x\r\n\r\nx\r\n")
        .queue_id();
    store.wait_for(before + 1, Duration::from_secs(5));
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    client.quit();
}

#[test]
fn a_line_of_ten_mebibytes_without_an_end() {
    let (daemon, store) = victim();
    others_are_unaffected(&daemon, &store);
    let before = memory(&daemon);
    let mut client = Client::greet(daemon.addr(), "hostile.example");
    for _ in 0..160 {
        client.write(&[b'x'; 64 * 1024]);
    }
    assert_small(&daemon, before);
    others_are_unaffected(&daemon, &store);
    client.write(b"\r\n");
    client.expect(500);
    client.command("NOOP").is(250, "2.0.0");
}

#[test]
fn content_of_ten_mebibytes_in_one_line_without_an_end() {
    let (daemon, store) = victim();
    others_are_unaffected(&daemon, &store);
    let before = memory(&daemon);
    let mut client = Client::greet(daemon.addr(), "hostile.example");
    client.envelope("s@c.example", &["u@ours.example"]);
    assert_eq!(client.command("DATA").code, 354);
    for _ in 0..160 {
        client.write(&[b'x'; 64 * 1024]);
    }
    assert_small(&daemon, before);
    client.write(b"\r\n.\r\n");
    client.reply().queue_id();
    daemon.drain(ARRIVAL);
}

#[test]
fn content_that_comes_octet_by_octet_costs_what_it_weighs() {
    let (daemon, store) = victim();
    others_are_unaffected(&daemon, &store);
    let before = memory(&daemon);
    let mut streams: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(daemon.addr()).unwrap();
            stream.set_nodelay(true).unwrap();
            let open = "EHLO c\r\nMAIL FROM:<s@c.example>\r\nRCPT TO:<u@ours.example>\r\nDATA\r\n";
            stream.write_all(open.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..3000 {
        for stream in &mut streams {
            stream.write_all(b"x").unwrap();
        }
    }
    assert_small(&daemon, before);
}

#[test]
fn nul_and_eight_bit_octets() {
    let (daemon, store) = victim();
    let mut client = Client::greet(daemon.addr(), "hostile.example");
    for line in
        [&b"\0\0\0\r\n"[..], b"\xff\xfe\r\n", b"MAIL FROM:<\xc3\xa9@c.example>\r\n", b"NO\0OP\r\n"]
    {
        client.write(line);
        client.reply().is(500, "5.5.2");
    }
    client.envelope("s@c.example", &["u@ours.example"]);
    client.data(b"a\0b\r\n").is(554, "5.6.0");
    client.command("NOOP").is(250, "2.0.0");
    others_are_unaffected(&daemon, &store);
    assert_eq!(store.count(), 1);
}

/// Checks: P03
#[test]
fn a_hundred_thousand_recipients() {
    let (daemon, store) = victim();
    others_are_unaffected(&daemon, &store);
    let before = memory(&daemon);
    let mut client = Client::greet(daemon.addr(), "hostile.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<u@ours.example>").is(250, "2.1.5");
    for _ in 0..1000 {
        client.write("RCPT TO:<stranger@elsewhere.example>\r\n".repeat(50).as_bytes());
        client.write("RCPT TO:<u@ours.example>\r\n".repeat(50).as_bytes());
        for _ in 0..50 {
            let code = client.reply().code;
            assert!(code == 550 || code == 421, "{code}");
            if code == 421 {
                assert_small(&daemon, before);
                return others_are_unaffected(&daemon, &store);
            }
        }
        for _ in 0..50 {
            client.reply().is(250, "2.1.5");
        }
    }
    panic!("50,000 refusals were taken without an end");
}

#[test]
fn a_hundred_thousand_good_recipients_are_cut_at_the_limit() {
    let store = Store::tcp(Behaviour::default());
    let tables = format!(
        "[[domain]]\nname = \"ours.example\"\ndeliver = \"{}\"\nrecipients = \"any\"\n",
        store.url()
    );
    let daemon = Daemon::start(&tables);
    let mut client = Client::greet(daemon.addr(), "hostile.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    let before = memory(&daemon);
    for batch in 0..1000 {
        let lines: String =
            (0..100).map(|n| format!("RCPT TO:<u{}@ours.example>\r\n", batch * 100 + n)).collect();
        client.write(lines.as_bytes());
        for _ in 0..100 {
            let expected = if batch < 10 { (250, "2.1.5") } else { (452, "4.5.3") };
            client.reply().is(expected.0, expected.1);
        }
    }
    assert_small(&daemon, before);
    client.data(b"Subject: x\r\n\r\nx\r\n").queue_id();
    daemon.drain(ARRIVAL);
    let got: usize = store.deliveries().iter().map(|delivery| delivery.to.len()).sum();
    assert_eq!(got, 1000, "each accepted recipient once");
}

/// Checks: Q05
#[test]
fn slow_and_idle_clients_cost_others_nothing() {
    raise_open_files();
    let (daemon, store) = victim();
    others_are_unaffected(&daemon, &store);
    let before = memory(&daemon);
    let mut idle: Vec<TcpStream> =
        (0..1000).map(|_| TcpStream::connect(daemon.addr()).unwrap()).collect();
    let mut slow = TcpStream::connect(daemon.addr()).unwrap();
    let started = Instant::now();
    for octet in b"EHLO s" {
        slow.write_all(&[*octet]).unwrap();
        others_are_unaffected(&daemon, &store);
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(started.elapsed() >= Duration::from_secs(6));
    // 1,000 sessions at a few KiB each.
    let now = memory(&daemon);
    assert!(now < before + (24 << 20), "memory went from {before} to {now}");
    for client in idle.iter_mut().take(10) {
        client.write_all(b"QUIT\r\n").unwrap();
        let mut said = String::new();
        client.read_to_string(&mut said).unwrap();
        assert!(said.contains("\r\n221 2.0.0 "), "{said}");
    }
}

/// The test holds 1,000 sockets itself.
fn raise_open_files() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[test]
fn one_client_cannot_take_every_place() {
    let daemon = Daemon::start_with(&Parts {
        listener: "max_connections_per_client = 5",
        ..Parts::default()
    });
    let clients: Vec<Client> =
        (0..5).map(|_| Client::greet(daemon.addr(), "one.example")).collect();
    let mut refused = Client::connect(daemon.addr());
    refused.reply().is(421, "4.7.0");
    assert!(refused.is_closed());
    let mut other = Client::connect_from("127.0.0.9".parse().unwrap(), daemon.addr());
    other.expect(220);
    drop(clients);
    let again = || Client::connect(daemon.addr()).reply().code == 220;
    assert!(wait_until(Duration::from_secs(5), again), "the places were not given back");
}

#[test]
fn a_client_that_reads_nothing_is_not_buffered_for() {
    let (daemon, store) = victim();
    others_are_unaffected(&daemon, &store);
    let before = memory(&daemon);
    let mut stream = TcpStream::connect(daemon.addr()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let flood = b"HELP\r\n".repeat(10_000);
    // Its replies fill the sockets; then the daemon must stop reading.
    while stream.write_all(&flood).is_ok() {}
    assert_small(&daemon, before);
    others_are_unaffected(&daemon, &store);
}

#[test]
fn disconnects_at_every_stage_leave_nothing_behind() {
    let (daemon, store) = victim();
    let dialogue: &[u8] =
        b"EHLO c.example\r\nMAIL FROM:<s@c.example>\r\nRCPT TO:<u@ours.example>\r\n\
                            DATA\r\nSubject: half\r\n\r\nhalf a message\r\n.\r";
    for end in 0..=dialogue.len() {
        let mut stream = TcpStream::connect(daemon.addr()).unwrap();
        stream.write_all(&dialogue[..end]).unwrap();
        if end % 2 == 0 {
            // Half of them with a reset instead of an orderly end.
            socket2_linger_zero(&stream);
        }
    }
    let gone = || daemon.log().matches("\"session-closed\"").count() > dialogue.len();
    assert!(wait_until(Duration::from_secs(20), gone), "sessions do not end");
    assert_eq!(daemon.rows().len(), 0, "nothing half received is queued");
    others_are_unaffected(&daemon, &store);
    assert_eq!(store.count(), 1, "and nothing of it was delivered");
}

fn socket2_linger_zero(stream: &TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
}

#[test]
fn large_content_cut_off_leaves_no_file() {
    let (daemon, _store) = victim();
    for _ in 0..20 {
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.envelope("s@c.example", &["u@ours.example"]);
        assert_eq!(client.command("DATA").code, 354);
        client.write(&b"0123456789012345678901234567890123456789\r\n".repeat(20_000));
        drop(client);
    }
    let gone = || daemon.log().matches("\"session-closed\"").count() >= 20;
    assert!(wait_until(Duration::from_secs(20), gone), "sessions do not end");
    let left = || {
        let entries = std::fs::read_dir(daemon.path("spool")).unwrap();
        entries
            .filter(|entry| {
                entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "content")
            })
            .count()
    };
    assert!(wait_until(Duration::from_secs(5), || left() == 0), "{} files are left", left());
    assert_eq!(daemon.rows().len(), 0);
}
