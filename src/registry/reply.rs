//! Every reply that this program gives as a server: reply code, enhanced status and text.
//!
//! Promises that each is declared once, that its status is registered and of the class of its code
//! (tested below), and that no encoded line but a challenge passes 512 octets (rfc5321bis
//! 4.5.3.1.5). A text may be replaced with one that names a fault or a limit; code and status may not.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};

use super::status::EnhancedStatus;

/// Longest reply line with code and CRLF, in octets (rfc5321bis 4.5.3.1.5).
pub const LINE_OCTETS_MAX: usize = 512;

/// A server's reply: three digits, usually an enhanced status, and one or more lines of text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// The enhanced status; none on greetings, EHLO replies and 3yz (RFC 2034 4).
    pub status: Option<EnhancedStatus>,
    text: Cow<'static, str>,
}

impl Reply {
    const fn fixed(code: u16, status: Option<EnhancedStatus>, text: &'static str) -> Self {
        Self { code, status, text: Cow::Borrowed(text) }
    }

    /// The same code and status with another text, whose lines are separated by `\n`.
    pub fn with_text(&self, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code: self.code, status: self.status, text: text.into() }
    }

    /// The same in ASCII: most replies may hold nothing else (RFC 6531 3.7.4.2).
    #[must_use]
    pub fn into_ascii(mut self) -> Self {
        if !self.text.is_ascii() {
            let ascii = |character: char| if character.is_ascii() { character } else { '?' };
            self.text = self.text.chars().map(ascii).collect::<String>().into();
        }
        self
    }

    /// A refusal for good as one for now: 450, with the same subject and detail.
    pub fn softened(&self) -> Self {
        match self.status {
            Some(status) if self.is_permanent() => Self {
                code: 450,
                status: Some(EnhancedStatus { class: 4, ..status }),
                text: self.text.clone(),
            },
            _ => self.clone(),
        }
    }

    /// The text, lines separated by `\n`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the reply refuses for good (5yz).
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Appends the reply as it goes over the wire. Control characters in the text become `?`, so
    /// that nothing quoted from a client can forge a line.
    pub fn encode(&self, out: &mut BytesMut) {
        let ahead = 2 + 4 + self.status.map_or(0, |status| status.octets() + 1);
        // A challenge is one line, whatever its length (RFC 4954 4).
        let is_challenge = self.code == CHALLENGE.code;
        let octets_max = if is_challenge { usize::MAX } else { LINE_OCTETS_MAX - ahead };
        let mut rest = Some(&*self.text);
        while let Some(text) = rest {
            let (piece, after) = take_line(text, octets_max);
            rest = after;
            self.encode_line(piece, rest.is_none(), out);
        }
    }

    fn encode_line(&self, text: &str, is_last: bool, out: &mut BytesMut) {
        out.reserve(LINE_OCTETS_MAX.min(text.len() + 20));
        put_number(self.code, out);
        out.put_u8(if is_last { b' ' } else { b'-' });
        if let Some(EnhancedStatus { class, subject, detail }) = self.status {
            put_number(class.into(), out);
            for number in [subject, detail] {
                out.put_u8(b'.');
                put_number(number, out);
            }
            out.put_u8(b' ');
        }
        let start = out.len();
        out.put_slice(text.as_bytes());
        for octet in out.iter_mut().skip(start).filter(|octet| octet.is_ascii_control()) {
            *octet = b'?';
        }
        out.put_slice(b"\r\n");
    }
}

impl fmt::Display for Reply {
    /// On one line, for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.code)?;
        if let Some(status) = self.status {
            write!(f, "{status} ")?;
        }
        f.write_str(&self.text.replace('\n', " / "))
    }
}

/// The first line of `text`, cut at a character's border where it has more than `octets_max` octets;
/// and what follows, if anything does.
fn take_line(text: &str, octets_max: usize) -> (&str, Option<&str>) {
    let (line, after) = match text.split_once('\n') {
        Some((line, after)) => (line, Some(after)),
        None => (text, None),
    };
    if line.len() <= octets_max {
        return (line, after);
    }
    let (piece, _) = text.split_at(text.floor_char_boundary(octets_max));
    (piece, text.get(piece.len()..))
}

