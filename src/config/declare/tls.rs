//! The options of certificates.

use super::super::certificate::{ChainOf, KeyOf};
use super::super::option::sections;
use super::super::value::Text;
use crate::net::tls::{Chain, Key};

sections! {
    /// A certificate that listeners show under TLS; one of several is chosen by the name that the
    /// client asks for, and else the first is shown. Its files are looked at every few seconds, and
    /// taken anew when they have changed, without a reload. Without any, this server makes one for
    /// its host name in the spool and signs it itself: enough for other mail servers, but mail
    /// programs will warn their users.
    Array Certificate = "certificate" {
        /// What it is called here, in the log and in the metrics.
        name: String as Text = required r#""mx""#;

        /// The file of the certificate and of those that vouch for it, in this order, as PEM. Here and
        /// at other files to be read, "credential:NAME" is one that systemd hands over.
        chain: Chain as ChainOf = required r#""/etc/ssl/mx.pem""#;

        /// The file of its private key, as PEM. After the start the daemon reads it as its `user`.
        key: Key as KeyOf = required r#""/etc/ssl/mx.key""#;
    } and {
        /// The line of its header.
        line: usize;
    }
}
