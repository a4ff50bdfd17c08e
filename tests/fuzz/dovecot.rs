//! What a Dovecot says: nobody is let in but by its word and as the user that it names, whatever else
//! it says, in any pieces; and one that says no end of a line fills no memory.
//!
//! An input is what is said to the first response and, behind an empty line, to the next.

use std::sync::LazyLock;

use allocation_counter::measure;
use angarium::auth::dovecot::Dovecot;
use angarium::auth::{Backend, Channel, Denial, Exchange, Step};
use angarium::registry::mechanism::Mechanism;
use angarium::route::next_hop::Place;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};

use crate::{Target, pieces};

pub(crate) const TARGET: Target = Target {
    name: "dovecot",
    words: &[
        "VERSION\t1\t2\n",
        "VERSION\t2\t0\n",
        "MECH\tPLAIN\tplaintext\n",
        "DONE\n",
        "OK\t1\t",
        "FAIL\t1\t",
        "CONT\t1\t",
        "OK\t2\t",
        "user=joe",
        "user=ann",
        "user=",
        "resp=dj0x",
        "nologin",
        "proxy",
        "temp",
        "code=temp_fail",
        "code=user_disabled",
        "host=mx",
        "VXNlcm5hbWU6",
        "\t",
        "\n",
        "\n\n",
        "\u{1}t",
        "\u{1}n",
        "\u{1}",
        "=",
        "é",
    ],
    octets_max: 20_000,
    check,
};

/// What it says before the input.
const HELLO: &[u8] = b"VERSION\t1\t2\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n";
/// What the client and a connection hold at most, in octets: a line, and room to read more.
const HELD_MAX: u64 = 512 * 1024;

struct Ground {
    runtime: Runtime,
    listener: UnixListener,
    folder: TempDir,
}

impl Ground {
    fn place(&self) -> Place {
        Place::Unix(self.folder.path().join("auth"))
    }
}

static GROUND: LazyLock<Ground> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let path = folder.path().join("auth");
    let listener = runtime.block_on(async { UnixListener::bind(path).unwrap() });
    Ground { runtime, listener, folder }
});

/// A step at a time; what is said to each response.
fn turns(input: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memmem::find(input, b"\n\n") {
        Some(at) => (&input[..=at], &input[at + 2..]),
        None => (input, b""),
    }
}

