//! Runs the dialogue scripts of `tests/dialog/*.smtp` against the receiving session.
//!
//! Each script is played three times: a line at a time, an octet at a time, and with everything the
//! client says in one piece. Replies and content must be the same each time, whatever the pieces, and
//! each reply must be one that rfc5321bis 4.2 and RFC 2034 allow.
//!
//! `C:` is a line of the client (CRLF is added), `C|` raw octets with `\r \n \0 \\ \xNN` escapes and
//! `{N of X}` repeats, without a line end, `S:` a line of the server that must match exactly, `M|` the
//! next accepted message with escapes. `hello` stands for greeting and EHLO, `mail` for a MAIL and
//! a RCPT that are accepted. `wait 5m` lets time pass, `stop` ends the service, `closed` is where the
//! server must have closed the connection. `set size N`, `set recipients N`, `set messages N`,
//! `set errors N`, `set normalise`, `set strict`, `set vrfy`, `set lmtp`, `set proxy`, `set closed`,
//! `set none` change the settings; `set limits` offers LIMITS, `set rrvs` RRVS, `set withhold
//! KEYWORD` offers one less, `set offer KEYWORD` what depends on the listener; `set starttls` offers
//! TLS, `set busy` has no room for a handshake, `set submission` demands TLS and a login, `set
//! clear` only the login, `set auth` allows one. `set hold N` lets the client have messages held for
//! N seconds, `set deliver-by N` wants so many for what is returned when late, and `set known` makes
//! it one that may relay. What follows `handshake` comes under TLS. `tests/machine` has the judge.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected shall stop"
)]

mod machine;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use angarium::policy::timing;
use angarium::registry::mechanism::Mechanism;
use angarium::registry::offer::{Listener, Offer, Protocol, StartTls, Terms};
use angarium::registry::status::EnhancedStatus;
use angarium::session::{Demand, Service, Settings};
use angarium::syntax::content::BareLineEnds;

use machine::Machine;

const HELLO: (&str, &str) = (
    "EHLO c.example\r\n",
    "220 mx.example ESMTP Angarium\r\n250-mx.example at your service\r\n250-PIPELINING\r\n\
     250-SIZE 10000\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-HELP\r\n\
     250-CHUNKING\r\n250-BINARYMIME\r\n250-DELIVERBY\r\n250-DSN\r\n\
     250 MT-PRIORITY MIXER\r\n",
);
const MAIL: (&str, &str) = (
    "MAIL FROM:<s@c.example>\r\nRCPT TO:<a@local.example>\r\n",
    "250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n",
);
/// Where the server closes, among what it sends.
const CLOSED: &str = "<closed>\r\n";

#[derive(Clone)]
enum Step {
    Say(Vec<u8>),
    Wait(Duration),
    Handshake,
    Stop,
}

/// What the script says of its listener and client.
#[derive(Default)]
struct Facts {
    trusted: bool,
    start_tls: bool,
    busy: bool,
    auth: bool,
    known: bool,
    timing: timing::Rules,
    listener: Listener,
    /// LIMITS is offered.
    limits: bool,
    /// RRVS is offered.
    rrvs: bool,
    /// Reserved keywords that the listener offers.
    offered: Vec<String>,
}

struct Script {
    settings: Settings,
    /// What holds after a handshake.
    secured: Option<Settings>,
    timing: timing::Rules,
    steps: Vec<Step>,
    server: String,
    messages: Vec<Vec<u8>>,
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let after = &rest[character.len_utf8()..];
        if let Some((count, (what, tail))) = repeat(rest) {
            out.extend(unescape(what).repeat(count));
            rest = tail;
        } else if character == '\\' {
            match after.as_bytes().first() {
                Some(b'r') => out.push(b'\r'),
                Some(b'n') => out.push(b'\n'),
                Some(b'0') => out.push(0),
                Some(b'x') => out.push(u8::from_str_radix(&after[1..3], 16).unwrap()),
                other => out.extend(other),
            }
            rest = &after[if after.starts_with('x') { 3 } else { 1 }..];
        } else {
            out.extend(character.to_string().bytes());
            rest = after;
        }
    }
    out
}

