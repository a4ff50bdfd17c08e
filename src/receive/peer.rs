//! Whom a session is with, and what follows from that.
//!
//! Promises that TLS is the connection's and stays, while a login is the client's and goes where a
//! proxy names another client; and that whoever must log in here relays by nothing else.

use std::net::IpAddr;
use std::sync::Arc;

use super::Rules;
use super::offers::Client;
use crate::auth::{Channel, Login};
use crate::net::tls::Facts;
use crate::policy::{client, tenant};
use crate::session::{Demand, Settings, Standing};
use crate::syntax::content::BareLineEnds;
use crate::syntax::parameter::submitter::Submitter;

/// The other side of a session.
#[derive(Debug)]
pub(super) struct Peer {
    /// Where the client is; what a proxy says of that, if it spoke.
    pub(super) address: IpAddr,
    /// Who its mail is charged to.
    pub(super) tenant: Arc<str>,
    /// Who it has proved to be.
    pub(super) login: Option<Login>,
    pub(super) may_relay: bool,
    connection: Connection,
}

/// What a proxy can't change by naming another client.
#[derive(Clone, Debug)]
struct Connection {
    address: IpAddr,
    /// Whether it is from a proxy that may speak for others.
    proxy: bool,
    tls: Option<Arc<Facts>>,
}

impl Peer {
    pub(super) fn new(address: IpAddr, tls: Option<Facts>, rules: &Rules) -> Self {
        let proxy = client::is_in(address, &rules.proxies);
        Self::at(address, Connection { address, proxy, tls: tls.map(Arc::new) }, rules)
    }

    fn at(address: IpAddr, connection: Connection, rules: &Rules) -> Self {
        let may_relay = rules.submission.is_none() && client::is_in(address, &rules.relay_from);
        let tenant = tenant::of_client(address).into();
        Self { address, tenant, login: None, may_relay, connection }
    }

    /// The client that the proxy names.
    pub(super) fn stands_for(&self, address: IpAddr, rules: &Rules) -> Self {
        Self::at(address, self.connection.clone(), rules)
    }

    /// The same connection, under TLS and with nobody known.
    pub(super) fn secured(&self, facts: Facts, rules: &Rules) -> Self {
        let tls = Some(Arc::new(facts));
        Self::at(self.address, Connection { tls, ..self.connection.clone() }, rules)
    }

    /// The client is this user from now on.
    pub(super) fn log_in(&mut self, login: Login) {
        self.tenant = Arc::clone(&login.user);
        self.may_relay = true;
        self.login = Some(login);
    }

    /// Who submitted a message, of which the client `said` something (RFC 4954 5): a user is
    /// believed what it may send as, and stands for itself otherwise; nobody else is believed.
    pub(super) fn submitter(&self, said: Option<Submitter>, rules: &Rules) -> Option<Submitter> {
        let (Some(login), Some(submission)) = (&self.login, &rules.submission) else {
            return said.map(|_| Submitter::Unknown);
        };
        let senders = &submission.senders;
        let believed = said.filter(|said| match said.known() {
            Some(mailbox) => senders.allows(&login.user, mailbox.local_part(), mailbox.domain()),
            None => *said == Submitter::Unknown,
        });
        let own = || senders.own_address(&login.user).as_ref().map(Submitter::mailbox);
        believed.or_else(own).or(Some(Submitter::Unknown))
    }

    /// How it is connected, for who judges its logins.
    pub(super) fn channel(&self, rules: &Rules) -> Channel {
        Channel {
            client: self.address,
            tls: self.connection.tls.is_some(),
            binding: self.tls().and_then(|facts| facts.exporter),
            clear_allowed: self.may_show_secrets(rules),
        }
    }

    /// The TLS of the connection.
    pub(super) fn tls(&self) -> Option<&Facts> {
        self.connection.tls.as_deref()
    }

    /// Nobody listens between two processes of one machine.
    fn may_show_secrets(&self, rules: &Rules) -> bool {
        rules.clear_passwords && self.connection.address.to_canonical().is_loopback()
    }

    /// What holds for the session now.
    pub(super) fn settings(&self, rules: &Rules) -> Arc<Settings> {
        let normalise = rules.submission.is_some()
            || self.may_relay
            || client::is_in(self.address, &rules.bare_line_ends_from);
        let mut settings = rules.settings.clone();
        if normalise {
            settings.bare_line_ends = BareLineEnds::Normalise;
        }
        if let (Some(submission), Some(login)) = (&rules.submission, &self.login) {
            settings.domain = submission.domain_for(&login.user).map(Into::into);
        }
        settings.verify |= self.may_relay && rules.verify_for_relay;
        settings.standing = self.standing(rules);
        let channel = self.channel(rules);
        let mechanisms = rules.authority.as_ref().map(|authority| authority.mechanisms(&channel));
        let client =
            Client { trusted: self.connection.proxy, known: self.may_relay, tls: channel.tls };
        if let Some(octets) = rules.message_octets_max.get(&*self.tenant) {
            settings.limits.message_octets_max = *octets;
        }
        let octets_max = settings.limits.message_octets_max;
        settings.offer = rules.offers.of(client, octets_max, mechanisms.as_deref());
        Arc::new(settings)
    }

    fn standing(&self, rules: &Rules) -> Standing {
        let (tls, authenticated) = (self.connection.tls.is_some(), self.login.is_some());
        let demand = if rules.submission.is_none() || authenticated {
            Demand::Nothing
        } else if tls || rules.tls.is_none() || self.may_show_secrets(rules) {
            Demand::Login
        } else {
            Demand::Tls
        };
        Standing { tls, authenticated, known: self.may_relay, demand }
    }
}
