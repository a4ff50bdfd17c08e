//! Streams: which messages are of one sender, although each copy has a reverse-path of its own.
//!
//! List servers put the recipient or a number into the reverse-path (VERP), others a signature
//! (BATV), forwarders the sender before them (SRS). Promises that all copies of one mailing fall into
//! one stream, that senders whose addresses are words stay apart, that a stream has the same number
//! in every version and on every machine, and that time and memory are linear in the address.
//! What looks like a token is a guess: two senders who differ in nothing else share a stream.

use super::path::{Mailbox, ReversePath};

/// How many wrappers are taken off one address; a real one has two at most.
const WRAPPERS_MAX: usize = 4;
/// Stands for what differs from copy to copy.
const TOKEN: &str = "#";
/// What separates the parts of a local part.
const SEPARATORS: [char; 5] = ['-', '+', '.', '_', '='];

/// The number of the stream that a reverse-path belongs to; reports (`<>`) have one of their own.
#[must_use]
pub fn stream(reverse_path: &ReversePath) -> u64 {
    match reverse_path {
        ReversePath::Null => fnv1a("<>"),
        ReversePath::Mailbox(mailbox) => fnv1a(&canonical(mailbox)),
    }
}

/// The address without what differs from copy to copy, in lower case.
fn canonical(mailbox: &Mailbox) -> String {
    let mut local_part = mailbox.local_part().to_ascii_lowercase();
    let mut domain = mailbox.domain().to_owned();
    for _ in 0..WRAPPERS_MAX {
        let (inner, of) = match unsigned(&local_part) {
            Some(inner) => (inner.to_owned(), None),
            None => match forwarded(&local_part) {
                Some((inner, of)) => (inner.to_owned(), Some(of.to_owned())),
                None => break,
            },
        };
        local_part = inner;
        domain = of.unwrap_or(domain);
    }
    format!("{}@{domain}", without_tokens(without_recipient(&local_part)))
}

/// The local part inside a signature: `prvs=TAG=local` and `prvs=local/TAG` (BATV), `msprvs1=TAG=local`
/// and `btv1==TAG==local`.
fn unsigned(local_part: &str) -> Option<&str> {
    let (scheme, rest) = local_part.split_once('=')?;
    let (first, second) = match scheme {
        "prvs" | "msprvs1" => rest.split_once(['=', '/'])?,
        "btv1" => rest.strip_prefix('=')?.split_once("==")?,
        _ => return None,
    };
    let tag_first = !(scheme == "prvs" && rest.get(first.len()..)?.starts_with('/'));
    let inner = if tag_first { second } else { first };
    (!inner.is_empty()).then_some(inner)
}

/// The address that a forwarder wrapped: `SRS0=HASH=TIME=domain=local`, and
/// `SRS1=HASH=forwarder==HASH=TIME=domain=local`. The first separator may be `+` or `-`.
fn forwarded(local_part: &str) -> Option<(&str, &str)> {
    let after = |tag: &str| local_part.strip_prefix(tag)?.strip_prefix(['=', '+', '-']);
    let rest = match after("srs0") {
        Some(rest) => rest,
        None => after("srs1")?.split_once("==")?.1,
    };
    let (_hash, rest) = rest.split_once('=')?;
    let (_time, rest) = rest.split_once('=')?;
    let (domain, local_part) = rest.split_once('=')?;
    (!domain.is_empty() && !local_part.is_empty()).then_some((local_part, domain))
}

/// A recipient `user=domain` at the end goes, with what leads to it: up to the first `+`, or else to
/// the first other separator, since a user may have those in its name.
fn without_recipient(local_part: &str) -> &str {
    let Some((before, _domain)) = local_part.split_once('=') else { return local_part };
    let end = before.find('+').or_else(|| before.find(['-', '.', '_']));
    end.and_then(|end| before.get(..end)).unwrap_or_default()
}

/// From the first to the last part that looks like a token, all is one. A mailbox that is a number
/// and nothing else is somebody's name.
fn without_tokens(local_part: &str) -> String {
    let parts = || spans(local_part).filter(|(begin, part)| is_token(part, *begin, local_part));
    let (Some((begin, _)), Some((last, part))) = (parts().next(), parts().last()) else {
        return local_part.to_owned();
    };
    let before = local_part.get(..begin).unwrap_or_default();
    let after = local_part.get(last + part.len()..).unwrap_or_default();
    [before, TOKEN, after].concat()
}

/// The parts of a local part, each with where it begins.
fn spans(local_part: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut begin = 0;
    local_part.split(SEPARATORS).map(move |part| {
        let at = begin;
        begin += part.len() + 1;
        (at, part)
    })
}

/// Whether a part looks like a number of a copy: digits, hexadecimal, or a mix of letters and digits.
fn is_token(part: &str, begin: usize, local_part: &str) -> bool {
    let octets = part.as_bytes();
    let digits = octets.iter().filter(|octet| octet.is_ascii_digit()).count();
    if digits == octets.len() {
        return digits >= 3 && (begin, part.len()) != (0, local_part.len());
    }
    let is_hexadecimal = octets.iter().all(u8::is_ascii_hexdigit);
    let changes = octets
        .windows(2)
        .filter(|pair| matches!(pair, [a, b] if a.is_ascii_digit() != b.is_ascii_digit()))
        .count();
    (is_hexadecimal && octets.len() >= 8)
        || (octets.len() >= 12 && changes >= 3)
        || octets.len() >= 32
}