/// `{N of X}` at the start of `text`: the count, X, and what follows.
fn repeat(text: &str) -> Option<(usize, (&str, &str))> {
    let (count, rest) = text.strip_prefix('{')?.split_once(" of ")?;
    Some((count.parse().ok()?, rest.split_once('}')?))
}

fn parse(path: &Path) -> Script {
    let mut settings = machine::settings(BareLineEnds::Refuse);
    settings.limits.message_octets_max = 10_000;
    let mut script = Script {
        settings,
        secured: None,
        timing: Default::default(),
        steps: vec![],
        server: String::new(),
        messages: vec![],
    };
    let mut facts = Facts::default();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let (head, rest) = line.split_at_checked(3).unwrap_or((line, ""));
        match head {
            "C: " => script.say(format!("{rest}\r\n")),
            "C:" => script.say("\r\n"),
            "C| " => script.say(unescape(rest)),
            "S: " => script.server.push_str(&format!("{rest}\r\n")),
            "M| " => script.messages.push(unescape(rest)),
            _ if line.starts_with('#') || line.is_empty() => {}
            _ => script.direct(line, &mut facts),
        }
    }
    script.offer(&facts);
    script
}

impl Script {
    fn say(&mut self, octets: impl Into<Vec<u8>>) {
        self.steps.push(Step::Say(octets.into()));
    }

    /// Makes the offers before and after a handshake.
    fn offer(&mut self, facts: &Facts) {
        let Settings { protocol, limits, .. } = &self.settings;
        let timing::Rules { hold_max_s, deadline_min_s } = facts.timing;
        let mut values = vec![("MT-PRIORITY", "MIXER".to_owned())];
        if hold_max_s > 0 {
            values.push(("FUTURERELEASE", format!("{hold_max_s} 2026-03-04T06:06:07Z")));
        }
        if deadline_min_s > 0 {
            values.push(("DELIVERBY", deadline_min_s.to_string()));
        }
        values.extend(facts.limits.then(|| ("LIMITS", limits.told())));
        values.extend(facts.rrvs.then(|| ("RRVS", String::new())));
        self.timing = facts.timing;
        let protected = [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];
        let mut withheld = machine::reserved();
        withheld.retain(|keyword| !facts.offered.contains(keyword));
        withheld.extend(facts.listener.withheld.iter().cloned());
        let listener = Listener { withheld, values };
        let terms = |start_tls, count| Terms {
            trusted: facts.trusted,
            known: facts.known,
            listener: &listener,
            start_tls,
            mechanisms: facts.auth.then_some(&protected[..count]),
            ..Terms::new(*protocol, limits.message_octets_max)
        };
        let start_tls = if facts.start_tls { StartTls::Offered } else { StartTls::Absent };
        let clear = self.settings.standing.demand == Demand::Login;
        let offer = Arc::new(Offer::new(&terms(start_tls, if clear { 3 } else { 1 })));
        let mut secured = self.settings.clone();
        secured.standing.tls = true;
        if secured.standing.demand == Demand::Tls {
            secured.standing.demand = Demand::Login;
        }
        secured.offer = Arc::new(Offer::new(&terms(StartTls::Done, 3)));
        self.secured = Some(secured).filter(|_| !facts.busy);
        self.settings.offer = offer;
    }

    fn exchange(&mut self, (client, server): (&str, &str)) {
        self.say(client);
        self.server.push_str(server);
    }

