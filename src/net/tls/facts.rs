//! What was agreed on in a handshake: for the trace field, the log and channel binding.

use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use tokio_rustls::TlsStream;

/// The label of RFC 9266 4.2.
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// What holds for a connection under TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Facts {
    /// "TLSv1.2" or "TLSv1.3".
    pub protocol: &'static str,
    /// The cipher suite by its registered name, as "TLS_AES_256_GCM_SHA384".
    pub cipher: String,
    /// The group of the key exchange, as "X25519MLKEM768"; none where an old key was resumed.
    pub group: Option<String>,
    /// The name that the client asked for; on the client's side none.
    pub sni: Option<String>,
    /// `tls-exporter` for channel binding (RFC 9266 3). None for TLS 1.2, where the library does not
    /// tell whether the master secret was extended, without which the value binds nothing.
    pub exporter: Option<[u8; 32]>,
    /// Whether an earlier session was taken up.
    pub resumed: bool,
}

impl Facts {
    /// The facts of a connection whose handshake is done.
    pub fn of<S>(stream: &TlsStream<S>) -> Self {
        let secret = [0; 32];
        let (sni, exporter) = match stream {
            TlsStream::Server(stream) => {
                let (_, connection) = stream.get_ref();
                let sni = connection.server_name().map(str::to_owned);
                (sni, connection.export_keying_material(secret, EXPORTER, None))
            }
            TlsStream::Client(stream) => {
                let (_, connection) = stream.get_ref();
                (None, connection.export_keying_material(secret, EXPORTER, None))
            }
        };
        let (_, state) = stream.get_ref();
        let newest = state.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        Self {
            protocol: if newest { "TLSv1.3" } else { "TLSv1.2" },
            cipher: cipher(state),
            group: state.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
            sni,
            exporter: exporter.ok().filter(|_| newest),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// The library writes the names of TLS 1.3 in its own way.
fn cipher(state: &CommonState) -> String {
    let suite = state.negotiated_cipher_suite();
    let name = suite.map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}

/// The exporter is a secret.
impl std::fmt::Debug for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { protocol, cipher, group, sni, resumed, .. } = self;
        write!(f, "Facts({protocol} {cipher} {group:?} {sni:?} resumed: {resumed})")
    }
}
