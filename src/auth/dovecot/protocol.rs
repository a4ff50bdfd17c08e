//! Dovecot's authentication protocol, versions 1.1 to 1.3, as octets and values.
//!
//! Promises to take any octets: what is no line of the protocol is skipped or ends the connection,
//! a line has a bound, and nothing that a client sent can begin a parameter or a line of ours.
//! Source: Dovecot's "Authentication Protocol" in its developers' manual.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr;

use crate::auth::{Channel, Denial};
use crate::registry::mechanism::Mechanism;

/// The longest line that Dovecot takes, in octets; a longer one ends the connection.
const SENT_OCTETS_MAX: usize = 16_384;
/// The longest line that is taken, in octets: an `OK` may carry many fields of a user.
const LINE_OCTETS_MAX: usize = 64 * 1024;
/// The version that we speak. From 1.3 on Dovecot would also name mechanisms with channel binding,
/// which the protocol has no way to carry for a client like us.
const VERSION: &[u8] = b"VERSION\t1\t2\n";

/// What Dovecot says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// It offers a mechanism that we know.
    Mechanism(Mechanism),
    /// The handshake is over.
    Done,
    /// The answer to a request.
    Reply(u32, Reply),
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// Send this to the client.
    Challenge(Vec<u8>),
    /// The client is this user; `last` is to be sent before it is told so.
    Granted { user: String, last: Option<Vec<u8>> },
    /// It is not let in.
    Refused { user: Option<String>, denial: Denial },
}

/// Lines from octets.
#[derive(Default, Debug)]
pub(super) struct Reader {
    octets: Vec<u8>,
    /// How far the octets are known to have no end of a line.
    searched: usize,
}

impl Reader {
    /// Takes what was read.
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.octets.extend_from_slice(octets);
    }

    /// The next message; `None` until there is more. After an error, a sentence, the connection is
    /// of no more use.
    pub(super) fn next_message(&mut self) -> Result<Option<Message>, String> {
        while let Some(line) = self.line()? {
            if let Some(message) = parse(&line)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let rest = self.octets.get(self.searched..).unwrap_or_default();
        let Some(end) = memchr(b'\n', rest).map(|end| self.searched + end) else {
            self.searched = self.octets.len();
            if self.octets.len() > LINE_OCTETS_MAX {
                return Err(format!("it sent a line of over {LINE_OCTETS_MAX} octets"));
            }
            return Ok(None);
        };
        let mut line: Vec<u8> = self.octets.drain(..=end).collect();
        line.pop();
        self.searched = 0;
        Ok(Some(line))
    }
}

/// One line; `None` for what is of no interest: cookies, ids of processes, what later versions add.
fn parse(line: &[u8]) -> Result<Option<Message>, String> {
    let mut fields = line.split(|octet| *octet == b'\t').map(unescape);
    let command = fields.next().unwrap_or_default();
    match command.as_str() {
        "VERSION" => match fields.next().as_deref() {
            Some("1") => Ok(None),
            major => {
                Err(format!("it speaks version {} of the protocol, not 1", major.unwrap_or("?")))
            }
        },
        "MECH" => {
            let mechanism = fields.next().and_then(|name| Mechanism::named(&name));
            Ok(mechanism.map(Message::Mechanism))
        }
        "DONE" => Ok(Some(Message::Done)),
        "CONT" | "OK" | "FAIL" => {
            let Some(id) = fields.next().and_then(|id| id.parse().ok()) else {
                return Err(format!("it sent {command} without the id of a request"));
            };
            let reply = match command.as_str() {
                "CONT" => challenge(fields.next()),
                "OK" => granted(fields),
                _ => refused(fields),
            };
            Ok(Some(Message::Reply(id, reply)))
        }
        _ => Ok(None),
    }
}

fn challenge(data: Option<String>) -> Reply {
    match STANDARD.decode(data.unwrap_or_default()) {
        Ok(data) => Reply::Challenge(data),
        Err(_) => unavailable("Dovecot sent a challenge that is no base64"),
    }
}

/// `OK` says only that the proof was good. With `nologin` the user must not be let in, and with
/// `proxy` nothing may have been checked at all: another server was to do that.
fn granted(fields: impl Iterator<Item = String>) -> Reply {
    let (mut user, mut last, mut nologin, mut proxy) = (None, None, false, false);
    for field in fields {
        match parameter(&field) {
            ("user", name) => user = Some(name.to_owned()),
            ("resp", data) => last = Some(data.to_owned()),
            ("nologin", _) => nologin = true,
            ("proxy", _) => proxy = true,
            _ => {}
        }
    }
    if nologin {
        return Reply::Refused { user, denial: Denial::Disabled };
    }
    if proxy {
        return unavailable("Dovecot only tells to which server it would pass the user on");
    }
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return unavailable("Dovecot did not say who the user is");
    };
    match last.map(|data| STANDARD.decode(data)).transpose() {
        Ok(last) => Reply::Granted { user, last },
        Err(_) => unavailable("Dovecot sent last data that is no base64"),
    }
}

