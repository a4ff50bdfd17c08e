//! The command as `sendmail`, `mailq` and `newaliases`: how programs of this machine send mail.
//!
//! Hands the message to the daemon by its socket, and leaves it in the maildrop where no daemon takes
//! it now. Promises exit 0 only once the message is on stable storage; 64 usage, 65 and 67 for
//! addresses that are none or not taken, 69 refused, 75 nothing was done and another try may help,
//! 77 not for this account, 78 configuration. Needs no privileges and has none.

mod flags;
mod message;

use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::unistd::{User, getuid};

use crate::config::HandIn;
use crate::control::client::{
    self, EX_DATAERR, EX_IOERR, EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE, Failure,
};
use crate::control::{Filter, OperatorVerb, Request};
use crate::local::folder::Ends;
use crate::local::hand_over::{self, Refused, Verdict};
use crate::local::{Letter, maildrop};
use crate::net::clock;
use crate::syntax::path::Mailbox;
use flags::{Call, Flush, Mode};
use message::{Message, Missing, addresses};

use super::{EX_CONFIG, EX_USAGE};

/// `EX_NOUSER`
const EX_NOUSER: u8 = 67;
/// Where a configuration is that nobody named.
const CONFIG: &str = "/etc/angarium/angarium.toml";

/// The names that the command may be called by.
pub(super) const NAMES: [&str; 3] = ["sendmail", "mailq", "newaliases"];

/// Runs it as the one of `NAMES` that it was called by.
pub(super) fn run(
    name: &str,
    config: Option<PathBuf>,
    arguments: impl IntoIterator<Item = OsString>,
) -> ExitCode {
    let call = match flags::parse(arguments) {
        Ok(call) => call,
        Err(why) => return fail(name, &failure(EX_USAGE, why)),
    };
    let mode = match name {
        "mailq" => Mode::ListQueue,
        "newaliases" => Mode::NewAliases,
        _ => call.mode.clone(),
    };
    match perform(&mode, config, &call) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(name, &failure),
    }
}

fn failure(exit: u8, message: impl Into<String>) -> Failure {
    Failure { exit, message: message.into() }
}

fn fail(name: &str, failure: &Failure) -> ExitCode {
    // Nobody may be listening, as behind cron.
    let _ = writeln!(io::stderr(), "{name}: {}", failure.message);
    ExitCode::from(failure.exit)
}

fn perform(mode: &Mode, config: Option<PathBuf>, call: &Call) -> Result<(), Failure> {
    match mode {
        Mode::NewAliases => return Ok(()),
        Mode::Daemon => {
            let why = "`angarium serve` is the daemon; it needs neither -bd nor an interval";
            return Err(failure(EX_USAGE, why));
        }
        _ => {}
    }
    let hand_in = load(call.config.clone().or(config))?;
    match mode {
        Mode::Smtp => speak(&ends(&hand_in)?),
        Mode::Verify => verify(&hand_in, call),
        Mode::ListQueue => list(&hand_in),
        Mode::Flush(which) => flush(&hand_in, which),
        _ => send(&hand_in, call),
    }
}

/// The configuration that was named, or the one at its usual place, or the defaults.
fn load(named: Option<PathBuf>) -> Result<HandIn, Failure> {
    let usual = || Some(PathBuf::from(CONFIG)).filter(|usual| usual.exists());
    let file = named.or_else(|| std::env::var_os("ANGARIUM_CONFIG").map(PathBuf::from));
    let file = file.or_else(usual);
    let read = HandIn::load(file.as_deref(), super::variables());
    read.map_err(|faults| failure(EX_CONFIG, faults.to_string()))
}

fn ends(hand_in: &HandIn) -> Result<Ends, Failure> {
    let off = || failure(EX_UNAVAILABLE, "mail is not taken from this machine ([local] enabled)");
    hand_in.ends().ok_or_else(off)
}

