//! Mail from programs of this machine: the socket and the maildrop, from start to stop.
//!
//! Promises that mail from elsewhere never suffers: where the local ends can't be opened, the log says
//! so, and everything else runs. A stop lets the letter under way end, so that none is sent twice.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::{listeners, settings};
use crate::config::{self, Config};
use crate::door;
use crate::event;
use crate::local::folder::Ends;
use crate::local::host::{self, Current, Host};
use crate::local::pickup;
use crate::policy::sender::Senders;
use crate::receive::{Rules, Services};
use crate::route::Table;
use crate::session;
use crate::submission::{self, Unqualified};

/// Most recipients of a letter: it is handed over as a whole.
const RECIPIENTS_MAX: usize = 100_000;

/// The local ends of a running daemon.
pub(super) struct Local {
    running: Option<Running>,
    stop: watch::Sender<bool>,
    /// Each session holds a clone of the sender; the receiver ends with the last.
    alive: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

struct Running {
    host: Arc<Host>,
    ends: Ends,
    accepting: JoinHandle<()>,
    picking_up: JoinHandle<()>,
}

impl Local {
    /// Opens the local ends, if there are to be any: before the listeners are served, so that whoever
    /// finds one of those finds the local ends, too.
    pub(super) fn start(config: &Config, table: &Arc<Table>, services: Services) -> Self {
        let (stop, alive) = (watch::Sender::new(false), mpsc::channel(1));
        let running = config.local.enabled.then(|| {
            let current = current(config, table);
            let host = Host::new(current, services, stop.subscribe(), listeners::next_session_name);
            run(config, Arc::new(host), &stop, &alive.0)
        });
        match running.transpose() {
            Ok(running) => Self { running, stop, alive },
            Err(error) => {
                event::trouble("programs of this machine can't hand in mail", error);
                Self { running: None, stop, alive }
            }
        }
    }

    /// Goes by another configuration. Whether there are local ends at all waits for the next start.
    pub(super) fn reload(&self, config: &Config, table: &Arc<Table>) {
        match &self.running {
            Some(running) if running.ends == config.local_ends() && config.local.enabled => {
                running.host.set(current(config, table));
            }
            None if !config.local.enabled => {}
            _ => event::trouble("a changed option waits for the next start", "local"),
        }
    }

    /// Takes nothing more, and waits until the last letter is over or `deadline` has come.
    pub(super) async fn stop(mut self, deadline: Instant) {
        let Some(running) = self.running else { return };
        running.accepting.abort();
        // One that stays is replaced by the next start.
        let _ = std::fs::remove_file(running.ends.socket());
        self.stop.send_replace(true);
        let _ = timeout_at(deadline, running.picking_up).await;
        drop(self.alive.0);
        let _ = timeout_at(deadline, self.alive.1.recv()).await;
    }
}

fn run(
    config: &Config,
    host: Arc<Host>,
    stop: &watch::Sender<bool>,
    alive: &mpsc::Sender<()>,
) -> Result<Running, String> {
    let ends = config.local_ends();
    let at = |error: std::io::Error| format!("{}: {error}", ends.socket().display());
    ends.make(&config.spool).map_err(at)?;
    let socket = host::bind(&ends.socket()).map_err(at)?;
    event::listening(format_args!("unix:{}", ends.socket().display()), "local");
    let accepting = tokio::spawn(Arc::clone(&host).listen(socket, alive.clone()));
    let picking_up = tokio::spawn(pickup::run(Arc::clone(&host), ends.clone(), stop.subscribe()));
    Ok(Running { host, ends, accepting, picking_up })
}

fn current(config: &Config, table: &Arc<Table>) -> Current {
    let config::Local { users, any_sender, .. } = &config.local;
    Current {
        rules: Arc::new(rules(config, table)),
        users: users.clone(),
        any_sender: any_sender.clone(),
        submission: Arc::new(submission(config)),
        report: settings::report(config),
    }
}

/// Accounts are bound as users are, each to its address in the domain of this machine.
fn submission(config: &Config) -> submission::Rules {
    let submission::Rules { senders, .. } = settings::submission(config);
    let login_domain = Some(config.local_domain().to_owned());
    let senders = Senders { login_domain, ..senders };
    submission::Rules { senders, unqualified: Unqualified::Qualify }
}

/// The rules of a listener that knows nobody but this machine.
fn rules(config: &Config, table: &Arc<Table>) -> Rules {
    let mut listener = Config::default().listeners.remove(0);
    listener.smtputf8 = Some(true);
    listener.max_message_size = config.local.max_message_size;
    listener.max_recipients = RECIPIENTS_MAX;
    listener.max_errors = RECIPIENTS_MAX;
    let here: Vec<IpNet> = vec![IpNet::from(std::net::IpAddr::from([127, 0, 0, 1]))];
    let rules = settings::rules(config, &listener, table, None, None);
    let domain = Some(config.local_domain().into());
    Rules {
        settings: session::Settings { domain, ..rules.settings },
        relay_from: here.clone(),
        door: Arc::new(door::Rules { trusted: here, ..door::Rules::default() }),
        ..rules
    }
}
