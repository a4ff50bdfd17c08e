//! Every mechanism step by step, against stores in memory, and against another's client.

use std::sync::Mutex;

use proptest::prelude::*;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::SCRAM_SHA256_PLUS;
use rsasl::prelude::{
    Mechname, Registry, SASLClient, SASLConfig, SessionError, State as ClientState,
};
use rsasl::property::{AuthId, AuthzId, ChannelBindings, OAuthBearerToken, Password};

use super::*;
use crate::auth::Scram;
use crate::auth::secret::Derived;

const EXPORTER: [u8; 32] = [7; 32];
const FAILURE: &str = r#"{"status":"invalid_token"}"#;

/// Joe, whose password is "secret" and whose token is "good".
#[derive(Debug, Default)]
struct Store {
    used: Mutex<Vec<String>>,
}

impl Verifier for Store {
    fn takes_passwords(&self) -> bool {
        true
    }

    fn takes_tokens(&self) -> bool {
        true
    }

    fn keeps_scram(&self) -> bool {
        true
    }

    fn verify<'a>(&'a self, proof: Proof<'a>) -> Pending<'a, Result<Login, Denial>> {
        Box::pin(async move {
            match proof {
                Proof::Password { login: "joe", password: "secret" }
                | Proof::Token { login: None | Some("joe" | "j,o"), token: "good" } => Ok(joe()),
                Proof::Token { token: "down", .. } => Err(Denial::Unavailable("no".to_owned())),
                _ => Err(Denial::Credentials),
            }
        })
    }

    fn scram<'a>(&'a self, login: &'a str) -> Pending<'a, Option<Scram>> {
        Box::pin(std::future::ready(kept(login)))
    }

    fn used(&self, login: &Login) {
        self.used.lock().unwrap().push(login.user.to_string());
    }

    fn token_failure(&self) -> Option<&str> {
        Some(FAILURE)
    }
}

fn kept(login: &str) -> Option<Scram> {
    let password = if login == "joe" { "secret" } else { "nobody's" };
    let Derived { stored_key, server_key } = Derived::new(password, b"saltsalt", 4096)?;
    let login = Login { user: login.into(), label: None };
    let salt = Arc::from(*b"saltsalt");
    Some(Scram { iterations: 4096, salt, stored_key, server_key, login, disabled: false })
}

fn joe() -> Login {
    Login { user: "joe".into(), label: None }
}

fn channel(binding: Option<[u8; 32]>) -> Channel {
    let client = [127, 0, 0, 1].into();
    Channel { client, tls: true, binding, clear_allowed: false }
}

fn begin(mechanism: Mechanism, binding: Option<[u8; 32]>) -> Box<dyn Exchange> {
    Sasl::new(Arc::new(Store::default())).begin(mechanism, &channel(binding))
}

/// The last step and who was claimed.
async fn steps(mechanism: Mechanism, responses: &[Option<&str>]) -> (Step, Option<String>) {
    let mut exchange = begin(mechanism, None);
    let mut last = Step::Denied(Denial::Malformed);
    for response in responses {
        last = exchange.step(response.map(str::as_bytes)).await;
    }
    (last, exchange.claimed().map(str::to_owned))
}

fn challenge(text: &str) -> Step {
    Step::Challenge(text.as_bytes().to_vec())
}

