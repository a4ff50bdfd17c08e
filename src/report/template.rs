//! The words of a report's human part: plain text with placeholders in braces.
//!
//! Promises that every placeholder of a parsed template is known, and that what is put in their
//! place is never read for placeholders itself. Refuses a text without `{recipients}`, which would
//! tell nobody anything.

use std::fmt;

/// What can be put into a template.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placeholder {
    /// Our own name.
    Hostname,
    /// The reverse-path of the message.
    Sender,
    /// When the message was accepted.
    Arrived,
    /// Its queue id.
    QueueId,
    /// What has happened, in two sentences.
    Introduction,
    /// Each recipient, with what the other side said and what can be done.
    Recipients,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 6] = [
        ("hostname", Self::Hostname),
        ("sender", Self::Sender),
        ("arrived", Self::Arrived),
        ("queue_id", Self::QueueId),
        ("introduction", Self::Introduction),
        ("recipients", Self::Recipients),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, placeholder)| *placeholder)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

/// A parsed template.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// What is wrong with a template, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TemplateError {
    /// The octet of the text.
    pub offset: usize,
    /// What is wrong; what would be right.
    pub message: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Reads a text; `{{` and `}}` are braces that mean themselves.
    ///
    /// # Errors
    /// Every unknown placeholder, a brace that is not closed, or that `{recipients}` is missing.
    pub fn parse(text: &str) -> Result<Self, Vec<TemplateError>> {
        let (mut pieces, mut errors) = (Vec::new(), Vec::new());
        let (mut plain, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let brace = from.get(..1).unwrap_or_default();
            let after = from.get(1..).unwrap_or_default();
            if let Some(beyond) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = beyond;
                continue;
            }
            rest = after;
            if brace == "}" {
                plain.push('}');
                continue;
            }
            match placeholder(after) {
                Ok((value, beyond)) => {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    pieces.push(Piece::Value(value));
                    rest = beyond;
                }
                Err(message) => {
                    errors.push(TemplateError { offset: text.len() - from.len(), message });
                }
            }
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        if errors.is_empty() && !pieces.contains(&Piece::Value(Placeholder::Recipients)) {
            let message = "the text has no {recipients}, so a report would not say whom it is \
                           about; put it where they shall be listed";
            errors.push(TemplateError { offset: 0, message: message.to_owned() });
        }
        if errors.is_empty() { Ok(Self { pieces }) } else { Err(errors) }
    }

    /// The text with everything in its place; lines end in LF.
    pub fn fill(&self, value: impl Fn(Placeholder) -> String) -> String {
        let filled = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.replace("\r\n", "\n"),
            Piece::Value(placeholder) => value(*placeholder),
        });
        filled.collect()
    }
}

/// The placeholder that stands right after an opening brace, and what follows it.
fn placeholder(after: &str) -> Result<(Placeholder, &str), String> {
    let name_end = after.find(['}', '{', '\n']).unwrap_or(after.len());
    let (name, rest) = after.split_at(name_end);
    let Some(rest) = rest.strip_prefix('}') else {
        return Err("this `{` is not closed by `}`; for a brace in the text write `{{`".to_owned());
    };
    let known = || Placeholder::ALL.iter().map(|(name, _)| format!("{{{name}}}"));
    Placeholder::named(name).map(|found| (found, rest)).ok_or_else(|| {
        let known = known().collect::<Vec<_>>().join(", ");
        format!("there is no placeholder `{{{name}}}`; there are {known}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_everything_in_its_place_once() {
        let template = Template::parse("{{x}} a } {hostname}:\r\n{recipients}").unwrap();
        let filled = template.fill(|placeholder| match placeholder {
            Placeholder::Hostname => "{recipients}".to_owned(),
            _ => "r".to_owned(),
        });
        assert_eq!(filled, "{x} a } {recipients}:\nr");
    }

    #[test]
    fn each_fault_has_its_place() {
        let errors = Template::parse("a {recipient}\n{hostname\n{recipients} {").unwrap_err();
        let said: Vec<_> = errors.iter().map(|error| (error.offset, error.to_string())).collect();
        assert_eq!(said.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2, 14, 37]);
        assert!(
            said[0].1.starts_with("there is no placeholder `{recipient}`; there are {hostname}")
        );
        assert!(said[1].1.contains("is not closed"));
        let none = Template::parse("hello").unwrap_err();
        assert!(none[0].message.contains("no {recipients}"));
    }
}
