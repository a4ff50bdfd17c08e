//! Floor 5: how much each user has sent and who tries passwords, remembered over a restart.
//!
//! Rules are the operator's and replaced by a reload; the books stay. Promises that one user's books
//! never touch another's verdict, that they are on the disk within seconds, written whole or not
//! at all, and that the administrator gets one mail for each user and day. A file that can't be read,
//! or lines that can't, are left out: those users begin anew.

mod alert;
mod attempts;
mod books;
mod reserved;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::interval;

use crate::event;
use crate::intake::Intake;
use crate::metric;
use crate::net::clock;
use crate::policy::guard::{self, Ban, Guard};
use crate::policy::quota::{self, Act, Excess, Meter, OnExcess, Usage};
use crate::registry::reply::{self, Reply};

pub use alert::{Alert, Letterhead};
pub use books::{Shut, User};
pub use reserved::Reserved;

/// How often the books are written, where they changed.
const SAVE_TIME: Duration = Duration::from_secs(5);

/// What the operator allows.
#[derive(Clone, Default, Debug)]
pub struct Settings {
    /// What every user may send.
    pub each: quota::Limits,
    /// What users with limits of their own may send, by login, as far as it says something.
    pub named: HashMap<String, quota::Limits>,
    /// What becomes of more.
    pub on_excess: OnExcess,
    /// Recipients of our own domains do not count.
    pub exempt_local: bool,
    /// What becomes of those who try passwords.
    pub guard: guard::Rules,
    /// Who is never shut out nor slow.
    pub exempt: Vec<IpNet>,
    /// Who tells the administrator; none where there is no postmaster.
    pub letterhead: Option<Letterhead>,
}

impl Settings {
    /// What one user may send.
    pub fn of(&self, user: &str) -> quota::Limits {
        self.named.get(user).copied().unwrap_or_default().or(self.each)
    }
}

/// The books of all users, shared by all sessions.
#[derive(Debug)]
pub struct Limits {
    settings: ArcSwap<Settings>,
    users: DashMap<Box<str>, Usage>,
    guard: Mutex<Guard>,
    file: PathBuf,
    changed: AtomicBool,
    alerts: mpsc::UnboundedSender<Alert>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    User {
        user: Box<str>,
        #[serde(flatten)]
        usage: Usage,
    },
    Banned {
        address: IpAddr,
        #[serde(flatten)]
        ban: Ban,
    },
}

