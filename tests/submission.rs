//! Submission to a running daemon: over STARTTLS and implicit TLS, as oneself and as nobody else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use angarium::auth::users::{Account, Accounts};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechname::Mechname;
use rsasl::prelude::{SASLClient, SessionError};
use rsasl::property::{AuthId, Password};
use rustls::ClientConfig;

use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::tls::{SecureClient, trusting, write_certificate};
use support::{ARRIVAL, free_port, loopback, wait_until};

const NAME: &str = "mx.example";
/// `\0joe@ours.example\0secret`, and the same with a wrong password and an unknown user.
const JOE: &str = "AUTH PLAIN AGpvZUBvdXJzLmV4YW1wbGUAc2VjcmV0";
const WRONG: &str = "AUTH PLAIN AGpvZUBvdXJzLmV4YW1wbGUAd3Jvbmc=";
const UNKNOWN: &str = "AUTH PLAIN AGFubkBvdXJzLmV4YW1wbGUAc2VjcmV0";
/// A user who is disabled, and what shows the right password.
const GONE: &str = "gone@ours.example";
const DISABLED: &str = "AUTH PLAIN AGdvbmVAb3Vycy5leGFtcGxlAHNlY3JldA==";

/// A daemon with listeners for mail from elsewhere, and for users by STARTTLS and implicit TLS.
struct Hosted {
    daemon: Daemon,
    starttls: SocketAddr,
    implicit: SocketAddr,
    trusted: Arc<ClientConfig>,
    /// Where all mail goes.
    store: Store,
}

fn users(names: &[&str]) -> String {
    let mut accounts = Accounts::default();
    for name in names {
        let mut account = Account::new(name, 4096).unwrap();
        account.set(None, "secret").unwrap();
        account.set(Some("phone"), "sesame").unwrap();
        account.disabled = *name == GONE;
        accounts.add(account);
    }
    accounts.text().unwrap()
}

fn host() -> Hosted {
    host_with(&["joe@ours.example"], "")
}

/// With these users, and more configuration.
fn host_with(names: &[&str], more: &str) -> Hosted {
    let site = Site::new();
    let (chain, key) = (site.path("mx.pem"), site.path("mx.key"));
    write_certificate(&chain, &key, NAME);
    let path = site.path("users");
    std::fs::write(&path, users(&[names, &[GONE]].concat())).unwrap();
    let store = Store::tcp(Behaviour::next_hop());
    let (starttls, implicit) = (loopback(free_port()), loopback(free_port()));
    let tables = format!(
        "[[listener]]\nbind = \"{starttls}\"\nrole = \"submission\"\n\
         [[listener]]\nbind = \"{implicit}\"\nrole = \"submission\"\ntls = \"implicit\"\n\
         [[certificate]]\nname = \"mx\"\nchain = {chain:?}\nkey = {key:?}\n\
         [relay]\nfrom = [\"127.0.0.9\"]\n\
         [[domain]]\nname = \"ours.example\"\ndeliver = \"{url}\"\nrecipients = \"any\"\n\
         [[route]]\nrecipient = \"*@dead.example\"\nvia = \"smtp://127.0.0.1:1\"\n\
         [[route]]\nrecipient = \"*\"\nvia = \"{url}\"\n\
         [auth]\nusers = {path:?}\n{more}",
        url = store.url()
    );
    let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
    let daemon = Daemon::start_at(site, &text);
    for place in [starttls, implicit] {
        assert!(wait_until(ARRIVAL, || TcpStream::connect(place).is_ok()));
    }
    Hosted { daemon, starttls, implicit, trusted: trusting(&chain), store }
}

impl Hosted {
    fn implicit(&self) -> SecureClient {
        let mut client = SecureClient::connect(self.implicit, &self.trusted, NAME).unwrap();
        assert!(client.reply().unwrap()[0].starts_with("220 "));
        client
    }

    fn starttls(&self) -> SecureClient {
        let mut wire = in_clear(self.starttls);
        hello_in_clear(&mut wire);
        said(&mut wire, "STARTTLS\r\n", "220 2.0.0 go on with TLS\r\n");
        SecureClient::over(wire, &self.trusted, NAME).unwrap()
    }

    fn logged_in(&self) -> SecureClient {
        self.logged_in_by(JOE)
    }

    fn logged_in_by(&self, login: &str) -> SecureClient {
        let mut client = self.implicit();
        expect(&mut client, "EHLO c.example", "250");
        expect(&mut client, login, "235 2.7.0");
        client
    }
}

fn in_clear(to: SocketAddr) -> TcpStream {
    let mut wire = TcpStream::connect(to).unwrap();
    wire.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    said(&mut wire, "", " ESMTP Angarium\r\n");
    wire
}

/// Says something, and reads what comes up to `end`.
fn said(wire: &mut TcpStream, text: &str, end: &str) {
    wire.write_all(text.as_bytes()).unwrap();
    let (mut heard, mut octet) = (Vec::new(), [0]);
    while !heard.ends_with(end.as_bytes()) {
        assert!(matches!(wire.read(&mut octet), Ok(1)), "{}", heard.escape_ascii());
        heard.extend(octet);
    }
}

