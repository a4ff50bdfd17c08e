//! A password from whoever runs the command.

use std::io::{IsTerminal, Write, stderr, stdin};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::control::client::{EX_DATAERR, EX_IOERR, EX_NOINPUT, Failure};

/// Asks at a terminal, twice and without an echo; otherwise takes the first line of the input.
pub(super) fn password(name: &str, plainly: bool) -> Result<String, Failure> {
    if plainly || !stdin().is_terminal() {
        return line();
    }
    let quiet = Quiet::begin().map_err(|error| unreadable(&error.into()))?;
    let first = prompted(&format!("Password for {name}: "))?;
    let second = prompted("Once more: ")?;
    drop(quiet);
    if first == second {
        return Ok(first);
    }
    Err(Failure { exit: EX_DATAERR, message: "the two passwords differ".to_owned() })
}

fn prompted(prompt: &str) -> Result<String, Failure> {
    eprint!("{prompt}");
    // The question is for people: whoever can't see it can still answer.
    let _ = stderr().flush();
    let answer = line();
    eprintln!();
    answer
}

fn line() -> Result<String, Failure> {
    let mut line = String::new();
    let octets = stdin().read_line(&mut line).map_err(|error| unreadable(&error))?;
    if octets == 0 {
        let message = "no password came on standard input".to_owned();
        return Err(Failure { exit: EX_NOINPUT, message });
    }
    let end = line.trim_end_matches('\n').trim_end_matches('\r').len();
    line.truncate(end);
    Ok(line)
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure { exit: EX_IOERR, message: format!("the password can't be read: {error}") }
}

/// A terminal that doesn't show what is typed.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> nix::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}
