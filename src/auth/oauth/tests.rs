//! Tokens beside an issuer with real keys over HTTPS.

mod issuer;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use self::issuer::{Server, Signer};
use super::*;

const AUDIENCE: &str = "smtp.example.org";
const SCOPE: &str = "urn:ietf:params:oauth:scope:mail";

fn now_s() -> u64 {
    clock::now_ms() / 1000
}

fn trusted(server: &Server) -> Issuer {
    Issuer {
        issuer: server.url.clone(),
        audience: vec![AUDIENCE.to_owned(), "mail".to_owned()],
        jwks: None,
        scope: SCOPE.to_owned(),
        user_claim: "email".to_owned(),
        domains: Vec::new(),
        clock_skew: Duration::from_secs(60),
        roots: vec![server.root.clone()],
    }
}

fn claims(server: &Server) -> Value {
    json!({
        "iss": server.url, "aud": AUDIENCE, "exp": now_s() + 300, "iat": now_s(),
        "scope": format!("openid {SCOPE}"), "sub": "1234", "email": "joe@example.org",
    })
}

fn with(server: &Server, name: &str, value: Value) -> Value {
    let mut claims = claims(server);
    claims[name] = value;
    claims
}

fn without(server: &Server, name: &str) -> Value {
    let mut claims = claims(server);
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

async fn verify(oauth: &Oauth, token: &str) -> Result<String, Denial> {
    let proof = Proof::Token { login: None, token };
    oauth.verify(proof).await.map(|login| login.user.to_string())
}

fn joe() -> Result<String, Denial> {
    Ok("joe@example.org".to_owned())
}

fn refused() -> Result<String, Denial> {
    Err(Denial::Credentials)
}

#[tokio::test]
async fn every_algorithm_of_ours_is_taken() {
    let server = Server::start().await;
    let signers =
        [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
            .map(Signer::new);
    server.publish(&signers.iter().collect::<Vec<_>>());
    let oauth = Oauth::new(vec![trusted(&server)]).unwrap();
    for signer in &signers {
        let token = signer.sign(&claims(&server));
        assert_eq!(verify(&oauth, &token).await, joe(), "{:?}", signer.algorithm);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
        assert_eq!(verify(&oauth, &forged).await, refused(), "{:?}", signer.algorithm);
    }
    // Metadata and key set, once.
    assert_eq!(server.hits(), 2);
}

#[tokio::test]
async fn each_claim_counts() {
    let server = Server::start().await;
    let signer = Signer::new(Algorithm::ES256);
    server.publish(&[&signer]);
    let mut issuer = trusted(&server);
    issuer.domains = vec!["example.org".to_owned()];
    let oauth = Oauth::new(vec![issuer]).unwrap();
    let now = now_s();
    let cases = [
        (with(&server, "aud", json!(["other", AUDIENCE])), joe()),
        (with(&server, "aud", json!("mail")), joe()),
        (with(&server, "aud", json!("imap.example.org")), refused()),
        (without(&server, "aud"), refused()),
        (with(&server, "iss", json!("https://other.example")), refused()),
        (with(&server, "iss", json!([server.url, "https://other.example"])), refused()),
        (without(&server, "iss"), refused()),
        (with(&server, "scope", json!("openid")), refused()),
        (with(&server, "scope", json!(format!("{SCOPE}x"))), refused()),
        (with(&server, "scp", json!([SCOPE])), joe()),
        (without(&server, "scope"), refused()),
        // A minute of skew, either way.
        (with(&server, "exp", json!(now - 30)), joe()),
        (with(&server, "exp", json!(now - 90)), refused()),
        (with(&server, "exp", json!(now as f64 + 0.5)), joe()),
        (with(&server, "exp", json!("tomorrow")), refused()),
        (with(&server, "exp", Value::Null), refused()),
        (without(&server, "exp"), refused()),
        (with(&server, "nbf", json!(now + 30)), joe()),
        (with(&server, "nbf", json!(now + 90)), refused()),
        (with(&server, "nbf", json!("now")), refused()),
        (without(&server, "email"), refused()),
        (with(&server, "email", json!("")), refused()),
        (with(&server, "email", json!("joe@example.org\r\nboss")), refused()),
        (with(&server, "email", json!("joe@other.example")), refused()),
        (with(&server, "email", json!("joe")), refused()),
        (with(&server, "email_verified", json!(true)), joe()),
        (with(&server, "email_verified", json!(false)), refused()),
        (with(&server, "cnf", json!({ "jkt": "x" })), refused()),
    ];
    for (claims, end) in cases {
        assert_eq!(verify(&oauth, &signer.sign(&claims)).await, end, "{claims}");
    }
    let mut scp = without(&server, "scope");
    scp["scp"] = json!([SCOPE]);
    assert_eq!(verify(&oauth, &signer.sign(&scp)).await, joe());
}

#[tokio::test]
async fn nobody_logs_in_as_another() {
    let server = Server::start().await;
    let signer = Signer::new(Algorithm::ES256);
    server.publish(&[&signer]);
    let mut issuer = trusted(&server);
    issuer.user_claim = "sub".to_owned();
    issuer.scope = String::new();
    let oauth = Oauth::new(vec![issuer]).unwrap();
    let token = signer.sign(&without(&server, "scope"));
    for (login, good) in [(None, true), (Some("1234"), true), (Some("joe@example.org"), false)] {
        let judged = oauth.verify(Proof::Token { login, token: &token }).await;
        assert_eq!(judged.is_ok(), good, "{login:?}");
    }
    let password = Proof::Password { login: "1234", password: &token };
    assert_eq!(oauth.verify(password).await, Err(Denial::Credentials));
}

#[tokio::test]
async fn what_is_not_signed_by_the_issuer_is_refused() {
    let server = Server::start().await;
    let signer = Signer::new(Algorithm::RS256);
    server.publish(&[&signer]);
    let oauth = Oauth::new(vec![trusted(&server)]).unwrap();
    assert_eq!(verify(&oauth, &signer.sign(&claims(&server))).await, joe());
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let body = encode(&claims(&server));
    for algorithm in ["none", "None", "HS256"] {
        let head = encode(&json!({ "alg": algorithm, "kid": signer.id, "typ": "JWT" }));
        assert_eq!(verify(&oauth, &format!("{head}.{body}.")).await, refused(), "{algorithm}");
    }
    // The public key as a shared secret, in the forms in which it is public.
    for secret in signer.public_forms() {
        let mut head = Header::new(Algorithm::HS256);
        head.kid = Some(signer.id.clone());
        let key = EncodingKey::from_secret(&secret);
        let token = jsonwebtoken::encode(&head, &claims(&server), &key).unwrap();
        assert_eq!(verify(&oauth, &token).await, refused());
    }
    // Another key under the same id; the right key under another algorithm than the set gives it.
    let mut other = Signer::new(Algorithm::RS256);
    other.id.clone_from(&signer.id);
    assert_eq!(verify(&oauth, &other.sign(&claims(&server))).await, refused());
    let head = Header { kid: Some(signer.id.clone()), ..Header::new(Algorithm::PS256) };
    assert_eq!(verify(&oauth, &signer.sign_as(&head, &claims(&server))).await, refused());
    // A key that the token brings along, and what must be understood and is not.
    let mut head = Header { kid: Some(signer.id.clone()), ..Header::new(Algorithm::RS256) };
    head.jwk = Some(serde_json::from_value(other.jwk()).unwrap());
    assert_eq!(verify(&oauth, &other.sign_as(&head, &claims(&server))).await, refused());
    head.jwk = None;
    head.crit = Some(vec!["b64".to_owned()]);
    assert_eq!(verify(&oauth, &signer.sign_as(&head, &claims(&server))).await, refused());
    head.crit = None;
    head.typ = Some("logout+jwt".to_owned());
    assert_eq!(verify(&oauth, &signer.sign_as(&head, &claims(&server))).await, refused());
    head.typ = Some("at+jwt".to_owned());
    assert_eq!(verify(&oauth, &signer.sign_as(&head, &claims(&server))).await, joe());
    for rubbish in ["", ".", "..", "a.b.c", &"x".repeat(20_000)] {
        assert_eq!(verify(&oauth, rubbish).await, refused());
    }
}

#[tokio::test]
async fn strange_keys_do_not_make_us_ask() {
    let server = Server::start().await;
    let (signer, stranger) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    server.publish(&[&signer]);
    let mut issuer = trusted(&server);
    issuer.jwks = Some(format!("{}/keys", server.url));
    let oauth = Oauth::new(vec![issuer]).unwrap();
    for count in 0..200 {
        let head =
            Header { kid: Some(format!("made-up-{count}")), ..Header::new(Algorithm::ES256) };
        assert_eq!(verify(&oauth, &stranger.sign_as(&head, &claims(&server))).await, refused());
    }
    assert_eq!(server.hits(), 1);
    assert_eq!(verify(&oauth, &signer.sign(&claims(&server))).await, joe());
    assert_eq!(server.hits(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_and_one_withdrawn_forgotten() {
    let server = Server::start().await;
    let (old, new) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::EdDSA));
    server.publish(&[&old]);
    let pauses = Pauses { known: Duration::ZERO, none: Duration::ZERO };
    let oauth = Oauth::with_pauses(vec![trusted(&server)], pauses).unwrap();
    assert_eq!(verify(&oauth, &old.sign(&claims(&server))).await, joe());
    server.publish(&[&new]);
    assert_eq!(verify(&oauth, &new.sign(&claims(&server))).await, joe());
    assert_eq!(verify(&oauth, &old.sign(&claims(&server))).await, refused());
}

#[tokio::test]
async fn an_issuer_that_is_down_refuses_nobody_for_good() {
    let server = Server::start().await;
    let signer = Signer::new(Algorithm::ES256);
    server.publish(&[&signer]);
    let oauth = Oauth::new(vec![trusted(&server)]).unwrap();
    assert_eq!(verify(&oauth, &signer.sign(&claims(&server))).await, joe());
    server.stop();
    assert_eq!(verify(&oauth, &signer.sign(&claims(&server))).await, joe());
    let fresh = Oauth::new(vec![trusted(&server)]).unwrap();
    let judged = verify(&fresh, &signer.sign(&claims(&server))).await;
    assert!(matches!(judged, Err(Denial::Unavailable(_))), "{judged:?}");
}

#[tokio::test]
async fn keys_come_only_from_the_issuer() {
    let server = Server::start().await;
    let signer = Signer::new(Algorithm::ES256);
    server.publish(&[&signer]);
    let token = signer.sign(&claims(&server));
    let unavailable = async |issuer: Issuer, why: &str| {
        let judged = verify(&Oauth::new(vec![issuer]).unwrap(), &token).await;
        let told = matches!(&judged, Err(Denial::Unavailable(text)) if text.contains(why));
        assert!(told, "{judged:?} does not say {why}");
    };
    // A certificate that nobody vouches for.
    let stranger = Server::start().await;
    let roots = vec![stranger.root.clone()];
    unavailable(Issuer { roots, ..trusted(&server) }, "no TLS").await;
    let at = |path: &str| {
        let jwks = Some(format!("{}{path}", server.url));
        Issuer { jwks, ..trusted(&server) }
    };
    unavailable(at("/nowhere"), "404").await;
    server.put("/large", 200, &"x".repeat(2 * 1024 * 1024));
    unavailable(at("/large"), "can't be read").await;
    server.put("/html", 200, "<html>");
    unavailable(at("/html"), "no key set").await;
    server.put("/away", 302, "https://other.example/keys");
    unavailable(at("/away"), "redirection to another host").await;
    server.put("/round", 302, "/round");
    unavailable(at("/round"), "over 3 redirections").await;
    server.put("/near", 302, "/keys");
    assert_eq!(verify(&Oauth::new(vec![at("/near")]).unwrap(), &token).await, joe());
    let metadata = json!({ "issuer": "https://other.example", "jwks_uri": "https://x/" });
    server.put("/.well-known/openid-configuration", 200, &metadata.to_string());
    unavailable(trusted(&server), "of the issuer https://other.example").await;
}

#[tokio::test]
async fn several_issuers_are_kept_apart() {
    let (one, two) = (Server::start().await, Server::start().await);
    let (signer_one, signer_two) = (Signer::new(Algorithm::ES256), Signer::new(Algorithm::ES256));
    one.publish(&[&signer_one]);
    two.publish(&[&signer_two]);
    let oauth = Oauth::new(vec![trusted(&one), trusted(&two)]).unwrap();
    assert_eq!(verify(&oauth, &signer_one.sign(&claims(&one))).await, joe());
    assert_eq!(verify(&oauth, &signer_two.sign(&claims(&two))).await, joe());
    assert_eq!(verify(&oauth, &signer_two.sign(&claims(&one))).await, refused());
    let told: Value = serde_json::from_str(oauth.token_failure().unwrap()).unwrap();
    let metadata = format!("{}/.well-known/openid-configuration", one.url);
    let wanted =
        json!({ "status": "invalid_token", "scope": SCOPE, "openid-configuration": metadata });
    assert_eq!(told, wanted);
}
