//! Reports as octets: golden files, and what a stranger's parser makes of them.
//!
//! Each `tests/dsn/NAME.in` describes a report and holds the original after an empty line; lines end
//! in LF there, and `\xHH` is an octet. `NAME.eml` is what must be written; UPDATE_DSN=1 writes it
//! anew. Python's `email` package then reads each and says what it found.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use angarium::registry::parameter::Parameter;
use angarium::report::template::Template;
use angarium::report::{Action, Original, Other, Recipient, Report, Settings, Written};
use angarium::syntax::parameter::RcptParameters;
use angarium::syntax::parameter::dsn::{OriginalRecipient, Return};
use serde_json::Value;

const DATE: &str = "Tue, 24 Nov 2026 18:00:00 +0100";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dsn")
}

/// The address that a client named: as ORCPT has it, or without a type.
fn named(said: &str) -> OriginalRecipient {
    if !said.contains(';') {
        return OriginalRecipient::of(said);
    }
    let read = RcptParameters::parse(&format!("ORCPT={said}"), Parameter::named);
    read.unwrap().original.unwrap()
}

fn date(at_ms: u64) -> String {
    if at_ms == 0 { DATE.to_owned() } else { format!("Tue, 24 Nov 2026 18:00:{at_ms:02} +0100") }
}

/// Text with `\xHH` for octets.
fn octets(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut octets = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        octets.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        octets.extend_from_slice(&piece.as_bytes()[2..]);
    }
    octets
}

/// What an input describes.
struct Case {
    name: String,
    settings: Settings,
    action: Action,
    recipients: Vec<Recipient>,
    others: Vec<Other>,
    envelope_id: Option<String>,
    deliver_by_ms: Option<u64>,
    content: Vec<u8>,
    whole: bool,
    ret: Option<Return>,
    utf8: bool,
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let (head, content) = text.split_once("\n\n").unwrap();
        let mut case = Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            settings: Settings {
                hostname: "mx.example".into(),
                from: "mailer-daemon@mx.example".parse().unwrap(),
                content_octets_max: 2_000,
                template: None,
                delay_warning_ms: vec![],
            },
            action: Action::Failed,
            recipients: Vec::new(),
            others: Vec::new(),
            envelope_id: None,
            deliver_by_ms: None,
            content: octets(&content.replace('\n', "\r\n")),
            whole: true,
            ret: None,
            utf8: false,
        };
        for line in head.lines() {
            let (key, value) = line.split_once(": ").unwrap();
            case.take(key, &String::from_utf8(octets(value)).unwrap());
        }
        case
    }

    fn take(&mut self, key: &str, value: &str) {
        match key {
            "delayed" => self.action = Action::Delayed { until_ms: value.parse().unwrap() },
            "deliver-by" => self.deliver_by_ms = Some(value.parse().unwrap()),
            "relayed" => self.action = Action::Relayed,
            "delivered" => self.action = Action::Delivered,
            "headers" => self.ret = Some(Return::Headers),
            "utf8" => self.utf8 = true,
            "envelope-id" => self.envelope_id = Some(value.to_owned()),
            "max" => self.settings.content_octets_max = value.parse().unwrap(),
            "cut" => self.whole = false,
            "template" => self.settings.template = Some(Template::parse(value).unwrap()),
            // address, original, host, state and reason; `-` is none.
            "recipient" => {
                let fields: Vec<&str> = value.splitn(5, " | ").collect();
                let given = |field: &str| (field != "-").then(|| field.to_owned());
                self.recipients.push(Recipient {
                    address: fields[0].to_owned(),
                    original: given(fields[1]).map(|said| named(&said)),
                    expired: fields[3] == "expired",
                    reason: fields[4].to_owned(),
                    remote: given(fields[2]),
                    attempted_ms: given(fields[2]).map(|_| 30),
                });
            }
            // How many more recipients wait, and those that are named.
            "other" => {
                let (more, recipients) = value.split_once(" | ").unwrap();
                self.others.push(Other {
                    id: format!("{:016X}", 0x0000_0100_0000_0002 + self.others.len()),
                    arrived_ms: 20,
                    recipients: recipients.split(" | ").map(str::to_owned).collect(),
                    more: more.parse().unwrap(),
                });
            }
            other => panic!("{}: what is {other}?", self.name),
        }
    }

    fn write(&self) -> Written {
        Report {
            id: "00000100000000A1",
            now_ms: 0,
            to: &"s@senders.example".parse().unwrap(),
            action: self.action,
            recipients: &self.recipients,
            original: Original {
                id: "0000010000000001",
                arrived_ms: 10,
                envelope_id: self.envelope_id.as_deref(),
                deliver_by_ms: self.deliver_by_ms,
                content: &self.content,
                whole: self.whole,
                ret: self.ret,
                utf8: self.utf8,
            },
            others: &self.others,
            date,
        }
        .write(&self.settings)
    }
}

