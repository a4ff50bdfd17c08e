//! What TLS and logins cost a submission listener: handshakes, authentications, messages.
//!
//! `cargo bench --bench submission`; `-- --quick` for a shorter run. A real daemon on loopback, in
//! the same run: handshakes of implicit TLS with and without resumption, from two threads; sessions
//! that log in by PLAIN, with each password derived and with all remembered; and 4 KiB messages of
//! one user over one session after another, in clear and under TLS in turns, of which
//! `submission.tls_share` is the ratio of the medians. Queued mail is paused.

#![allow(clippy::unwrap_used, reason = "a panic fails the benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use angarium::auth::users::{Account, Accounts};
use rustls::ClientConfig;
use rustls::client::Resumption;

use support::daemon::{Daemon, Parts, Site};
use support::tls::{SecureClient, trusting, write_certificate};
use support::{free_port, loopback};

const NAME: &str = "mx.example";
const ITERATIONS: u32 = 16_384;
/// `\0joe@sender.example\0secret`
const PLAIN: &str = "AUTH PLAIN AGpvZUBzZW5kZXIuZXhhbXBsZQBzZWNyZXQ=";
const OCTETS: usize = 4096;
const THREADS: u32 = 2;

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    if !has("--bench") || has("--test") || has("--list") {
        return;
    }
    let (time, rounds) = if has("--quick") { (500, 3) } else { (2_000, 7) };
    let time = Duration::from_millis(time);
    let bench = Bench::start("5m");
    bench.handshakes(time);
    bench.messages(time, rounds);
    println!("submission.auth.remembered = {:.0} /s", bench.logins(time));
    drop(bench);
    println!("submission.auth.derived = {:.0} /s", Bench::start("0s").logins(time));
}

struct Bench {
    _daemon: Daemon,
    clear: SocketAddr,
    secure: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Bench {
    fn start(remember: &str) -> Self {
        let site = Site::new();
        let (chain, key) = (site.path("chain.pem"), site.path("key.pem"));
        write_certificate(&chain, &key, NAME);
        let mut account = Account::new("joe@sender.example", ITERATIONS).unwrap();
        account.set(None, "secret").unwrap();
        let mut accounts = Accounts::default();
        accounts.add(account);
        let users = site.path("users");
        std::fs::write(&users, accounts.text().unwrap()).unwrap();
        let (clear, secure) = (loopback(free_port()), loopback(free_port()));
        let tables = format!(
            "[[listener]]\nbind = \"{clear}\"\nrole = \"submission\"\ntls = \"off\"\n\
             clear_passwords = true\n\
             [[listener]]\nbind = \"{secure}\"\nrole = \"submission\"\ntls = \"implicit\"\n\
             [[certificate]]\nname = \"mx\"\nchain = {chain:?}\nkey = {key:?}\n\
             [auth]\nusers = {users:?}\nremember = \"{remember}\"\n\
             [submission]\nmessages_per_hour = 0\nmessages_per_day = 0\n\
             recipients_per_hour = 0\nrecipients_per_day = 0\n\
             [[route]]\nrecipient = \"*\"\nvia = \"smtp://127.0.0.1:9\"\n\
             [queue]\npaused = true\n"
        );
        let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
        let daemon = Daemon::start_at(site, &text);
        let tls = trusting(&chain);
        Self { _daemon: daemon, clear, secure, tls }
    }

    /// Whole handshakes, and those that take up an earlier session.
    fn handshakes(&self, time: Duration) {
        let whole = self.handshakes_with(time, &Resumption::disabled());
        let resumed = self.handshakes_with(time, &Resumption::in_memory_sessions(64));
        println!("submission.handshakes = {whole:.0} /s");
        println!("submission.handshakes.resumed = {resumed:.0} /s");
    }

    fn handshakes_with(&self, time: Duration, resumption: &Resumption) -> f64 {
        let work = || {
            let mut config = ClientConfig::clone(&self.tls);
            config.resumption = resumption.clone();
            let config = Arc::new(config);
            per_second(time, || {
                let mut client = SecureClient::connect(self.secure, &config, NAME).unwrap();
                assert!(client.reply().unwrap().concat().starts_with("220 "));
            })
        };
        in_threads(work)
    }

    /// Sessions in clear that say hello and log in.
    fn logins(&self, time: Duration) -> f64 {
        in_threads(|| per_second(time, || drop(Client::clear(self.clear))))
    }

    /// Messages over a session, in clear and under TLS in turns.
    fn messages(&self, time: Duration, rounds: usize) {
        let (mut clear, mut secure) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let mut client = Client::clear(self.clear);
            clear.push(per_second(time, || client.send()));
            let mut client = Client::secure(self.secure, &self.tls);
            secure.push(per_second(time, || client.send()));
        }
        let (clear, secure) = (median(clear), median(secure));
        println!("submission.messages.clear = {clear:.0} /s");
        println!("submission.messages.tls = {secure:.0} /s");
        println!("submission.tls_share = {:.2} ratio", secure / clear);
    }
}

/// How often something is done in a second by all threads together.
fn in_threads(work: impl Fn() -> f64 + Sync) -> f64 {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn per_second(time: Duration, mut once: impl FnMut()) -> f64 {
    once();
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < time {
        once();
        count += 1.0;
    }
    count / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

/// A user who has logged in.
enum Client {
    Clear(BufReader<TcpStream>),
    Secure(Box<SecureClient>),
}

impl Client {
    fn clear(to: SocketAddr) -> Self {
        let wire = TcpStream::connect(to).unwrap();
        wire.set_nodelay(true).unwrap();
        wire.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self::Clear(BufReader::new(wire)).logged_in()
    }

    fn secure(to: SocketAddr, tls: &Arc<ClientConfig>) -> Self {
        Self::Secure(Box::new(SecureClient::connect(to, tls, NAME).unwrap())).logged_in()
    }

    fn logged_in(mut self) -> Self {
        self.expect("220 ");
        self.say("EHLO client.example\r\n", "250");
        self.say(&format!("{PLAIN}\r\n"), "235 ");
        self
    }

    fn send(&mut self) {
        self.say("MAIL FROM:<joe@sender.example>\r\n", "250 ");
        self.say("RCPT TO:<ann@far.example>\r\n", "250 ");
        self.say("DATA\r\n", "354 ");
        let head = "From: joe@sender.example\r\nTo: ann@far.example\r\nMessage-ID: <1@x.example>\r\n\
                    Date: Wed, 25 Nov 2026 10:00:00 +0000\r\nSubject: x\r\n\r\n";
        let lines = (OCTETS - head.len()) / 64;
        let body = format!("{}\r\n", "x".repeat(62)).repeat(lines);
        self.say(&format!("{head}{body}.\r\n"), "250 ");
    }

    fn say(&mut self, text: &str, expected: &str) {
        match self {
            Self::Clear(stream) => stream.get_mut().write_all(text.as_bytes()).unwrap(),
            Self::Secure(client) => client.write(text.as_bytes()).unwrap(),
        }
        self.expect(expected);
    }

    fn expect(&mut self, expected: &str) {
        let last = match self {
            Self::Clear(stream) => loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.get(3..4) != Some("-") {
                    break line;
                }
            },
            Self::Secure(client) => client.reply().unwrap().pop().unwrap(),
        };
        assert!(last.starts_with(expected), "{last}");
    }
}
