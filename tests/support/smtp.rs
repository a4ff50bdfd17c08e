//! A blocking SMTP and LMTP client that sends exactly the octets it is given.
//!
//! Promises: content is stuffed with dots and nothing else is done to it; lines are never
//! converted. Every read waits 30 seconds at most. Methods that begin with `try_` return the I/O
//! error, for tests that expect the server to die; the others panic with the dialogue so far.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};

use super::socket::{Place, Socket};

/// How long one read may wait.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reply: its code and the text of each line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The lines without code and separator.
    pub lines: Vec<String>,
}

impl Reply {
    /// The text of all lines.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The enhanced status of the last line; empty when it has none.
    pub fn status(&self) -> &str {
        let word = self.lines.last().and_then(|line| line.split(' ').next()).unwrap_or_default();
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if word.split('.').count() == 3 && word.split('.').all(digits) { word } else { "" }
    }

    /// Panics unless code and enhanced status are these.
    #[track_caller]
    pub fn is(&self, code: u16, status: &str) -> &Self {
        assert_eq!((self.code, self.status()), (code, status), "{self:?}");
        self
    }

    /// The queue id of a `250 2.0.0 queued as …`.
    #[track_caller]
    pub fn queue_id(&self) -> String {
        let text = self.text();
        let id = text.strip_prefix("2.0.0 queued as ").unwrap_or_default();
        let good = self.code == 250 && id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(good, "not the reply to an accepted message: {self:?}");
        id.to_owned()
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    wire: Socket,
    unread: Vec<u8>,
    dialogue: Vec<String>,
}

impl Client {
    /// Connects over TCP; the greeting is still to be read.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// Connects over TCP, with the I/O error.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let wire = TcpStream::connect_timeout(&address, PATIENCE)?;
        Self::over(Socket::Tcp(wire))
    }

