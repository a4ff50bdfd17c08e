//! TLS of a running daemon: implicit sessions, certificates that change, handshakes that never end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
use rustls::ClientConfig;

use support::daemon::{Daemon, HOSTNAME, Parts, Site};
use support::store::{Behaviour, Store};
use support::tls::{SecureClient, trusting, write_certificate};
use support::{ARRIVAL, free_port, wait_until};

const NAME: &str = "mx.example";

/// A daemon with implicit TLS, and a client that trusts its certificate.
fn implicit(listener: &str, tables: &str) -> (Daemon, Arc<ClientConfig>) {
    let site = Site::new();
    let (chain, key) = (site.path("mx.pem"), site.path("mx.key"));
    write_certificate(&chain, &key, NAME);
    let tables =
        format!("[[certificate]]\nname = \"mx\"\nchain = {chain:?}\nkey = {key:?}\n{tables}");
    let listener = format!("tls = \"implicit\"\n{listener}");
    let parts = Parts { listener: &listener, tables: &tables, ..Parts::default() };
    let text = site.configuration(&parts);
    (Daemon::start_at(site, &text), trusting(&chain))
}

#[test]
fn mail_comes_by_implicit_tls_and_its_trace_says_so() {
    let store = Store::tcp(Behaviour::knowing(&["u@d.example"]));
    let tables = format!("[[domain]]\nname = \"d.example\"\ndeliver = \"{}\"\n", store.url());
    let (daemon, trusted) = implicit("", &tables);
    let mut client = SecureClient::connect(daemon.addr(), &trusted, NAME).unwrap();
    assert!(client.reply().unwrap()[0].starts_with("220 "));
    let ehlo = client.command("EHLO c.example").unwrap();
    assert!(!ehlo.iter().any(|line| line.contains("STARTTLS")), "{ehlo:?}");
    for (line, code) in
        [("MAIL FROM:<s@c.example>", "250"), ("RCPT TO:<u@d.example>", "250"), ("DATA", "354")]
    {
        let reply = client.command(line).unwrap();
        assert!(reply[0].starts_with(code), "{line}: {reply:?}");
    }
    // More than a record, and more than the socket takes at once.
    let body = "0123456789abcdef".repeat(4) + "\r\n";
    client.write(format!("Subject: x\r\n\r\n{}", body.repeat(8000)).as_bytes()).unwrap();
    assert!(client.command(".").unwrap()[0].starts_with("250 "));
    assert!(client.command("QUIT").unwrap()[0].starts_with("221 "));
    let content = store.wait_for(1, ARRIVAL).remove(0).content;
    let content = String::from_utf8(content).unwrap();
    assert!(content.ends_with(&body.repeat(8000)));
    let (header, _) = content.split_once("\r\n\r\n").unwrap();
    let clause = header.lines().find(|line| line.starts_with("\ttls TLS_")).unwrap_or(header);
    assert!(clause.ends_with(" (TLSv1.3 X25519MLKEM768);"), "{header}");
    let log = daemon.log();
    assert!(log.contains(r#""event":"secured""#) && log.contains(r#""sni":"mx.example""#), "{log}");
}

#[test]
fn a_new_certificate_is_shown_without_a_reload() {
    let (daemon, old) = implicit("", "");
    let (chain, key) = (daemon.path("mx.pem"), daemon.path("mx.key"));
    SecureClient::connect(daemon.addr(), &old, NAME).unwrap();
    write_certificate(&chain, &key, NAME);
    let new = trusting(&chain);
    let taken = || SecureClient::connect(daemon.addr(), &new, NAME).is_ok();
    assert!(wait_until(ARRIVAL, taken), "{}", daemon.log_tail());
    assert!(SecureClient::connect(daemon.addr(), &old, NAME).is_err());

    std::fs::write(&key, "no key\n").unwrap();
    let refused = || daemon.log().contains(r#""event":"certificate-refused""#);
    assert!(wait_until(ARRIVAL, refused), "{}", daemon.log_tail());
    SecureClient::connect(daemon.addr(), &new, NAME).unwrap();
}

#[test]
fn without_a_certificate_there_is_one_of_its_own_and_a_warning() {
    let listener = "tls = \"implicit\"";
    let port = free_port();
    let tables = &format!("[metrics]\nbind = \"127.0.0.1:{port}\"");
    let mut daemon = Daemon::start_with(&Parts { listener, tables, ..Parts::default() });
    let log = daemon.log();
    assert!(log.contains(r#""event":"certificate-doubtful","name":"self-signed""#), "{log}");
    let trusted = trusting(&daemon.path("spool/self-signed.pem"));
    let connect = |daemon: &Daemon| SecureClient::connect(daemon.addr(), &trusted, HOSTNAME);
    assert!(connect(&daemon).unwrap().reply().unwrap()[0].starts_with("220 "));
    let figures = metrics(port);
    let end = figures.lines().find_map(|line| {
        line.strip_prefix("angarium_certificate_not_after_seconds{name=\"self-signed\"} ")
    });
    let years = (end.unwrap().parse::<f64>().unwrap() - 1_795_600_000.0) / (365.0 * 86_400.0);
    assert!((5.0..50.0).contains(&years), "{figures}");
    let full = "\nangarium_smtpd_tls_handshakes_total{result=\"full\"} 1\n";
    assert!(figures.contains(full), "{figures}");

    let half_open = TcpStream::connect(daemon.addr()).unwrap();
    let began = Instant::now();
    daemon.terminate();
    assert!(began.elapsed() < Duration::from_secs(5), "a half-open handshake holds up the end");
    drop(half_open);
    daemon.restart();
    assert!(connect(&daemon).unwrap().reply().unwrap()[0].starts_with("220 "));
}

/// What the metrics socket tells.
fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(support::loopback(port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A connection from this loopback address.
fn from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC;
    let descriptor: OwnedFd =
        socket::socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    let SocketAddr::V4(to) = to else { panic!("{to}") };
    let source = SockaddrIn::from(SocketAddrV4::new(source, 0));
    socket::bind(descriptor.as_raw_fd(), &source).unwrap();
    socket::connect(descriptor.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    descriptor.into()
}

/// The median time of a whole session: connection, handshake, greeting, QUIT.
fn usual(daemon: &Daemon, trusted: &Arc<ClientConfig>) -> Duration {
    let session = || {
        let began = Instant::now();
        let mut client = SecureClient::connect(daemon.addr(), trusted, NAME).unwrap();
        assert!(client.reply().unwrap()[0].starts_with("220 "));
        assert!(client.command("QUIT").unwrap()[0].starts_with("221 "));
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..21).map(|_| session()).collect();
    times.sort_unstable();
    times[10]
}

#[test]
fn a_thousand_half_open_handshakes_starve_nobody() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let (daemon, trusted) = implicit("max_connections = 10\nmax_connections_per_client = 10", "");
    let alone = usual(&daemon, &trusted);

    // From twenty other hosts, so that all of them stay; then from the good client's own.
    let others = |number: u8| Ipv4Addr::new(127, 0, 1, 1 + number % 20);
    let own = |_: u8| Ipv4Addr::LOCALHOST;
    for (source, open) in [(&others as &dyn Fn(u8) -> Ipv4Addr, 1000), (&own, 64)] {
        let mut half_open: Vec<TcpStream> = Vec::new();
        for number in 0..1000 {
            let mut stream = from(source((number % 100) as u8), daemon.addr());
            if number % 2 == 0 {
                // The beginning of a ClientHello.
                let _ = stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]);
            }
            half_open.push(stream);
        }
        let staying = || half_open.iter().filter(|stream| is_open(stream)).count();
        assert!(wait_until(ARRIVAL, || staying() == open), "{} stay of {open}", staying());
        let beside = usual(&daemon, &trusted);
        println!("alone {alone:?}, beside {open} half-open handshakes {beside:?}");
        // A good client beside as many as one host may have costs the oldest of them.
        assert!(staying() >= open - 21, "{} stay of {open}", staying());
        assert!(beside < 2 * alone + Duration::from_millis(10), "{alone:?} alone, {beside:?}");
    }
}

/// Whether the server has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let found = stream.peek(&mut [0]);
    matches!(found, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
