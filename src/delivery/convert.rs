//! A message to one that its next hop can take: 7-bit throughout for one without 8BITMIME or
//! BINARYMIME, or with its long lines broken.
//!
//! RFC 6152 section 3 and RFC 3030 section 3 leave the first or a failure. Promises that every part
//! decodes to the octets it had, that nothing changes but the bodies that must and the fields that
//! declare them, and that a second conversion finds nothing to do. Texts become quoted-printable,
//! or base64 where most of their octets are not ASCII; everything else becomes base64. Once a
//! message must change, so do its bodies with lines that are longer than RFC 5322 allows.
//!
//! What was binary holds no NUL and no bare CR or LF afterwards, and no line of a body is longer
//! than RFC 5322 allows.
//!
//! Refuses what a conversion would break: content inside `multipart/signed` and
//! `multipart/encrypted` (RFC 1847 wants both opaque in transit), parts that a `Sig` field signs,
//! and structures that readers would take in different ways. `application/pkcs7-mime` is neither:
//! its encoding lies outside of
//! what is signed. Octets above 127 in header fields cannot be encoded without being understood;
//! they stay, and are reported. Those in a preamble or epilogue, which readers do not show, give
//! way to a stand-in, which is reported too.
//!
//! Long lines are never a reason to refuse: those of header fields, of preambles, of what is signed
//! or encrypted, and of what can't be read stay as they are.
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

