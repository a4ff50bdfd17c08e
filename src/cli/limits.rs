//! `angarium limits …`: what users have sent, and who is shut out.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Subcommand;

use super::queue::{ask, finish, print};
use super::span;
use crate::config::Config;
use crate::control::Request;
use crate::control::client::{self, EX_DATAERR, Failure, Limited};
use crate::net::clock;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List users near or over a limit of what they may send, and addresses that are shut out
    Ls {
        /// Everybody who has sent something lately, and who was shut out lately
        #[arg(long)]
        all: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Forget what a user has sent, or that an address is shut out
    Clear {
        /// The login or the address
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        who: Option<String>,
        /// All users and addresses
        #[arg(long)]
        all: bool,
    },
}

pub(super) fn run(config: &Config, command: Command) -> ExitCode {
    finish(match command {
        Command::Ls { all, json } => list(config, all, json),
        Command::Clear { who, .. } => clear(config, who),
    })
}

fn list(config: &Config, all: bool, json: bool) -> Result<(), Failure> {
    let payload = ask(config, &Request::Limits(all))?;
    if json {
        print(&payload);
    } else {
        print(text(&client::parse_lines(&payload), clock::now_ms() / 1000).as_bytes());
    }
    Ok(())
}

fn clear(config: &Config, who: Option<String>) -> Result<(), Failure> {
    let name = who.clone();
    let (_, count) = client::ask(&config.control_socket(), &Request::ClearLimits(who))?;
    match name {
        Some(name) if count == 0 => {
            let message = format!("nothing is known of {name}");
            Err(Failure { exit: EX_DATAERR, message })
        }
        _ => Ok(()),
    }
}

/// For people.
fn text(all: &[Limited], now_s: u64) -> String {
    if all.is_empty() {
        return "Nobody is near a limit, and nobody is shut out\n".to_owned();
    }
    let mut text = String::new();
    for one in all {
        // Writing to a String cannot fail.
        let _ = match one {
            Limited::User { user, over, figures } => {
                let over = if *over { "  over" } else { "" };
                let figures = figures.iter().filter_map(|figure| {
                    Some(format!("  {} {}/{}", figure.name, figure.used, figure.limit?))
                });
                writeln!(text, "{user}{over}{}", figures.collect::<String>())
            }
            Limited::Address { address, until, times, account } => {
                let until = match *until > now_s {
                    true => format!("shut out for {}", span(*until, now_s)),
                    false => format!("was shut out until {} ago", span(now_s, *until)),
                };
                let times = if *times > 1 { format!(", {times} times") } else { String::new() };
                writeln!(text, "{address}  {until}{times}; tried {account:?} last")
            }
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::Figure;

    #[test]
    fn says_who_is_over_and_who_is_out_for_how_long() {
        let figure = |name: &str, used, limit| Figure { name: name.to_owned(), used, limit };
        let joe = Limited::User {
            user: "joe".to_owned(),
            over: true,
            figures: vec![figure("messages_per_hour", 5, Some(5)), figure("x", 9, None)],
        };
        let address = |until, times| Limited::Address {
            address: "192.0.2.7".to_owned(),
            until,
            times,
            account: "a\nb".to_owned(),
        };
        let shown = text(&[joe, address(160, 2), address(40, 1)], 100);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines,
            [
                "joe  over  messages_per_hour 5/5",
                "192.0.2.7  shut out for 1m, 2 times; tried \"a\\nb\" last",
                "192.0.2.7  was shut out until 1m ago; tried \"a\\nb\" last",
            ]
        );
        assert!(text(&[], 0).starts_with("Nobody "));
    }
}
