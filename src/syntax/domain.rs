//! Domain names and address literals (rfc5321bis 2.3.5, 4.1.3), and the one form of each.
//!
//! Two domains are the same if their forms are: letters in lower case, labels of other scripts as
//! their A-labels (UTS 46), an address literal by its value. An IPv4-mapped address is another than
//! the IPv4 address in it. A label that begins with `xn--` and is no A-label stays what it is.
//!
//! What comes over the wire is checked by [`check_domain`], which lets underscores pass, as real
//! names have them; what an operator writes is read by [`parse_domain`] or [`parse_name`], which are
//! stricter and say what would be right.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use super::path::PathError;

/// Longest domain (rfc5321bis 4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;
/// Longest label (RFC 1035 2.3.4).
const LABEL_OCTETS_MAX: usize = 63;

/// Checks a domain name or address literal as it comes over the wire.
pub fn check_domain(domain: &str) -> Result<(), PathError> {
    if domain.starts_with('[') {
        return literal_form(domain).map(drop);
    }
    if domain.is_empty() {
        return Err(PathError("the domain is empty"));
    }
    if domain.len() > DOMAIN_OCTETS_MAX {
        return Err(PathError("the domain is longer than 255 octets"));
    }
    if is_name(domain) { Ok(()) } else { Err(PathError("that is no domain name")) }
}

/// A domain name as it comes over the wire, checked, and with A-labels for labels of other scripts
/// (RFC 6531 3.2). The case of ASCII stays.
pub(super) fn wire_form(domain: &str) -> Result<Cow<'_, str>, PathError> {
    if domain.is_ascii() {
        check_domain(domain)?;
        return Ok(Cow::Borrowed(domain));
    }
    let form = to_ascii(domain, Hyphens::CheckFirstLast);
    let form = form.ok_or(PathError("the domain has no A-label"))?;
    check_domain(&form)?;
    Ok(Cow::Owned(form))
}

/// The one form of an address literal, written as RFC 5952 says and with the tag as IANA has it.
pub(super) fn literal_form(literal: &str) -> Result<String, PathError> {
    let inside = literal.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or("");
    let tagged = inside.split_once(':').filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6"));
    let form = match tagged {
        Some((_, address)) => address.parse().ok().map(|v6: Ipv6Addr| format!("[IPv6:{v6}]")),
        None => inside.parse().ok().map(|v4: Ipv4Addr| format!("[{v4}]")),
    };
    form.ok_or(PathError("that is no address literal"))
}

/// The one form of a written domain or address literal; the error says what would be right.
pub fn parse_domain(text: &str) -> Result<String, String> {
    if !text.starts_with('[') {
        return parse_name(text);
    }
    let right = "an address literal is [192.0.2.1] or [IPv6:2001:db8::1]";
    literal_form(text).map_err(|_| right.to_owned())
}

/// The one form of a written domain name; the error says what would be right.
pub fn parse_name(text: &str) -> Result<String, String> {
    let name = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        a_labels(text).ok_or("it has no A-label (UTS 46): a label is of letters and digits")?
    };
    match name_fault(&name) {
        Some(why) => Err(why),
        None => Ok(name),
    }
}

/// A name in other scripts with its A-labels (UTS 46), if it has them. Hyphens and lengths are not
/// checked.
pub(super) fn a_labels(name: &str) -> Option<String> {
    to_ascii(name, Hyphens::Allow)
}

fn to_ascii(name: &str, hyphens: Hyphens) -> Option<String> {
    Uts46::new()
        .to_ascii(name.as_bytes(), AsciiDenyList::EMPTY, hyphens, DnsLength::Ignore)
        .map(Cow::into_owned)
        .ok()
}

/// What keeps `name` from being a domain (rfc5321bis 2.3.5, 4.1.2), if anything does: one or more
/// labels of ASCII letters, digits and inner hyphens, and no address.
fn name_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a domain cannot be empty".to_owned());
    }
    if name.len() > 253 {
        return Some(format!("a domain has at most 253 octets; this one has {}", name.len()));
    }
    if let Some(without) = name.strip_suffix('.')
        && !without.is_empty()
    {
        return Some(format!("leave out the final dot: {without}"));
    }
    name.split('.').find_map(label_fault).or_else(|| {
        // No top-level domain is all digits (RFC 3696 2): this is an address, or half of one.
        let last = name.rsplit('.').next().unwrap_or(name);
        let number = last.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| "it ends in a number, as an address does and a domain does not".to_owned())
    })
}

