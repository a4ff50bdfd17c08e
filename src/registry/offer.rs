//! What one listener offers to one client: made of the registry's rows, and asked at each command.
//!
//! Promises that a keyword, verb or parameter is offered only by an [`Offered`] row or the base
//! protocol, that bilateral extensions are shown to trusted clients alone, that no mechanism is
//! listed which the channel forbids, and that no look-up allocates. One offer is shared by all
//! sessions that it holds for.

use super::extension::{self, Extension, Offered, Support, head};
use super::mechanism::Mechanism;
use super::verb::Verb;

use super::parameter::Parameter;

/// The longest command line with its CRLF before extensions add to it, in octets: more than the
/// 512 of rfc5321bis 4.5.3.1.4, since a path alone may have so many.
pub const LINE_OCTETS_MAX: usize = 1024;

/// What clients look for most comes first; the others follow in the table's order.
const FIRST: [&str; 4] = ["PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"];

/// The protocol of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// SMTP (rfc5321bis).
    Smtp,
    /// LMTP (RFC 2033).
    Lmtp,
}

/// What a verb is to a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Served.
    Served(Verb),
    /// Registered, bilateral or local, but not served to this client: 502 (rfc5321bis 4.2.4).
    Refused,
    /// Nothing that is known: 500.
    Unknown,
}

/// What an offer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What is spoken.
    pub protocol: Protocol,
    /// Whether the client is trusted with bilateral extensions.
    pub trusted: bool,
    /// Whether the client is a user or of a network that may relay.
    pub known: bool,
    /// Largest message, in octets.
    pub message_octets_max: u64,
    /// Whether the connection can turn into TLS.
    pub start_tls: StartTls,
    /// The mechanisms for this channel, perhaps none of those there are; `None` where nobody can
    /// authenticate at all.
    pub mechanisms: Option<&'a [Mechanism]>,
    /// What the listener says of its extensions.
    pub listener: &'a Listener,
}

/// What a listener says of its extensions.
#[derive(Clone, Default, Debug)]
pub struct Listener {
    /// Keywords that it offers to nobody, in capitals.
    pub withheld: Vec<String>,
    /// What stands behind keywords in the EHLO reply. Those that only some listeners can keep are
    /// offered where they are named here, with or without a value.
    pub values: Vec<(&'static str, String)>,
}

impl Listener {
    /// One that withholds nothing.
    pub const PLAIN: &'static Self = &Self { withheld: Vec::new(), values: Vec::new() };

    fn withholds(&self, row: &Extension) -> bool {
        self.withheld.iter().any(|keyword| row.is(keyword))
    }

    fn names(&self, row: &Extension) -> bool {
        self.values.iter().any(|(keyword, _)| row.is(keyword))
    }

    fn value(&self, row: &Extension) -> &str {
        let value = self.values.iter().find(|(keyword, _)| row.is(keyword));
        value.map_or("", |(_, value)| value)
    }
}

impl Terms<'_> {
    /// The terms of a stranger, in clear and with no way out of that.
    pub fn new(protocol: Protocol, message_octets_max: u64) -> Self {
        let start_tls = StartTls::Absent;
        Self {
            protocol,
            trusted: false,
            known: false,
            message_octets_max,
            start_tls,
            mechanisms: None,
            listener: Listener::PLAIN,
        }
    }
}

/// Whether a connection can turn into TLS (RFC 3207).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartTls {
    /// Not here: 502.
    Absent,
    /// It can.
    Offered,
    /// It is under TLS: not offered again, and 503.
    Done,
}

