//! The client's side of a handshake, towards next hops.
//!
//! Offers TLS 1.2 and 1.3 with the post-quantum hybrid group first, and resumption. Promises that
//! under `verify` no handshake succeeds whose certificate is not of the next hop's own name, by the
//! system's authorities or the route's; that elsewhere anybody is believed and what the certificate
//! was worth is told; and that what a next hop can't cope with is remembered for an hour, in a
//! bounded memory.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, NamedGroup};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::anyone::Anyone;
use super::facts::Facts;
use super::link::Link;
use crate::net::clock;
use crate::route::next_hop::NextHop;
use crate::route::security::{Authorities, TlsPolicy};

/// How long a set of authorities is used; the system's may change.
const TRUST_TIME: Duration = Duration::from_secs(24 * 3600);
/// Sets of authorities at a time; there is one for each `ca` of the configuration.
const TRUSTS_MAX: usize = 64;
/// How long a next hop goes without what it failed at.
const FALLBACK_TIME: Duration = Duration::from_secs(3600);
const FALLBACKS_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// What a handshake goes without, as the next hop fails at it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Fallback {
    /// Nothing.
    #[default]
    None,
    /// The hybrid key share, whose size some can't cope with.
    WithoutHybrid,
    /// TLS.
    InClear,
}

impl Fallback {
    /// What may be tried after a handshake that failed.
    #[must_use]
    pub fn next(self, policy: TlsPolicy) -> Option<Self> {
        match (self, policy) {
            (Self::None, _) => Some(Self::WithoutHybrid),
            (Self::WithoutHybrid, TlsPolicy::May) => Some(Self::InClear),
            (Self::WithoutHybrid | Self::InClear, _) => None,
        }
    }
}

/// What a connection is worth.
#[derive(Clone, Debug)]
pub struct Secured {
    /// What was agreed on.
    pub facts: Facts,
    /// Why the certificate is not to be relied on, if so.
    pub doubt: Option<String>,
}

impl fmt::Display for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.facts.protocol, self.facts.cipher)?;
        match &self.doubt {
            None => f.write_str("verified"),
            Some(doubt) => write!(f, "unverified ({doubt})"),
        }
    }
}

/// Why a handshake came to nothing.
#[derive(Debug)]
pub struct Fault {
    /// A sentence.
    pub why: String,
    /// It is about the certificate, so that no other handshake would do better.
    pub is_final: bool,
}

/// The same with and without the hybrid key share.
type Pair = [Arc<ClientConfig>; 2];

/// Authorities, and the handshakes that rely on them.
#[derive(Clone, Debug)]
struct Trust {
    verifier: Arc<Verifier>,
    pair: Pair,
    since: Instant,
}

/// The client, shared by all connections.
#[derive(Debug)]
pub struct Client {
    anyone: Pair,
    trusts: Mutex<HashMap<Option<Arc<Authorities>>, Trust>>,
    fallbacks: Mutex<LruCache<NextHop, (Fallback, Instant)>>,
}

impl Default for Client {
    fn default() -> Self {
        let anyone = pair(|provider| Arc::new(Anyone(provider)));
        Self {
            anyone,
            trusts: Mutex::default(),
            fallbacks: Mutex::new(LruCache::new(FALLBACKS_MAX)),
        }
    }
}

impl Client {
    /// What handshakes with a next hop go without now.
    pub fn fallback(&self, next_hop: &NextHop, policy: TlsPolicy) -> Fallback {
        let mut known = self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(&(fallback, since)) = known.get(next_hop) else { return Fallback::None };
        if clock::instant().duration_since(since) >= FALLBACK_TIME {
            known.pop(next_hop);
            return Fallback::None;
        }
        // Another route may insist on TLS.
        let strictest = if policy == TlsPolicy::May { fallback } else { Fallback::WithoutHybrid };
        fallback.min(strictest)
    }

    /// Remembers what a next hop could do, after a handshake failed that asked for more.
    pub fn remember(&self, next_hop: &NextHop, fallback: Fallback) {
        let mut known = self.fallbacks.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(next_hop.clone(), (fallback, clock::instant()));
    }

