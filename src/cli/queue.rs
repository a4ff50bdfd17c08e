//! `angarium queue …`: the running daemon's queue, and the spool that it lies in.

mod dump;
mod form;
mod import;
mod offline;
mod tell;

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use bytesize::ByteSize;
use clap::{Args, Subcommand};

use crate::config::Config;
use crate::control::client::{self, EX_DATAERR, Failure, Message, Reasons, Route};
use crate::control::{Filter, OperatorVerb, Request};
use crate::net::clock;
use crate::route::next_hop::NextHop;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List messages; without a filter, all
    Ls {
        #[command(flatten)]
        conditions: Conditions,
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
    /// Tell what a message waits for, since when, the last reply, and what happens next
    Why {
        /// The queue id
        id: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Count messages by destination, by reason, by age, and where a next hop is out of reach or slow
    Summary {
        #[command(flatten)]
        conditions: Conditions,
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
    /// Give messages up now, with a report to the sender
    Expire(Which),
    /// Try messages now; failed ones that wait for their report are tried again
    ///
    /// What its sender wants released later goes on waiting for that; see release.
    Retry(Which),
    /// Send messages by another way than their recipients lead to
    Reroute {
        #[command(flatten)]
        which: Which,
        /// The next hop, such as smtp://backup:25; without it, back to the table
        #[arg(long, value_name = "NEXT-HOP")]
        via: Option<NextHop>,
    },
    /// Let messages wait until they are released
    Hold(Which),
    /// Release held messages; one that is not held, before the time that its sender set
    Release(Which),
    /// Check the whole spool and change nothing, while no daemon runs
    ///
    /// Every label, group, footer, envelope and body is read. The exit code is 0 for a spool
    /// without damage, 65 with damage. Beside a running daemon, make a backup and check that.
    Fsck {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write every message into a folder of plain files, while no daemon runs
    ///
    /// For each message ID.eml, its content octet for octet, and ID.json, its envelope and what
    /// became of each recipient. The spool stays as it is. What is damaged is told and left out.
    Dump {
        /// A new or an empty folder
        folder: PathBuf,
    },
    /// Take messages that dump wrote into the spool, while no daemon runs
    ///
    /// Each gets a new id, printed behind the old one, and goes on where it was. What is broken is
    /// told and left out.
    Import {
        /// Folders, or files ID.json beside which there is an ID.eml
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Make a second spool with every message under its own id, also beside a running daemon
    ///
    /// To use it, start a daemon with `spool` set to the folder. Messages that end while the backup
    /// is made may be in it, and would then be delivered again. A copy of the spool's files, by
    /// `cp -a` or hard links, is no backup while a daemon runs: it overwrites their segments.
    Backup {
        /// A new or an empty folder; the daemon's user must be able to write there
        folder: PathBuf,
    },
}

/// Conditions, all of which must hold.
#[derive(Debug, Default, Args)]
pub(super) struct Conditions {
    /// Text in the sender; `<>` for reports
    #[arg(long, value_name = "TEXT")]
    from: Option<String>,
    /// Text in a recipient that waits
    #[arg(long, value_name = "TEXT")]
    to: Option<String>,
    /// Text in a destination, such as `smtp://relay`
    #[arg(long, value_name = "TEXT")]
    route: Option<String>,
    /// Text in the last reason
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// At least that old, such as 4h
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older: Option<std::time::Duration>,
    /// At least that large, such as 10MiB
    #[arg(long, value_name = "SIZE")]
    larger: Option<ByteSize>,
}

impl Conditions {
    fn is_empty(&self) -> bool {
        self.filter(Vec::new()) == Filter::default()
    }

    fn filter(&self, ids: Vec<String>) -> Filter {
        Filter {
            ids,
            from: self.from.clone(),
            to: self.to.clone(),
            route: self.route.clone(),
            reason: self.reason.clone(),
            older_s: self.older.map(|older| older.as_secs()),
            larger: self.larger.map(|larger| larger.as_u64()),
        }
    }
}

/// The messages of a verb: ids, or conditions, or all.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Queue ids; `-` reads them from standard input, one a line
    ids: Vec<String>,
    #[command(flatten)]
    conditions: Conditions,
    /// All messages
    #[arg(long)]
    all: bool,
}

impl Which {
    fn filter(self) -> Result<Filter, Failure> {
        let usage = |message: &str| Failure { exit: super::EX_USAGE, message: message.to_owned() };
        let kinds = [!self.ids.is_empty(), !self.conditions.is_empty(), self.all];
        match kinds.iter().filter(|given| **given).count() {
            0 => return Err(usage("name ids, or conditions, or --all")),
            1 => {}
            _ => return Err(usage("ids, conditions and --all exclude each other")),
        }
        let ids = if self.ids == ["-"] { read_ids()? } else { self.ids };
        Ok(self.conditions.filter(ids))
    }
}

/// The first word of each line of standard input, so that a listing may be piped in.
fn read_ids() -> Result<Vec<String>, Failure> {
    let words = std::io::stdin()
        .lock()
        .lines()
        .map(|line| line.map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()));
    let ids: Vec<String> = words.collect::<Result<_, _>>().map_err(|error| Failure {
        exit: EX_DATAERR,
        message: format!("standard input: {error}"),
    })?;
    let ids: Vec<String> = ids
        .into_iter()
        .map(|id| id.trim_end_matches(['*', '!']).to_owned())
        .filter(|id| !id.is_empty())
        .collect();
    match ids.is_empty() {
        true => Err(Failure { exit: EX_DATAERR, message: "no id on standard input".to_owned() }),
        false => Ok(ids),
    }
}

pub(super) fn run(config: &Config, command: Command) -> ExitCode {
    finish(match command {
        Command::Ls { conditions, json } => list(config, &conditions, json),
        Command::Show { id, json } => show(config, id, json),
        Command::Why { id, json } => why(config, id, json),
        Command::Summary { conditions, json } => summary(config, &conditions, json),
        Command::Cat { id } => ask(config, &Request::Cat(id)).map(|octets| print(&octets)),
        Command::Rm(which) => operate(config, OperatorVerb::Remove, which),
        Command::Expire(which) => operate(config, OperatorVerb::Expire, which),
        Command::Retry(which) => operate(config, OperatorVerb::Retry, which),
        Command::Reroute { which, via } => {
            let via = via.map(|hop| hop.to_string());
            operate(config, OperatorVerb::Reroute(via), which)
        }
        Command::Hold(which) => operate(config, OperatorVerb::Hold, which),
        Command::Release(which) => operate(config, OperatorVerb::Release, which),
        Command::Fsck { json } => offline::fsck(config, json),
        Command::Dump { folder } => dump::run(config, &folder),
        Command::Import { paths } => import::run(config, &paths),
        Command::Backup { folder } => offline::backup(config, &folder),
    })
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

fn list(config: &Config, conditions: &Conditions, json: bool) -> Result<(), Failure> {
    let payload = ask(config, &Request::List(conditions.filter(Vec::new())))?;
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

fn why(config: &Config, id: String, json: bool) -> Result<(), Failure> {
    let payload = ask(config, &Request::Why(id))?;
    if json {
        print(&payload);
    } else {
        for reasons in client::parse_lines::<Reasons>(&payload) {
            print(tell::why(&reasons, clock::now_ms()).as_bytes());
        }
    }
    Ok(())
}

fn summary(config: &Config, conditions: &Conditions, json: bool) -> Result<(), Failure> {
    let payload = ask(config, &Request::List(conditions.filter(Vec::new())))?;
    let routes = client::parse_lines::<Route>(&ask(config, &Request::Routes)?);
    let messages = client::parse_lines::<Message>(&payload);
    let summary = tell::Summary::of(&messages, &routes, clock::now_ms());
    if json {
        println!("{}", serde_json::to_string(&summary).unwrap_or_default());
    } else {
        print(summary.text().as_bytes());
    }
    Ok(())
}

fn operate(config: &Config, verb: OperatorVerb, which: Which) -> Result<(), Failure> {
    let request = Request::Operate(verb, which.filter()?);
    let (_, count) = client::ask(&config.control_socket(), &request)?;
    let plural = if count == 1 { "" } else { "s" };
    println!("{count} message{plural}");
    Ok(())
}
