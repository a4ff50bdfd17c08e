//! The arguments of sendmail(1), as Postfix takes them.
//!
//! Promises that what other sendmails know is taken, with its value where it has one, so that no
//! program fails for a flag that means nothing here. Refuses what nobody knows, since a mistyped
//! flag would otherwise send what was not meant.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What to do.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) enum Mode {
    /// Send the message on standard input.
    #[default]
    Deliver,
    /// Speak SMTP on standard input and output.
    Smtp,
    /// Tell whether the recipients would be taken.
    Verify,
    /// List the queue.
    ListQueue,
    /// Try what waits: all of it, one message, or what is for recipients with this text.
    Flush(Flush),
    /// Nothing: there is no alias data base to be built.
    NewAliases,
    /// Nothing: the daemon is started in another way.
    Daemon,
}

/// Which messages to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Flush {
    All,
    Id(String),
    Site(String),
}

/// A call of sendmail.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Call {
    pub(super) mode: Mode,
    /// `-f`, `-r`: the reverse-path.
    pub(super) from: Option<String>,
    /// `-F`: the name in a From field that is added.
    pub(super) full_name: Option<String>,
    /// `-t`: the header names recipients.
    pub(super) from_header: bool,
    /// `-i`: a line with only a dot is content.
    pub(super) dots_are_content: bool,
    /// `-C`: the configuration file.
    pub(super) config: Option<PathBuf>,
    /// `-v`: tell what was done.
    pub(super) verbose: bool,
    pub(super) recipients: Vec<String>,
}

/// Flags that take a value: the rest of the argument, or the next one.
const WITH_VALUE: &[u8] = b"ABCFLNORVXbefhopr";
/// Flags without one, of this and of other sendmails.
const WITHOUT: &[u8] = b"GIUacgimnstvx";
/// Flags whose value can only be the rest of the argument.
const ATTACHED: &[u8] = b"dqDEM";

/// Reads the arguments behind the command's name; the error is a sentence for its caller.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Call, String> {
    let mut arguments = arguments.into_iter();
    let mut call = Call::default();
    while let Some(argument) = arguments.next() {
        let octets = argument.as_bytes();
        let Some(flags) = octets.strip_prefix(b"-").filter(|flags| !flags.is_empty()) else {
            call.recipients.push(text(&argument)?);
            continue;
        };
        if flags == b"-" {
            break;
        }
        call.flags(flags, || arguments.next())?;
    }
    for recipient in arguments {
        call.recipients.push(text(&recipient)?);
    }
    Ok(call)
}

fn text(argument: &OsStr) -> Result<String, String> {
    let text = argument.to_str().map(str::to_owned);
    text.ok_or_else(|| format!("{} is not UTF-8", argument.to_string_lossy()))
}

impl Call {
    /// Takes the flags of one argument.
    fn flags(
        &mut self,
        mut flags: &[u8],
        next: impl FnOnce() -> Option<OsString>,
    ) -> Result<(), String> {
        while let Some((&flag, rest)) = flags.split_first() {
            if WITH_VALUE.contains(&flag) {
                let value = match rest.is_empty() {
                    true => next().ok_or_else(|| format!("-{} needs a value", char::from(flag)))?,
                    false => OsStr::from_bytes(rest).to_owned(),
                };
                return self.valued(flag, &value);
            }
            if ATTACHED.contains(&flag) {
                return self.attached(flag, &text(OsStr::from_bytes(rest))?);
            }
            if !WITHOUT.contains(&flag) {
                return Err(format!("there is no flag -{}", char::from(flag).escape_default()));
            }
            self.plain(flag);
            flags = rest;
        }
        Ok(())
    }

    fn plain(&mut self, flag: u8) {
        match flag {
            b't' => self.from_header = true,
            b'i' => self.dots_are_content = true,
            b'v' => self.verbose = true,
            b'I' => self.mode = Mode::NewAliases,
            _ => {}
        }
    }

