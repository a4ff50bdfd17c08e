//! SASL exchanges: whatever a client answers, it is let in by the right proof of the right user and by
//! nothing else, an exchange is soon over and stays so, and holds little.
//!
//! An input is the name of a mechanism, ` bound` behind it on a channel that can be bound to, and a
//! response a line; `~` in the place of the first is none. `{nonce}` stands for the server's nonce, and
//! `{proof}` for the right proof of SCRAM, which no kept input could know.

use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use angarium::auth::sasl::Sasl;
use angarium::auth::secret::Derived;
use angarium::auth::{
    Backend, Channel, Denial, Exchange, Login, Pending, Proof, Scram, Step, Verifier,
};
use angarium::registry::mechanism::Mechanism;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use memchr::memmem;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "sasl",
    words: &[
        "PLAIN",
        "LOGIN",
        "SCRAM-SHA-256",
        "SCRAM-SHA-256-PLUS bound",
        " bound",
        "OAUTHBEARER",
        "XOAUTH2",
        "\n",
        "\n~\n",
        "\0",
        "\x01",
        "\x01\x01",
        "joe",
        "ann",
        "secret",
        "n,,",
        "y,,",
        "n,a=joe,",
        "n,a=ann,",
        "p=tls-exporter,,",
        "p=tls-unique,,",
        "n=joe,r=x",
        "m=1,",
        "c=biws,",
        "c=eSws,",
        "r={nonce}",
        ",p={proof}",
        "{proof}",
        "user=joe\x01",
        "auth=Bearer good",
        "auth=Bearer bad",
        "=2C",
        "=3D",
        "é",
    ],
    octets_max: 12_000,
    check,
};

const EXPORTER: [u8; 32] = [7; 32];
const SALT: &[u8] = b"salt of joe";
const ITERATIONS: u32 = 4096;
/// No mechanism asks more often, the question for the first response among them.
const CHALLENGES_MAX: usize = 3;

/// Joe, whose password is "secret" and whose token is "good".
#[derive(Debug)]
struct Store;

impl Verifier for Store {
    fn takes_passwords(&self) -> bool {
        true
    }

    fn takes_tokens(&self) -> bool {
        true
    }

    fn keeps_scram(&self) -> bool {
        true
    }

    fn verify<'a>(&'a self, proof: Proof<'a>) -> Pending<'a, Result<Login, Denial>> {
        Box::pin(async move {
            match proof {
                Proof::Password { login: "joe", password: "secret" }
                | Proof::Token { login: None | Some("joe"), token: "good" } => {
                    Ok(Login { user: "joe".into(), label: None })
                }
                _ => Err(Denial::Credentials),
            }
        })
    }

    fn scram<'a>(&'a self, login: &'a str) -> Pending<'a, Option<Scram>> {
        static KEPT: LazyLock<Derived> =
            LazyLock::new(|| Derived::new("secret", SALT, ITERATIONS).unwrap());
        // Nobody has the password that gives these.
        let (stored_key, server_key) =
            if login == "joe" { (KEPT.stored_key, KEPT.server_key) } else { ([1; 32], [2; 32]) };
        let login = Login { user: login.into(), label: None };
        let (iterations, salt) = (ITERATIONS, SALT.into());
        let kept = Scram { iterations, salt, stored_key, server_key, login, disabled: false };
        Box::pin(std::future::ready(Some(kept)))
    }

    fn token_failure(&self) -> Option<&str> {
        Some("{}")
    }
}

/// What the client and the server have said so far.
#[derive(Default)]
struct Said {
    responses: Vec<Vec<u8>>,
    challenges: Vec<Vec<u8>>,
}

/// The ClientKey of joe (RFC 5802 3).
fn client_key() -> &'static [u8] {
    static KEY: LazyLock<hmac::Tag> = LazyLock::new(|| {
        let (mut salted, rounds) = ([0; 32], ITERATIONS.try_into().unwrap());
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, SALT, b"secret", &mut salted);
        sign(&salted, b"Client Key")
    });
    KEY.as_ref()
}

