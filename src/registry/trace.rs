//! The registered words of trace fields (rfc5321bis 4.4, 8.1.3; RFC 3848, RFC 6531 4.3).
//!
//! Promises that whatever a session was, its WITH type is a registered one.

/// What a message came with.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct With {
    /// The transaction used SMTPUTF8.
    pub utf8: bool,
    /// LMTP was spoken.
    pub lmtp: bool,
    /// The hello was EHLO, not HELO.
    pub extended: bool,
    /// The session was under TLS.
    pub tls: bool,
    /// The client was authenticated.
    pub authenticated: bool,
}

/// The WITH type of a Received field. For a session that began with HELO it is SMTP whatever else
/// holds: there is no other without extensions. LMTP and UTF-8 cannot do without.
pub const fn with(facts: With) -> &'static str {
    match (facts.utf8, facts.lmtp, facts.tls, facts.authenticated) {
        (false, true, false, false) => "LMTP",
        (false, true, false, true) => "LMTPA",
        (false, true, true, false) => "LMTPS",
        (false, true, true, true) => "LMTPSA",
        (true, true, false, false) => "UTF8LMTP",
        (true, true, false, true) => "UTF8LMTPA",
        (true, true, true, false) => "UTF8LMTPS",
        (true, true, true, true) => "UTF8LMTPSA",
        (true, false, false, false) => "UTF8SMTP",
        (true, false, false, true) => "UTF8SMTPA",
        (true, false, true, false) => "UTF8SMTPS",
        (true, false, true, true) => "UTF8SMTPSA",
        _ if !facts.extended => "SMTP",
        (false, false, false, false) => "ESMTP",
        (false, false, false, true) => "ESMTPA",
        (false, false, true, false) => "ESMTPS",
        (false, false, true, true) => "ESMTPSA",
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn every_type_is_registered() {
        let mut seen = std::collections::BTreeSet::new();
        for bits in 0..32u8 {
            let bit = |place: u8| bits >> place & 1 == 1;
            let facts = With {
                utf8: bit(0),
                lmtp: bit(1),
                extended: bit(2),
                tls: bit(3),
                authenticated: bit(4),
            };
            let word = with(facts);
            assert!(names::words("with").iter().any(|known| known.name == word), "{facts:?}");
            seen.insert(word);
        }
        // All but MMS, which is for gateways.
        assert_eq!(seen.len(), names::words("with").len() - 1);
    }

    #[test]
    fn says_what_the_session_was() {
        let esmtp = With { extended: true, ..With::default() };
        let tls = With { tls: true, ..esmtp };
        let known = With { authenticated: true, ..tls };
        assert_eq!([esmtp, tls, known].map(with), ["ESMTP", "ESMTPS", "ESMTPSA"]);
        assert_eq!(with(With { lmtp: true, ..tls }), "LMTPS");
        assert_eq!(with(With { utf8: true, ..known }), "UTF8SMTPSA");
        assert_eq!(with(With { utf8: true, lmtp: true, ..esmtp }), "UTF8LMTP");
        // There is neither SMTPS nor SMTPA.
        assert_eq!(with(With { extended: false, ..known }), "SMTP");
    }
}