/// FNV-1a, 64 bits: the numbers are kept in places that outlive a version.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::syntax::path::parse_reverse_path;

    fn of(address: &str) -> u64 {
        stream(&parse_reverse_path(address).expect(address))
    }

    fn plain(address: &str) -> String {
        canonical(&address.parse().expect(address))
    }

    #[test]
    fn copies_of_a_mailing_are_one_stream() {
        for (copy, stream) in [
            ("list-bounces+joe=ours.example@Lists.Example", "list-bounces@lists.example"),
            ("bounce-123-456@news.example", "bounce-#@news.example"),
            ("bounces+9471823-5f2a-joe=ours.example@em.example", "bounces@em.example"),
            ("list-return-12-john-doe=ours.example@lists.example", "list@lists.example"),
            ("joe=ours.example@bounces.example", "@bounces.example"),
            ("prvs=1234567890=news@far.example", "news@far.example"),
            ("prvs=news/3057f7af@far.example", "news@far.example"),
            ("msprvs1=18Abc_x=bounces-771-123@far.example", "bounces-#@far.example"),
            ("btv1==123abc==news@far.example", "news@far.example"),
            ("SRS0=Ab1+=XY=far.example=news@relay.example", "news@far.example"),
            ("SRS0+Ab1=XY=far.example=bounce-4711@relay.example", "bounce-#@far.example"),
            ("SRS1=Cd=other.example==Ab=XY=far.example=news@relay.example", "news@far.example"),
            ("prvs=1=SRS0=A=B=far.example=prvs=2=news@relay.example", "news@far.example"),
            ("joe+ab12cd34ef@far.example", "joe+#@far.example"),
            (
                "0100018f3c2d1e4b-6a7b8c9d-0e1f-4a2b-8c3d-4e5f6a7b8c9d-000000@ses.example",
                "#@ses.example",
            ),
            (
                "bounce-mc.us12_4455667.8899001-ab12cd34ef@mail.example",
                "bounce-mc.us12_#@mail.example",
            ),
            ("msg.Xk29fQ7tLm03Zp@far.example", "msg.#@far.example"),
        ] {
            assert_eq!(plain(copy), stream, "{copy}");
        }
    }

    #[test]
    fn addresses_of_people_stay_as_they_are() {
        for address in [
            "joe@far.example",
            "john.doe+shop@far.example",
            "mary-ann_smith@far.example",
            "newsletter2026@far.example",
            "agent-7@far.example",
            "12345678@far.example",
            "prvs=@far.example",
            "facade-cafe@far.example",
        ] {
            let same = if address.starts_with("prvs") { "@far.example" } else { address };
            assert_eq!(plain(address), same);
        }
        assert_eq!(of("Joe@FAR.example"), of("joe@far.example"));
        assert_ne!(of("joe@far.example"), of("joe@near.example"));
        assert_ne!(of("12345678@far.example"), of("12345679@far.example"));
    }

    #[test]
    fn the_numbers_stay() {
        assert_eq!(of(""), 0x0809_8a07_b4c8_6e3f);
        assert_eq!(of("joe@far.example"), fnv1a("joe@far.example"));
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
    }

    /// The names of this many senders, each other than the next.
    fn word() -> impl Strategy<Value = String> {
        "[a-z]{1,7}([-.][a-z]{1,7}){0,2}"
    }

    proptest! {
        #[test]
        fn verp_copies_are_equal(
            list in word(), joe in word(), ann in word(), domain in "[a-z]{1,9}[.]example"
        ) {
            let copy = |user: &str| of(&format!("{list}+{user}={domain}@lists.example"));
            prop_assert_eq!(copy(&joe), copy(&ann));
            let copy = |user: &str| of(&format!("bounce-{user}={domain}@lists.example"));
            prop_assert_eq!(copy(&joe), copy(&ann));
        }

        #[test]
        fn numbered_and_signed_copies_are_equal(
            list in word(), a in 100u64.., b in 100u64.., x: u64, y: u64
        ) {
            let copy = |a: u64, b: u64| of(&format!("{list}-{a}-{b}@lists.example"));
            prop_assert_eq!(copy(a, b), copy(b, a));
            let copy = |x: u64| of(&format!("{list}+{x:016x}@lists.example"));
            prop_assert_eq!(copy(x | 1 << 60), copy(y | 10 << 60));
            let signed = of(&format!("prvs={:010}={list}@lists.example", x % 10_000_000_000));
            prop_assert_eq!(signed, of(&format!("{list}@lists.example")));
        }

        #[test]
        fn senders_stay_apart(a in word(), b in word()) {
            prop_assume!(a != b);
            let (a, b) = (format!("{a}@far.example"), format!("{b}@far.example"));
            prop_assert_ne!(of(&a), of(&b));
            prop_assert_ne!(of(&a), of(""));
        }

        #[test]
        fn any_address_has_a_stream_and_its_form_is_no_longer(local_part in "[ -~]{1,200}") {
            let mailbox = Mailbox::new(&local_part, "far.example").unwrap();
            let once = canonical(&mailbox);
            prop_assert!(once.len() <= local_part.len() + ".@far.example".len());
            prop_assert_eq!(stream(&ReversePath::Mailbox(mailbox)), fnv1a(&once));
        }
    }
}
