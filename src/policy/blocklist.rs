//! Block lists in the DNS: what is asked of one, what its answers mean, and what the client is told.
//!
//! Promises that only an answer which the operator counts means "listed" (RFC 5782 2.1): one outside
//! of 127.0.0.0/8, as a lapsed domain gives for everything, and one in 127.255.255.0/24, by which
//! lists tell that they refuse to answer, is an error of the list and never one of the client.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use ipnet::Ipv4Net;

use crate::registry::reply::{self, Reply};

/// One block list.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockList {
    /// The zone that is asked.
    pub zone: String,
    /// The answers that count.
    pub answers: Vec<Answers>,
    /// What is done with whom it lists.
    pub action: Action,
    /// The text of the refusal, with `{client}`, `{zone}` and `{reason}`.
    pub text: String,
    /// How long it may take to answer.
    pub timeout: Duration,
}

/// What is done with a client that a list has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It is refused.
    Reject,
    /// It is told to come again.
    Defer,
}

/// Answers of a list: from one address to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answers {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl Answers {
    fn contains(self, answer: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&answer)
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        let [.., last] = self.last.octets();
        if self.last == self.first { Ok(()) } else { write!(f, "-{last}") }
    }
}

impl FromStr for Answers {
    type Err = &'static str;

    /// `127.0.0.2`, `127.0.0.2-11` or `127.0.0.0/8`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let forms = "write \"127.0.0.2\", \"127.0.0.2-11\" or \"127.0.1.0/24\"";
        if let Ok(network) = text.parse::<Ipv4Net>() {
            return inside(Self { first: network.network(), last: network.broadcast() });
        }
        let (first, last) = text.split_once('-').map_or((text, None), |(a, b)| (a, Some(b)));
        let first: Ipv4Addr = first.parse().map_err(|_| forms)?;
        let Some(last) = last else { return inside(Self { first, last: first }) };
        let [a, b, c, d] = first.octets();
        match last.parse::<u8>() {
            Ok(last) if last >= d => inside(Self { first, last: Ipv4Addr::new(a, b, c, last) }),
            _ => Err("the number behind `-` is the last part of the last address: 127.0.0.2-11"),
        }
    }
}

/// The answers, if every one of them can mean that a client is listed.
fn inside(answers: Answers) -> Result<Answers, &'static str> {
    let loopback = answers.first.is_loopback() && answers.last.is_loopback();
    if loopback { Ok(answers) } else { Err("a list answers within 127.0.0.0/8") }
}

/// What a list said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// It has the client.
    Listed,
    /// It has not, or not with an answer that counts.
    Clear,
    /// It does not answer us; with what it said.
    Error(Ipv4Addr),
}

impl BlockList {
    /// The name to ask for (RFC 5782 2.1, 2.4), with the final dot.
    pub fn query(&self, client: IpAddr) -> String {
        let mut name = String::with_capacity(64 + self.zone.len());
        // Writing to a String cannot fail.
        match client.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                let _ = write!(name, "{d}.{c}.{b}.{a}.");
            }
            IpAddr::V6(address) => {
                for octet in address.octets().into_iter().rev() {
                    let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
                }
            }
        }
        name + &self.zone + "."
    }

    /// What its addresses mean; none: that it has no such name.
    pub fn judge(&self, addresses: &[Ipv4Addr]) -> Finding {
        let refused = |address: &&Ipv4Addr| {
            !address.is_loopback() || address.octets().starts_with(&[127, 255, 255])
        };
        if let Some(odd) = addresses.iter().find(refused) {
            return Finding::Error(*odd);
        }
        let counts = |address: &Ipv4Addr| self.answers.iter().any(|some| some.contains(*address));
        if addresses.iter().any(counts) { Finding::Listed } else { Finding::Clear }
    }

    /// What a listed client is told; `reason` is the list's own text, perhaps empty.
    pub fn reply(&self, client: IpAddr, reason: &str) -> Reply {
        let reply = match self.action {
            Action::Reject => reply::LISTED,
            Action::Defer => reply::LISTED_DEFERRED,
        };
        let plain: String =
            reason.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect();
        // The client's and the list's words last: what looks like a placeholder in them is none.
        let text = self.text.replace("{zone}", &self.zone);
        let text = text.replace("{client}", &client.to_canonical().to_string());
        let text = text.replace("{reason}", &plain);
        reply.with_text(text.trim_end_matches([' ', ':']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(answers: &[&str]) -> BlockList {
        BlockList {
            zone: "bl.example".to_owned(),
            answers: answers.iter().map(|text| text.parse().unwrap()).collect(),
            action: Action::Reject,
            text: "client [{client}] blocked by {zone}: {reason}".to_owned(),
            timeout: Duration::from_secs(5),
        }
    }

    fn judged(list: &BlockList, addresses: &[&str]) -> Finding {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        list.judge(&addresses)
    }

    #[test]
    fn addresses_are_asked_for_backwards() {
        let query = |client: &str| list(&[]).query(client.parse().unwrap());
        assert_eq!(query("192.0.2.99"), "99.2.0.192.bl.example.");
        assert_eq!(query("::ffff:192.0.2.99"), "99.2.0.192.bl.example.");
        // The example of RFC 5782 2.4.
        assert_eq!(
            query("2001:db8:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example."
        );
    }

    #[test]
    fn only_answers_that_count_mean_listed() {
        let (any, some) = (list(&["127.0.0.0/8"]), list(&["127.0.0.2-4", "127.0.0.10"]));
        for (answers, of_any, of_some) in [
            (&["127.0.0.2"][..], Finding::Listed, Finding::Listed),
            (&["127.0.0.5", "127.0.0.10"], Finding::Listed, Finding::Listed),
            (&["127.0.0.5"], Finding::Listed, Finding::Clear),
            (&[], Finding::Clear, Finding::Clear),
        ] {
            assert_eq!((judged(&any, answers), judged(&some, answers)), (of_any, of_some));
        }
        for odd in ["127.255.255.254", "127.255.255.1", "203.0.113.9"] {
            let error = Finding::Error(odd.parse().unwrap());
            assert_eq!(judged(&any, &["127.0.0.2", odd]), error, "{odd}");
        }
    }

    #[test]
    fn answers_are_read_or_refused_with_the_right_form() {
        for text in ["127.0.0.2", "127.0.0.2-11"] {
            assert_eq!(text.parse::<Answers>().unwrap().to_string(), text);
        }
        for (text, says) in [
            ("zen", "write \"127.0.0.2\""),
            ("127.0.0.9-2", "the last part"),
            ("127.0.0.2-127.0.0.9", "the last part"),
            ("127.0.0.2-300", "the last part"),
            ("192.0.2.1", "within 127.0.0.0/8"),
            ("0.0.0.0/0", "within 127.0.0.0/8"),
        ] {
            let why = text.parse::<Answers>().unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn the_refusal_names_the_list_and_quotes_nothing_raw() {
        let mut list = list(&["127.0.0.2"]);
        let told = |list: &BlockList, reason| {
            list.reply("::ffff:192.0.2.9".parse().unwrap(), reason).to_string()
        };
        let head = "554 5.7.1 client [192.0.2.9] blocked by bl.example";
        assert_eq!(told(&list, "see {zone}\r\n250 ok"), format!("{head}: see {{zone}}??250 ok"));
        assert_eq!(told(&list, ""), head);
        list.action = Action::Defer;
        list.text = "ask {zone}".to_owned();
        assert_eq!(told(&list, "unused"), "450 4.7.1 ask bl.example");
    }
}
