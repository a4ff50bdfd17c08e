//! The client's side of the local socket: one letter over one SMTP session.
//!
//! A letter is handed over as a whole or not at all: as soon as anything is refused for now, nothing
//! is sent, and the maildrop keeps all of it. Promises that every wait has an end, and that `Accepted`
//! means that the daemon has answered for the message.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Letter;
use crate::syntax::content::Encoder;
use crate::syntax::reply::{ReplyReader, ServerReply};

/// How long the daemon may take for each step; it may have to ask a mailstore or to sync a disk.
const STEP_TIME: Duration = Duration::from_secs(120);

/// A recipient that was refused, and what the daemon said.
pub type Refused = (String, ServerReply);

/// What became of a letter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is in the queue, but for these recipients.
    Accepted(Vec<Refused>),
    /// Nobody gets it: the reply to the message, or to each recipient.
    Refused(Vec<Refused>),
    /// Nobody got it now, and why.
    NotNow(String),
}

/// Hands a letter over.
pub async fn hand_over<S>(stream: S, hello: &str, letter: &Letter) -> Verdict
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut talk = Talk::new(stream);
    match deliver(&mut talk, hello, letter).await {
        Ok(verdict) => {
            // Whoever waits for the answer has it already.
            let _ = talk.send(b"QUIT\r\n").await;
            verdict
        }
        Err(why) => Verdict::NotNow(why),
    }
}

/// Asks for each recipient whether it would be taken, and sends nothing.
pub async fn verify<S>(
    stream: S,
    hello: &str,
    recipients: &[String],
) -> Result<Vec<ServerReply>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut talk = Talk::new(stream);
    let mut replies = Vec::new();
    let hello = greet(&mut talk, hello).await?;
    if !hello.is_positive() {
        return Err(hello.one_line());
    }
    let utf8 = utf8(&hello, recipients);
    talk.command(&format!("MAIL FROM:<>{utf8}")).await?;
    for recipient in recipients {
        replies.push(talk.command(&format!("RCPT TO:<{recipient}>")).await?);
    }
    let _ = talk.send(b"QUIT\r\n").await;
    Ok(replies)
}

/// The greeting, if it refuses, or else the reply to the hello.
async fn greet<S>(talk: &mut Talk<S>, hello: &str) -> Result<ServerReply, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let greeting = talk.reply().await?;
    match greeting.is_positive() {
        true => talk.command(&format!("EHLO {hello}")).await,
        false => Ok(greeting),
    }
}

/// The parameter that addresses in UTF-8 need, where it is offered (RFC 6531 3.4).
fn utf8<'a>(hello: &ServerReply, addresses: impl IntoIterator<Item = &'a String>) -> &'static str {
    let is_offered = hello.lines.iter().any(|line| line.eq_ignore_ascii_case("SMTPUTF8"));
    let needs_it = addresses.into_iter().any(|address| !address.is_ascii());
    if is_offered && needs_it { " SMTPUTF8" } else { "" }
}

async fn deliver<S>(talk: &mut Talk<S>, hello: &str, letter: &Letter) -> Result<Verdict, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let refused_whole = |reply| Ok(Verdict::Refused(vec![(String::new(), reply)]));
    let hello = greet(talk, hello).await?;
    if !hello.is_positive() {
        return refused_whole(permanent(hello)?);
    }
    let body = if letter.content.is_ascii() { "" } else { " BODY=8BITMIME" };
    let utf8 = utf8(&hello, letter.recipients.iter().chain([&letter.from]));
    let sender = talk.command(&format!("MAIL FROM:<{}>{body}{utf8}", letter.from)).await?;
    if !sender.is_positive() {
        return refused_whole(permanent(sender)?);
    }
    let mut refused = Vec::new();
    for recipient in &letter.recipients {
        let reply = talk.command(&format!("RCPT TO:<{recipient}>")).await?;
        if !reply.is_positive() {
            refused.push((recipient.clone(), permanent(reply)?));
        }
    }
    if refused.len() == letter.recipients.len() {
        return Ok(Verdict::Refused(refused));
    }
    let start = talk.command("DATA").await?;
    if start.code != 354 {
        return refused_whole(permanent(start)?);
    }
    let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
    encoder.encode(&letter.content, &mut wire);
    encoder.finish(&mut wire);
    talk.send(&wire).await?;
    let end = talk.reply().await?;
    if end.is_positive() { Ok(Verdict::Accepted(refused)) } else { refused_whole(permanent(end)?) }
}