/// Sends what standard input has.
fn send(hand_in: &HandIn, call: &Call) -> Result<(), Failure> {
    let ends = ends(hand_in)?;
    let sender = Sender::find(hand_in, call)?;
    let text = read_message(call.dots_are_content, hand_in.octets_max())?;
    let message = Message::read(&text);
    let mut recipients = given_recipients(hand_in, call)?;
    if call.from_header {
        for address in message.recipients() {
            recipients.push(complete(&address, hand_in)?);
        }
    }
    recipients.sort();
    recipients.dedup();
    if recipients.is_empty() {
        return Err(failure(EX_USAGE, "no recipient was given"));
    }
    let now_ms = clock::now_ms();
    let missing = Missing {
        from: &sender.field,
        date: &clock::date(now_ms),
        id: &format!("<{now_ms:x}.{:016x}@{}>", fastrand::u64(..), hand_in.hostname),
    };
    let letter = Letter { from: sender.path, recipients, content: message.write(missing) };
    deliver(hand_in, &ends, &letter, call.verbose)
}

fn deliver(hand_in: &HandIn, ends: &Ends, letter: &Letter, verbose: bool) -> Result<(), Failure> {
    let verdict = match connect(&ends.socket()) {
        Ok(stream) => wait(async {
            let stream = tokio::net::UnixStream::from_std(stream)?;
            Ok(hand_over::hand_over(stream, &hand_in.hostname, letter).await)
        })?,
        Err(error) => Verdict::NotNow(format!("{}: {error}", ends.socket().display())),
    };
    let told = |text: &str| {
        if verbose {
            eprintln!("sendmail: {text}");
        }
    };
    match verdict {
        Verdict::Accepted(refused) if refused.is_empty() => told("the message is queued"),
        Verdict::Accepted(refused) | Verdict::Refused(refused) => return Err(refusal(&refused)),
        Verdict::NotNow(why) => {
            maildrop::leave(&ends.maildrop(), letter).map_err(|error| {
                let maildrop = ends.maildrop();
                let text = format!("not sent: {why}; and {}: {error}", maildrop.display());
                failure(EX_TEMPFAIL, text)
            })?;
            told(&format!("the message waits in the maildrop: {why}"));
        }
    }
    Ok(())
}

/// What the daemon said, and the exit code that says it to programs.
fn refusal(refused: &[Refused]) -> Failure {
    let said = |(address, reply): &Refused| match address.as_str() {
        "" => reply.one_line(),
        address => format!("<{address}>: {}", reply.one_line()),
    };
    let text: Vec<String> = refused.iter().map(said).collect();
    let status = refused.first().and_then(|(_, reply)| reply.status);
    let exit = match status.map(|status| (status.subject, status.detail)) {
        Some((7, _)) => EX_NOPERM,
        Some((1, _)) => EX_NOUSER,
        _ => EX_UNAVAILABLE,
    };
    failure(exit, text.join("\n"))
}

/// Who sends.
struct Sender {
    /// The reverse-path without brackets.
    path: String,
    /// For a From field.
    field: String,
}

impl Sender {
    fn find(hand_in: &HandIn, call: &Call) -> Result<Self, Failure> {
        let uid = getuid();
        let user = User::from_uid(uid).ok().flatten();
        let account = user.as_ref().map_or_else(|| uid.to_string(), |user| user.name.clone());
        let path = match call.from.as_deref().map(str::trim) {
            Some("" | "<>") => String::new(),
            Some(given) => {
                complete(addresses(given.as_bytes()).first().map_or(given, |a| a), hand_in)?
            }
            None => complete(&account, hand_in)?,
        };
        let shown = if path.is_empty() { complete(&account, hand_in)? } else { path.clone() };
        let comment = || user.as_ref().and_then(|user| user.gecos.to_str().ok()).map(full_name);
        let name = call.full_name.clone().or_else(comment).unwrap_or_default();
        Ok(Self { path, field: from_field(&name, &shown) })
    }
}

/// The first part of what passwd(5) says of an account.
fn full_name(comment: &str) -> String {
    comment.split(',').next().unwrap_or_default().trim().to_owned()
}