fn label_fault(label: &str) -> Option<String> {
    if label.is_empty() {
        return Some("it has an empty label: two dots in a row, or one in front".to_owned());
    }
    if label.len() > LABEL_OCTETS_MAX {
        return Some(format!("a label has at most 63 octets; `{label}` has {}", label.len()));
    }
    if let Some(odd) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
        let odd = odd.escape_debug();
        return Some(format!("`{odd}` is no letter, digit, hyphen or dot"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some(format!("the label `{label}` begins or ends with a hyphen"));
    }
    None
}

/// Whether each label has 1 to 63 letters, digits and inner hyphens.
fn is_name(domain: &str) -> bool {
    let mut label_octets = 0;
    let mut last = b'-';
    for octet in domain.bytes() {
        match octet {
            b'.' if label_octets == 0 || last == b'-' => return false,
            b'.' => label_octets = 0,
            b'-' if label_octets == 0 => return false,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label_octets += 1,
            _ => return false,
        }
        if label_octets > LABEL_OCTETS_MAX {
            return false;
        }
        last = octet;
    }
    label_octets > 0 && last != b'-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same rule, label by label.
    fn has_good_labels(domain: &str) -> bool {
        domain.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
        })
    }

    #[test]
    fn the_limits_are_63_and_255_octets() {
        let labels = |last: usize| {
            let label = "d".repeat(63);
            format!("{label}.{label}.{label}.{}", "d".repeat(last))
        };
        assert_eq!(labels(63).len(), DOMAIN_OCTETS_MAX);
        assert!(check_domain(&labels(63)).is_ok());
        assert!(check_domain(&format!("{}.d", labels(62))).is_err());
        assert!(check_domain(&format!("{}.example", "d".repeat(63))).is_ok());
        assert!(check_domain(&format!("{}.example", "d".repeat(64))).is_err());
    }

    #[test]
    fn a_name_in_another_script_is_its_a_labels() {
        for (written, form) in [
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.Example", "xn--bcher-kva.example"),
            ("bu\u{308}cher.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例子。中国", "xn--fsqu00a.xn--fiqs8s"),
            ("ＡＢＣ.example", "abc.example"),
            // These decode to nothing, to ASCII, and to what UTS 46 would have mapped.
            ("xn--zzzzzz99999.example", "xn--zzzzzz99999.example"),
            ("xn--abc-.example.org", ""),
            ("xn--bcher-kva8445foa.example", "xn--bcher-kva8445foa.example"),
        ] {
            assert_eq!(parse_name(written).unwrap_or_default(), form, "{written}");
        }
    }

    #[test]
    fn a_literal_is_its_address() {
        for (written, form) in [
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[ipv6:2001:DB8:0:0:0:0:0:1]", "[IPv6:2001:db8::1]"),
            ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
            ("[IPv6:::ffff:192.0.2.1]", "[IPv6:::ffff:192.0.2.1]"),
            ("[IPv6:::FFFF:c000:201]", "[IPv6:::ffff:192.0.2.1]"),
            ("[IPv6:::]", "[IPv6:::]"),
        ] {
            assert_eq!(parse_domain(written).as_deref(), Ok(form), "{written}");
        }
        for bad in [
            "[]",
            "[",
            "[192.0.2.1",
            "[192.0.2]",
            "[192.0.2.01]",
            "[192.0.2.1]x",
            "[2001:db8::1]",
            "[IPv6:192.0.2.1]",
            "[IPv6:fe80::1%eth0]",
            "[IPv6:1:2:3:4:5:6:7:8:9]",
            "[X-Tag:data]",
            "[IPv6:::1::2]",
            "[[192.0.2.1]]",
        ] {
            assert!(parse_domain(bad).is_err() && check_domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fault_says_what_would_be_right() {
        for (text, says) in [
            ("", "cannot be empty"),
            ("example..org", "empty label"),
            ("example.org.", "final dot: example.org"),
            ("10.0.0.1", "ends in a number"),
            ("-a.example", "hyphen"),
            ("a_b.example", "`_` is no letter"),
            ("bü_cher.example", "`_` is no letter"),
            ("büch er.example", "` ` is no letter"),
            ("a\u{200b}ü.example\u{fdd0}", "no A-label"),
            ("[192.0.2.256]", "[192.0.2.1] or"),
        ] {
            let said = parse_domain(text).unwrap_err();
            assert!(said.contains(says), "{text}: {said}");
        }
        assert!(parse_name("[192.0.2.1]").is_err());
        assert!(parse_name(&format!("{}.example", "a".repeat(64))).unwrap_err().contains("63"));
        assert!(parse_name(&format!("{}org", "a.".repeat(130))).unwrap_err().contains("253"));
        assert!(parse_name(&"ü".repeat(60)).unwrap_err().contains("63"), "A-labels are counted");
    }

    proptest! {
        #[test]
        fn a_form_is_its_own_form(text in "\\PC{0,20}") {
            if let Ok(form) = parse_domain(&text) {
                prop_assert!(check_domain(&form).is_ok());
                prop_assert_eq!(parse_domain(&form), Ok(form));
            }
        }

        #[test]
        fn a_name_is_its_labels(domain in "[aZ0._-]{0,12}") {
            prop_assert_eq!(is_name(&domain), has_good_labels(&domain));
        }

        #[test]
        fn what_no_name_holds_is_refused(domain in "[ -~é]{1,8}") {
            if !domain.starts_with('[') {
                prop_assert_eq!(check_domain(&domain).is_ok(), has_good_labels(&domain));
            }
        }
    }
}
