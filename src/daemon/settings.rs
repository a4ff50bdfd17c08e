//! A configuration in the words of the lower floors.

use std::collections::HashMap;
use std::sync::Arc;

use angarium_queue::schedule::{Backoff, Options};
use ipnet::IpNet;

use crate::auth::authority::Authority;
use crate::config::{self, Config, Role, Vrfy};
use crate::dispatch;
use crate::door;
use crate::limits::{self, Letterhead};
use crate::net::connection::Times;
use crate::net::resolver;
use crate::net::socket::Bind;
use crate::net::tls::Server;
use crate::policy::access::Access;
use crate::policy::blocklist::BlockList;
use crate::policy::guard;
use crate::policy::quota;
use crate::policy::rate;
use crate::policy::sender::Senders;
use crate::policy::tenant::{self, Tenants};
use crate::policy::timing;
use crate::probe::Lifetimes;
use crate::receive::{Client, Offers, Rules};
use crate::registry::offer;
use crate::report;
use crate::route::limit::Limits;
use crate::route::next_hop::{NextHop, Via};
use crate::route::{Domain, EightBit, Handling, Rule, Table};
use crate::session;
use crate::submission;
use crate::syntax::content::BareLineEnds;
use crate::syntax::path::{ForwardPath, Mailbox};

/// Domains and routes.
pub fn table(config: &Config) -> Table {
    let domains = config.domains.iter().map(|domain| Domain {
        name: domain.name.clone(),
        next_hop: domain.deliver.clone(),
        recipients: domain.recipients.clone(),
        owners: Arc::clone(&domain.owners),
        postmaster: domain
            .postmaster
            .as_deref()
            .and_then(|postmaster| mailbox(postmaster, Some(&domain.name))),
        separators: domain.separator.clone(),
        limits: Limits {
            concurrency: domain.concurrency.map(to_u32),
            rate: domain.rate,
            recipients_per_transaction: domain.recipients_per_transaction.map(to_u32),
            messages_per_connection: domain.messages_per_connection.map(to_u32),
        },
        security: domain.security(&config.credentials),
        line: domain.line,
    });
    let rules = config.routes.iter().map(|route| Rule {
        recipient: route.recipient.clone(),
        via: route.via.clone(),
        handling: Handling {
            eight_bit: route.eight_bit,
            long_lines: route.long_lines,
            limits: Limits {
                concurrency: route.concurrency.map(to_u32),
                rate: route.rate,
                recipients_per_transaction: route.recipients_per_transaction.map(to_u32),
                messages_per_connection: route.messages_per_connection.map(to_u32),
            },
            security: route.security(&config.credentials),
        },
        line: route.line,
    });
    let first = config.domains.first().map(|domain| domain.name.as_str());
    let postmaster = config.postmaster.as_deref().and_then(|text| mailbox(text, first));
    let table = Table::new(domains.collect(), rules.collect(), postmaster);
    table.with_limits(every_site(&config.queue), config.sites.iter().map(site))
}

/// The limits of a next hop that has none of its own.
fn every_site(queue: &config::Queue) -> Limits {
    Limits {
        concurrency: Some(to_u32(queue.route_concurrency)),
        rate: queue.site_rate,
        recipients_per_transaction: Some(to_u32(queue.recipients_per_transaction)),
        messages_per_connection: Some(to_u32(queue.messages_per_connection)),
    }
}

fn site(site: &config::Site) -> (NextHop, Limits) {
    let limits = Limits {
        concurrency: site.concurrency.map(to_u32),
        rate: site.rate,
        recipients_per_transaction: site.recipients_per_transaction.map(to_u32),
        messages_per_connection: site.messages_per_connection.map(to_u32),
    };
    (site.name.clone(), limits)
}

/// What tenants may ask for.
pub fn tenants(config: &Config) -> Tenants {
    let queue = &config.queue;
    let set = |count: usize| Some(to_u32(count)).filter(|&count| count > 0);
    let each = tenant::Limits {
        concurrency: set(queue.tenant_concurrency),
        rate: queue.tenant_rate,
        backlog: set(queue.tenant_backlog),
    };
    let named = config.tenants.iter().map(|tenant| {
        let limits = tenant::Limits {
            concurrency: tenant.concurrency.map(to_u32),
            rate: tenant.rate,
            backlog: tenant.backlog.map(to_u32),
        };
        (tenant.name.clone(), limits)
    });
    Tenants::new(each, named)
}