/// A name and a mailbox as a From field has them; a name that can't be quoted is left out.
fn from_field(name: &str, mailbox: &str) -> String {
    let quotable = |c: char| c == ' ' || c.is_ascii_graphic();
    if name.is_empty() || !name.chars().all(quotable) {
        return mailbox.to_owned();
    }
    format!("\"{}\" <{mailbox}>", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// An address with a domain, and one that SMTP can carry.
fn complete(address: &str, hand_in: &HandIn) -> Result<String, Failure> {
    let whole = match address.contains('@') {
        true => address.to_owned(),
        false => format!("{address}@{}", hand_in.domain()),
    };
    match whole.parse::<Mailbox>() {
        Ok(mailbox) => Ok(mailbox.to_string()),
        Err(why) => {
            Err(failure(EX_DATAERR, format!("{} is no address: {why}", address.escape_debug())))
        }
    }
}

fn given_recipients(hand_in: &HandIn, call: &Call) -> Result<Vec<String>, Failure> {
    let given = call.recipients.iter();
    let each = given.flat_map(|recipient| addresses(recipient.as_bytes()));
    each.map(|address| complete(&address, hand_in)).collect()
}

/// Standard input to its end, or to a line with only a dot.
fn read_message(dots_are_content: bool, octets_max: u64) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let mut input = io::stdin().lock().take(octets_max.saturating_add(1));
    loop {
        let start = text.len();
        match input.read_until(b'\n', &mut text) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(failure(EX_IOERR, format!("standard input: {error}"))),
        }
        let line = text.get(start..).unwrap_or_default();
        if !dots_are_content && matches!(line, b".\n" | b".\r\n" | b".") {
            text.truncate(start);
            break;
        }
    }
    if text.len() as u64 > octets_max {
        let why = format!("the message is larger than the {octets_max} octets that are taken");
        return Err(failure(EX_DATAERR, why));
    }
    Ok(text)
}

/// A socket that a runtime may take.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Waits for one task.
fn wait<T>(task: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(task));
    done.map_err(|error| failure(EX_TEMPFAIL, error.to_string()))
}

fn no_daemon(ends: &Ends, error: &io::Error) -> Failure {
    failure(EX_TEMPFAIL, format!("no daemon answers at {}: {error}", ends.socket().display()))
}

/// `-bs`: the daemon speaks for itself.
fn speak(ends: &Ends) -> Result<(), Failure> {
    let mut stream = UnixStream::connect(ends.socket()).map_err(|error| {
        println!("421 4.3.2 no daemon answers, try again later\r");
        no_daemon(ends, &error)
    })?;
    let mut to = stream.try_clone().map_err(|error| failure(EX_TEMPFAIL, error.to_string()))?;
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    let mut output = io::stdout().lock();
    let mut octets = [0; 4096];
    loop {
        match stream.read(&mut octets) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(count) => {
                let piece = octets.get(..count).unwrap_or_default();
                if output.write_all(piece).and_then(|()| output.flush()).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// `-bv`: what the daemon says of each recipient.
fn verify(hand_in: &HandIn, call: &Call) -> Result<(), Failure> {
    let ends = ends(hand_in)?;
    let recipients = given_recipients(hand_in, call)?;
    let stream = connect(&ends.socket()).map_err(|error| no_daemon(&ends, &error))?;
    let replies = wait(async {
        let stream = tokio::net::UnixStream::from_std(stream)?;
        Ok(hand_over::verify(stream, &hand_in.hostname, &recipients).await)
    })?;
    let replies = replies.map_err(|why| failure(EX_TEMPFAIL, why))?;
    let mut exit = None;
    for (recipient, reply) in recipients.iter().zip(&replies) {
        println!("{recipient}... {}", reply.one_line());
        if !reply.is_positive() {
            exit = Some(if reply.is_permanent() { EX_NOUSER } else { EX_TEMPFAIL });
        }
    }
    exit.map_or(Ok(()), |exit| Err(failure(exit, "not every recipient would be taken")))
}

/// `mailq`
fn list(hand_in: &HandIn) -> Result<(), Failure> {
    let (payload, _) = client::ask(&hand_in.control_socket(), &Request::List(Filter::default()))?;
    let text = client::mailq(&client::parse_lines(&payload));
    // A reader that went away is not our business.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}

/// `-q`
fn flush(hand_in: &HandIn, which: &Flush) -> Result<(), Failure> {
    let filter = match which {
        Flush::All => Filter::default(),
        Flush::Id(id) => Filter { ids: vec![id.clone()], ..Filter::default() },
        Flush::Site(site) => Filter { to: Some(site.clone()), ..Filter::default() },
    };
    let request = Request::Operate(OperatorVerb::Retry, filter);
    client::ask(&hand_in.control_socket(), &request).map(|_| ())
}