fn put_number(number: u16, out: &mut BytesMut) {
    let mut digits = [0; 5];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $code:literal $([$class:literal $subject:literal $detail:literal])? $text:literal;)+) => {
        $($(#[$doc])* pub const $name: Reply = Reply::fixed($code, replies!(@status $($class $subject $detail)?), $text);)+

        /// All replies with their names, for documentation and tests.
        pub const ALL: &[(&str, Reply)] = &[$((stringify!($name), $name)),+];
    };
    (@status) => { None };
    (@status $class:literal $subject:literal $detail:literal) => {
        Some(EnhancedStatus::new($class, $subject, $detail))
    };
}

replies! {
    /// The greeting; its text is the host name, the protocol and what serves it (rfc5321bis 3.1).
    GREETING = 220 "Angarium";
    /// HELO and EHLO (rfc5321bis 4.1.1.1); the text is the host name and the extensions.
    HELLO = 250 "at your service";
    /// QUIT.
    CLOSING = 221 [2 0 0] "closing, good bye";
    /// RSET, NOOP.
    OK = 250 [2 0 0] "ok";
    /// MAIL.
    SENDER_OK = 250 [2 1 0] "sender ok";
    /// MAIL, where the message gets another priority than was asked for; the text begins with it
    /// (RFC 6710 4).
    PRIORITY_CHANGED = 250 [2 3 6] "0 is the highest priority of clients not known";
    /// RCPT.
    RECIPIENT_OK = 250 [2 1 5] "recipient ok";
    /// The final dot: the message is on stable storage (rfc5321bis 4.1.1.4).
    QUEUED = 250 [2 0 0] "queued";
    /// VRFY, which tells nobody who lives here (rfc5321bis 3.5.3, 7.3).
    NOT_VERIFIED = 252 [2 0 0] "try to send to it";
    /// VRFY of what has a name in UTF-8, where the client has not said that it reads that (RFC 6531
    /// 3.7.4.2).
    VERIFIED_IN_UTF8 = 252 [2 6 8] "its name is in UTF-8: ask with SMTPUTF8";
    /// HELP; the text lists the verbs.
    HELP = 214 [2 0 0] "see rfc5321";
    /// DATA.
    START_CONTENT = 354 "end with a line that holds only a dot";
    /// BDAT, where more is to come (RFC 3030 2); the text may name the octets.
    CHUNK_TAKEN = 250 [2 0 0] "go on";

    /// STARTTLS: the handshake may begin (RFC 3207 4).
    READY_FOR_TLS = 220 [2 0 0] "go on with TLS";
    /// The client is who it says (RFC 4954 4.1).
    AUTHENTICATED = 235 [2 7 0] "welcome";
    /// A challenge, in base64 (RFC 4954 4).
    CHALLENGE = 334 "";

    /// VRFY of a mailbox that is there; the text is the mailbox (rfc5321bis 3.5.1).
    VERIFIED = 250 [2 1 5] "there is such a mailbox";

    /// Stopping, or one more client than there is room for.
    SHUTTING_DOWN = 421 [4 3 2] "service is stopping, try again later";
    /// The listener or one client has too many sessions open.
    TOO_MANY_SESSIONS = 421 [4 7 0] "too many sessions, try again later";
    /// The client's address connects more often than it may.
    TOO_MANY_CONNECTIONS = 421 [4 7 0] "too many connections from your address, try again later";
    /// Too many logins failed from the client's address.
    TOO_MANY_FAILURES = 421 [4 7 0] "too many failed logins from your address, try again later";
    /// The client's address sends more commands than it may.
    TOO_MANY_COMMANDS = 421 [4 7 0] "too many commands from your address, try again later";
    /// One transaction more than a session may have (RFC 9422 4.2); another session may go on.
    TOO_MANY_TRANSACTIONS = 421 [4 7 0] "that was the last message of this session, open another";
    /// The client spoke before it was greeted (rfc5321bis 4.3.1). 421, as only that ends a session at
    /// once: after 554 it would have to wait for QUIT (3.1); and whoever queues may come again.
    SPOKE_TOO_EARLY = 421 [4 5 0] "you spoke before the greeting";
    /// Octets came behind STARTTLS, in clear: of the client, or of somebody between (RFC 3207 6).
    SPOKE_BEFORE_TLS = 421 [4 5 0] "something came behind STARTTLS";
    /// Behind the refusal of a BDAT that can't be read: nobody knows where its octets end.
    OUT_OF_STEP = 421 [4 5 0] "where the next command begins can't be told";
    /// The password must be shown once by PLAIN before this mechanism works (RFC 4954 4.7.12).
    NEEDS_TRANSITION = 432 [4 7 12] "log in by PLAIN once, then this way works";
    /// Nothing came for too long (rfc5321bis 4.5.3.2.7).
    IDLE = 421 [4 4 2] "nothing came for too long";
    /// The client earned too many refusals in one session.
    TOO_MANY_ERRORS = 421 [4 7 0] "too many refused commands";
    /// A list of the operator refuses for now.
    ACCESS_DEFERRED = 450 [4 7 1] "not taken now, try again later";
    /// A block list has the client, and the operator refuses such mail for now.
    LISTED_DEFERRED = 450 [4 7 1] "your address is on a block list";
    /// The client's address sends more messages than it may.
    TOO_MUCH_MAIL = 450 [4 7 1] "too much mail from your address, try again later";
    /// The client's address names more recipients than it may.
    TOO_FAST_RECIPIENTS = 450 [4 7 1] "too many recipients from your address, try again later";
    /// The user has sent as much as they may; the text may name the limit.
    SENT_ENOUGH = 450 [4 7 1] "you have sent as much as you may for now, try again later";
    /// A fault of ours, of which the log knows more.
    LOCAL_ERROR = 451 [4 3 0] "local error, try again later";
    /// The mailstore that knows the recipient does not answer.
    UNVERIFIABLE = 451 [4 4 3] "this recipient can't be verified now, try again later";
    /// TLS can't be had now (RFC 3207 4).
    TLS_UNAVAILABLE = 454 [4 7 0] "TLS is not available now, try again later";
    /// Who the client is can't be told now (RFC 4954 6).
    AUTH_UNAVAILABLE = 454 [4 7 0] "logins can't be checked now, try again later";
    /// The disk is nearly full.
    NO_ROOM = 452 [4 3 1] "not enough room for this message now, try again later";
    /// The tenant has as much waiting as it may have.
    BACKLOG_FULL = 452 [4 3 1] "too much of your mail is still waiting here, try again later";
    /// One recipient more than a transaction may have (rfc5321bis 4.5.3.1.8).
    TOO_MANY_RECIPIENTS = 452 [4 5 3] "too many recipients, send the rest in another transaction";

    /// Not a verb at all.
    UNKNOWN_VERB = 500 [5 5 1] "no such command";
    /// A command line longer than allowed (rfc5321bis 4.5.3.1.4).
    LINE_TOO_LONG = 500 [5 5 2] "command line too long";
    /// A command line that ends in a bare LF (rfc5321bis 2.3.8).
    BARE_LINE_FEED = 500 [5 5 2] "a line must end with CR LF";
    /// Octets that no command may hold.
    BAD_OCTETS = 500 [5 5 2] "a command holds printable ASCII only";
    /// A line of an exchange that is over its bound (RFC 4954 4).
    RESPONSE_TOO_LONG = 500 [5 5 6] "this line of the exchange is too long";
    /// A response that is no base64, or nothing of the mechanism.
    BAD_RESPONSE = 501 [5 5 2] "response can't be read";
    /// The client took AUTH back.
    AUTH_CANCELLED = 501 [5 7 0] "authentication cancelled";
    /// An argument that cannot be read.
    BAD_ARGUMENT = 501 [5 5 4] "argument can't be read";
    /// HELO or EHLO without a usable name.
    BAD_HELLO = 501 [5 5 4] "say which host you are";
    /// A reverse-path that is no path.
    BAD_SENDER = 501 [5 1 7] "sender address can't be read";
    /// A forward-path that is no path.
    BAD_RECIPIENT = 501 [5 1 3] "recipient address can't be read";
    /// A reverse-path in UTF-8 in a transaction without SMTPUTF8 (RFC 6531 3.5).
    UNDECLARED_SENDER = 550 [5 6 7] "an address in UTF-8 needs the parameter SMTPUTF8";
    /// A forward-path in UTF-8 in a transaction without SMTPUTF8 (RFC 6531 3.5).
    UNDECLARED_RECIPIENT = 553 [5 6 7] "an address in UTF-8 needs the parameter SMTPUTF8";
    /// A recipient in UTF-8 whose mailstore does not offer SMTPUTF8 (RFC 6531 3.5).
    ASCII_RECIPIENT_ONLY = 553 [5 6 7] "the mailstore of this address takes no UTF-8 in addresses";
    /// A path that names the hosts on its way, where that is refused (rfc5321bis appendix D).
    SOURCE_ROUTE = 553 [5 1 3] "name the mailbox, not the way to it";
    /// VRFY of a local part that several domains may have (rfc5321bis 3.5.1).
    AMBIGUOUS = 553 [5 1 4] "name the mailbox with its domain";
    /// A value of a parameter, or a topic of HELP, that is not served here.
    BAD_VALUE = 504 [5 5 4] "value not served here";
    /// A mechanism that nobody here speaks.
    UNKNOWN_MECHANISM = 504 [5 5 4] "mechanism not known here";
    /// The account may not be used now.
    ACCOUNT_DISABLED = 525 [5 7 13] "this account is disabled";
    /// A command that only TLS allows (RFC 3207 4).
    TLS_REQUIRED = 530 [5 7 0] "say STARTTLS first";
    /// A message that must travel by TLS, in a session without (RFC 8689 4.1).
    REQUIRED_BUT_CLEAR = 530 [5 7 10] "REQUIRETLS needs TLS here, too: say STARTTLS first";
    /// A command that only a login allows (RFC 4954 6, RFC 6409 4.3).
    LOGIN_REQUIRED = 530 [5 7 0] "authenticate first";
    /// The account needs a stronger mechanism.
    TOO_WEAK = 534 [5 7 9] "this account needs a stronger mechanism";
    /// Wrong user, password or token.
    BAD_CREDENTIALS = 535 [5 7 8] "wrong user or secret";
    /// A mechanism that shows the secret, on a channel that hides nothing.
    NEEDS_TLS = 538 [5 7 11] "this mechanism needs TLS";
    /// A listener that is there to refuse (rfc5321bis 3.1).
    CLOSED = 554 [5 3 2] "no mail is taken here";
    /// A program of this machine uses a reverse-path that its account may not.
    CALLER_IS_BOUND = 550 [5 7 1] "your account may not use this sender address";
    /// A program of this machine runs as an account that may send nothing.
    CALLER_MAY_NOT = 554 [5 7 1] "your account may hand in no mail here";
    /// A host that takes no mail at all (RFC 7504).
    NO_MAIL_HERE = 521 [5 3 2] "this host takes no mail";
    /// A verb that is registered but not served here.
    NOT_SERVED = 502 [5 5 1] "command not served here";
    /// A command that may not come now.
    BAD_SEQUENCE = 503 [5 5 1] "not now";
    /// A parameter of an extension that this session does not offer (rfc5321bis 4.1.1.11).
    UNKNOWN_PARAMETER = 555 [5 5 4] "parameter not known here";
    /// A client that is nobody to us wants to send to strangers (rfc5321bis 3.6.1).
    RELAYING_DENIED = 550 [5 7 1] "relaying is not allowed for you: authenticate, or send to its own exchanger";
    /// An address, of the envelope or of a header field, that is not the login's.
    NOT_YOUR_ADDRESS = 550 [5 7 1] "you may not send as this address";
    /// A header field that submitted mail may not have as it is (RFC 6409 8).
    BAD_HEADER = 554 [5 6 0] "a header field can't be taken as it is";
    /// The user has sent as much as they may, and the operator refuses more.
    SENT_TOO_MUCH = 550 [5 7 1] "you have sent more than you may";
    /// A list of the operator refuses.
    ACCESS_DENIED = 550 [5 7 1] "refused here";
    /// A block list has the client.
    LISTED = 554 [5 7 1] "your address is on a block list";
    /// The mailbox does not exist.
    NO_SUCH_RECIPIENT = 550 [5 1 1] "no such mailbox";
    /// The mailbox has a later owner (RFC 7293 5.1).
    MAILBOX_CHANGED_HANDS = 550 [5 7 17] "the mailbox has another owner since then";
    /// The domain has a later owner.
    DOMAIN_CHANGED_HANDS = 550 [5 7 18] "the domain has another owner since then";
    /// Since when the mailbox has its owner is not known.
    OWNER_UNKNOWN = 550 [5 7 19] "since when this mailbox has its owner is not known here";
    /// The mailbox exists and takes no mail.
    MAILBOX_REFUSES = 550 [5 2 0] "the mailbox takes no mail";
    /// A configured route refuses the recipient.
    ROUTE_REFUSES = 550 [5 7 1] "mail to this address is refused here";
    /// No way leads to the recipient.
    NO_ROUTE = 550 [5 4 4] "no route to this address";
    /// Larger than allowed (RFC 1870 6).
    TOO_LARGE = 552 [5 3 4] "message too large";
    /// Content with a bare CR or LF, or a NUL.
    BAD_CONTENT = 554 [5 6 0] "content holds octets that mail may not";
    /// More trace fields than a message collects on any honest way (rfc5321bis 6.3).
    LOOP = 554 [5 4 6] "too many hops, this looks like a mail loop";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(reply: &Reply) -> String {
        let mut out = BytesMut::new();
        reply.encode(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn every_reply_has_a_registered_status_of_its_class() {
        for (name, reply) in ALL {
            match reply.status {
                Some(status) => {
                    assert_eq!(u16::from(status.class), reply.code / 100, "{name}");
                    assert!(status.name().is_some(), "{name}: {status} is not registered");
                }
                None => assert!(
                    matches!(*name, "GREETING" | "HELLO" | "START_CONTENT" | "CHALLENGE"),
                    "{name} needs an enhanced status"
                ),
            }
        }
    }

    #[test]
    fn repeats_code_and_status_on_each_line() {
        let reply = HELP.with_text("one\ntwo");
        assert_eq!(encoded(&reply), "214-2.0.0 one\r\n214 2.0.0 two\r\n");
        assert_eq!(encoded(&START_CONTENT.with_text("go")), "354 go\r\n");
    }

    #[test]
    fn softens_only_what_is_permanent() {
        assert_eq!(encoded(&NO_SUCH_RECIPIENT.softened()), "450 4.1.1 no such mailbox\r\n");
        assert_eq!(NO_ROOM.softened(), NO_ROOM);
    }

    #[test]
    fn keeps_lines_within_512_octets_and_quotes_nothing_raw() {
        let long = encoded(&BAD_ARGUMENT.with_text(format!("a\r{}", "é".repeat(700))));
        assert!(
            long.split_terminator("\r\n").all(|line| line.len() <= 510 && !line.contains('\r'))
        );
        assert_eq!(long.matches('é').count(), 700);
        assert!(long.lines().last().is_some_and(|line| line.starts_with("501 5.5.4 ")));
    }
}
