//! Logins that a real Dovecot checks, over a Unix socket and over TCP.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use angarium::auth::dovecot::Dovecot;
use angarium::auth::{Backend, Channel, Denial, Exchange, Step};
use angarium::registry::mechanism::Mechanism;
use angarium::route::next_hop;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout;

use crate::require_peers;
use crate::support::process::{Process, read, tail};
use crate::support::socket::Place;
use crate::support::{START, free_port, loopback, temporary_directory, wait_until};

pub(crate) const PASSWORD: &str = "courier";

/// A Dovecot that only checks logins; all passwords are the same.
pub(crate) struct Checker {
    tcp: SocketAddr,
    process: Option<Process>,
    directory: tempfile::TempDir,
}

impl Checker {
    /// One that knows Joe by two addresses, and some who may not log in.
    pub(crate) fn start_new() -> Self {
        let directory = temporary_directory();
        let mut checker = Self { tcp: loopback(free_port()), process: None, directory };
        let mut users = String::new();
        for (user, fields) in [
            ("joe@store.example", ""),
            ("joe@ours.example", ""),
            ("gone@store.example", "nologin"),
            ("near@store.example", "allow_nets=198.51.100.0/24"),
        ] {
            writeln!(users, "{user}:{{PLAIN}}{PASSWORD}::::::{fields}").unwrap();
        }
        std::fs::write(checker.path("users"), users).unwrap();
        std::fs::write(checker.path("dovecot.conf"), checker.configuration()).unwrap();
        checker.start();
        checker
    }

    fn configuration(&self) -> String {
        let (directory, port) = (self.directory.path().display(), self.tcp.port());
        format!(
            "base_dir = {directory}/run\nstate_dir = {directory}/state\n\
             log_path = {directory}/dovecot.log\nprotocols =\nlisten = 127.0.0.1\nssl = no\n\
             auth_mechanisms = plain login scram-sha-256 cram-md5\nauth_failure_delay = 0\n\
             passdb {{\n driver = passwd-file\n args = username_format=%u {directory}/users\n}}\n\
             service auth {{\n unix_listener {directory}/auth-client {{\n mode = 0666\n }}\n \
             inet_listener {{\n address = 127.0.0.1\n port = {port}\n }}\n}}\n"
        )
    }

    /// Starts it again, at the same places.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(self.path("dovecot.conf"));
        let mut process = Process::start(&mut command, &self.path("output"), &self.path("error"));
        let places = [Place::Tcp(self.tcp), Place::Unix(self.path("auth-client"))];
        let up = wait_until(START, || {
            process.has_ended() || places.iter().all(|place| place.connect().is_ok())
        });
        let good = up && !process.has_ended();
        let log = tail(&read(&self.path("dovecot.log")), 20);
        assert!(good, "Dovecot does not start:\n{}\n{log}", process.error());
        self.process = Some(process);
    }

    fn stop(&mut self) {
        self.process = None;
        let place = Place::Tcp(self.tcp);
        assert!(wait_until(START, || place.connect().is_err()), "Dovecot still answers");
    }

    /// Ends it at once, with the process that would go on to serve the connections it has.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its Unix socket and its TCP port as the configuration names them.
    pub(crate) fn places(&self) -> [String; 2] {
        [format!("unix:{}", self.path("auth-client").display()), self.tcp.to_string()]
    }

    fn unix(&self) -> Dovecot {
        Dovecot::start(next_hop::Place::Unix(self.path("auth-client")))
    }

    fn tcp(&self) -> Dovecot {
        let host = self.tcp.ip().to_string();
        Dovecot::start(next_hop::Place::Tcp { host, port: self.tcp.port() })
    }
}

/// A new client, each at an address of its own: Dovecot slows down one that has failed.
fn begin(dovecot: &Dovecot, mechanism: Mechanism) -> Box<dyn Exchange> {
    static CLIENTS: AtomicU8 = AtomicU8::new(1);
    let client = Ipv4Addr::new(192, 0, 2, CLIENTS.fetch_add(1, Ordering::Relaxed));
    begin_from(dovecot, mechanism, IpAddr::V4(client))
}

fn begin_from(dovecot: &Dovecot, mechanism: Mechanism, client: IpAddr) -> Box<dyn Exchange> {
    let channel = Channel { client, tls: true, binding: None, clear_allowed: false };
    dovecot.begin(mechanism, &channel)
}

async fn step(exchange: &mut Box<dyn Exchange>, response: Option<&str>) -> Step {
    let stepping = exchange.step(response.map(str::as_bytes));
    timeout(Duration::from_secs(40), stepping).await.unwrap()
}

async fn plain(dovecot: &Dovecot, user: &str, password: &str) -> Step {
    let mut exchange = begin(dovecot, Mechanism::Plain);
    step(&mut exchange, Some(&format!("\0{user}\0{password}"))).await
}

