//! Angarium beside real neighbours: Dovecot, Postfix, Exim, OpenSMTPD, smtp-source, smtp-sink and
//! OpenSSL; swaks, msmtp, s-nail, curl, Python's smtplib, Nodemailer, Mutt and GNU SASL.
//!
//! Each test starts the peers it needs, on loopback and in directories of its own, and compares
//! what arrives with what was sent, octet by octet. The peers start as root; where that or a
//! program is missing, a test says LEFT OUT and passes, unless `ANGARIUM_REQUIRE_PEERS` is set.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod calibration;
mod chunking;
mod clients;
mod compare;
mod dovecot;
mod dovecot_auth;
mod exim;
mod final_delivery;
mod imap;
mod load;
mod neighbour;
mod opensmtpd;
mod openssl;
mod postfix;
mod probe;
mod proxy;
mod refusal;
mod relay;
mod sink;
mod tools;
mod unpacked;

use std::io::Write as _;
use std::path::Path;

/// Whether the peers of a test can be started, and the unpacked one too that it names; says loudly
/// what is left out when not.
fn peers_are_here(test: &str, unpacked: Option<(&str, &str)>) -> bool {
    let Some(lack) = lack().or_else(|| lack_of(unpacked?)) else { return true };
    let required = std::env::var_os("ANGARIUM_REQUIRE_PEERS").is_some();
    assert!(!required, "{test}: {lack}");
    // Past the capture of a passing test's output, which would swallow it.
    let _ = writeln!(std::io::stderr(), "LEFT OUT: {test}: {lack}");
    false
}

fn lack() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return Some("the peers can only be started by root".to_owned());
    }
    const PROGRAMS: [&str; 15] = [
        "/usr/sbin/dovecot",
        "/usr/lib/dovecot/lmtp",
        "/usr/lib/dovecot/imap",
        postfix::COMMAND,
        "/usr/sbin/smtp-sink",
        "/usr/sbin/smtp-source",
        "/usr/bin/swaks",
        "/usr/bin/openssl",
        "/usr/bin/msmtp",
        "/usr/bin/s-nail",
        "/usr/bin/curl",
        "/usr/bin/nodejs",
        "/usr/share/nodejs/nodemailer/package.json",
        "/usr/bin/mutt",
        "/usr/bin/gsasl",
    ];
    let missing: Vec<&str> =
        PROGRAMS.into_iter().filter(|program| !Path::new(program).exists()).collect();
    (!missing.is_empty())
        .then(|| format!("missing {}; tests/run installs them", missing.join(", ")))
}

fn lack_of((package, program): (&str, &str)) -> Option<String> {
    let program = unpacked::file(package, program);
    if !program.exists() {
        Some(format!("missing {}; tests/run unpacks it", program.display()))
    } else if !unpacked::namespaces_are_here() {
        Some("this machine gives no namespaces".to_owned())
    } else {
        None
    }
}

/// Ends a test early, and loudly, where its peers are not to be had.
macro_rules! require_peers {
    () => {
        require_peers!(@ None)
    };
    (@ $unpacked:expr) => {
        if !crate::peers_are_here(concat!(module_path!(), ":", line!()), $unpacked) {
            return;
        }
    };
    ($program:expr) => {
        require_peers!(@ Some($program))
    };
}
use require_peers;
