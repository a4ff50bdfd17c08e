//! The address list of a header field, read strictly (RFC 5322 3.4, RFC 6854, RFC 6532).
//!
//! Promises to find every mailbox that a field names, or to refuse the field: it never guesses.
//! Comments, folding, groups, quoted local parts, and display names with dots or octets above 127
//! are read; source routes and blanks inside of a local part or a domain are not.

/// A mailbox that a field names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Named {
    /// The local part without quotes.
    pub(super) local: String,
    /// The domain as it is written; none where the address is unqualified.
    pub(super) domain: Option<String>,
    /// Where in the field's value the local part ends.
    pub(super) end: usize,
}

/// The value is no list of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unreadable;

type Read<T> = Result<T, Unreadable>;

/// The mailboxes of a field's value.
pub(super) fn parse(value: &[u8]) -> Read<Vec<Named>> {
    let mut reader = Reader { value, at: 0 };
    let mut found = Vec::new();
    let mut in_group = false;
    loop {
        let words = reader.words()?;
        match (reader.next(), words.as_slice()) {
            (Some(b'<'), _) => found.push(reader.angle()?),
            (Some(b'@'), [word]) => found.push(reader.domain_of(word)?),
            (Some(b':'), [_, ..]) if !in_group => {
                in_group = true;
                continue;
            }
            (end @ (None | Some(b',' | b';')), [] | [_]) => {
                if let [word] = words.as_slice() {
                    found.push(word.named(None)?);
                }
                if reader.separate(end, &mut in_group)? {
                    return Ok(found);
                }
                continue;
            }
            _ => return Err(Unreadable),
        }
        reader.blanks()?;
        let end = reader.next();
        if reader.separate(end, &mut in_group)? {
            return Ok(found);
        }
    }
}

struct Word {
    text: Vec<u8>,
    quoted: bool,
    end: usize,
}

impl Word {
    fn named(&self, domain: Option<String>) -> Read<Named> {
        let local = String::from_utf8(self.text.clone()).map_err(|_| Unreadable)?;
        if local.is_empty() || !self.quoted && local.split('.').any(str::is_empty) {
            return Err(Unreadable);
        }
        Ok(Named { local, domain, end: self.end })
    }
}

struct Reader<'a> {
    value: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.value.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let octet = self.peek();
        self.at += usize::from(octet.is_some());
        octet
    }

    /// Whether the list is over, after what ended an address.
    fn separate(&mut self, end: Option<u8>, in_group: &mut bool) -> Read<bool> {
        match end {
            None if *in_group => Err(Unreadable),
            None => Ok(true),
            Some(b',') => Ok(false),
            Some(b';') if *in_group => {
                *in_group = false;
                self.blanks()?;
                match self.next() {
                    None => Ok(true),
                    Some(b',') => Ok(false),
                    Some(_) => Err(Unreadable),
                }
            }
            Some(_) => Err(Unreadable),
        }
    }

    /// Skips blanks, folds and comments.
    fn blanks(&mut self) -> Read<()> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\r') => self.fold()?,
                Some(b'(') => self.comment()?,
                _ => return Ok(()),
            }
        }
    }

    fn fold(&mut self) -> Read<()> {
        match self.value.get(self.at..) {
            Some([b'\r', b'\n', b' ' | b'\t', ..] | [b'\r', b'\n']) => {
                self.at += 2;
                Ok(())
            }
            _ => Err(Unreadable),
        }
    }

    fn comment(&mut self) -> Read<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'\r') => {
                    self.fold()?;
                    continue;
                }
                Some(b'(') => depth += 1,
                Some(b')') => depth -= 1,
                Some(b'\\') => self.at += 1,
                Some(octet) if is_text(octet) => {}
                _ => return Err(Unreadable),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn words(&mut self) -> Read<Vec<Word>> {
        let mut words = Vec::new();
        loop {
            self.blanks()?;
            match self.peek() {
                Some(b'"') => words.push(self.quoted()?),
                Some(octet) if is_atom(octet) => words.push(self.atom()),
                _ => return Ok(words),
            }
        }
    }

    fn atom(&mut self) -> Word {
        let rest = self.value.get(self.at..).unwrap_or_default();
        let text: Vec<u8> = rest.iter().copied().take_while(|octet| is_atom(*octet)).collect();
        self.at += text.len();
        Word { text, quoted: false, end: self.at }
    }

    fn quoted(&mut self) -> Read<Word> {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'\r') => {
                    self.fold()?;
                    continue;
                }
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.peek().filter(|octet| is_text(*octet)).ok_or(Unreadable)?);
                }
                Some(octet) if is_text(octet) => text.push(octet),
                _ => return Err(Unreadable),
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(Word { text, quoted: true, end: self.at })
    }

    /// What stands in angle brackets, after the first of them.
    fn angle(&mut self) -> Read<Named> {
        let words = self.words()?;
        let [word] = words.as_slice() else { return Err(Unreadable) };
        match self.next() {
            Some(b'>') => word.named(None),
            Some(b'@') => {
                let named = self.domain_of(word)?;
                self.blanks()?;
                if self.next() == Some(b'>') { Ok(named) } else { Err(Unreadable) }
            }
            _ => Err(Unreadable),
        }
    }

    /// The mailbox of a local part, after its `@`.
    fn domain_of(&mut self, local: &Word) -> Read<Named> {
        self.blanks()?;
        let domain = if self.peek() == Some(b'[') {
            let rest = self.value.get(self.at..).unwrap_or_default();
            let length = memchr::memchr(b']', rest).ok_or(Unreadable)? + 1;
            self.at += length;
            rest.get(..length).unwrap_or_default().to_vec()
        } else {
            self.atom().text
        };
        let domain = String::from_utf8(domain).map_err(|_| Unreadable)?;
        if domain.is_empty() || domain.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Unreadable);
        }
        local.named(Some(domain))
    }
}