/// What users may send, and who is told of more.
pub(super) fn limits(config: &Config, table: &Table) -> limits::Settings {
    let submission = &config.submission;
    let each = [
        submission.messages_per_hour,
        submission.messages_per_day,
        submission.recipients_per_hour,
        submission.recipients_per_day,
    ];
    let named = config.tenants.iter().map(|tenant| {
        let own = [
            tenant.messages_per_hour,
            tenant.messages_per_day,
            tenant.recipients_per_hour,
            tenant.recipients_per_day,
        ];
        (tenant.name.clone(), quota::Limits(own.map(|count| count.map(to_u32))))
    });
    let postmaster = table.final_recipient(&ForwardPath::Postmaster);
    limits::Settings {
        each: quota::Limits(each.map(|count| Some(to_u32(count)))),
        named: named.collect(),
        on_excess: submission.on_excess,
        exempt_local: submission.exempt_local,
        guard: guard(config),
        exempt: trusted(config),
        letterhead: postmaster.map(|to| Letterhead {
            hostname: config.hostname.clone(),
            from: report(config).from,
            to,
        }),
    }
}

/// What becomes of those who try passwords.
fn guard(config: &Config) -> guard::Rules {
    guard::Rules {
        failures_max: config.guard.failures,
        window_ms: to_millis(&config.guard.window),
        ban_ms: to_millis(&config.guard.ban),
        ban_max_ms: to_millis(&config.guard.ban_max),
    }
}

/// Behind whom there may be many: what is trusted, and proxies.
fn trusted(config: &Config) -> Vec<IpNet> {
    let proxies = config
        .listeners
        .iter()
        .flat_map(|listener| listener.xclient_from.iter().chain(&listener.proxy_from));
    let given = config.guard.exempt.iter().chain(&config.relay.from);
    given.chain(proxies).copied().collect()
}

/// A mailbox, or a local part of `domain`; the configuration has checked that it is one of them.
fn mailbox(text: &str, domain: Option<&str>) -> Option<Mailbox> {
    text.parse().ok().or_else(|| Mailbox::new(text, domain?).ok())
}

/// What sessions of `listener` go by.
pub(super) fn rules(
    config: &Config,
    listener: &config::Listener,
    table: &Arc<Table>,
    tls: Option<Arc<Server>>,
    authority: Option<Arc<Authority>>,
) -> Rules {
    let protocol = listener.role.protocol();
    let octets_max = listener.max_message_size;
    let limits = session_limits(listener);
    let extensions = extensions(config, listener, &limits);
    let local = &config.registry.local;
    let timing = timing(config, listener);
    let offers = Offers::new(protocol, octets_max, tls.is_some(), local, extensions)
        .with_hold(timing.hold_max_s);
    let authority = authority.filter(|_| listener.role == Role::Submission);
    Rules {
        settings: session::Settings {
            hostname: config.hostname.as_str().into(),
            protocol,
            offer: offers.of(Client::default(), octets_max, None),
            limits,
            bare_line_ends: BareLineEnds::Refuse,
            strict: listener.strict_syntax,
            domain: None,
            verify: listener.vrfy == Vrfy::Anyone,
            service: listener.service,
            standing: session::Standing::default(),
        },
        offers,
        proxies: listener.xclient_from.clone(),
        bare_line_ends_from: listener.bare_line_ends_from.clone(),
        relay_from: config.relay.from.clone(),
        verify_for_relay: listener.vrfy == Vrfy::Relay,
        received_for: listener.received_for,
        hide_client_address: listener.hide_client_address,
        submission: (listener.role == Role::Submission).then(|| Arc::new(submission(config))),
        timing,
        table: Arc::clone(table),
        soft_bounce: config.queue.soft_bounce,
        door: Arc::new(door_rules(config, listener)),
        lifetimes: Lifetimes {
            positive: config.probe.positive_lifetime,
            refresh: config.probe.positive_refresh,
            negative: config.probe.negative_lifetime,
            answer: config.probe.timeout,
        },
        times: times(config),
        tls,
        authority,
        clear_passwords: listener.clear_passwords,
        message_octets_max: Arc::new(message_octets_max(config)),
    }
}

/// What senders may ask of time.
fn timing(config: &Config, listener: &config::Listener) -> timing::Rules {
    let holds = listener.role == Role::Submission;
    let hold_max_s = config.submission.future_release.as_secs();
    let deadline_min_s = config.queue.deliver_by_min.as_secs();
    timing::Rules { hold_max_s: if holds { hold_max_s } else { 0 }, deadline_min_s }
}

/// How large a message of a tenant may be, where that differs from others.
fn message_octets_max(config: &Config) -> HashMap<String, u64> {
    let own = config.tenants.iter();
    own.filter_map(|tenant| Some((tenant.name.clone(), tenant.max_message_size?))).collect()
}

