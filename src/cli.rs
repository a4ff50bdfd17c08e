//! Floor 6: the command line.
//!
//! Promises exit codes of sysexits (64 usage, 65 data, 66 no input, 67 no user, 69 unavailable, 73 can't
//! create, 74 I/O, 75 try again, 77 no permission, 78 configuration), output for people by default
//! and JSON on request, and that faults of a configuration are shown before a socket opens.

mod address;
mod check;
mod limits;
mod queue;
mod registry;
mod route;
mod sendmail;
mod user;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Faults, Format, Level};
use crate::{daemon, demo};

/// `EX_USAGE`
const EX_USAGE: u8 = 64;
/// `EX_CONFIG`
const EX_CONFIG: u8 = 78;

#[derive(Debug, Parser)]
#[command(name = "angarium", version, about, long_about = None)]
struct Cli {
    /// The configuration file; without one, the built-in defaults
    #[arg(long, global = true, value_name = "FILE", env = "ANGARIUM_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole job on loopback: no root, no DNS, no configuration
    Demo(DemoArgs),
    /// Run the mail transfer agent in the foreground
    Serve,
    /// Validate the configuration
    Check,
    /// See and steer the queue of the running daemon, and look after the spool on the disk
    #[command(subcommand)]
    Queue(queue::Command),
    /// See where mail goes
    #[command(subcommand)]
    Route(route::Command),
    /// See and change who may log in
    #[command(subcommand)]
    User(user::Command),
    /// See what users have sent and who is shut out, and forget it
    #[command(subcommand)]
    Limits(limits::Command),
    /// See the SMTP extensions and status codes that are known, and judge changes of the registry
    #[command(subcommand)]
    Registry(registry::Command),
    /// See what is wrong with an address
    #[command(subcommand)]
    Address(address::Command),
    /// Send the message on standard input, as sendmail does; `-t`, `-i`, `-f` and all that it knows
    ///
    /// A link to this command called sendmail, mailq or newaliases behaves as these do.
    #[command(disable_help_flag = true)]
    Sendmail {
        /// Flags and recipients of sendmail
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Leave it running, and tell how to send to it
    #[arg(long)]
    stay: bool,
    /// Where the spool and the Maildir go; by default a new folder in the temporary folder
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Runs the command that `arguments` name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called = arguments.first().and_then(|name| Path::new(name).file_name()?.to_str());
    if let Some(name) = sendmail::NAMES.into_iter().find(|name| called == Some(name)) {
        return sendmail::run(name, None, arguments.into_iter().skip(1));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let file = cli.config.as_deref();
    match cli.command {
        Command::Demo(arguments) => demo::run(arguments.folder, arguments.stay),
        Command::Serve => with_config(file, |config| serve(config, file)),
        Command::Check => with_config(file, |config| check::run(&config)),
        Command::Queue(command) => with_config(file, |config| queue::run(&config, command)),
        Command::Route(command) => with_config(file, |config| route::run(&config, command)),
        Command::User(command) => with_config(file, |config| user::run(&config, command)),
        Command::Limits(command) => with_config(file, |config| limits::run(&config, command)),
        Command::Registry(command) => registry::run(command, || load(file)),
        Command::Address(command) => address::run(command),
        Command::Sendmail { arguments } => sendmail::run("sendmail", cli.config, arguments),
    }
}

fn load(file: Option<&Path>) -> Result<Config, Faults> {
    Config::load(file, variables())
}

/// The environment; what is no Unicode can't name an option.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn with_config(file: Option<&Path>, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match load(file) {
        Ok(config) => then(config),
        Err(faults) => {
            eprintln!("{faults}");
            ExitCode::from(EX_CONFIG)
        }
    }
}

fn serve(config: Config, file: Option<&Path>) -> ExitCode {
    start_log(&config);
    let file = file.map(Path::to_owned);
    daemon::serve(config, move || load(file.as_deref()).map_err(|faults| faults.to_string()))
}

/// The time between two moments, in words.
fn span(later_s: u64, earlier_s: u64) -> String {
    humantime::format_duration(Duration::from_secs(later_s.saturating_sub(earlier_s))).to_string()
}

/// The log goes to standard error, where service managers look for it.
fn start_log(config: &Config) {
    let level = match config.log.level {
        Level::Error => tracing::Level::ERROR,
        Level::Warn => tracing::Level::WARN,
        Level::Info => tracing::Level::INFO,
        Level::Debug => tracing::Level::DEBUG,
    };
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        // A line that can't be written is lost, and nothing else with it.
        .log_internal_errors(false)
        .with_max_level(level);
    match config.log.format {
        Format::Json => log.json().flatten_event(true).init(),
        Format::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
    }
}
