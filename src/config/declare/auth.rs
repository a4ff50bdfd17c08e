//! The options of who may log in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::address::{DomainName, File};
use super::super::credential::AuthoritiesOf;
use super::super::identity::{DovecotAt, HttpsUrl, ScopeOrNone};
use super::super::option::sections;
use super::super::value::{Count, List, NotEmpty, OneOf, Span, Text};
use crate::registry::mechanism::Mechanism;
use crate::route::next_hop::Place;
use crate::route::security::Authorities;

sections! {
    /// How users prove who they are, on listeners with the role "submission".
    Table Auth = "auth" {
        /// The file of users, which `angarium user` writes. Without it, and without `dovecot` and
        /// `[[oauth]]`, nobody can log in. A change is in use within seconds. The daemon reads it as
        /// its `user`, so that user must be able to.
        users: Option<PathBuf> as File = optional r#""/etc/angarium/users""#;

        /// The rounds of PBKDF2 that `angarium user add` makes a password cost: who steals the file
        /// pays them for every guess, and so do we for every login by PLAIN or LOGIN.
        iterations: usize as Count = default "16384", in "4096" to "2000000", by "RFC 7677 4";

        /// How long a password that was right is taken without being derived again.
        remember: Duration as Span = default r#""5m""#, in "0s" to "1h";

        /// The mechanisms that may be offered, of those that the stores can. Mutt and NeoMutt, where
        /// they are built with GNU SASL, choose SCRAM-SHA-256-PLUS and can't carry it out: leave it
        /// out for them, or set their `smtp_authenticators`.
        mechanisms: Vec<Mechanism> as NotEmpty<OneOf<Mechanism>> = default
            r#"["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]"#,
            by "RFC 4954 4";

        /// The socket of Dovecot's authentication service, in place of `users`: unix:/path, which
        /// the daemon's `user` must be able to write, or host:port. Over TCP passwords go in clear:
        /// let it be this machine or a network of your own. What Dovecot offers is offered, but for
        /// mechanisms with channel binding.
        dovecot: Option<Place> as DovecotAt = optional r#""unix:/run/dovecot/auth-client""#;
    }

    /// An issuer whose tokens let users log in, by OAUTHBEARER and XOAUTH2: signed JWTs, with the
    /// algorithms RS256, PS256, ES256, ES384 or EdDSA. Clients whose token is not taken are told of
    /// the first one.
    Array Oauth = "oauth" {
        /// Its URL, letter for letter as the tokens have it in `iss`.
        issuer: String as HttpsUrl = required r#""https://id.example.org""#, by "RFC 7519 4.1.1";

        /// Whom a token must be for, as it has it in `aud`: one of these. It keeps out tokens that
        /// users gave to somebody else.
        audience: Vec<String> as NotEmpty<Text> = required r#"["mail"]"#, by "RFC 7519 4.1.3";

        /// The URL of its keys; without it, the one that its metadata name, at
        /// /.well-known/openid-configuration below the issuer.
        jwks: Option<String> as HttpsUrl = optional r#""https://id.example.org/keys""#,
            by "RFC 7517 5";

        /// The scope that a token must have; "" for none.
        scope: String as ScopeOrNone = default r#""urn:ietf:params:oauth:scope:mail""#;

        /// The claim of a token that has the login. Take care that users can't choose its value at
        /// the issuer: an "email" that is not verified is refused.
        user_claim: String as Text = default r#""email""#;

        /// The domains of the logins that it may speak for. An empty list: all logins.
        domains: Vec<String> as List<DomainName> = default "[]";

        /// How far its clock and that of this machine may differ.
        clock_skew: Duration as Span = default r#""60s""#, in "0s" to "10m", by "RFC 7519 4.1.4";

        /// A file of certificate authorities, as PEM, to trust for its HTTPS beside those of the
        /// system.
        ca: Option<Arc<Authorities>> as AuthoritiesOf = optional r#""/etc/angarium/ca.pem""#;
    } and {
        /// The line of its header.
        line: usize;
    }
}
