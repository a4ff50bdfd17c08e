//! `angarium check`: a configuration without faults, in a few lines.
//!
//! Says who may do what with it, so that an open door is seen before it is opened.

use std::process::ExitCode;

use crate::config::{Config, Domain};
use crate::daemon;
use crate::policy::recipient::{self, Judgement};
use crate::syntax::path::{ForwardPath, Mailbox};

pub(super) fn run(config: &Config) -> ExitCode {
    let name = if config.file.is_empty() { "the built-in defaults" } else { &config.file };
    println!("{name}: no faults");
    print!("{}", summary(config));
    for warning in warnings(config) {
        eprintln!("{warning}");
    }
    ExitCode::SUCCESS
}

/// What works and breaks a rule: each domain has a postmaster (rfc5321bis 4.5.1). Which mailboxes a
/// mailstore has is not known here.
fn warnings(config: &Config) -> Vec<String> {
    let table = daemon::table(config);
    let refused = |domain: &&Domain| {
        let Ok(postmaster) = Mailbox::new("postmaster", &domain.name) else { return false };
        let judgement = recipient::judge(&table, false, &ForwardPath::Mailbox(postmaster));
        matches!(judgement, Judgement::Refuse(_))
    };
    let warning = |domain: &Domain| {
        format!(
            "{}:{}: warning: mail for postmaster@{} is refused; list it, or name a `postmaster` \
             who exists",
            config.file, domain.line, domain.name
        )
    };
    config.domains.iter().filter(refused).map(warning).collect()
}

fn summary(config: &Config) -> String {
    let list = |items: Vec<String>, none: &str| {
        if items.is_empty() { none.to_owned() } else { items.join(", ") }
    };
    let listeners = config.listeners.iter().map(|listener| listener.bind.to_string()).collect();
    let domains = config
        .domains
        .iter()
        .map(|domain| format!("{} to {}", domain.name, domain.deliver))
        .collect();
    let relay = config.relay.from.iter().map(ToString::to_string).collect();
    let routes = config
        .routes
        .iter()
        .map(|route| format!("{} via {}", route.recipient, route.via))
        .collect();
    let access = [
        ("client", &config.access.client),
        ("hello", &config.access.hello),
        ("sender", &config.access.sender),
        ("recipient", &config.access.recipient),
    ];
    let access = access.into_iter().filter_map(|(name, list)| {
        list.as_ref().map(|list| format!("{name} with {} rules", list.len()))
    });
    let block_lists = config.block_lists.iter().map(|list| list.zone.clone()).collect();
    format!(
        "host name  {}\nlistens    {}\nmail for   {}\nmay relay  {}\nlists      {}\n\
         dns lists  {}\nroutes     {}\nspool      {}\n",
        config.hostname,
        list(listeners, "nowhere"),
        list(domains, "no domain"),
        list(relay, "nobody"),
        list(access.collect(), "none"),
        list(block_lists, "none"),
        list(routes, "none: mail for others is refused"),
        config.spool.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_open_no_door() {
        let text = summary(&Config { hostname: "mx.example".into(), ..Config::default() });
        assert!(text.contains("listens    127.0.0.1:2525\n"), "{text}");
        assert!(text.contains("mail for   no domain\nmay relay  nobody\n"), "{text}");
    }
    #[test]
    fn a_domain_without_a_postmaster_is_told() {
        let list = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/lists/good");
        let domain = |rest: &str| {
            format!("[[domain]]\nname = \"ours.example\"\ndeliver = \"lmtp://127.0.0.1\"\n{rest}\n")
        };
        let listed = domain(&format!("recipients = \"file:{list}\""));
        let told =
            |text: &str| warnings(&Config::parse("a.toml", text, std::iter::empty()).unwrap());
        assert_eq!(
            told(&listed),
            ["a.toml:1: warning: mail for postmaster@ours.example is refused; list it, or name \
                 a `postmaster` who exists"]
        );
        assert!(told(&domain("")).is_empty(), "the mailstore may have one");
        assert!(told(&format!("{listed}postmaster = \"joe\"\n")).is_empty());
        assert_eq!(told(&format!("{listed}postmaster = \"nobody\"\n")).len(), 1);
        assert!(told(&format!("postmaster = \"joe@ours.example\"\n{listed}")).is_empty());
        assert_eq!(told(&format!("postmaster = \"a@else.example\"\n{listed}")).len(), 1);
    }
}
