//! `angarium registry …`: SMTP extensions and status codes, as the registries have them.
//!
//! Needs no configuration; one that is named adds the operator's own entries. A file with faults
//! and a change that the rules forbid end with 65.

mod tell;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::EX_CONFIG;
use super::queue::{finish, print};
use crate::config::{Config, Faults, parse_registry};
use crate::control::client::{EX_DATAERR, EX_NOINPUT, Failure};
use crate::registry::export::{self, Format};
use crate::registry::extension::{self, Extension};
use crate::registry::file::File;
use crate::registry::{change, status};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List every extension that is known, and what is done with it here
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one extension with all fields of its entry
    Show {
        /// Its keyword, in any letter case
        keyword: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the enhanced status codes
    Codes {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Judge a file: with a [registry] as a whole registry, without it as local entries
    Check {
        /// The file, in TOML
        file: PathBuf,
    },
    /// Tell what changed between two files, and whether the rules of the registry allow it
    Diff {
        /// The file before, as of `registry export --format toml`
        old: PathBuf,
        /// The file after
        new: PathBuf,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Write the built-in registry, or that of a file, in another form
    Export {
        /// toml, json, csv with all fields, or iana: CSV with IANA's columns
        #[arg(long, value_parser = format)]
        format: Format,
        /// The registry to write; the built-in one if none is named
        file: Option<PathBuf>,
    },
}

fn format(word: &str) -> Result<Format, String> {
    Format::named(word).ok_or_else(|| "it is toml, json, csv or iana".to_owned())
}

pub(super) fn run(command: Command, load: impl FnOnce() -> Result<Config, Faults>) -> ExitCode {
    let local = || load().map(|config| config.registry.local).map_err(bad_config);
    finish(match command {
        Command::Ls { json } => local().map(|local| list(&local, json)),
        Command::Show { keyword, json } => local().and_then(|local| show(&local, &keyword, json)),
        Command::Codes { json } => {
            codes(json);
            Ok(())
        }
        Command::Check { file } => check(&file),
        Command::Diff { old, new, json } => diff(&old, &new, json),
        Command::Export { format, file } => export(format, file.as_deref()),
    })
}

fn bad_config(faults: Faults) -> Failure {
    Failure { exit: EX_CONFIG, message: faults.to_string().trim_end().to_owned() }
}

fn list(local: &[Extension], json: bool) {
    let all = || extension::all().iter().chain(local);
    if json {
        print_lines(all());
    } else {
        print(tell::list(extension::all(), local).as_bytes());
    }
}

fn show(local: &[Extension], keyword: &str, json: bool) -> Result<(), Failure> {
    let known = extension::find(keyword).or_else(|| local.iter().find(|row| row.is(keyword)));
    let entry = known.ok_or_else(|| Failure {
        exit: EX_DATAERR,
        message: format!("{keyword} is no extension that is known; see `angarium registry ls`"),
    })?;
    if json {
        print_lines([entry]);
    } else {
        print(tell::entry(entry).as_bytes());
    }
    Ok(())
}

fn codes(json: bool) {
    if json {
        print_lines(status::codes());
    } else {
        print(tell::codes(status::codes()).as_bytes());
    }
}

fn check(path: &Path) -> Result<(), Failure> {
    let file = read(path)?;
    let (kind, count) = match &file.about {
        Some(about) => (format!("{} of {}", about.name, about.updated), file.extensions.len()),
        None => ("local entries".to_owned(), file.extensions.len()),
    };
    println!("{}: no faults; {kind}, {count} in all", path.display());
    Ok(())
}

fn diff(old: &Path, new: &Path, json: bool) -> Result<(), Failure> {
    let (before, after) = (read(old)?, read(new)?);
    let found = change::diff(&before.extensions, &after.extensions);
    if json {
        print_lines(&found);
    } else {
        print(tell::differences(&found).as_bytes());
    }
    match found.iter().filter(|difference| !difference.possible).count() {
        0 => Ok(()),
        forbidden => Err(Failure {
            exit: EX_DATAERR,
            message: format!("the rules forbid {forbidden} of {} changes", found.len()),
        }),
    }
}

fn export(format: Format, path: Option<&Path>) -> Result<(), Failure> {
    let named = path.map(read).transpose()?;
    let file = named.as_ref().unwrap_or_else(|| extension::table());
    let text =
        export::export(file, format).map_err(|message| Failure { exit: EX_DATAERR, message })?;
    print(text.as_bytes());
    Ok(())
}

/// A file of entries without faults.
fn read(path: &Path) -> Result<File, Failure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Failure {
        exit: EX_NOINPUT,
        message: format!("{name}: cannot be read: {error}"),
    })?;
    parse_registry(&name, &text).map_err(|faults| Failure {
        exit: EX_DATAERR,
        message: format!("{name} has faults\n{}", faults.to_string().trim_end()),
    })
}

fn print_lines<T: Serialize>(items: impl IntoIterator<Item = T>) {
    for item in items {
        // A struct of strings, words and numbers always becomes JSON.
        print((serde_json::to_string(&item).unwrap_or_default() + "\n").as_bytes());
    }
}
