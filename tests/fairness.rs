//! Nobody waits behind somebody else's mail: the running daemon beside next hops that are slow, hung,
//! dead, full or strict, with clients that flood it.
//!
//! Every message is followed from its 250 to the sink, and must come exactly once; where a daemon was
//! killed, twice at most, and no more of them than were under way. Delays are compared with those of
//! the same mail alone, measured just before at the same daemon. `ANGARIUM_LONG` asserts the bounds
//! themselves, of medians of three runs; without it one shorter run prints the same figures, and has
//! `SLACK_MS` to spare, since the machine may be busy with other things.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]
#![allow(unreachable_pub, reason = "the modules are of this target alone")]

#[path = "fairness/figures.rs"]
mod figures;
#[path = "fairness/load.rs"]
mod load;
#[path = "fairness/sink.rs"]
mod sink;
mod support;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use figures::{Bound, Delays, Pair, median, print};
use load::{Receipt, Sender};
use serde_json::Value;
use sink::{Arrival, Behaviour, Second, Sink};
use support::daemon::{Daemon, Parts};
use support::{ARRIVAL, long, wait_until};

/// What a short run may take longer than the bound says.
const SLACK_MS: f64 = 500.0;
/// How long mail that nothing should hold up is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Messages of a flood.
const FLOOD: u64 = 2000;
/// Messages a second beside it.
const PACE: u64 = 100;
/// How long a hung site takes for each message.
const HUNG: Duration = Duration::from_secs(30);
/// Deliveries at a time to one next hop, where a test counts on it.
const CONCURRENCY: usize = 20;
/// Completions that may wait for a group when the daemon is killed.
const COMPLETIONS: usize = 128;

/// Mail for a domain goes to a sink, with more keys of its route.
type Way<'a> = (&'a str, &'a Sink, &'a str);

