//! Destinations in words: what waits for each and why, and all that is known of one.

use crate::cli::span;
use crate::control::client::{Learned, Limits, Outage, Route, RouteDetails};
use crate::net::clock;

/// Every destination, a line each.
pub(super) fn list(routes: &[Route], now_ms: u64) -> String {
    let width = routes.iter().map(|route| route.destination.len()).max().unwrap_or(0);
    let width = width.max("destination".len());
    let line = |due: &str, under_way: &str, jobs: &str, destination: &str, state: &str| {
        let line = format!("{due:>8} {under_way:>9} {jobs:>8}  {destination:width$}  {state}");
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line("due", "under way", "in all", "destination", "state");
    for route in routes {
        let [due, under_way, jobs] =
            [route.ready, route.under_way, route.jobs].map(|count| count.to_string());
        text.push_str(&line(&due, &under_way, &jobs, &route.destination, &state(route, now_ms)));
    }
    text
}

/// What keeps mail from a destination; empty if nothing does.
fn state(route: &Route, now_ms: u64) -> String {
    let now_s = now_ms / 1000;
    let paused = route.paused.then(|| "paused".to_owned());
    let outage = route.outage.as_ref().map(|outage| {
        format!("can't be reached for {}: {}", span(now_s, outage.since), outage.reply)
    });
    let rate = route.rate.as_ref().map(|rate| {
        let closed = rate
            .closed_until
            .map_or_else(String::new, |until| format!("closed for {}, then ", span(until, now_s)));
        format!("{closed}at most {}: {}", per_time(rate.per_s), rate.reply)
    });
    [paused, outage, rate].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// A rate in the shortest of the times in which it is at least one.
fn per_time(per_s: f64) -> String {
    match per_s {
        1.0.. => format!("{per_s:.1}/s"),
        _ if per_s * 60.0 >= 1.0 => format!("{:.1}/m", per_s * 60.0),
        _ => format!("{:.1}/h", per_s * 3600.0),
    }
}

/// All that is known of one destination.
pub(super) fn details(details: &RouteDetails, now_ms: u64) -> String {
    let route = &details.route;
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let waits =
        format!("{} due, {} under way, {} in all", route.ready, route.under_way, route.jobs);
    let next_hop = format!(
        "{} deliveries under way by all routes, bears {} at a time",
        details.in_flight, details.window
    );
    let handling =
        format!("eight_bit = {:?}, long_lines = {:?}", details.eight_bit, details.long_lines);
    let mut rows = vec![
        ("destination", route.destination.clone()),
        ("jobs", waits),
        ("paused", yes(route.paused)),
        ("next hop", next_hop),
        ("served lately", yes(details.proven)),
    ];
    rows.extend(route.outage.iter().flat_map(|outage| outage_rows(outage, now_ms)));
    rows.extend(route.rate.iter().flat_map(|rate| rate_rows(rate, now_ms)));
    rows.push(("limits", limits(&details.limits)));
    if details.limits != details.next_hop_limits {
        rows.push(("of next hop", limits(&details.next_hop_limits)));
    }
    rows.push(("handling", handling));
    if !details.security.is_empty() {
        rows.push(("security", details.security.clone()));
    }
    rows.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}

fn outage_rows(outage: &Outage, now_ms: u64) -> [(&'static str, String); 3] {
    let (since, now_s) = (clock::date(outage.since * 1000), now_ms / 1000);
    let next = match outage.next_look {
        Some(at) => format!("next in {}", span(at, now_s)),
        None => "one is under way".to_owned(),
    };
    [
        ("outage", format!("since {since}, for {}", span(now_s, outage.since))),
        ("its reason", outage.reply.clone()),
        ("looks", format!("{} failed, {next}", outage.looks)),
    ]
}

fn rate_rows(rate: &Learned, now_ms: u64) -> impl Iterator<Item = (&'static str, String)> {
    let closed =
        |until| format!("until {}, for {}", clock::date(until * 1000), span(until, now_ms / 1000));
    let now = format!(
        "{}; it bore {} when it complained last",
        per_time(rate.per_s),
        per_time(rate.ceiling_per_s)
    );
    let rows =
        [Some(("learned rate", now)), rate.closed_until.map(|until| ("closed", closed(until)))];
    rows.into_iter().flatten().chain([("its reason", rate.reply.clone())])
}

fn limits(limits: &Limits) -> String {
    let count = |name: &str, count: Option<u32>| count.map(|count| format!("{name} = {count}"));
    let set = [
        count("concurrency", limits.concurrency),
        limits.rate.as_ref().map(|rate| format!("rate = {rate:?}")),
        count("recipients_per_transaction", limits.recipients_per_transaction),
        count("messages_per_connection", limits.messages_per_connection),
    ];
    let set: Vec<String> = set.into_iter().flatten().collect();
    if set.is_empty() { "none".to_owned() } else { set.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        Route {
            destination: "smtp://relay.example:25".into(),
            ready: 2,
            under_way: 1,
            jobs: 30,
            ..Route::default()
        }
    }

    fn outage() -> Outage {
        Outage { since: 700, next_look: Some(1030), looks: 4, reply: "refused".into() }
    }

    fn rate() -> Learned {
        let reply = "450 4.7.0 slow down".to_owned();
        Learned { per_s: 7.0, ceiling_per_s: 0.5, closed_until: Some(1090), reply }
    }

    #[test]
    fn a_list_tells_what_is_wrong() {
        let routes = [
            Route { destination: "discard".into(), ..Route::default() },
            Route { paused: true, outage: Some(outage()), ..route() },
            Route { rate: Some(rate()), ..route() },
            Route { rate: Some(Learned { closed_until: None, ..rate() }), ..route() },
        ];
        let text = list(&routes, 1_000_000);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "     due under way   in all  destination              state");
        assert_eq!(lines[1], "       0         0        0  discard");
        let wrong = "smtp://relay.example:25  paused; can't be reached for 5m: refused";
        assert_eq!(lines[2], format!("       2         1       30  {wrong}"));
        assert!(lines[3].ends_with("closed for 1m 30s, then at most 7.0/s: 450 4.7.0 slow down"));
        assert!(lines[4].ends_with("25  at most 7.0/s: 450 4.7.0 slow down"), "{text}");
    }

    #[test]
    fn a_slow_rate_is_told_in_a_longer_time() {
        assert_eq!([1.0, 0.5, 1.0 / 600.0].map(per_time), ["1.0/s", "30.0/m", "6.0/h"]);
    }

    #[test]
    fn details_tell_what_is_known() {
        let limits = Limits { concurrency: Some(9), rate: Some("5/s".into()), ..Limits::default() };
        let mut known = RouteDetails {
            route: route(),
            window: 6,
            in_flight: 3,
            next_hop_limits: limits.clone(),
            limits,
            ..RouteDetails::default()
        };
        let text = details(&known, 1_000_000);
        assert!(text.contains("jobs           2 due, 1 under way, 30 in all\n"), "{text}");
        assert!(text.contains("3 deliveries under way by all routes, bears 6 at a time\n"));
        assert!(text.contains("limits         concurrency = 9, rate = \"5/s\"\n"), "{text}");
        for absent in ["outage", "learned", "of next hop", "security"] {
            assert!(!text.contains(absent), "{text}");
        }
        known.route.outage = Some(outage());
        known.route.rate = Some(rate());
        known.security = "tls verify, credentials relay".into();
        known.next_hop_limits = Limits::default();
        let text = details(&known, 1_000_000);
        assert!(text.contains(", for 5m\nits reason     refused\n"), "{text}");
        assert!(text.contains("looks          4 failed, next in 30s\n"), "{text}");
        assert!(
            text.contains("learned rate   7.0/s; it bore 30.0/m when it complained last\n"),
            "{text}"
        );
        assert!(text.contains(", for 1m 30s\nits reason     450 4.7.0 slow down\n"), "{text}");
        assert!(text.contains("of next hop    none\n"), "{text}");
        assert!(text.ends_with("security       tls verify, credentials relay\n"), "{text}");
    }
}