fn sign(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

/// The first message of a client of SCRAM in its two parts: the header, and what is signed.
fn header_and_bare(first: &[u8]) -> Option<(&[u8], &[u8])> {
    let second_comma = memchr::memchr_iter(b',', first).nth(1)?;
    Some(first.split_at(second_comma + 1))
}

impl Said {
    fn nonce(&self) -> &[u8] {
        let last = self.challenges.last().map_or(&b""[..], Vec::as_slice);
        let nonce = last.split(|octet| *octet == b',').next().unwrap_or_default();
        nonce.strip_prefix(b"r=").unwrap_or_default()
    }

    /// The right proof of joe for this final message.
    fn proof(&self, unproved: &[u8]) -> Option<String> {
        let (_, bare) = header_and_bare(self.responses.last()?)?;
        let text = [bare, self.challenges.last()?, unproved].join(&b","[..]);
        let stored_key = digest::digest(&digest::SHA256, client_key());
        let signature = sign(stored_key.as_ref(), &text);
        let proof = client_key().iter().zip(signature.as_ref()).map(|(key, octet)| key ^ octet);
        Some(STANDARD.encode(proof.collect::<Vec<u8>>()))
    }

    fn fill_in(&self, line: &[u8]) -> Vec<u8> {
        let mut line = replaced(line, b"{nonce}", self.nonce());
        if let Some(at) = memmem::find(&line, b",p={proof}") {
            let proof = self.proof(&line[..at]).unwrap_or_default();
            line = replaced(&line, b"{proof}", proof.as_bytes());
        }
        line
    }

    /// Whether what was said proves that the client is joe.
    fn is_right(&self, mechanism: Mechanism, bound: bool) -> bool {
        let last = self.responses.last().unwrap().as_slice();
        match mechanism {
            Mechanism::Plain => matches!(last, b"\0joe\0secret" | b"joe\0joe\0secret"),
            Mechanism::Login => self.responses == [&b"joe"[..], b"secret"],
            Mechanism::OauthBearer => {
                let headers: [&[u8]; 4] = [b"n,,", b"y,,", b"n,a=joe,", b"y,a=joe,"];
                headers.iter().any(|header| shows_token(last, header))
            }
            Mechanism::Xoauth2 => shows_token(last, b"user=joe"),
            Mechanism::ScramSha256 => self.proves(if bound { &b"n"[..] } else { b"ny" }, &[]),
            Mechanism::ScramSha256Plus => bound && self.proves(b"p", &EXPORTER),
        }
    }

    fn proves(&self, flags: &[u8], exporter: &[u8]) -> bool {
        let [first, last, empty] = self.responses.as_slice() else { return false };
        let (header, bare) = header_and_bare(first).unwrap();
        let at = memmem::rfind(last, b",p=").unwrap();
        let unproved = &last[..at];
        let binding = STANDARD.encode([header, exporter].concat());
        let head = [b"c=", binding.as_bytes(), b",r=", self.nonce_of_first()].concat();
        let before = Self {
            responses: vec![first.clone()],
            challenges: self.challenges[..self.challenges.len() - 1].to_vec(),
        };
        flags.contains(&header[0])
            && bare.starts_with(b"n=joe,r=")
            && [&b""[..], b"a=joe"].contains(&header.split(|octet| *octet == b',').nth(1).unwrap())
            && unproved
                .strip_prefix(head.as_slice())
                .is_some_and(|more| matches!(more.first(), None | Some(b',')))
            && before.proof(unproved).unwrap().as_bytes() == &last[at + 3..]
            && empty.is_empty()
    }

    /// The nonce of the first message of the server; its proof is the one behind.
    fn nonce_of_first(&self) -> &[u8] {
        let first = &self.challenges[self.challenges.len() - 2];
        let end = memchr::memchr(b',', first).unwrap();
        &first[2..end]
    }
}

fn shows_token(response: &[u8], before: &[u8]) -> bool {
    let mut pairs = response.split(|octet| *octet == 1);
    let header = pairs.next();
    let value = pairs.find_map(|pair| pair.strip_prefix(b"auth="));
    let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
    let shown = value.as_deref().and_then(|value| value.split_once(' '));
    header == Some(before)
        && response.ends_with(b"\x01\x01")
        && shown.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && token.trim() == "good"
        })
}

fn replaced(line: &[u8], word: &[u8], by: &[u8]) -> Vec<u8> {
    match memmem::find(line, word) {
        Some(at) => [&line[..at], by, &line[at + word.len()..]].concat(),
        None => line.to_vec(),
    }
}

fn step(exchange: &mut dyn Exchange, response: Option<&[u8]>) -> Step {
    match exchange.step(response).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(step) => step,
        Poll::Pending => panic!("the store waits for nothing"),
    }
}

fn check(input: &[u8], _: &mut Rng) {
    run(input);
}

/// Whether the client was let in.
fn run(input: &[u8]) -> bool {
    let mut lines = input.split(|octet| *octet == b'\n');
    let name = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (name, bound) = name.strip_suffix(" bound").map_or((&*name, false), |name| (name, true));
    let Some(mechanism) = Mechanism::named(name) else { return false };
    let channel = Channel {
        client: [127, 0, 0, 1].into(),
        tls: true,
        binding: bound.then_some(EXPORTER),
        clear_allowed: false,
    };
    let mut exchange = Sasl::new(Arc::new(Store)).begin(mechanism, &channel);
    let (mut said, mut over, mut held, mut let_in) = (Said::default(), false, 0, false);
    for (number, line) in lines.take(12).enumerate() {
        let response = (number > 0 || line != b"~").then(|| said.fill_in(line));
        said.responses.extend(response.clone());
        let mut stepped = None;
        let used = measure(|| stepped = Some(step(&mut *exchange, response.as_deref())));
        held += used.bytes_current;
        assert!(held < 8 * 1024 + 6 * input.len() as i64, "{held} octets are held");
        match stepped.unwrap() {
            Step::Challenge(challenge) => {
                assert!(!over && said.challenges.len() < CHALLENGES_MAX);
                said.challenges.push(challenge);
            }
            Step::Granted(login) => {
                assert!(!over && said.is_right(mechanism, bound), "{mechanism:?} {login:?}");
                assert_eq!(&*login.user, "joe");
                (over, let_in) = (true, true);
            }
            Step::Denied(denial) => {
                assert!(!over || denial == Denial::Malformed);
                over = true;
            }
        }
    }
    let_in
}

/// So that the target judges more than refusals.
#[test]
fn right_proofs_among_the_kept_inputs_let_in() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/sasl");
    let mut right = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let expected = path.file_name().unwrap().to_str().unwrap().starts_with("right-");
        assert_eq!(run(&std::fs::read(&path).unwrap()), expected, "{}", path.display());
        right += usize::from(expected);
    }
    assert!(right >= Mechanism::ALL.len());
}
