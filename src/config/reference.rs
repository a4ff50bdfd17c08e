//! The reference file: every option with its sentences, its range and its default.

use std::fmt::Write;

use super::declare::SECTIONS;
use super::option::{Absent, Declared, Described, Shape};

const HEAD: &str = "\
# The configuration of Angarium: every option of this version, with its default.
#
# Each has a default where nothing else is said, so an empty file works. To change an option,
# remove the `#` in front of its key; of a section in double brackets also the one in front of its
# header. Durations are written \"30s\", \"5m\", \"2h\", \"5d\", sizes \"512KiB\", \"50MiB\".
# The environment overrides keys outside of double brackets: ANGARIUM__HOSTNAME,
# ANGARIUM__QUEUE__LIFETIME and so on. `angarium check` names each fault with its line and remedy.
";

/// The text of `conf/angarium.toml`.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        write_section(&mut text, section);
    }
    text
}

fn write_section(text: &mut String, section: &Described) {
    if section.shape != Shape::Top {
        text.push_str("\n\n");
        write_lines(text, section.about);
        let mark = if section.shape == Shape::Array { "#" } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark}{}", section.written());
    }
    for option in section.options {
        text.push('\n');
        write_option(text, option);
    }
}

fn write_option(text: &mut String, option: &Declared) {
    write_lines(text, option.about);
    let mut notes = Vec::new();
    match option.absent {
        Absent::Default => {}
        Absent::Optional => notes.push("Default: none.".to_owned()),
        Absent::Required => notes.push("Must be given.".to_owned()),
        Absent::MachineName => notes.push("Default: the name of the machine.".to_owned()),
    }
    if let Some((least, most)) = option.range {
        notes.push(format!("From {least} to {most}."));
    }
    if let Some(rfc) = option.rfc {
        notes.push(format!("See {rfc}."));
    }
    if !notes.is_empty() {
        let _ = writeln!(text, "# {}", notes.join(" "));
    }
    let _ = writeln!(text, "#{} = {}", option.name, option.text);
}

fn write_lines(text: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(text, "# {}", line.trim());
    }
}
