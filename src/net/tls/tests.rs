//! Handshakes with real clients over a stream in memory, and certificates in real files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::client::Resumption as Memory;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsConnector;

use super::*;

const CLIENT: &str = "192.0.2.1";
const NOW_S: i64 = 1_795_600_000;

/// A folder with certificates.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes `name.pem` and `name.key`, for these names, good until the year.
    fn write(&self, name: &str, names: &[&str], until: i32) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let chain = params.self_signed(&key).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), chain.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn kept(&self, name: &str) -> Arc<Kept> {
        let chain = Chain::read(&self.path(&format!("{name}.pem"))).unwrap();
        let key = Key::read(&self.path(&format!("{name}.key"))).unwrap();
        Arc::new(Kept::new(name, &chain, &key).unwrap())
    }

    fn one(names: &[&str]) -> (Self, Vec<Arc<Kept>>) {
        let files = Self::new();
        files.write("a", names, 4000);
        let kept = vec![files.kept("a")];
        (files, kept)
    }
}

fn server(certificates: &[Arc<Kept>], handshake_time: Duration) -> Arc<Server> {
    let limits = Limits { total_max: 10, per_client_max: 2 };
    let resumption = Resumption::new().unwrap();
    Arc::new(Server::new(certificates.to_vec(), &resumption, limits, handshake_time).unwrap())
}