/// The field that signs a part of a message, its fields and all.
const SIGNED_PART: &str = "Sig";

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
    /// Content that a signature vouches for would have to change.
    Signed,
    /// Content of a `multipart/encrypted` would.
    Encrypted,
    /// Its structure is not what MIME allows; in which way.
    Malformed(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self {
            Self::Signed => "content that would change is signed, and the signature would break",
            Self::Encrypted => "content that would change is encrypted, and has to stay as it is",
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
    if changed && has_long(message) {
        // Long lines alone are no reason to touch a message, so they are looked for only now.
        let out = Vec::with_capacity(walk.out.len());
        walk = Walk { out, aim: Aim::SevenBitAndShort, ..Walk::default() };
        changed = walk.entity(message, top)?;
    }
    Ok(walk.finish(message, changed))
}

/// Converts a message that may hold any octets to one whose bodies are 7-bit.
pub fn from_binary(message: &[u8]) -> Result<Converted, Refusal> {
    let top = Place { depth: 0, default: PLAIN, whole: true, frozen: None };
    let mut walk = Walk { aim: Aim::Text, ..Walk::default() };
    let changed = walk.entity(message, top)?;
    // By another way than the walk's: what goes on by DATA ends where it ends.
    if is_text(&walk.out) { Ok(walk.finish(message, changed)) } else { Err(BINARY_OUTSIDE) }
}

const BINARY_OUTSIDE: Refusal =
    Refusal::Malformed("it has a NUL or a bare CR or LF where no part is that could be encoded");

/// Whether the octets are lines of a text, of whatever length.
fn is_text(octets: &[u8]) -> bool {
    let is_line = |line: &[u8]| {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        memchr::memchr3(b'\r', b'\n', 0, line).is_none()
    };
    entity::lines(octets).all(is_line)
}

/// Breaks the lines of a message's bodies, in CRLF lines, that are longer than RFC 5322 allows; none
/// where nothing changes. A message that is signed as a whole stays as it is.
pub fn to_short_lines(message: &[u8]) -> Option<Vec<u8>> {
    let top = Place { depth: 0, default: PLAIN, whole: true, frozen: None };
    let mut walk = Walk { aim: Aim::Short, ..Walk::default() };
    walk.entity(message, top).is_ok_and(|changed| changed).then_some(walk.out)
}

fn has_long(octets: &[u8]) -> bool {
    entity::lines(octets).any(is_long)
}

fn is_signed(entity: &Entity<'_>) -> bool {
    SIGNATURES.iter().any(|name| entity.has(name))
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

/// What a walk is for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Aim {
    #[default]
    SevenBit,
    SevenBitAndShort,
    Short,
    /// Of any octets, a text that is 7-bit and short.
    Text,
}

impl Aim {
    /// Whether octets have what is not to be.
    fn minds(self, octets: &[u8]) -> bool {
        match self {
            Self::SevenBit => !octets.is_ascii(),
            Self::SevenBitAndShort => !octets.is_ascii() || has_long(octets),
            Self::Short => has_long(octets),
            Self::Text => !octets.is_ascii() || has_long(octets) || !is_text(octets),
        }
    }

    /// Whether octets that can't be changed may stay.
    fn keeps(self, octets: &[u8]) -> bool {
        match self {
            Self::SevenBit | Self::SevenBitAndShort => octets.is_ascii(),
            Self::Short => true,
            Self::Text => !self.minds(octets),
        }
    }

    /// Leaves a body alone that can't be changed.
    fn leave(self, body: &[u8], why: Refusal) -> Result<bool, Refusal> {
        if self.keeps(body) { Ok(false) } else { Err(why) }
    }
}

/// What the walk over a message has written and found.
#[derive(Default)]
struct Walk {
    out: Vec<u8>,
    aim: Aim,
    raw_header: bool,
    masked: bool,
}

impl Walk {
    fn finish(self, message: &[u8], changed: bool) -> Converted {
        let header = Entity::parse(message);
        let signed = is_signed(&header);
        let Self { out: octets, raw_header, masked, .. } = self;
        Converted { octets, broke_signature: changed && signed, raw_header, masked }
    }

    /// Writes a message or a part, and says whether it is another one now.
    fn entity(&mut self, octets: &[u8], place: Place) -> Result<bool, Refusal> {
        // A label may be wrong where nothing else is.
        if self.aim != Aim::Text && !self.aim.minds(octets) {
            self.out.extend_from_slice(octets);
            return Ok(false);
        }
        let entity = Entity::parse(octets);
        self.raw_header |= !entity.header.is_ascii();
        if self.aim == Aim::Text && !is_text(entity.header) {
            return Err(BINARY_OUTSIDE);
        }
        let content = entity.content(place.default);
        let signed = entity.has(SIGNED_PART).then_some(Refusal::Signed);
        let place = Place { frozen: place.frozen.or(signed), ..place };
        let begin = self.out.len();
        let sealed = self.aim == Aim::Short && place.whole && is_signed(&entity);
        let changed = match (content.kind.as_str(), content.subtype.as_str()) {
            _ if sealed => false,
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
            return self.leave(entity.body, "its parts are nested too deeply");
        }
        let labelled = self.aim != Aim::Short
            && matches!(entity.encoding(), Encoding::EightBit | Encoding::Binary);
        let added = missing_fields(entity, place);
        entity.write_header(labelled.then_some("7bit"), added, &mut self.out);
        let inner = Place { depth: place.depth + 1, default: PLAIN, whole: true, ..place };
        let relabelled = self.relabels(entity, place);
        if content.kind == "message" {
            return Ok(self.entity(entity.body, inner)? || relabelled);
        }
        let frozen = match content.subtype.as_str() {
            "signed" => Some(Refusal::Signed),
            "encrypted" => Some(Refusal::Encrypted),
            _ => None,
        };
        let default = if content.subtype == "digest" { MESSAGE } else { PLAIN };
        let inner = Place { default, whole: false, frozen: place.frozen.or(frozen), ..inner };
        Ok(self.multipart(entity.body, content.boundary.as_deref(), inner)? || relabelled)
    }

    /// Whether a label says binary that has to go: nothing is binary any more.
    fn relabels(&self, entity: &Entity<'_>, place: Place) -> bool {
        self.aim == Aim::Text && place.frozen.is_none() && entity.encoding() == Encoding::Binary
    }

    fn multipart(
        &mut self,
        body: &[u8],
        boundary: Option<&[u8]>,
        inner: Place,
    ) -> Result<bool, Refusal> {
        let Some(boundary) = boundary else {
            return self.leave(body, "a multipart of it has no boundary");
        };
        if !boundary.is_ascii() {
            return self.leave(body, "a boundary of it is not ASCII");
        }
        let pieces = multipart::split(body, boundary);
        if pieces.len() == 1 {
            return self.leave(body, "a multipart of it has no parts");
        }
        let mut changed = false;
        for piece in pieces {
            match piece {
                Piece::Part(part) => changed |= self.entity(part, inner)?,
                Piece::Delimiter(octets) => self.out.extend_from_slice(octets),
                Piece::Aside(octets) if self.aim.keeps(octets) => {
                    self.out.extend_from_slice(octets);
                }
                Piece::Aside(octets) => {
                    inner.frozen.map_or(Ok(()), Err)?;
                    // Lines can't be kept where there are none.
                    let shown = if self.aim == Aim::Text { b"\xFF" } else { octets };
                    encode::mask(shown, &mut self.out);
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
        if !self.aim.minds(body) {
            let relabels = self.relabels(entity, place);
            if relabels {
                entity.write_header(Some("7bit"), "", &mut self.out);
                self.out.extend_from_slice(body);
            }
            return Ok(relabels);
        }
        let binary = self.aim == Aim::Text;
        let chosen = place.frozen.map_or_else(|| choose(body, encoding, content, binary), Err);
        let (label, encode) = match chosen {
            Ok(chosen) => chosen,
            Err(why) => return self.aim.leave(body, why),
        };
        entity.write_header(label, missing_fields(entity, place), &mut self.out);
        encode(body, &mut self.out);
        Ok(true)
    }

    /// Leaves a body alone that can't be looked into.
    fn leave(&self, body: &[u8], why: &'static str) -> Result<bool, Refusal> {
        self.aim.leave(body, Refusal::Malformed(why))
    }
}

/// Whether the body stands there as it is, so that a message in it can be seen.
fn is_open(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::SevenBit | Encoding::EightBit | Encoding::Binary)
}

/// The fields that a message needs besides, for its encodings to count.
fn missing_fields(entity: &Entity<'_>, place: Place) -> &'static str {
    // RFC 1428 section 3: the character set of what says nothing is anyone's guess.
    let untyped = !entity.has("Content-Type") && !entity.body.is_ascii();
    match (place.whole && !entity.has("MIME-Version"), place.whole && untyped) {
        (true, false) => "MIME-Version: 1.0\r\n",
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
    binary: bool,
) -> Result<(Option<&'static str>, Encode), Refusal> {
    match (encoding, content.kind.as_str(), content.subtype.as_str()) {
        // Decoders take what is no character of it for nothing, line ends included.
        (Encoding::Base64, ..) if binary => Ok((None, encode::wrap)),
        (Encoding::QuotedPrintable, ..)
            if binary && entity::lines(body).any(|line| is_long(line) || !is_text(line)) =>
        {
            Err(Refusal::Malformed("a part of it is binary though its encoding allows only text"))
        }
        (Encoding::QuotedPrintable, ..) => Ok((None, encode::requote)),
        (Encoding::Base64, ..) if body.is_ascii() => Ok((None, encode::rewrap)),
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
