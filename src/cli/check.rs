//! `angarium check`: a configuration without faults, in a few lines.
//!
//! Says who may do what with it, so that an open door is seen before it is opened.

use std::process::ExitCode;

use ipnet::IpNet;

use super::EX_CONFIG;
use crate::auth::users::Accounts;
use crate::config::{Config, Domain, Role};
use crate::daemon;
use crate::net::clock;
use crate::net::tls::Certificate;
use crate::policy::recipient::{self, Judgement};
use crate::route::next_hop::{NextHop, Via};
use crate::route::security::Security;
use crate::syntax::path::{ForwardPath, Mailbox};

pub(super) fn run(config: &Config) -> ExitCode {
    let name = if config.file.is_empty() { "the built-in defaults" } else { &config.file };
    // The daemon would not start either.
    let users = match config.auth.users.as_deref().map(Accounts::read).transpose() {
        Ok(users) => users.unwrap_or_default(),
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    println!("{name}: no faults");
    print!("{}", summary(config, users.iter().count()));
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
    let domains = config.domains.iter().filter(refused).map(warning);
    domains.chain(doubts(config)).chain(shut(config)).chain(hiding(config)).collect()
}

/// Proxies that may relay: whoever reaches another listener through one may, too.
fn hiding(config: &Config) -> impl Iterator<Item = String> {
    config.listeners.iter().flat_map(move |listener| {
        let trusted = listener.proxy_from.iter().filter_map(|proxy| {
            let meets = |net: &&IpNet| net.contains(proxy) || proxy.contains(*net);
            config.relay.from.iter().find(meets).map(|net| (proxy, net))
        });
        trusted.map(move |(proxy, net)| {
            let (file, line) = (&config.file, listener.line);
            format!(
                "{file}:{line}: warning: `from` of [relay] has {net}, where `proxy_from` has {proxy}: \
                 clients that a proxy hides could relay; trust the clients, not the proxy"
            )
        })
    })
}

/// Listeners for users where no user can log in.
fn shut(config: &Config) -> impl Iterator<Item = String> {
    let shut = !daemon::authority::has_store(config);
    let listeners =
        config.listeners.iter().filter(move |listener| shut && listener.role == Role::Submission);
    listeners.map(|listener| {
        let (file, bind) = (&config.file, &listener.bind);
        format!("{file}: warning: nobody can log in at {bind}; name `users` in [auth]")
    })
}

/// Certificates that clients will not take for good.
fn doubts(config: &Config) -> impl Iterator<Item = String> {
    let now_s = i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX);
    config.certificates.iter().filter_map(move |certificate| {
        let why = Certificate::new(&certificate.chain, &certificate.key).ok()?.doubt(now_s)?;
        let (file, line, name) = (&config.file, certificate.line, &certificate.name);
        Some(format!("{file}:{line}: warning: the certificate {name}: {why}"))
    })
}

fn summary(config: &Config, users: usize) -> String {
    let list = |items: Vec<String>, none: &str| {
        if items.is_empty() { none.to_owned() } else { items.join(", ") }
    };
    let listeners = config.listeners.iter().map(|listener| listener.bind.to_string()).collect();
    let domains = config
        .domains
        .iter()
        .map(|domain| {
            let secured = secured(&domain.security(&config.credentials), Some(&domain.deliver));
            format!("{} to {}{secured}", domain.name, domain.deliver)
        })
        .collect();
    let relay = config.relay.from.iter().map(ToString::to_string).collect();
    let routes = config
        .routes
        .iter()
        .map(|route| {
            let next_hop = match &route.via {
                Via::Hop(next_hop) => Some(next_hop),
                Via::Discard | Via::Reject => None,
            };
            let secured = secured(&route.security(&config.credentials), next_hop);
            format!("{} via {}{secured}", route.recipient, route.via)
        })
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
    let users = config.auth.users.iter().map(|path| format!("{users} in {}", path.display()));
    let dovecot = config.auth.dovecot.iter().map(|_| "those of Dovecot".to_owned());
    let oauth = config.oauth.iter().map(|oauth| format!("those of {}", oauth.issuer));
    let block_lists = config.block_lists.iter().map(|list| list.zone.clone()).collect();
    format!(
        "host name  {}\nlistens    {}\nmail for   {}\nmay relay  {}\nusers      {}\n\
         lists      {}\n\
         dns lists  {}\nroutes     {}\nspool      {}\n",
        config.hostname,
        list(listeners, "nowhere"),
        list(domains, "no domain"),
        list(relay, "nobody"),
        list(users.chain(dovecot).chain(oauth).collect(), "none"),
        list(access.collect(), "none"),
        list(block_lists, "none"),
        list(routes, "none: mail for others is refused"),
        config.spool.display()
    )
}

