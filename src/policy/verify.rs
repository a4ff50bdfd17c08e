//! Whom does VRFY mean, and may that be verified?
//!
//! Promises that only a mailbox of a domain of ours whose recipients are known one by one is
//! verified; of any other it can't be said that it exists (rfc5321bis 3.5.3).

use crate::registry::reply::{self, Reply};
use crate::route::recipients::Recipients;
use crate::route::{Table, Way};
use crate::syntax::path::{self, ForwardPath, Mailbox};

/// The path to judge for the argument of VRFY, or the reply that says why there is none.
pub fn resolve(table: &Table, text: &str) -> Result<ForwardPath, Reply> {
    let path = parse(table, text)?;
    let mailbox = table.final_recipient(&path).ok_or(reply::NO_SUCH_RECIPIENT)?;
    match table.way(&mailbox) {
        Way::Domain(domain) if !matches!(domain.recipients, Recipients::Any) => Ok(path),
        _ => Err(reply::NOT_VERIFIED),
    }
}

/// Reads `<mailbox>`, `mailbox` or a local part, which means a mailbox only where one domain is ours.
fn parse(table: &Table, text: &str) -> Result<ForwardPath, Reply> {
    let unread = |error: path::PathError| reply::BAD_RECIPIENT.with_text(error.0);
    let (inside, rest) = path::take_path(text).map_err(unread)?;
    if !rest.is_empty() {
        return Err(reply::BAD_ARGUMENT.with_text("verify one mailbox at a time"));
    }
    if let Ok(path) = path::parse_forward_path(inside) {
        return Ok(path);
    }
    let mut domains = table.domains();
    match (domains.next(), domains.next()) {
        (Some(only), None) => {
            let mailbox = Mailbox::new(inside, &only.name).map_err(unread)?;
            Ok(ForwardPath::Mailbox(mailbox))
        }
        (Some(_), Some(_)) => Err(reply::AMBIGUOUS),
        (None, _) => Err(reply::NO_SUCH_RECIPIENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Domain;

    fn domain(name: &str, recipients: Recipients) -> Domain {
        Domain {
            name: name.into(),
            next_hop: "lmtp:unix:/run/lmtp".parse().unwrap(),
            recipients,
            owners: std::sync::Arc::default(),
            separators: String::new(),
            postmaster: None,
            limits: crate::route::limit::Limits::default(),
            security: crate::route::security::Security::default(),
            line: 1,
        }
    }

    fn code(domains: &[&str], text: &str) -> Result<String, u16> {
        let mut domains: Vec<_> =
            domains.iter().map(|name| domain(name, Recipients::Probe)).collect();
        domains.push(domain("any.example", Recipients::Any));
        let table = Table::new(domains, Vec::new(), None);
        resolve(&table, text).map(|path| path.to_string()).map_err(|reply| reply.code)
    }

    #[test]
    fn only_what_can_be_known_is_verified() {
        let one = ["ours.example"];
        assert_eq!(code(&one, "<jones@ours.example>"), Ok("jones@ours.example".to_owned()));
        assert_eq!(code(&one, "jones@ours.example"), Ok("jones@ours.example".to_owned()));
        assert_eq!(code(&one, "jones@any.example"), Err(252));
        assert_eq!(code(&one, "jones@far.example"), Err(252));
        assert_eq!(code(&one, "jones"), Err(553));
        assert_eq!(code(&one, "jones@"), Err(553));
        assert_eq!(code(&one, "<jones@ours.example> smith"), Err(501));
    }

    #[test]
    fn a_local_part_means_the_one_domain() {
        let only = |name: &str| Table::new(vec![domain(name, Recipients::Probe)], vec![], None);
        let path = resolve(&only("ours.example"), "jones").map(|path| path.to_string());
        assert_eq!(path, Ok("jones@ours.example".to_owned()));
        let path = resolve(&only("ours.example"), "Postmaster").map(|path| path.to_string());
        assert_eq!(path, Ok("postmaster".to_owned()));
        assert_eq!(resolve(&Table::default(), "jones").map_err(|reply| reply.code), Err(550));
    }
}
