//! Handshakes with next hops of every kind, by every policy.
//!
//! Promises that each next hop of the table is really spoken to over a socket, and that what went
//! in clear and what under TLS is known from its side.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use angarium::delivery::dialog::Transaction;
use angarium::delivery::finding::{Finding, NoConnection};
use angarium::delivery::outcome::Outcome;
use angarium::net::connection::{Connection, NoContent, Opening, Times};
use angarium::net::tls::client::Client;
use angarium::route::next_hop::NextHop;
use angarium::route::security::{Authorities, Credential, Security, TlsPolicy};
use base64::Engine;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{NamedGroup, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority of this test.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    fn trusted(&self) -> Option<Arc<Authorities>> {
        let certificates = vec![self.issuer.der().to_vec()];
        Some(Arc::new(Authorities { path: PathBuf::from("/ca.pem"), certificates }))
    }

    /// A server with a certificate for these names.
    fn server(&self, names: &[&str], hybrid: bool, versions: Versions) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let mut provider = default_provider();
        if !hybrid {
            provider.kx_groups.retain(|group| group.name() != NamedGroup::X25519MLKEM768);
        }
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            );
        Arc::new(config.unwrap())
    }
}

type Versions = &'static [&'static SupportedProtocolVersion];
const NEW: Versions = &[&rustls::version::TLS13];
const OLD: Versions = &[&rustls::version::TLS12];

/// How a next hop takes a connection.
#[derive(Clone)]
enum Manner {
    /// Without STARTTLS.
    Clear,
    StartTls(Arc<ServerConfig>),
    Implicit(Arc<ServerConfig>),
    /// Breaks off at the client's hello.
    Broken,
    /// Breaks off at a client's hello that does not fit into one packet.
    Narrow(Arc<ServerConfig>),
    /// Says more after its 220 in clear.
    Injecting(Arc<ServerConfig>),
}

/// What was heard, and whether under TLS.
type Heard = Arc<Mutex<Vec<(bool, String)>>>;

struct Hop {
    address: SocketAddr,
    heard: Heard,
}

impl Hop {
    async fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let shared = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, heard }
    }

    fn hop(&self, scheme: &str, host: &str) -> NextHop {
        format!("{scheme}://{host}:{}", self.address.port()).parse().unwrap()
    }

    fn heard(&self, secured: bool) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|(under, _)| *under == secured).map(|(_, line)| line.clone()).collect()
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, heard: Heard) {
    if let Manner::Implicit(config) = &manner {
        let Ok(stream) = TlsAcceptor::from(Arc::clone(config)).accept(stream).await else { return };
        talk(stream, true, false, true, heard).await;
        return;
    }
    let offers = !matches!(manner, Manner::Clear);
    if talk(&mut stream, false, offers, true, Arc::clone(&heard)).await.is_none() {
        return;
    }
    let config = match &manner {
        Manner::StartTls(config) => config,
        Manner::Narrow(config) => {
            let mut hello = [0; 2048];
            tokio::time::sleep(Duration::from_millis(100)).await;
            if stream.peek(&mut hello).await.unwrap_or(0) > 1400 {
                return;
            }
            config
        }
        Manner::Injecting(config) => {
            // Some clients would take it for the answer to their next command.
            let _ = stream.write_all(b"250 AUTH PLAIN\r\n").await;
            config
        }
        Manner::Broken | Manner::Clear | Manner::Implicit(_) => return,
    };
    let Ok(stream) = TlsAcceptor::from(Arc::clone(config)).accept(stream).await else { return };
    talk(stream, true, false, false, heard).await;
}

/// Speaks SMTP until STARTTLS or the end; `Some` after the 220 to STARTTLS.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    secured: bool,
    offers: bool,
    greets: bool,
    heard: Heard,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    if greets {
        stream.write_all(b"220 hi\r\n").await.ok()?;
    }
    loop {
        stream.flush().await.ok()?;
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        heard.lock().unwrap().push((secured, line.clone()));
        let reply = match line.split(' ').next().unwrap_or_default() {
            "EHLO" if offers => "250-hi\r\n250 STARTTLS\r\n",
            "EHLO" if secured => "250-hi\r\n250-AUTH PLAIN\r\n250 SIZE\r\n",
            "EHLO" => "250 hi\r\n",
            "STARTTLS" => "220 go\r\n",
            "AUTH" => "235 2.7.0 in\r\n",
            _ => "250 ok\r\n",
        };
        stream.write_all(reply.as_bytes()).await.ok()?;
        if line == "STARTTLS" {
            stream.flush().await.ok()?;
            return Some(());
        }
    }
}

