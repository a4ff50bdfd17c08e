//! A message with 8-bit content to one that is 7-bit throughout, for a next hop without 8BITMIME.
//!
//! RFC 6152 section 3 leaves this or a failure. Promises that every part decodes to the octets it
//! had, that nothing changes but the bodies that are 8-bit and the fields that declare them, and
//! that a second conversion finds nothing to do. Texts become quoted-printable, or base64 where
//! most of their octets are not ASCII; everything else becomes base64. Once a message must change,
//! so do its texts with lines that are longer than RFC 5322 allows.
//!
//! Refuses what a conversion would break: 8-bit content inside `multipart/signed` and
//! `multipart/encrypted` (RFC 1847 wants both opaque in transit), and structures that readers
//! would take in different ways. `application/pkcs7-mime` is neither: its encoding lies outside of
//! what is signed. Octets above 127 in header fields cannot be encoded without being understood;
//! they stay, and are reported. Those in a preamble or epilogue, which readers do not show, give
//! way to a stand-in, which is reported too.
//!
//! Time is bounded by the size of the message times the depth to which it is looked into.

mod encode;
mod entity;
mod multipart;
#[cfg(test)]
mod tests;

use std::fmt;

use entity::{Content, Encoding, Entity};
use multipart::Piece;

/// How deep parts and messages may lie in each other where they are 8-bit.
const DEPTH_MAX: usize = 32;

/// The longest line of a message, without its CRLF (RFC 5322 section 2.1.1).
const LINE_OCTETS_MAX: usize = 998;

/// Signatures of the whole message that a change of its octets invalidates.
const SIGNATURES: [&str; 3] = ["DKIM-Signature", "ARC-Message-Signature", "DomainKey-Signature"];

const PLAIN: &str = "text/plain";
const MESSAGE: &str = "message/rfc822";

/// A message that is 7-bit but for its header fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Converted {
    /// The message; the one that was given, where it had no 8-bit content.
    pub octets: Vec<u8>,
    /// The message changed, and carries a signature (DKIM, ARC) that no longer holds.
    pub broke_signature: bool,
    /// A header field, of the message or of a part, still has octets above 127.
    pub raw_header: bool,
    /// A preamble or epilogue had octets above 127; each is now a `#`.
    pub masked: bool,
}

/// Why a message can't be converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Content that a `multipart/signed` vouches for is 8-bit.
    Signed,
    /// Content of a `multipart/encrypted` is 8-bit.
    Encrypted,
    /// Its structure is not what MIME allows; in which way.
    Malformed(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            Self::Signed => "its 8-bit content is signed, and the signature would break",
            Self::Encrypted => "its 8-bit content is encrypted, and has to stay as it is",
            Self::Malformed(why) => why,
        };
        write!(f, "the message cannot be converted to 7 bits: {why}")
    }
}

impl std::error::Error for Refusal {}

/// Converts a message, in CRLF lines, to one whose bodies are 7-bit.
pub fn to_seven_bit(message: &[u8]) -> Result<Converted, Refusal> {
    let top = Place { depth: 0, default: PLAIN, whole: true, frozen: None };
    let mut walk = Walk { out: Vec::with_capacity(message.len()), ..Walk::default() };
    let mut changed = walk.entity(message, top)?;
    if changed && entity::lines(message).any(is_long) {
        // Long lines alone are no reason to touch a message, so they are looked for only now.
        walk = Walk { out: Vec::with_capacity(walk.out.len()), long_too: true, ..Walk::default() };
        changed = walk.entity(message, top)?;
    }
    let header = Entity::parse(message);
    let signed = SIGNATURES.iter().any(|name| header.has(name));
    let Walk { out: octets, raw_header, masked, .. } = walk;
    Ok(Converted { octets, broke_signature: changed && signed, raw_header, masked })
}

fn is_long(line: &[u8]) -> bool {
    line.strip_suffix(b"\r\n").unwrap_or(line).len() > LINE_OCTETS_MAX
}

/// Where in a message an entity stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// The type of what declares none.
    default: &'static str,
    /// A message, with the fields of one; not a part.
    whole: bool,
    /// Nothing may change here, and why.
    frozen: Option<Refusal>,
}

/// What the walk over a message has written and found.
#[derive(Default)]
struct Walk {
    out: Vec<u8>,
    long_too: bool,
    raw_header: bool,
    masked: bool,
}

impl Walk {
    /// Writes a message or a part, and says whether it is another one now.
    fn entity(&mut self, octets: &[u8], place: Place) -> Result<bool, Refusal> {
        if octets.is_ascii() && !self.long_too {
            self.out.extend_from_slice(octets);
            return Ok(false);
        }
        let entity = Entity::parse(octets);
        self.raw_header |= !entity.header.is_ascii();
        let content = entity.content(place.default);
        let begin = self.out.len();
        let changed = match (content.kind.as_str(), content.subtype.as_str()) {
            ("multipart", _) => self.container(&entity, &content, place)?,
            ("message", "rfc822" | "global" | "news") if is_open(entity.encoding()) => {
                self.container(&entity, &content, place)?
            }
            _ => self.leaf(&entity, &content, place)?,
        };
        if !changed {
            self.out.truncate(begin);
            self.out.extend_from_slice(octets);
        }
        Ok(changed)
    }

