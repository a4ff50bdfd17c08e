//! `angarium address …`: what is wrong with addresses.
//!
//! Exits with 65 if an address is wrong or mail systems may refuse it. What could change how a
//! terminal shows a line is written as an escape.

use std::io::{self, BufRead};
use std::process::ExitCode;

use clap::Subcommand;
use serde::Serialize;

use super::queue::print;
use crate::control::client::EX_DATAERR;
use crate::syntax::lint::precis::{Class, class};
use crate::syntax::lint::{Finding, lint};

/// `EX_IOERR`
const EX_IOERR: u8 = 74;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Tell which addresses mail systems may refuse (error) or people have trouble with (warning)
    Lint {
        /// The addresses; `-`, or none, stands for standard input, one a line
        #[arg(value_name = "ADDRESS")]
        addresses: Vec<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: Command) -> ExitCode {
    let Command::Lint { mut addresses, json } = command;
    if addresses.is_empty() {
        addresses.push("-".to_owned());
    }
    let mut any_error = false;
    let mut tell = |address: &str| {
        let findings = lint(address);
        any_error |= findings.iter().any(|finding| finding.rule.is_error());
        let text = if json { as_json(address, &findings) } else { as_text(address, &findings) };
        print(text.as_bytes());
    };
    for address in &addresses {
        if address != "-" {
            tell(address);
        } else if let Err(error) = each_line(io::stdin().lock(), &mut tell) {
            eprintln!("angarium: standard input: {error}");
            return ExitCode::from(EX_IOERR);
        }
    }
    if any_error { ExitCode::from(EX_DATAERR) } else { ExitCode::SUCCESS }
}

/// Tells of each line that is not empty. What is no UTF-8 becomes U+FFFD, which no address has.
fn each_line(mut input: impl BufRead, tell: &mut impl FnMut(&str)) -> io::Result<()> {
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        let address = text.trim_end_matches(['\r', '\n']);
        if !address.is_empty() {
            tell(address);
        }
        line.clear();
    }
    Ok(())
}

fn severity(finding: &Finding) -> &'static str {
    if finding.rule.is_error() { "error" } else { "warning" }
}

/// The gravest of the findings; `ok` if there are none.
fn verdict(findings: &[Finding]) -> &'static str {
    let errors = findings.iter().any(|finding| finding.rule.is_error());
    match findings.first() {
        None => "ok",
        Some(_) if errors => "error",
        Some(_) => "warning",
    }
}

fn code_point(finding: &Finding) -> Option<String> {
    finding.code_point.map(|c| format!("U+{:04X}", u32::from(c)))
}

fn as_text(address: &str, findings: &[Finding]) -> String {
    let shown = visible(address);
    if findings.is_empty() {
        return format!("{shown}: ok\n");
    }
    let line = |finding: &Finding| {
        let (severity, rule) = (severity(finding), finding.rule.name());
        let at = code_point(finding).map(|at| format!("{at}: ")).unwrap_or_default();
        format!("{shown}: {severity}: {rule}: {at}{}\n", visible(&finding.why))
    };
    findings.iter().map(line).collect()
}

/// A text that shows what it holds.
fn visible(text: &str) -> String {
    let hidden = |c: char| c != ' ' && class(c) == Class::Disallowed;
    let show = |c: char| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}

#[derive(Serialize)]
struct Linted<'a> {
    address: &'a str,
    verdict: &'static str,
    findings: Vec<Broken<'a>>,
}

#[derive(Serialize)]
struct Broken<'a> {
    severity: &'static str,
    rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_point: Option<String>,
    why: &'a str,
}

fn as_json<'a>(address: &'a str, findings: &'a [Finding]) -> String {
    let broken = |finding: &'a Finding| Broken {
        severity: severity(finding),
        rule: finding.rule.name(),
        code_point: code_point(finding),
        why: &finding.why,
    };
    let broken = findings.iter().map(broken).collect();
    let linted = Linted { address, verdict: verdict(findings), findings: broken };
    serde_json::to_string(&linted).unwrap_or_default() + "\n"
}