/// A refusal for good; one for now ends the attempt.
fn permanent(reply: ServerReply) -> Result<ServerReply, String> {
    if reply.is_permanent() { Ok(reply) } else { Err(reply.one_line()) }
}

/// One command, one reply.
struct Talk<S> {
    stream: S,
    reader: ReplyReader,
    unread: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S) -> Self {
        Self { stream, reader: ReplyReader::default(), unread: BytesMut::new() }
    }

    async fn command(&mut self, line: &str) -> Result<ServerReply, String> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), String> {
        match timeout(STEP_TIME, self.stream.write_all(octets)).await {
            Ok(sent) => sent.map_err(|error| format!("the daemon is gone: {error}")),
            Err(_) => Err("the daemon reads nothing".to_owned()),
        }
    }

    async fn reply(&mut self) -> Result<ServerReply, String> {
        loop {
            let reply = self.reader.read(&mut self.unread);
            if let Some(reply) = reply.map_err(|error| error.0.to_owned())? {
                return Ok(reply);
            }
            match timeout(STEP_TIME, self.stream.read_buf(&mut self.unread)).await {
                Ok(Ok(0)) => return Err("the daemon is gone".to_owned()),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(format!("the daemon is gone: {error}")),
                Err(_) => return Err("the daemon says nothing".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter() -> Letter {
        Letter {
            from: "s@d.example".into(),
            recipients: vec!["a@d.example".into(), "b@d.example".into()],
            content: b"Subject: x\r\n\r\n.dot\r\n".to_vec(),
        }
    }

    /// Hands over to a daemon that gives these replies, one a command; what it was sent.
    async fn against(replies: &str) -> (Verdict, String) {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(replies.replace('\n', "\r\n").as_bytes()).await.unwrap();
        let (mut read, write) = tokio::io::split(theirs);
        // The end of the replies is the end of the daemon.
        let sent = tokio::spawn(async move {
            let mut sent = Vec::new();
            let _ = read.read_to_end(&mut sent).await;
            drop(write);
            String::from_utf8(sent).unwrap()
        });
        let verdict = hand_over(ours, "me.example", &letter()).await;
        (verdict, sent.await.unwrap())
    }

    #[tokio::test]
    async fn a_letter_is_handed_over_with_its_dots() {
        let (verdict, sent) =
            against("220 hi\n250 x\n250 ok\n250 ok\n550 5.1.1 no\n354 go\n250 q\n").await;
        let Verdict::Accepted(refused) = verdict else { panic!("{verdict:?}") };
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].0.as_str(), refused[0].1.code), ("b@d.example", 550));
        assert!(sent.contains("MAIL FROM:<s@d.example>\r\nRCPT TO:<a@d.example>\r\n"), "{sent}");
        assert!(sent.ends_with("\r\n\r\n..dot\r\n.\r\nQUIT\r\n"), "{sent}");
    }

    #[tokio::test]
    async fn what_is_refused_for_now_is_sent_to_nobody() {
        for replies in [
            "421 later\n",
            "220 hi\n250 x\n452 full\n",
            "220 hi\n250 x\n250 ok\n250 ok\n451 later\n",
            "220 hi\n250 x\n250 ok\n250 ok\n250 ok\n354 go\n451 disk\n",
        ] {
            let (verdict, sent) = against(replies).await;
            assert!(matches!(verdict, Verdict::NotNow(_)), "{verdict:?}");
            assert_eq!(sent.contains("dot"), replies.contains("354"), "{sent}");
        }
    }

    #[tokio::test]
    async fn a_refusal_for_good_is_told() {
        for (replies, code) in [
            ("554 5.7.1 not you\n", 554),
            ("220 hi\n250 x\n550 5.7.1 not this\n", 550),
            ("220 hi\n250 x\n250 ok\n551 a\n551 b\n", 551),
            ("220 hi\n250 x\n250 ok\n250 ok\n250 ok\n354 go\n554 bad\n", 554),
        ] {
            let (verdict, _) = against(replies).await;
            let Verdict::Refused(refused) = verdict else { panic!("{verdict:?}") };
            assert_eq!(refused[0].1.code, code);
        }
    }
}
