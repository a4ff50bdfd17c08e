//! Exchanges of RFC 5802 and 7677, and servers that play foul.

use aws_lc_rs::{digest, hmac, pbkdf2};

use super::*;

const ALL: &[Mechanism] = &[
    Mechanism::Login,
    Mechanism::Plain,
    Mechanism::ScramSha256,
    Mechanism::ScramSha256Plus,
    Mechanism::OauthBearer,
];

fn credential(password: &str) -> Arc<Credential> {
    Arc::new(Credential {
        name: "relay".into(),
        user: "joe@c.example".into(),
        password: password.into(),
    })
}

fn begin(offered: &[Mechanism], exporter: Option<[u8; 32]>) -> (Login, String) {
    Login::begin(&credential("secret"), offered, exporter).unwrap()
}

#[test]
fn the_strongest_is_chosen() {
    let chosen = |offered, exporter| begin(offered, exporter).0.mechanism();
    assert_eq!(chosen(ALL, Some([7; 32])), Mechanism::ScramSha256Plus);
    assert_eq!(chosen(ALL, None), Mechanism::ScramSha256, "there is nothing to bind to");
    assert_eq!(chosen(&ALL[..3], Some([7; 32])), Mechanism::ScramSha256);
    assert_eq!(chosen(&ALL[..2], Some([7; 32])), Mechanism::Plain);
    assert_eq!(chosen(&ALL[..1], None), Mechanism::Login);
    assert!(Login::begin(&credential("secret"), &ALL[4..], None).is_err());
}

#[test]
fn a_server_without_binding_is_told_that_we_could() {
    let header = |offered, exporter| {
        let (_, command) = begin(offered, exporter);
        let first = command.rsplit(' ').next().unwrap();
        String::from_utf8(STANDARD.decode(first).unwrap()).unwrap()
    };
    assert!(header(ALL, Some([7; 32])).starts_with("p=tls-exporter,,n=joe@c.example,r="));
    assert!(header(&ALL[..3], Some([7; 32])).starts_with("y,,n="), "RFC 5802 6");
    assert!(header(ALL, None).starts_with("n,,n="));
}

#[test]
fn plain_goes_with_the_command_and_login_waits_for_prompts() {
    let (login, command) = begin(&[Mechanism::Plain], None);
    let sent = STANDARD.encode("\0joe@c.example\0secret");
    assert_eq!(command, format!("AUTH PLAIN {sent}"));
    assert!(login.is_finished());
    let (mut login, command) = begin(&[Mechanism::Login], None);
    assert_eq!(command, "AUTH LOGIN");
    let prompt = STANDARD.encode("Username:");
    assert_eq!(login.answer(&prompt).unwrap(), STANDARD.encode("joe@c.example"));
    assert!(!login.is_finished());
    assert_eq!(login.answer("").unwrap(), STANDARD.encode("secret"));
    assert!(login.is_finished());
    assert!(login.answer("").unwrap_err().contains("once too often"));
}

#[test]
fn what_is_too_long_for_a_command_follows_it() {
    let long = "x".repeat(600);
    let (mut login, command) = Login::begin(&credential(&long), &[Mechanism::Plain], None).unwrap();
    assert_eq!(command, "AUTH PLAIN");
    let sent = login.answer("").unwrap();
    assert_eq!(sent, STANDARD.encode(format!("\0joe@c.example\0{long}")));
    assert!(login.answer("").is_err());
}

/// The server's side of SCRAM by the formulas of RFC 5802 3, as far as the password's hash.
struct Server {
    salted: [u8; 32],
}

impl Server {
    const FIRST_REST: &str = "s=c2FsdA==,i=4096";

    fn new(password: &str) -> Self {
        let mut salted = [0; 32];
        let rounds = std::num::NonZeroU32::new(4096).unwrap();
        let password = password.as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, b"salt", password, &mut salted);
        Self { salted }
    }

    fn hmac(key: &[u8], text: &str) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    }

    /// The first message to a client that began with `command`; with the parts of both.
    fn first(command: &str) -> (String, String) {
        let sent = decoded(command.rsplit(' ').next().unwrap());
        let bare = sent.splitn(3, ',').nth(2).unwrap().to_owned();
        let nonce = bare.split_once("r=").unwrap().1.to_owned();
        (bare, format!("r={nonce}more,{}", Self::FIRST_REST))
    }

    /// The last message, if the client's proof is right.
    fn last(&self, bare: &str, first: &str, answer: &str) -> Option<String> {
        let (without, proof) = answer.rsplit_once(",p=").unwrap();
        let message = format!("{bare},{first},{without}");
        let client_key = Self::hmac(&self.salted, "Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key);
        let signature = Self::hmac(stored.as_ref(), &message);
        let expected: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        (STANDARD.decode(proof).unwrap() == expected).then(|| {
            let server_key = Self::hmac(&self.salted, "Server Key");
            format!("v={}", STANDARD.encode(Self::hmac(&server_key, &message)))
        })
    }
}

fn decoded(text: &str) -> String {
    String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
}

#[test]
fn both_sides_prove_that_they_know_the_password() {
    let exporter = [7; 32];
    let (mut login, command) = begin(ALL, Some(exporter));
    let (bare, first) = Server::first(&command);
    let answer = decoded(&login.answer(&STANDARD.encode(&first)).unwrap());
    let bound = [b"p=tls-exporter,,".as_slice(), &exporter].concat();
    assert!(answer.starts_with(&format!("c={},", STANDARD.encode(bound))), "{answer}");
    assert_eq!(Server::new("another").last(&bare, &first, &answer), None);
    let last = Server::new("secret").last(&bare, &first, &answer).expect("a right proof");
    assert!(!login.is_finished(), "the server has proved nothing yet");
    assert_eq!(login.answer(&STANDARD.encode(last)).unwrap(), "");
    assert!(login.is_finished());
}

#[test]
fn a_password_is_hashed_in_the_form_of_rfc_4013() {
    let (mut login, command) =
        Login::begin(&credential("I\u{ad}X"), &[Mechanism::ScramSha256], None).unwrap();
    let (bare, first) = Server::first(&command);
    let answer = decoded(&login.answer(&STANDARD.encode(&first)).unwrap());
    assert!(Server::new("IX").last(&bare, &first, &answer).is_some());
}

#[test]
fn a_server_that_does_not_know_the_password_is_found_out() {
    let (mut login, command) = begin(&[Mechanism::ScramSha256], None);
    let (_, first) = Server::first(&command);
    login.answer(&STANDARD.encode(&first)).unwrap();
    let guess = STANDARD.encode(format!("v={}", STANDARD.encode([0; 32])));
    assert!(login.answer(&guess).unwrap_err().contains("does not know the password"));
}

#[test]
fn challenges_that_make_no_sense_end_the_exchange() {
    for challenge in ["?", "cj1hLHM9YWJj", "", "/w=="] {
        let (mut login, _) = begin(&[Mechanism::ScramSha256], None);
        assert!(login.answer(challenge).is_err(), "{challenge}");
        assert!(login.answer(challenge).is_err(), "and again: {challenge}");
    }
    let (mut login, _) = begin(&[Mechanism::ScramSha256], None);
    let work = STANDARD.encode("r=abc,s=c2FsdA==,i=4000000000");
    assert!(login.answer(&work).unwrap_err().contains("rounds of hashing"));
}
