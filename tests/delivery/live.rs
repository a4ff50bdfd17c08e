//! A script as a next hop over TCP, with the daemon in front of it.

#![allow(clippy::indexing_slicing, reason = "a panic fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::support::daemon::{Daemon, HOSTNAME, Parts, Site};
use super::support::smtp::Client;
use super::support::{loopback, wait_until};

/// How long a script may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether a script is about one transaction that brings a message.
pub(crate) fn can_play(path: &Path) -> bool {
    let script = std::fs::read_to_string(path).unwrap();
    let after = script.split_once("\nagain\n").map_or("", |(_, after)| after);
    !script.contains("\nprobe\n") && after.lines().all(|line| line.starts_with("= "))
}

/// Plays a script and checks what the daemon made of it.
pub(crate) fn play(path: &Path) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let script = std::fs::read_to_string(path).unwrap();
    let listener = TcpListener::bind(loopback(0)).unwrap();
    let daemon = start(&script, listener.local_addr().unwrap().port());
    let content = content(&script);
    send(&daemon, &script, &content);
    let (mut stream, _) = listener.accept().unwrap();
    let taken = serve(name, &script, &mut stream, &content);
    let expected: Vec<&str> = script.lines().filter_map(|line| line.strip_prefix("= ")).collect();
    let settled = wait_until(PATIENCE, || mismatch(&daemon, &expected).is_none());
    assert!(settled, "{name}: {}\n{}", mismatch(&daemon, &expected).unwrap(), daemon.log_tail());
    let delivered = expected.iter().any(|outcome| outcome.starts_with("delivered"));
    assert!(!delivered || taken == 1, "{name}: the content came {taken} times");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "{name}: nothing is tried again so soon");
}

fn start(script: &str, port: u16) -> Daemon {
    let scheme = if script.contains("\nlmtp\n") { "lmtp" } else { "smtp" };
    let steps =
        ["connect", "greeting", "command", "data_initiation", "data_block", "data_termination"];
    let times: String = steps.iter().map(|step| format!("{step} = \"1s\"\n")).collect();
    let tables = format!(
        "[[domain]]\nname = \"d.example\"\ndeliver = \"{scheme}://127.0.0.1:{port}\"\n\
         recipients = \"any\"\n[queue]\nretry_next_hop = [\"1h\"]\n[timeout]\n{times}"
    );
    let site = Site::new();
    let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
    Daemon::start_at(site, &text.replace(HOSTNAME, "mx.example"))
}

fn content(script: &str) -> Vec<u8> {
    let size = script.lines().find_map(|line| line.strip_prefix("size ")?.parse().ok());
    format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(size.unwrap_or(1))).into_bytes()
}

fn send(daemon: &Daemon, script: &str, content: &[u8]) {
    let body = if script.contains("\neight-bit\n") { " BODY=8BITMIME" } else { "" };
    let to = script.lines().find_map(|line| line.strip_prefix("to ")).unwrap();
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command(&format!("MAIL FROM:<s@c.example>{body}")).is(250, "2.1.0");
    for recipient in to.split(' ') {
        client.command(&format!("RCPT TO:<{recipient}>")).is(250, "2.1.5");
    }
    client.data(content).queue_id();
}

/// Says and hears what the script tells; how often the content came.
fn serve(name: &str, script: &str, stream: &mut TcpStream, content: &[u8]) -> usize {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut taken = 0;
    for line in script.lines() {
        if let Some(said) = line.strip_prefix("S: ") {
            // Who was told enough may be gone already.
            let _ = stream.write_all(format!("{said}\r\n").as_bytes());
        } else if line == "C: closed" {
            let mut rest = Vec::new();
            let _ = input.read_to_end(&mut rest);
            // A connection that had a result is kept for a while, and left in good form.
            assert!(rest == b"" || rest == b"QUIT\r\n", "{name}: said more: {rest:?}");
        } else if let Some(expected) = line.strip_prefix("C: ") {
            let mut heard = String::new();
            input.read_line(&mut heard).unwrap();
            let heard = heard.strip_suffix("\r\n").unwrap_or_else(|| panic!("{name}: no line end"));
            assert_eq!(without_size(heard), without_size(expected), "{name}");
        } else if line == "content" {
            receive(name, &mut input, content);
            taken += 1;
        } else if line == "close" {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }
    taken
}

/// The size of a message with its trace field differs from that of the script.
fn without_size(line: &str) -> String {
    line.split(' ').filter(|word| !word.starts_with("SIZE=")).collect::<Vec<_>>().join(" ")
}

fn receive(name: &str, input: &mut impl BufRead, content: &[u8]) {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\r\n.\r\n") {
        assert!(input.read_until(b'\n', &mut octets).unwrap() > 0, "{name}: cut short");
    }
    octets.truncate(octets.len() - 3);
    assert!(octets.ends_with(content), "{name}: the content is not what was sent");
}

/// What is not as expected yet.
fn mismatch(daemon: &Daemon, expected: &[&str]) -> Option<String> {
    let rows = daemon.rows();
    let all_delivered = expected.iter().all(|outcome| outcome.starts_with("delivered"));
    if all_delivered {
        return (!rows.is_empty()).then(|| format!("still queued: {rows:?}"));
    }
    let row = rows.iter().find(|row| row["sender"] == "s@c.example");
    let Some(row) = row else { return Some("the message is gone".to_owned()) };
    expected.iter().enumerate().find_map(|(index, outcome)| {
        let recipient = &row["recipients"][index];
        (!is_as_expected(recipient, outcome)).then(|| format!("{outcome}: {recipient}"))
    })
}

fn is_as_expected(recipient: &Value, outcome: &str) -> bool {
    let (kind, text) = outcome.split_once(' ').unwrap_or((outcome, ""));
    let reason = recipient["reason"].as_str().unwrap_or_default();
    match kind {
        "delivered" => recipient["state"] == "delivered",
        "deferred" => {
            recipient["state"] == "pending" && recipient["attempts"] == 1 && reason.contains(text)
        }
        _ => recipient["state"] == "failed" && reason.contains(text),
    }
}
