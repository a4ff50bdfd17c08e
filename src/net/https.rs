//! A small HTTPS client for what must be known to do the work: GET, the answer as a whole.
//!
//! Promises a bound on the answer's size and on the time of all of it, a verified server, and that
//! no answer leads to another host.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CACHE_CONTROL, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::stream;
use crate::route::next_hop::Place;

/// How long a question may take, redirections included.
const QUESTION_TIME: Duration = Duration::from_secs(10);
/// How long one address of the server may take to be connected to.
const CONNECT_TIME: Duration = Duration::from_secs(4);
/// The largest answer, in octets.
const ANSWER_OCTETS_MAX: usize = 1024 * 1024;
/// The longest head of an answer, in octets.
const HEAD_OCTETS_MAX: usize = 64 * 1024;
const REDIRECTIONS_MAX: usize = 3;

/// An answer with status 200.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The whole body.
    pub body: Bytes,
    /// For how long it is good, if the server said so (RFC 9111 5.2.2.1).
    pub max_age: Option<Duration>,
}

/// A client; clones share what they trust.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts the roots of the system, and these.
    ///
    /// # Errors
    /// A sentence: there are no roots at all, or one of these is none.
    pub fn new(roots: &[CertificateDer<'static>]) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(roots.to_vec(), Arc::clone(&provider))
            .map_err(|error| format!("no certificate authority can be trusted: {error}"))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS can't be set up: {error}"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Asks for `url`.
    ///
    /// # Errors
    /// A sentence: who could not be asked, and why.
    pub async fn get(&self, url: &str) -> Result<Answer, String> {
        match timeout(QUESTION_TIME, self.follow(url)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(format!("{url}: {why}")),
            Err(_) => Err(format!("{url}: no answer within {} seconds", QUESTION_TIME.as_secs())),
        }
    }

    async fn follow(&self, url: &str) -> Result<Answer, String> {
        let mut url = parse_url(url)?;
        for _ in 0..=REDIRECTIONS_MAX {
            let response = self.ask(&url).await?;
            let status = response.status();
            if status.is_redirection() {
                url = redirected(&url, &response)?;
                continue;
            }
            if status.as_u16() != 200 {
                return Err(format!("the answer is {status}"));
            }
            let max_age = max_age(&response);
            let body = Limited::new(response.into_body(), ANSWER_OCTETS_MAX).collect().await;
            let body = body.map_err(|error| format!("the answer can't be read: {error}"))?;
            return Ok(Answer { body: body.to_bytes(), max_age });
        }
        Err(format!("over {REDIRECTIONS_MAX} redirections"))
    }

    async fn ask(&self, url: &Uri) -> Result<Response<Incoming>, String> {
        let (host, authority) = (host(url)?, url.authority().ok_or("no host")?);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "no host name")?;
        let port = url.port_u16().unwrap_or(443);
        let stream = connect(&Place::Tcp { host: host.to_owned(), port }).await?;
        let stream = self.connector.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("no TLS: {error}"))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_OCTETS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("no HTTP: {error}"))?;
        // It ends with the answer, or when that is given up.
        tokio::spawn(connection);
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(HOST, authority.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("angarium/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|error| format!("it can't be asked for: {error}"))?;
        sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))
    }
}

/// An `https` URL with a host, and nothing else.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("it is no URL: {error}"))?;
    if url.scheme_str() != Some("https") {
        return Err("it must begin with https://".to_owned());
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') || host(&url)?.is_empty() {
        return Err("after https:// comes the name of a host".to_owned());
    }
    Ok(url)
}

/// The host, an IPv6 address without its brackets.
fn host(url: &Uri) -> Result<&str, String> {
    let host = url.host().ok_or("it has no host")?;
    Ok(host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host))
}

async fn connect(place: &Place) -> Result<stream::Stream, String> {
    let mut why = String::new();
    for address in stream::addresses(place, CONNECT_TIME).await? {
        match stream::connect(&address, CONNECT_TIME).await {
            Ok(stream) => return Ok(stream),
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

/// Where an answer leads: another path of the same host.
fn redirected(url: &Uri, response: &Response<Incoming>) -> Result<Uri, String> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or("a redirection to nowhere")?;
    let there = if location.starts_with('/') && !location.starts_with("//") {
        let authority = url.authority().map_or("", |authority| authority.as_str());
        parse_url(&format!("https://{authority}{location}"))?
    } else {
        parse_url(location)?
    };
    let same = (there.host(), there.port_u16()) == (url.host(), url.port_u16());
    if same { Ok(there) } else { Err(format!("a redirection to another host, {location}")) }
}

fn max_age(response: &Response<Incoming>) -> Option<Duration> {
    let values = response.headers().get_all(CACHE_CONTROL).iter();
    let mut directives =
        values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    directives.find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        let seconds = seconds.trim().trim_matches('"').parse().ok()?;
        name.trim().eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_with_a_host_is_taken() {
        assert_eq!(host(&parse_url("https://[2001:db8::1]:8443/x").unwrap()), Ok("2001:db8::1"));
        assert!(parse_url("https://id.example.org").is_ok());
        for bad in ["http://id.example.org", "id.example.org", "https://", "/x", "https://a@b/", ""]
        {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
