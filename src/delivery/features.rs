//! What a next hop offers in its reply to EHLO or LHLO.
//!
//! Promises to ignore what is unknown or malformed (rfc5321bis 2.2.1), so that nothing is used that
//! was not offered.

use crate::registry::mechanism::Mechanism;
use crate::syntax::reply::ServerReply;

/// The extensions that this client makes use of.
#[derive(Clone, Debug, Default)]
pub(super) struct Features {
    pub(super) pipelining: bool,
    pub(super) eight_bit_mime: bool,
    /// Offered at all, so that SIZE may be declared.
    pub(super) size: bool,
    /// Largest message in octets, where a limit is declared.
    pub(super) size_limit: Option<u64>,
    pub(super) starttls: bool,
    /// The mechanisms of AUTH that are known here; also under its name of before RFC 2554.
    pub(super) auth: Vec<Mechanism>,
}

impl Features {
    pub(super) fn of(reply: &ServerReply) -> Self {
        let mut features = Self::default();
        for line in reply.lines.iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
            match keyword.as_str() {
                "PIPELINING" => features.pipelining = true,
                "STARTTLS" => features.starttls = true,
                "AUTH" => features.auth.extend(words.filter_map(Mechanism::named)),
                "8BITMIME" => features.eight_bit_mime = true,
                "SIZE" => {
                    features.size = true;
                    let limit = words.next().and_then(|word| word.parse().ok());
                    features.size_limit = limit.filter(|&limit| limit > 0);
                }
                _ => {
                    if let Some(first) = keyword.strip_prefix("AUTH=") {
                        let names = std::iter::once(first).chain(words);
                        features.auth.extend(names.filter_map(Mechanism::named));
                    }
                }
            }
        }
        features
    }
}