/// What is offered.
#[derive(Debug)]
pub struct Offer {
    ehlo: String,
    keywords: Vec<&'static str>,
    /// The verbs served, with their forms.
    served: Vec<(Verb, &'static str)>,
    refused: Vec<String>,
    mail_parameters: Vec<Parameter>,
    rcpt_parameters: Vec<Parameter>,
    /// Octets that extensions add to the line of a verb.
    length_added: Vec<(&'static str, usize)>,
    mechanisms: Vec<Mechanism>,
}

impl Offer {
    /// What is offered on these terms.
    pub fn new(terms: &Terms<'_>) -> Self {
        let protocol = terms.protocol;
        let base = Verb::ALL.iter().filter(|verb| speaks(protocol, **verb));
        let mut offer = Self {
            ehlo: String::new(),
            keywords: Vec::new(),
            served: base.filter_map(|verb| Some((*verb, verb.base_form()?))).collect(),
            refused: Vec::new(),
            mail_parameters: Vec::new(),
            rcpt_parameters: Vec::new(),
            length_added: Vec::new(),
            mechanisms: terms.mechanisms.unwrap_or_default().to_vec(),
        };
        let place = |row: &&Extension| {
            FIRST.iter().position(|keyword| row.is(keyword)).unwrap_or(FIRST.len())
        };
        let mut rows: Vec<&'static Extension> = extension::all().iter().collect();
        rows.sort_by_key(place);
        for row in rows {
            match (row.offer(), terms.place(row)) {
                (Ok(offered), Place::Listed) => offer.add(offered, terms),
                (Ok(_), Place::Served) => offer.serve(row),
                _ if row.support == Support::Accepted => offer.serve(row),
                _ => offer.refuse(row),
            }
        }
        offer
    }

    /// The same, knowing the operator's own entries: their verbs are refused rather than unknown.
    #[must_use]
    pub fn with_local(mut self, local: &[Extension]) -> Self {
        for row in local {
            self.refuse(row);
        }
        self
    }

    fn add(&mut self, offered: Offered, terms: &Terms<'_>) {
        let row = offered.extension();
        let parameters = match row.keyword.as_str() {
            "SIZE" => &terms.message_octets_max.to_string(),
            "AUTH" => {
                let names: Vec<&str> = self.mechanisms.iter().map(|one| one.name()).collect();
                &names.join(" ")
            }
            // The attributes are words, not a syntax.
            "XCLIENT" => &row.ehlo_parameters,
            _ => terms.listener.value(row),
        };
        let space = if parameters.is_empty() { "" } else { " " };
        self.ehlo.extend(["\n", &row.keyword, space, parameters]);
        self.keywords.push(&row.keyword);
        self.serve(row);
    }

    /// Takes up the behaviour of a row.
    fn serve(&mut self, row: &'static Extension) {
        let verbs = row.verbs.iter().filter_map(|form| Some((Verb::named(head(form))?, &**form)));
        self.served.extend(verbs);
        let named = |form: &String| Parameter::named(head(form));
        self.mail_parameters.extend(row.mail_parameters.iter().filter_map(named));
        self.rcpt_parameters.extend(row.rcpt_parameters.iter().filter_map(named));
        self.length_added.extend(row.length_added.iter().map(|(verb, octets)| (&**verb, *octets)));
    }

    fn refuse(&mut self, row: &Extension) {
        self.refused.extend(row.verb_names().map(str::to_owned));
    }

    /// The mechanisms that the client may authenticate by now.
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// The keyword lines of the EHLO reply, each with a line feed in front of it.
    pub fn ehlo_text(&self) -> &str {
        &self.ehlo
    }

    /// Whether a keyword is in the EHLO reply.
    pub fn offers(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|offered| offered.eq_ignore_ascii_case(keyword))
    }

    /// What a verb is to this client, in any letter case.
    pub fn verb(&self, name: &[u8]) -> Known {
        let is = |word: &str| word.as_bytes().eq_ignore_ascii_case(name);
        if let Some((verb, _)) = self.served.iter().find(|(verb, _)| is(verb.word())) {
            return Known::Served(*verb);
        }
        if self.refused.iter().any(|refused| is(refused)) {
            return Known::Refused;
        }
        Known::Unknown
    }

    /// The parameter of MAIL with this name, in any letter case.
    pub fn mail_parameter(&self, name: &str) -> Option<Parameter> {
        Parameter::named(name).filter(|parameter| self.mail_parameters.contains(parameter))
    }

    /// The parameter of RCPT with this name, in any letter case.
    pub fn rcpt_parameter(&self, name: &str) -> Option<Parameter> {
        Parameter::named(name).filter(|parameter| self.rcpt_parameters.contains(parameter))
    }

    /// The longest line of a command with its CRLF, in octets (rfc5321bis 4.5.3.1.4).
    pub fn octets_max(&self, verb: Verb) -> usize {
        let added = self.length_added.iter().filter(|(name, _)| *name == verb.word());
        LINE_OCTETS_MAX + added.map(|(_, octets)| octets).sum::<usize>()
    }

    /// The form of a verb that is served, or of all of them for an empty topic (rfc5321bis
    /// 4.1.1.8); `None` for a topic that is none.
    pub fn help(&self, topic: &[u8]) -> Option<String> {
        if topic.is_empty() {
            let forms: Vec<&str> = self.served.iter().map(|(_, form)| *form).collect();
            return Some(forms.join("\n"));
        }
        let Known::Served(verb) = self.verb(topic) else { return None };
        self.served.iter().find(|(served, _)| *served == verb).map(|(_, form)| (*form).to_owned())
    }
}

/// Where a row that may be offered stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// In the EHLO reply.
    Listed,
    /// Not there; its verbs and parameters are understood, so that their commands say what is wrong.
    Served,
    /// Nowhere.
    Withheld,
}

