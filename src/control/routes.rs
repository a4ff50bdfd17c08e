//! Destinations as lines of JSON: what waits for each, what is wrong there, and all that is known of
//! one.

use angarium_queue::schedule::{OutageState, RateState};
use serde::{Deserialize, Serialize};

use super::listing::push_line;
use crate::dispatch::{RouteLoad, RouteState};
use crate::net::clock;
use crate::route::{self, EightBit, LongLines};

/// A destination with its load.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Route {
    /// Where to.
    pub destination: String,
    /// Jobs that are due, whether they can be delivered now or not.
    pub ready: usize,
    /// Deliveries under way.
    pub under_way: usize,
    /// Jobs in all.
    #[serde(default)]
    pub jobs: usize,
    /// The operator has paused it.
    #[serde(default)]
    pub paused: bool,
    /// Its next hop can't be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<Outage>,
    /// Its next hop complained of a rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Learned>,
}

/// A next hop that can't be reached.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Outage {
    /// In seconds since the epoch.
    pub since: u64,
    /// When it is looked at next, in seconds since the epoch; none while that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_look: Option<u64>,
    /// Looks that failed.
    pub looks: u32,
    /// What is wrong.
    pub reply: String,
}

/// A rate that a next hop taught by its complaints.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Learned {
    /// Messages a second, now.
    pub per_s: f64,
    /// What it bore when it complained last.
    pub ceiling_per_s: f64,
    /// Nothing goes before this, in seconds since the epoch, where that is to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_until: Option<u64>,
    /// What it complained with.
    pub reply: String,
}

/// All that is known of a destination and its next hop.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct RouteDetails {
    /// The destination with its load.
    #[serde(flatten)]
    pub route: Route,
    /// Deliveries that its next hop bears at a time, as far as it was learned.
    pub window: u32,
    /// Deliveries under way at its next hop, by all routes.
    pub in_flight: u32,
    /// Its next hop carried out a transaction lately.
    pub proven: bool,
    /// `convert`, `send` or `bounce`.
    pub eight_bit: String,
    /// `pass` or `bounce`.
    pub long_lines: String,
    /// What is asked of TLS, and the name of the credentials; empty where nothing is connected to.
    #[serde(default)]
    pub security: String,
    /// What the configuration allows the destination.
    pub limits: Limits,
    /// What the configuration allows its next hop, whichever routes lead there.
    pub next_hop_limits: Limits,
}

/// Configured limits, as the configuration names and writes them; none where nothing is set.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Deliveries at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Messages in a time, such as `600/m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// Recipients of one transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients_per_transaction: Option<u32>,
    /// Messages over one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<u32>,
}

pub(super) fn routes(loads: Vec<RouteLoad>) -> Vec<u8> {
    let mut lines = Vec::new();
    let now_ms = clock::now_ms();
    loads.into_iter().for_each(|load| push_line(&mut lines, &route(load, now_ms)));
    lines
}

pub(super) fn details(states: Vec<RouteState>) -> Vec<u8> {
    let mut lines = Vec::new();
    let now_ms = clock::now_ms();
    states.into_iter().for_each(|state| push_line(&mut lines, &detail(state, now_ms)));
    lines
}

fn route(load: RouteLoad, now_ms: u64) -> Route {
    Route {
        destination: load.destination,
        ready: load.ready,
        under_way: load.assigned,
        jobs: load.jobs,
        paused: load.paused,
        outage: load.outage.map(outage),
        rate: load.rate.map(|rate| learned(&rate, now_ms)),
    }
}

fn outage(state: OutageState) -> Outage {
    Outage {
        since: state.since_ms / 1000,
        next_look: state.probe_ms.map(|probe_ms| probe_ms / 1000),
        looks: state.probes,
        reply: state.reply.to_string(),
    }
}

fn learned(state: &RateState, now_ms: u64) -> Learned {
    let to_come = state.closed_until_ms > now_ms;
    Learned {
        per_s: rounded(state.per_s),
        ceiling_per_s: rounded(state.ceiling_per_s),
        closed_until: to_come.then_some(state.closed_until_ms / 1000),
        reply: state.reply.to_string(),
    }
}

/// A sample has no more digits worth telling.
fn rounded(per_s: f64) -> f64 {
    (per_s * 1e6).round() / 1e6
}

fn detail(state: RouteState, now_ms: u64) -> RouteDetails {
    RouteDetails {
        window: state.site.window,
        in_flight: state.site.assigned,
        proven: state.site.proven,
        eight_bit: match state.handling.eight_bit {
            EightBit::Send => "send".to_owned(),
            EightBit::Convert => "convert".to_owned(),
            EightBit::Bounce => "bounce".to_owned(),
        },
        long_lines: match state.handling.long_lines {
            LongLines::Pass => "pass".to_owned(),
            LongLines::Bounce => "bounce".to_owned(),
        },
        security: match state.load.destination.parse() {
            Ok(next_hop) => state.handling.security.words(&next_hop),
            Err(_) => String::new(),
        },
        limits: limits(state.limits),
        next_hop_limits: limits(state.site_limits),
        route: route(state.load, now_ms),
    }
}

fn limits(limits: route::limit::Limits) -> Limits {
    Limits {
        concurrency: limits.concurrency,
        rate: limits.rate.map(|rate| rate.to_string()),
        recipients_per_transaction: limits.recipients_per_transaction,
        messages_per_connection: limits.messages_per_connection,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn load() -> RouteLoad {
        RouteLoad { destination: "smtp://a.example:25".into(), jobs: 3, ..RouteLoad::default() }
    }

    #[test]
    fn what_is_not_wrong_has_no_member() {
        let lines = routes(vec![load(), load()]);
        let lines: Vec<&str> = std::str::from_utf8(&lines).unwrap().lines().collect();
        assert_eq!(lines.len(), 2);
        let told: Value = serde_json::from_str(lines[0]).unwrap();
        let expected = json!({"destination": "smtp://a.example:25", "ready": 0, "under_way": 0,
            "jobs": 3, "paused": false});
        assert_eq!(told, expected);
    }

    #[test]
    fn an_outage_and_a_rate_are_told_in_seconds() {
        let state = OutageState {
            since_ms: 5_900,
            probe_ms: Some(9_100),
            probes: 2,
            reply: "refused".into(),
        };
        let rate = RateState {
            per_s: 7.000_000_4,
            ceiling_per_s: 10.0,
            closed_until_ms: 8_001,
            reply: "450 slow".into(),
        };
        let load = RouteLoad { outage: Some(state), rate: Some(rate.clone()), ..load() };
        let told = route(load, 8_000);
        let outage = Outage { since: 5, next_look: Some(9), looks: 2, reply: "refused".into() };
        assert_eq!(told.outage, Some(outage));
        let expected = Learned {
            per_s: 7.0,
            ceiling_per_s: 10.0,
            closed_until: Some(8),
            reply: "450 slow".into(),
        };
        assert_eq!(told.rate, Some(expected));
        assert_eq!(learned(&rate, 8_001).closed_until, None, "that is over");
    }
}
