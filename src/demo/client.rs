//! A small SMTP client that shows what is said.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::messages::Message;
use crate::syntax::content::Encoder;
use crate::syntax::reply::{ReplyReader, ServerReply};

/// A session with the daemon.
pub(super) struct Client {
    stream: TcpStream,
    input: bytes::BytesMut,
    shown: bool,
}

impl Client {
    /// Connects from a loopback address of choice and reads the greeting.
    pub(super) async fn connect(to: SocketAddr, from: Ipv4Addr) -> Result<Self, String> {
        let connected = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((from, 0)))?;
            socket.connect(to).await
        };
        let stream = connected.await.map_err(|error| format!("connecting to {to}: {error}"))?;
        let mut client = Self { stream, input: bytes::BytesMut::new(), shown: false };
        client.read().await?;
        Ok(client)
    }

    /// Whether what is said from now on is shown.
    pub(super) fn show(&mut self, shown: bool) {
        self.shown = shown;
    }

    /// Says a command; its reply on one line.
    pub(super) async fn say(&mut self, command: &str) -> Result<String, String> {
        if self.shown {
            println!("C: {command}");
        }
        self.write(format!("{command}\r\n").as_bytes()).await?;
        self.read().await
    }

    /// Says a command whose reply must start with `expected`.
    pub(super) async fn expect(&mut self, command: &str, expected: &str) -> Result<String, String> {
        let reply = self.say(command).await?;
        match reply.starts_with(expected) {
            true => Ok(reply),
            false => Err(format!("{command} was answered {reply}, not {expected}")),
        }
    }

    /// Sends a message; the reply to its final dot.
    pub(super) async fn send(mut self, message: &Message) -> Result<String, String> {
        self.expect("EHLO client.example", "250 ").await?;
        let size = message.content.len();
        self.expect(&format!("MAIL FROM:<{}> SIZE={size}", message.sender), "250 2.1.0").await?;
        for recipient in &message.recipients {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250 2.1.5").await?;
        }
        self.expect("DATA", "354 ").await?;
        let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
        encoder.encode(&message.content, &mut wire);
        encoder.finish(&mut wire);
        if self.shown {
            println!("C: … {size} octets of content …\nC: .");
        }
        self.write(&wire).await?;
        let reply = self.read().await?;
        if !reply.starts_with("250 2.0.0") {
            return Err(format!("{} was answered {reply}", message.what));
        }
        self.quit().await?;
        Ok(reply)
    }

    /// Ends the session.
    pub(super) async fn quit(mut self) -> Result<(), String> {
        self.expect("QUIT", "221").await.map(drop)
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), String> {
        self.stream.write_all(octets).await.map_err(|error| format!("the connection: {error}"))
    }

    async fn read(&mut self) -> Result<String, String> {
        let mut reader = ReplyReader::default();
        loop {
            match reader.read(&mut self.input) {
                Ok(Some(reply)) => {
                    if self.shown {
                        show_reply(&reply);
                    }
                    return Ok(reply.one_line());
                }
                Ok(None) => {}
                Err(garbage) => return Err(garbage.0.to_owned()),
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err("the daemon closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("the connection: {error}")),
            }
        }
    }
}

fn show_reply(reply: &ServerReply) {
    for (number, line) in reply.lines.iter().enumerate() {
        let separator = if number + 1 < reply.lines.len() { '-' } else { ' ' };
        println!("S: {}{separator}{line}", reply.code);
    }
}
