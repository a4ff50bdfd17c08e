//! Every option of the configuration, declared once.
//!
//! What is written here is the type, the reading, the checks of single values, the documentation
//! of the fields and `conf/angarium.toml`. An option stands here only when it works.
//! What several options must satisfy together is in `check`.

mod auth;
mod credential;
mod guard;
mod listener;
mod local;
mod submission;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use self::auth::{Auth, Oauth};
pub use self::guard::Guard;
pub use self::listener::Listener;
pub use self::submission::Submission;
use super::address::{
    BindOrNot, DomainName, DomainOrLiteral, File, LocalPartOrMailbox, Mailbox, Network, Separators,
    SocketPath, TenantName,
};
use super::credential::AuthoritiesOf;
use super::door::{AccessOf, NameServer, Refusal};
use super::option::{Described, Section, sections};
use super::owners::OwnersOf;
use super::recipients::RecipientsOf;
use super::registry::LocalEntries;
use super::template::TemplateOf;
use super::value::{
    Count, Flag, List, NotEmpty, OneOf, Parsed, PerTime, PerTimeOrNot, Size, Span, Text,
};
pub use super::word::{Format, Level, Role, Tls, Vrfy};
use crate::policy::access;
use crate::policy::blocklist::{Action, Answers};
use crate::registry::extension::Extension;
use crate::report::template::Template;
use crate::route::limit::Rate;
use crate::route::next_hop::{NextHop, Via};
use crate::route::owners::Owners;
use crate::route::pattern::Pattern;
use crate::route::recipients::Recipients;
use crate::route::security::{Authorities, TlsPolicy};
use crate::route::{EightBit, LongLines};
pub use credential::Credential;
pub use local::Local;
pub use tls::Certificate;

/// Every section, in the order of the reference file.
pub const SECTIONS: &[Described] = &[
    Config::DESCRIBED,
    Listener::DESCRIBED,
    Certificate::DESCRIBED,
    Domain::DESCRIBED,
    Relay::DESCRIBED,
    Auth::DESCRIBED,
    Oauth::DESCRIBED,
    Submission::DESCRIBED,
    Guard::DESCRIBED,
    Access::DESCRIBED,
    BlockList::DESCRIBED,
    Rates::DESCRIBED,
    Route::DESCRIBED,
    Credential::DESCRIBED,
    Site::DESCRIBED,
    Tenant::DESCRIBED,
    Queue::DESCRIBED,
    Report::DESCRIBED,
    Probe::DESCRIBED,
    Timeout::DESCRIBED,
    Dns::DESCRIBED,
    Local::DESCRIBED,
    Control::DESCRIBED,
    Registry::DESCRIBED,
    Metrics::DESCRIBED,
    Log::DESCRIBED,
];

