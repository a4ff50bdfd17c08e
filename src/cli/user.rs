//! `angarium user …`: the file of users who may log in.
//!
//! Promises that a password is never an argument, is not shown while it is typed, and is shown once
//! where it was made here. A running daemon has a change within seconds.

mod ask;
mod tell;

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use nix::unistd::{Uid, User};

use super::queue::{finish, print};
use crate::auth::secret;
use crate::auth::users::{Account, Accounts, EditError, Editor, Seen};
use crate::config::Config;
use crate::control::client::{EX_CANTCREAT, EX_DATAERR, EX_IOERR, EX_NOPERM, Failure};
use crate::daemon::authority::SEEN;
use crate::net::clock;

/// `EX_NOUSER`
const EX_NOUSER: u8 = 67;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a user
    Add {
        /// The login, such as joe@example.org
        name: String,
        #[command(flatten)]
        from: From,
        /// Without a password: to log in, only app passwords will do
        #[arg(long, conflicts_with = "password_stdin")]
        no_password: bool,
    },
    /// Set a user's password; its app passwords stay
    Passwd {
        /// The login
        name: String,
        #[command(flatten)]
        from: From,
    },
    /// Make a password for one program of a user, and print it once
    ///
    /// The user logs in with it as NAME, or as NAME+LABEL.
    AppPassword {
        /// The login
        name: String,
        /// What the password is called: letters, digits, and - _ .
        label: String,
    },
    /// Take a user away, or one of its app passwords
    Rm {
        /// The login
        name: String,
        /// The label of an app password; the user stays
        label: Option<String>,
    },
    /// List the users, their app passwords, and when each was last used
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Let a user log in again
    Enable {
        /// The login
        name: String,
    },
    /// Let a user log in no more; its passwords are kept
    Disable {
        /// The login
        name: String,
    },
}

/// Where a password comes from.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct From {
    /// Take the first line of standard input, also from a terminal; a pipe needs no option
    #[arg(long)]
    password_stdin: bool,
}

pub(super) fn run(config: &Config, command: Command) -> ExitCode {
    let Some(path) = &config.auth.users else {
        let file = if config.file.is_empty() { "the built-in defaults" } else { &config.file };
        let message = format!(
            "{file}: there is no file of users; name one by `users` in [auth], such as \
             users = \"/etc/angarium/users\""
        );
        return finish(Err(Failure { exit: super::EX_CONFIG, message }));
    };
    finish(match command {
        Command::Add { name, from, no_password } => {
            add(config, path, &name, (!no_password).then_some(from))
        }
        Command::Passwd { name, from } => passwd(config, path, &name, from),
        Command::AppPassword { name, label } => app_password(config, path, &name, &label),
        Command::Rm { name, label } => remove(config, path, &name, label.as_deref()),
        Command::Ls { json } => list(config, path, json),
        Command::Enable { name } => disable(config, path, &name, false),
        Command::Disable { name } => disable(config, path, &name, true),
    })
}

fn add(config: &Config, path: &Path, name: &str, from: Option<From>) -> Result<(), Failure> {
    let mut account = Account::new(name, iterations(config)).map_err(refused)?;
    let taken = || refused(format!("the user {name} is there already"));
    // Nobody is asked for a password that will not be kept.
    if Accounts::read(path).map_err(failure)?.get(name).is_some() {
        return Err(taken());
    }
    if let Some(from) = from {
        account.set(None, &ask::password(name, from.password_stdin)?).map_err(refused)?;
    }
    change(config, path, |accounts| accounts.add(account).then_some(()).ok_or_else(taken))
}

