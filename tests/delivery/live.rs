//! A script as a next hop over TCP, with the daemon in front of it.
//!
//! Each recipient must be delivered exactly once, told of in exactly one report, or still queued
//! after one attempt.

#![allow(clippy::indexing_slicing, reason = "a panic fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
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
    // Handshakes of real next hops are in `outgoing_tls`.
    let plain = !script.contains("\nstarttls ") && !script.contains("\nlogin ");
    plain && !script.contains("\nprobe\n") && after.lines().all(|line| line.starts_with("= "))
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
    let settled = wait_until(PATIENCE, || mismatch(&daemon, &script).is_none());
    assert!(settled, "{name}: {:?}\n{}", mismatch(&daemon, &script), daemon.log_tail());
    let delivered = outcomes(&script).any(|(outcome, _)| outcome == "delivered");
    assert!(!delivered || taken == 1, "{name}: the content came {taken} times");
    listener.set_nonblocking(true).unwrap();
    let looked_at =
        outcomes(&script).any(|(_, text)| is_outage(text) || text.contains("the hello"));
    let again = listener.accept().is_ok();
    assert!(looked_at || !again, "{name}: nothing is tried again so soon");
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
    let listener = "smtputf8 = true";
    let text = site.configuration(&Parts { listener, tables: &tables, ..Parts::default() });
    Daemon::start_at(site, &text.replace(HOSTNAME, "mx.example"))
}

fn content(script: &str) -> Vec<u8> {
    let size = script.lines().find_map(|line| line.strip_prefix("size ")?.parse().ok());
    format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(size.unwrap_or(1))).into_bytes()
}

fn send(daemon: &Daemon, script: &str, content: &[u8]) {
    let value = |key: &str| script.lines().find_map(|line| line.strip_prefix(key));
    let words = |key| value(key).map_or(String::new(), |words| format!(" {words}"));
    let (with, each) = (words("with "), words("each "));
    let to = value("to ").unwrap();
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command(&format!("MAIL FROM:<s@c.example>{with}")).is(250, "2.1.0");
    for recipient in to.split(' ') {
        client.command(&format!("RCPT TO:<{recipient}>{each}")).is(250, "2.1.5");
    }
    let binary = with.contains("BINARYMIME");
    if binary { client.bdat(content) } else { client.data(content) }.queue_id();
}

/// Says and hears what the script tells; how often the content came.
fn serve(name: &str, script: &str, stream: &mut TcpStream, content: &[u8]) -> usize {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let (mut taken, mut chunks, mut bdat) = (0, Vec::new(), String::new());
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
            assert_eq!(without_figures(heard), without_figures(expected), "{name}");
            heard.clone_into(&mut bdat);
        } else if line == "chunk" {
            let size = bdat.split(' ').nth(1).unwrap().parse().unwrap();
            input.by_ref().take(size).read_to_end(&mut chunks).unwrap();
            if bdat.ends_with(" LAST") {
                assert!(std::mem::take(&mut chunks).ends_with(content), "{name}: another content");
                taken += 1;
            }
        } else if line == "content" {
            receive(name, &mut input, content);
            taken += 1;
        } else if line == "close" {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
    }
    taken
}

