//! An issuer of tokens for tests: an HTTPS server with an authority of its own, and keys that sign.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SignatureAlgorithm};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

type Documents = Arc<Mutex<HashMap<String, (u16, String)>>>;

/// The server; every document that was put can be asked for.
pub(super) struct Server {
    /// The issuer.
    pub(super) url: String,
    /// The authority of its certificate.
    pub(super) root: CertificateDer<'static>,
    documents: Documents,
    hits: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let (config, root) = tls();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (documents, hits) = (Documents::default(), Arc::<AtomicUsize>::default());
        let (kept, counted) = (Arc::clone(&documents), Arc::clone(&hits));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, documents) = (acceptor.clone(), Arc::clone(&kept));
                tokio::spawn(serve(acceptor, stream, documents, Arc::clone(&counted)));
            }
        });
        Self { url, root, documents, hits, serving }
    }

    /// Puts a document; with a redirection the text is where it leads.
    pub(super) fn put(&self, path: &str, status: u16, text: &str) {
        self.documents.lock().unwrap().insert(path.to_owned(), (status, text.to_owned()));
    }

    /// Puts the metadata, and the key set of these.
    pub(super) fn publish(&self, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        let metadata = json!({ "issuer": self.url, "jwks_uri": format!("{}/keys", self.url) });
        self.put("/keys", 200, &json!({ "keys": keys }).to_string());
        self.put("/.well-known/openid-configuration", 200, &metadata.to_string());
    }

    /// How often it was asked.
    pub(super) fn hits(&self) -> usize {
        self.hits.load(Ordering::Relaxed)
    }

    /// Takes no more connections.
    pub(super) fn stop(&self) {
        self.serving.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    documents: Documents,
    hits: Arc<AtomicUsize>,
) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(|request: Request<Incoming>| {
        hits.fetch_add(1, Ordering::Relaxed);
        let found = documents.lock().unwrap().get(request.uri().path()).cloned();
        let (status, text) = found.unwrap_or((404, String::new()));
        let response = Response::builder().status(status).header(CACHE_CONTROL, "max-age=300");
        let response = match status {
            302 => response.header(LOCATION, text).body(Full::default()),
            _ => response.body(Full::new(Bytes::from(text))),
        };
        async move { Ok::<_, Infallible>(response.unwrap()) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn tls() -> (ServerConfig, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let authority = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (config, root.der().clone())
}

/// A key that signs tokens.
pub(super) struct Signer {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pair: KeyPair,
    key: EncodingKey,
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        let kind: &SignatureAlgorithm = match algorithm {
            Algorithm::ES256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &rcgen::PKCS_ED25519,
            _ => &rcgen::PKCS_RSA_SHA256,
        };
        let pair = KeyPair::generate_for(kind).unwrap();
        let der = pair.serialize_der();
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_der(&der),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            // The key within the PKCS #8 of an RSA key of 2048 bits.
            _ => EncodingKey::from_rsa_der(&der[26..]),
        };
        let id = format!("{algorithm:?}-{:x}", fastrand::u64(..));
        Self { id, algorithm, pair, key }
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        let head = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        self.sign_as(&head, claims)
    }

    pub(super) fn sign_as(&self, head: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(head, claims, &self.key).unwrap()
    }

    /// The public key, as a key set has it.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match self.algorithm {
            // The library refuses a PKCS #8 with the public key in it.
            Algorithm::EdDSA => {
                let x = URL_SAFE_NO_PAD.encode(self.pair.public_key_raw());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA" })
            }
            algorithm => {
                serde_json::to_value(Jwk::from_encoding_key(&self.key, algorithm).unwrap()).unwrap()
            }
        };
        jwk["kid"] = self.id.as_str().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// What somebody might take for a shared secret: the key raw, as PEM, and its key set.
    pub(super) fn public_forms(&self) -> Vec<Vec<u8>> {
        let whole = json!({ "keys": [self.jwk()] }).to_string().into_bytes();
        vec![self.pair.public_key_raw().to_vec(), self.pair.public_key_pem().into_bytes(), whole]
    }
}
