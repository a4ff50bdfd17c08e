//! Which networks a client belongs to, and what counts as one client.
//!
//! Promises that an IPv4 client seen through an IPv6 socket is the IPv4 client it is.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Whether `address` is in one of `networks`.
pub fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The host that an address belongs to: an IPv6 host owns a /64, so that is what counts as one.
pub fn host(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_v6_network_is_one_host() {
        let host = |text: &str| host(text.parse().unwrap());
        assert_eq!(host("2001:db8:1:2:3::4"), host("2001:db8:1:2:ffff::1"));
        assert_ne!(host("2001:db8:1:2::1"), host("2001:db8:1:3::1"));
        assert_eq!(host("::ffff:192.0.2.1"), host("192.0.2.1"));
    }

    #[test]
    fn mapped_addresses_are_what_they_map() {
        let networks = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        for inside in ["192.0.2.9", "::ffff:192.0.2.9", "2001:db8::9"] {
            assert!(is_in(inside.parse().unwrap(), &networks), "{inside}");
        }
        for outside in ["192.0.3.9", "::ffff:192.0.3.9", "2001:db9::9", "::1"] {
            assert!(!is_in(outside.parse().unwrap(), &networks), "{outside}");
        }
        assert!(!is_in("127.0.0.1".parse().unwrap(), &[]));
    }
}