/// The size of a message with its trace field differs from that of the script, and so does that of
/// its last chunk; of a deadline the time is taken off that was spent.
fn without_figures(line: &str) -> String {
    if line.starts_with("BDAT ") && line.ends_with(" LAST") {
        return "BDAT n LAST".to_owned();
    }
    let words = line.split(' ').filter(|word| !word.starts_with("SIZE="));
    let word = |word: &str| match word.split_once(';') {
        Some((by, mode)) if by.starts_with("BY=") => format!("BY=;{mode}"),
        _ => word.to_owned(),
    };
    words.map(word).collect::<Vec<_>>().join(" ")
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
fn mismatch(daemon: &Daemon, script: &str) -> Option<String> {
    let rows = daemon.rows();
    let named = |sender: &'static str| rows.iter().filter(move |row| row["sender"] == sender);
    let message = named("s@c.example").next();
    let reports: Vec<&Value> = named("").collect();
    let failed = failed(script);
    if reports.len() != usize::from(!failed.is_empty()) {
        return Some(format!("{} reports: {rows:?}", reports.len()));
    }
    if let Some(report) = reports.first()
        && let Some(fault) = report_fault(daemon, report["queue_id"].as_str().unwrap(), &failed)
    {
        return Some(fault);
    }
    let settled = outcomes(script).all(|(outcome, _)| outcome != "deferred");
    match message {
        None if settled => None,
        Some(row) if !settled => outcomes(script).enumerate().find_map(|(index, expected)| {
            let recipient = &row["recipients"][index];
            (!is_as_expected(recipient, expected)).then(|| format!("{expected:?}: {recipient}"))
        }),
        _ => Some(format!("queued: {message:?}")),
    }
}

/// The expected outcome of each recipient, with the text that its reason must hold.
fn outcomes(script: &str) -> impl Iterator<Item = (&str, &str)> {
    let lines = script.lines().filter_map(|line| line.strip_prefix("= "));
    lines.map(|outcome| outcome.split_once(' ').unwrap_or((outcome, "")))
}

/// The recipients that a report must tell of, with what it must say of each.
fn failed(script: &str) -> Vec<(&str, &str)> {
    let to = script.lines().find_map(|line| line.strip_prefix("to ")).unwrap().split(' ');
    let failed = to.zip(outcomes(script)).filter(|(_, (outcome, _))| *outcome == "failed");
    failed.map(|(recipient, (_, text))| (recipient, text)).collect()
}

/// Reads a queued report with Python's email package and compares its fields.
fn report_fault(daemon: &Daemon, id: &str, failed: &[(&str, &str)]) -> Option<String> {
    let (octets, _) = daemon.queue_octets(&["cat", id]);
    let file = daemon.path("report.eml");
    std::fs::write(&file, octets).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dsn/read.py");
    let Ok(read) = Command::new("python3").arg(script).arg(file).output() else {
        eprintln!("LEFT OUT: python3 is not there to read the reports");
        return None;
    };
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let found: Value = serde_json::from_slice(&read.stdout).unwrap();
    let fields = found["fields"].as_array().unwrap();
    if fields.len() != failed.len() + 1 {
        return Some(format!("the report tells of {} recipients: {found}", fields.len() - 1));
    }
    failed.iter().zip(&fields[1..]).find_map(|((recipient, text), group)| {
        let field = |name: &str| group[name].as_str().unwrap_or_default().to_owned();
        // What a server said stands in the code; our own words say where it was said.
        let said = text.split(" (").next().unwrap_or_default();
        let good = field("final-recipient") == format!("rfc822; {recipient}")
            && field("action") == "failed"
            && field("status").starts_with("5.")
            && field("diagnostic-code").replace('\n', "").contains(said);
        (!good).then(|| format!("{recipient} {text:?}: {group}"))
    })
}

/// Whether an outcome says that no dialogue came about.
fn is_outage(text: &str) -> bool {
    text.contains("(at its greeting)")
}

fn is_as_expected(recipient: &Value, (outcome, text): (&str, &str)) -> bool {
    let reason = recipient["reason"].as_str().unwrap_or_default();
    match outcome {
        "deferred" => {
            let expected = if is_outage(text) {
                // Nothing of the message was tried. Looks at the next hop may find other words.
                recipient["attempts"] == 0 && reason.contains("at its greeting")
            } else {
                recipient["attempts"].as_u64() <= Some(1) && reason.contains(text)
            };
            recipient["state"] == "pending" && expected
        }
        "delivered" => recipient["state"] == "delivered",
        _ => recipient["state"] == "failed" && recipient["report_owed"] == false,
    }
}