    fn valued(&mut self, flag: u8, value: &OsStr) -> Result<(), String> {
        match flag {
            b'f' | b'r' => self.from = Some(text(value)?),
            b'F' => self.full_name = Some(text(value)?),
            b'C' => self.config = Some(PathBuf::from(value)),
            b'o' if value.as_bytes().first() == Some(&b'i') => self.dots_are_content = true,
            b'b' => self.mode = mode(value.as_bytes())?,
            _ => {}
        }
        Ok(())
    }

    fn attached(&mut self, flag: u8, value: &str) -> Result<(), String> {
        if flag != b'q' {
            return Ok(());
        }
        let which = match (value.get(..1), value.get(1..)) {
            (Some("I"), Some(id)) if !id.is_empty() => Flush::Id(id.to_owned()),
            (Some("R"), Some(site)) if !site.is_empty() => Flush::Site(site.to_owned()),
            (Some("I" | "R" | "S"), _) => return Err(format!("-q{value} is not supported")),
            // An interval is for a daemon, which needs none.
            (Some(_), _) => {
                self.mode = Mode::Daemon;
                return Ok(());
            }
            (None, _) => Flush::All,
        };
        self.mode = Mode::Flush(which);
        Ok(())
    }
}

fn mode(value: &[u8]) -> Result<Mode, String> {
    Ok(match value.first() {
        Some(b'm') => Mode::Deliver,
        Some(b's') => Mode::Smtp,
        Some(b'v') => Mode::Verify,
        Some(b'p') => Mode::ListQueue,
        Some(b'i') => Mode::NewAliases,
        Some(b'd' | b'D' | b'l') => Mode::Daemon,
        _ => return Err(format!("-b{} is not supported", value.escape_ascii())),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<Call, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_programs_call_is_understood() {
        let to = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        // Cron, PHP, mailx, Monit, git send-email, logwatch.
        let cron = read("-FCronDaemon -i -B8BITMIME -oem root").unwrap();
        assert_eq!(cron.full_name.as_deref(), Some("CronDaemon"));
        assert_eq!((cron.recipients, cron.dots_are_content), (to(&["root"]), true));
        let php = read("-t -i -fwww@d.example").unwrap();
        assert_eq!(php.from.as_deref(), Some("www@d.example"));
        assert!(php.from_header && php.dots_are_content);
        let mailx = read("-i -r joe@d.example -- a@d.example b@d.example").unwrap();
        assert_eq!(mailx.recipients, to(&["a@d.example", "b@d.example"]));
        assert_eq!(mailx.from.as_deref(), Some("joe@d.example"));
        let many = read("-oi -oem -om -N never -R hdrs -V id -O DeliveryMode=b -Am -G -U -n -v -h 3 -X l -L tag a")
            .unwrap();
        assert_eq!(many.recipients, to(&["a"]));
        assert!(many.verbose && many.dots_are_content);
        assert!(read("-ti").unwrap().from_header);
        assert!(!read("-t").unwrap().dots_are_content);
        assert_eq!(read("-- -odd").unwrap().recipients, to(&["-odd"]));
    }

    #[test]
    fn modes_are_told_apart() {
        let mode = |line: &str| read(line).map(|call| call.mode);
        for (line, expected) in [
            ("", Mode::Deliver),
            ("-bm a", Mode::Deliver),
            ("-bs", Mode::Smtp),
            ("-bv a", Mode::Verify),
            ("-bp", Mode::ListQueue),
            ("-bi", Mode::NewAliases),
            ("-I", Mode::NewAliases),
            ("-bd", Mode::Daemon),
            ("-bd -q15m", Mode::Daemon),
            ("-q", Mode::Flush(Flush::All)),
            ("-qI0100", Mode::Flush(Flush::Id("0100".into()))),
            ("-qRd.example", Mode::Flush(Flush::Site("d.example".into()))),
        ] {
            assert_eq!(mode(line), Ok(expected), "{line}");
        }
        for line in ["-qSx", "-bz", "-Z", "-f", "-b", "-\u{e9}"] {
            assert!(mode(line).is_err(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_arguments_are_judged(
            arguments in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..8),
                    "-[a-zA-Z]{1,3}".prop_map(String::into_bytes),
                ],
                0..6,
            ),
        ) {
            use std::os::unix::ffi::OsStringExt;
            let _ = parse(arguments.into_iter().map(OsString::from_vec));
        }
    }
}
