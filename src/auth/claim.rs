//! Whom a client claims to be, read from its first response before anything is proved.
//!
//! Promises that no part of a secret is ever taken for a login.

use crate::registry::mechanism::Mechanism;

/// The login in the first response of a client; `None` where there is none to be read.
pub(super) fn claimed_login(mechanism: Mechanism, response: &[u8]) -> Option<String> {
    let login = match mechanism {
        // What comes next is the password, whatever this is.
        Mechanism::Login => response,
        // authzid NUL authcid NUL password (RFC 4616 2)
        Mechanism::Plain => {
            let mut parts = response.split(|octet| *octet == 0);
            let (_, login, _) = (parts.next()?, parts.next()?, parts.next()?);
            login
        }
        // gs2-header, then attributes (RFC 5802 7)
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
            let text = std::str::from_utf8(response).ok()?;
            let name = text
                .splitn(3, ',')
                .nth(2)?
                .split(',')
                .find_map(|attribute| attribute.strip_prefix("n="))?;
            return Some(name.replace("=2C", ",").replace("=3D", "="));
        }
        // n,a=user@example.org, (RFC 7628 3.1)
        Mechanism::OauthBearer => {
            let header = response.split(|octet| *octet == 1).next()?;
            header.split(|octet| *octet == b',').nth(1)?.strip_prefix(b"a=")?
        }
        Mechanism::Xoauth2 => response.split(|octet| *octet == 1).next()?.strip_prefix(b"user=")?,
    };
    Some(String::from_utf8_lossy(login).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_mechanism_names_its_login() {
        for (mechanism, response, login) in [
            (Mechanism::Login, "joe", Some("joe")),
            (Mechanism::Login, "", Some("")),
            (Mechanism::Plain, "boss\0joe\0secret", Some("joe")),
            (Mechanism::Plain, "\0joe", None),
            (Mechanism::Plain, "secret", None),
            (Mechanism::ScramSha256, "n,,n=j=2Coe,r=abc", Some("j,oe")),
            (Mechanism::ScramSha256, "c=biws,r=abc,p=secret", None),
            (Mechanism::ScramSha256Plus, "p=tls-exporter,a=boss,n=joe,r=abc", Some("joe")),
            (Mechanism::OauthBearer, "n,a=joe,\u{1}auth=Bearer secret\u{1}\u{1}", Some("joe")),
            (Mechanism::OauthBearer, "n,,\u{1}auth=Bearer secret\u{1}\u{1}", None),
            (Mechanism::OauthBearer, "\u{1}", None),
            (Mechanism::Xoauth2, "user=joe\u{1}auth=Bearer secret\u{1}\u{1}", Some("joe")),
        ] {
            let claimed = claimed_login(mechanism, response.as_bytes());
            assert_eq!(claimed.as_deref(), login, "{mechanism:?} {response:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read(response: Vec<u8>) {
            for mechanism in Mechanism::ALL {
                let claimed = claimed_login(mechanism, &response).unwrap_or_default();
                prop_assert!(claimed.len() <= response.len() * 3);
            }
        }
    }
}