#[tokio::test]
async fn passwords_are_judged_step_by_step() {
    let malformed = || Step::Denied(Denial::Malformed);
    let credentials = || Step::Denied(Denial::Credentials);
    for (mechanism, responses, expected, claimed) in [
        (Mechanism::Plain, &[None][..], challenge(""), None),
        (Mechanism::Plain, &[None, Some("\0joe\0secret")], Step::Granted(joe()), Some("joe")),
        (Mechanism::Plain, &[Some("\0joe\0secret")], Step::Granted(joe()), Some("joe")),
        (Mechanism::Plain, &[Some("joe\0joe\0secret")], Step::Granted(joe()), Some("joe")),
        (Mechanism::Plain, &[Some("ann\0joe\0secret")], credentials(), None),
        (Mechanism::Plain, &[Some("\0joe\0wrong")], credentials(), Some("joe")),
        (Mechanism::Plain, &[Some("\0joe\0secret\0")], malformed(), None),
        (Mechanism::Plain, &[Some("\0joe")], malformed(), None),
        (Mechanism::Plain, &[Some("\0joe\0")], malformed(), None),
        (Mechanism::Plain, &[Some("\0\0secret")], malformed(), None),
        (Mechanism::Plain, &[Some("")], malformed(), None),
        (
            Mechanism::Plain,
            &[Some("\0joe\0wrong"), Some("\0joe\0secret")],
            malformed(),
            Some("joe"),
        ),
        (Mechanism::Plain, &[Some("\0joe\0secret"), Some("")], malformed(), Some("joe")),
        (Mechanism::Plain, &[Some("\0joe\0wrong"), None], malformed(), Some("joe")),
        (Mechanism::Login, &[None], challenge("Username:"), None),
        (Mechanism::Login, &[None, Some("joe")], challenge("Password:"), Some("joe")),
        (Mechanism::Login, &[None, Some("joe"), Some("secret")], Step::Granted(joe()), Some("joe")),
        (Mechanism::Login, &[Some("joe"), Some("secret")], Step::Granted(joe()), Some("joe")),
        (Mechanism::Login, &[Some("joe"), Some("wrong")], credentials(), Some("joe")),
        (Mechanism::Login, &[Some("joe"), None], malformed(), Some("joe")),
        (Mechanism::Login, &[Some("joe"), Some("se\0cret")], malformed(), Some("joe")),
        (Mechanism::Login, &[Some("joe"), Some("wrong"), Some("secret")], malformed(), Some("joe")),
    ] {
        let found = steps(mechanism, responses).await;
        assert_eq!(found, (expected, claimed.map(str::to_owned)), "{mechanism:?} {responses:?}");
    }
}

#[tokio::test]
async fn tokens_are_judged_step_by_step() {
    let malformed = || Step::Denied(Denial::Malformed);
    let down = || Step::Denied(Denial::Unavailable("no".to_owned()));
    let bearer = |header: &str, token: &str| {
        format!("{header}\x01host=mx\x01port=587\x01auth=Bearer {token}\x01\x01")
    };
    let xoauth2 = |token: &str| format!("user=joe\x01auth=Bearer {token}\x01\x01");
    for (mechanism, responses, expected) in [
        (Mechanism::OauthBearer, vec![bearer("n,,", "good")], Step::Granted(joe())),
        (Mechanism::OauthBearer, vec![bearer("n,a=joe,", "good")], Step::Granted(joe())),
        (Mechanism::OauthBearer, vec![bearer("y,a=j=2Co,", "good")], Step::Granted(joe())),
        (Mechanism::OauthBearer, vec![bearer("n,a=joe,", "bad")], challenge(FAILURE)),
        (Mechanism::OauthBearer, vec![bearer("n,a=ann,", "good")], challenge(FAILURE)),
        (
            Mechanism::OauthBearer,
            vec![bearer("n,,", "bad"), "\x01".to_owned()],
            Step::Denied(Denial::Credentials),
        ),
        (
            Mechanism::OauthBearer,
            vec![bearer("n,,", "bad"), bearer("n,,", "good")],
            Step::Denied(Denial::Credentials),
        ),
        (
            Mechanism::OauthBearer,
            vec![bearer("n,,", "bad"), "\x01".to_owned(), bearer("n,,", "good")],
            malformed(),
        ),
        (Mechanism::OauthBearer, vec![bearer("n,,", "down")], down()),
        (Mechanism::OauthBearer, vec![bearer("n,a=j=o,", "good")], malformed()),
        (Mechanism::OauthBearer, vec![bearer("p=tls-exporter,,", "good")], malformed()),
        (Mechanism::OauthBearer, vec![bearer("n,joe,", "good")], malformed()),
        (Mechanism::OauthBearer, vec![bearer("n,,,", "good")], malformed()),
        (Mechanism::OauthBearer, vec![bearer("n,,", "")], malformed()),
        (Mechanism::OauthBearer, vec!["n,,\x01auth=Basic good\x01\x01".to_owned()], malformed()),
        (Mechanism::OauthBearer, vec!["n,,\x01auth=Bearer good\x01".to_owned()], malformed()),
        (Mechanism::OauthBearer, vec!["n,,\x01\x01".to_owned()], malformed()),
        (Mechanism::OauthBearer, vec![String::new()], malformed()),
        (Mechanism::Xoauth2, vec![xoauth2("good")], Step::Granted(joe())),
        (Mechanism::Xoauth2, vec![xoauth2("bad")], challenge(FAILURE)),
        (
            Mechanism::Xoauth2,
            vec![xoauth2("bad"), String::new()],
            Step::Denied(Denial::Credentials),
        ),
        (Mechanism::Xoauth2, vec![xoauth2("down")], down()),
        (Mechanism::Xoauth2, vec!["user=joe\x01\x01".to_owned()], malformed()),
        (Mechanism::Xoauth2, vec![bearer("n,,", "good")], malformed()),
    ] {
        let given: Vec<_> = responses.iter().map(|text| Some(text.as_str())).collect();
        let (found, _) = steps(mechanism, &given).await;
        assert_eq!(found, expected, "{mechanism:?} {responses:?}");
    }
}

