//! `angarium queue …`: the running daemon's queue.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::Config;
use crate::control::client::{self, Failure, Message};
use crate::control::{OperatorVerb, Request};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all messages
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one message: its recipients, what they wait for, the last replies
    Show {
        /// The queue id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the content of one message
    Cat {
        /// The queue id
        id: String,
    },
    /// Remove messages without a report
    Rm(Which),
    /// Try messages now; failed ones that wait for their report are tried again
    Retry(Which),
    /// Let messages wait until they are released
    Hold(Which),
    /// Release held messages
    Release(Which),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Queue ids
    ids: Vec<String>,
    /// All messages
    #[arg(long)]
    all: bool,
}

pub(super) fn run(config: &Config, command: Command) -> ExitCode {
    let result = match command {
        Command::Ls { json } => list(config, json),
        Command::Show { id, json } => show(config, id, json),
        Command::Cat { id } => ask(config, &Request::Cat(id)).map(|octets| print(&octets)),
        Command::Rm(which) => operate(config, OperatorVerb::Remove, which.ids),
        Command::Retry(which) => operate(config, OperatorVerb::Retry, which.ids),
        Command::Hold(which) => operate(config, OperatorVerb::Hold, which.ids),
        Command::Release(which) => operate(config, OperatorVerb::Release, which.ids),
    };
    finish(result)
}

/// The exit code of a request, after telling what went wrong.
pub(super) fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("angarium: {}", failure.message);
            ExitCode::from(failure.exit)
        }
    }
}

/// The payload of a request to the running daemon.
pub(super) fn ask(config: &Config, request: &Request) -> Result<Vec<u8>, Failure> {
    client::ask(&config.control_socket(), request).map(|(payload, _)| payload)
}

/// Writes octets as they are; a reader that went away is not our business.
pub(super) fn print(octets: &[u8]) {
    let _ = std::io::stdout().lock().write_all(octets);
}

fn list(config: &Config, json: bool) -> Result<(), Failure> {
    let payload = ask(config, &Request::List)?;
    if json {
        print(&payload);
    } else {
        print(client::mailq(&client::parse_lines::<Message>(&payload)).as_bytes());
    }
    Ok(())
}

fn show(config: &Config, id: String, json: bool) -> Result<(), Failure> {
    let payload = ask(config, &Request::Show(id))?;
    if json {
        print(&payload);
    } else {
        for message in client::parse_lines::<Message>(&payload) {
            print(client::details(&message).as_bytes());
        }
    }
    Ok(())
}

fn operate(config: &Config, verb: OperatorVerb, ids: Vec<String>) -> Result<(), Failure> {
    let (_, count) = client::ask(&config.control_socket(), &Request::Operate(verb, ids))?;
    let plural = if count == 1 { "" } else { "s" };
    println!("{count} message{plural}");
    Ok(())
}
