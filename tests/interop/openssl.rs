//! Our handshake beside OpenSSL's: what both export for channel binding, and sessions taken up.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use angarium::net::tls::{self, Chain, Facts, Kept, Key, Limits, Link, Resumption, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::support::temporary_directory;
use super::support::tls::write_certificate;
use crate::require_peers;

const NAME: &str = "mx.example";

fn server(folder: &Path) -> Server {
    let (chain, key) = (folder.join("mx.pem"), folder.join("mx.key"));
    write_certificate(&chain, &key, NAME);
    let kept = Kept::new("mx", &Chain::read(&chain).unwrap(), &Key::read(&key).unwrap()).unwrap();
    let limits = Limits { total_max: 4, per_client_max: 4 };
    let time = Duration::from_secs(20);
    Server::new(vec![Arc::new(kept)], &Resumption::new().unwrap(), limits, time).unwrap()
}

/// A session of `openssl s_client` until we close it: our facts, and what it printed.
fn converse(server: &Server, folder: &Path, arguments: &[&str]) -> (Facts, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut command = Command::new("timeout");
        command.args(["20", "openssl", "s_client", "-connect", &address, "-servername", NAME]);
        command.args(["-CAfile", "mx.pem", "-verify_return_error", "-keymatexportlen", "32"]);
        command.args(["-keymatexport", "EXPORTER-Channel-Binding"]).args(arguments);
        command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Its standard input stays open until it ends.
        let mut client = command.stderr(Stdio::piped()).spawn().unwrap();
        let input = client.stdin.take();
        let (stream, peer) = listener.accept().await.unwrap();
        let (mut link, facts) = tls::accept(Link::Clear(stream), server, peer.ip()).await.unwrap();
        link.write_all(b"220 mx.example\r\n").await.unwrap();
        link.flush().await.unwrap();
        link.shutdown().await.unwrap();
        let output = client.wait_with_output().unwrap();
        drop(input);
        (facts, String::from_utf8_lossy(&output.stdout).into_owned())
    })
}

#[test]
fn openssl_exports_what_we_export_and_comes_back_to_its_session() {
    require_peers!();
    let folder = temporary_directory();
    let server = server(folder.path());
    let (first, said) = converse(&server, folder.path(), &["-sess_out", "session"]);
    assert_eq!((first.protocol, first.sni.as_deref()), ("TLSv1.3", Some(NAME)), "{said}");
    assert!(!first.resumed && said.contains("Verify return code: 0 (ok)"), "{said}");
    let exported = |facts: &Facts| {
        let octets = facts.exporter.unwrap();
        let hex: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
        format!("Keying material: {hex}\n")
    };
    assert!(said.contains(&exported(&first)), "{said}");

    let (second, said) = converse(&server, folder.path(), &["-sess_in", "session"]);
    assert!(second.resumed && said.contains("Reused, TLSv1.3"), "{said}");
    assert!(said.contains(&exported(&second)) && first.exporter != second.exporter, "{said}");

    let (old, said) = converse(&server, folder.path(), &["-tls1_2"]);
    assert_eq!(old.protocol, "TLSv1.2", "{said}");
    let name = old.cipher.replacen("TLS_", "", 1).replace("_WITH_", "-");
    let name = name.replace('_', "-").replace("AES-", "AES");
    assert!(said.contains(&format!("Cipher is {name}\n")), "{name}: {said}");
}