/// What a client of rsasl knows.
struct Credentials {
    login: &'static str,
    acts_for: Option<&'static str>,
    secret: &'static str,
    binding: Option<[u8; 32]>,
}

impl SessionCallback for Credentials {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        request
            .satisfy::<AuthId>(self.login)?
            .satisfy::<Password>(self.secret.as_bytes())?
            .satisfy::<OAuthBearerToken>(self.secret)?;
        if let Some(acts_for) = self.acts_for {
            request.satisfy::<AuthzId>(acts_for)?;
        }
        if let Some(binding) = &self.binding {
            request.satisfy::<ChannelBindings>(binding)?;
        }
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.binding.is_some()
    }
}

/// A whole exchange with a client of rsasl, which has judged our proof as well.
async fn against_rsasl(
    mechanism: Mechanism,
    client: Credentials,
    binding: Option<[u8; 32]>,
) -> Result<Login, Denial> {
    // Its default has no bound mechanism.
    let registry = match mechanism {
        Mechanism::ScramSha256Plus => {
            Registry::with_mechanisms(std::slice::from_ref(&SCRAM_SHA256_PLUS))
        }
        _ => Registry::default(),
    };
    let config = SASLConfig::builder().with_registry(registry).with_callback(client).unwrap();
    let name = Mechname::parse(mechanism.name().as_bytes()).unwrap();
    let mut client = SASLClient::new(config).start_suggested(&[name]).unwrap();
    let store = Arc::new(Store::default());
    let mut exchange =
        Sasl::new(Arc::clone(&store) as Arc<dyn Verifier>).begin(mechanism, &channel(binding));
    let mut input = match client.are_we_first() {
        true => None,
        false => match exchange.step(None).await {
            Step::Challenge(challenge) => Some(challenge),
            step => panic!("{step:?}"),
        },
    };
    let mut finished = false;
    for _ in 0..5 {
        let mut output = Vec::new();
        assert!(!finished, "the client has more to say");
        let state = client.step(input.as_deref(), &mut output).unwrap();
        finished = matches!(state, ClientState::Finished(_));
        match exchange.step(Some(&output)).await {
            Step::Challenge(challenge) => input = Some(challenge),
            Step::Granted(login) => {
                let scram = !mechanism.shows_secret();
                assert!(finished || !scram, "the client has not seen our proof");
                assert_eq!(store.used.lock().unwrap().len(), usize::from(scram));
                return Ok(login);
            }
            Step::Denied(denial) => {
                assert!(store.used.lock().unwrap().is_empty());
                return Err(denial);
            }
        }
    }
    panic!("no end");
}

