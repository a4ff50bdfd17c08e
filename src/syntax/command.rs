//! A command line to a command (rfc5321bis 4.1.1).
//!
//! Promises that a line gives either a command or the reply that refuses it, with nothing done in
//! between, and that only what the client was offered is understood. Lenient where real clients
//! need it: trailing white space, a space after `FROM:` and `TO:`, paths without brackets, odd host
//! names; a strict grammar refuses all but the first of these, and source routes. Refuses control
//! characters, and octets above 127 but for the paths and the parameters of commands that SMTPUTF8
//! lets have UTF-8 (RFC 6531 3.3).

use std::sync::Arc;

use crate::registry::mechanism::Mechanism;
use crate::registry::offer::{Known, Offer};
use crate::registry::reply::{self, Reply};
use crate::registry::verb::Verb;
use crate::syntax::parameter::body::Body;
use crate::syntax::parameter::{MailParameters, RcptParameters};
use crate::syntax::path::{self, ForwardPath, PathError, ReversePath};
use crate::syntax::sasl::{self, Response};
use crate::syntax::xclient::{self, Claim};

/// A command as the client sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// HELO host
    Helo(Arc<str>),
    /// EHLO host; LHLO where LMTP is spoken (RFC 2033 4.1).
    Ehlo(Arc<str>),
    /// MAIL FROM
    Mail {
        /// Where reports go.
        reverse_path: ReversePath,
        /// What is declared of the message.
        parameters: MailParameters,
    },
    /// RCPT TO
    Rcpt {
        /// Whom it is for.
        path: ForwardPath,
        /// It holds UTF-8, which only SMTPUTF8 allows.
        utf8: bool,
        /// What is asked for this recipient.
        parameters: RcptParameters,
    },
    /// DATA
    Data,
    /// BDAT
    Bdat(Chunk),
    /// BDAT that can't be read, and its refusal. Nobody knows where the next command begins.
    BadBdat(Reply),
    /// RSET
    Rset,
    /// NOOP
    Noop,
    /// QUIT
    Quit,
    /// VRFY
    Vrfy {
        /// What it asks for.
        text: Box<str>,
        /// The reply may hold UTF-8 (RFC 6531 3.7.4.2).
        utf8: bool,
    },
    /// HELP, with its topic.
    Help(Box<str>),
    /// STARTTLS
    StartTls,
    /// AUTH
    Auth {
        /// How the client will prove who it is.
        mechanism: Mechanism,
        /// The initial response, if one came.
        initial: Option<Response>,
    },
    /// XCLIENT, with who the client stands for.
    Xclient(Box<Claim>),
}

/// What BDAT says of the octets behind it (RFC 3030 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// How many they are.
    pub octets: u64,
    /// Whether they end the content.
    pub is_last: bool,
}

/// What a session understands.
#[derive(Clone, Copy, Debug)]
pub struct Grammar<'a> {
    /// What is offered to its client.
    pub offer: &'a Offer,
    /// Whether what only harmless clients get wrong is refused, too.
    pub strict: bool,
    /// What a path without a domain gets (RFC 6409 6.3); none where it is refused.
    pub domain: Option<&'a str>,
}

