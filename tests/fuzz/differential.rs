//! Command lines beside the `smtp-proto` crate: both read the same, but for the differences listed.
//!
//! Each of `DIFFERENCES` says why it is, for which lines it may come, and shows one; a test holds
//! that one to it, so that none is listed in vain. Any other difference fails.

use angarium::syntax::command::Command;
use angarium::syntax::parameter::body::Body;
use angarium::syntax::path::{ForwardPath, Mailbox, check_domain};
use fastrand::Rng;
use smtp_proto::{MAIL_BODY_7BIT, MAIL_BODY_8BITMIME, Request};

use crate::Target;
use crate::command::{WORDS, parse};

pub(crate) const TARGET: Target =
    Target { name: "differential", words: WORDS, octets_max: 600, check };

/// What a line comes to, in terms of both.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Meaning {
    Hello {
        extended: bool,
        name: String,
    },
    Mail {
        path: String,
        size: u64,
        seven_bit: bool,
        eight_bit: bool,
    },
    Rcpt {
        path: String,
    },
    Other(&'static str),
    /// With our reply code.
    Refused(u16),
}

fn ours(line: &[u8]) -> Meaning {
    match parse(line) {
        Ok(Command::Helo(name)) => Meaning::Hello { extended: false, name: name.to_string() },
        Ok(Command::Ehlo(name)) => Meaning::Hello { extended: true, name: name.to_string() },
        Ok(Command::Mail { reverse_path, parameters }) => Meaning::Mail {
            path: reverse_path.to_string(),
            size: parameters.size.unwrap_or(0),
            seven_bit: parameters.body == Some(Body::SevenBit),
            eight_bit: parameters.body == Some(Body::EightBitMime),
        },
        Ok(Command::Rcpt { path: ForwardPath::Postmaster, .. }) => {
            Meaning::Rcpt { path: String::new() }
        }
        Ok(Command::Rcpt { path, .. }) => Meaning::Rcpt { path: path.to_string() },
        Ok(Command::Data) => Meaning::Other("DATA"),
        Ok(Command::Bdat(_)) => Meaning::Other("BDAT"),
        Ok(Command::BadBdat(refusal)) => Meaning::Refused(refusal.code),
        Ok(Command::Rset) => Meaning::Other("RSET"),
        Ok(Command::Noop) => Meaning::Other("NOOP"),
        Ok(Command::Quit) => Meaning::Other("QUIT"),
        Ok(Command::Vrfy { .. }) => Meaning::Other("VRFY"),
        Ok(Command::Help(_)) => Meaning::Other("HELP"),
        Ok(Command::StartTls) => Meaning::Other("STARTTLS"),
        Ok(Command::Auth { .. }) => Meaning::Other("AUTH"),
        Ok(Command::Xclient(_)) => Meaning::Other("XCLIENT"),
        Err(refusal) => Meaning::Refused(refusal.code),
    }
}

fn theirs(line: &[u8]) -> Meaning {
    let wire = [line, b"\r\n"].concat();
    match Request::parse(&mut wire.iter()) {
        Ok(Request::Helo { host }) => Meaning::Hello { extended: false, name: host.into() },
        Ok(Request::Ehlo { host }) => Meaning::Hello { extended: true, name: host.into() },
        Ok(Request::Mail { from }) => Meaning::Mail {
            path: as_ours(&from.address),
            size: from.size as u64,
            seven_bit: from.flags & MAIL_BODY_7BIT != 0,
            eight_bit: from.flags & MAIL_BODY_8BITMIME != 0,
        },
        Ok(Request::Rcpt { to }) => Meaning::Rcpt { path: as_ours(&to.address) },
        Ok(other) => Meaning::Other(other.name()),
        Err(_) => Meaning::Refused(0),
    }
}

/// Quoted where it must be, and with its domain in lower case, as we print it; smtp-proto gives the
/// address without quotes.
fn as_ours(address: &str) -> String {
    let (local_part, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let mailbox = Mailbox::new(local_part, domain);
    mailbox.map_or_else(|_| address.to_owned(), |mailbox| mailbox.to_string())
}

/// A line that the two read differently.
struct Case<'a> {
    line: &'a [u8],
    ours: Meaning,
    theirs: Meaning,
}

