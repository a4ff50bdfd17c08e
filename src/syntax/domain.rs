//! Domain names and address literals (rfc5321bis 2.3.5, 4.1.3).
//!
//! Promises the limits of 63 octets for a label and 255 for a domain. Refuses empty labels, hyphens
//! at a label's edge, and literals that are no address of IPv4 or IPv6; lets underscores pass, which
//! real names have.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::path::PathError;

/// Longest domain (rfc5321bis 4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;
/// Longest label (RFC 1035 2.3.4).
const LABEL_OCTETS_MAX: usize = 63;

/// Checks a domain name or address literal as it comes over the wire.
pub fn check_domain(domain: &str) -> Result<(), PathError> {
    if let Some(literal) = domain.strip_prefix('[') {
        return check_literal(literal.strip_suffix(']').unwrap_or(""));
    }
    if domain.is_empty() {
        return Err(PathError("the domain is empty"));
    }
    if domain.len() > DOMAIN_OCTETS_MAX {
        return Err(PathError("the domain is longer than 255 octets"));
    }
    if is_name(domain) { Ok(()) } else { Err(PathError("that is no domain name")) }
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

fn check_literal(literal: &str) -> Result<(), PathError> {
    let tagged = literal.split_once(':').filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6"));
    let known = match tagged {
        Some((_, address)) => address.parse::<Ipv6Addr>().is_ok(),
        None => literal.parse::<Ipv4Addr>().is_ok(),
    };
    if known { Ok(()) } else { Err(PathError("that is no address literal")) }
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

    proptest! {
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
