//! The server's side of SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677, RFC 9266).
//!
//! Written here, as no library's server can be given a nonce to prove it by the RFCs' vectors.
//!
//! Promises that a client which could have bound the channel, and was kept from it, is refused
//! (RFC 5802 6); and that keys are compared in constant time. Refuses extensions that must be
//! understood, bindings other than `tls-exporter`, and acting for others.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Denial, Scram};

/// The registered name of the one binding (RFC 9266 2).
const BINDING: &str = "tls-exporter";
/// Longest nonce that a client may choose, in octets.
const NONCE_OCTETS_MAX: usize = 512;

/// What the channel allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    /// The mechanism is the bound one.
    pub(super) plus: bool,
    /// What TLS exports, where the bound mechanism is offered on this channel.
    pub(super) exporter: Option<[u8; 32]>,
}

/// What the first message of a client says.
#[derive(Debug)]
pub(super) struct ClientFirst {
    /// Who it says it is; not prepared yet.
    pub(super) login: String,
    /// What the final message must repeat: the header, and the binding's data.
    bound: Vec<u8>,
    nonce: String,
    bare: String,
}

impl ClientFirst {
    /// Reads the first message.
    pub(super) fn read(message: &[u8], binding: Binding) -> Result<Self, Denial> {
        let text = str::from_utf8(message).map_err(|_| Denial::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(other), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Denial::Malformed);
        };
        let exporter = judge_flag(flag, binding)?;
        let mut attributes = bare.split(',');
        let name = attributes.next().and_then(|part| part.strip_prefix("n="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        let (Some(name), Some(nonce)) = (name, nonce) else { return Err(Denial::Malformed) };
        let usable = (1..=NONCE_OCTETS_MAX).contains(&nonce.len())
            && nonce.bytes().all(|octet| octet.is_ascii_graphic());
        let login = unescape(name).filter(|_| usable).ok_or(Denial::Malformed)?;
        let acts_for = match other {
            "" => None,
            other => Some(other.strip_prefix("a=").and_then(unescape).ok_or(Denial::Malformed)?),
        };
        if acts_for.is_some_and(|other| other != login) {
            return Err(Denial::Credentials);
        }
        let mut bound = format!("{flag},{other},").into_bytes();
        bound.extend(exporter.iter().flatten());
        Ok(Self { login, bound, nonce: nonce.to_owned(), bare: bare.to_owned() })
    }

    /// Answers it, with a nonce of our own and what is kept for the login.
    pub(super) fn answer(self, nonce: &str, kept: Scram) -> Challenged {
        let nonce = [&self.nonce, nonce].concat();
        let salt = STANDARD.encode(&kept.salt);
        let first = format!("r={nonce},s={salt},i={}", kept.iterations);
        Challenged { kept, bound: self.bound, nonce, bare: self.bare, first }
    }
}

/// What the client binds its proof to; `None` for nothing.
fn judge_flag(flag: &str, binding: Binding) -> Result<Option<[u8; 32]>, Denial> {
    match (flag, binding) {
        ("n", Binding { plus: false, .. }) | ("y", Binding { plus: false, exporter: None }) => {
            Ok(None)
        }
        // It can, and has not seen that we can: somebody between has hidden it.
        ("y", Binding { plus: false, .. }) => Err(Denial::Credentials),
        (flag, Binding { plus: true, exporter: Some(exporter) })
            if flag.strip_prefix("p=") == Some(BINDING) =>
        {
            Ok(Some(exporter))
        }
        _ => Err(Denial::Malformed),
    }
}

/// A name without its escapes (RFC 5802 5.1).
pub(super) fn unescape(name: &str) -> Option<String> {
    let mut pieces = name.split('=');
    let mut out = pieces.next()?.to_owned();
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix("2C") {
            out.extend([",", rest]);
        } else {
            out.extend(["=", piece.strip_prefix("3D")?]);
        }
    }
    (!out.is_empty() && !out.contains('\0')).then_some(out)
}

/// An exchange that waits for the proof.
pub(super) struct Challenged {
    kept: Scram,
    bound: Vec<u8>,
    nonce: String,
    bare: String,
    first: String,
}

impl Challenged {
    /// The first message of the server.
    pub(super) fn message(&self) -> &str {
        &self.first
    }

    /// Judges the client's final message: who is in, and the server's own proof.
    pub(super) fn finish(self, message: &[u8]) -> Result<(super::Login, String), Denial> {
        let text = str::from_utf8(message).map_err(|_| Denial::Malformed)?;
        let (unproved, proof) = text.rsplit_once(",p=").ok_or(Denial::Malformed)?;
        let mut attributes = unproved.split(',');
        let bound = attributes.next().and_then(|part| part.strip_prefix("c="));
        let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| Denial::Malformed);
        let bound = decode(bound.ok_or(Denial::Malformed)?)?;
        let proof: [u8; 32] = decode(proof)?.try_into().map_err(|_| Denial::Malformed)?;
        if bound != self.bound || nonce != Some(&*self.nonce) {
            return Err(Denial::Credentials);
        }
        let said = [&self.bare, &*self.first, unproved].join(",");
        let signature = sign(&self.kept.stored_key, said.as_bytes());
        let key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let stored = digest::digest(&digest::SHA256, &key);
        verify_slices_are_equal(stored.as_ref(), &self.kept.stored_key)
            .map_err(|_| Denial::Credentials)?;
        if self.kept.disabled {
            return Err(Denial::Disabled);
        }
        let ours = STANDARD.encode(sign(&self.kept.server_key, said.as_bytes()));
        Ok((self.kept.login, format!("v={ours}")))
    }
}

