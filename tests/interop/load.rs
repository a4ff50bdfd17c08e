//! Load: smtp-source on one side, smtp-sink on the other.
//!
//! Proves that many parallel sessions lose nothing and send nothing twice, and that the queue is
//! empty in the end.

use std::time::Duration;

use crate::neighbour::relay_to;
use crate::require_peers;
use crate::sink::Sink;
use crate::support::daemon::{Daemon, Parts};
use crate::support::{ARRIVAL, long, wait_until};
use crate::tools::smtp_source;

fn every_message_once(options: &[&str]) {
    let (count, limit) = if long() { (10_000, Duration::from_secs(200)) } else { (500, ARRIVAL) };
    let sink = Sink::counting();
    let tables = relay_to(&sink.url());
    let listener = "max_connections = 200\nmax_connections_per_client = 200\n";
    let daemon = Daemon::start_with(&Parts { listener, tables: &tables, ..Parts::default() });
    let envelope = ["-f", "a@susa.example", "-t", "b@sink.example"];
    let number = count.to_string();
    let load = ["-s", "20", "-l", "4096", "-m", &number];
    let source = smtp_source(daemon.addr(), &[&envelope[..], &load, options].concat());
    assert_eq!((source.code, source.output.as_str()), (0, ""));
    daemon.drain(limit);
    wait_until(ARRIVAL, || sink.count() >= count);
    assert_eq!(sink.count(), count);
    assert_eq!(daemon.queue(&["ls", "--json"]), (String::new(), 0));
}

#[test]
fn twenty_sessions_one_message_each() {
    require_peers!();
    every_message_once(&[]);
}

#[test]
fn twenty_sessions_that_stay() {
    require_peers!();
    every_message_once(&["-d"]);
}