fn cases() -> Vec<Case> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "in"))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 7, "only {} inputs", inputs.len());
    inputs.iter().map(|path| Case::read(path)).collect()
}

#[test]
fn each_report_is_what_it_should_be() {
    // Checks: B08 B09
    for case in cases() {
        let written = case.write().content;
        let golden = folder().join(format!("{}.eml", case.name));
        if std::env::var_os("UPDATE_DSN").is_some() {
            fs::write(&golden, &written).unwrap();
        }
        let expected = fs::read(&golden).unwrap_or_default();
        let shown = String::from_utf8_lossy(&written);
        assert!(written == expected, "{}: now\n{shown}", case.name);
    }
}

#[test]
fn every_line_is_one_that_mail_carries() {
    for case in cases() {
        let Written { content, eight_bit } = case.write();
        assert!(content.ends_with(b"\r\n"), "{}", case.name);
        for line in content.strip_suffix(b"\r\n").unwrap().split(|octet| *octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert!(line.len() <= 998 && !line.contains(&b'\r'), "{}", case.name);
        }
        assert_eq!(content.iter().filter(|o| **o == b'\n').count(), crlf(&content));
        assert_eq!(eight_bit, !content.is_ascii(), "{}", case.name);
    }
}

fn crlf(content: &[u8]) -> usize {
    content.windows(2).filter(|pair| pair == b"\r\n").count()
}

/// What Python reads in a file; `None` where there is no Python.
fn python(file: &Path) -> Option<Value> {
    let script = folder().join("read.py");
    let Ok(done) = Command::new("python3").arg(script).arg(file).output() else {
        eprintln!("LEFT OUT: python3 is not there, nobody else reads the reports");
        return None;
    };
    assert!(done.status.success(), "{file:?}: {}", String::from_utf8_lossy(&done.stderr));
    Some(serde_json::from_slice(&done.stdout).unwrap())
}

#[test]
fn a_strangers_parser_reads_every_field() {
    for case in cases() {
        let Some(found) = python(&folder().join(format!("{}.eml", case.name))) else { return };
        let name = &case.name;
        assert_eq!(found["defects"].as_array().unwrap().len(), 0, "{name}: {found}");
        for (field, value) in [
            ("from", "Mail Delivery System <mailer-daemon@mx.example>"),
            ("to", "s@senders.example"),
            ("date", DATE),
            ("message-id", "<00000100000000A1@mx.example>"),
            ("auto-submitted", "auto-replied"),
            ("mime-version", "1.0"),
            ("report-type", "delivery-status"),
        ] {
            let seen = found["header"][field]
                .as_str()
                .unwrap()
                .replace("<s@senders.example>", "s@senders.example");
            assert_eq!(seen, value, "{name}: {field}");
        }
        let parts: Vec<_> =
            found["parts"].as_array().unwrap().iter().map(|part| part.as_str().unwrap()).collect();
        let status = if case.utf8 { "global-delivery-status" } else { "delivery-status" };
        assert_eq!(parts[..2], ["text/plain", &format!("message/{status}")], "{name}");
        assert!(parts.len() <= 3, "{name}: {parts:?}");
        check_fields(&case, found["fields"].as_array().unwrap());
        check_original(&case, &parts, &found);
    }
}

