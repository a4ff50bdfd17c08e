//! A small mailstore and sink: LMTP into Maildirs, SMTP into a folder.
//!
//! Enough of both protocols to be a neighbour on loopback; no substitute for a real store: it trusts
//! whoever reaches it, and syncs nothing.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};

use crate::registry::offer::{Offer, Protocol, Terms};
use crate::syntax::command::{Command, Grammar};
use crate::syntax::content::{BareLineEnds, Decoder};

/// A neighbour that takes mail.
#[derive(Clone, Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// The mailboxes; none: anybody's mail is taken, and kept in one place.
    users: Option<&'static [&'static str]>,
    /// LMTP with users, else SMTP.
    offer: Arc<Offer>,
    count: Arc<AtomicU64>,
}

/// A copy that arrived.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) recipient: String,
    octets: Vec<u8>,
}

impl Arrived {
    /// What stands below the trace fields of this store and of the daemon.
    pub(super) fn content(&self) -> Option<&[u8]> {
        let daemon_field = self.octets.strip_prefix(b"Received: from ")?;
        let mut rest = daemon_field;
        loop {
            let end = memchr::memmem::find(rest, b"\r\n")?;
            rest = rest.get(end + 2..)?;
            if !rest.starts_with(b"\t") {
                return Some(rest);
            }
        }
    }
}

/// All copies in a folder that a store filled.
pub(super) fn read_all(folder: &Path) -> io::Result<Vec<Arrived>> {
    let mut arrived = Vec::new();
    for entry in fs::read_dir(folder)? {
        let new = entry?.path().join("Maildir/new");
        for file in fs::read_dir(&new)? {
            let octets = fs::read(file?.path())?;
            let end = memchr::memmem::find(&octets, b"\r\n").unwrap_or(0);
            let (first, rest) = octets.split_at(end);
            let first = String::from_utf8_lossy(first);
            let recipient = first.trim_start_matches("Delivered-To: ").to_owned();
            arrived.push(Arrived { recipient, octets: rest.get(2..).unwrap_or_default().to_vec() });
        }
    }
    Ok(arrived)
}

impl Store {
    /// A mailstore of these users, to be spoken to by LMTP.
    pub(super) fn mailstore(folder: &Path, users: &'static [&'static str]) -> io::Result<Self> {
        Self::new(folder, Some(users), users)
    }

    /// A sink for anybody's mail, to be spoken to by SMTP.
    pub(super) fn sink(folder: &Path) -> io::Result<Self> {
        Self::new(folder, None, &["sink"])
    }

    fn new(
        folder: &Path,
        users: Option<&'static [&'static str]>,
        folders: &[&str],
    ) -> io::Result<Self> {
        for user in folders {
            for part in ["tmp", "new", "cur"] {
                fs::create_dir_all(folder.join(user).join("Maildir").join(part))?;
            }
        }
        let protocol = if users.is_some() { Protocol::Lmtp } else { Protocol::Smtp };
        let offer = Arc::new(Offer::new(&Terms::new(protocol, 0)));
        let count = Arc::new(AtomicU64::new(0));
        Ok(Self { folder: folder.to_owned(), users, offer, count })
    }

    pub(super) fn serve_unix(&self, path: &Path) -> io::Result<()> {
        let (listener, store) = (UnixListener::bind(path)?, self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let store = store.clone();
                tokio::spawn(async move { drop(store.session(stream).await) });
            }
        });
        Ok(())
    }

    pub(super) async fn serve_tcp(&self) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, store) = (listener.local_addr()?, self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let store = store.clone();
                tokio::spawn(async move { drop(store.session(stream).await) });
            }
        });
        Ok(address)
    }

    async fn session(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 store.example at your service\r\n").await?;
        let (mut line, mut recipients) = (Vec::new(), Vec::new());
        loop {
            line.clear();
            if stream.read_until(b'\n', &mut line).await? == 0 {
                return Ok(());
            }
            let reply = match self.parse(&line) {
                Ok(Command::Ehlo(_)) => {
                    "250-store.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n".into()
                }
                Ok(Command::Rcpt { path, .. }) => self.judge(path.to_string(), &mut recipients),
                Ok(Command::Data) => {
                    stream.write_all(b"354 go on\r\n").await?;
                    let content = receive(&mut stream).await?;
                    self.keep_all(&std::mem::take(&mut recipients), &content)?
                }
                Ok(Command::Quit) => return stream.write_all(b"221 2.0.0 bye\r\n").await,
                Ok(Command::Mail { .. } | Command::Rset) => {
                    recipients.clear();
                    "250 2.0.0 ok\r\n".into()
                }
                Ok(_) => "250 2.0.0 ok\r\n".into(),
                Err(code) => format!("{code} 5.5.2 what?\r\n"),
            };
            stream.write_all(reply.as_bytes()).await?;
        }
    }

    fn parse(&self, line: &[u8]) -> Result<Command, u16> {
        let grammar = Grammar { offer: &self.offer, strict: false, domain: None };
        grammar.parse(line.trim_ascii_end()).map_err(|refusal| refusal.code)
    }

    fn judge(&self, recipient: String, recipients: &mut Vec<String>) -> String {
        let user = recipient.split('@').next().unwrap_or_default();
        if self.users.is_some_and(|users| !users.contains(&user)) {
            return "550 5.1.1 no such user here\r\n".to_owned();
        }
        recipients.push(recipient);
        "250 2.1.5 ok\r\n".to_owned()
    }

    /// LMTP: a copy and a reply for each. SMTP: one copy, one reply.
    fn keep_all(&self, recipients: &[String], content: &[u8]) -> io::Result<String> {
        if self.users.is_none() {
            self.keep("sink", &recipients.join(" "), content)?;
            return Ok("250 2.0.0 taken\r\n".to_owned());
        }
        let mut replies = String::new();
        for recipient in recipients {
            let user = recipient.split('@').next().unwrap_or_default();
            self.keep(user, recipient, content)?;
            replies.push_str(&format!("250 2.0.0 <{recipient}> saved\r\n"));
        }
        Ok(replies)
    }

    fn keep(&self, user: &str, recipient: &str, content: &[u8]) -> io::Result<()> {
        let name = format!("{}.demo", self.count.fetch_add(1, Ordering::Relaxed));
        let maildir = self.folder.join(user).join("Maildir");
        let written = maildir.join("tmp").join(&name);
        let head = format!("Delivered-To: {recipient}\r\n");
        fs::write(&written, [head.as_bytes(), content].concat())?;
        fs::rename(written, maildir.join("new").join(name))
    }
}

async fn receive(stream: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let (mut decoder, mut content) = (Decoder::new(BareLineEnds::Refuse), Vec::new());
    loop {
        let input = stream.fill_buf().await?;
        if input.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (used, end) = decoder.decode(input, &mut content);
        stream.consume(used);
        if end {
            return Ok(content);
        }
    }
}