fn sign(key: &[u8], said: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), said)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::secret::Derived;
    use super::*;

    const CLEAR: Binding = Binding { plus: false, exporter: None };

    fn kept() -> Scram {
        let salt: std::sync::Arc<[u8]> =
            STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().into();
        let derived = Derived::new("pencil", &salt, 4096).unwrap();
        let login = super::super::Login { user: "user".into(), label: None };
        let Derived { stored_key, server_key } = derived;
        Scram { iterations: 4096, salt, stored_key, server_key, login, disabled: false }
    }

    #[test]
    fn the_vector_of_rfc_7677() {
        let first = ClientFirst::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", CLEAR).unwrap();
        assert_eq!(first.login, "user");
        let challenged = first.answer("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", kept());
        assert_eq!(
            challenged.message(),
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let (login, ours) = challenged
            .finish(
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                  p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            )
            .unwrap();
        assert_eq!(&*login.user, "user");
        assert_eq!(ours, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn the_header_is_read_as_the_channel_allows() {
        let bound = Binding { plus: true, exporter: Some([7; 32]) };
        let offered = Binding { plus: false, exporter: Some([7; 32]) };
        let read = |message: &str, binding| {
            ClientFirst::read(message.as_bytes(), binding).map(|first| first.login)
        };
        let bad = || Err(Denial::Malformed);
        for (message, binding, expected) in [
            ("n,,n=joe,r=x", CLEAR, Ok("joe")),
            ("n,a=joe,n=joe,r=x", CLEAR, Ok("joe")),
            ("n,,n=j=2Co=3De,r=x", CLEAR, Ok("j,o=e")),
            ("n,,n=joe,r=x,e=later", CLEAR, Ok("joe")),
            ("y,,n=joe,r=x", CLEAR, Ok("joe")),
            ("n,,n=joe,r=x", offered, Ok("joe")),
            ("p=tls-exporter,,n=joe,r=x", bound, Ok("joe")),
            ("y,,n=joe,r=x", offered, Err(Denial::Credentials)),
            ("n,a=ann,n=joe,r=x", CLEAR, Err(Denial::Credentials)),
            ("p=tls-exporter,,n=joe,r=x", offered, bad()),
            ("p=tls-unique,,n=joe,r=x", bound, bad()),
            ("n,,n=joe,r=x", bound, bad()),
            ("y,,n=joe,r=x", bound, bad()),
            ("n,,m=must,n=joe,r=x", CLEAR, bad()),
            ("n,,n=j=oe,r=x", CLEAR, bad()),
            ("n,,n=,r=x", CLEAR, bad()),
            ("n,,n=joe,r=", CLEAR, bad()),
            ("n,,n=joe", CLEAR, bad()),
            ("n,b=joe,n=joe,r=x", CLEAR, bad()),
            ("", CLEAR, bad()),
        ] {
            assert_eq!(read(message, binding), expected.map(str::to_owned), "{message}");
        }
    }

    #[test]
    fn a_proof_for_another_channel_or_exchange_is_none() {
        let finish = |change: fn(&str) -> String| {
            let first = ClientFirst::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", CLEAR).unwrap();
            let challenged = first.answer("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", kept());
            let right = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
            challenged.finish(change(right).as_bytes()).map(|(login, _)| login.user.to_string())
        };
        assert_eq!(finish(str::to_owned), Ok("user".to_owned()));
        let first = ClientFirst::read(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", CLEAR).unwrap();
        let disabled = Scram { disabled: true, ..kept() };
        let right = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let challenged = first.answer("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", disabled);
        assert_eq!(challenged.finish(right.as_bytes()).unwrap_err(), Denial::Disabled);
        for (change, expected) in [
            ((|right| right.replace("biws", "eSws")) as fn(&str) -> String, Denial::Credentials),
            (|right| right.replace("k0,", "k1,"), Denial::Credentials),
            (|right| right.replace("dHzb", "dHzc"), Denial::Credentials),
            (|right| right.replace("c=biws", "c=bi!s"), Denial::Malformed),
            (|right| right.replace("p=dHzb", "p="), Denial::Malformed),
            (|right| right.replace(",p=", ",q="), Denial::Malformed),
            (|_| String::new(), Denial::Malformed),
        ] {
            assert_eq!(finish(change), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn no_message_panics(message in proptest::collection::vec(any::<u8>(), 0..80), plus: bool) {
            let exporter = plus.then_some([1; 32]);
            let _ = ClientFirst::read(&message, Binding { plus, exporter });
            let first = ClientFirst::read(b"n,,n=user,r=x", CLEAR).unwrap();
            prop_assert!(first.answer("y", kept()).finish(&message).is_err());
        }
    }
}
