//! TLS as a client sees it: certificates of our own, and an SMTP client over rustls.
//!
//! Promises that a handshake succeeds only with a certificate that the test trusts, unless it says
//! otherwise, and that every read and write is bounded.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long one read or write may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a new self-signed certificate and its key, each replaced as a whole.
pub fn write_certificate(chain: &Path, key: &Path, name: &str) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let pair = KeyPair::generate().unwrap();
    let made = params.self_signed(&pair).unwrap();
    for (path, text) in [(key, pair.serialize_pem()), (chain, made.pem())] {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }
}

/// A client configuration that trusts the certificate in this file, and remembers no session.
pub fn trusting(chain: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(chain).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// A client under TLS.
#[derive(Debug)]
pub struct SecureClient {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl SecureClient {
    /// Connects by implicit TLS; the greeting is still to be read.
    pub fn connect(to: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&to, PATIENCE)?, config, name)
    }

    /// Takes the handshake over a connection in clear, which has read all that came.
    pub fn over(wire: TcpStream, config: &Arc<ClientConfig>, name: &str) -> io::Result<Self> {
        wire.set_nodelay(true)?;
        wire.set_read_timeout(Some(PATIENCE))?;
        wire.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(config), name);
        let mut stream = StreamOwned::new(connection.map_err(io::Error::other)?, wire);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The lines of one reply, with their code.
    pub fn reply(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let last = line.get(3..4) != Some("-");
            lines.push(line.trim_end().to_owned());
            if last {
                return Ok(lines);
            }
        }
    }

    /// Sends octets as they are.
    pub fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(octets)?;
        stream.flush()
    }

    /// Sends a line and reads the reply.
    pub fn command(&mut self, line: &str) -> io::Result<Vec<String>> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }
}