fn check_fields(case: &Case, groups: &[Value]) {
    let name = &case.name;
    assert_eq!(groups.len(), 1 + case.recipients.len(), "{name}: {groups:?}");
    let mut first = vec![("reporting-mta", "dns; mx.example".to_owned())];
    first.extend(case.envelope_id.clone().map(|id| ("original-envelope-id", id)));
    first.push(("arrival-date", date(10)));
    first.extend(case.deliver_by_ms.map(|at_ms| ("deliver-by-date", date(at_ms))));
    same(name, &groups[0], first);
    for (recipient, group) in case.recipients.iter().zip(&groups[1..]) {
        let mut expected = Vec::new();
        let original = recipient.original.as_ref();
        expected.extend(original.map(|original| {
            ("original-recipient", shown(case, original.address_type(), &original.address()))
        }));
        let kind = if recipient.address.is_ascii() { "rfc822" } else { "utf-8" };
        expected.push(("final-recipient", shown(case, kind, &recipient.address)));
        let (action, class) = match case.action {
            Action::Failed => ("failed", "5."),
            Action::Delayed { .. } => ("delayed", "4."),
            Action::Relayed => ("relayed", "2."),
            Action::Delivered => ("delivered", "2."),
        };
        expected.push(("action", action.to_owned()));
        let status = group["status"].as_str().unwrap();
        assert!(status.starts_with(class), "{name}: {status}");
        assert!(!recipient.expired || status == "5.4.7", "{name}: {status}");
        expected.push(("status", status.to_owned()));
        let said = recipient
            .reason
            .strip_prefix("said ")
            .filter(|said| said.starts_with(char::is_numeric));
        if let (Some(_), Some(remote)) = (said, &recipient.remote) {
            expected.push(("remote-mta", format!("dns; {remote}")));
        }
        let code = group["diagnostic-code"].as_str().unwrap();
        let kind = if said.is_some() { "smtp; " } else { "X-Angarium; " };
        assert!(code.starts_with(kind) && (case.utf8 || code.is_ascii()), "{name}: {code}");
        expected.push(("diagnostic-code", code.to_owned()));
        expected.extend(recipient.attempted_ms.map(|at| ("last-attempt-date", date(at))));
        if let Action::Delayed { until_ms } = case.action {
            expected.push(("will-retry-until", date(until_ms)));
        }
        same(name, group, expected);
    }
}

/// An address as a field has it: ASCII, unless the message had SMTPUTF8.
fn shown(case: &Case, address_type: &str, address: &str) -> String {
    let embedded = |c: char| match c.is_ascii() || case.utf8 {
        true => c.to_string(),
        false => format!("\\x{{{:X}}}", u32::from(c)),
    };
    format!("{address_type}; {}", address.chars().map(embedded).collect::<String>())
}

/// These fields and no others.
fn same(name: &str, group: &Value, expected: Vec<(&str, String)>) {
    let group = group.as_object().unwrap();
    for (field, value) in &expected {
        assert_eq!(
            group.get(*field).and_then(Value::as_str),
            Some(value.as_str()),
            "{name}: {field}"
        );
    }
    assert_eq!(group.len(), expected.len(), "{name}: {group:?}");
}

/// The third part gives back what was sent, octet for octet.
fn check_original(case: &Case, parts: &[&str], found: &Value) {
    let Some(kind) = parts.get(2) else {
        return assert!(case.content.is_empty(), "{}: the original is missing", case.name);
    };
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let given = found["original"].as_str().unwrap();
    let whole = if case.utf8 { "message/global" } else { "message/rfc822" };
    if *kind == whole {
        let returns = case.action == Action::Failed && case.ret != Some(Return::Headers);
        assert!(returns, "{}: the whole message is given back", case.name);
        assert_eq!(given, hex(&case.content), "{}", case.name);
    } else {
        let header = if case.utf8 { "message/global-headers" } else { "text/rfc822-headers" };
        assert_eq!(*kind, header, "{}", case.name);
        let end = case.content.windows(4).position(|four| four == b"\r\n\r\n");
        let header = &case.content[..end.map_or(case.content.len(), |end| end + 2)];
        assert_eq!(given, hex(header), "{}", case.name);
    }
}