/// Says EHLO, and reads a reply that offers what shows no password.
fn hello_in_clear(wire: &mut TcpStream) {
    wire.write_all(b"EHLO c.example\r\n").unwrap();
    let (mut heard, mut octet) = (Vec::new(), [0]);
    let is_whole = |heard: &[u8]| {
        heard.ends_with(b"\r\n")
            && heard.split(|octet| *octet == b'\n').any(|line| line.starts_with(b"250 "))
    };
    while !is_whole(&heard) {
        assert!(matches!(wire.read(&mut octet), Ok(1)), "{}", heard.escape_ascii());
        heard.extend(octet);
    }
    let text = String::from_utf8(heard).unwrap();
    assert!(text.lines().any(|line| &line[4..] == "AUTH SCRAM-SHA-256"), "{text}");
}

fn expect(client: &mut SecureClient, line: &str, code: &str) -> String {
    let reply = client.command(line).unwrap().pop().unwrap();
    assert!(reply.starts_with(code), "{line}: {reply}");
    reply
}

fn send(client: &mut SecureClient, from: &str, to: &str, content: &str) -> String {
    expect(client, &format!("MAIL FROM:<{from}>"), "250 ");
    expect(client, &format!("RCPT TO:<{to}>"), "250 ");
    expect(client, "DATA", "354 ");
    client.write(content.as_bytes()).unwrap();
    client.command(".").unwrap().pop().unwrap()
}

#[test]
fn a_user_submits_over_starttls_and_implicit_tls() {
    // Checks: M01 M03 M05
    let hosted = host();
    for mut client in [hosted.starttls(), hosted.implicit()] {
        expect(&mut client, JOE, "503 5.5.1 say hello first");
        let ehlo = client.command("EHLO c.example").unwrap();
        let mechanisms = "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN";
        assert!(ehlo.iter().any(|line| &line[4..] == mechanisms), "{ehlo:?}");
        assert!(!ehlo.iter().any(|line| line.contains("STARTTLS")), "{ehlo:?}");
        expect(&mut client, "MAIL FROM:<joe@ours.example>", "530 5.7.0");
        expect(&mut client, "AUTH LOGIN", "334 VXNlcm5hbWU6");
        expect(&mut client, "am9lQG91cnMuZXhhbXBsZStwaG9uZQ==", "334 UGFzc3dvcmQ6");
        expect(&mut client, "c2VzYW1l", "235 2.7.0");
        let content = "From: Joe <joe@ours.example>\r\nTo: ann@far.example\r\n\
                       Bcc: hidden@far.example\r\nSubject: x\r\n\r\n..two dots\r\n";
        let reply = send(&mut client, "joe@ours.example", "ann@far.example", content);
        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
        expect(&mut client, "QUIT", "221");
    }
    for delivery in hosted.store.wait_for(2, ARRIVAL) {
        let content = String::from_utf8(delivery.content).unwrap();
        let (header, body) = content.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, ".two dots\r\n");
        assert!(header.contains(" with ESMTPSA id ") && header.contains("\r\n\ttls TLS_"));
        assert!(header.contains("\r\nFrom: Joe <joe@ours.example>\r\nTo: ann@far.example\r\n"));
        assert!(header.contains("\r\nDate: ") && header.contains("\r\nMessage-ID: <"), "{header}");
        assert!(!header.contains("Bcc") && !header.contains("hidden"), "{header}");
    }
    let log = hosted.daemon.log();
    assert!(log.contains(r#""event":"logged-in""#) && log.contains(r#""label":"phone""#), "{log}");
    assert!(!log.contains("sesame") && !log.contains("c2VzYW1l"));
}

/// Sends content in two chunks, cut there, and returns the last reply.
fn send_chunks(client: &mut SecureClient, body: &str, content: &str, cut: usize) -> String {
    expect(client, &format!("MAIL FROM:<joe@ours.example> BODY={body}"), "250 ");
    expect(client, "RCPT TO:<ann@far.example>", "250 ");
    let (first, second) = content.split_at(cut);
    client.write(format!("BDAT {}\r\n{first}", first.len()).as_bytes()).unwrap();
    assert!(client.reply().unwrap()[0].starts_with("250 2.0.0 "));
    client.write(format!("BDAT {} LAST\r\n{second}", second.len()).as_bytes()).unwrap();
    client.reply().unwrap().pop().unwrap()
}

#[test]
fn what_a_user_submits_in_chunks_is_judged_and_repaired() {
    let hosted = host();
    let mut client = hosted.logged_in();
    let forged = "From: ann@ours.example\r\nSubject: x\r\n\r\ntext\r\n";
    let good = "Bcc: hidden@far.example\r\nFrom: joe@ours.example\r\nSubject: x\r\n\r\n.text\r\n";
    for body in ["7BIT", "8BITMIME", "BINARYMIME"] {
        for cut in [0, 3, 17, 30, forged.len()] {
            let reply = send_chunks(&mut client, body, forged, cut);
            assert!(reply.starts_with("550 5.7.1 "), "{reply}");
            let reply = send_chunks(&mut client, body, good, cut);
            assert!(reply.starts_with("250 2.0.0 "), "{reply}");
        }
    }
    // A field behind a bare LF would be seen by some readers only. In text it becomes one.
    let hidden = good.replace("Subject", "X: y\nFrom: ann@ours.example\r\nSubject");
    for (body, refusal) in [("7BIT", "550 5.7.1 "), ("BINARYMIME", "554 5.6.0 ")] {
        let reply = send_chunks(&mut client, body, &hidden, 0);
        assert!(reply.starts_with(refusal), "{reply}");
    }
    for delivery in hosted.store.wait_for(15, ARRIVAL) {
        let content = String::from_utf8(delivery.content).unwrap();
        let (header, body) = content.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, ".text\r\n");
        assert!(header.contains("\r\nFrom: joe@ours.example\r\n") && !header.contains("Bcc"));
    }
    assert_eq!(hosted.store.count(), 15);
}