impl Limits {
    /// Reads what `file` holds; with the alerts that `keep` sends.
    pub fn open(file: &Path, settings: Settings) -> (Self, mpsc::UnboundedReceiver<Alert>) {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                event::trouble("what users have sent can't be read", error);
                String::new()
            }
        };
        let (users, mut guard) = (DashMap::new(), Guard::default());
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(Line::User { user, usage }) => drop(users.insert(user, usage)),
                Ok(Line::Banned { address, ban }) => guard.restore(address, ban),
                Err(_) => {}
            }
        }
        let (alerts, waiting) = mpsc::unbounded_channel();
        let limits = Self {
            settings: ArcSwap::from_pointee(settings),
            users,
            guard: Mutex::new(guard),
            file: file.to_owned(),
            changed: AtomicBool::new(false),
            alerts,
        };
        (limits, waiting)
    }

    /// Other rules, from now on.
    pub fn set(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Counts a message of a user.
    ///
    /// # Errors
    /// The refusal, where it is one too many.
    pub fn take_message(&self, user: &str, now_ms: u64) -> Result<(), Reply> {
        self.take(user, Act::Message, now_ms)
    }

    /// Counts a recipient of a user's message, unless it is in a domain of ours and those do not
    /// count; whether it did.
    ///
    /// # Errors
    /// The refusal, where it is one too many.
    pub fn take_recipient(&self, user: &str, is_local: bool, now_ms: u64) -> Result<bool, Reply> {
        if is_local && self.settings.load().exempt_local {
            return Ok(false);
        }
        self.take(user, Act::Recipient, now_ms).map(|()| true)
    }

    /// Takes back what was counted at a time.
    fn give_back(&self, user: &str, act: Act, count: u32, at_ms: u64) {
        if let Some(mut usage) = self.users.get_mut(user) {
            usage.give_back(act, count, at_ms);
        }
        self.set_changed();
    }

    fn take(&self, user: &str, act: Act, now_ms: u64) -> Result<(), Reply> {
        let settings = self.settings.load();
        let limits = settings.of(user);
        let taken = match self.users.get_mut(user) {
            Some(mut usage) => usage.take(act, &limits, now_ms),
            None => self.users.entry(user.into()).or_default().take(act, &limits, now_ms),
        };
        self.set_changed();
        taken.map_err(|excess| self.refuse(user, excess, settings.on_excess, now_ms))
    }

    fn refuse(&self, user: &str, excess: Excess, on_excess: OnExcess, now_ms: u64) -> Reply {
        let Excess { meter, limit, first } = excess;
        metric::QUOTA_REFUSALS.add(meter, 1);
        if first {
            event::limit_reached(user, meter, limit);
            // Its receiver is gone only while the daemon stops.
            let _ = self.alerts.send(Alert { user: user.to_owned(), meter, limit, at_ms: now_ms });
        }
        let what = match meter {
            Meter::MessagesPerHour => "messages an hour",
            Meter::MessagesPerDay => "messages a day",
            Meter::RecipientsPerHour => "recipients an hour",
            Meter::RecipientsPerDay => "recipients a day",
        };
        match on_excess {
            OnExcess::Defer => reply::SENT_ENOUGH
                .with_text(format!("you may send {limit} {what}, try again later")),
            OnExcess::Refuse => {
                reply::SENT_TOO_MUCH.with_text(format!("you may send {limit} {what}"))
            }
        }
    }

    fn set_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Forgets who has sent nothing lately, and writes the others, where something changed. Blocks on
    /// the disk.
    pub fn save(&self, now_ms: u64) {
        if !self.changed.swap(false, Ordering::Relaxed) {
            return;
        }
        self.users.retain(|_, usage| usage.settle(now_ms));
        if let Err(error) = self.write(now_ms) {
            self.set_changed();
            event::trouble("what users have sent can't be saved", error);
        }
    }

    fn write(&self, now_ms: u64) -> io::Result<()> {
        let mut text = Vec::new();
        let mut add = |line: &Line| -> io::Result<()> {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
            Ok(())
        };
        for entry in &self.users {
            add(&Line::User { user: entry.key().clone(), usage: entry.value().clone() })?;
        }
        let rules = self.settings.load().guard;
        for (address, ban) in self.guard().bans(&rules, now_ms) {
            add(&Line::Banned { address, ban: ban.clone() })?;
        }
        let fresh = self.file.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)
    }
}

/// Saves the books every few seconds, and sends the alerts.
pub async fn keep(
    limits: Arc<Limits>,
    intake: Arc<Intake>,
    mut alerts: mpsc::UnboundedReceiver<Alert>,
) {
    let mut ticks = interval(SAVE_TIME);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let limits = Arc::clone(&limits);
                // A panic of ours costs one saving.
                let _ = spawn_blocking(move || limits.save(clock::now_ms())).await;
            }
            alert = alerts.recv() => {
                let Some(alert) = alert else { return };
                send(&limits.settings.load(), &intake, &alert).await;
            }
        }
    }
}

/// Writes to the administrator.
async fn send(settings: &Settings, intake: &Intake, alert: &Alert) {
    let Some(letterhead) = &settings.letterhead else { return };
    let write = |id: angarium_queue::id::MessageId| {
        alert::write(alert, letterhead, settings.on_excess, &id.to_string(), clock::date)
    };
    match intake.post(alert::envelope(letterhead), write).await {
        Ok(id) => event::limit_told(id, &alert.user, &letterhead.to),
        Err(error) => event::trouble("the mail about a reached limit can't be queued", error),
    }
}

#[cfg(test)]
mod tests;