impl Grammar<'_> {
    /// Reads a line without its CRLF.
    pub fn parse(self, line: &[u8]) -> Result<Command, Reply> {
        self.parse_line(line).or_else(|refusal| self.refuse(line, refusal))
    }

    /// What a line comes to that is refused as it is.
    pub fn refuse(self, line: &[u8], refusal: Reply) -> Result<Command, Reply> {
        let name = line.trim_ascii().split(u8::is_ascii_whitespace).next().unwrap_or_default();
        match self.offer.verb(name) {
            Known::Served(Verb::Bdat) => Ok(Command::BadBdat(refusal)),
            _ => Err(refusal),
        }
    }

    fn parse_line(self, line: &[u8]) -> Result<Command, Reply> {
        let octets = line.len() + 2;
        let line = str::from_utf8(line).map_err(|_| reply::BAD_OCTETS)?;
        if line.chars().any(|character| character.is_control() && character != '\t') {
            return Err(reply::BAD_OCTETS);
        }
        let line = line.trim_ascii_end();
        let (name, argument) = line.split_once(' ').unwrap_or((line, ""));
        let verb = match self.offer.verb(name.as_bytes()) {
            Known::Served(verb) => verb,
            Known::Refused => return Err(reply::NOT_SERVED),
            Known::Unknown => return Err(reply::UNKNOWN_VERB),
        };
        if !line.is_ascii() && !self.takes_utf8(verb) {
            return Err(reply::BAD_OCTETS);
        }
        if octets > self.offer.octets_max(verb) {
            return Err(reply::LINE_TOO_LONG);
        }
        self.parse_argument(verb, argument.trim_start())
    }

    fn takes_utf8(self, verb: Verb) -> bool {
        matches!(verb, Verb::Mail | Verb::Rcpt | Verb::Vrfy) && self.offer.offers("SMTPUTF8")
    }

    fn parse_argument(self, verb: Verb, argument: &str) -> Result<Command, Reply> {
        match verb {
            Verb::Helo => self.parse_hello(argument).map(Command::Helo),
            Verb::Ehlo | Verb::Lhlo => self.parse_hello(argument).map(Command::Ehlo),
            Verb::Mail => self.parse_mail(argument),
            Verb::Rcpt => self.parse_rcpt(argument),
            Verb::Data => bare(argument, Command::Data),
            Verb::Bdat => parse_bdat(argument).map(Command::Bdat),
            Verb::Rset => bare(argument, Command::Rset),
            Verb::Quit => bare(argument, Command::Quit),
            Verb::Noop => Ok(Command::Noop),
            Verb::Help => Ok(Command::Help(argument.into())),
            Verb::Vrfy => self.parse_vrfy(argument),
            Verb::StartTls => bare(argument, Command::StartTls),
            Verb::Auth => parse_auth(argument),
            Verb::Xclient => xclient::parse(argument)
                .map(|claim| Command::Xclient(Box::new(claim)))
                .map_err(|why| reply::BAD_ARGUMENT.with_text(why)),
        }
    }

    /// Underscores, single labels and untagged IPv6 literals are common in real names and pass; a
    /// name is one word of printable ASCII.
    fn parse_hello(self, argument: &str) -> Result<Arc<str>, Reply> {
        let usable = (1..=path::DOMAIN_OCTETS_MAX).contains(&argument.len())
            && argument.bytes().all(|octet| octet.is_ascii_graphic());
        let right = || path::check_domain(argument).is_ok() && !argument.contains('_');
        if usable && (!self.strict || right()) {
            Ok(argument.into())
        } else {
            Err(reply::BAD_HELLO)
        }
    }

    fn parse_mail(self, argument: &str) -> Result<Command, Reply> {
        let refuse = |error: PathError| reply::BAD_SENDER.with_text(error.0);
        let (inside, words) = self.take_argument(argument, "FROM:", refuse)?;
        let reverse_path = path::parse_qualified(inside, self.domain, path::parse_reverse_path);
        let reverse_path = reverse_path.map_err(refuse)?;
        let parameters = MailParameters::parse(words, |name| self.offer.mail_parameter(name))?;
        if parameters.body == Some(Body::BinaryMime) && !self.offer.offers("BINARYMIME") {
            return Err(reply::BAD_VALUE
                .with_text("BODY takes 7BIT, 8BITMIME or, where it is offered, BINARYMIME"));
        }
        if !argument.is_ascii() && !parameters.utf8 {
            return Err(reply::UNDECLARED_SENDER);
        }
        Ok(Command::Mail { reverse_path, parameters })
    }

    fn parse_rcpt(self, argument: &str) -> Result<Command, Reply> {
        let refuse = |error: PathError| reply::BAD_RECIPIENT.with_text(error.0);
        let (inside, words) = self.take_argument(argument, "TO:", refuse)?;
        let path = path::parse_qualified(inside, self.domain, path::parse_forward_path);
        let path = path.map_err(refuse)?;
        let parameters = RcptParameters::parse(words, |name| self.offer.rcpt_parameter(name))?;
        Ok(Command::Rcpt { path, utf8: !argument.is_ascii(), parameters })
    }

    /// SMTPUTF8 may come last (RFC 6531 3.7.4.2). Where it is not offered it is what is asked for.
    fn parse_vrfy(self, argument: &str) -> Result<Command, Reply> {
        let word = argument.rsplit_once(' ').filter(|(_, word)| {
            word.eq_ignore_ascii_case("SMTPUTF8") && self.takes_utf8(Verb::Vrfy)
        });
        let (text, utf8) = word.map_or((argument, false), |(text, _)| (text.trim_end(), true));
        if text.is_empty() {
            return Err(reply::BAD_ARGUMENT.with_text("verify what?"));
        }
        if !text.is_ascii() && !utf8 {
            return Err(reply::UNDECLARED_RECIPIENT);
        }
        Ok(Command::Vrfy { text: text.into(), utf8 })
    }

    /// Splits `FROM:<path> parameters` into what is between the brackets and the parameters.
    fn take_argument<'a>(
        self,
        argument: &'a str,
        keyword: &str,
        refuse: impl Fn(PathError) -> Reply,
    ) -> Result<(&'a str, &'a str), Reply> {
        let after = argument
            .split_at_checked(keyword.len())
            .filter(|(word, _)| word.eq_ignore_ascii_case(keyword))
            .map(|(_, after)| after)
            .filter(|after| !after.trim_start().is_empty())
            .ok_or_else(|| reply::BAD_ARGUMENT.with_text(format!("say {keyword}<address>")))?;
        if self.strict && !after.starts_with('<') {
            let why = "the address stands in brackets, right after the colon";
            return Err(refuse(PathError(why)));
        }
        if self.strict && after.starts_with("<@") {
            return Err(reply::SOURCE_ROUTE);
        }
        let (inside, rest) = path::take_path(after.trim_start()).map_err(&refuse)?;
        if rest.is_empty() || rest.starts_with(' ') {
            Ok((inside, rest))
        } else {
            Err(refuse(PathError("a space belongs after the path")))
        }
    }
}