impl Case<'_> {
    fn new(line: &[u8]) -> Case<'_> {
        Case { line, ours: ours(line), theirs: theirs(line) }
    }

    fn is_same(&self) -> bool {
        let refused = |meaning: &Meaning| matches!(meaning, Meaning::Refused(_));
        self.ours == self.theirs || (refused(&self.ours) && refused(&self.theirs))
    }

    fn refused(&self) -> bool {
        matches!(self.ours, Meaning::Refused(_))
    }

    fn they_refuse(&self) -> bool {
        matches!(self.theirs, Meaning::Refused(_))
    }

    /// The path that smtp-proto has read.
    fn their_path(&self) -> Option<&str> {
        path(&self.theirs)
    }

    fn our_path(&self) -> Option<&str> {
        path(&self.ours)
    }

    fn only_they_read(&self) -> bool {
        self.refused() && self.their_path().is_some()
    }

    fn only_we_read(&self) -> bool {
        self.they_refuse() && self.our_path().is_some()
    }

    fn holds(&self, part: &str) -> bool {
        self.count(part) > 0
    }

    fn count(&self, part: &str) -> usize {
        self.line.to_ascii_uppercase().windows(part.len()).filter(|w| *w == part.as_bytes()).count()
    }

    /// What stands behind the verb.
    fn argument(&self) -> &[u8] {
        let end = self.line.iter().position(|octet| *octet == b' ').unwrap_or(self.line.len());
        self.line[end..].trim_ascii()
    }
}

fn path(meaning: &Meaning) -> Option<&str> {
    match meaning {
        Meaning::Mail { path, .. } | Meaning::Rcpt { path } => Some(path),
        _ => None,
    }
}

