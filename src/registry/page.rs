//! The documentation page of the registry, `extensions.md`: generated, never written.
//!
//! Promises all that the tables say, in words and tables for people. UPDATE_DOC=1 with
//! `tests/registry.rs` writes it anew.

use std::fmt::Write;

use super::extension::{self, Extension};
use super::{export, names};

const HEAD: &str = "\
# SMTP extensions

Every registered SMTP service extension and the bilateral ones that Angarium knows, with what it does
with each: *offered* in EHLO, *accepted* without being listed, *relayed* to servers that offer it, or
*refused*. This page is made of `smtp-extensions.toml` and `names.toml` beside it; change those.
`angarium registry show KEYWORD` tells the same.
";

/// The text of the page.
#[must_use]
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    let about = extension::table().about.as_ref();
    if let Some(about) = about {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "\n{}, as published at <{}> on {}. `rfc5321bis` is {}.",
            about.name, about.location, about.updated, about.rfc5321bis
        );
    }
    page.push_str(
        "\n| keyword | here | RegMethod | status | references |\n|---|---|---|---|---|\n",
    );
    for entry in extension::all() {
        let references = entry.references.join(", ");
        let (keyword, here) = (&entry.keyword, entry.support);
        let _ = writeln!(
            page,
            "| {keyword} | {here} | {} | {} | {references} |",
            entry.method, entry.status
        );
    }
    for entry in extension::all() {
        write_entry(&mut page, entry);
    }
    for registry in names::all() {
        write_names(&mut page, registry);
    }
    page
}

fn write_entry(page: &mut String, entry: &Extension) {
    let _ = writeln!(page, "\n## {}\n\n{}\n", entry.keyword, entry.description);
    let _ = writeln!(page, "Here: {}; {}.\n", entry.support, entry.reason);
    page.push_str("| field | value |\n|---|---|\n");
    let told = ["keyword", "description", "support", "reason"];
    for (name, value) in export::fields(entry) {
        if !told.contains(&name) && !value.is_empty() {
            let _ = writeln!(page, "| {} | {} |", name.replace('_', " "), cell(&value));
        }
    }
}

fn write_names(page: &mut String, registry: &names::Registry) {
    let references = registry.references.join(", ");
    let _ = writeln!(page, "\n## {}\n\n{}, {references}.\n", registry.title, registry.procedure);
    page.push_str("| name | references | note |\n|---|---|---|\n");
    for word in &registry.words {
        let note = if word.usage.is_empty() { &word.note } else { &word.usage };
        let _ =
            writeln!(page, "| {} | {} | {} |", word.name, word.references.join(", "), cell(note));
    }
}

/// A text that ends no cell and begins no tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<").replace('*', "\\*")
}
