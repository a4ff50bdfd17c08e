//! A MIME entity (a message or a part of one) to its fields and its body, and what these declare.
//!
//! Promises to lose no octet: the header section, the empty line and the body, one after the
//! other, are the entity. The header section ends before the first line that is neither a field
//! nor folded, even where the empty line is missing, and then is written with one. Of several
//! fields of a name the first counts. What cannot be read declares what a missing field would.

use memchr::memmem;

/// The lines of a text, each with its CRLF; the last may lack it.
pub(super) fn lines(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let end = memmem::find(rest, b"\r\n").map_or(rest.len(), |at| at + 2);
        let (line, after) = rest.split_at_checked(end)?;
        rest = after;
        (!line.is_empty()).then_some(line)
    })
}

/// One field with its folded lines.
#[derive(Clone, Copy, Debug)]
struct Field<'a> {
    octets: &'a [u8],
    name: &'a [u8],
}

impl<'a> Field<'a> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    fn value(&self) -> &'a [u8] {
        let colon = memchr::memchr(b':', self.octets).map_or(self.octets.len(), |at| at + 1);
        self.octets.get(colon..).unwrap_or_default()
    }
}

/// A message or a part, taken apart.
#[derive(Debug)]
pub(super) struct Entity<'a> {
    fields: Vec<Field<'a>>,
    /// The header section, without the empty line.
    pub(super) header: &'a [u8],
    /// What follows the empty line, or the header section where that is missing.
    pub(super) body: &'a [u8],
}

impl<'a> Entity<'a> {
    pub(super) fn parse(octets: &'a [u8]) -> Self {
        let mut fields: Vec<(usize, &[u8])> = Vec::new();
        let mut at = 0;
        for line in lines(octets) {
            // A line of a mailbox file in front of the header is part of it.
            let mailbox = line.starts_with(b"From ") || line.starts_with(b">From ");
            match field_name(line) {
                Some(name) => fields.push((at, name)),
                None if at == 0 && mailbox => fields.push((at, b"")),
                None if at > 0 && (line.starts_with(b" ") || line.starts_with(b"\t")) => {}
                None => break,
            }
            at += line.len();
        }
        let (header, rest) = octets.split_at_checked(at).unwrap_or((octets, &[]));
        let body = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let ends = fields.iter().skip(1).map(|(start, _)| *start).chain([at]);
        let fields = fields.iter().zip(ends).map(|(&(start, name), end)| Field {
            octets: header.get(start..end).unwrap_or_default(),
            name,
        });
        Self { fields: fields.collect(), header, body }
    }

    fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.iter().find(|field| field.is(name)).map(Field::value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.value(ENCODING).map_or(Encoding::SevenBit, Encoding::parse)
    }

    /// What the content is; `default` where no field says.
    pub(super) fn content(&self, default: &str) -> Content {
        let value = self.value(TYPE).unwrap_or(default.as_bytes());
        let mut pieces = pieces(value).into_iter();
        let mut media = String::from_utf8_lossy(&pieces.next().unwrap_or_default()).to_lowercase();
        media.retain(|character| !character.is_ascii_whitespace());
        let (kind, subtype) = match media.split_once('/') {
            Some((kind, subtype)) if !kind.is_empty() && !subtype.is_empty() => (kind, subtype),
            // RFC 2045 section 5.2: what cannot be read is plain text.
            _ => ("text", "plain"),
        };
        let boundary = pieces.find_map(|piece| {
            let (name, value) = piece.split_at_checked(memchr::memchr(b'=', &piece)?)?;
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let name = name.trim_ascii();
            let ours = name.eq_ignore_ascii_case(b"boundary") && !value.is_empty();
            ours.then(|| value.to_vec())
        });
        Content { kind: kind.to_owned(), subtype: subtype.to_owned(), boundary }
    }

    /// Writes the header section with another encoding, the fields in `added` at its end, and the
    /// empty line.
    pub(super) fn write_header(&self, encoding: Option<&str>, added: &str, out: &mut Vec<u8>) {
        let mut wanted = encoding;
        for field in &self.fields {
            if encoding.is_none() || !field.is(ENCODING) {
                out.extend_from_slice(field.octets);
            } else if let Some(encoding) = wanted.take() {
                // A second field of the name goes, so that no reader can prefer it.
                write_encoding(encoding, out);
            }
        }
        out.extend_from_slice(added.as_bytes());
        if let Some(encoding) = wanted {
            write_encoding(encoding, out);
        }
        out.extend_from_slice(b"\r\n");
    }
}

const ENCODING: &str = "Content-Transfer-Encoding";
const TYPE: &str = "Content-Type";

fn write_encoding(encoding: &str, out: &mut Vec<u8>) {
    for part in [ENCODING, ": ", encoding, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The name of the field that a line begins, as `syntax::header` judges it.
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let name = line.get(..memchr::memchr(b':', line)?)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// What a Content-Type field says.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) kind: String,
    pub(super) subtype: String,
    /// The boundary, where there is one that is not empty.
    pub(super) boundary: Option<Vec<u8>>,
}

/// The transfer encoding in which a body stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    SevenBit,
    EightBit,
    Binary,
    QuotedPrintable,
    Base64,
    /// Said to be encoded in a way that is none of MIME's.
    Foreign,
}

impl Encoding {
    fn parse(value: &[u8]) -> Self {
        let token = pieces(value).into_iter().next().unwrap_or_default().to_ascii_lowercase();
        match token.split(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or(b"") {
            b"8bit" => Self::EightBit,
            b"binary" => Self::Binary,
            b"quoted-printable" => Self::QuotedPrintable,
            b"base64" => Self::Base64,
            b"uuencode" | b"mac-binhex40" | [b'x', b'-', ..] => Self::Foreign,
            // Readers take `8-bit`, `none`, `utf-8` and whatever else there is for no encoding.
            _ => Self::SevenBit,
        }
    }
}

/// A structured field's text cut at its semicolons: unfolded, quotes undone, without comments.
fn pieces(value: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = vec![];
    let mut piece = vec![];
    let (mut quoted, mut comments) = (false, 0_usize);
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'\r' | b'\n' => {}
            b'\\' if quoted || comments > 0 => {
                let next = octets.next();
                piece.extend(next.filter(|_| quoted));
            }
            b'"' if comments == 0 => quoted = !quoted,
            _ if quoted => piece.push(octet),
            b'(' => comments += 1,
            b')' => comments = comments.saturating_sub(1),
            _ if comments > 0 => {}
            b';' => pieces.push(std::mem::take(&mut piece)),
            _ => piece.push(octet),
        }
    }
    pieces.push(piece);
    pieces
}
