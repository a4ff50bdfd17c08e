//! What options must satisfy together: no two of the same, nothing that would loop, no limit for
//! nobody, nobody's open relay.
//!
//! Each check sees what could be read, so that one fault does not hide another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;
use toml::de::DeTable;

use super::declare::{
    BlockList, Certificate, Domain, Listener, Metrics, Oauth, Probe, Relay, Role, Route, Site,
    Tenant,
};
use super::fault::nearest;
use super::read::{Item, Reading};
use super::word::Tls;
use crate::net::socket::Bind;
use crate::policy::quota::Meter;
use crate::route::next_hop::{NextHop, Place, Via};

/// Each domain is declared once.
pub(super) fn domains(reading: &mut Reading<'_>, domains: &[Item<'_, Domain>]) {
    once(reading, domains, ("domain", "name"), |domain| domain.name.clone());
}

/// Each block list is declared once.
pub(super) fn block_lists(reading: &mut Reading<'_>, lists: &[Item<'_, BlockList>]) {
    once(reading, lists, ("block list", "zone"), |list| list.zone.clone());
}

/// Each certificate is declared once.
pub(super) fn certificates(reading: &mut Reading<'_>, certificates: &[Item<'_, Certificate>]) {
    once(reading, certificates, ("certificate", "name"), |certificate| certificate.name.clone());
}

/// Each issuer of tokens is declared once.
pub(super) fn issuers(reading: &mut Reading<'_>, issuers: &[Item<'_, Oauth>]) {
    once(reading, issuers, ("issuer", "issuer"), |oauth| oauth.issuer.clone());
}

/// Each tenant is declared once, and limits of what users send are for users.
pub(super) fn tenants(reading: &mut Reading<'_>, tenants: &[Item<'_, Tenant>]) {
    once(reading, tenants, ("tenant", "name"), |tenant| tenant.name.clone());
    for item in tenants {
        let Some(tenant) = item.read.as_ref().filter(|tenant| is_address(&tenant.name)) else {
            continue;
        };
        for meter in Meter::ALL.map(Meter::name).into_iter().filter(|key| item.has(key)) {
            let message = format!(
                "`{meter}` is for users, and {} is an address; name a login, or remove it",
                tenant.name
            );
            reading.report(item.span(meter), message);
        }
    }
}

/// Whether a tenant, whose name was read, is a client and no login.
fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || name.parse::<IpNet>().is_ok()
}

