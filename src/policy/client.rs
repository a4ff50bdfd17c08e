//! Which networks a client belongs to.
//!
//! Promises that an IPv4 client seen through an IPv6 socket is the IPv4 client it is.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether `address` is in one of `networks`.
pub fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

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
