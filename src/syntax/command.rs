//! A command line to a command (rfc5321bis 4.1.1).
//!
//! Promises that a line gives either a command or the reply that refuses it, with nothing done in
//! between. Lenient where real clients need it: trailing white space, a space after `FROM:` and
//! `TO:`, paths without brackets. Refuses octets above 127 and control characters.

use std::sync::LazyLock;

use crate::registry::offer::{Known, Offer, Parameter, Protocol};
use crate::registry::reply::{self, Reply};
use crate::registry::verb::Verb;
use crate::syntax::path::{self, ForwardPath, PathError, ReversePath};

/// A command as the client sent it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// HELO host
    Helo(Box<str>),
    /// EHLO host
    Ehlo(Box<str>),
    /// MAIL FROM
    Mail {
        /// Where reports go.
        reverse_path: ReversePath,
        /// SIZE, in octets, if declared.
        size: Option<u64>,
        /// BODY, if declared.
        body: Option<Body>,
    },
    /// RCPT TO
    Rcpt(ForwardPath),
    /// DATA
    Data,
    /// RSET
    Rset,
    /// NOOP
    Noop,
    /// QUIT
    Quit,
    /// VRFY
    Vrfy,
    /// HELP, with its topic.
    Help(Box<str>),
}

/// The value of BODY (RFC 6152).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub enum Body {
    /// Seven-bit content, or nothing said.
    #[default]
    SevenBit,
    /// Content that may have the eighth bit set.
    EightBitMime,
}

/// What every client may use.
pub static OFFER: LazyLock<Offer> = LazyLock::new(|| Offer::new(Protocol::Smtp, false, 0));

/// Reads a line without its CRLF.
pub fn parse(line: &[u8]) -> Result<Command, Reply> {
    if !line.iter().all(|octet| matches!(octet, b' '..=b'~' | b'\t')) {
        return Err(reply::BAD_OCTETS);
    }
    let line = line.trim_ascii_end();
    let (name, argument) =
        line.split_at(line.iter().position(|&o| o == b' ').unwrap_or(line.len()));
    let argument = str::from_utf8(argument).map_err(|_| reply::BAD_OCTETS)?.trim_start();
    let verb = match OFFER.verb(name) {
        Known::Served(verb) => verb,
        Known::Refused => return Err(reply::NOT_SERVED),
        Known::Unknown => return Err(reply::UNKNOWN_VERB),
    };
    match verb {
        Verb::Helo => parse_hello(argument).map(Command::Helo),
        Verb::Ehlo => parse_hello(argument).map(Command::Ehlo),
        Verb::Mail => parse_mail(argument),
        Verb::Rcpt => parse_rcpt(argument),
        Verb::Data => bare(argument, Command::Data),
        Verb::Rset => bare(argument, Command::Rset),
        Verb::Quit => bare(argument, Command::Quit),
        Verb::Noop => Ok(Command::Noop),
        Verb::Help => Ok(Command::Help(argument.into())),
        Verb::Vrfy if argument.is_empty() => Err(reply::BAD_ARGUMENT.with_text("verify what?")),
        Verb::Vrfy => Ok(Command::Vrfy),
        Verb::Lhlo | Verb::Xclient => Err(reply::NOT_SERVED),
    }
}

fn bare(argument: &str, command: Command) -> Result<Command, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(reply::BAD_ARGUMENT.with_text("this command takes no argument"))
    }
}

/// Underscores, single labels and untagged IPv6 literals are common in real names and pass; a name
/// is one word of printable ASCII.
fn parse_hello(argument: &str) -> Result<Box<str>, Reply> {
    let usable = (1..=path::DOMAIN_OCTETS_MAX).contains(&argument.len())
        && argument.bytes().all(|octet| octet.is_ascii_graphic());
    if usable { Ok(argument.into()) } else { Err(reply::BAD_HELLO) }
}

fn parse_mail(argument: &str) -> Result<Command, Reply> {
    let refuse = |error: PathError| reply::BAD_SENDER.with_text(error.0);
    let (inside, parameters) = take_argument(argument, "FROM:", &refuse)?;
    let reverse_path = path::parse_reverse_path(inside).map_err(refuse)?;
    let (mut size, mut body) = (None, None);
    for word in parameters.split_ascii_whitespace() {
        let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
        let known = OFFER.mail_parameter(name).ok_or(reply::UNKNOWN_PARAMETER)?;
        let repeated = match known {
            Parameter::Size => size.replace(parse_size(value)?).is_some(),
            Parameter::Body => body.replace(parse_body(value)?).is_some(),
        };
        if repeated {
            return Err(reply::BAD_ARGUMENT.with_text("a parameter comes twice"));
        }
    }
    Ok(Command::Mail { reverse_path, size, body })
}