    /// Connects from another loopback address, such as 127.0.0.2.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let family = AddressFamily::Inet;
        let descriptor: OwnedFd =
            socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let (IpAddr::V4(source), SocketAddr::V4(to)) = (source, address) else {
            panic!("IPv4 only: {source} {address}");
        };
        let from = SocketAddrV4::new(source, 0);
        socket::bind(descriptor.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
        socket::connect(descriptor.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
        Self::over(Socket::Tcp(descriptor.into())).unwrap()
    }

    /// Connects over a Unix socket, as LMTP does.
    pub fn unix(path: &Path) -> Self {
        Self::over(Place::Unix(path.to_owned()).connect().unwrap()).unwrap()
    }

    /// The connection alone, for another protocol.
    pub fn into_tcp(self) -> TcpStream {
        match self.wire {
            Socket::Tcp(wire) if self.unread.is_empty() => wire,
            wire => panic!("{wire:?} is none, or was read from"),
        }
    }

    fn over(wire: Socket) -> io::Result<Self> {
        wire.set_patience(PATIENCE)?;
        Ok(Self { wire, unread: Vec::new(), dialogue: Vec::new() })
    }

    /// Connects, reads the greeting and says EHLO.
    #[track_caller]
    pub fn greet(address: SocketAddr, name: &str) -> Self {
        Self::try_greet(address, name).unwrap()
    }

    /// The same, with the I/O error; a greeting other than 220 is one.
    pub fn try_greet(address: SocketAddr, name: &str) -> io::Result<Self> {
        let mut client = Self::try_connect(address)?;
        client.try_hello(&format!("EHLO {name}"))?;
        Ok(client)
    }

    /// Reads the greeting and says `hello`, whatever the protocol.
    pub fn try_hello(&mut self, hello: &str) -> io::Result<Reply> {
        good(self.try_reply()?, 220)?;
        good(self.try_command(hello)?, 250)
    }

    /// Reads one reply and panics unless it has this code.
    #[track_caller]
    pub fn expect(&mut self, code: u16) -> Reply {
        let reply = self.reply();
        assert_eq!(reply.code, code, "{}", self.dialogue.join("\n"));
        reply
    }

    /// Reads one reply.
    #[track_caller]
    pub fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|fault| panic!("{fault}\n{}", self.dialogue.join("\n")))
    }

    /// Reads one reply, with the I/O error.
    pub fn try_reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let line = self.try_line()?;
            self.dialogue.push(format!("S: {line}"));
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let (Some(code), separator) = (code, line.get(3..4).unwrap_or(" ")) else {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("reply {line:?}")));
            };
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            match separator {
                "-" => {}
                " " => return Ok(Reply { code, lines }),
                _ => return Err(io::Error::new(io::ErrorKind::InvalidData, line)),
            }
        }
    }

    fn try_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.unread.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(io::Error::other);
            }
            let mut chunk = [0; 4096];
            let count = self.wire.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&chunk[..count]);
        }
    }

    /// Sends a line and reads the reply.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> Reply {
        self.try_command(line).unwrap_or_else(|fault| panic!("{line}: {fault}"))
    }

    /// Sends a line and reads the reply, with the I/O error.
    pub fn try_command(&mut self, line: &str) -> io::Result<Reply> {
        self.dialogue.push(format!("C: {line}"));
        self.try_write(format!("{line}\r\n").as_bytes())?;
        self.try_reply()
    }

    /// Sends octets as they are.
    #[track_caller]
    pub fn write(&mut self, octets: &[u8]) {
        self.try_write(octets).unwrap_or_else(|fault| panic!("{fault}\n{:?}", self.dialogue));
    }

    /// Sends octets as they are, with the I/O error.
    pub fn try_write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.wire.write_all(octets)
    }

    /// DATA, the content and the final dot; the reply to it.
    #[track_caller]
    pub fn data(&mut self, content: &[u8]) -> Reply {
        self.try_data(content).unwrap_or_else(|fault| panic!("{fault}\n{:?}", self.dialogue))
    }

    /// The same, with the I/O error. A refused DATA is its reply.
    pub fn try_data(&mut self, content: &[u8]) -> io::Result<Reply> {
        let reply = self.try_command("DATA")?;
        if reply.code != 354 {
            return Ok(reply);
        }
        let mut wire = stuff(content);
        wire.extend_from_slice(b".\r\n");
        self.try_write(&wire)?;
        self.try_reply()
    }

    /// The content in one chunk; the reply to it.
    #[track_caller]
    pub fn bdat(&mut self, content: &[u8]) -> Reply {
        let command = format!("BDAT {} LAST\r\n", content.len());
        self.write(&[command.as_bytes(), content].concat());
        self.reply()
    }

    /// One transaction; every command must succeed, the reply to the content is returned.
    #[track_caller]
    pub fn send_message(&mut self, from: &str, to: &[&str], content: &[u8]) -> Reply {
        self.try_send_message(from, to, content)
            .unwrap_or_else(|fault| panic!("{fault}\n{}", self.dialogue.join("\n")))
    }

    /// The same, with the I/O error; a refused MAIL or RCPT is one.
    pub fn try_send_message(&mut self, from: &str, to: &[&str], data: &[u8]) -> io::Result<Reply> {
        self.try_envelope(from, to)?;
        self.try_data(data)
    }

    /// MAIL and each RCPT.
    #[track_caller]
    pub fn envelope(&mut self, from: &str, to: &[&str]) {
        self.try_envelope(from, to).unwrap();
    }

    /// MAIL and each RCPT, with the I/O error; a refusal is one.
    pub fn try_envelope(&mut self, from: &str, to: &[&str]) -> io::Result<()> {
        let mail = format!("MAIL FROM:<{from}>");
        let recipients = to.iter().map(|address| format!("RCPT TO:<{address}>"));
        for line in std::iter::once(mail).chain(recipients) {
            good(self.try_command(&line)?, 250)?;
        }
        Ok(())
    }

    /// Ends our direction of the connection; the server sees the end of input.
    pub fn end_sending(&self) {
        self.wire.end_sending().unwrap();
    }

    /// Whether the server has closed: reads until the end, unread octets make it false.
    pub fn is_closed(&mut self) -> bool {
        let mut rest = [0; 512];
        self.unread.is_empty() && matches!(self.wire.read(&mut rest), Ok(0) | Err(_))
    }

    /// QUIT; the reply must be 221.
    #[track_caller]
    pub fn quit(mut self) {
        let reply = self.command("QUIT");
        assert_eq!(reply.code, 221, "{reply:?}");
    }
}

/// The reply when it has this code, else an error that shows it.
fn good(reply: Reply, code: u16) -> io::Result<Reply> {
    if reply.code == code { Ok(reply) } else { Err(io::Error::other(format!("{reply:?}"))) }
}

/// Content with a dot before each line that begins with one. It must end in CRLF.
pub fn stuff(content: &[u8]) -> Vec<u8> {
    assert!(content.is_empty() || content.ends_with(b"\r\n"), "content must end in CRLF");
    let mut wire = Vec::with_capacity(content.len() + 64);
    for &octet in content {
        if octet == b'.' && (wire.is_empty() || wire.ends_with(b"\r\n")) {
            wire.push(b'.');
        }
        wire.push(octet);
    }
    wire
}