/// What a listener says of its extensions.
fn extensions(
    config: &Config,
    listener: &config::Listener,
    limits: &session::limit::Limits,
) -> offer::Listener {
    let mut withheld = listener.discard_ehlo_keywords.clone();
    // Who takes binary content must be able to pass it on, if need be in another encoding.
    if config.routes.iter().any(|route| route.eight_bit != EightBit::Convert) {
        withheld.push("BINARYMIME".to_owned());
    }
    // Strangers' mail for a mailstore that does not offer it would have to be returned.
    if !listener.smtputf8.unwrap_or(listener.role != Role::Mx) {
        withheld.push("SMTPUTF8".to_owned());
    }
    if !keeps_tls(config) {
        withheld.push("REQUIRETLS".to_owned());
    }
    let mut values = vec![("LIMITS", limits.told())];
    if config.domains.iter().any(|domain| !domain.owners.is_empty()) {
        values.push(("RRVS", String::new()));
    }
    let min_s = config.queue.deliver_by_min.as_secs();
    values.extend((min_s > 0).then(|| ("DELIVERBY", min_s.to_string())));
    values.push(("MT-PRIORITY", "MIXER".to_owned()));
    offer::Listener { withheld, values }
}

fn session_limits(listener: &config::Listener) -> session::limit::Limits {
    let transactions = Some(to_u32(listener.max_messages_per_session));
    session::limit::Limits {
        message_octets_max: listener.max_message_size,
        recipients_max: listener.max_recipients,
        transactions_max: transactions.filter(|&count| count > 0),
        errors_max: listener.max_errors,
        idle: listener.idle_timeout,
    }
}

/// Whether every way that mail can take from here keeps the promise of REQUIRETLS (RFC 8689 4.2.1):
/// reports take the same ways.
fn keeps_tls(config: &Config) -> bool {
    let known = &config.credentials;
    let domains = config.domains.iter().all(|one| one.security(known).keeps_tls(&one.deliver));
    domains
        && config.routes.iter().all(|route| match &route.via {
            Via::Hop(next_hop) => route.security(known).keeps_tls(next_hop),
            Via::Discard | Via::Reject => true,
        })
}

/// What holds for what users submit.
pub(super) fn submission(config: &Config) -> submission::Rules {
    let first = || config.domains.first().map(|domain| domain.name.clone());
    let given = config.domains.iter().filter(|domain| !domain.separator.is_empty());
    let separators = given.map(|domain| (domain.name.clone(), domain.separator.clone()));
    submission::Rules {
        senders: Senders {
            check: config.submission.sender_check,
            login_domain: config.submission.login_domain.clone().or_else(first),
            separators: separators.collect(),
            map: config.submission.senders.clone(),
        },
        unqualified: config.submission.unqualified,
    }
}

/// What the dispatcher goes by.
pub(super) fn dispatch(config: &Config, table: &Arc<Table>) -> dispatch::Settings {
    let queue = &config.queue;
    let millis = |durations: &[std::time::Duration]| durations.iter().map(to_millis).collect();
    dispatch::Settings {
        options: Options {
            backoff: Backoff {
                exchanger_ms: millis(&queue.retry),
                next_hop_ms: millis(&queue.retry_next_hop),
            },
            lifetimes_ms: vec![to_millis(&queue.lifetime), to_millis(&queue.report_lifetime)],
            warnings_ms: millis(&queue.delay_warning),
            probe_delay_max_ms: to_millis(&queue.probe_delay_max),
            slots_max: to_u32(queue.max_deliveries),
            rate: queue.rate.map(dispatch::rate),
            site: dispatch::scheduled(every_site(queue)),
            tenant: dispatch::tenant_limits(tenants(config).each()),
            paused: queue.paused,
        },
        times: times(config),
        table: Arc::clone(table),
        soft_bounce: queue.soft_bounce,
        report: Arc::new(report(config)),
        tenants: tenants(config),
    }
}

/// What clients of `listener` must pass.
fn door_rules(config: &Config, listener: &config::Listener) -> door::Rules {
    let (access, rates) = (&config.access, &config.rates);
    let list = |list: &config::BlockList| BlockList {
        zone: list.zone.clone(),
        answers: list.answers.clone(),
        action: list.action,
        text: list.text.clone(),
        timeout: list.timeout,
    };
    door::Rules {
        access: Access {
            client: access.client.clone(),
            hello: access.hello.clone(),
            sender: access.sender.clone(),
            recipient: access.recipient.clone(),
        },
        lists: config.block_lists.iter().map(list).map(Arc::new).collect(),
        limits: rate::Limits {
            connections: rates.connections,
            messages: rates.messages,
            recipients: rates.recipients,
            commands: rates.commands,
        },
        unlimited: rates.exempt.clone(),
        trusted: config.relay.from.clone(),
        greet_delay: listener.greet_delay,
        public: listener.role == Role::Mx
            && matches!(&listener.bind, Bind::Tcp(address) if !address.ip().is_loopback()),
    }
}