/// How a next hop is reached, where that is not how every other is.
fn secured(security: &Security, next_hop: Option<&NextHop>) -> String {
    match next_hop {
        Some(next_hop) if *security != Security::default() => {
            format!(" ({})", security.words(next_hop))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_open_no_door() {
        let text = summary(&Config { hostname: "mx.example".into(), ..Config::default() }, 0);
        assert!(text.contains("listens    127.0.0.1:2525\n"), "{text}");
        assert!(
            text.contains("mail for   no domain\nmay relay  nobody\nusers      none\n"),
            "{text}"
        );
    }

    #[test]
    fn what_a_route_asks_of_tls_is_told_and_no_password() {
        let text = "[[route]]\nrecipient = \"*\"\nvia = \"smtps://relay.example\"\ntls = \"verify\"\n\
                    credentials = \"relay\"\n[[credential]]\nname = \"relay\"\nuser = \"joe\"\n\
                    password = \"never printed\"\n";
        let config = Config::parse("a.toml", text, std::iter::empty()).unwrap();
        let told = summary(&config, 0);
        let route = "* via smtps://relay.example:465 (tls verify, credentials relay)\n";
        assert!(told.contains(route), "{told}");
        assert!(!format!("{told}{config:?}").contains("never"));
    }

    #[test]
    fn a_listener_for_users_without_users_is_told() {
        let listener = "[[listener]]\nbind = \"127.0.0.1:587\"\nrole = \"submission\"\n";
        let told =
            |text: &str| warnings(&Config::parse("a.toml", text, std::iter::empty()).unwrap());
        assert_eq!(
            told(listener),
            ["a.toml: warning: nobody can log in at 127.0.0.1:587; name `users` in [auth]"]
        );
        for store in [
            "[auth]\nusers = \"/etc/users\"\n",
            "[auth]\ndovecot = \"unix:/run/auth\"\n",
            "[[oauth]]\nissuer = \"https://id.example\"\naudience = [\"mail\"]\n",
        ] {
            assert!(told(&[listener, store].concat()).is_empty(), "{store}");
        }
    }

    #[test]
    fn a_proxy_that_may_relay_is_told() {
        let told = |proxies: &str| {
            let text = format!(
                "[relay]\nfrom = [\"127.0.0.1\", \"10.1.0.0/16\"]\n[[listener]]\nproxy_from = {proxies}\n"
            );
            warnings(&Config::parse("a.toml", &text, std::iter::empty()).unwrap())
        };
        assert_eq!(
            told("[\"10.0.0.0/8\"]"),
            [
                "a.toml:3: warning: `from` of [relay] has 10.1.0.0/16, where `proxy_from` has 10.0.0.0/8: \
              clients that a proxy hides could relay; trust the clients, not the proxy"
            ]
        );
        assert_eq!(told("[\"10.1.2.3\", \"127.0.0.1\"]").len(), 2);
        assert!(told("[\"10.2.0.0/16\", \"::1\", \"127.0.0.2\"]").is_empty());
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