/// Each site is declared once, and is one: limits for a misspelt next hop would hold for nobody.
pub(super) fn sites(
    reading: &mut Reading<'_>,
    sites: &[Item<'_, Site>],
    domains: &[Item<'_, Domain>],
    routes: &[Item<'_, Route>],
) {
    once(reading, sites, ("site", "name"), |site| site.name.to_string());
    if domains.iter().any(|item| item.read.is_none())
        || routes.iter().any(|item| item.read.is_none())
    {
        // One that can't be read may be what leads there.
        return;
    }
    let hops: Vec<NextHop> =
        places(domains, routes).into_iter().map(|(next_hop, _)| next_hop).collect();
    for item in sites {
        let Some(site) = item.read.as_ref().filter(|site| !hops.contains(&site.name)) else {
            continue;
        };
        let names: Vec<String> = hops.iter().map(NextHop::to_string).collect();
        let name = site.name.to_string();
        let right = match nearest(&name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "name the next hop as `deliver` or `via` does".to_owned(),
        };
        let message = format!("no [[domain]] and no [[route]] leads to {name}; {right}");
        reading.report(item.span("name"), message);
    }
}

/// Reports what has the same name, under this key, as one before.
pub(super) fn once<T>(
    reading: &mut Reading<'_>,
    items: &[Item<'_, T>],
    (what, key): (&str, &str),
    name_of: impl Fn(&T) -> String,
) {
    let mut first: HashMap<String, usize> = HashMap::new();
    for item in items {
        let Some(name) = item.read.as_ref().map(&name_of) else { continue };
        if let Some(line) = first.get(&name) {
            let message = format!(
                "the {what} {name} is already declared at line {line}; remove one of the two"
            );
            reading.report(item.span(key), message);
        } else {
            first.insert(name, item.line);
        }
    }
}

/// The next hops that mail is led to, with where that is written.
fn places(
    domains: &[Item<'_, Domain>],
    routes: &[Item<'_, Route>],
) -> Vec<(NextHop, Range<usize>)> {
    let of_domains = domains.iter().filter_map(|item| {
        let domain = item.read.as_ref()?;
        Some((domain.deliver.clone(), item.span("deliver")))
    });
    let of_routes = routes.iter().filter_map(|item| match &item.read.as_ref()?.via {
        Via::Hop(next_hop) => Some((next_hop.clone(), item.span("via"))),
        Via::Discard | Via::Reject => None,
    });
    of_domains.chain(of_routes).collect()
}

/// No two listeners want the same socket, LMTP keeps away from the port of SMTP (RFC 2033 5), and
/// nobody's password travels for others to read.
pub(super) fn listeners(reading: &mut Reading<'_>, listeners: &[Item<'_, Listener>]) {
    let mut taken: Vec<(&Bind, usize)> = Vec::new();
    for item in listeners {
        let Some(listener) = &item.read else { continue };
        let bind = &listener.bind;
        if let Some((other, line)) = taken.iter().find(|(other, _)| collide(other, bind)) {
            let covered = if *other == bind {
                "is already used".to_owned()
            } else {
                format!("overlaps {other}, used")
            };
            let message = format!(
                "{bind} {covered} by the [[listener]] at line {line}; choose another address or \
                 port, or remove one of the two"
            );
            reading.report(item.span("bind"), message);
        }
        taken.push((bind, item.line));
        if listener.role == Role::Lmtp && matches!(bind, Bind::Tcp(to) if to.port() == 25) {
            let message = "port 25 is for SMTP, and LMTP must not be spoken there; choose another \
                           port, 24 for one, or a Unix socket";
            reading.report(item.span("bind"), message.to_owned());
        }
        if let Some(net) = listener.proxy_from.iter().find(|net| net.prefix_len() == 0) {
            let message = format!(
                "`proxy_from` has {net}, everyone, so that any client could pretend to be another; \
                 name only your proxies"
            );
            reading.report(item.span("proxy_from"), message);
        }
        let far = matches!(bind, Bind::Tcp(address) if !address.ip().is_loopback());
        if listener.role == Role::Submission && listener.tls_mode() == Tls::Off && far {
            let message = "`tls` is \"off\" where users log in from other machines, so nobody could; \
                           it must be \"starttls\" or \"implicit\"";
            reading.report(item.span("tls"), message.to_owned());
        }
    }
}

/// Figures and mail are not served at one port.
pub(super) fn metrics(
    reading: &mut Reading<'_>,
    root: &DeTable<'_>,
    listeners: &[Item<'_, Listener>],
    metrics: Option<&Metrics>,
) {
    let Some(bind) = metrics.and_then(|metrics| metrics.bind) else { return };
    let mail = Bind::Tcp(bind);
    let taken = listeners
        .iter()
        .find(|item| item.read.as_ref().is_some_and(|listener| collide(&listener.bind, &mail)));
    if let Some(item) = taken {
        let by = match item.line {
            0 => "the default listener".to_owned(),
            line => format!("the [[listener]] at line {line}"),
        };
        let message = format!("`bind` has {bind}, where {by} takes mail; choose another port");
        reading.report_key(root, "metrics", "bind", message);
    }
}

/// Whether the second of two sockets could not be opened. Port 0 is any free port.
fn collide(a: &Bind, b: &Bind) -> bool {
    let (Bind::Tcp(a), Bind::Tcp(b)) = (a, b) else { return a == b };
    let same_family = a.is_ipv4() == b.is_ipv4();
    let wide = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || (same_family && wide))
}

/// No mail is handed back to this server itself.
pub(super) fn next_hops(
    reading: &mut Reading<'_>,
    listeners: &[Item<'_, Listener>],
    domains: &[Item<'_, Domain>],
    routes: &[Item<'_, Route>],
) {
    for (hop, span) in places(domains, routes) {
        let own = listeners
            .iter()
            .find(|item| item.read.as_ref().is_some_and(|listener| leads_to(&hop, &listener.bind)));
        if let Some(own) = own {
            let at = match own.line {
                0 => "the default listener".to_owned(),
                line => format!("the [[listener]] at line {line}"),
            };
            let message = format!(
                "{hop} is this server itself ({at}), so mail would go in circles; name the \
                 server or mailstore behind it"
            );
            reading.report(span, message);
        }
    }
}

/// Whether a next hop, as written, is a socket that we listen on.
fn leads_to(hop: &NextHop, bind: &Bind) -> bool {
    let (host, port, bind) = match (&hop.place, bind) {
        (Place::Tcp { host, port }, Bind::Tcp(bind)) => (host, port, bind),
        (Place::Unix(path), Bind::Unix(bind)) => return path == bind,
        _ => return false,
    };
    let ours = |address: IpAddr| {
        let local = address.is_loopback() || address.is_unspecified();
        address == bind.ip() || (bind.ip().is_unspecified() && local)
    };
    let named = host == "localhost" && (bind.ip().is_loopback() || bind.ip().is_unspecified());
    *port == bind.port() && (named || host.parse().is_ok_and(ours))
}

/// The whole internet may not relay.
pub(super) fn relay(reading: &mut Reading<'_>, root: &DeTable<'_>, relay: Option<&Relay>) {
    let Some(relay) = relay else { return };
    if let Some(net) = relay.from.iter().find(|net| net.prefix_len() == 0) {
        let message = format!(
            "`from` has {net}, everyone, which makes this server an open relay; name only the \
             networks that you trust"
        );
        reading.report_key(root, "relay", "from", message);
    }
}

/// A remembered answer is refreshed before it ends.
pub(super) fn probe(reading: &mut Reading<'_>, root: &DeTable<'_>, probe: Option<&Probe>) {
    let Some(probe) = probe else { return };
    let (refresh, lifetime) = (probe.positive_refresh, probe.positive_lifetime);
    if refresh > lifetime {
        let message = format!(
            "`positive_refresh` ({}) is longer than `positive_lifetime` ({}); it must be at most \
             as long",
            humantime::format_duration(refresh),
            humantime::format_duration(lifetime)
        );
        // One of the two may be the default: the fault is where the other was written.
        let keys = ["positive_refresh", "positive_lifetime"];
        let key = keys.into_iter().find(|key| reading.gives(root, "probe", key));
        reading.report_key(root, "probe", key.unwrap_or("positive_refresh"), message);
    }
}
