//! Whether a message has arrived as it was sent, below what servers put in front of it.
//!
//! Promises: `below_trace` passes only when the received octets end in the sent octets, and all
//! before them is whole trace fields (and, where the message does not begin with a header field,
//! one empty line). A change, loss or addition of any octet anywhere else is a panic that shows
//! the place.

use crate::support::corpus::Message;

/// What a server may put in front. The X- ones are smtp-sink's notes of the envelope.
const TRACE: [&str; 8] = [
    "Return-Path",
    "Delivered-To",
    "Received",
    "X-Client-Addr",
    "X-Client-Proto",
    "X-Helo-Args",
    "X-Mail-Args",
    "X-Rcpt-Args",
];

/// The fields in front of a received message, unfolded, in order.
#[derive(Debug)]
pub(crate) struct Trace {
    fields: Vec<(String, String)>,
}

impl Trace {
    /// The values of the fields of a name.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// How many Received fields a host has added.
    pub(crate) fn received_by(&self, host: &str) -> usize {
        self.values("Received").iter().filter(|value| received_by(value, host)).count()
    }
}

/// Panics unless `got` is `sent` with trace fields in front, which are returned.
#[track_caller]
pub(crate) fn below_trace(sent: &Message, got: &[u8]) -> Trace {
    match split(sent, got) {
        Ok(trace) => trace,
        Err(fault) => panic!("{}: {fault}", sent.name),
    }
}

fn split(sent: &Message, got: &[u8]) -> Result<Trace, String> {
    let Some(front) = got.strip_suffix(sent.octets.as_slice()) else {
        return Err(difference(&sent.octets, got));
    };
    let (fields, rest) = trace_fields(front);
    let separated = rest == b"\r\n" && !sent.takes_trace();
    if rest.is_empty() || separated {
        Ok(Trace { fields })
    } else {
        Err(format!("in front of the message, beside trace fields: {:?}", text(rest)))
    }
}

/// Whether the value of a Received field names this host as the one that has received.
fn received_by(value: &str, host: &str) -> bool {
    format!(" {value} ").contains(&format!(" by {host} "))
}

/// Cuts a message below the Received field that this host has added: how many Received fields
/// stand above that one, and all octets that follow it.
#[track_caller]
pub(crate) fn below_received_by<'a>(host: &str, octets: &'a [u8]) -> (usize, &'a [u8]) {
    let (mut above, mut rest) = (0, octets);
    while let Some(((name, value), after)) = trace_field(rest) {
        rest = after;
        if name == "Received" && received_by(&value, host) {
            return (above, rest);
        }
        above += usize::from(name == "Received");
    }
    panic!("{host} has left no trace: {:?}", text(&octets[..octets.len() - rest.len()]));
}

/// Takes leading trace fields; returns them and what follows.
pub(crate) fn trace_fields(octets: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let (mut fields, mut rest) = (Vec::new(), octets);
    while let Some((field, after)) = trace_field(rest) {
        fields.push(field);
        rest = after;
    }
    (fields, rest)
}

fn trace_field(octets: &[u8]) -> Option<((String, String), &[u8])> {
    let mut end = 0;
    loop {
        end += octets.get(end..)?.windows(2).position(|pair| pair == b"\r\n")? + 2;
        if !matches!(octets.get(end), Some(b' ' | b'\t')) {
            break;
        }
    }
    let (field, rest) = octets.split_at(end);
    let unfolded = text(field).replace("\r\n", "").replace('\t', " ");
    let (name, value) = unfolded.split_once(':')?;
    TRACE
        .iter()
        .any(|trace| trace.eq_ignore_ascii_case(name))
        .then(|| ((name.to_owned(), value.trim().to_owned()), rest))
}

/// Says where two messages part, seen from their ends, since the fronts differ by the trace.
fn difference(sent: &[u8], got: &[u8]) -> String {
    let same = sent.iter().rev().zip(got.iter().rev()).take_while(|(a, b)| a == b).count();
    let around = |octets: &[u8]| {
        let end = octets.len() - same;
        text(&octets[end.saturating_sub(60)..(end + 20).min(octets.len())])
    };
    format!(
        "{} octets sent, {} received, the last {same} are equal; before them\n sent {:?}\n got  {:?}",
        sent.len(),
        got.len(),
        around(sent),
        around(got)
    )
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