/// How the DNS is asked.
pub(super) fn dns(config: &Config) -> resolver::Settings {
    resolver::Settings {
        servers: config.dns.servers.clone(),
        timeout: config.dns.timeout,
        attempts: config.dns.attempts,
        cache_entries: config.dns.cache as u64,
    }
}

/// How reports to senders look.
pub(super) fn report(config: &Config) -> report::Settings {
    let hostname = &config.hostname;
    let given = config.report.from.as_deref().and_then(|from| mailbox(from, None));
    let own = || mailbox("mailer-daemon", Some(hostname));
    report::Settings {
        hostname: hostname.clone(),
        from: given.or_else(own).unwrap_or_else(report::nobody),
        content_octets_max: usize::try_from(config.report.max_content).unwrap_or(usize::MAX),
        template: config.report.template.clone(),
        delay_warning_ms: config.queue.delay_warning.iter().map(to_millis).collect(),
    }
}

fn times(config: &Config) -> Times {
    let timeout = &config.timeout;
    Times {
        connect: timeout.connect,
        greeting: timeout.greeting,
        command: timeout.command,
        data_initiation: timeout.data_initiation,
        data_block: timeout.data_block,
        data_termination: timeout.data_termination,
        keep_idle: timeout.keep_idle,
    }
}

fn to_millis(duration: &std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The configuration bounds every count far below.
fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::client;
    use crate::registry::extension;
    use crate::registry::offer::Known;

    #[test]
    fn no_proxy_is_shut_out_for_its_clients() {
        let text = "[[listener]]\nproxy_from = [\"192.0.2.1\"]\nxclient_from = [\"192.0.2.2\"]\n\
                    [relay]\nfrom = [\"192.0.2.3\"]\n[guard]\nexempt = [\"192.0.2.4\"]\n";
        let config = Config::parse("a.toml", text, std::iter::empty()).unwrap();
        let spared = trusted(&config);
        for host in 1..=4 {
            let address = format!("192.0.2.{host}").parse().unwrap();
            assert!(client::is_in(address, &spared), "{address}");
        }
    }

    #[test]
    fn binary_content_is_taken_where_every_route_can_carry_it() {
        let offered = |routes: &str| {
            let route = "[[listener]]\n[[route]]\nrecipient = \"*\"\nvia = \"smtp://a.example\"\n";
            let text = format!("{route}{routes}");
            let config = Config::parse("a.toml", &text, std::iter::empty()).unwrap();
            let table = Arc::new(table(&config));
            let rules = rules(&config, &config.listeners[0], &table, None, None);
            ["CHUNKING", "BINARYMIME"].map(|keyword| rules.settings.offer.offers(keyword))
        };
        assert_eq!(offered(""), [true, true]);
        assert_eq!(offered("eight_bit = \"bounce\""), [true, false]);
        assert_eq!(offered("eight_bit = \"send\""), [true, false]);
    }

    #[test]
    fn requiretls_is_offered_only_where_every_way_keeps_it() {
        let store = "[[domain]]\nname = \"d.example\"\ndeliver = \"lmtp:unix:/run/lmtp\"\n";
        let relay = "[[route]]\nrecipient = \"*\"\nvia = \"smtp://relay.example\"\n";
        let offers = |tables: &str| {
            let config = Config::parse("a.toml", tables, std::iter::empty()).unwrap();
            let withheld =
                extensions(&config, &config.listeners[0], &session_limits(&config.listeners[0]))
                    .withheld;
            !withheld.iter().any(|keyword| keyword == "REQUIRETLS")
        };
        assert!(offers(store));
        assert!(!offers(&format!("{store}{relay}")));
        assert!(!offers(&format!("{store}{relay}tls = \"encrypt\"\n")));
        assert!(offers(&format!("{store}{relay}tls = \"verify\"\n")));
        assert!(!offers(&store.replace("lmtp:unix:/run/lmtp", "lmtp://store.example")));
    }

    #[test]
    fn verbs_of_local_entries_are_known() {
        let mut config = Config::default();
        let known = |config: &Config| {
            let table = Arc::new(table(config));
            rules(config, &config.listeners[0], &table, None, None).settings.offer.verb(b"XSCORE")
        };
        assert_eq!(known(&config), Known::Unknown);
        let mut local = extension::find("EXPN").unwrap().clone();
        local.verbs = vec!["XSCORE number".to_owned()];
        config.registry.local.push(local);
        assert_eq!(known(&config), Known::Refused);
    }
}
