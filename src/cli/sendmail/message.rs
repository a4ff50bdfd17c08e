//! A message as programs write it: its lines, its recipients, and what it lacks.
//!
//! Promises that lines end in CRLF, that no blind recipient stays in the header, and that a message has
//! From, Date and Message-ID. The text of a body stays as it is.

use mail_parser::{Address, MessageParser};

/// Fields that name recipients, and those of a message that is sent once more (RFC 5322 3.6.6).
const RECIPIENTS: [&str; 3] = ["to", "cc", "bcc"];
const RESENT_RECIPIENTS: [&str; 3] = ["resent-to", "resent-cc", "resent-bcc"];
/// Fields that go no further; the reverse-path makes the last one anew.
const REMOVED: [&str; 4] = ["bcc", "resent-bcc", "content-length", "return-path"];

/// A field with its folded lines, each with its CRLF.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Field {
    /// In lower case.
    name: String,
    octets: Vec<u8>,
}

impl Field {
    fn new(line: &[u8], name: &[u8]) -> Self {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        Self { name, octets: with_end(line) }
    }
}

/// A message that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Message {
    fields: Vec<Field>,
    body: Vec<u8>,
}

/// What is added where it is missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing<'a> {
    /// A mailbox with or without a name, as a From field has it.
    pub(super) from: &'a str,
    pub(super) date: &'a str,
    /// With its brackets.
    pub(super) id: &'a str,
}

fn with_end(line: &[u8]) -> Vec<u8> {
    [line, b"\r\n"].concat()
}

/// The name of a line that begins a field.
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

impl Message {
    /// Reads lines that end in LF or CRLF. What begins with no field is all body.
    pub(super) fn read(text: &[u8]) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        let mut rest = text;
        while let Some((line, after)) = next_line(rest) {
            // A mailbox file's line, which is none of the message.
            let separator = fields.is_empty() && line.starts_with(b"From ");
            let folded = line.starts_with(b" ") || line.starts_with(b"\t");
            match (field_name(line), fields.last_mut()) {
                _ if separator => {}
                (_, Some(field)) if folded => field.octets.extend_from_slice(&with_end(line)),
                (Some(name), _) if !folded => fields.push(Field::new(line, name)),
                _ => {
                    // An empty line is the border; any other is the first of the body.
                    rest = if line.is_empty() { after } else { rest };
                    break;
                }
            }
            rest = after;
        }
        let mut body = Vec::with_capacity(rest.len() + rest.len() / 16);
        while let Some((line, after)) = next_line(rest) {
            body.extend_from_slice(line);
            body.extend_from_slice(b"\r\n");
            rest = after;
        }
        Self { fields, body }
    }

    /// The recipients that the header names: those of a resending where there is one.
    pub(super) fn recipients(&self) -> Vec<String> {
        let resent = self.fields.iter().any(|field| field.name.starts_with("resent-"));
        let names = if resent { RESENT_RECIPIENTS } else { RECIPIENTS };
        let naming = self.fields.iter().filter(|field| names.contains(&field.name.as_str()));
        naming.flat_map(|field| addresses(value(&field.octets))).collect()
    }

    /// The message as it is sent.
    pub(super) fn write(mut self, missing: Missing<'_>) -> Vec<u8> {
        self.fields.retain(|field| !REMOVED.contains(&field.name.as_str()));
        let Missing { from, date, id } = missing;
        let mut octets = Vec::with_capacity(self.body.len() + 1024);
        for (name, text) in [("From", from), ("Date", date), ("Message-ID", id)] {
            if !self.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name)) {
                octets.extend_from_slice(format!("{name}: {text}\r\n").as_bytes());
            }
        }
        for field in &self.fields {
            octets.extend_from_slice(&field.octets);
        }
        octets.extend_from_slice(b"\r\n");
        octets.extend_from_slice(&self.body);
        octets
    }
}

/// The next line without its end, and what follows.
fn next_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = text.get(..end)?;
    let after = text.get(end + 1..).unwrap_or_default();
    Some((line.strip_suffix(b"\r").unwrap_or(line), after))
}

fn value(field: &[u8]) -> &[u8] {
    let colon = memchr::memchr(b':', field).map_or(field.len(), |at| at + 1);
    field.get(colon..).unwrap_or_default()
}