fn times() -> Times {
    let long = Duration::from_secs(20);
    Times {
        connect: long,
        greeting: long,
        command: long,
        data_initiation: long,
        data_block: long,
        data_termination: long,
        keep_idle: long,
    }
}

async fn open(
    client: &Client,
    next_hop: &NextHop,
    security: &Security,
) -> Result<Connection, NoConnection> {
    let (hostname, times) = ("mx.example", times());
    Opening { next_hop, security, hostname, times, tls: client }.open().await
}

/// What came of it: "clear", "unverified", "verified", or why there is no connection.
async fn tried(next_hop: &NextHop, security: &Security) -> String {
    match open(&Client::default(), next_hop, security).await {
        Ok(mut connection) => {
            connection.ask("a@d.example").await.expect("a transaction");
            match connection.secured() {
                None => "clear".to_owned(),
                Some(secured) if secured.doubt.is_some() => "unverified".to_owned(),
                Some(_) => "verified".to_owned(),
            }
        }
        Err(NoConnection { outcome: Outcome::Deferred(why), finding: Finding::Unreachable(_) }) => {
            why
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// What each policy comes to, from "off" to "verify".
async fn each(hop: &Hop, next_hop: &NextHop, ca: &Authority, expected: [&str; 4]) {
    use TlsPolicy::{Encrypt, May, Off, Verify};
    for (tls, expected) in [Off, May, Encrypt, Verify].into_iter().zip(expected) {
        hop.heard.lock().unwrap().clear();
        let security = Security { tls, authorities: ca.trusted(), credential: None };
        let found = tried(next_hop, &security).await;
        assert!(found.contains(expected), "{tls:?} to {next_hop}: {found}, not {expected}");
        let in_clear = hop.heard(false).iter().any(|line| line.starts_with("MAIL"));
        assert_eq!(in_clear, expected == "clear", "{tls:?} to {next_hop}: {:?}", hop.heard(false));
    }
}

#[tokio::test]
async fn each_policy_gets_from_each_next_hop_what_it_asks_for() {
    // Checks: L07
    let (ca, other) = (Authority::new(), Authority::new());
    let absent = "4.7.10 it offers no STARTTLS";
    let failed = "4.7.10 the TLS handshake failed";
    let bad = "4.7.10 its certificate can't be relied on";
    let right = ca.server(&["localhost", "127.0.0.1"], true, NEW);
    let of_other = other.server(&["localhost"], true, NEW);
    let misnamed = ca.server(&["else.example"], true, NEW);
    for (manner, expected) in [
        (Manner::Clear, ["clear", "clear", absent, absent]),
        (Manner::StartTls(Arc::clone(&right)), ["clear", "verified", "verified", "verified"]),
        (
            Manner::StartTls(ca.server(&["localhost"], false, OLD)),
            ["clear", "verified", "verified", "verified"],
        ),
        (Manner::StartTls(of_other), ["clear", "unverified", "unverified", bad]),
        (Manner::StartTls(misnamed), ["clear", "unverified", "unverified", bad]),
        (Manner::Broken, ["clear", "clear", failed, failed]),
        (Manner::Narrow(right), ["clear", "verified", "verified", "verified"]),
    ] {
        let hop = Hop::new(manner).await;
        each(&hop, &hop.hop("smtp", "localhost"), &ca, expected).await;
    }
}

#[tokio::test]
async fn addresses_are_verified_by_the_addresses_in_a_certificate() {
    let ca = Authority::new();
    let bad = "4.7.10 its certificate can't be relied on";
    for (names, expected) in [(["127.0.0.1"], "verified"), (["localhost"], bad)] {
        let hop = Hop::new(Manner::StartTls(ca.server(&names, true, NEW))).await;
        let asked =
            Security { tls: TlsPolicy::Verify, authorities: ca.trusted(), credential: None };
        let found = tried(&hop.hop("smtp", "127.0.0.1"), &asked).await;
        assert!(found.contains(expected), "{found}");
    }
}

#[tokio::test]
async fn implicit_tls_has_no_way_back() {
    let ca = Authority::new();
    let hop = Hop::new(Manner::Implicit(ca.server(&["localhost"], true, NEW))).await;
    let next_hop = hop.hop("smtps", "localhost");
    for tls in [TlsPolicy::May, TlsPolicy::Verify] {
        let security = Security { tls, authorities: ca.trusted(), credential: None };
        assert_eq!(tried(&next_hop, &security).await, "verified");
    }
    assert_eq!(hop.heard(false), Vec::<String>::new());
    let clear = Hop::new(Manner::Clear).await;
    let found = tried(&clear.hop("smtps", "localhost"), &Security::default()).await;
    assert!(found.starts_with("4.7.10 the TLS handshake failed"), "{found}");
    assert!(found.contains("use smtp://"), "{found}");
    assert!(clear.heard(false).iter().all(|line| !line.starts_with("EHLO")));
}

/// Checks: CVE-2011-0411
#[tokio::test]
async fn octets_before_the_handshake_never_count() {
    // Checks: L05
    let ca = Authority::new();
    let hop = Hop::new(Manner::Injecting(ca.server(&["localhost"], true, NEW))).await;
    let next_hop = hop.hop("smtp", "localhost");
    for tls in [TlsPolicy::Encrypt, TlsPolicy::Verify] {
        let security = Security { tls, authorities: ca.trusted(), credential: None };
        let found = tried(&next_hop, &security).await;
        assert!(found.starts_with("4.7."), "{found}");
    }
    assert_eq!(hop.heard(true), Vec::<String>::new(), "no word was said under TLS");
}

#[tokio::test]
async fn what_a_next_hop_fails_at_is_remembered() {
    let ca = Authority::new();
    let (client, may) = (Client::default(), Security::default());
    let hop = Hop::new(Manner::Broken).await;
    let next_hop = hop.hop("smtp", "127.0.0.1");
    for tries in [2, 0] {
        hop.heard.lock().unwrap().clear();
        assert!(open(&client, &next_hop, &may).await.unwrap().secured().is_none());
        let starttls = hop.heard(false).iter().filter(|line| *line == "STARTTLS").count();
        assert_eq!(starttls, tries);
    }
    let narrow = Hop::new(Manner::Narrow(ca.server(&["127.0.0.1"], true, NEW))).await;
    let next_hop = narrow.hop("smtp", "127.0.0.1");
    for tries in [2, 1] {
        narrow.heard.lock().unwrap().clear();
        let connection = open(&client, &next_hop, &may).await.unwrap();
        let group = connection.secured().unwrap().facts.group.clone();
        assert!(group.is_none_or(|group| group != "X25519MLKEM768"));
        let starttls = narrow.heard(false).iter().filter(|line| *line == "STARTTLS").count();
        assert_eq!(starttls, tries);
    }
}

#[tokio::test]
async fn the_hybrid_group_is_used_and_sessions_are_taken_up_again() {
    let ca = Authority::new();
    let hop = Hop::new(Manner::StartTls(ca.server(&["localhost"], true, NEW))).await;
    let next_hop = hop.hop("smtp", "localhost");
    let client = Client::default();
    for tls in [TlsPolicy::May, TlsPolicy::Verify] {
        let security = Security { tls, authorities: ca.trusted(), credential: None };
        for resumed in [false, true] {
            let mut connection = open(&client, &next_hop, &security).await.unwrap();
            connection.ask("a@d.example").await.unwrap();
            let secured = connection.secured().unwrap();
            assert_eq!(secured.facts.resumed, resumed);
            assert_eq!(secured.doubt, None, "also of a session taken up");
            let words = secured.to_string();
            assert!(words.starts_with("TLSv1.3 TLS_AES_") && words.ends_with(" verified"));
            if !resumed {
                assert_eq!(secured.facts.group.as_deref(), Some("X25519MLKEM768"));
            }
            connection.quit().await;
        }
    }
}

#[tokio::test]
async fn a_password_is_said_under_verified_tls_alone() {
    let (ca, other) = (Authority::new(), Authority::new());
    let credential =
        Credential { name: "relay".into(), user: "joe".into(), password: "secret".into() };
    let security = Security {
        tls: TlsPolicy::Verify,
        authorities: ca.trusted(),
        credential: Some(Arc::new(credential)),
    };
    let hop = Hop::new(Manner::StartTls(ca.server(&["localhost"], true, NEW))).await;
    let next_hop = hop.hop("smtp", "localhost");
    let mut connection = open(&Client::default(), &next_hop, &security).await.unwrap();
    connection.transact(Transaction::probe("a@d.example"), &mut NoContent).await;
    let sent = base64::engine::general_purpose::STANDARD.encode("\0joe\0secret");
    let heard = hop.heard(true);
    assert_eq!(heard[..2], ["EHLO mx.example".to_owned(), format!("AUTH PLAIN {sent}")]);
    assert_eq!(heard[2], "MAIL FROM:<> AUTH=<>");
    let hop = Hop::new(Manner::StartTls(other.server(&["localhost"], true, NEW))).await;
    let found = tried(&hop.hop("smtp", "localhost"), &security).await;
    assert!(found.starts_with("4.7.10 its certificate"), "{found}");
    assert!(hop.heard.lock().unwrap().iter().all(|(_, line)| !line.starts_with("AUTH")));
}