/// Says the turns, one behind each request of the client, and ends.
async fn speak(stream: UnixStream, turns: Vec<Vec<Vec<u8>>>) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    for pieces in turns {
        loop {
            line.clear();
            match stream.read_until(b'\n', &mut line).await {
                Ok(1..) if line.starts_with(b"AUTH") || line.starts_with(b"CONT") => break,
                Ok(1..) => {}
                _ => return,
            }
        }
        for piece in pieces {
            // Who has heard enough hangs up.
            if stream.write_all(&piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The steps of an exchange by LOGIN with a Dovecot that says this.
async fn play(turns: Vec<Vec<Vec<u8>>>, second: &[u8]) -> Vec<Step> {
    let dovecot = Dovecot::start(GROUND.place());
    let channel =
        Channel { client: [192, 0, 2, 7].into(), tls: true, binding: None, clear_allowed: false };
    let mut exchange: Box<dyn Exchange> = dovecot.begin(Mechanism::Login, &channel);
    let speaking = async {
        let (mut stream, _) = GROUND.listener.accept().await.unwrap();
        stream.write_all(HELLO).await.unwrap();
        speak(stream, turns).await;
    };
    let asking = async {
        let mut steps = Vec::new();
        for response in [None, Some(second), Some(b"")] {
            steps.push(exchange.step(response).await);
            if !matches!(steps.last(), Some(Step::Challenge(_))) {
                break;
            }
        }
        steps
    };
    let speaking = async {
        speaking.await;
        std::future::pending().await
    };
    tokio::select! {
        steps = asking => steps,
        () = speaking => unreachable!("it is silent to the end"),
    }
}

fn check(input: &[u8], random: &mut Rng) {
    let (first, second) = turns(input);
    let cut = |turn: &[u8], random: &mut Rng| -> Vec<Vec<u8>> {
        pieces(turn, random).into_iter().map(<[u8]>::to_vec).collect()
    };
    let said = plain(first);
    // It goes on where it is asked once more, and otherwise hangs up.
    let turns =
        [first, second].into_iter().take(if matches!(said, Said::Challenge) { 2 } else { 1 });
    let turns = turns.map(|turn| cut(turn, random)).collect();
    let response = random.choice([&b"joe"[..], b""]).unwrap();
    let steps = GROUND.runtime.block_on(play(turns, response));
    let granted = |step: &Step| match step {
        Step::Granted(login) => Some(login.user.to_string()),
        Step::Challenge(_) | Step::Denied(_) => None,
    };
    match said {
        // It has begun an exchange of more turns: its last word decides.
        Said::Challenge => {
            assert!(matches!(steps[0], Step::Challenge(_)), "{steps:?}");
            for user in steps.iter().filter_map(granted) {
                let words = [first, second].concat();
                let named = words.split(|octet| *octet == b'\n').any(|line| grants(line, &user));
                assert!(named, "{user} {steps:?}");
            }
        }
        // Last data is acknowledged by an empty response.
        Said::User { last: true, .. } if !response.is_empty() => {
            assert_eq!(steps.last(), Some(&Step::Denied(Denial::Malformed)));
        }
        Said::User { user, last } => {
            assert_eq!((granted(steps.last().unwrap()), steps.len() == 2), (Some(user), last));
        }
        Said::Refused => assert!(matches!(steps[..], [Step::Denied(_)]), "{steps:?}"),
        Said::Nothing => {
            let unavailable = matches!(steps[..], [Step::Denied(Denial::Unavailable(_))]);
            assert!(unavailable, "{steps:?}");
        }
    }
    if random.u8(0..64) == 0 {
        check_memory(input);
    }
}

/// What a plain reading of the first turn gives.
enum Said {
    User { user: String, last: bool },
    Challenge,
    Refused,
    Nothing,
}

fn plain(turn: &[u8]) -> Said {
    let end = memchr::memrchr(b'\n', turn).map_or(0, |at| at + 1);
    for line in turn[..end].split(|octet| *octet == b'\n') {
        let fields: Vec<String> = line.split(|octet| *octet == b'\t').map(unescaped).collect();
        let id = fields.get(1).and_then(|id| id.parse::<u32>().ok());
        match (fields[0].as_str(), id) {
            ("VERSION", Some(1)) if fields[1] == "1" => {}
            ("VERSION", _) | ("OK" | "FAIL" | "CONT", None) => return Said::Nothing,
            ("CONT", Some(1)) => {
                let data = fields.get(2).map_or("", String::as_str);
                let challenge = STANDARD.decode(data);
                return if challenge.is_ok() { Said::Challenge } else { Said::Refused };
            }
            ("OK", Some(1)) => {
                let user = fields[2..].iter().rev().find_map(|field| field.strip_prefix("user="));
                let user = user.filter(|user| grants(line, user)).map(str::to_owned);
                let resp = |field: &String| field.split('=').next() == Some("resp");
                let last = fields[2..].iter().any(resp);
                return user.map_or(Said::Refused, |user| Said::User { user, last });
            }
            ("FAIL", Some(1)) => return Said::Refused,
            _ => {}
        }
    }
    Said::Nothing
}

/// Whether a line lets this user in.
fn grants(line: &[u8], user: &str) -> bool {
    let fields: Vec<String> = line.split(|octet| *octet == b'\t').map(unescaped).collect();
    let flag = |name: &str| fields.iter().any(|field| field.split('=').next() == Some(name));
    let last = |name: &str| fields.iter().skip(2).rev().find_map(|field| field.strip_prefix(name));
    let data = last("resp=").unwrap_or_default();
    fields[0] == "OK"
        && fields.get(1).is_some_and(|id| id.parse() == Ok(1))
        && !user.is_empty()
        && last("user=") == Some(user)
        && !flag("nologin")
        && !flag("proxy")
        && STANDARD.decode(data).is_ok()
}

/// A field without its escapes.
fn unescaped(field: &[u8]) -> String {
    let mut rest = field;
    let mut plain = Vec::new();
    while let Some((&octet, more)) = rest.split_first() {
        rest = more;
        if octet != 1 {
            plain.push(octet);
            continue;
        }
        let Some((&escaped, more)) = rest.split_first() else { break };
        rest = more;
        let known = [(b'0', 0), (b't', b'\t'), (b'r', b'\r'), (b'n', b'\n')];
        plain
            .push(known.iter().find(|(from, _)| *from == escaped).map_or(escaped, |known| known.1));
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The input over and over, without an end of a line.
fn check_memory(input: &[u8]) {
    let line: Vec<u8> = input.iter().copied().filter(|octet| *octet != b'\n').collect();
    let line = [&line[..], b"x"].concat();
    let flood = vec![line.repeat(16_384 / line.len() + 1); 64];
    let sent = flood.iter().map(Vec::len).sum::<usize>();
    let mut steps = Vec::new();
    let held = measure(|| steps = GROUND.runtime.block_on(play(vec![flood], b"")));
    assert!(matches!(steps[..], [Step::Denied(Denial::Unavailable(_))]), "{steps:?}");
    assert!(held.bytes_max < HELD_MAX, "{} octets are held of {sent}", held.bytes_max);
}
