//! GNU SASL's own client: SCRAM with and without channel binding against the whole daemon, and with
//! somebody between the two.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Hosted, NAME, PASSWORD, USER, run};
use crate::require_peers;
use crate::support::tls::{SecureClient, trusting};

/// A login over STARTTLS: whether it is done, and the dialogue.
fn login(folder: &Path, place: SocketAddr, password: &str, mechanism: &[&str]) -> (bool, String) {
    let server = format!("--connect={NAME}:{}", place.port());
    let who = ["--smtp", "--verbose", &server, "-a", USER, "-p", password];
    run(folder, "gsasl", &[&who[..], &["--x509-ca-file=mx.pem", "-m"], mechanism].concat())
}

/// Takes one client by STARTTLS with the key of the true server, and passes on what it says to
/// that server. Returns how the dialogue began.
fn stand_between(folder: &Path, server: SocketAddr) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let (chain, key) = (folder.join("mx.pem"), folder.join("mx.key"));
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let stolen = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&chain).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    let trusted = trusting(&chain);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap();
    let between = std::thread::spawn(move || {
        let mut upstream = SecureClient::connect(server, &trusted, NAME).unwrap();
        upstream.reply().unwrap();
        let wire = take_starttls(listener.accept().unwrap().0);
        let session = ServerConnection::new(Arc::new(stolen)).unwrap();
        let mut client = BufReader::new(StreamOwned::new(session, wire));
        let (mut said, mut line) = (Vec::new(), String::new());
        while client.read_line(&mut line).is_ok_and(|octets| octets > 0) {
            let Ok(reply) = upstream.command(line.trim_end()) else { break };
            said.push(std::mem::take(&mut line));
            // Its space at the end is lost with the line end.
            let reply = reply.join("\r\n") + if reply == ["334"] { " \r\n" } else { "\r\n" };
            if client.get_mut().write_all(reply.as_bytes()).is_err() {
                break;
            }
        }
        said
    });
    (place, between)
}

/// A server's side of STARTTLS in clear, up to the handshake.
fn take_starttls(mut wire: TcpStream) -> TcpStream {
    wire.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    wire.write_all(b"220 mx\r\n").unwrap();
    let mut input = BufReader::new(wire.try_clone().unwrap());
    for reply in ["250-mx\r\n250-STARTTLS\r\n250 AUTH SCRAM-SHA-256\r\n", "220 go on\r\n"] {
        let mut line = String::new();
        input.read_line(&mut line).unwrap();
        wire.write_all(reply.as_bytes()).unwrap();
    }
    assert!(input.buffer().is_empty(), "the client does not wait");
    wire
}

#[test]
fn gsasl_binds_its_login_to_the_tls_session() {
    require_peers!();
    let hosted = Hosted::start();
    let folder = hosted.folder();
    std::fs::write(folder.join("message"), "").unwrap();
    let (plus, bare) = (&["SCRAM-SHA-256-PLUS"][..], &["SCRAM-SHA-256", "--no-cb"][..]);
    for (mechanism, password) in
        [(plus, PASSWORD), (bare, PASSWORD), (plus, "wrong"), (bare, "wrong")]
    {
        let (done, said) = login(&folder, hosted.starttls, password, mechanism);
        assert_eq!(done, password == PASSWORD, "{mechanism:?}: {said}");
        assert_eq!(said.contains("(server trusted)"), done, "{said}");
        assert!(done || said.contains("535 5.7.8 "), "{said}");
        assert!(hosted.has_seen(mechanism[0]));
    }
}

#[test]
fn a_login_bound_to_another_tls_session_is_refused() {
    require_peers!();
    let hosted = Hosted::start();
    let folder = hosted.folder();
    std::fs::write(folder.join("message"), "").unwrap();
    // Without a binding the client cannot notice.
    for (mechanism, taken) in
        [(&["SCRAM-SHA-256-PLUS"][..], false), (&["SCRAM-SHA-256", "--no-cb"][..], true)]
    {
        let (place, between) = stand_between(&folder, hosted.implicit);
        let (done, dialogue) = login(&folder, place, PASSWORD, mechanism);
        let said = between.join().unwrap();
        assert_eq!(done, taken, "{mechanism:?}: {dialogue}");
        assert_eq!(dialogue.contains("535 5.7.8 "), !taken, "{dialogue}");
        let named = format!("AUTH {}\r\n", mechanism[0]);
        assert!(said.contains(&named), "{said:?}");
        assert_eq!(hosted.has_seen(mechanism[0]), taken, "{}", hosted.daemon.log());
    }
}
