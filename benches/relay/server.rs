//! The servers that are compared, each set for the same job.
//!
//! Promises a fresh spool on a real disk, loopback only, that all of it is gone on drop, and that
//! either server syncs each message before it answers, as it does by default.

use std::net::SocketAddr;

use crate::postfix::Postfix;
use crate::support::daemon::{Daemon, Site};
use crate::usage::{self, Watch};

/// What a server has to do with the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Take them, and keep them.
    Accept,
    /// Take them, and send them on by SMTP.
    Smtp,
    /// Take them, and send them on by LMTP.
    Lmtp,
}

impl Job {
    /// In names of figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Smtp => "smtp",
            Self::Lmtp => "lmtp",
        }
    }
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Angarium, its log at "warn".
    Quiet,
    /// Angarium, its log at "info" as it is by default: what Postfix logs of a message, too.
    Talking,
    /// Postfix.
    Postfix,
}

/// One that runs.
pub(crate) enum Server {
    /// Angarium.
    Ours(Daemon),
    /// Postfix.
    Postfix(Box<Postfix>, Watch),
}

impl Server {
    /// Starts one; what it relays goes to `sink`.
    pub(crate) fn start(kind: Kind, job: Job, sink: SocketAddr) -> Self {
        if kind == Kind::Postfix {
            let postfix = Postfix::start_with(&main_cf(job, sink));
            let watch = Watch::start(postfix.pid());
            return Self::Postfix(Box::new(postfix), watch);
        }
        let site = Site::new();
        let text = angarium_toml(&site, kind, job, sink);
        Self::Ours(Daemon::start_at(site, &text))
    }

    /// Where it takes mail.
    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Ours(daemon) => daemon.addr(),
            Self::Postfix(postfix, _) => postfix.address(),
        }
    }

    /// Processor time so far.
    pub(crate) fn time_ms(&self) -> u64 {
        match self {
            Self::Ours(daemon) => usage::time_ms(daemon.pid()),
            Self::Postfix(postfix, _) => usage::time_ms(postfix.pid()),
        }
    }

    /// How many messages are in its queue.
    pub(crate) fn queued(&self) -> u64 {
        match self {
            Self::Ours(daemon) => daemon.rows().len() as u64,
            Self::Postfix(postfix, _) => postfix.held() as u64,
        }
    }

    /// Ends it; the most memory it held, in KiB.
    pub(crate) fn end(self) -> u64 {
        match self {
            Self::Ours(mut daemon) => {
                let peak = usage::peak_kib(daemon.pid());
                let status = daemon.terminate();
                assert!(status.success(), "the daemon ends with {status}");
                peak
            }
            Self::Postfix(postfix, watch) => {
                let peak = watch.end();
                drop(postfix);
                peak
            }
        }
    }
}

fn angarium_toml(site: &Site, kind: Kind, job: Job, sink: SocketAddr) -> String {
    let (paused, scheme) = match job {
        Job::Accept => (true, "smtp"),
        Job::Smtp => (false, "smtp"),
        Job::Lmtp => (false, "lmtp"),
    };
    let level = if kind == Kind::Talking { "info" } else { "warn" };
    format!(
        "hostname = \"angarium.test\"\nspool = {:?}\n\n\
         [[listener]]\nbind = \"{}\"\nmax_connections_per_client = 1000\n\n\
         [relay]\nfrom = [\"127.0.0.0/8\"]\n\n\
         [[route]]\nrecipient = \"*\"\nvia = \"{scheme}://{sink}\"\n\n\
         [queue]\npaused = {paused}\n\n[log]\nlevel = \"{level}\"\n",
        site.path("spool"),
        site.address,
    )
}

/// As TUNING_README and postconf(5) advise for many sessions and one next hop. The rest is default;
/// its deliveries to one next hop are twenty at most, as ours are. `in_flow_delay` stays, too: without
/// it nothing was faster.
fn main_cf(job: Job, sink: SocketAddr) -> String {
    let hop = format!("[{}]:{}", sink.ip(), sink.port());
    let job = match job {
        Job::Accept => {
            "smtpd_recipient_restrictions = check_recipient_access static:HOLD\n".to_owned()
        }
        Job::Smtp => format!(
            "default_transport = smtp:{hop}\nsmtp_connection_cache_destinations = static:all\n"
        ),
        Job::Lmtp => format!(
            "default_transport = lmtp:inet:{hop}\n\
             lmtp_connection_cache_destinations = static:all\n"
        ),
    };
    format!("default_process_limit = 300\nsmtpd_peername_lookup = no\n{job}")
}