fn parse_rcpt(argument: &str) -> Result<Command, Reply> {
    let refuse = |error: PathError| reply::BAD_RECIPIENT.with_text(error.0);
    let (inside, parameters) = take_argument(argument, "TO:", &refuse)?;
    let forward_path = path::parse_forward_path(inside).map_err(refuse)?;
    // No extension offered adds a parameter to RCPT.
    if parameters.trim().is_empty() {
        Ok(Command::Rcpt(forward_path))
    } else {
        Err(reply::UNKNOWN_PARAMETER)
    }
}

/// Splits `FROM:<path> parameters` into what is between the brackets and the parameters.
fn take_argument<'a>(
    argument: &'a str,
    keyword: &str,
    refuse: &impl Fn(PathError) -> Reply,
) -> Result<(&'a str, &'a str), Reply> {
    let after = argument
        .split_at_checked(keyword.len())
        .filter(|(word, _)| word.eq_ignore_ascii_case(keyword))
        .map(|(_, after)| after.trim_start())
        .filter(|after| !after.is_empty())
        .ok_or_else(|| reply::BAD_ARGUMENT.with_text(format!("say {keyword}<address>")))?;
    let (inside, rest) = path::take_path(after).map_err(refuse)?;
    if rest.is_empty() || rest.starts_with(' ') {
        Ok((inside, rest))
    } else {
        Err(refuse(PathError("a space belongs after the path")))
    }
}

/// Up to 20 digits (RFC 1870 3); what does not fit 64 bits is larger than any limit.
fn parse_size(value: Option<&str>) -> Result<u64, Reply> {
    let digits = value.filter(|value| {
        (1..=20).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit())
    });
    digits
        .map(|digits| digits.parse().unwrap_or(u64::MAX))
        .ok_or_else(|| reply::BAD_ARGUMENT.with_text("SIZE takes a number of octets"))
}

fn parse_body(value: Option<&str>) -> Result<Body, Reply> {
    match value {
        Some(value) if value.eq_ignore_ascii_case("7BIT") => Ok(Body::SevenBit),
        Some(value) if value.eq_ignore_ascii_case("8BITMIME") => Ok(Body::EightBitMime),
        _ => Err(reply::BAD_ARGUMENT.with_text("BODY takes 7BIT or 8BITMIME")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(line: &str) -> u16 {
        parse(line.as_bytes()).map_or_else(|reply| reply.code, |_| 250)
    }

    #[test]
    fn reads_the_parameters_of_mail() {
        let command = parse(b"mail from: <a@b.example> size=10 BODY=8bitmime ").unwrap();
        let Command::Mail { reverse_path, size, body } = command else { panic!("{command:?}") };
        assert_eq!(reverse_path.to_string(), "a@b.example");
        assert_eq!((size, body), (Some(10), Some(Body::EightBitMime)));
        assert_eq!(code("MAIL FROM:a@b.example SIZE=1"), 250);
        assert_eq!(code("MAIL FROM:<>"), 250);
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
            ("MAIL FROM:<a@b.example> BODY=BINARYMIME", 501),
            ("MAIL TO:<a@b.example>", 501),
            ("RCPT TO:<a@b.example> NOTIFY=NEVER", 555),
            ("RCPT TO:<>", 501),
            ("TURN", 502),
            ("DATA x", 501),
            ("RSET x", 501),
            ("EHLO", 501),
            ("EHLO a b", 501),
            ("VRFY", 501),
            ("NOOP x", 250),
            ("HELP MAIL", 250),
            ("QUIT \t ", 250),
            ("EHLO my_host", 250),
            ("EHLO \u{e9}", 500),
            ("NOOP \u{1}", 500),
            ("NOOP\r", 500),
            ("NOOP\u{c}", 500),
        ] {
            assert_eq!(code(line), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(&line);
        }

        #[test]
        fn no_mail_argument_panics(argument in "[<>@:\"\\\\a-c .=0-9]{0,40}") {
            let _ = parse(format!("MAIL FROM:{argument}").as_bytes());
            let _ = parse(format!("RCPT TO:{argument}").as_bytes());
        }
    }
}