/// The addresses of a list as a To field has it; a word alone is a mailbox of this machine.
pub(super) fn addresses(list: &[u8]) -> Vec<String> {
    let header = [b"To:", list, b"\r\n\r\n"].concat();
    let parser = MessageParser::new().with_address_headers();
    let Some(message) = parser.parse_headers(&header) else { return Vec::new() };
    let Some(list) = message.to() else { return Vec::new() };
    flat(list)
}

fn flat(list: &Address<'_>) -> Vec<String> {
    let text = |address: &mail_parser::Addr<'_>| {
        let given = address.address.as_deref().or(address.name.as_deref());
        given.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    list.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MISSING: Missing<'_> = Missing { from: "joe@d.example", date: "today", id: "<1@d>" };

    fn sent(text: &str) -> String {
        String::from_utf8(Message::read(text.as_bytes()).write(MISSING)).unwrap()
    }

    #[test]
    fn what_is_missing_is_added_and_nothing_else() {
        assert_eq!(
            sent("Subject: x\n\nhello\n"),
            "From: joe@d.example\r\nDate: today\r\nMessage-ID: <1@d>\r\nSubject: x\r\n\r\nhello\r\n"
        );
        let whole = "From: a\r\nDate: b\r\nMESSAGE-ID: c\r\nSubject: x\r\n y\r\n\r\nhello\r\n.\r\n";
        assert_eq!(sent(whole), whole);
        assert_eq!(sent(&whole.replace("\r\n", "\n")), whole);
    }

    #[test]
    fn text_without_a_header_is_all_body() {
        for text in ["hello: no\nworld", "just text\n", "\nFirst: line\n", ""] {
            let sent = sent(text);
            let (head, body) = sent.split_once("\r\n\r\n").unwrap();
            match text {
                "hello: no\nworld" => {
                    assert!(head.ends_with("hello: no") && body == "world\r\n", "{sent}");
                }
                _ => {
                    assert!(head.ends_with("<1@d>"), "{sent}");
                    assert_eq!(body, text.trim_start_matches('\n').replace('\n', "\r\n"));
                }
            }
        }
        assert!(
            sent("From joe Mon Jan  1\nSubject: x\n\nb\n").ends_with("Subject: x\r\n\r\nb\r\n")
        );
    }

    #[test]
    fn blind_recipients_are_read_and_removed() {
        let text =
            "To: a@d.example,\n Joe <b@d.example>\nBcc: c@d.example\nCc: g: d@d.example;\n\nx\n";
        let message = Message::read(text.as_bytes());
        let mut found = message.recipients();
        found.sort();
        assert_eq!(found, ["a@d.example", "b@d.example", "c@d.example", "d@d.example"]);
        let written = String::from_utf8(message.write(MISSING)).unwrap();
        assert!(!written.contains("c@d.example") && written.contains("Joe <b@d"), "{written}");
    }

    #[test]
    fn a_resending_goes_to_whom_it_names() {
        let text = "Resent-To: new@d.example\nResent-From: me\nTo: old@d.example\n\nx\n";
        assert_eq!(Message::read(text.as_bytes()).recipients(), ["new@d.example"]);
    }

    #[test]
    fn lists_of_any_form_are_read() {
        for (list, expected) in [
            ("root", vec!["root"]),
            ("root, admin", vec!["root", "admin"]),
            ("<root>", vec!["root"]),
            ("a@d.example (Joe), \"Doe, J.\" <b@d.example>", vec!["a@d.example", "b@d.example"]),
            ("undisclosed-recipients:;", vec![]),
            ("joe+tag@d.example", vec!["joe+tag@d.example"]),
            ("", vec![]),
        ] {
            assert_eq!(addresses(list.as_bytes()), expected, "{list}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_become_lines(text in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'.'), any::<u8>()],
            0..80,
        )) {
            let message = Message::read(&text);
            let _ = message.recipients();
            let written = message.write(MISSING);
            let feeds = memchr::memchr_iter(b'\n', &written);
            for at in feeds {
                prop_assert_eq!(written[at - 1], b'\r');
            }
            prop_assert!(written.ends_with(b"\r\n"));
        }
    }
}