    /// Shakes hands over `link` with whoever should be `name`, within `limit`.
    ///
    /// # Errors
    /// Why there is no TLS; the connection is lost then.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        link: Link<S>,
        name: ServerName<'static>,
        (policy, fallback): (TlsPolicy, Fallback),
        authorities: Option<&Arc<Authorities>>,
        limit: Duration,
    ) -> Result<(Link<S>, Secured), Fault> {
        let Link::Clear(stream) = link else {
            return Err(Fault { why: "it is under TLS already".to_owned(), is_final: true });
        };
        let trust = self.trust(authorities).await;
        let pair = match (&trust, policy) {
            (Ok(trust), TlsPolicy::Verify) => &trust.pair,
            (Err(why), TlsPolicy::Verify) => {
                return Err(Fault { why: why.clone(), is_final: true });
            }
            _ => &self.anyone,
        };
        let [hybrid, classic] = pair;
        let config = if fallback == Fallback::None { hybrid } else { classic };
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream);
        let stream = match timeout(limit, connecting).await {
            Ok(Ok(stream)) => TlsStream::Client(stream),
            Ok(Err(error)) => return Err(fault(&error)),
            Err(_) => {
                let why = "the TLS handshake was not done in time".to_owned();
                return Err(Fault { why, is_final: false });
            }
        };
        let doubt = match (policy, trust) {
            (TlsPolicy::Verify, _) => None,
            (_, Ok(trust)) => doubt(&stream, &name, &trust.verifier),
            (_, Err(why)) => Some(why),
        };
        let secured = Secured { facts: Facts::of(&stream), doubt };
        Ok((Link::Secured(Box::new(stream)), secured))
    }

    async fn trust(&self, authorities: Option<&Arc<Authorities>>) -> Result<Trust, String> {
        let key = authorities.cloned();
        let now = clock::instant();
        let known = {
            let trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
            trusts.get(&key).filter(|trust| now.duration_since(trust.since) < TRUST_TIME).cloned()
        };
        if let Some(trust) = known {
            return Ok(trust);
        }
        let wanted = key.clone();
        // The system's authorities are a hundred files.
        let made = tokio::task::spawn_blocking(move || trust(wanted.as_deref(), now)).await;
        let made = made.unwrap_or_else(|error| Err(error.to_string()))?;
        let mut trusts = self.trusts.lock().unwrap_or_else(PoisonError::into_inner);
        if trusts.len() >= TRUSTS_MAX {
            trusts.clear();
        }
        trusts.insert(key, made.clone());
        Ok(made)
    }
}

fn trust(authorities: Option<&Authorities>, since: Instant) -> Result<Trust, String> {
    let own = authorities.into_iter().flat_map(|authorities| &authorities.certificates);
    let own: Vec<_> = own.map(|octets| CertificateDer::from(octets.clone())).collect();
    let provider = Arc::new(default_provider());
    let verifier = Verifier::new_with_extra_roots(own, provider)
        .map_err(|error| format!("no authorities to trust: {error}; install ca-certificates"))?;
    let verifier = Arc::new(verifier);
    let shared = Arc::clone(&verifier);
    let pair = pair(move |_| Arc::clone(&shared) as Arc<dyn ServerCertVerifier>);
    Ok(Trust { verifier, pair, since })
}

fn pair(verifier: impl Fn(Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier>) -> Pair {
    let hybrid = default_provider();
    let mut classic = hybrid.clone();
    classic.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
    [hybrid, classic].map(|provider| {
        let provider = Arc::new(provider);
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the default provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier(provider))
            .with_no_client_auth();
        Arc::new(config)
    })
}

/// What is wrong with the certificate of a connection where anybody is believed.
fn doubt<S>(stream: &TlsStream<S>, name: &ServerName<'_>, verifier: &Verifier) -> Option<String> {
    let (_, state) = stream.get_ref();
    let (certificate, others) = state.peer_certificates()?.split_first()?;
    let verified = verifier.verify_server_cert(certificate, others, name, &[], UnixTime::now());
    verified.err().map(|error| error.to_string())
}

fn fault(error: &std::io::Error) -> Fault {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(why)) => {
            Fault { why: format!("its certificate can't be relied on: {why}"), is_final: true }
        }
        Some(cause) => Fault { why: format!("the TLS handshake failed: {cause}"), is_final: false },
        None => Fault { why: format!("the TLS handshake failed: {error}"), is_final: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_may_ends_in_clear() {
        let way = |policy| {
            std::iter::successors(Some(Fallback::None), |fallback| fallback.next(policy)).last()
        };
        assert_eq!(way(TlsPolicy::May), Some(Fallback::InClear));
        assert_eq!(way(TlsPolicy::Encrypt), Some(Fallback::WithoutHybrid));
        assert_eq!(way(TlsPolicy::Verify), Some(Fallback::WithoutHybrid));
    }

    #[test]
    fn what_was_remembered_of_one_route_opens_no_other() {
        let client = Client::default();
        let hop: NextHop = "smtp://relay.example".parse().unwrap();
        assert_eq!(client.fallback(&hop, TlsPolicy::May), Fallback::None);
        client.remember(&hop, Fallback::InClear);
        assert_eq!(client.fallback(&hop, TlsPolicy::May), Fallback::InClear);
        assert_eq!(client.fallback(&hop, TlsPolicy::Encrypt), Fallback::WithoutHybrid);
        assert_eq!(client.fallback(&hop, TlsPolicy::Verify), Fallback::WithoutHybrid);
    }
}
