//! What a start does while it may still be root: open sockets, give the spool away, become `user`.
//!
//! Promises that nothing of the network is read before the privileges are dropped, and that they
//! are dropped for good, supplementary groups included.

use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};

use super::service::Inherited;
use super::{Sockets, metrics};
use crate::config::Config;
use crate::net::socket::Bind;

/// Opens the sockets, raises the limit of open files, and becomes the configured user. The error is
/// a sentence for the operator.
pub fn prepare(config: &Config) -> Result<Sockets, String> {
    let mut inherited = Inherited::take()?;
    let mut sockets = Sockets::open(&config.listeners, &mut inherited)?;
    let metrics = config.metrics.bind.and_then(|bind| inherited.remove(&Bind::Tcp(bind)));
    inherited.finish()?;
    sockets.metrics = match metrics {
        Some(socket) => Some(socket),
        None => metrics::open(config.metrics.bind)?,
    };
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Sessions and deliveries each take one; the default of 1,024 is soon used up.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    if let Some(name) = &config.user {
        become_user(name, &config.spool)?;
    }
    // Others may pass through the spool to its local ends, and read nothing on their way.
    umask(Mode::from_bits_truncate(0o077));
    Ok(sockets)
}

/// Makes the folder of the spool, where it is missing, for the user that the daemon will be. The
/// error is a sentence for the operator.
pub fn make_spool(config: &Config) -> Result<(), String> {
    match &config.user {
        Some(name) if geteuid().is_root() => {
            let given = give_away(&config.spool, &find(name)?);
            given.map_err(|error| format!("spool {}: {error}", config.spool.display()))
        }
        _ => Ok(()),
    }
}

fn find(name: &str) -> Result<User, String> {
    let known = User::from_name(name).map_err(|error| format!("user {name}: {error}"))?;
    known.ok_or_else(|| format!("user {name}: there is none of that name"))
}

fn become_user(name: &str, spool: &Path) -> Result<(), String> {
    let user = find(name)?;
    if geteuid() == user.uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(format!("user {name}: only root can become another user"));
    }
    give_away(spool, &user).map_err(|error| format!("spool {}: {error}", spool.display()))?;
    let failed = |what: &str, error: nix::Error| format!("user {name}: {what}: {error}");
    let c_name = std::ffi::CString::new(name).map_err(|error| format!("user {name}: {error}"))?;
    initgroups(&c_name, user.gid).map_err(|error| failed("initgroups", error))?;
    setgid(user.gid).map_err(|error| failed("setgid", error))?;
    setuid(user.uid).map_err(|error| failed("setuid", error))?;
    if user.uid != Uid::from_raw(0) && setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("user {name}: privileges could be taken back"));
    }
    Ok(())
}

/// A spool made by a start as root belongs to the user from the beginning; one that exists is the
/// operator's business.
fn give_away(spool: &Path, user: &User) -> std::io::Result<()> {
    if spool.exists() {
        return Ok(());
    }
    if let Some(parent) = spool.parent() {
        // The user must pass through them, and they are nobody's secret.
        std::fs::create_dir_all(parent)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(spool)?;
    chown(spool, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
}
