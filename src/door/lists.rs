//! Asking block lists.
//!
//! Promises that all are asked at the same time, each within its own time, and that no answer is no
//! listing. A list that stays silent is not asked for a minute, so that a dead one costs every client
//! its time only once in a while.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::event;
use crate::net::clock;
use crate::net::resolver::{Resolver, Settings};
use crate::policy::blocklist::{Action, BlockList, Finding};
use crate::registry::reply::Reply;

/// So many silences in a row, and a list is left alone.
const SILENCES_MAX: u32 = 5;
/// For so long.
const REST_MS: u64 = 60_000;

/// A list that has the client.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Listing {
    pub(super) zone: String,
    pub(super) reply: Reply,
}

/// What a list said, as it is counted.
#[derive(Clone, Copy)]
enum Answer {
    Listed,
    Clear,
    Error,
    Silence,
    Unasked,
}

const ANSWERS: [&str; 5] = ["listed", "clear", "error", "silence", "unasked"];

/// How one list is doing.
#[derive(Default)]
struct Standing {
    answers: [AtomicU64; ANSWERS.len()],
    silences: AtomicU32,
    rests_until_ms: AtomicU64,
}

impl Standing {
    fn count(&self, answer: Answer) {
        if let Some(count) = self.answers.get(answer as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rests(&self) -> bool {
        self.rests_until_ms.load(Ordering::Relaxed) > clock::now_ms()
    }

    fn was_silent(&self, zone: &str) {
        if self.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES_MAX {
            self.rests_until_ms.store(clock::now_ms() + REST_MS, Ordering::Relaxed);
            event::block_list_rests(zone, REST_MS / 1000);
        }
    }
}

/// The way to the lists.
pub(super) struct Lists {
    resolver: ArcSwap<(Settings, Resolver)>,
    /// By zone; only zones that were configured.
    standing: DashMap<String, Arc<Standing>>,
}

impl Lists {
    pub(super) fn new(dns: Settings) -> Result<Self, String> {
        let resolver = Resolver::new(&dns)?;
        Ok(Self { resolver: ArcSwap::from_pointee((dns, resolver)), standing: DashMap::new() })
    }

    /// Another resolver, unless it would be the same: its cache stays then.
    pub(super) fn set_dns(&self, dns: Settings) -> Result<(), String> {
        if self.resolver.load().0 != dns {
            let resolver = Resolver::new(&dns)?;
            self.resolver.store(Arc::new((dns, resolver)));
        }
        Ok(())
    }

    pub(super) fn answers(&self) -> Vec<(String, &'static str, u64)> {
        let mut all = Vec::new();
        for standing in &self.standing {
            for (word, count) in ANSWERS.iter().zip(&standing.answers) {
                all.push((standing.key().clone(), *word, count.load(Ordering::Relaxed)));
            }
        }
        all.sort();
        all
    }

    /// Asks all of them; the first that has the client, before those that only defer.
    pub(super) async fn ask(&self, lists: &[Arc<BlockList>], client: IpAddr) -> Option<Listing> {
        let mut asking = JoinSet::new();
        for (number, list) in lists.iter().enumerate() {
            let standing = Arc::clone(&self.standing.entry(list.zone.clone()).or_default());
            let (list, resolver) = (Arc::clone(list), self.resolver.load_full());
            asking.spawn(async move {
                let found = ask_one(&list, &standing, &resolver.1, client).await?;
                Some(((list.action == Action::Defer, number), found))
            });
        }
        let found = asking.join_all().await;
        found.into_iter().flatten().min_by_key(|(rank, _)| *rank).map(|(_, listing)| listing)
    }
}

async fn ask_one(
    list: &BlockList,
    standing: &Standing,
    resolver: &Resolver,
    client: IpAddr,
) -> Option<Listing> {
    if standing.rests() {
        standing.count(Answer::Unasked);
        return None;
    }
    let name = list.query(client);
    let mut found = None;
    let asked = timeout(list.timeout, async {
        let addresses = resolver.ipv4(&name).await?;
        let finding = list.judge(&addresses);
        if finding == Finding::Listed {
            // Known before the reason is: that may still be late.
            found = Some(String::new());
            found = resolver.texts(&name).await.ok().and_then(|texts| texts.into_iter().next());
        }
        Ok(finding)
    });
    let answer = asked.await;
    conclude(list, standing, client, answer, found)
}

fn conclude(
    list: &BlockList,
    standing: &Standing,
    client: IpAddr,
    answer: Result<Result<Finding, String>, tokio::time::error::Elapsed>,
    reason: Option<String>,
) -> Option<Listing> {
    let late = answer.is_err() && reason.is_some();
    let failed = |why: &str| event::block_list_failed(&list.zone, client.to_canonical(), why);
    let answer = match answer {
        Ok(Ok(Finding::Listed)) => Answer::Listed,
        Err(_) if late => Answer::Listed,
        Ok(Ok(Finding::Clear)) => Answer::Clear,
        Ok(Ok(Finding::Error(address))) => {
            failed(&format!("it answers {address}, which is an error"));
            Answer::Error
        }
        Ok(Err(why)) => {
            failed(&why);
            Answer::Silence
        }
        Err(_) => {
            failed("no answer in time");
            Answer::Silence
        }
    };
    standing.count(answer);
    match answer {
        Answer::Silence => standing.was_silent(&list.zone),
        _ => standing.silences.store(0, Ordering::Relaxed),
    }
    let reason = reason.unwrap_or_default();
    matches!(answer, Answer::Listed)
        .then(|| Listing { zone: list.zone.clone(), reply: list.reply(client, &reason) })
}
