//! A header section to its fields, and back with its repairs.

use memchr::{memchr, memmem};

use super::Stamp;

/// The longest line without its CRLF (RFC 5322 2.1.1).
const LINE_OCTETS_MAX: usize = 998;

/// Fields that tell what others shall not see, or what only final delivery may add.
const REMOVED: [&str; 3] = ["Bcc", "Resent-Bcc", "Return-Path"];

/// Where a header section ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// After the last field.
    pub(super) fields: usize,
    /// Where the body begins.
    pub(super) body: usize,
}

/// One field with its folded lines and final CRLF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    /// All of it.
    pub(super) octets: &'a [u8],
    /// Its name; empty for a line of a mailbox file.
    pub(super) name: &'a [u8],
}

impl<'a> Field<'a> {
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether it is of a Resent block (RFC 5322 3.6.6).
    pub(super) fn is_resent(&self) -> bool {
        let prefix = self.name.get(..7);
        prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"Resent-"))
    }

    /// Octets in front of the value.
    fn value_at(&self) -> usize {
        memchr(b':', self.octets).map_or(self.octets.len(), |at| at + 1)
    }

    pub(super) fn value(&self) -> &'a [u8] {
        self.octets.get(self.value_at()..).unwrap_or_default()
    }
}

/// What changes in a header section beside the stamp.
#[derive(Default, Debug)]
pub(super) struct Changes {
    /// In which field, at which octets of its value, `@domain` is missing.
    pub(super) qualify: Vec<(usize, Vec<usize>)>,
    /// That domain.
    pub(super) domain: String,
    /// The address for a missing From.
    pub(super) from: Option<String>,
    /// The address for Sender, which takes the place of any that is there.
    pub(super) sender: Option<String>,
    /// The first field of the newest Resent block, where that has no date.
    pub(super) resent_date: Option<usize>,
}

/// Whether a line begins a field, and its name.
fn name_of(line: &[u8]) -> Option<&[u8]> {
    let name = line.get(..memchr(b':', line)?)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

fn is_mailbox_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

fn is_folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// Looks for the end of the fields from `known` on, which grows by the lines that are of fields.
pub(super) fn find_end(content: &[u8], known: &mut usize) -> Option<End> {
    loop {
        let rest = content.get(*known..)?;
        let length = memmem::find(rest, b"\r\n")? + 2;
        let line = rest.get(..length)?;
        if line == b"\r\n" {
            return Some(End { fields: *known, body: *known + 2 });
        }
        let first = *known == 0;
        let is_field = first && is_mailbox_line(line)
            || !first && is_folded(line)
            || !is_folded(line) && name_of(line).is_some();
        if !is_field {
            return Some(End { fields: *known, body: *known });
        }
        *known += length;
    }
}

/// The fields of a header section.
pub(super) fn fields(section: &[u8]) -> Vec<Field<'_>> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while let Some(rest) = section.get(at..).filter(|rest| !rest.is_empty()) {
        let length = memmem::find(rest, b"\r\n").map_or(rest.len(), |end| end + 2);
        if !is_folded(rest) {
            begin = at;
            let line = rest.get(..length).unwrap_or_default();
            let name = if at == 0 && is_mailbox_line(line) { None } else { name_of(line) };
            fields.push(Field { octets: &[], name: name.unwrap_or_default() });
        }
        at += length;
        if let Some(field) = fields.last_mut() {
            field.octets = section.get(begin..at).unwrap_or_default();
        }
    }
    fields
}

/// Writes the fields with their repairs, without the empty line.
pub(super) fn write(fields: &[Field<'_>], changes: &Changes, stamp: &Stamp, out: &mut Vec<u8>) {
    for (place, field) in fields.iter().enumerate() {
        if changes.resent_date == Some(place) {
            add("Resent-Date", &stamp.date, out);
        }
        let replaced = changes.sender.is_some() && field.is("Sender");
        if field.name.is_empty() || replaced || REMOVED.iter().any(|name| field.is(name)) {
            continue;
        }
        let begin = out.len();
        match changes.qualify.iter().find(|(of, _)| *of == place) {
            Some((_, ends)) => qualify(field, ends, &changes.domain, out),
            None => out.extend_from_slice(field.octets),
        }
        fold(out, begin);
    }
    let has = |name| fields.iter().any(|field| field.is(name));
    if !has("Date") {
        add("Date", &stamp.date, out);
    }
    if !has("Message-ID") {
        add("Message-ID", &format!("<{}>", stamp.message_id), out);
    }
    for (name, address) in [("From", &changes.from), ("Sender", &changes.sender)] {
        if let Some(address) = address {
            add(name, address, out);
        }
    }
}

fn add(name: &str, value: &str, out: &mut Vec<u8>) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn qualify(field: &Field<'_>, ends: &[usize], domain: &str, out: &mut Vec<u8>) {
    let mut from = 0;
    for end in ends {
        let to = field.value_at() + end;
        out.extend_from_slice(field.octets.get(from..to).unwrap_or_default());
        out.push(b'@');
        out.extend_from_slice(domain.as_bytes());
        from = to;
    }
    out.extend_from_slice(field.octets.get(from..).unwrap_or_default());
}

/// Folds the lines of a field from `begin` on that are too long, where they have blanks.
fn fold(out: &mut Vec<u8>, begin: usize) {
    let field = out.get(begin..).unwrap_or_default();
    if field.len() <= LINE_OCTETS_MAX {
        return;
    }
    let mut folded = Vec::with_capacity(field.len() + 16);
    let mut rest = field;
    while !rest.is_empty() {
        let length = memmem::find(rest, b"\r\n").unwrap_or(rest.len());
        let cut = if length > LINE_OCTETS_MAX { place_to_fold(rest, length) } else { None };
        let (line, after) = match cut {
            Some(at) => rest.split_at_checked(at),
            None => rest.split_at_checked((length + 2).min(rest.len())),
        }
        .unwrap_or((rest, &[]));
        folded.extend_from_slice(line);
        if cut.is_some() {
            folded.extend_from_slice(b"\r\n");
        }
        rest = after;
    }
    out.truncate(begin);
    out.extend_from_slice(&folded);
}

/// The last blank at which the line may be cut, or else the first further on. A line of blanks
/// alone would end the header section for some readers.
fn place_to_fold(rest: &[u8], length: usize) -> Option<usize> {
    let line = rest.get(..length)?;
    let text = line.iter().position(|octet| *octet == b':' || !is_blank(*octet))?;
    let is_place = |at: &usize| {
        let (before, after) = line.split_at_checked(*at).unwrap_or((line, &[]));
        after.first().copied().is_some_and(is_blank)
            && !after.iter().all(|octet| is_blank(*octet))
            && !before.iter().all(|octet| is_blank(*octet))
            && memchr(b':', before).is_none_or(|colon| colon + 1 < *at || is_folded(line))
    };
    let last = (text + 1..=LINE_OCTETS_MAX.min(length)).rev().find(is_place);
    last.or_else(|| (LINE_OCTETS_MAX + 1..length).find(is_place))
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}
