//! Faults of a configuration: where, what is wrong, what would be right.
//!
//! A reading never stops at the first fault: all of them are collected and shown in the order of
//! the file. Each is one line that an editor can jump to, `file:line:column: sentence`; what came
//! from the environment names the variable instead, and what concerns a whole file has no line.

use std::fmt;
use std::ops::Range;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file as it was named, or the environment variable.
    pub file: String,
    /// The line, from 1; 0 where there is none.
    pub line: usize,
    /// The column in characters, from 1; 0 where there is no line.
    pub column: usize,
    /// What is wrong; what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

/// All faults of a configuration, in the order of the file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Puts what was collected in order: the main file, files that it names, the environment.
    pub(super) fn sorted(mut faults: Vec<Fault>, main: &str) -> Self {
        faults.sort_by(|a, b| {
            let place = |fault: &Fault| (fault.file != main, fault.line == 0);
            (place(a), &a.file, a.line, a.column).cmp(&(place(b), &b.file, b.line, b.column))
        });
        Self(faults)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A text and the name that its faults carry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// The line and the column of an octet, both from 1.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = before.get(start..).map_or(0, |part| part.chars().count()) + 1;
        (line, column)
    }

    /// A fault at an octet of this text.
    pub(super) fn fault(&self, offset: usize, message: String) -> Fault {
        let (line, column) = self.position(offset);
        Fault { file: self.name.to_owned(), line, column, message }
    }

    /// What the parser of TOML says, in the order of the text.
    ///
    /// A line gets its first error only, and nothing is reported after a list that does not end:
    /// the rest of the file stands in it, and all of that would seem wrong.
    pub(super) fn syntax(&self, errors: &[toml::de::Error]) -> Vec<Fault> {
        let mut faults: Vec<Fault> = Vec::new();
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let in_list = error.message().contains("array");
            let fault = self.fault(offset, syntax_message(error.message()));
            if faults.last().is_none_or(|last| last.line != fault.line) {
                faults.push(fault);
            }
            if in_list {
                break;
            }
        }
        faults
    }
}

/// The message of the parser, with the remedy where it has none.
fn syntax_message(said: &str) -> String {
    let right = if said.contains("must be quoted") {
        return "this value needs quotes, as in \"5m\"; only numbers, true and false have none"
            .to_owned();
    } else if said.contains("array") {
        "is the list before this closed with `]`, with a comma after each entry?"
    } else if said.contains("duplicate key") {
        return "it is given a second time; each key stands once in its section, and each \
                [section] once in the file"
            .to_owned();
    } else {
        "a line is `key = value`, `[section]`, `[[section]]` or `# comment`"
    };
    format!("this is not TOML: {said}; {right}")
}

/// Where a value was written, and so what its faults name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Origin<'a> {
    /// In a file: faults have a position.
    File(Source<'a>),
    /// In an environment variable: faults have its name.
    Variable(&'a str),
}

impl Origin<'_> {
    /// A fault of the value at `span`.
    pub(super) fn fault(&self, span: Range<usize>, message: String) -> Fault {
        match self {
            Self::File(source) => source.fault(span.start, message),
            Self::Variable(name) => Fault { file: (*name).to_owned(), line: 0, column: 0, message },
        }
    }
}

/// The one of `known` that was probably meant by `word`, if any is near enough.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let likeness = |name: &str| strsim::jaro_winkler(&word.to_lowercase(), name);
    known
        .map(|name| (likeness(name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source { name: "f", text: "a = 1\nb = \"ü\" x" };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(6), (2, 1));
        assert_eq!(source.position(source.text.len()), (2, 10));
    }

    #[test]
    fn order_is_main_file_then_named_files_then_environment() {
        let fault = |file: &str, line| Fault {
            file: file.to_owned(),
            line,
            column: 1,
            message: String::new(),
        };
        let mixed = vec![fault("ENV", 0), fault("a", 1), fault("main", 9), fault("main", 2)];
        let order: Vec<_> =
            Faults::sorted(mixed, "main").0.into_iter().map(|f| (f.file, f.line)).collect();
        let expected = [("main", 2), ("main", 9), ("a", 1), ("ENV", 0)];
        assert!(order.iter().map(|(f, l)| (f.as_str(), *l)).eq(expected));
    }

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["retry", "retry_next_hop", "lifetime", "paused"];
        assert_eq!(nearest("lifetme", known.into_iter()), Some("lifetime"));
        assert_eq!(nearest("Retry", known.into_iter()), Some("retry"));
        assert_eq!(nearest("tls", known.into_iter()), None);
    }
}