#[test]
fn binary_content_of_a_user_stays_octet_for_octet() {
    let hosted = host();
    hosted.store.set(|behaviour| behaviour.chunks = true);
    let mut client = hosted.logged_in();
    let header = "From: joe@ours.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n\
                  Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n";
    let body = format!("a\0\n.\r\n{}\n\r", "long ".repeat(400));
    let reply = send_chunks(&mut client, "BINARYMIME", &format!("{header}\r\n{body}"), 700);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let content = hosted.store.wait_for(1, ARRIVAL).remove(0).content;
    let end = content.windows(4).position(|octets| octets == b"\r\n\r\n").unwrap();
    let octets = |octets: &[u8]| octets.escape_ascii().to_string();
    assert_eq!(octets(&content[end + 4..]), octets(body.as_bytes()));
    assert!(!hosted.daemon.log().contains(r#""event":"reflowed""#));
}

#[test]
fn the_operator_chooses_the_mechanisms() {
    let more = "mechanisms = [\"SCRAM-SHA-256\", \"PLAIN\"]\n";
    let hosted = host_with(&["joe@ours.example"], more);
    let mut client = hosted.implicit();
    let ehlo = client.command("EHLO c.example").unwrap();
    assert!(ehlo.iter().any(|line| &line[4..] == "AUTH SCRAM-SHA-256 PLAIN"), "{ehlo:?}");
    expect(&mut client, "AUTH LOGIN", "504 5.5.4 ");
    expect(&mut client, "AUTH SCRAM-SHA-256-PLUS", "504 5.5.4 ");
    // `y,,n=joe@ours.example,r=abc`: it could bind, and was not offered it.
    let able = "AUTH SCRAM-SHA-256 eSwsbj1qb2VAb3Vycy5leGFtcGxlLHI9YWJj";
    expect(&mut client, able, "334 ");
    expect(&mut client, "*", "501 ");
    expect(&mut client, JOE, "235 2.7.0");
}

#[test]
fn long_lines_of_a_user_are_encoded_and_those_that_are_signed_stay() {
    // Checks: M02
    let hosted = host();
    let mut client = hosted.logged_in();
    let stamps = "From: joe@ours.example\r\nSubject: x\r\n";
    let signed = "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n";
    let mut expected = Vec::new();
    for (number, count) in [1200, 400_000].into_iter().enumerate() {
        let long = format!("{number} {}\r\n.\r\n", "word ".repeat(count / 5));
        for fields in ["\r\n", signed] {
            let stuffed = long.replace("\r\n.", "\r\n..");
            let reply = send(
                &mut client,
                "joe@ours.example",
                "ann@far.example",
                &format!("{stamps}{fields}{stuffed}"),
            );
            assert!(reply.starts_with("250 2.0.0 "), "{reply}");
            expected.push((fields == signed, long.clone()));
        }
    }
    for delivery in hosted.store.wait_for(4, ARRIVAL) {
        let content = String::from_utf8(delivery.content).unwrap();
        let (header, body) = content.split_once("\r\n\r\n").unwrap();
        let is_signed = header.contains("multipart/signed");
        let body = if is_signed {
            body.strip_prefix("--b\r\n\r\n").unwrap().to_owned()
        } else {
            assert!(
                header
                    .ends_with("MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable")
            );
            assert!(body.lines().all(|line| line.len() <= 76));
            body.replace("=\r\n", "").replace("=2E", ".").replace("=20", " ")
        };
        let place = expected.iter().position(|known| *known == (is_signed, body.clone()));
        expected.remove(place.expect("a message that was submitted, once"));
    }
    assert_eq!(hosted.daemon.log().matches(r#""event":"reflowed""#).count(), 2);
}

#[test]
fn the_paths_of_a_user_get_a_domain_and_those_of_strangers_do_not() {
    let hosted = host();
    let mut client = hosted.logged_in();
    let content = "From: joe\r\nSubject: x\r\n\r\nx\r\n";
    assert!(send(&mut client, "joe", "ann", content).starts_with("250 2.0.0 "));
    let delivery = hosted.store.wait_for(1, ARRIVAL).remove(0);
    assert_eq!(
        (&*delivery.from, &*delivery.to),
        ("joe@ours.example", &["ann@ours.example".into()][..])
    );
    assert!(String::from_utf8(delivery.content).unwrap().contains("From: joe@ours.example\r\n"));
    let refusal = expect(&mut client, "MAIL FROM:<ann>", "550 5.7.1 ");
    assert!(refusal.contains("ann@ours.example"), "{refusal}");
    let mut stranger = Client::greet(hosted.daemon.addr(), "c.example");
    assert_eq!(stranger.command("MAIL FROM:<joe>").code, 501);
    assert_eq!(stranger.command("MAIL FROM:<joe@c.example>").code, 250);
    assert_eq!(stranger.command("RCPT TO:<ann>").code, 501);
    let strict = host_with(&["joe@ours.example"], "[submission]\nunqualified = \"refuse\"\n");
    let mut client = strict.logged_in();
    expect(&mut client, "MAIL FROM:<joe>", "501 5.1.7 ");
    expect(&mut client, "MAIL FROM:<joe@ours.example>", "250 ");
    expect(&mut client, "RCPT TO:<ann>", "501 5.1.3 ");
}

#[test]
fn nobody_sends_as_somebody_else() {
    // Checks: M03
    let hosted = host();
    let mut client = hosted.logged_in();
    let reply = expect(&mut client, "MAIL FROM:<ann@ours.example>", "550 5.7.1 ");
    assert!(reply.contains("joe@ours.example") && reply.contains("ann@ours.example"), "{reply}");
    for from in ["joe@ours.example", "joe+tag@ours.example", ""] {
        let forged = "From: ann@ours.example\r\nSubject: x\r\n\r\nx\r\n";
        let reply = send(&mut client, from, "ann@far.example", forged);
        assert!(reply.starts_with("550 5.7.1 ") && reply.contains("ann@ours.example"), "{reply}");
    }
    assert!(hosted.daemon.rows().is_empty());
    let headless = "Subject: x\r\nFrom: joe@ours.example, ann@ours.example\r\n";
    assert!(send(&mut client, "", "ann@far.example", headless).starts_with("550 5.7.1 "));
    let told: Vec<serde_json::Value> = hosted
        .daemon
        .log()
        .lines()
        .filter(|line| line.contains(r#""event":"submission-refused""#))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(told.len(), 4, "one for each message");
    for event in told {
        let reason = "joe@ours.example may not send as <ann@ours.example>";
        assert_eq!(
            (&event["user"], &event["reason"]),
            (&"joe@ours.example".into(), &reason.into())
        );
        assert_eq!(event["reply"], format!("550 5.7.1 {reason}"));
    }
    let own = "From: joe@ours.example\r\nSubject: x\r\n\r\nx\r\n";
    assert!(send(&mut client, "", "ann@far.example", own).starts_with("250 "));
    assert_eq!(hosted.store.wait_for(1, ARRIVAL).len(), 1);
}

#[test]
fn an_unknown_user_is_told_what_a_wrong_password_is() {
    let hosted = host();
    let mut client = hosted.implicit();
    expect(&mut client, "EHLO c.example", "250");
    let wrong = expect(&mut client, WRONG, "535 5.7.8 ");
    assert_eq!(expect(&mut client, UNKNOWN, "535 5.7.8 "), wrong);
    // Only who has the password is told that it is of no use any more.
    expect(&mut client, DISABLED, "525 5.7.13 ");
    let guessed = DISABLED.replace("HNlY3JldA==", "Hdyb25n");
    assert_eq!(expect(&mut client, &guessed, "535 5.7.8 "), wrong);
    expect(&mut client, "MAIL FROM:<gone@ours.example>", "530 5.7.0 ");
    expect(&mut client, "MAIL FROM:<joe@ours.example>", "530 5.7.0 ");
    // The default of max_errors is 20.
    let mut last = String::new();
    for _ in 0..20 {
        match client.command(WRONG) {
            Ok(reply) => last = reply.concat(),
            Err(_) => break,
        }
    }
    assert!(last.starts_with("421 4.7.0 "), "{last}");
    let denied = r#""client":"127.0.0.1","mechanism":"PLAIN","claimed":"joe@ours.example""#;
    assert!(hosted.daemon.log().contains(denied), "{}", hosted.daemon.log_tail());
}

/// Every spelling by which relays were once opened.
const TRICKS: [&str; 9] = [
    "victim@far.example",
    "victim%far.example@ours.example.invalid",
    "far.example!victim@relay.invalid",
    "\"victim@far.example\"@relay.invalid",
    "@ours.example:victim@far.example",
    "victim@[192.0.2.7]",
    "\"\"@far.example",
    "victim@far.example.",
    "victim@FAR.example",
];

#[test]
fn nobody_relays_without_a_login() {
    let hosted = host();
    for from in ["", "joe@ours.example", "a@far.example"] {
        for trick in TRICKS {
            let mut client = Client::greet(hosted.daemon.addr(), "c.example");
            client.command(&format!("MAIL FROM:<{from}>"));
            let reply = client.command(&format!("RCPT TO:<{trick}>"));
            assert!(reply.code >= 500, "{trick}: {reply:?}");

            // A network that may relay elsewhere is nobody here.
            let trusted = "127.0.0.9".parse().unwrap();
            let mut client = Client::connect_from(trusted, hosted.starttls);
            client.expect(220);
            for line in ["EHLO c.example", &format!("MAIL FROM:<{from}>"), "DATA"] {
                let reply = client.command(line);
                assert!(line.starts_with("EHLO") || reply.code == 530, "{line}: {reply:?}");
            }
            let reply = client.command(&format!("RCPT TO:<{trick}>"));
            assert!(reply.code == 530 || reply.code == 501, "{trick}: {reply:?}");
        }
    }
    for trick in TRICKS {
        for mut client in [hosted.starttls(), hosted.implicit()] {
            expect(&mut client, "EHLO c.example", "250");
            for line in ["XCLIENT ADDR=127.0.0.9", "PROXY TCP4 127.0.0.9 127.0.0.1 1 25"] {
                expect(&mut client, line, "50");
            }
            expect(&mut client, WRONG, "535 5.7.8 ");
            expect(&mut client, "MAIL FROM:<joe@ours.example>", "530 5.7.0 ");
            expect(&mut client, &format!("RCPT TO:<{trick}>"), "5");
            expect(&mut client, "DATA", "530 5.7.0 ");
        }
    }
    assert!(hosted.daemon.rows().is_empty());
    assert_eq!(hosted.store.deliveries().len(), 0);
}

#[test]
fn what_is_said_in_clear_behind_starttls_reaches_nobody() {
    // Checks: L04
    let hosted = host();
    let mut wire = in_clear(hosted.starttls);
    hello_in_clear(&mut wire);
    wire.write_all(b"STARTTLS\r\nNOOP\r\n").unwrap();
    let mut rest = String::new();
    wire.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "421 4.5.0 something came behind STARTTLS\r\n");

    let mut wire = in_clear(hosted.starttls);
    hello_in_clear(&mut wire);
    said(&mut wire, "STARTTLS\r\n", "220 2.0.0 go on with TLS\r\n");
    wire.write_all(b"EHLO c.example\r\nMAIL FROM:<joe@ours.example>\r\n").unwrap();
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = wire.read_to_end(&mut rest);
    assert!(!rest.windows(3).any(|window| window == b"250"), "{}", rest.escape_ascii());
}

#[test]
fn a_changed_file_of_users_is_in_use_and_a_damaged_one_is_not() {
    let mut hosted = host();
    let path = hosted.daemon.path("users");
    let greeted = |hosted: &Hosted| {
        let mut client = hosted.implicit();
        expect(&mut client, "EHLO c.example", "250");
        client
    };
    expect(&mut greeted(&hosted), UNKNOWN, "535 5.7.8 ");
    std::fs::write(&path, users(&["joe@ours.example", "ann@ours.example"])).unwrap();
    let known =
        |hosted: &Hosted, line: &str| greeted(hosted).command(line).unwrap()[0].starts_with("235 ");
    assert!(wait_until(ARRIVAL, || known(&hosted, UNKNOWN)), "{}", hosted.daemon.log_tail());
    std::fs::write(&path, "[[user]]\nname = \n").unwrap();
    let told = || {
        known(&hosted, JOE);
        hosted.daemon.log().contains("the users before stay")
    };
    assert!(wait_until(ARRIVAL, told), "{}", hosted.daemon.log_tail());
    assert!(known(&hosted, JOE) && known(&hosted, UNKNOWN));
    // A reload takes the rest of the configuration.
    let file = hosted.daemon.path("angarium.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let domain = "[[domain]]\nname = \"new.example\"\ndeliver = \"lmtp:unix:/nowhere\"\n";
    std::fs::write(&file, [&*text, domain, "recipients = \"any\"\n"].concat()).unwrap();
    hosted.daemon.hangup();
    let is_ours = || {
        let mut client = Client::greet(hosted.daemon.addr(), "c.example");
        client.command("MAIL FROM:<s@c.example>");
        client.command("RCPT TO:<r@new.example>").code == 250
    };
    assert!(wait_until(ARRIVAL, is_ours), "{}", hosted.daemon.log_tail());
    assert!(known(&hosted, JOE) && known(&hosted, UNKNOWN));
    assert_eq!(hosted.daemon.log().matches("the users before stay").count(), 2);
    std::fs::remove_file(&path).unwrap();
    hosted.daemon.hangup();
    assert!(wait_until(ARRIVAL, || !known(&hosted, JOE)), "gone for good");
}

#[test]
fn a_client_that_vanishes_amid_an_exchange_leaves_nothing() {
    let mut hosted = host();
    let mut gone = hosted.implicit();
    expect(&mut gone, "EHLO c.example", "250");
    expect(&mut gone, "AUTH LOGIN", "334 ");
    drop(gone);
    let mut stays = hosted.implicit();
    expect(&mut stays, "EHLO c.example", "250");
    expect(&mut stays, "AUTH LOGIN", "334 ");
    assert!(hosted.daemon.terminate().success());
    assert!(stays.reply().unwrap()[0].starts_with("421 4.3.2 "));
}

/// What a client of SCRAM knows.
struct Knows(&'static str, &'static str);

impl SessionCallback for Knows {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let request = request.satisfy::<AuthId>(self.0)?;
        request.satisfy::<Password>(self.1.as_bytes())?;
        Ok(())
    }
}

/// A whole exchange by SCRAM-SHA-256, whose client judges the server's proof: the last reply.
fn scram(client: &mut SecureClient, login: &'static str, password: &'static str) -> String {
    let knows = Knows(login, password);
    let config = SASLConfig::builder().with_defaults().with_callback(knows).unwrap();
    let name = Mechname::parse(b"SCRAM-SHA-256").unwrap();
    let mut session = SASLClient::new(config).start_suggested(&[name]).unwrap();
    let (mut line, mut challenge) = ("AUTH SCRAM-SHA-256 ".to_owned(), None);
    loop {
        let mut said = Vec::new();
        session.step(challenge.as_deref(), &mut said).unwrap();
        line += &STANDARD.encode(said);
        let reply = client.command(&line).unwrap().concat();
        let Some(told) = reply.strip_prefix("334 ") else { return reply };
        challenge = Some(STANDARD.decode(told).unwrap());
        line.clear();
    }
}

#[test]
fn a_login_by_scram_owns_what_it_queues() {
    let mut hosted = host();
    for mut client in [hosted.starttls(), hosted.implicit()] {
        expect(&mut client, "EHLO c.example", "250");
        for (login, password, told) in [
            ("joe@ours.example", "wrong", "535 5.7.8 "),
            (GONE, "wrong", "535 5.7.8 "),
            (GONE, "secret", "525 5.7.13 "),
        ] {
            let refused = scram(&mut client, login, password);
            assert!(refused.starts_with(told), "{login} {password}: {refused}");
        }
        expect(&mut client, "MAIL FROM:<joe@ours.example>", "530 5.7.0 ");
        let granted = scram(&mut client, "joe@ours.example", "secret");
        assert!(granted.starts_with("235 2.7.0 "), "{granted}");
        let content = "From: joe@ours.example\r\nSubject: x\r\n\r\nx\r\n";
        let reply = send(&mut client, "joe@ours.example", "ann@dead.example", content);
        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    }
    assert_eq!(hosted.daemon.rows().len(), 2);
    for row in hosted.daemon.rows() {
        assert_eq!(row["tenant"], "joe@ours.example", "{row}");
        let shown = hosted.daemon.queue(&["show", row["queue_id"].as_str().unwrap()]).0;
        assert!(shown.contains("\ntenant    joe@ours.example\n"), "{shown}");
    }
    assert!(hosted.daemon.terminate().success());
    let folder = hosted.daemon.path("dump");
    let (_, code) = hosted.daemon.queue(&["dump", folder.to_str().unwrap()]);
    assert_eq!(code, 0);
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let forms: Vec<_> = files.filter(|path| path.extension().unwrap() == "json").collect();
    assert_eq!(forms.len(), 2);
    for form in forms {
        let form = std::fs::read_to_string(form).unwrap();
        let form: serde_json::Value = serde_json::from_str(&form).unwrap();
        assert_eq!(form["tenant"], "joe@ours.example", "{form}");
    }
}

#[test]
fn an_exchange_that_is_given_up_leaves_the_session_as_it_was() {
    let hosted = host();
    for mut client in [hosted.starttls(), hosted.implicit()] {
        expect(&mut client, "EHLO c.example", "250");
        for begin in ["AUTH PLAIN", "AUTH LOGIN", "AUTH SCRAM-SHA-256"] {
            expect(&mut client, begin, "334");
            expect(&mut client, "*", "501 5.7.0 ");
            expect(&mut client, "MAIL FROM:<joe@ours.example>", "530 5.7.0 ");
        }
        expect(&mut client, JOE, "235 2.7.0 ");
        expect(&mut client, JOE, "503 5.5.1 ");
    }
}

#[test]
fn what_a_user_abandons_does_not_count() {
    let more = "[submission]\nmessages_per_hour = 1\nrecipients_per_day = 1\n";
    let hosted = host_with(&["joe@ours.example"], more);
    let mut joe = hosted.logged_in();
    for _ in 0..2 {
        expect(&mut joe, "MAIL FROM:<joe@ours.example>", "250 ");
        expect(&mut joe, "RCPT TO:<r@far.example>", "250 ");
        expect(&mut joe, "RSET", "250 ");
    }
    let forged = "From: ann@ours.example\r\n\r\nx\r\n";
    for _ in 0..2 {
        let refused = send(&mut joe, "joe@ours.example", "r@far.example", forged);
        assert!(refused.starts_with("550 5.7.1 "), "{refused}");
    }
    let mut gone = hosted.logged_in();
    expect(&mut gone, "MAIL FROM:<joe@ours.example>", "250 ");
    let full = |client: &mut SecureClient| {
        client.command("MAIL FROM:<joe@ours.example>").unwrap()[0].starts_with("450 4.7.1 ")
    };
    assert!(full(&mut joe), "open in another session");
    drop(gone);
    assert!(wait_until(ARRIVAL, || !full(&mut joe)));
    expect(&mut joe, "RSET", "250 ");
    let note = "Subject: note\r\n\r\nnote\r\n";
    let sent = send(&mut joe, "joe@ours.example", "r@far.example", note);
    assert!(sent.starts_with("250 2.0.0 "), "{sent}");
    assert!(full(&mut joe), "it is sent");
    let (line, _) = hosted.daemon.limits(&["ls"]);
    assert!(
        line.contains("messages_per_hour 1/1") && line.contains("recipients_per_day 1/1"),
        "{line}"
    );
}

#[test]
fn a_stolen_account_is_held_back_and_the_administrator_told_once() {
    let more = "[submission]\nmessages_per_hour = 3\nrecipients_per_day = 4\n";
    let mut hosted = host_with(&["joe@ours.example", "ann@ours.example"], more);
    let note = "Subject: note\r\n\r\nnote\r\n";
    let mut joe = hosted.logged_in();
    expect(&mut joe, "MAIL FROM:<joe@ours.example>", "250 ");
    for number in 0..5 {
        let excess = "450 4.7.1 you may send 4 recipients a day, try again later";
        let code = if number < 4 { "250 " } else { excess };
        expect(&mut joe, &format!("RCPT TO:<r{number}@far.example>"), code);
    }
    // What is open counts for every session.
    let mut other = hosted.logged_in();
    expect(&mut other, "MAIL FROM:<joe@ours.example>", "250 ");
    expect(&mut other, "RCPT TO:<r@far.example>", "450 4.7.1 you may send 4 recipients a day");
    expect(&mut other, "RCPT TO:<ann@ours.example>", "250 ");
    for client in [&mut joe, &mut other] {
        expect(client, "DATA", "354 ");
        client.write(note.as_bytes()).unwrap();
        expect(client, ".", "250 2.0.0 ");
    }
    let local = send(&mut joe, "joe@ours.example", "ann@ours.example", note);
    assert!(local.starts_with("250 2.0.0 "), "{local}");
    let excess = "450 4.7.1 you may send 3 messages an hour, try again later";
    expect(&mut joe, "MAIL FROM:<joe@ours.example>", excess);

    let mut ann = hosted.logged_in_by(UNKNOWN);
    let other = send(&mut ann, "ann@ours.example", "x@far.example", note);
    assert!(other.starts_with("250 2.0.0 "), "{other}");
    let alert = |hosted: &Hosted| {
        let alerts = || {
            let all = hosted.store.deliveries().into_iter();
            all.filter(|one| one.to[0] == "postmaster@ours.example").collect::<Vec<_>>()
        };
        assert!(wait_until(ARRIVAL, || !alerts().is_empty()), "{}", hosted.daemon.log_tail());
        assert_eq!(alerts().len(), 1);
        alerts().remove(0)
    };
    let text = String::from_utf8(alert(&hosted).content).unwrap();
    for part in [
        "Auto-Submitted: auto-generated\r\n",
        "Subject: joe@ours.example has sent as much as allowed\r\n",
        "has reached recipients_per_day = 4\r\n",
    ] {
        assert!(text.contains(part), "{text}");
    }

    drop((joe, other, ann));
    hosted.daemon.terminate();
    hosted.daemon.restart();
    assert!(wait_until(ARRIVAL, || TcpStream::connect(hosted.implicit).is_ok()));
    expect(&mut hosted.logged_in(), "MAIL FROM:<joe@ours.example>", excess);
    hosted.daemon.drain(ARRIVAL);
    alert(&hosted);
    assert_eq!(hosted.daemon.log().matches("limit-reached").count(), 1);

    let over = "joe@ours.example  over  messages_per_hour 3/3  messages_per_day 3/2000  \
                recipients_per_hour 4/2000  recipients_per_day 4/4\n";
    assert_eq!(hosted.daemon.limits(&["ls"]), (over.to_owned(), 0));
    let (all, _) = hosted.daemon.limits(&["ls", "--all", "--json"]);
    assert!(all.contains("\"user\":\"ann@ours.example\",\"over\":false"), "{all}");
    assert_eq!(hosted.daemon.limits(&["clear", "nobody"]).1, 65);
    assert_eq!(hosted.daemon.limits(&["clear"]).1, 64);
    assert_eq!(hosted.daemon.limits(&["clear", "joe@ours.example"]), (String::new(), 0));
    expect(&mut hosted.logged_in(), "MAIL FROM:<joe@ours.example>", "250 ");
}

/// A session that a proxy opens for this client.
fn proxied(to: SocketAddr, client: &str) -> TcpStream {
    let mut wire = in_clear(to);
    said(&mut wire, "EHLO proxy.example\r\n", " DESTADDR DESTPORT\r\n");
    said(&mut wire, &format!("XCLIENT ADDR={client}\r\n"), " ESMTP Angarium\r\n");
    said(&mut wire, "EHLO c.example\r\n", " DESTADDR DESTPORT\r\n");
    wire
}

#[test]
fn an_address_that_tries_passwords_is_shut_out_and_nobody_else_is() {
    let proxy = loopback(free_port());
    let more = format!(
        "[[listener]]\nbind = \"{proxy}\"\nrole = \"submission\"\nclear_passwords = true\n\
         tls = \"off\"\nxclient_from = [\"127.0.0.1\"]\n[guard]\nfailures = 2\n"
    );
    let mut hosted = host_with(&["joe@ours.example"], &more);
    assert!(wait_until(ARRIVAL, || TcpStream::connect(proxy).is_ok()));
    let bad = "535 5.7.8 wrong user or secret\r\n";
    let out = "421 4.7.0 too many failed logins from your address, try again later\r\n";
    let mut wire = proxied(proxy, "192.0.2.7");
    for line in [WRONG, WRONG, WRONG, UNKNOWN] {
        said(&mut wire, &format!("{line}\r\n"), bad);
    }
    said(&mut wire, &format!("{JOE}\r\n"), out);
    assert_eq!(wire.read(&mut [0]).unwrap(), 0, "closed");
    for free in ["192.0.2.8", "127.0.0.1"] {
        said(&mut proxied(proxy, free), &format!("{JOE}\r\n"), "235 2.7.0 welcome\r\n");
    }
    let mut here = hosted.implicit();
    expect(&mut here, "EHLO c.example", "250");
    for number in 0..4 {
        let login = if number % 2 == 0 { WRONG } else { UNKNOWN };
        expect(&mut here, login, "535 5.7.8 ");
    }
    expect(&mut here, JOE, "235 2.7.0 ");

    drop(here);
    hosted.daemon.terminate();
    hosted.daemon.restart();
    assert!(wait_until(ARRIVAL, || TcpStream::connect(proxy).is_ok()));
    said(&mut proxied(proxy, "192.0.2.7"), &format!("{JOE}\r\n"), out);
    assert_eq!(hosted.daemon.log().matches("shut-out").count(), 1);

    let (list, _) = hosted.daemon.limits(&["ls"]);
    assert!(list.starts_with("192.0.2.7  shut out for "), "{list}");
    assert!(list.ends_with("; tried \"ann@ours.example\" last\n"), "{list}");
    assert_eq!(hosted.daemon.limits(&["clear", "192.0.2.7"]), (String::new(), 0));
    let welcome = "235 2.7.0 welcome\r\n";
    said(&mut proxied(proxy, "192.0.2.7"), &format!("{JOE}\r\n"), welcome);
}

#[test]
fn a_login_in_clear_is_forgotten_by_starttls() {
    // Checks: L02
    let place = loopback(free_port());
    let more = format!(
        "[[listener]]\nbind = \"{place}\"\nrole = \"submission\"\nclear_passwords = true\n\
         [rates]\nexempt = []\ncommands = \"9/h\"\n"
    );
    let hosted = host_with(&["joe@ours.example"], &more);
    assert!(wait_until(ARRIVAL, || TcpStream::connect(place).is_ok()));
    let mut wire = in_clear(place);
    said(&mut wire, "EHLO c.example\r\n", " LOGIN\r\n");
    said(&mut wire, &format!("{JOE}\r\n"), "235 2.7.0 welcome\r\n");
    said(&mut wire, "STARTTLS\r\n", "220 2.0.0 go on with TLS\r\n");
    let mut client = SecureClient::over(wire, &hosted.trusted, NAME).unwrap();
    expect(&mut client, "EHLO c.example", "250");
    expect(&mut client, "MAIL FROM:<joe@ours.example>", "530 5.7.0 ");
    // Only a user's commands are not counted.
    let replies = (0..9).map_while(|_| client.command("NOOP").ok()).flatten();
    let last = replies.last().unwrap();
    assert!(last.starts_with("421 4.7.0 "), "{last}");
}