fn passwd(config: &Config, path: &Path, name: &str, from: From) -> Result<(), Failure> {
    Accounts::read(path).map_err(failure)?.get(name).ok_or_else(|| unknown(name))?;
    let password = ask::password(name, from.password_stdin)?;
    change(config, path, |accounts| {
        let account = accounts.get_mut(name).ok_or_else(|| unknown(name))?;
        // App passwords were derived with the salt and the iterations that are there.
        if account.labels().next().is_none() {
            let disabled = account.disabled;
            *account = Account::new(&account.name, iterations(config)).map_err(refused)?;
            account.disabled = disabled;
        }
        account.set(None, &password).map_err(refused)
    })
}

fn app_password(config: &Config, path: &Path, name: &str, label: &str) -> Result<(), Failure> {
    let password = secret::generate()
        .ok_or_else(|| Failure { exit: EX_IOERR, message: "no random octets".to_owned() })?;
    change(config, path, |accounts| {
        let account = accounts.get_mut(name).ok_or_else(|| unknown(name))?;
        if account.labels().any(|own| own == label) {
            return Err(refused(format!(
                "{name} has an app password {label}; take it away first, by \
                 `angarium user rm {name} {label}`"
            )));
        }
        account.set(Some(label), &password).map_err(refused)
    })?;
    print(format!("{password}\n").as_bytes());
    Ok(())
}

fn remove(config: &Config, path: &Path, name: &str, label: Option<&str>) -> Result<(), Failure> {
    change(config, path, |accounts| match label {
        None => accounts.remove(name).then_some(()).ok_or_else(|| unknown(name)),
        Some(label) => {
            let account = accounts.get_mut(name).ok_or_else(|| unknown(name))?;
            let missing = || refused(format!("{name} has no app password {label}"));
            account.unset(label).then_some(()).ok_or_else(missing)
        }
    })
}

fn list(config: &Config, path: &Path, json: bool) -> Result<(), Failure> {
    let accounts = Accounts::read(path).map_err(failure)?;
    let seen = Seen::read(&config.spool.join(SEEN));
    let users = tell::users(&accounts, &seen);
    let text = if json { tell::lines(&users) } else { tell::table(&users, clock::now_ms()) };
    print(text.as_bytes());
    Ok(())
}

fn disable(config: &Config, path: &Path, name: &str, disabled: bool) -> Result<(), Failure> {
    change(config, path, |accounts| {
        let account = accounts.get_mut(name).ok_or_else(|| unknown(name))?;
        account.disabled = disabled;
        Ok(())
    })
}

/// Changes the file. One that root makes belongs to the user whose rights the daemon keeps, who
/// must be able to read it.
fn change(
    config: &Config,
    path: &Path,
    with: impl FnOnce(&mut Accounts) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut editor = Editor::open(path).map_err(failure)?;
    with(&mut editor.accounts)?;
    editor.save(owner(config)?).map_err(failure)
}

fn owner(config: &Config) -> Result<Option<(u32, u32)>, Failure> {
    let Some(name) = config.user.as_ref().filter(|_| Uid::effective().is_root()) else {
        return Ok(None);
    };
    let fault =
        |why: String| Failure { exit: super::EX_CONFIG, message: format!("user {name}: {why}") };
    let found = User::from_name(name).map_err(|error| fault(error.to_string()))?;
    let user = found.ok_or_else(|| fault("there is none of that name".to_owned()))?;
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

fn iterations(config: &Config) -> u32 {
    u32::try_from(config.auth.iterations).unwrap_or(u32::MAX)
}

fn unknown(name: &str) -> Failure {
    Failure { exit: EX_NOUSER, message: format!("there is no user {name}") }
}

fn refused(message: String) -> Failure {
    Failure { exit: EX_DATAERR, message }
}

fn failure(error: EditError) -> Failure {
    let message = error.to_string();
    let exit = match error {
        EditError::Refused(_) => EX_DATAERR,
        EditError::Io(_, error) => match error.kind() {
            ErrorKind::PermissionDenied => EX_NOPERM,
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::ReadOnlyFilesystem => {
                EX_CANTCREAT
            }
            _ => EX_IOERR,
        },
    };
    Failure { exit, message }
}
