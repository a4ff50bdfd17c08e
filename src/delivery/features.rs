//! What a next hop offers in its reply to EHLO or LHLO.
//!
//! Promises to ignore what is unknown or malformed (rfc5321bis 2.2.1), so that nothing is used that
//! was not offered.

pub mod limits;

use crate::registry::extension::{self, Extension, head};
use crate::registry::mechanism::Mechanism;
use crate::registry::parameter::Parameter;
use crate::syntax::reply::ServerReply;
use limits::ServerLimits;

/// The registered extensions that are offered, and what is said of them.
#[derive(Clone, Debug, Default)]
pub struct Features {
    offered: Vec<&'static Extension>,
    /// Largest message in octets, where a limit is declared.
    pub size_limit: Option<u64>,
    /// The least time, in seconds, that a message to be returned when late must have left.
    pub deadline_min_s: Option<i64>,
    /// The mechanisms of AUTH that are known here; also under its name of before RFC 2554.
    pub auth: Vec<Mechanism>,
    /// How much it takes over one connection.
    pub limits: ServerLimits,
}

impl Features {
    /// What a reply to EHLO or LHLO offers.
    pub fn of(reply: &ServerReply) -> Self {
        let mut features = Self::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default();
            features.offered.extend(extension::find(keyword));
            match keyword.to_ascii_uppercase().as_str() {
                "AUTH" => features.auth.extend(words.filter_map(Mechanism::named)),
                "LIMITS" => features.limits = ServerLimits::parse(words),
                // What follows a comma is of later documents (RFC 2852 2).
                "DELIVERBY" => {
                    let first = words.next().and_then(|word| word.split(',').next());
                    features.deadline_min_s = first.and_then(|min| min.parse().ok());
                }
                "SIZE" => {
                    let limit = words.next().and_then(|word| word.parse().ok());
                    features.size_limit = limit.filter(|&limit| limit > 0);
                }
                keyword => {
                    if let Some(first) = keyword.strip_prefix("AUTH=") {
                        let names = std::iter::once(first).chain(words);
                        features.auth.extend(names.filter_map(Mechanism::named));
                    }
                }
            }
        }
        // Binary content comes in chunks or not at all (RFC 3030 3).
        if !features.offers("CHUNKING") {
            features.offered.retain(|extension| !extension.is("BINARYMIME"));
        }
        features
    }

    /// Whether a registered extension is offered.
    pub fn offers(&self, keyword: &str) -> bool {
        self.offered.iter().any(|extension| extension.is(keyword))
    }

    /// Whether a parameter of MAIL or RCPT is understood there.
    pub fn takes(&self, parameter: Parameter) -> bool {
        let has = |extension: &&Extension| {
            let forms = extension.mail_parameters.iter().chain(&extension.rcpt_parameters);
            forms.into_iter().any(|form| head(form) == parameter.word())
        };
        self.offered.iter().any(has) || parameter == Parameter::Auth && !self.auth.is_empty()
    }
}