struct Difference {
    /// What each makes of it.
    why: &'static str,
    /// A line that shows it.
    example: &'static str,
    explains: fn(&Case<'_>) -> bool,
}

const THEIR_VERBS: &[&str] = &["EXPN", "ETRN", "ATRN", "BDAT", "BURL", "AUTH", "LHLO", "STARTTLS"];

/// Parameters whose values have tests of their own, beside their code.
const VALUED: &[&str] =
    &[" ORCPT", " NOTIFY", " RET", " ENVID", " BY", " MT-PRIORITY", " SMTPUTF8", " REQUIRETLS"];

const DIFFERENCES: &[Difference] = &[
    Difference {
        why: "we refuse control characters and octets above 127; they are text to smtp-proto",
        example: "EHLO \u{e9}.example",
        explains: |case| {
            case.refused() && case.line.iter().any(|o| !matches!(o, b' '..=b'~' | b'\t'))
        },
    },
    Difference {
        why: "a tab is white space to us where it may stand at all; it is text to smtp-proto",
        example: "EHLO c.example\t",
        explains: |case| case.line.contains(&b'\t'),
    },
    Difference {
        why: "smtp-proto skips spaces in front of the verb; rfc5321bis 4.1.1 has none there",
        example: " QUIT",
        explains: |case| case.refused() && case.line.starts_with(b" "),
    },
    Difference {
        why: "smtp-proto reads verbs that are not served here",
        example: "EXPN list",
        explains: |case| {
            case.refused()
                && (matches!(case.theirs, Meaning::Other(verb) if THEIR_VERBS.contains(&verb)))
        },
    },
    Difference {
        why: "smtp-proto ignores what follows DATA, RSET and QUIT; they take no argument",
        example: "DATA now",
        explains: |case| {
            case.refused()
                && matches!(case.theirs, Meaning::Other("DATA" | "RSET" | "QUIT"))
                && !case.argument().is_empty()
        },
    },
    Difference {
        why: "smtp-proto takes the first of several words as the client's name",
        example: "EHLO c.example d.example",
        explains: |case| {
            case.refused()
                && matches!(case.theirs, Meaning::Hello { .. })
                && case.argument().contains(&b' ')
        },
    },
    Difference {
        why: "we skip more than one space in front of the client's name",
        example: "EHLO  c.example",
        explains: |case| {
            matches!(case.ours, Meaning::Hello { .. }) && case.they_refuse() && case.holds("LO  ")
        },
    },
    Difference {
        why: "we read paths without brackets, as old devices send them",
        example: "MAIL FROM:a@c.example",
        explains: |case| case.only_we_read() && !case.holds(":<") && !case.holds(": <"),
    },
    Difference {
        why: "to smtp-proto a size that does not fit is an error, or what remains of it; to us it is \
              the largest one, for which the limit gives the reply",
        example: "MAIL FROM:<> SIZE=18446744073709551616",
        explains: |case| {
            let digits = case.line.split(|octet| !octet.is_ascii_digit());
            case.holds("SIZE=") && digits.map(<[u8]>::len).max() >= Some(20)
        },
    },
    Difference {
        why: "of a parameter that comes twice smtp-proto takes the last; we refuse",
        example: "MAIL FROM:<> SIZE=1 SIZE=2",
        explains: |case| case.refused() && (case.count(" SIZE=") > 1 || case.count(" BODY=") > 1),
    },
    Difference {
        why: "smtp-proto reads parameters of extensions that are not offered here",
        example: "RCPT TO:<u@c.example> RRVS=2014-04-03T23:01:00Z",
        explains: |case| case.ours == Meaning::Refused(555) && case.their_path().is_some(),
    },
    Difference {
        why: "smtp-proto looks less closely at values, and takes the last of those that come twice",
        example: "MAIL FROM:<> ENVID=a=b",
        explains: |case| case.only_they_read() && VALUED.iter().any(|name| case.holds(name)),
    },
    Difference {
        why: "smtp-proto knows few types of addresses in ORCPT, and other bounds of values",
        example: "RCPT TO:<u@c.example> ORCPT=x.400;u",
        explains: |case| case.only_we_read() && VALUED.iter().any(|name| case.holds(name)),
    },
    Difference {
        why: "smtp-proto does not look at the domain",
        example: "RCPT TO:<u@-c.example>",
        explains: |case| {
            let domain = case.their_path().and_then(|path| path.rsplit_once('@'));
            case.refused() && domain.is_some_and(|(_, domain)| check_domain(domain).is_err())
        },
    },
    Difference {
        why: "smtp-proto has no address literals",
        example: "RCPT TO:<u@[192.0.2.1]>",
        explains: |case| {
            case.they_refuse() && case.our_path().is_some_and(|path| path.contains("@["))
        },
    },
    Difference {
        why: "we drop a source route unread",
        example: "RCPT TO:<@a..b,@c d:u@c.example>",
        explains: |case| case.only_we_read() && case.holds("<@"),
    },
    Difference {
        why: "smtp-proto skips an octet between the keyword and its colon",
        example: "RCPT TO;:<u@c.example>",
        explains: |case| {
            let argument = case.argument().to_ascii_uppercase();
            let keyword = argument.starts_with(b"FROM:") || argument.starts_with(b"TO:");
            case.only_they_read() && !keyword
        },
    },
    Difference {
        why: "smtp-proto skips spaces after the opening bracket and in front of the colon",
        example: "RCPT TO:< u@c.example>",
        explains: |case| case.only_they_read() && (case.holds("< ") || case.holds(" :")),
    },
    Difference {
        why: "smtp-proto skips spaces between a parameter's = and its value",
        example: "MAIL FROM:<> SIZE= 1",
        explains: |case| case.only_they_read() && case.holds("= "),
    },
    Difference {
        why: "smtp-proto needs no space in front of the parameters",
        example: "MAIL FROM:<a@c.example>SIZE=1",
        explains: |case| {
            let behind = case.line.rsplit(|octet| *octet == b'>').next().unwrap_or_default();
            let stuck = behind.first().is_some_and(|octet| *octet != b' ');
            case.only_they_read() && stuck
        },
    },
    Difference {
        why: "smtp-proto tells RCPT TO:<Postmaster> and RCPT TO:<> not apart; nobody is <> to us",
        example: "RCPT TO:<>",
        explains: |case| {
            case.refused() && matches!(&case.theirs, Meaning::Rcpt { path } if path.is_empty())
        },
    },
    Difference {
        why: "the reverse-path has no <Postmaster> without a domain (rfc5321bis 4.1.1.2)",
        example: "MAIL FROM:<Postmaster>",
        explains: |case| {
            case.refused() && case.their_path() == Some("") && case.holds("POSTMASTER")
        },
    },
    Difference {
        why: "smtp-proto drops what looks like a source route more than once",
        example: "RCPT TO:<@a:@b:u@c.example>",
        explains: |case| case.only_they_read() && case.holds("<@"),
    },
    Difference {
        why: "smtp-proto lets stray dots and quotes pass in a local part (rfc5321bis 4.1.2)",
        example: "MAIL FROM:<a\"b\"@c.example>",
        explains: |case| {
            let odd = ["\"", "\\", "..", "<.", ".@"].iter().any(|part| case.holds(part));
            let path = case.their_path().map(str::to_ascii_uppercase);
            case.refused() && odd && path.is_some_and(|path| !case.holds(&format!("<{path}")))
        },
    },
    Difference {
        why: "smtp-proto takes quotes off what VRFY asks for, and refuses nothing at all",
        example: "VRFY \"\"",
        explains: |case| {
            case.they_refuse() && case.ours == Meaning::Other("VRFY") && case.holds("\"")
        },
    },
    Difference {
        why: "smtp-proto takes addresses of 256 octets at most; rfc5321bis 4.5.3.1 sets floors",
        example: "VRFY llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll\
                  llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll\
                  llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll\
                  lllllllllllllllll@c.example",
        explains: |case| {
            let long = case.line.len() > 256;
            case.they_refuse()
                && long
                && (case.our_path().is_some() || case.ours == Meaning::Other("VRFY"))
        },
    },
];

fn check(line: &[u8], _: &mut Rng) {
    if line.contains(&b'\n') {
        return;
    }
    let case = Case::new(line);
    let known = case.is_same() || DIFFERENCES.iter().any(|known| (known.explains)(&case));
    let (shown, Case { ours, theirs, .. }) = (line.escape_ascii(), &case);
    assert!(known, "{shown}\nours:   {ours:?}\ntheirs: {theirs:?}");
}

#[test]
fn every_difference_is_one() {
    for Difference { why, example, explains } in DIFFERENCES {
        let case = Case::new(example.as_bytes());
        assert!(!case.is_same() && explains(&case), "not so: {why}");
    }
}