/// A client that trusts these certificates.
fn client(trusted: &[Arc<Kept>], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for kept in trusted {
        roots.add(kept.current().certified.cert[0].clone()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

type Both = (Link<DuplexStream>, Facts, Link<DuplexStream>, Facts);

/// A handshake, and a word in each direction.
async fn connect(server: &Server, config: &Arc<ClientConfig>, name: &str) -> Both {
    let (ours, theirs) = duplex(4096);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::clone(config)).connect(name, theirs);
    let accepting = accept(Link::Clear(ours), server, CLIENT.parse().unwrap());
    let (accepted, connected) = tokio::join!(accepting, connecting);
    let (mut accepted, facts) = accepted.unwrap();
    let mut connected = Link::Secured(Box::new(connected.unwrap().into()));
    let mut word = [0; 4];
    accepted.write_all(b"220 ").await.unwrap();
    accepted.flush().await.unwrap();
    connected.read_exact(&mut word).await.unwrap();
    connected.write_all(b"EHLO").await.unwrap();
    connected.flush().await.unwrap();
    accepted.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"EHLO");
    let theirs = connected.facts().unwrap();
    (accepted, facts, connected, theirs)
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn both_sides_agree_on_the_newest_and_export_the_same() {
    let (_files, kept) = Files::one(&["mx.example"]);
    let (server, trusting) = (server(&kept, MINUTE), client(&kept, rustls::ALL_VERSIONS));
    let (link, ours, _, theirs) = connect(&server, &Arc::new(trusting), "mx.example").await;
    assert_eq!((ours.protocol, ours.resumed), ("TLSv1.3", false));
    assert!(ours.cipher.starts_with("TLS_") && ours.cipher.contains("_GCM_SHA"), "{ours:?}");
    assert_eq!(ours.group.as_deref(), Some("X25519MLKEM768"));
    assert_eq!(ours.sni.as_deref(), Some("mx.example"));
    assert!(ours.exporter.is_some_and(|exporter| exporter != [0; 32]));
    assert_eq!(ours.exporter, theirs.exporter);
    assert_eq!(ours.cipher, theirs.cipher);
    assert_eq!(link.facts(), Some(ours));
}

#[tokio::test]
async fn old_clients_get_what_they_know() {
    let (_files, kept) = Files::one(&["mx.example"]);
    let server = server(&kept, MINUTE);
    let old = Arc::new(client(&kept, &[&version::TLS12]));
    let (_, ours, _, _) = connect(&server, &old, "mx.example").await;
    assert_eq!(ours.protocol, "TLSv1.2");
    assert!(ours.cipher.starts_with("TLS_ECDHE_ECDSA_WITH_"), "{ours:?}");
    assert_eq!(ours.exporter, None, "it may bind nothing");
    let (_, again, _, _) = connect(&server, &old, "mx.example").await;
    assert!(again.resumed);

    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    let mut roots = RootCertStore::empty();
    roots.add(kept[0].current().certified.cert[0].clone()).unwrap();
    let classical = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (_, ours, _, _) = connect(&server, &Arc::new(classical), "mx.example").await;
    assert_eq!(ours.group.as_deref(), Some("X25519"));
}

#[tokio::test]
async fn a_session_is_taken_up_where_the_keys_are_shared_and_only_there() {
    let (_files, kept) = Files::one(&["mx.example"]);
    let limits = Limits { total_max: 10, per_client_max: 2 };
    let shared = Resumption::new().unwrap();
    let new =
        |resumption: &Resumption| Server::new(kept.clone(), resumption, limits, MINUTE).unwrap();
    let trusting = Arc::new(client(&kept, &[&version::TLS13]));
    assert!(!connect(&new(&shared), &trusting, "mx.example").await.1.resumed);
    // As after a reload.
    let (_, ours, _, theirs) = connect(&new(&shared), &trusting, "mx.example").await;
    assert!(ours.resumed && theirs.resumed);
    assert_eq!(ours.exporter, theirs.exporter);
    let other = Resumption::new().unwrap();
    assert!(!connect(&new(&other), &trusting, "mx.example").await.1.resumed);
    let mut forgetful = client(&kept, &[&version::TLS13]);
    forgetful.resumption = Memory::disabled();
    assert!(!connect(&new(&shared), &Arc::new(forgetful), "mx.example").await.1.resumed);
}

/// The certificate that a client gets who asks for this name.
async fn shown(server: &Server, trusted: &[Arc<Kept>], name: &str) -> String {
    let mut config = client(trusted, rustls::ALL_VERSIONS);
    config.resumption = Memory::disabled();
    let (_, _, connected, _) = connect(server, &Arc::new(config), name).await;
    let Link::Secured(stream) = connected else { unreachable!() };
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let kept = trusted.iter().find(|kept| kept.current().certified.cert[0] == shown).unwrap();
    kept.name.clone()
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let files = Files::new();
    files.write("first", &["mx.example", "192.0.2.9"], 4000);
    files.write("wild", &["*.example.net"], 4000);
    files.write("exact", &["smtp.example.net", "Imap.Example.NET"], 4000);
    let kept = ["first", "wild", "exact"].map(|name| files.kept(name));
    let server = server(&kept, MINUTE);
    for (name, expected) in [
        ("mx.example", "first"),
        ("a.example.net", "wild"),
        ("smtp.example.net", "exact"),
        ("imap.example.net", "exact"),
    ] {
        assert_eq!(shown(&server, &kept, name).await, expected, "{name}");
    }
    // An address can't be asked for.
    assert_eq!(shown(&server, &kept, "192.0.2.9").await, "first");
    for deeper in ["b.a.example.net", "example.net", "other.example"] {
        assert!(kept.iter().all(|kept| kept.current().fit(deeper) == certificate::Fit::Other));
    }
}

#[tokio::test]
async fn changed_files_are_taken_once_they_rest_and_bad_ones_leave_the_old() {
    let files = Files::new();
    files.write("a", &["old.example"], 4000);
    let kept = vec![files.kept("a")];
    let server = server(&kept, MINUTE);
    assert!(kept[0].look().is_none(), "nothing has changed");

    // Only the chain is new: half a renewal.
    files.write("b", &["new.example"], 4000);
    std::fs::rename(files.path("b.pem"), files.path("a.pem")).unwrap();
    assert!(kept[0].look().is_none(), "it may be half written");
    let why = kept[0].look().unwrap().unwrap_err();
    assert!(why.ends_with("a.key: it belongs to another certificate"), "{why}");
    assert!(kept[0].look().is_none(), "it was told");
    assert_eq!(shown(&server, &kept, "old.example").await, "a");

    std::fs::rename(files.path("b.key"), files.path("a.key")).unwrap();
    assert!(kept[0].look().is_none());
    let taken = kept[0].look().unwrap().unwrap();
    assert_eq!(taken.fingerprint, kept[0].current().fingerprint);
    assert_eq!(shown(&server, &kept, "new.example").await, "a");

    std::fs::remove_file(files.path("a.pem")).unwrap();
    assert!(kept[0].look().is_none());
    assert!(kept[0].look().unwrap().is_err());
    assert_eq!(shown(&server, &kept, "new.example").await, "a");
}

#[test]
fn a_link_that_leads_elsewhere_is_a_change() {
    let files = Files::new();
    files.write("1", &["one.example"], 4000);
    files.write("2", &["two.example"], 4000);
    let point = |to: &str| {
        for end in ["pem", "key"] {
            let link = files.path(&format!("live.{end}"));
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(files.path(&format!("{to}.{end}")), link).unwrap();
        }
    };
    point("1");
    let kept = files.kept("live");
    point("2");
    assert!(kept.look().is_none());
    assert!(kept.look().unwrap().is_ok());
    assert_eq!(kept.current().fit("two.example"), certificate::Fit::Exact);
}

#[test]
fn the_end_of_a_certificate_is_told_before_it_comes() {
    let files = Files::new();
    files.write("a", &["mx.example"], 2030);
    let certificate = files.kept("a").current();
    let end = certificate.not_after_s;
    assert_eq!(end, 1_893_456_000);
    let day = 86_400;
    assert_eq!(certificate.doubt(end - 30 * day), None);
    assert_eq!(certificate.doubt(end - 3 * day).unwrap(), "it expires in 3 days");
    assert_eq!(certificate.doubt(end + 2 * day).unwrap(), "it has expired, 2 days ago");
    assert!(certificate.doubt(certificate.not_before_s - 1).unwrap().contains("not valid yet"));
    assert_eq!(certificate.fingerprint.len(), 64);
}

#[test]
fn what_is_no_pair_is_told_with_the_file_that_is_wrong() {
    let files = Files::new();
    files.write("a", &["a.example"], 4000);
    files.write("b", &["b.example"], 4000);
    let chain = |path: &Path| Chain::read(path);
    let (a, b) = (chain(&files.path("a.pem")).unwrap(), Key::read(&files.path("b.key")).unwrap());
    let foreign = Unfit::Key("it belongs to another certificate".to_owned());
    assert_eq!(Certificate::new(&a, &b).unwrap_err(), foreign);
    let none = "there is no certificate in it";
    assert_eq!(chain(&files.path("a.key")).unwrap_err(), none);
    assert_eq!(Key::read(&files.path("a.pem")).unwrap_err(), "there is no private key in it");
    let text = std::fs::read_to_string(files.path("a.key")).unwrap();
    let cut = files.path("cut.key");
    std::fs::write(&cut, &text[..text.len() / 2]).unwrap();
    assert_eq!(Key::read(&cut).unwrap_err(), "a section of it has no end");
    let locked = text.replace(" PRIVATE KEY", " ENCRYPTED PRIVATE KEY");
    std::fs::write(&cut, locked).unwrap();
    assert!(Key::read(&cut).unwrap_err().contains("password"));
    let junk = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    std::fs::write(&cut, junk).unwrap();
    let unfit = Certificate::new(&chain(&cut).unwrap(), &b).unwrap_err();
    assert_eq!(unfit, Unfit::Chain("it is no X.509 certificate".to_owned()));
}

#[test]
fn the_own_certificate_stays_until_it_does_not_fit() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    let open = |hostname| self_signed::open(files.0.path(), hostname, NOW_S).unwrap();
    let (first, made) = open("mx.example");
    assert!(made);
    let mode = std::fs::metadata(files.path("self-signed.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (second, made) = open("mx.example");
    assert!(!made);
    assert_eq!(first.current().fingerprint, second.current().fingerprint);
    assert!(first.current().doubt(NOW_S).is_none());
    let (third, made) = open("mail.example");
    assert!(made && third.current().fit("mail.example") == certificate::Fit::Exact);
    let later = third.current().not_after_s + 1;
    assert!(self_signed::open(files.0.path(), "mail.example", later).unwrap().1);
}

#[tokio::test]
async fn a_handshake_ends_in_time() {
    let (_files, kept) = Files::one(&["mx.example"]);
    let server = server(&kept, Duration::from_millis(30));
    let (ours, theirs) = duplex(4096);
    let fault = accept(Link::Clear(ours), &server, CLIENT.parse().unwrap()).await.unwrap_err();
    assert_eq!(fault.to_string(), "the handshake was not done within 30ms");
    drop(theirs);
}

#[tokio::test]
async fn the_oldest_of_too_many_is_given_up() {
    let (_files, kept) = Files::one(&["mx.example"]);
    let server = server(&kept, MINUTE);
    let mut silent = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let (ours, theirs) = duplex(4096);
        silent.push(theirs);
        let server = Arc::clone(&server);
        waiting.push(tokio::spawn(async move {
            accept(Link::Clear(ours), &server, CLIENT.parse().unwrap()).await.unwrap_err()
        }));
        tokio::task::yield_now().await;
    }
    let trusting = Arc::new(client(&kept, rustls::ALL_VERSIONS));
    let (_, facts, _, _) = connect(&server, &trusting, "mx.example").await;
    assert_eq!(facts.protocol, "TLSv1.3");
    let fault = waiting.remove(0).await.unwrap();
    assert_eq!(fault.to_string(), "the handshake was the oldest of too many");
    assert!(!waiting[0].is_finished());
    waiting[0].abort();
}

#[tokio::test]
async fn what_breaks_a_handshake_is_told_in_words() {
    let (files, kept) = Files::one(&["mx.example"]);
    let server = server(&kept, MINUTE);
    for (said, expected) in [
        (&b"EHLO c.example\r\n"[..], "the client does not speak TLS"),
        (&b"\x16\x03\x01\x02\x00\x01"[..], "the client closed the connection in the handshake"),
    ] {
        let (ours, mut theirs) = duplex(4096);
        theirs.write_all(said).await.unwrap();
        theirs.shutdown().await.unwrap();
        let fault = accept(Link::Clear(ours), &server, CLIENT.parse().unwrap()).await.unwrap_err();
        assert_eq!(fault.to_string(), expected);
    }
    files.write("b", &["mx.example"], 4000);
    let distrusting = Arc::new(client(&[files.kept("b")], rustls::ALL_VERSIONS));
    let (ours, theirs) = duplex(4096);
    let name = ServerName::try_from("mx.example").unwrap();
    let connecting = TlsConnector::from(distrusting).connect(name, theirs);
    let accepting = accept(Link::Clear(ours), &server, CLIENT.parse().unwrap());
    let (accepted, connected) = tokio::join!(accepting, connecting);
    assert!(connected.is_err());
    let why = accepted.unwrap_err().to_string();
    assert!(why.starts_with("the client does not trust the certificate ("), "{why}");
}

/// What a client sends first.
fn client_hello(config: ClientConfig) -> Vec<u8> {
    let name = ServerName::try_from("mx.example").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut octets = Vec::new();
    connection.write_tls(&mut octets).unwrap();
    octets
}

#[tokio::test]
async fn a_connection_in_place_is_gone_during_its_handshake_and_after_a_failed_one() {
    let (_files, kept) = Files::one(&["mx.example"]);
    let server = server(&kept, MINUTE);
    let (ours, mut theirs) = duplex(4096);
    let mut link = Link::Clear(ours);
    theirs.write_all(b"EHLO c.example\r\n").await.unwrap();
    assert!(accept(link.take_out(), &server, CLIENT.parse().unwrap()).await.is_err());
    assert_eq!(link.read(&mut [0]).await.unwrap(), 0);
    assert!(link.write_all(b"220").await.is_err());
    assert!(link.facts().is_none());
    let again = accept(link.take_out(), &server, CLIENT.parse().unwrap()).await.unwrap_err();
    assert!(matches!(again, HandshakeFault::Twice));
}

#[tokio::test]
async fn broken_hellos_are_refused_one_and_all() {
    let (_files, kept) = Files::one(&["mx.example"]);
    let server = server(&kept, MINUTE);
    let hello = client_hello(client(&kept, rustls::ALL_VERSIONS));
    let mut random = fastrand::Rng::with_seed(1);
    let cut = (0..hello.len()).step_by(9).map(|end| hello[..end].to_vec());
    let flipped = (0..300).map(|_| {
        let mut octets = hello.clone();
        octets[random.usize(..hello.len())] ^= 1 << random.u8(..8);
        octets
    });
    for octets in cut.collect::<Vec<_>>().into_iter().chain(flipped) {
        let (ours, mut theirs) = duplex(64 * 1024);
        theirs.write_all(&octets).await.unwrap();
        theirs.shutdown().await.unwrap();
        let fault = accept(Link::Clear(ours), &server, CLIENT.parse().unwrap()).await.unwrap_err();
        assert!(matches!(fault, HandshakeFault::Failed(_)), "{fault}");
    }
}