    fn direct(&mut self, line: &str, facts: &mut Facts) {
        let settings = &mut self.settings;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["hello"] => self.exchange(HELLO),
            ["mail"] => self.exchange(MAIL),
            ["wait", time] => {
                self.steps.push(Step::Wait(humantime::parse_duration(time).unwrap()));
            }
            ["stop"] => self.steps.push(Step::Stop),
            ["closed"] => self.server.push_str(CLOSED),
            ["set", "size", octets] => settings.limits.message_octets_max = octets.parse().unwrap(),
            ["set", "recipients", count] => settings.limits.recipients_max = count.parse().unwrap(),
            ["set", "messages", count] => {
                settings.limits.transactions_max = Some(count.parse().unwrap());
            }
            ["set", "limits"] => facts.limits = true,
            ["set", "rrvs"] => facts.rrvs = true,
            ["set", "errors", count] => settings.limits.errors_max = count.parse().unwrap(),
            ["set", "withhold", keyword] => facts.listener.withheld.push(keyword.to_owned()),
            ["set", "normalise"] => settings.bare_line_ends = BareLineEnds::Normalise,
            ["set", "strict"] => settings.strict = true,
            ["set", "vrfy"] => settings.verify = true,
            ["set", "lmtp"] => settings.protocol = Protocol::Lmtp,
            ["handshake"] => self.steps.push(Step::Handshake),
            ["set", "starttls"] => facts.start_tls = true,
            ["set", "busy"] => (facts.start_tls, facts.busy) = (true, true),
            ["set", "auth"] => facts.auth = true,
            ["set", "clear"] => {
                facts.auth = true;
                settings.standing.demand = Demand::Login;
            }
            ["set", "submission"] => {
                (facts.start_tls, facts.auth) = (true, true);
                settings.standing.demand = Demand::Tls;
            }
            ["set", "known"] => {
                facts.known = true;
                settings.standing.known = true;
            }
            ["set", "hold", seconds] => facts.timing.hold_max_s = seconds.parse().unwrap(),
            ["set", "deliver-by", seconds] => {
                facts.timing.deadline_min_s = seconds.parse().unwrap();
            }
            ["set", "offer", keyword] => facts.offered.push(keyword.to_owned()),
            ["set", "proxy"] => facts.trusted = true,
            ["set", "closed"] => settings.service = Service::Closed,
            ["set", "none"] => settings.service = Service::None,
            _ => panic!("not a line of a script: {line}"),
        }
    }

    /// The steps with what the client says cut into pieces of `octets`, or in as few as can be.
    fn cut(&self, octets: usize) -> Vec<Step> {
        let mut joined: Vec<Step> = Vec::new();
        for step in &self.steps {
            match (joined.last_mut(), step) {
                (Some(Step::Say(before)), Step::Say(more)) => before.extend(more),
                _ => joined.push(step.clone()),
            }
        }
        let cut = |step: Step| match step {
            Step::Say(said) => said.chunks(octets).map(|piece| Step::Say(piece.to_vec())).collect(),
            other => vec![other],
        };
        joined.into_iter().flat_map(cut).collect()
    }
}

/// What the server says, and the messages it accepts.
fn play(script: &Script, steps: &[Step]) -> (String, Vec<Vec<u8>>) {
    let mut machine = Machine::new(&script.settings).with_tls(script.secured.clone());
    machine.timing = script.timing;
    for step in steps {
        match step {
            Step::Say(octets) => machine.say(octets),
            Step::Stop => machine.stop(),
            Step::Handshake => {}
            Step::Wait(time) => machine.wait(*time),
        }
    }
    let end = if machine.closed { CLOSED } else { "" };
    let messages = machine.messages.iter().map(|message| message.content.clone()).collect();
    (format!("{}{end}", machine.replies()), messages)
}

/// Whether the server may say this line (rfc5321bis 4.2, RFC 2034 4). Checks: E01 G11
fn check_line(line: &str) {
    let (code, text) = line.split_at_checked(3).unwrap_or((line, ""));
    assert!(line.len() <= 510 && text.starts_with(['-', ' ']), "{line}");
    let class = code.parse::<u16>().unwrap() / 100;
    let status = EnhancedStatus::parse_prefix(&text[1..]).map(|(status, _)| status);
    let bare = code == "220" || class == 3 || (code == "250" && status.is_none());
    match status {
        _ if bare => {}
        Some(status) => {
            assert_eq!(u16::from(status.class), class, "{line}");
            assert!(status.name().is_some(), "{line}");
        }
        None => panic!("no enhanced status: {line}"),
    }
}

#[test]
fn dialogues() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialog");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 40, "the scripts are gone");
    let mut faults = Vec::new();
    for path in paths {
        let script = parse(&path);
        let ways = [("lines", script.steps.clone()), ("octets", script.cut(1))];
        for (way, steps) in ways.into_iter().chain([("whole", script.cut(usize::MAX))]) {
            let (sent, messages) = play(&script, &steps);
            if (&sent, &messages) != (&script.server, &script.messages) {
                let name = path.display();
                faults.push(format!("{name} by {way}: the server said\n{sent}\n{messages:?}\n"));
            }
            sent.split_terminator("\r\n").filter(|line| *line != "<closed>").for_each(check_line);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
