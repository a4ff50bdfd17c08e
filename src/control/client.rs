//! The command line's side of the control socket, and how a queue is shown to people.
//!
//! Promises the columns of `mailq`, which scripts parse, and exit codes of sysexits: 69 where no
//! daemon answers, 77 where it does not answer this user, 75 where it could not do it now, 65 where an id is not in the queue or no
//! mail was for a destination.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use super::limits::{Figure, Limited};
pub use super::listing::{DeliverBy, Message, Part, Reasons, Recipient};
pub use super::routes::{Learned, Limits, Outage, Route, RouteDetails};
use super::{Answer, Request};
use crate::net::clock;

/// Why a request failed: the sysexits code and what to tell the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// A code of sysexits.
    pub exit: u8,
    /// What to tell.
    pub message: String,
}

/// `EX_DATAERR`
pub const EX_DATAERR: u8 = 65;
/// `EX_NOINPUT`
pub const EX_NOINPUT: u8 = 66;
/// `EX_UNAVAILABLE`
pub const EX_UNAVAILABLE: u8 = 69;
/// `EX_CANTCREAT`
pub const EX_CANTCREAT: u8 = 73;
/// `EX_IOERR`
pub const EX_IOERR: u8 = 74;
/// `EX_TEMPFAIL`
pub const EX_TEMPFAIL: u8 = 75;
/// `EX_NOPERM`
pub const EX_NOPERM: u8 = 77;

/// Sends a request to the daemon behind `socket`; the payload and the number of messages that a
/// verb was applied to.
pub fn ask(socket: &Path, request: &Request) -> Result<(Vec<u8>, usize), Failure> {
    let (mut reader, count) = begin(socket, request)?;
    let mut payload = Vec::new();
    reader.read_to_end(&mut payload).map_err(|error| unavailable(socket, &error))?;
    Ok((payload, count))
}

/// Sends a request whose payload comes over time: `each` sees the lines of JSON as they come.
pub fn follow<T: serde::de::DeserializeOwned>(
    socket: &Path,
    request: &Request,
    mut each: impl FnMut(T),
) -> Result<(), Failure> {
    let (reader, _) = begin(socket, request)?;
    for line in reader.lines() {
        let line = line.map_err(|error| unavailable(socket, &error))?;
        if let Ok(value) = serde_json::from_str(&line) {
            each(value);
        }
    }
    Ok(())
}

fn unavailable(socket: &Path, error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        let who = "only the daemon's user and root may see and change the queue";
        let message = format!("{}: {error}; {who}", socket.display());
        return Failure { exit: EX_NOPERM, message };
    }
    let message = format!("no daemon answers at {}: {error}", socket.display());
    Failure { exit: EX_UNAVAILABLE, message }
}

/// Sends a request, and reads how it went.
fn begin(socket: &Path, request: &Request) -> Result<(BufReader<UnixStream>, usize), Failure> {
    let unavailable = |error| unavailable(socket, &error);
    let mut stream = UnixStream::connect(socket).map_err(unavailable)?;
    let mut line = serde_json::to_vec(request).unwrap_or_default();
    line.push(b'\n');
    stream.write_all(&line).map_err(unavailable)?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    reader.read_line(&mut head).map_err(unavailable)?;
    match serde_json::from_str(&head) {
        Ok(Answer::Done) => Ok((reader, 0)),
        Ok(Answer::Applied(count)) => Ok((reader, count)),
        Ok(Answer::NotFound(ids)) => Err(Failure {
            exit: EX_DATAERR,
            message: format!("not in the queue: {}", ids.join(" ")),
        }),
        Ok(Answer::NoRoute(destination)) => Err(Failure {
            exit: EX_DATAERR,
            message: format!("no mail was for {destination} since the daemon's start"),
        }),
        Ok(Answer::Failed(message)) => Err(Failure { exit: EX_TEMPFAIL, message }),
        Err(error) => Err(Failure {
            exit: EX_UNAVAILABLE,
            message: format!("the daemon's answer can't be read: {error}"),
        }),
    }
}