impl Terms<'_> {
    fn place(&self, row: &Extension) -> Place {
        match row.keyword.as_str() {
            _ if self.listener.withholds(row) => Place::Withheld,
            // It needs CHUNKING (RFC 3030 3).
            "BINARYMIME" if self.listener.withheld.iter().any(|keyword| keyword == "CHUNKING") => {
                Place::Withheld
            }
            "STARTTLS" => match self.start_tls {
                StartTls::Absent => Place::Withheld,
                StartTls::Offered => Place::Listed,
                StartTls::Done => Place::Served,
            },
            "LIMITS" | "RRVS" if !self.listener.names(row) => Place::Withheld,
            "REQUIRETLS" => match self.start_tls {
                StartTls::Absent => Place::Withheld,
                // Its command says that TLS comes first.
                StartTls::Offered => Place::Served,
                StartTls::Done => Place::Listed,
            },
            "AUTH" => match self.mechanisms {
                None => Place::Withheld,
                Some([]) => Place::Served,
                Some(_) => Place::Listed,
            },
            // For submission, and only for who can be told of a message that fails (RFC 4865 5).
            "FUTURERELEASE" if !self.known || self.listener.value(row).is_empty() => {
                Place::Withheld
            }
            _ if !row.is_bilateral() => Place::Listed,
            _ if self.trusted && self.protocol == Protocol::Smtp => Place::Listed,
            _ => Place::Withheld,
        }
    }
}