#[tokio::test]
async fn a_client_of_another_hand_is_understood() {
    let joe_with = |secret, binding| Credentials { login: "joe", acts_for: None, secret, binding };
    let bound = Some(EXPORTER);
    let denied = || Err(Denial::Credentials);
    for (mechanism, client, binding, expected) in [
        (Mechanism::Plain, joe_with("secret", None), None, Ok(joe())),
        (Mechanism::Login, joe_with("secret", None), None, Ok(joe())),
        (Mechanism::OauthBearer, joe_with("good", None), None, Ok(joe())),
        (Mechanism::Xoauth2, joe_with("good", None), None, Ok(joe())),
        (Mechanism::ScramSha256, joe_with("secret", None), None, Ok(joe())),
        (Mechanism::ScramSha256, joe_with("secret", None), bound, Ok(joe())),
        (Mechanism::ScramSha256Plus, joe_with("secret", bound), bound, Ok(joe())),
        (Mechanism::Plain, joe_with("wrong", None), None, denied()),
        (Mechanism::Login, joe_with("wrong", None), None, denied()),
        (Mechanism::ScramSha256, joe_with("wrong", None), None, denied()),
        (Mechanism::ScramSha256Plus, joe_with("wrong", bound), bound, denied()),
        // Somebody between has TLS with each of the two.
        (Mechanism::ScramSha256Plus, joe_with("secret", Some([8; 32])), bound, denied()),
        // The client could bind, and was not shown that we can.
        (Mechanism::ScramSha256, joe_with("secret", bound), bound, denied()),
    ] {
        let name = format!("{mechanism:?} {} {:?} {binding:?}", client.secret, client.binding);
        assert_eq!(against_rsasl(mechanism, client, binding).await, expected, "{name}");
    }
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
        for (acts_for, expected) in [("joe", Ok(joe())), ("ann", denied())] {
            let client = Credentials { acts_for: Some(acts_for), ..joe_with("secret", None) };
            assert_eq!(against_rsasl(mechanism, client, None).await, expected, "{mechanism:?}");
        }
    }
}

/// Octets, and those that come near the right ones.
fn response() -> impl Strategy<Value = Option<Vec<u8>>> {
    let near = "(n|y|p=tls-exporter)?,{0,2}(a=joe,)?(n=joe|user=joe|joe|c=biws)?[\x00\x01,]{0,2}\
                (r=[a-z]{1,5}|auth=Bearer (good|bad)|joe)?[\x00\x01,]{0,2}(secret|p=[A-Za-z=]{4})?";
    prop_oneof![
        1 => Just(None),
        2 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Some),
        6 => near.prop_map(|text: String| Some(text.into_bytes())),
    ]
}

/// Whether a response shows what joe would show.
fn is_right(mechanism: Mechanism, responses: &[Option<Vec<u8>>]) -> bool {
    let shown = |text: &[u8]| {
        responses
            .iter()
            .flatten()
            .any(|given| given.windows(text.len()).any(|window| window == text))
    };
    match mechanism {
        Mechanism::Plain => shown(b"\0joe\0secret"),
        Mechanism::Login => shown(b"joe") && shown(b"secret"),
        Mechanism::OauthBearer | Mechanism::Xoauth2 => shown(b"auth=Bearer good\x01\x01"),
        // The nonce is not known before.
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => false,
    }
}

proptest! {
    #[test]
    fn nobody_else_is_let_in(
        at in 0..Mechanism::ALL.len(),
        bound: bool,
        responses in proptest::collection::vec(response(), 1..5),
    ) {
        let mechanism = Mechanism::ALL[at];
        let mut exchange = begin(mechanism, bound.then_some(EXPORTER));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut over = false;
        for response in &responses {
            match runtime.block_on(exchange.step(response.as_deref())) {
                Step::Challenge(_) => prop_assert!(!over),
                Step::Granted(login) => {
                    prop_assert!(!over && is_right(mechanism, &responses), "{login:?}");
                    over = true;
                }
                Step::Denied(denial) => {
                    prop_assert!(!over || denial == Denial::Malformed);
                    over = true;
                }
            }
        }
    }
}