/// A daemon that tries again after so long what was deferred.
fn start(ways: &[Way<'_>], retry: &str) -> Daemon {
    let mut tables = "[relay]\nfrom = [\"127.0.0.0/8\"]\n".to_owned();
    for (domain, sink, keys) in ways {
        let url = sink.url();
        tables
            .push_str(&format!("[[route]]\nrecipient = \"*@{domain}\"\nvia = \"{url}\"\n{keys}\n"));
    }
    tables.push_str(&format!("[queue]\nretry_next_hop = [\"{retry}\"]\n"));
    let listener = "max_recipients = 20000";
    Daemon::start_with(&Parts { listener, tables: &tables, ..Parts::default() })
}

fn slow(content_delay: Duration) -> Behaviour {
    Behaviour { content_delay, ..Behaviour::default() }
}

/// The key of a route for so many deliveries at a time.
fn concurrency() -> String {
    format!("concurrency = {CONCURRENCY}")
}

/// A site that hangs after the content, or already at MAIL.
fn hung(site: usize) -> Behaviour {
    let (mail_delay, content_delay) =
        if site % 2 == 1 { (HUNG, Duration::ZERO) } else { (Duration::ZERO, HUNG) };
    Behaviour { mail_delay, content_delay, ..Behaviour::default() }
}

fn runs() -> usize {
    if long() { 3 } else { 1 }
}

/// How long mail at a pace is sent.
fn lasting() -> Duration {
    Duration::from_secs(if long() { 10 } else { 3 })
}

fn bound(times: f64) -> Bound {
    Bound { times, more_ms: if long() { 10.0 } else { SLACK_MS } }
}

/// The p99 of mail at a pace to a sink that takes everything at once; all of it must come.
#[track_caller]
fn paced_p99(daemon: &Daemon, sink: &Sink, to: &str, lasting: Duration) -> f64 {
    let before = sink.count();
    let receipts = Sender::new(daemon.addr(), "one@load.example", &[to]).pace(PACE, lasting);
    let delays = Delays::of(&receipts, sink, PATIENCE);
    assert_eq!(delays.arrived(), receipts.len(), "messages that arrived, and that were accepted");
    assert_eq!(copies(&receipts, sink.arrivals().split_off(before)), 0, "second copies");
    delays.quantile(0.99)
}

/// Counts the copies of each message: all of them are there, and nothing else. The second copies.
#[track_caller]
fn copies(receipts: &[Receipt], arrivals: Vec<Arrival>) -> usize {
    let mut copies: HashMap<u64, usize> = HashMap::new();
    for arrival in arrivals {
        *copies.entry(arrival.number).or_default() += 1;
    }
    let lost: Vec<_> = receipts.iter().filter(|sent| !copies.contains_key(&sent.number)).collect();
    assert!(lost.is_empty(), "{} messages are lost: {lost:?}", lost.len());
    assert_eq!(copies.len(), receipts.len(), "messages that nobody sent");
    assert!(copies.values().all(|count| *count <= 2), "a message came more than twice");
    copies.values().map(|count| count - 1).sum()
}

/// Sites that answer each after half a minute, a fast one, and the daemon before them.
struct HungSites {
    daemon: Daemon,
    fast: Sink,
    hung: Vec<Sink>,
}

impl HungSites {
    fn start(sites: usize) -> Self {
        let fast = Sink::start(Behaviour::default());
        let hung: Vec<Sink> = (0..sites).map(|site| Sink::start(hung(site))).collect();
        let domains: Vec<String> = (0..sites).map(|site| format!("hung{site}.example")).collect();
        let mut ways: Vec<Way<'_>> = vec![("fast.example", &fast, "")];
        ways.extend(domains.iter().zip(&hung).map(|(domain, sink)| (domain.as_str(), sink, "")));
        let daemon = start(&ways, "1s");
        Self { daemon, fast, hung }
    }

    /// Mail for all of them in turns, until each is at work.
    fn flood(&self) -> Vec<Receipt> {
        let to = (0..self.hung.len()).map(|site| format!("u@hung{site}.example"));
        let to: Vec<String> = to.collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let receipts = Sender::new(self.daemon.addr(), "bulk@load.example", &to).flood(FLOOD);
        let busy = || self.hung.iter().all(|sink| sink.waiting() > 0);
        assert!(wait_until(PATIENCE, busy), "the hung sites are not tried");
        receipts
    }

    fn fast_p99(&self, lasting: Duration) -> f64 {
        paced_p99(&self.daemon, &self.fast, "u@fast.example", lasting)
    }
}

/// Mail to a fast sink, beside messages to so many hung sites.
fn beside_hung_sites(name: &str, sites: usize) {
    let run = || {
        let scene = HungSites::start(sites);
        let alone = scene.fast_p99(lasting());
        scene.flood();
        // The long form sees the first replies of the hung sites come.
        let over = if long() { HUNG + lasting() } else { lasting() };
        let beside = scene.fast_p99(over);
        let under_way: usize = scene.hung.iter().map(Sink::waiting).sum();
        print(&format!("{name}.hung_deliveries"), under_way as f64, "deliveries");
        Pair { alone, beside }
    };
    let runs: Vec<Pair> = (0..runs()).map(|_| run()).collect();
    bound(1.2).assert(name, &runs);
}

#[test]
fn fast_mail_does_not_wait_behind_a_hung_site() {
    beside_hung_sites("hung_site", 1);
}

#[test]
fn fast_mail_does_not_wait_behind_many_hung_sites() {
    beside_hung_sites("hung_sites", 25);
}

#[test]
fn a_kill_while_every_site_hangs_loses_and_repeats_nothing() {
    let mut scene = HungSites::start(25);
    let queued = scene.flood();
    scene.daemon.kill_9();
    scene.hung.iter().for_each(|sink| sink.set(|behaviour| *behaviour = Behaviour::default()));
    scene.daemon.restart();
    scene.daemon.drain(ARRIVAL);
    let arrivals = scene.hung.iter().flat_map(Sink::arrivals).collect();
    assert_eq!(copies(&queued, arrivals), 0, "second copies");
}

/// One tenant's flood, then another's few messages, to a next hop that gets 32 messages a second.
fn beside_a_tenant(name: &str, behaviour: &Behaviour, keys: &str) {
    const FEW: u64 = 20;
    const BOUND_MS: f64 = 3000.0;
    let run = || {
        let sink = Sink::start(behaviour.clone());
        let daemon = start(&[("site.example", &sink, keys)], "1s");
        let sender = |from| Sender::new(daemon.addr(), from, &["u@site.example"]);
        sender("a@load.example").flood(FLOOD);
        let few = sender("b@load.example").at([127, 0, 0, 2]).flood(FEW);
        let delays = Delays::of(&few, &sink, PATIENCE);
        print(&format!("{name}.arrived"), delays.arrived() as f64, "messages");
        delays.quantile(0.9)
    };
    let p90 = median((0..runs()).map(|_| run()).collect());
    print(&format!("{name}.p90"), p90, "ms");
    let limit = BOUND_MS + if long() { 0.0 } else { SLACK_MS };
    assert!(p90 <= limit, "{name}: {p90} ms, at most {limit}");
}

#[test]
fn a_tenant_does_not_wait_behind_the_flood_of_another() {
    beside_a_tenant("tenants", &Behaviour::default(), "rate = \"32/s\"");
}

#[test]
fn a_tenant_does_not_wait_for_a_slow_next_hop_that_another_floods() {
    // So many at a time, each for so long, is 32 a second.
    let each = Duration::from_millis(1000 * CONCURRENCY as u64 / 32);
    beside_a_tenant("tenants_slow", &slow(each), &concurrency());
}

/// Single messages, all at once, to a next hop that takes a second for each transaction.
fn singles_p99(daemon: &Daemon, sink: &Sink) -> f64 {
    let few = Sender::new(daemon.addr(), "one@load.example", &["u@site.example"]);
    let few = few.flood(200);
    let delays = Delays::of(&few, sink, ARRIVAL);
    assert_eq!(delays.arrived(), few.len(), "messages that arrived, and that were accepted");
    delays.quantile(0.99)
}

#[test]
fn single_messages_do_not_wait_behind_a_long_list() {
    const RECIPIENTS: usize = 10_000;
    let run = || {
        let sink = Sink::start(slow(Duration::from_secs(1)));
        let daemon = start(&[("site.example", &sink, &concurrency())], "1s");
        // The first ones find out how much the next hop bears at a time.
        singles_p99(&daemon, &sink);
        let alone = singles_p99(&daemon, &sink);
        let to: Vec<String> = (0..RECIPIENTS).map(|name| format!("{name}@site.example")).collect();
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        let list = Sender::new(daemon.addr(), "list@load.example", &to).send_to_all();
        assert!(wait_until(PATIENCE, || sink.waiting() > 0), "the list is not tried");
        let beside = singles_p99(&daemon, &sink);
        daemon.drain(3 * ARRIVAL);
        print("list.finish", list.at.elapsed().as_secs_f64(), "s");
        let parts = sink.arrivals().into_iter().filter(|part| part.number == list.number);
        let mut reached: Vec<String> = parts.flat_map(|part| part.to).collect();
        reached.sort_unstable();
        assert_eq!(reached.len(), RECIPIENTS, "recipients of the list that were reached");
        reached.dedup();
        assert_eq!(reached.len(), RECIPIENTS, "recipients of the list that got it once");
        Pair { alone, beside }
    };
    let runs: Vec<Pair> = (0..runs()).map(|_| run()).collect();
    bound(1.3).assert("list", &runs);
}

/// Asserts that the daemon tells why this message waits, and what is wrong with its next hop.
#[track_caller]
fn assert_told(daemon: &Daemon, message: &Receipt, dead: &Sink) {
    let (why, code) = daemon.queue(&["why", &message.id]);
    assert!(code == 0 && why.contains("refused"), "queue why exits {code}:\n{why}");
    let (shown, code) = daemon.route(&["show", &dead.url(), "--json"]);
    assert!(code == 0 && shown.contains("refused"), "route show exits {code}:\n{shown}");
}

/// A next hop that is down, while others work; then it comes up.
fn beside_an_outage(name: &str, killed: bool) {
    let (mut dead, live) = (Sink::closed(Behaviour::default()), Sink::start(Behaviour::default()));
    let mut daemon = start(&[("dead.example", &dead, ""), ("live.example", &live, "")], "1s");
    let alone = paced_p99(&daemon, &live, "u@live.example", lasting());
    let queued = Sender::new(daemon.addr(), "bulk@load.example", &["u@dead.example"]).flood(FLOOD);
    let beside = paced_p99(&daemon, &live, "u@live.example", lasting());
    assert_told(&daemon, &queued[queued.len() / 2], &dead);
    if killed {
        let before = schedule(&daemon, "dead.example");
        daemon.kill_9();
        daemon.restart();
        assert_eq!(schedule(&daemon, "dead.example"), before, "attempts and due times");
        paced_p99(&daemon, &live, "u@live.example", lasting());
        assert_told(&daemon, &queued[queued.len() / 2], &dead);
    }
    let opened = Instant::now();
    dead.open();
    let all = usize::try_from(FLOOD).unwrap();
    assert!(dead.wait_for(all, ARRIVAL), "{} of {all} messages arrive", dead.count());
    print(&format!("{name}.recovery"), opened.elapsed().as_secs_f64(), "s");
    daemon.drain(ARRIVAL);
    assert_eq!(copies(&queued, dead.arrivals()), 0, "second copies");
    bound(1.2).assert(name, &[Pair { alone, beside }]);
}

#[test]
fn a_dead_next_hop_slows_nobody_and_gets_its_mail_when_it_lives() {
    beside_an_outage("outage", false);
}

#[test]
fn an_outage_lasts_over_a_kill() {
    beside_an_outage("outage_kill", true);
}

/// The share of attempts refused, of these seconds.
fn refused(seconds: &[Second]) -> f64 {
    let taken: usize = seconds.iter().map(|second| second.taken).sum();
    let refused: usize = seconds.iter().map(|second| second.refused).sum();
    refused as f64 / (taken + refused).max(1) as f64
}

/// A next hop with a limit that it does not tell, which it could serve so many messages a second
/// under: how soon the daemon keeps to it.
fn under_a_limit(name: &str, behaviour: &Behaviour, per_second: f64, count: u64) {
    const FIRST: usize = 3;
    let sink = Sink::start(behaviour.clone());
    let daemon = start(&[("site.example", &sink, "")], "1s");
    let sent = Sender::new(daemon.addr(), "bulk@load.example", &["u@site.example"]).flood(count);
    let arrived = sink.wait_for(sent.len(), 2 * ARRIVAL);
    assert!(arrived, "{} of {count} messages arrive: {:?}", sink.count(), sink.seconds());
    daemon.drain(ARRIVAL);
    assert_eq!(copies(&sent, sink.arrivals()), 0, "second copies");
    let seconds = sink.seconds();
    let tried = |second: &Second| second.taken + second.refused > 0;
    let seconds: Vec<Second> = seconds.into_iter().skip_while(|second| !tried(second)).collect();
    let (first, later) = seconds.split_at(FIRST.min(seconds.len()));
    let used = count as f64 / (per_second * seconds.len() as f64);
    print(&format!("{name}.used"), used, "of limit");
    print(&format!("{name}.refused_first"), refused(first), "of attempts");
    print(&format!("{name}.refused_later"), refused(later), "of attempts");
    assert!(!later.is_empty(), "{name}: too short to tell: {seconds:?}");
    let most = (refused(first) / 2.0).max(0.1);
    assert!(refused(later) <= most, "{name}: the limit is not learned: {seconds:?}");
    assert!(used >= 0.6, "{name}: too little of the limit is used: {seconds:?}");
}

#[test]
fn a_limit_of_connections_is_learned() {
    let behaviour = Behaviour { connections_max: Some(3), ..slow(Duration::from_millis(20)) };
    under_a_limit("connections", &behaviour, 150.0, if long() { FLOOD } else { 1000 });
}

#[test]
fn a_limit_of_messages_a_second_is_learned() {
    let behaviour = Behaviour { rate_max: Some(50), ..Behaviour::default() };
    under_a_limit("rate", &behaviour, 50.0, if long() { FLOOD } else { 600 });
}

/// Attempts and due time of each recipient in a domain, by queue id.
fn schedule(daemon: &Daemon, domain: &str) -> BTreeMap<String, (Value, Value)> {
    let recipient = |row: &Value| {
        let recipient = row["recipients"][0].clone();
        let ours = recipient["address"].as_str().unwrap().ends_with(domain);
        let times = (recipient["attempts"].clone(), recipient["next_attempt"].clone());
        ours.then(|| (row["queue_id"].as_str().unwrap().to_owned(), times))
    };
    daemon.rows().iter().filter_map(recipient).collect()
}

#[test]
fn a_kill_amid_deliveries_leaves_what_was_not_delivered_as_it_was() {
    let greylisting = Sink::start(Behaviour {
        refusal: Some("451 4.7.1 greylisted".to_owned()),
        ..Behaviour::default()
    });
    let busy = Sink::start(slow(Duration::from_millis(100)));
    let ways = [("grey.example", &greylisting, ""), ("busy.example", &busy, &concurrency())];
    let mut daemon = start(&ways, "1h");
    let sender = |to| Sender::new(daemon.addr(), "bulk@load.example", &[to]);
    let grey = sender("u@grey.example").flood(100);
    let tried = |(attempts, _): &(Value, Value)| attempts == 1;
    let all_tried = || {
        schedule(&daemon, "grey.example").values().filter(|times| tried(times)).count()
            == grey.len()
    };
    assert!(wait_until(ARRIVAL, all_tried), "not all are tried");
    let all = sender("u@busy.example").flood(FLOOD);
    greylisting.set(|behaviour| behaviour.refusal = None);
    assert!(busy.wait_for(all.len() / 4, ARRIVAL), "{} messages arrive", busy.count());
    let before = schedule(&daemon, "grey.example");
    daemon.kill_9();
    let at_kill = busy.count();
    daemon.restart();
    assert_eq!(schedule(&daemon, "grey.example"), before, "attempts and due times");
    assert!(busy.wait_for(all.len(), ARRIVAL), "{} messages arrive", busy.count());
    let ended = || daemon.rows().len() == grey.len();
    assert!(wait_until(ARRIVAL, ended), "{} messages in the queue", daemon.rows().len());
    assert_eq!(daemon.queue(&["retry", "--all"]).1, 0);
    daemon.drain(ARRIVAL);
    assert_eq!(copies(&grey, greylisting.arrivals()), 0, "second copies");
    let twice = copies(&all, busy.arrivals());
    print("kill.delivered_before", at_kill as f64, "messages");
    print("kill.duplicates", twice as f64, "copies");
    assert!(twice <= CONCURRENCY + COMPLETIONS, "{twice} second copies");
}