fn refused(fields: impl Iterator<Item = String>) -> Reply {
    let (mut user, mut denial) = (None, Denial::Credentials);
    for field in fields {
        match parameter(&field) {
            ("user", name) => user = Some(name.to_owned()),
            // The words before version 1.2 and after.
            ("temp", _) | ("code", "temp_fail") => {
                denial = Denial::Unavailable("Dovecot can't tell now".to_owned());
            }
            ("user_disabled" | "pass_expired", _) | ("code", "user_disabled" | "pass_expired") => {
                denial = Denial::Disabled;
            }
            ("code", "invalid_base64") => denial = Denial::Malformed,
            _ => {}
        }
    }
    Reply::Refused { user, denial }
}

fn unavailable(why: &str) -> Reply {
    Reply::Refused { user: None, denial: Denial::Unavailable(why.to_owned()) }
}

/// Name and value; a flag has an empty one.
fn parameter(field: &str) -> (&str, &str) {
    field.split_once('=').unwrap_or((field, ""))
}

fn unescape(field: &[u8]) -> String {
    let mut plain = Vec::with_capacity(field.len());
    let mut octets = field.iter().copied();
    while let Some(octet) = octets.next() {
        plain.push(match octet {
            1 => match octets.next() {
                Some(b'0') => 0,
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(other) => other,
                None => break,
            },
            other => other,
        });
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// What we say first. `client` tells this connection from all others that Dovecot has: it refuses
/// one with the number of another.
pub(super) fn hello(client: u32) -> Vec<u8> {
    [VERSION, format!("CPID\t{client}\n").as_bytes()].concat()
}

/// Begins a request. `None` if the response is longer than Dovecot takes.
pub(super) fn auth(
    id: u32,
    mechanism: Mechanism,
    channel: &Channel,
    response: Option<&[u8]>,
) -> Option<Vec<u8>> {
    let mut line = format!("AUTH\t{id}\t{}\tservice=smtp\tnologin", mechanism.name());
    line.push_str(match (channel.tls, channel.clear_allowed) {
        (true, _) => "\tsecured=tls",
        // Where the operator lets secrets pass in clear, Dovecot need not mind.
        (false, true) => "\tsecured",
        (false, false) => "",
    });
    let client = channel.client.to_canonical();
    line.push_str(&format!("\trip={client}"));
    // Whoever is on this machine, as webmail is, speaks for many.
    if client.is_loopback() {
        line.push_str("\tno-penalty");
    }
    if let Some(response) = response {
        line.push_str("\tresp=");
        STANDARD.encode_string(response, &mut line);
    }
    finish(line)
}

/// Continues a request. `None` if the response is longer than Dovecot takes.
pub(super) fn cont(id: u32, response: &[u8]) -> Option<Vec<u8>> {
    finish(format!("CONT\t{id}\t{}", STANDARD.encode(response)))
}

/// Gives a request up.
pub(super) fn cancel(id: u32) -> Vec<u8> {
    format!("CANCEL\t{id}\n").into_bytes()
}

fn finish(mut line: String) -> Option<Vec<u8>> {
    line.push('\n');
    (line.len() <= SENT_OCTETS_MAX).then(|| line.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn read(octets: &[u8]) -> Result<Vec<Message>, String> {
        let mut reader = Reader::default();
        reader.push(octets);
        let mut messages = Vec::new();
        while let Some(message) = reader.next_message()? {
            messages.push(message);
        }
        Ok(messages)
    }

    fn reply(line: &str) -> Reply {
        match read(format!("{line}\n").as_bytes()).unwrap().pop() {
            Some(Message::Reply(7, reply)) => reply,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn channel(tls: bool, clear_allowed: bool) -> Channel {
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        Channel { client, tls, binding: None, clear_allowed }
    }

    #[test]
    fn a_handshake_names_what_we_know() {
        let hello = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tCRAM-MD5\tdictionary\tactive\n\
                      MECH\tSCRAM-SHA-256\tmutual-auth\nSPID\t1\nCUID\t2\nCOOKIE\tab\nDONE\n";
        let known = [Mechanism::Plain, Mechanism::ScramSha256].map(Message::Mechanism);
        assert_eq!(read(hello).unwrap(), [&known[..], &[Message::Done]].concat());
        assert!(read(b"VERSION\t2\t0\n").unwrap_err().contains("version 2"));
        assert!(read(b"VERSION\n").is_err());
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(reply("CONT\t7\t"), Reply::Challenge(Vec::new()));
        assert_eq!(reply("CONT\t7\tVXNlcm5hbWU6"), Reply::Challenge(b"Username:".to_vec()));
        let granted = Reply::Granted { user: "joe".to_owned(), last: None };
        assert_eq!(reply("OK\t7\tuser=joe\toriginal_user=Joe"), granted);
        let last = Some(b"v=1".to_vec());
        let granted = Reply::Granted { user: "j\toe".to_owned(), last };
        assert_eq!(reply("OK\t7\tuser=j\u{1}toe\tresp=dj0x"), granted);
    }

    #[test]
    fn a_good_proof_is_not_always_a_login() {
        for (line, denied) in [
            ("OK\t7\tuser=joe\tnologin", Denial::Disabled),
            ("OK\t7\tuser=joe\tnologin=\thost=other", Denial::Disabled),
            ("FAIL\t7\tuser=joe", Denial::Credentials),
            ("FAIL\t7\tuser=joe\tauthz", Denial::Credentials),
            ("FAIL\t7\tuser=joe\tcode=authz_fail", Denial::Credentials),
            ("FAIL\t7\tuser=joe\tuser_disabled", Denial::Disabled),
            ("FAIL\t7\tcode=user_disabled\tuser=joe", Denial::Disabled),
            ("FAIL\t7\tuser=joe\tcode=pass_expired", Denial::Disabled),
            ("FAIL\t7\tcode=invalid_base64", Denial::Malformed),
        ] {
            match reply(line) {
                Reply::Refused { denial, .. } => assert_eq!(denial, denied, "{line}"),
                other => panic!("{line}: {other:?}"),
            }
        }
        for line in [
            "OK\t7\tuser=joe\tproxy\thost=192.0.2.1",
            "OK\t7",
            "OK\t7\tuser=",
            "OK\t7\tuser=joe\tresp=!",
            "FAIL\t7\ttemp",
            "FAIL\t7\tuser=joe\tcode=temp_fail",
            "CONT\t7\t!",
        ] {
            let refused = reply(line);
            let unavailable =
                matches!(&refused, Reply::Refused { denial: Denial::Unavailable(_), .. });
            assert!(unavailable, "{line}: {refused:?}");
        }
    }

    #[test]
    fn a_request_says_how_the_client_is_connected() {
        let line = |tls, clear_allowed, response| {
            let octets = auth(3, Mechanism::Plain, &channel(tls, clear_allowed), response).unwrap();
            String::from_utf8(octets).unwrap()
        };
        let head = "AUTH\t3\tPLAIN\tservice=smtp\tnologin";
        let tail = "\trip=192.0.2.7\tresp=AGEAYg==\n";
        assert_eq!(line(true, true, Some(b"\0a\0b")), format!("{head}\tsecured=tls{tail}"));
        assert_eq!(line(false, true, Some(b"\0a\0b")), format!("{head}\tsecured{tail}"));
        assert_eq!(line(false, false, None), format!("{head}\trip=192.0.2.7\n"));
        assert!(line(true, true, Some(b"")).ends_with("\tresp=\n"));
        let mut local = channel(false, true);
        local.client = "::ffff:127.0.0.1".parse().unwrap();
        let octets = auth(3, Mechanism::Login, &local, None).unwrap();
        assert!(octets.ends_with(b"\trip=127.0.0.1\tno-penalty\n"));
    }

    #[test]
    fn a_response_that_would_end_the_connection_is_not_sent() {
        let response = vec![b'a'; 12_300];
        assert!(cont(1, &response).is_none());
        assert!(cont(1, &response[..12_000]).is_some());
        assert!(auth(1, Mechanism::OauthBearer, &channel(true, false), Some(&response)).is_none());
    }

    #[test]
    fn a_line_without_end_has_a_bound() {
        let mut reader = Reader::default();
        reader.push(&vec![b'a'; LINE_OCTETS_MAX]);
        assert_eq!(reader.next_message(), Ok(None));
        reader.push(b"aa");
        assert!(reader.next_message().is_err());
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let line = "(VERSION|MECH|DONE|CONT|OK|FAIL|SPID|X)?(\t|=|\u{1}|1|7|user=|resp=|code=|[a-zA-Z0-9+/]|é){0,20}\n?";
        let shaped =
            proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat().into_bytes());
        let wild = proptest::collection::vec(any::<u8>(), 0..400);
        prop_oneof![shaped, wild]
    }

    proptest! {
        #[test]
        fn pieces_read_as_the_whole(octets in lines(), size in 1_usize..50) {
            let whole = read(&octets);
            let (mut reader, mut messages, mut fault) = (Reader::default(), Vec::new(), None);
            for piece in octets.chunks(size) {
                reader.push(piece);
                while fault.is_none() {
                    match reader.next_message() {
                        Ok(Some(message)) => messages.push(message),
                        Ok(None) => break,
                        Err(why) => fault = Some(why),
                    }
                }
            }
            match whole {
                Ok(whole) => prop_assert_eq!((whole, None), (messages, fault)),
                Err(why) => prop_assert_eq!(Some(why), fault),
            }
        }

        #[test]
        fn what_a_client_sends_stays_in_its_parameter(response: Vec<u8>) {
            let line = auth(9, Mechanism::Plain, &channel(true, false), Some(&response)).unwrap();
            prop_assert_eq!(line.iter().filter(|octet| **octet == b'\n').count(), 1);
            let tail = line.rsplit(|octet| *octet == b'\t').next().unwrap();
            let data = tail.strip_prefix(b"resp=").unwrap().strip_suffix(b"\n").unwrap();
            prop_assert_eq!(STANDARD.decode(data).unwrap(), response);
        }
    }
}