fn is_text(octet: u8) -> bool {
    octet == b'\t' || octet >= b' ' && octet != 127
}

/// What atoms are of, dots among it.
fn is_atom(octet: u8) -> bool {
    octet > b' ' && octet != 127 && !b"()<>[]:;@\\,\"".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<Vec<String>> {
        let found = parse(value.as_bytes()).ok()?;
        let text = |named: &Named| match &named.domain {
            Some(domain) => format!("{}@{domain}", named.local),
            None => named.local.clone(),
        };
        Some(found.iter().map(text).collect())
    }

    #[test]
    fn finds_every_mailbox() {
        for (value, found) in [
            (" joe@x.org\r\n", &["joe@x.org"][..]),
            (" Joe Q. Public <joe@x.org>\r\n", &["joe@x.org"]),
            (" \"a@b\" <joe@x.org> (c@d), ann@x.org", &["joe@x.org", "ann@x.org"]),
            (" Joé\r\n <joe@x.org>", &["joe@x.org"]),
            (" team: a@x.org, B <b@x.org>; , c@x.org", &["a@x.org", "b@x.org", "c@x.org"]),
            (" nobody:;", &[]),
            (" \"joe doe\"@x.org", &["joe doe@x.org"]),
            (" joe", &["joe"]),
            (" Joe <joe>", &["joe"]),
            (" joe (a (b\\) c)) @ (d) x.org (e)", &["joe@x.org"]),
            (" joe@[192.0.2.1]", &["joe@[192.0.2.1]"]),
            (",, a@x.org,\r\n", &["a@x.org"]),
        ] {
            assert_eq!(
                read(value).as_deref(),
                Some(&*found.to_vec())
                    .map(|f| f.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{value}"
            );
        }
    }

    #[test]
    fn refuses_what_readers_take_in_different_ways() {
        for value in [
            "joe doe",
            "a@b@c",
            "<@a,@b:c@d>",
            "<>",
            "a@x.org b@x.org",
            "<a@x> <b@x>",
            "a@x.org <b@x.org>",
            "a@x.org;",
            "g: a@x",
            "g: h: a@x;;",
            "(open a@x.org",
            "\"open a@x.org",
            "a..b@x.org",
            ".a@x.org",
            "a@",
            "@x.org",
            "a@x\r\nb@x",
            "a@[192.0.2.1",
            "a <b@x",
            "=?q?a?= =?<b@x>?=",
            "a\0@x",
            "<a@x>b",
            "\"\"@x",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