/// Whether a verb is one of the protocol: LMTP has a hello of its own and no other (RFC 2033 4.1).
fn speaks(protocol: Protocol, verb: Verb) -> bool {
    match verb {
        Verb::Helo | Verb::Ehlo => protocol == Protocol::Smtp,
        Verb::Lhlo => protocol == Protocol::Lmtp,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;

    fn offers() -> impl Iterator<Item = (Protocol, bool, Offer)> {
        [Protocol::Smtp, Protocol::Lmtp].into_iter().flat_map(|protocol| {
            let offer = |trusted| Offer::new(&Terms { trusted, ..Terms::new(protocol, 1000) });
            [false, true].map(|trusted| (protocol, trusted, offer(trusted)))
        })
    }

    fn plain() -> Offer {
        Offer::new(&Terms::new(Protocol::Smtp, 1000))
    }

    #[test]
    fn each_reply_is_grammar_and_names_only_what_may_be_offered() {
        // Checks: S13
        for (protocol, trusted, offer) in offers() {
            let lines: Vec<&str> = offer.ehlo_text().split('\n').skip(1).collect();
            assert!(lines.len() >= 5);
            for line in lines {
                let mut words = line.split(' ');
                let keyword = words.next().unwrap();
                assert!(grammar::is_keyword(keyword), "{line}");
                assert!(words.all(grammar::is_ehlo_parameter), "{line}");
                let row = extension::find(keyword).unwrap();
                assert_eq!(row.support, Support::Offered);
                assert!(!row.is_bilateral() || trusted && protocol == Protocol::Smtp);
                assert!(offer.offers(&keyword.to_lowercase()));
            }
            assert!(!offer.offers("EXPN") && !offer.offers("MADE-UP"));
        }
    }

    #[test]
    fn the_reply_is_what_is_kept_today() {
        let kept = "\nPIPELINING\nSIZE 1000\n8BITMIME\nENHANCEDSTATUSCODES\nHELP\nCHUNKING\n\
                    BINARYMIME\nDELIVERBY\nDSN\nSMTPUTF8\nMT-PRIORITY";
        let attributes = "\nXCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT";
        for (protocol, trusted, offer) in offers() {
            let more = if trusted && protocol == Protocol::Smtp { attributes } else { "" };
            assert_eq!(offer.ehlo_text(), format!("{kept}{more}"));
        }
    }

    #[test]
    fn tls_and_mechanisms_are_listed_where_they_can_be_used() {
        // Checks: L06
        let known = |start_tls, mechanisms| {
            let offer =
                Offer::new(&Terms { start_tls, mechanisms, ..Terms::new(Protocol::Smtp, 1000) });
            let line = offer.ehlo_text().lines().find(|line| line.starts_with("AUTH"));
            let line = line.map(str::to_owned);
            let verbs = [offer.verb(b"STARTTLS"), offer.verb(b"AUTH")];
            (offer.offers("STARTTLS"), line, verbs.map(|known| known != Known::Refused))
        };
        let strong = [Mechanism::ScramSha256];
        let all = [Mechanism::ScramSha256, Mechanism::Plain];
        let line = |text: &str| Some(text.to_owned());
        assert_eq!(known(StartTls::Absent, None), (false, None, [false, false]));
        assert_eq!(known(StartTls::Offered, Some(&[])), (true, None, [true, true]));
        let seen = known(StartTls::Offered, Some(&strong));
        assert_eq!(seen, (true, line("AUTH SCRAM-SHA-256"), [true, true]));
        let seen = known(StartTls::Done, Some(&all));
        assert_eq!(seen, (false, line("AUTH SCRAM-SHA-256 PLAIN"), [true, true]));
    }

    #[test]
    fn what_a_listener_withholds_is_not_understood_either() {
        let listener =
            Listener { withheld: vec!["SIZE".into(), "HELP".into()], values: Vec::new() };
        let terms = Terms { listener: &listener, ..Terms::new(Protocol::Smtp, 1000) };
        let offer = Offer::new(&terms);
        let left = "\nPIPELINING\n8BITMIME\nENHANCEDSTATUSCODES\nCHUNKING\nBINARYMIME\n\
                    DELIVERBY\nDSN\nSMTPUTF8\nMT-PRIORITY";
        assert_eq!(offer.ehlo_text(), left);
        assert_eq!(offer.mail_parameter("SIZE"), None);
        assert_eq!(offer.mail_parameter("BODY"), Some(Parameter::Body));
        assert_eq!(offer.octets_max(Verb::Mail), 1024 + 17 + 16 + 17 + 116 + 10 + 15);
    }

    #[test]
    fn verbs_are_served_refused_or_unknown() {
        for (protocol, trusted, offer) in offers() {
            let smtp = protocol == Protocol::Smtp;
            let hello = |smtp, verb| if smtp { Known::Served(verb) } else { Known::Unknown };
            assert_eq!(offer.verb(b"EHLO"), hello(smtp, Verb::Ehlo));
            assert_eq!(offer.verb(b"helo"), hello(smtp, Verb::Helo));
            assert_eq!(offer.verb(b"LHLO"), hello(!smtp, Verb::Lhlo));
            assert_eq!(offer.verb(b"mAiL"), Known::Served(Verb::Mail));
            assert_eq!(offer.verb(b"VRFY"), Known::Served(Verb::Vrfy));
            let proxy = if smtp && trusted { Known::Served(Verb::Xclient) } else { Known::Refused };
            assert_eq!(offer.verb(b"xclient"), proxy);
            for verb in ["EXPN", "send", "TURN", "ETRN", "AUTH", "STARTTLS", "VERB", "XFORWARD"] {
                assert_eq!(offer.verb(verb.as_bytes()), Known::Refused, "{verb}");
            }
            for verb in ["", "MAILX", "SIZE", "CHUNKING", "\u{e9}"] {
                assert_eq!(offer.verb(verb.as_bytes()), Known::Unknown, "{verb}");
            }
        }
    }

    #[test]
    fn local_verbs_are_known_and_hide_none_that_is_served() {
        let mut row = extension::find("EXPN").unwrap().clone();
        row.verbs = vec!["XMINE 1*(SP word)".to_owned(), "MAIL".to_owned()];
        let offer = plain().with_local(&[row]);
        assert_eq!(offer.verb(b"xmine"), Known::Refused);
        assert_eq!(offer.verb(b"MAIL"), Known::Served(Verb::Mail));
        assert!(!offer.offers("EXPN"));
    }

    #[test]
    fn parameters_and_lengths_come_from_the_rows_offered() {
        let offer = plain();
        assert_eq!(offer.mail_parameter("size"), Some(Parameter::Size));
        assert_eq!(offer.mail_parameter("Body"), Some(Parameter::Body));
        assert_eq!(offer.mail_parameter("ret"), Some(Parameter::Ret));
        assert_eq!(offer.rcpt_parameter("notify"), Some(Parameter::Notify));
        for other in ["ORCPT", "REQUIRETLS", "AUTH", "MADE-UP", ""] {
            assert_eq!(offer.mail_parameter(other), None, "{other}");
        }
        assert_eq!(offer.rcpt_parameter("SIZE"), None);
        assert_eq!(offer.octets_max(Verb::Mail), 1024 + 26 + 17 + 16 + 17 + 116 + 10 + 15);
        assert_eq!(offer.octets_max(Verb::Rcpt), 1024 + 536);
    }

    #[test]
    fn help_has_the_forms_of_what_is_served() {
        let offer = Offer::new(&Terms::new(Protocol::Lmtp, 1000));
        let all = offer.help(b"").unwrap();
        assert_eq!(all.lines().count(), 10);
        assert!(all.contains("LHLO host\n") && !all.contains("EHLO") && !all.contains("XCLIENT"));
        assert_eq!(offer.help(b"help").as_deref(), Some("HELP [verb]"));
        assert_eq!(offer.help(b"EXPN"), None);
        assert_eq!(offer.help(b"EHLO"), None);
    }
}