sections! {
    /// The whole configuration.
    Top Config = "" {
        /// The name that this server gives itself: in its greeting, in HELO and EHLO, in trace
        /// fields and in the ids of its reports. Other servers look it up, so it should resolve
        /// to this machine. Where the machine has no name that is a domain: localhost.
        hostname: String as DomainName = machine_name r#""mx.example.org""#, by "rfc5321bis 2.3.5";

        /// The folder of the queue. It must be on a disk that outlives a restart: an accepted
        /// message exists only there. A relative path begins where the daemon was started.
        spool: PathBuf as File = default r#""./angarium-spool""#;

        /// The user whose rights the daemon keeps after the sockets are open; without it, it stays
        /// who it is.
        user: Option<String> as Text = optional r#""angarium""#;

        /// Where mail for a bare `<Postmaster>`, without a domain, goes; without it, to the
        /// postmaster of the first `[[domain]]`. It also stands in for the postmaster of a domain
        /// that has none in its recipients file or mailstore.
        postmaster: Option<String> as Mailbox = optional r#""admin@example.org""#,
            by "rfc5321bis 4.5.1";

        /// How long running deliveries may go on when the daemon is told to stop. What is cut off
        /// then is tried again after the next start.
        stop_grace: Duration as Span = default r#""20s""#, in "0s" to "1h";
    } and {
        /// The file as it was named; empty for the built-in defaults.
        file: String;
        /// Where mail is taken; never empty.
        listeners: Vec<Listener>;
        /// What is shown under TLS.
        certificates: Vec<Certificate>;
        /// The domains that mail is accepted for.
        domains: Vec<Domain>;
        /// Who may relay.
        relay: Relay;
        /// Who may log in.
        auth: Auth;
        /// Whose tokens are taken.
        oauth: Vec<Oauth>;
        /// What users may send.
        submission: Submission;
        /// What becomes of those who try passwords.
        guard: Guard;
        /// The operator's lists.
        access: Access;
        /// Block lists in the DNS.
        block_lists: Vec<BlockList>;
        /// How often one client may do what.
        rates: Rates;
        /// How mail for others leaves; the first match wins.
        routes: Vec<Route>;
        /// Logins at next hops.
        credentials: Vec<Credential>;
        /// Next hops with limits of their own.
        sites: Vec<Site>;
        /// Tenants with limits of their own.
        tenants: Vec<Tenant>;
        /// The queue.
        queue: Queue;
        /// Reports to senders.
        report: Report;
        /// The verification of recipients.
        probe: Probe;
        /// The timeouts of a delivery.
        timeout: Timeout;
        /// How the DNS is asked.
        dns: Dns;
        /// Mail from programs of this machine.
        local: Local;
        /// The operator's socket.
        control: Control;
        /// The operator's own entries of the registry.
        registry: Registry;
        /// The metrics socket.
        metrics: Metrics;
        /// The log.
        log: Log;
    }

    /// A domain of ours: mail for it is accepted from anyone and handed to its mailstore.
    Array Domain = "domain" {
        /// The domain, in any script, or an address literal such as "[192.0.2.1]". Subdomains are
        /// not meant.
        name: String as DomainOrLiteral = required r#""example.org""#;

        /// Where its mail goes: lmtp:unix:/path or lmtp://host:port for a mailstore;
        /// smtp://host:port or smtps://host:port makes this server a relay in front of another, or
        /// its backup.
        deliver: NextHop as Parsed<NextHop> = required r#""lmtp:unix:/run/dovecot/lmtp""#;

        /// Which recipients are accepted: "probe", those that the next hop accepts when asked;
        /// "any"; or "file:/path", those listed in a file, one address or local part a line.
        /// With "any", mail that the next hop refuses later becomes a report to a sender who is
        /// often forged.
        recipients: Recipients as RecipientsOf = default r#""probe""#;

        /// Since when recipients have their owners: "file:/path", or "" where that is not known. A line
        /// has an address, a local part, or @domain for the domain as a whole, and the date, such as
        /// 2020-12-24T18:00:00Z. Where any domain has such a file RRVS is offered, and mail that must
        /// not reach a later owner, or one of whom no date is known, is refused.
        owners: Arc<Owners> as OwnersOf = default r#""""#, by "RFC 7293";

        /// Where mail for postmaster and abuse goes: a local part of this domain or a mailbox;
        /// without it, to the mailboxes of these names.
        postmaster: Option<String> as LocalPartOrMailbox = optional r#""admin""#,
            by "rfc5321bis 4.5.1";

        /// Characters that separate a local part from a tag: with "+", mail for user+tag is taken
        /// where a file lists only user. A local part is looked up whole, then as what stands before
        /// the first of them; the address goes on unchanged. Off by default, as in Postfix: a store
        /// that knows no tags would refuse what was accepted. With recipients = "probe" the store
        /// decides alone.
        separator: String as Separators = default r#""""#;

        /// What is asked of TLS there, where the place is no Unix socket: "off", it is not used; "may",
        /// it is used where it is offered, and whoever answers is believed; "encrypt", nothing goes
        /// in clear; "verify", nor to anybody whose certificate is not of that host and of a trusted
        /// authority. What can't be had defers the mail. smtps:// always encrypts.
        tls: TlsPolicy as OneOf<TlsPolicy> = default r#""may""#, by "RFC 3207";

        /// A PEM file with certificates of authorities to trust there beside the system's.
        ca: Option<Arc<Authorities>> as AuthoritiesOf = optional r#""/etc/angarium/ca.pem""#;

        /// The `[[credential]]` to log in with; only where the certificate is verified, or the next
        /// hop is on this machine.
        credentials: Option<String> as Text = optional r#""smarthost""#, by "RFC 4954";

        /// The most deliveries at a time that this section leads to, beside what holds for the next
        /// hop as a whole. Sections to one next hop with all the same settings count as one.
        concurrency: Option<usize> as Count = optional "20", in "1" to "100000";

        /// The most messages in a time, likewise: "20/s", "600/m" or "5000/h".
        rate: Option<Rate> as PerTime = optional r#""20/s""#;

        /// The most recipients of one transaction; without it, as for the next hop.
        recipients_per_transaction: Option<usize> as Count = optional "100", in "1" to "10000";

        /// The most messages over one connection; without it, as for the next hop.
        messages_per_connection: Option<usize> as Count = optional "100", in "1" to "100000";
    } and {
        /// The line of its header.
        line: usize;
    }

    /// Who may send mail for others through this server.
    Table Relay = "relay" {
        /// Networks that may relay; a bare address means that one. By default nobody may. Behind a
        /// container's proxy every client may seem to come from the gateway: do not list it then.
        from: Vec<IpNet> as List<Network> = default "[]";
    }

    /// The operator's own lists of whom to let in, refuse or hold. A list is a file with a rule a
    /// line: a pattern, an action and perhaps a text for the client. It is read again on SIGHUP. The
    /// most specific pattern of a list decides, wherever it stands. The actions are:
    ///   accept: the lists after this one, block lists, rates and `greet_delay` are skipped. It never
    ///     grants relaying.
    ///   reject, reject 554, reject 550 5.1.8: refused, with 550 5.7.1 where nothing else is said.
    ///   defer: refused for now, with 450 4.7.1.
    ///   hold: accepted and held in the queue until `queue release`; the text is for the log.
    /// The lists are asked in the order below when a recipient is named, until one accepts or
    /// refuses.
    Table Access = "access" {
        /// By the client's address: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32. Only what is accepted
        /// here is spared from rates and `greet_delay`. "file:/path", or "" for no list.
        client: Option<Arc<access::List>> as AccessOf = default r#""""#;

        /// By the name in HELO or EHLO: mail.example.org, or .example.org for all names below it.
        hello: Option<Arc<access::List>> as AccessOf = default r#""""#;

        /// By the sender: joe@example.org, example.org, .example.org, joe@ in any domain, or <> for
        /// reports; in this order, a longer domain before a shorter one.
        sender: Option<Arc<access::List>> as AccessOf = default r#""""#;

        /// By the recipient, likewise, but for <>.
        recipient: Option<Arc<access::List>> as AccessOf = default r#""""#;
    }

    /// A block list in the DNS, which is asked for the client's address when the first recipient is
    /// named. Never for the networks of `[relay]`, nor what `[access]` accepts, nor for mail to
    /// postmaster. No answer lets the client in, as does one in 127.255.255.0/24: by that lists say
    /// that they refuse to answer.
    Array BlockList = "blocklist" {
        /// The zone that is asked.
        zone: String as DomainName = required r#""zen.example.net""#, by "RFC 5782 2.1";

        /// Which answers mean that the client is listed: "127.0.0.2", "127.0.0.2-11" or
        /// "127.0.1.0/24".
        answers: Vec<Answers> as NotEmpty<Parsed<Answers>> = default r#"["127.0.0.0/8"]"#;

        /// What a listed client gets: "reject" is 554 5.7.1, "defer" 450 4.7.1.
        action: Action as OneOf<Action> = default r#""reject""#;

        /// What it is told: {client} is its address, {reason} the list's own text.
        text: String as Refusal = default r#""client [{client}] blocked by {zone}: {reason}""#;

        /// How long the list may take. One that was silent five times in a row is left alone for a
        /// minute.
        timeout: Duration as Span = default r#""5s""#, in "100ms" to "30s";
    } and {
        /// The line of its header.
        line: usize;
    }

    /// How often one client may do something: so many at once, and as many again in the time. An
    /// IPv6 client is its /64. Never for the networks of `[relay]` and clients that `[access]`
    /// accepts. At most 65536 addresses are remembered.
    Table Rates = "rates" {
        /// Connections, as "60/m" or "1000/h"; more get 421 4.7.0. "" for no limit.
        connections: Option<Rate> as PerTimeOrNot = default r#""""#;

        /// Messages; more get 450 4.7.1 to MAIL. "" for no limit.
        messages: Option<Rate> as PerTimeOrNot = default r#""""#;

        /// Recipients, also refused ones; more get 450 4.7.1 to RCPT. "" for no limit.
        recipients: Option<Rate> as PerTimeOrNot = default r#""""#;

        /// Commands of any kind; more get 421 4.7.0, and the session ends. "" for no limit.
        commands: Option<Rate> as PerTimeOrNot = default r#""""#;

        /// Networks that the rates do not hold for.
        exempt: Vec<IpNet> as List<Network> = default r#"["127.0.0.0/8", "::1"]"#;
    }

    /// How mail for others leaves. It never grants relaying, and mail for a `[[domain]]` goes where
    /// that says. The first match wins; without one, mail goes to the exchangers of its domain.
    Array Route = "route" {
        /// The recipients: "*", "*@domain", "*@*.domain" for every subdomain, or "local@domain".
        recipient: Pattern as Parsed<Pattern> = required r#""*@partner.example""#;

        /// What is done: smtp://host:port, smtps://host:port, lmtp://host:port or lmtp:unix:/path
        /// hand the mail there, and nowhere else when that fails; "discard" accepts it and throws it away;
        /// "reject" refuses it.
        via: Via as Parsed<Via> = required r#""smtp://10.0.0.7:25""#;

        /// What is done with 8-bit content where an SMTP next hop does not offer 8BITMIME:
        /// "convert" it, except what is signed as a whole, which fails; "send" it all the same;
        /// or "bounce", let it fail. Binary content is never sent to who does not take it, so that
        /// no listener offers BINARYMIME unless all routes convert.
        eight_bit: EightBit as OneOf<EightBit> = default r#""convert""#, by "RFC 6152";

        /// What is done with lines over 998 octets towards an SMTP next hop: "pass" them as they
        /// are, or "bounce", let the message fail.
        long_lines: LongLines as OneOf<LongLines> = default r#""pass""#,
            by "rfc5321bis 4.5.3.1.6";

        /// What is asked of TLS there, where the place is no Unix socket: "off", it is not used; "may",
        /// it is used where it is offered, and whoever answers is believed; "encrypt", nothing goes
        /// in clear; "verify", nor to anybody whose certificate is not of that host and of a trusted
        /// authority. What can't be had defers the mail. smtps:// always encrypts.
        tls: TlsPolicy as OneOf<TlsPolicy> = default r#""may""#, by "RFC 3207";

        /// A PEM file with certificates of authorities to trust there beside the system's.
        ca: Option<Arc<Authorities>> as AuthoritiesOf = optional r#""/etc/angarium/ca.pem""#;

        /// The `[[credential]]` to log in with; only where the certificate is verified, or the next
        /// hop is on this machine.
        credentials: Option<String> as Text = optional r#""smarthost""#, by "RFC 4954";

        /// The most deliveries at a time that this section leads to, beside what holds for the next
        /// hop as a whole. Sections to one next hop with all the same settings count as one.
        concurrency: Option<usize> as Count = optional "20", in "1" to "100000";

        /// The most messages in a time, likewise: "20/s", "600/m" or "5000/h".
        rate: Option<Rate> as PerTime = optional r#""20/s""#;

        /// The most recipients of one transaction; without it, as for the next hop.
        recipients_per_transaction: Option<usize> as Count = optional "100", in "1" to "10000";

        /// The most messages over one connection; without it, as for the next hop.
        messages_per_connection: Option<usize> as Count = optional "100", in "1" to "100000";
    } and {
        /// The line of its header.
        line: usize;
    }

    /// A next hop with limits of its own, whichever sections lead there.
    Array Site = "site" {
        /// The next hop, as it is written in `deliver` or `via`.
        name: NextHop as Parsed<NextHop> = required r#""smtp://10.0.0.7:25""#;

        /// The most deliveries at a time; without it, `route_concurrency` of [queue].
        concurrency: Option<usize> as Count = optional "20", in "1" to "100000";

        /// The most messages in a time; without it, `site_rate` of [queue]: "20/s", "600/m" or "5000/h".
        rate: Option<Rate> as PerTime = optional r#""20/s""#;

        /// The most recipients of one transaction; without it, as in [queue].
        recipients_per_transaction: Option<usize> as Count = optional "100", in "1" to "10000";

        /// The most messages over one connection; without it, as in [queue].
        messages_per_connection: Option<usize> as Count = optional "100", in "1" to "100000";
    } and {
        /// The line of its header.
        line: usize;
    }

    /// One who sends, with limits of their own.
    Array Tenant = "tenant" {
        /// Who: the address of a client, the /64 of an IPv6 client, or the login of a user.
        name: String as TenantName = required r#""joe@example.org""#;

        /// The most deliveries at a time; without it, `tenant_concurrency` of [queue].
        concurrency: Option<usize> as Count = optional "20", in "1" to "100000";

        /// The most messages in a time; without it, `tenant_rate` of [queue]: "20/s", "600/m" or
        /// "5000/h".
        rate: Option<Rate> as PerTime = optional r#""20/s""#;

        /// How much may wait; without it, `tenant_backlog` of [queue].
        backlog: Option<usize> as Count = optional "10000", in "1" to "1000000000";

        /// The largest content of a message; without it, as at the listener. A user is told of it in
        /// the EHLO after the login.
        max_message_size: Option<u64> as Size = optional r#""200MiB""#, in "64KiB" to "4GiB",
            by "RFC 1870";

        /// For a login: the most messages in any hour, 0 for no limit; without it, as in
        /// [submission]. So for the other three.
        messages_per_hour: Option<usize> as Count = optional "5000", in "0" to "100000000";
        /// The most messages in any 24 hours.
        messages_per_day: Option<usize> as Count = optional "50000", in "0" to "100000000";
        /// The most recipients in any hour.
        recipients_per_hour: Option<usize> as Count = optional "5000", in "0" to "100000000";
        /// The most recipients in any 24 hours.
        recipients_per_day: Option<usize> as Count = optional "50000", in "0" to "100000000";
    } and {
        /// The line of its header.
        line: usize;
    }

    /// When and how often delivery is tried.
    Table Queue = "queue" {
        /// The delays between tries at the exchangers of a domain; the last one repeats. A little
        /// chance is added, so that retries do not come in crowds.
        retry: Vec<Duration> as NotEmpty<Span> =
            default r#"["5m", "10m", "20m", "30m", "1h", "2h", "4h"]"#, in "1s" to "7d",
            by "rfc5321bis 4.5.4.1";

        /// The delays between tries at configured next hops and mailstores that put a message off. For
        /// those that can't be reached, see `probe_delay_max`.
        retry_next_hop: Vec<Duration> as NotEmpty<Span> =
            default r#"["5s", "15s", "1m", "5m", "15m"]"#, in "1s" to "7d";

        /// How long a next hop that can't be reached is left alone at most. It is looked at, without a
        /// message, after a second, then after twice as long each time up to this. What waits for it
        /// goes as soon as it answers, and no try is counted meanwhile.
        probe_delay_max: Duration as Span = default r#""5m""#, in "1s" to "1d";

        /// How long delivery is tried before the sender gets a report of failure.
        lifetime: Duration as Span = default r#""5d""#, in "1s" to "60d", by "rfc5321bis 4.5.4.1";

        /// The least time that a sender may leave who wants a message returned when it is late; "0s" for
        /// any. The EHLO reply tells it, by DELIVERBY.
        deliver_by_min: Duration as Span = default r#""0s""#, in "0s" to "1d", by "RFC 2852 2";

        /// How long delivery of a report to a sender is tried; nobody is told if it fails.
        report_lifetime: Duration as Span = default r#""2d""#, in "1s" to "60d",
            by "rfc5321bis 4.5.4.1";

        /// At which ages of a message that still waits its sender gets a report of the delay, if it
        /// came from the networks of `[relay]`. One report tells of up to 100 messages that come to
        /// such an age within 10 seconds. Never for bulk mail, lists and automatic mail. An empty
        /// list: never at all.
        delay_warning: Vec<Duration> as List<Span> = default r#"["4h"]"#, in "1s" to "60d",
            by "rfc5321bis 4.5.4.1";

        /// Accept mail, but deliver none.
        paused: bool as Flag = default "false";

        /// Turn every permanent failure into a temporary one, here and at next hops: for the first
        /// days of a configuration that nobody is sure of yet.
        soft_bounce: bool as Flag = default "false";

        /// The most deliveries at a time to one next hop. It begins at 5, and gets as many of these as
        /// it turns out to bear.
        route_concurrency: usize as Count = default "20", in "1" to "1000";

        /// The most deliveries at a time, to all next hops together. An eighth is left to tenants below
        /// their share, and next hops that carried out nothing in the last minute get half at most.
        max_deliveries: usize as Count = default "500", in "1" to "100000";

        /// The most recipients of one transaction. Every server takes 100; what it refuses as too
        /// many goes in another one.
        recipients_per_transaction: usize as Count = default "100", in "1" to "10000",
            by "rfc5321bis 4.5.3.1.8";

        /// The most messages over one connection; then it is closed with QUIT, and the next message
        /// gets a new one.
        messages_per_connection: usize as Count = default "100", in "1" to "100000";

        /// The most messages in a time that leave by all routes together, as "1000/s", "600/m" or
        /// "20/h"; "" for no limit.
        rate: Option<Rate> as PerTimeOrNot = default r#""""#;

        /// The most messages in a time to each next hop; "" for no limit.
        site_rate: Option<Rate> as PerTimeOrNot = default r#""""#;

        /// The most deliveries at a time of mail from each tenant: the client's address, for IPv6
        /// its /64, or who has logged in. 0: as many as its fair share allows.
        tenant_concurrency: usize as Count = default "0", in "0" to "100000";

        /// The most messages in a time that leave for each tenant; more wait. "" for no limit.
        tenant_rate: Option<Rate> as PerTimeOrNot = default r#""""#;

        /// How much may wait for each tenant, a message for three destinations counted three times;
        /// its new mail gets 452 4.3.1 until there is less, and nobody else's. 0 for no limit.
        tenant_backlog: usize as Count = default "0", in "0" to "1000000000";

        /// The most memory for the content of all messages that are being received; past it,
        /// content goes to disk as it comes.
        content_memory: u64 as Size = default r#""64MiB""#, in "1MiB" to "1TiB";

        /// The free space of the spool's disk below which no new mail is taken: it gets 452 4.3.1,
        /// and what is queued is still delivered.
        min_free: u64 as Size = default r#""64MiB""#, in "1MiB" to "1TiB";
    }

    /// The reports that senders get of mail that could not be delivered, or not yet.
    Table Report = "report" {
        /// Whom they are from. Without it: mailer-daemon at the host name.
        from: Option<String> as Mailbox = optional r#""mailer-daemon@example.org""#;

        /// Up to this size a message that failed is given back whole; of a larger one the header is.
        max_content: u64 as Size = default r#""50KiB""#, in "0B" to "1MiB", by "RFC 3461 4.3";

        /// A file with the words for people, as an absolute path; empty for the built-in ones. It
        /// is plain text with placeholders: {introduction} says what has happened, {recipients}
        /// lists them with what was said and can be done, and {hostname}, {sender}, {arrived} and
        /// {queue_id} are of the message. `{{` is a brace.
        template: Option<Template> as TemplateOf = default "\"\"";
    }

    /// How recipients are verified at their mailstore (recipients = "probe").
    Table Probe = "probe" {
        /// How long it is remembered that a recipient exists; the answer is good for as long even
        /// while the mailstore is down.
        positive_lifetime: Duration as Span = default r#""7d""#, in "1m" to "60d";

        /// After how long such an answer is asked for again, without making the client wait.
        positive_refresh: Duration as Span = default r#""1d""#, in "1m" to "60d";

        /// How long it is remembered that a recipient does not exist.
        negative_lifetime: Duration as Span = default r#""5m""#, in "1s" to "1d";

        /// How long the mailstore may take to answer before the client gets 451.
        timeout: Duration as Span = default r#""30s""#, in "1s" to "5m";
    }

    /// How long each step of a delivery may take.
    Table Timeout = "timeout" {
        /// Opening the connection, for each address tried.
        connect: Duration as Span = default r#""30s""#, in "1s" to "10m";

        /// The greeting.
        greeting: Duration as Span = default r#""5m""#, in "1s" to "1h",
            by "rfc5321bis 4.5.3.2.1";

        /// The reply to a command: EHLO, MAIL, RCPT and the others.
        command: Duration as Span = default r#""5m""#, in "1s" to "1h",
            by "rfc5321bis 4.5.3.2.2";

        /// The reply to DATA.
        data_initiation: Duration as Span = default r#""2m""#, in "1s" to "1h",
            by "rfc5321bis 4.5.3.2.4";

        /// The sending of one piece of content.
        data_block: Duration as Span = default r#""3m""#, in "1s" to "1h",
            by "rfc5321bis 4.5.3.2.5";

        /// The reply to the end of the content. If it is cut too short, mail is delivered twice.
        data_termination: Duration as Span = default r#""10m""#, in "1s" to "2h",
            by "rfc5321bis 4.5.3.2.6";

        /// How long an idle connection is kept for the next message to the same place; "0s": not
        /// at all.
        keep_idle: Duration as Span = default r#""10s""#, in "0s" to "5m";
    }

    /// How the DNS is asked for block lists.
    Table Dns = "dns" {
        /// The servers, as "127.0.0.1" or "[::1]:5353". None: those of /etc/resolv.conf.
        servers: Vec<SocketAddr> as List<NameServer> = default "[]";

        /// How long one server may take.
        timeout: Duration as Span = default r#""2s""#, in "100ms" to "30s";

        /// How often a question is asked.
        attempts: usize as Count = default "2", in "1" to "10";

        /// How many answers are kept, each for its time to live.
        cache: usize as Count = default "10000", in "0" to "10000000";
    }

    /// The socket of the operator's commands.
    Table Control = "control" {
        /// Its absolute path; without it, `control` in the spool.
        socket: Option<PathBuf> as SocketPath = optional r#""/run/angarium/control""#;
    }

    /// SMTP extensions beside the registered ones.
    Table Registry = "registry" {
        /// A file in TOML with [[extension]] entries of this site, as an absolute path; empty for
        /// none. Each has at least keyword, description, contact, change_controller and
        /// reg_method = "FCFS". Nothing serves them, but `angarium registry` shows them, and
        /// their verbs get 502 instead of 500.
        local: Vec<Extension> as LocalEntries = default "\"\"", by "rfc5321bis 8.1.1";
    }

    /// The figures for whoever watches this server.
    Table Metrics = "metrics" {
        /// Where they are served by HTTP: OpenMetrics at /metrics, health at /healthz. An IP
        /// address and port, as "127.0.0.1:9125"; "" for nowhere. Everyone who reaches it may read
        /// it, and destinations are named in it.
        bind: Option<SocketAddr> as BindOrNot = default r#""""#;
    }

    /// What is logged, to standard error.
    Table Log = "log" {
        /// "text" for people, "json" for programs: one object a line.
        format: Format as OneOf<Format> = default r#""text""#;

        /// The least important lines that are written: "error", "warn", "info" or "debug".
        level: Level as OneOf<Level> = default r#""info""#;
    }
}