async fn login(dovecot: &Dovecot, user: &str, password: &str) -> Step {
    let mut exchange = begin(dovecot, Mechanism::Login);
    assert!(matches!(step(&mut exchange, None).await, Step::Challenge(_)));
    assert!(matches!(step(&mut exchange, Some(user)).await, Step::Challenge(_)));
    assert_eq!(exchange.claimed(), Some(user));
    step(&mut exchange, Some(password)).await
}

/// The client's side of RFC 5802; the signature of the server is checked.
async fn scram(dovecot: &Dovecot, user: &str, password: &str) -> Step {
    let mut exchange = begin(dovecot, Mechanism::ScramSha256);
    let bare = format!("n={user},r=rOprNGfwEbeRWgbNEkqO");
    let first = match step(&mut exchange, Some(&format!("n,,{bare}"))).await {
        Step::Challenge(first) => String::from_utf8(first).unwrap(),
        end => return end,
    };
    let value = |name: &str| first.split(',').find_map(|field| field.strip_prefix(name)).unwrap();
    let (salt, rounds) = (STANDARD.decode(value("s=")).unwrap(), value("i=").parse().unwrap());
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let sign = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let client_key = sign(&salted, "Client Key");
    let stored = digest::digest(&digest::SHA256, &client_key);
    let last = format!("c=biws,r={}", value("r="));
    let message = format!("{bare},{first},{last}");
    let signature = sign(stored.as_ref(), &message);
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    let end = step(&mut exchange, Some(&format!("{last},p={}", STANDARD.encode(proof)))).await;
    let Step::Challenge(verified) = end else { return end };
    let server = sign(&sign(&salted, "Server Key"), &message);
    let expected = format!("v={}", STANDARD.encode(server));
    assert_eq!(String::from_utf8(verified).unwrap(), expected);
    step(&mut exchange, Some("")).await
}

#[track_caller]
fn assert_granted(step: Step, user: &str) {
    match step {
        Step::Granted(login) => assert_eq!(&*login.user, user),
        other => panic!("{user}: {other:?}"),
    }
}

async fn every_mechanism_judges(dovecot: &Dovecot) {
    let (joe, refused) = ("joe@store.example", Step::Denied(Denial::Credentials));
    for user in [joe, "nobody@store.example"] {
        assert_eq!(plain(dovecot, user, "wrong").await, refused);
        assert_eq!(login(dovecot, user, "wrong").await, refused);
        assert_eq!(scram(dovecot, user, "wrong").await, refused);
    }
    assert_granted(plain(dovecot, joe, PASSWORD).await, joe);
    assert_granted(login(dovecot, joe, PASSWORD).await, joe);
    assert_granted(scram(dovecot, joe, PASSWORD).await, joe);
    let offered = [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];
    assert_eq!(dovecot.mechanisms(), offered);
    // The proof is good, and yet they must not be let in.
    let disabled = Step::Denied(Denial::Disabled);
    assert_eq!(plain(dovecot, "gone@store.example", PASSWORD).await, disabled);
    assert_eq!(plain(dovecot, "near@store.example", PASSWORD).await, refused);
    let mut near = begin_from(dovecot, Mechanism::Plain, "198.51.100.7".parse().unwrap());
    let proof = format!("\0near@store.example\0{PASSWORD}");
    assert_granted(step(&mut near, Some(&proof)).await, "near@store.example");
}

#[tokio::test]
async fn dovecot_judges_logins_over_both_kinds_of_socket() {
    require_peers!();
    let checker = Checker::start_new();
    every_mechanism_judges(&checker.unix()).await;
    every_mechanism_judges(&checker.tcp()).await;
}

#[tokio::test]
async fn many_exchanges_go_over_one_connection() {
    require_peers!();
    let checker = Checker::start_new();
    let dovecot = checker.unix();
    let logins: Vec<_> = (0..50).map(|_| begin(&dovecot, Mechanism::Login)).collect();
    let running = logins.into_iter().enumerate().map(|(number, mut exchange)| {
        tokio::spawn(async move {
            step(&mut exchange, None).await;
            step(&mut exchange, Some("joe@store.example")).await;
            let password = if number % 2 == 0 { PASSWORD } else { "wrong" };
            (number, step(&mut exchange, Some(password)).await)
        })
    });
    for ended in running.collect::<Vec<_>>() {
        let (number, end) = ended.await.unwrap();
        assert_eq!(matches!(end, Step::Granted(_)), number % 2 == 0, "{number}: {end:?}");
    }
}

#[tokio::test]
async fn a_dovecot_that_stops_refuses_nobody_for_good() {
    require_peers!();
    let mut checker = Checker::start_new();
    checker.stop();
    let (dovecot, joe) = (checker.tcp(), "joe@store.example");
    let denied = plain(&dovecot, joe, PASSWORD).await;
    assert!(matches!(denied, Step::Denied(Denial::Unavailable(_))), "{denied:?}");
    checker.start();
    assert_granted(plain(&dovecot, joe, PASSWORD).await, joe);
}