/// Reads lines of JSON; those that can't be read are left out.
pub fn parse_lines<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Vec<T> {
    payload
        .split(|&octet| octet == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// The queue as `mailq` shows it. A `*` behind the id: due; a `!`: held.
pub fn mailq(messages: &[Message]) -> String {
    if messages.is_empty() {
        return "Mail queue is empty\n".to_owned();
    }
    let mut text =
        "-Queue ID-------  --Size-- ---Arrival Time---- -Sender/Recipient------\n".to_owned();
    let mut octets = 0;
    for message in messages {
        octets += message.message_size;
        text.push_str(&mailq_entry(message));
    }
    let plural = if messages.len() == 1 { "" } else { "s" };
    let kbytes = octets.div_ceil(1024);
    text.push_str(&format!("-- {kbytes} Kbytes in {} Request{plural}.\n", messages.len()));
    text
}

fn mailq_entry(message: &Message) -> String {
    let flag = match message.queue_name.as_str() {
        "active" => '*',
        "hold" => '!',
        _ => ' ',
    };
    let arrival = clock::mailq_date(message.arrival_time * 1000);
    let sender = if message.sender.is_empty() { "MAILER-DAEMON" } else { &message.sender };
    let (id, size) = (&message.queue_id, message.message_size);
    let mut text = format!("{id}{flag} {size:>8} {arrival} {sender}\n");
    if let Some(at) = message.release_time.filter(|_| message.is_unreleased()) {
        let at = clock::mailq_date(at * 1000);
        text.push_str(&format!("{:>18}(future release at {at})\n", ""));
    }
    for recipient in &message.recipients {
        if recipient.state == "delivered" {
            continue;
        }
        if let Some(reason) = &recipient.reason {
            let failed = if recipient.state == "failed" { "failed: " } else { "" };
            text.push_str(&format!("{:>18}({failed}{reason})\n", ""));
        }
        text.push_str(&format!("{:>47}{}\n", "", recipient.address));
    }
    text.push('\n');
    text
}

/// One message in full, for people.
pub fn details(message: &Message) -> String {
    let mut text = format!(
        "id        {}\nqueue     {}\narrived   {}\nsize      {} octets\nsender    <{}>\ntenant    {}\n",
        message.queue_id,
        message.queue_name,
        clock::date(message.arrival_time * 1000),
        message.message_size,
        message.sender,
        message.tenant
    );
    if let Some(at) = message.release_time {
        text.push_str(&format!("release   {}\n", clock::date(at * 1000)));
    }
    if let Some(DeliverBy { time, late }) = &message.deliver_by {
        text.push_str(&format!("deliver   by {}, {late} when late\n", clock::date(time * 1000)));
    }
    if let Some(level) = message.priority {
        text.push_str(&format!("priority  {level}\n"));
    }
    if let Some(damage) = &message.damage {
        text.push_str(&format!("damaged   {damage}\n"));
    }
    for recipient in &message.recipients {
        text.push_str(&format!("recipient <{}> {}", recipient.address, recipient.state));
        if recipient.state == "pending" {
            let next = match recipient.next_attempt {
                0 => "at once".to_owned(),
                at => clock::date(at * 1000),
            };
            text.push_str(&format!(", {} failed attempts, next {next}", recipient.attempts));
        }
        if recipient.report_owed {
            text.push_str(", the sender is owed a report");
        }
        text.push('\n');
        if let Some(reason) = &recipient.reason {
            text.push_str(&format!("          {reason}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(queue_name: &str) -> Message {
        Message {
            queue_name: queue_name.into(),
            queue_id: "0100001000000001".into(),
            arrival_time: 1_795_514_096,
            message_size: 1500,
            sender: "s@c.example".into(),
            tenant: "joe".into(),
            recipients: vec![
                Recipient {
                    address: "a@d.example".into(),
                    state: "pending".into(),
                    reason: Some("said 450 later".into()),
                    ..Recipient::default()
                },
                Recipient {
                    address: "b@d.example".into(),
                    state: "delivered".into(),
                    ..Recipient::default()
                },
            ],
            release_time: None,
            deliver_by: None,
            priority: None,
            damage: None,
        }
    }

    #[test]
    fn shows_what_mailq_shows() {
        let text = mailq(&[message("hold")]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("0100001000000001!     1500 "), "{text}");
        assert!(lines[1].ends_with(" s@c.example"));
        assert_eq!(lines[2].trim(), "(said 450 later)");
        assert_eq!(lines[3].trim(), "a@d.example");
        assert!(!text.contains("b@d.example"), "who has it waits for nothing");
        assert_eq!(lines.last(), Some(&"-- 2 Kbytes in 1 Request."));
        assert_eq!(mailq(&[]), "Mail queue is empty\n");
    }
}