fn bare(argument: &str, command: Command) -> Result<Command, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(reply::BAD_ARGUMENT.with_text("this command takes no argument"))
    }
}

/// A size of up to 20 digits, and LAST or nothing.
fn parse_bdat(argument: &str) -> Result<Chunk, Reply> {
    let (digits, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    let is_number = digits.len() <= 20 && digits.bytes().all(|octet| octet.is_ascii_digit());
    let octets = digits.parse().ok().filter(|_| is_number);
    let is_last = rest.trim_start().eq_ignore_ascii_case("LAST");
    match octets {
        Some(octets) if is_last || rest.is_empty() => Ok(Chunk { octets, is_last }),
        _ => Err(reply::BAD_ARGUMENT.with_text("say BDAT, the number of octets, and LAST or not")),
    }
}

fn parse_auth(argument: &str) -> Result<Command, Reply> {
    let (name, initial) = match argument.split_once(' ') {
        Some((name, initial)) => (name, Some(initial.trim_start())),
        None => (argument, None),
    };
    if name.is_empty() {
        return Err(reply::BAD_ARGUMENT.with_text("say AUTH and a mechanism"));
    }
    let mechanism = Mechanism::named(name).ok_or(reply::UNKNOWN_MECHANISM)?;
    let initial = initial.map(|text| sasl::parse_initial(text).ok_or(reply::BAD_RESPONSE));
    Ok(Command::Auth { mechanism, initial: initial.transpose()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::offer::{Listener, Protocol, Terms};

    fn parse(line: &[u8], strict: bool) -> Result<Command, Reply> {
        let offer = Offer::new(&Terms::new(Protocol::Smtp, 1000));
        Grammar { offer: &offer, strict, domain: None }.parse(line)
    }

    fn code(line: &str, strict: bool) -> u16 {
        parse(line.as_bytes(), strict).map_or_else(|reply| reply.code, |_| 250)
    }

    #[test]
    fn reads_the_parameters_of_mail() {
        let command = parse(b"mail from: <a@b.example> size=10 BODY=8bitmime ", false).unwrap();
        let Command::Mail { reverse_path, parameters } = command else { panic!("{command:?}") };
        assert_eq!(reverse_path.to_string(), "a@b.example");
        let expected = MailParameters {
            size: Some(10),
            body: Some(Body::EightBitMime),
            ..MailParameters::default()
        };
        assert_eq!(parameters, expected);
        assert_eq!(code("MAIL FROM:a@b.example SIZE=1", false), 250);
        assert_eq!(code("MAIL FROM:<>", true), 250);
    }

    #[test]
    fn refuses_with_the_right_code() {
        for (line, expected) in [
            ("FOO", 500),
            ("", 500),
            ("MAIL", 501),
            ("MAIL FROM:", 501),
            ("MAIL FROM:<a b@c>", 501),
            ("MAIL FROM:<a@b.example> FOO=1", 555),
            ("MAIL FROM:<a@b.example> SIZE=", 501),
            ("MAIL FROM:<a@b.example> SIZE=1 SIZE=2", 501),
            ("MAIL FROM:<a@b.example>SIZE=1", 501),
            ("MAIL FROM:<a@b.example> BODY", 501),
            ("MAIL FROM:<a@b.example> BODY=9BITMIME", 504),
            ("MAIL TO:<a@b.example>", 501),
            ("RCPT TO:<a@b.example> FOO=1", 555),
            ("RCPT TO:<a@b.example> NOTIFY=NONE", 501),
            ("RCPT TO:<>", 501),
            ("TURN", 502),
            ("DATA x", 501),
            ("RSET x", 501),
            ("EHLO", 501),
            ("EHLO a b", 501),
            ("LHLO a", 500),
            ("VRFY", 501),
            ("NOOP x", 250),
            ("HELP MAIL", 250),
            ("QUIT \t ", 250),
            ("EHLO my_host", 250),
            ("EHLO \u{e9}", 500),
            ("NOOP \u{1}", 500),
            ("XCLIENT ADDR=192.0.2.1", 502),
            ("NOOP\r", 500),
            ("NOOP\u{c}", 500),
        ] {
            assert_eq!(code(line, false), expected, "{line}");
        }
    }

    #[test]
    fn a_chunk_has_a_size_or_ends_the_session() {
        let chunk = |octets, is_last| Ok(Command::Bdat(Chunk { octets, is_last }));
        for (line, expected) in [
            ("BDAT 0", chunk(0, false)),
            ("bdat 18446744073709551615 last ", chunk(u64::MAX, true)),
            ("BDAT  00000000000000000012  LAST", chunk(12, true)),
        ] {
            assert_eq!(parse(line.as_bytes(), true), expected, "{line}");
        }
        for line in [
            "BDAT",
            "BDAT ",
            "BDAT LAST",
            "BDAT -1",
            "BDAT +1",
            "BDAT 1x",
            "BDAT 0x10",
            "BDAT 1LAST",
            "BDAT 1 FIRST",
            "BDAT 1 LAST LAST",
            "BDAT 18446744073709551616",
            "BDAT 000000000000000000001",
            "BDAT 1\u{e9}",
            "BDAT\t1",
            "BDAT 1\r",
            &format!("BDAT {}1", " ".repeat(1_100)),
        ] {
            let read = parse(line.as_bytes(), false);
            assert!(matches!(read, Ok(Command::BadBdat(_))), "{line:?} {read:?}");
        }
    }

    #[test]
    fn a_strict_grammar_refuses_what_clients_get_wrong() {
        for (line, expected) in [
            ("MAIL FROM: <a@b.example>", 501),
            ("MAIL FROM:a@b.example", 501),
            ("MAIL FROM:<@relay.example:a@b.example>", 553),
            ("RCPT TO: <a@b.example>", 501),
            ("RCPT TO:<@relay.example:a@b.example>", 553),
            ("EHLO my_host", 501),
            ("EHLO 2001:db8::1", 501),
        ] {
            assert_eq!(code(line, true), expected, "{line}");
            assert_eq!(code(line, false), 250, "{line}");
        }
        for line in ["EHLO host", "EHLO [192.0.2.1]", "EHLO [IPv6:2001:db8::1]", "NOOP  "] {
            assert_eq!(code(line, true), 250, "{line}");
        }
    }

    #[test]
    fn utf8_is_for_paths_that_declare_it() {
        for (line, expected) in [
            ("MAIL FROM:<ü@bücher.example> SMTPUTF8", 250),
            ("MAIL FROM:<a@b.example> smtputf8", 250),
            ("MAIL FROM:<ü@b.example>", 550),
            ("MAIL FROM:<a@bücher.example> SIZE=1", 550),
            ("MAIL FROM:<a@b.example> SMTPUTF8=", 501),
            ("MAIL FROM:<a@b.example> SMTPUTF8=1", 501),
            ("MAIL FROM:<a@b.example> SMTPUTF8 SMTPUTF8", 501),
            ("MAIL FROM:<a@b_\u{fdd0}.example> SMTPUTF8", 501),
            ("RCPT TO:<ü@b.example>", 250),
            ("RCPT TO:<\"ü x\"@[IPv6:2001:db8::1]>", 250),
            ("RCPT TO:<a@b.example> SMTPUTF8", 555),
            ("RCPT TO:<\u{85}@b.example>", 500),
            ("VRFY ü SMTPUTF8", 250),
            ("VRFY ü", 553),
            ("VRFY SMTPUTF8", 250),
            ("VRFY  SMTPUTF8 smtputf8", 250),
            ("NOOP ü", 500),
            ("HELP ü", 500),
            ("EHLO ü.example", 500),
            ("DATA ü", 500),
            ("ÜBER", 500),
        ] {
            assert_eq!(code(line, false), expected, "{line}");
        }
        assert_eq!(parse(b"RCPT TO:<\xfc@b.example>", false), Err(reply::BAD_OCTETS));
        let command = parse("RCPT TO:<ü@bücher.example>".as_bytes(), false).unwrap();
        let Command::Rcpt { path, utf8, .. } = command else { panic!("{command:?}") };
        assert_eq!((path.to_string().as_str(), utf8), ("ü@xn--bcher-kva.example", true));
        let command = parse(b"RCPT TO:<a@xn--bcher-kva.example>", false).unwrap();
        assert!(matches!(command, Command::Rcpt { utf8: false, .. }));
    }

    #[test]
    fn where_it_is_not_offered_there_is_none() {
        let listener = Listener { withheld: vec!["SMTPUTF8".into()], ..Listener::default() };
        let offer = Offer::new(&Terms { listener: &listener, ..Terms::new(Protocol::Smtp, 1000) });
        let code = |line: &str| {
            let read =
                Grammar { offer: &offer, strict: false, domain: None }.parse(line.as_bytes());
            read.map_or_else(|refusal| refusal.code, |_| 250)
        };
        assert_eq!(code("MAIL FROM:<ü@b.example> SMTPUTF8"), 500);
        assert_eq!(code("MAIL FROM:<a@b.example> SMTPUTF8"), 555);
        assert_eq!(code("RCPT TO:<ü@b.example>"), 500);
        assert_eq!(code("VRFY a SMTPUTF8"), 250, "it is what is asked for");
    }

    #[test]
    fn a_command_has_a_longest_line() {
        let offer = Offer::new(&Terms::new(Protocol::Smtp, 1000));
        let line = |octets: usize| format!("NOOP {}", "x".repeat(octets - 7));
        assert_eq!(code(&line(offer.octets_max(Verb::Noop)), false), 250);
        assert_eq!(code(&line(offer.octets_max(Verb::Noop) + 1), false), 500);
        assert!(offer.octets_max(Verb::Mail) > offer.octets_max(Verb::Noop));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..600), strict: bool) {
            let _ = parse(&line, strict);
        }

        #[test]
        fn no_mail_argument_panics(argument in "[<>@:\"\\\\a-c .=0-9]{0,40}", strict: bool) {
            let _ = parse(format!("MAIL FROM:{argument}").as_bytes(), strict);
            let _ = parse(format!("RCPT TO:{argument}").as_bytes(), strict);
        }
    }
}