    /// A multipart or a message in a part. Its header is written as though the content changes.
    fn container(
        &mut self,
        entity: &Entity<'_>,
        content: &Content,
        place: Place,
    ) -> Result<bool, Refusal> {
        if place.depth == DEPTH_MAX {
            return leave(entity.body, "its parts are nested too deeply");
        }
        let labelled = matches!(entity.encoding(), Encoding::EightBit | Encoding::Binary);
        let added = missing_fields(entity, place);
        entity.write_header(labelled.then_some("7bit"), added, &mut self.out);
        let inner = Place { depth: place.depth + 1, default: PLAIN, whole: true, ..place };
        if content.kind == "message" {
            return self.entity(entity.body, inner);
        }
        let frozen = match content.subtype.as_str() {
            "signed" => Some(Refusal::Signed),
            "encrypted" => Some(Refusal::Encrypted),
            _ => None,
        };
        let default = if content.subtype == "digest" { MESSAGE } else { PLAIN };
        let inner = Place { default, whole: false, frozen: place.frozen.or(frozen), ..inner };
        self.multipart(entity.body, content.boundary.as_deref(), inner)
    }

    fn multipart(
        &mut self,
        body: &[u8],
        boundary: Option<&[u8]>,
        inner: Place,
    ) -> Result<bool, Refusal> {
        let Some(boundary) = boundary else {
            return leave(body, "a multipart of it has no boundary");
        };
        if !boundary.is_ascii() {
            return leave(body, "a boundary of it is not ASCII");
        }
        let pieces = multipart::split(body, boundary);
        if pieces.len() == 1 {
            return leave(body, "a multipart of it has no parts");
        }
        let mut changed = false;
        for piece in pieces {
            match piece {
                Piece::Part(part) => changed |= self.entity(part, inner)?,
                Piece::Delimiter(octets) => self.out.extend_from_slice(octets),
                Piece::Aside(octets) if octets.is_ascii() => self.out.extend_from_slice(octets),
                Piece::Aside(octets) => {
                    inner.frozen.map_or(Ok(()), Err)?;
                    encode::mask(octets, &mut self.out);
                    (self.masked, changed) = (true, true);
                }
            }
        }
        Ok(changed)
    }

    /// A part without parts.
    fn leaf(
        &mut self,
        entity: &Entity<'_>,
        content: &Content,
        place: Place,
    ) -> Result<bool, Refusal> {
        let (body, encoding) = (entity.body, entity.encoding());
        let reflow = self.long_too
            && place.frozen.is_none()
            && content.kind == "text"
            && matches!(encoding, Encoding::SevenBit | Encoding::EightBit)
            && entity::lines(body).any(is_long);
        if body.is_ascii() && !reflow {
            return Ok(false);
        }
        place.frozen.map_or(Ok(()), Err)?;
        let (label, encode) = choose(body, encoding, content)?;
        entity.write_header(label, missing_fields(entity, place), &mut self.out);
        encode(body, &mut self.out);
        Ok(true)
    }
}

/// Leaves a body alone that can't be looked into, which is fine as long as it is 7-bit.
fn leave(body: &[u8], why: &'static str) -> Result<bool, Refusal> {
    if body.is_ascii() { Ok(false) } else { Err(Refusal::Malformed(why)) }
}

/// Whether the body stands there as it is, so that a message in it can be seen.
fn is_open(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::SevenBit | Encoding::EightBit | Encoding::Binary)
}

/// The fields that a message needs besides, for its encodings to count.
fn missing_fields(entity: &Entity<'_>, place: Place) -> &'static str {
    match (place.whole && !entity.has("MIME-Version"), place.whole && !entity.has("Content-Type")) {
        (true, false) => "MIME-Version: 1.0\r\n",
        // RFC 1428 section 3: the character set of what says nothing is anyone's guess.
        (true, true) => "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n",
        (false, true) => "Content-Type: text/plain; charset=unknown-8bit\r\n",
        (false, false) => "",
    }
}

type Encode = fn(&[u8], &mut Vec<u8>);

/// The label that a body gets, where another than it has, and what writes it.
fn choose(
    body: &[u8],
    encoding: Encoding,
    content: &Content,
) -> Result<(Option<&'static str>, Encode), Refusal> {
    match (encoding, content.kind.as_str(), content.subtype.as_str()) {
        (Encoding::QuotedPrintable, ..) => Ok((None, encode::requote)),
        (Encoding::Base64, ..) => Ok((None, encode::mask)),
        (Encoding::Foreign, ..) => {
            Err(Refusal::Malformed("a part of it is 8-bit in an encoding that is not of MIME"))
        }
        // RFC 2046 sections 5.2.2 and 5.2.3 forbid every encoding of these.
        (_, "message", "partial" | "external-body") => {
            Err(Refusal::Malformed("a part of it is 8-bit though its type forbids that"))
        }
        (Encoding::SevenBit | Encoding::EightBit, "text" | "message", _) => {
            let high = body.iter().filter(|octet| !octet.is_ascii()).count();
            if high > body.len() / 2 {
                Ok((Some("base64"), encode::base64))
            } else {
                Ok((Some("quoted-printable"), encode::quoted_printable))
            }
        }
        _ => Ok((Some("base64"), encode::base64)),
    }
}
