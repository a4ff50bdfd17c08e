//! Floor 0: every figure that the metrics socket tells, declared once with its type, unit and help.
//!
//! Promises stable names, labels whose values are bounded by what is compiled in or configured, or are
//! the few busiest at the time, and that counting is one or two atomic additions: no lock, no
//! allocation. What would need a walk to know is declared here as [`Asked`] and filled in when somebody
//! asks.

mod kind;
mod label;
mod text;

pub use kind::{Asked, Counter, Gauge, Histogram, Metric};
pub use label::{
    Admission, Answer, DoorRule, Handshake, Labels, Login, Meter, Outcome, Refusal, Reload,
    ReplyClass, Stage, Transport,
};
pub use text::{Exposition, Form};

/// Bounds of what takes part of a second, in microseconds.
const SHORT_US: &[u64] = &[
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
/// Bounds of what takes up to the longest timeout.
const DELIVERY_US: &[u64] = &[
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
];
/// Bounds of what takes up to days.
const LONG_US: &[u64] = &[
    10_000,
    50_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    14_400_000_000,
    43_200_000_000,
    86_400_000_000,
    432_000_000_000,
];
/// Bounds of what is counted.
const COUNTED: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// Declares metrics. One is
///
/// ```text
/// /// What it tells: the help.
/// NAME: Type = "exposed_name" in "unit", arguments of new;
/// ```
///
/// where the exposed name is without the `_total` of a counter and with its unit.
macro_rules! metrics {
    ($( $(#[doc = $help:literal])+ $NAME:ident: $ty:ty = $name:literal $(in $unit:literal)? $(, $argument:expr)*; )+) => {
        $( $(#[doc = $help])+ pub static $NAME: $ty = <$ty>::new(
            kind::Family { name: $name, unit: concat!($($unit)?), help: &[$($help),+] }
            $(, $argument)*
        ); )+

        /// All of them, in the order of the exposition.
        pub static ALL: &[&dyn Metric] = &[$(&$NAME),+];
    };
}

metrics! {
    /// The version that runs.
    BUILD: Asked = "angarium_build", "info";
    /// When the daemon started, since the epoch.
    START_TIME: Asked = "angarium_process_start_time_seconds" in "seconds", "gauge";
    /// Readings of the configuration on SIGHUP, by result.
    CONFIG_RELOADS: Counter<Reload, { Reload::COUNT }> = "angarium_config_reloads";

    /// Connections of clients, by whether they got a session.
    SMTPD_CONNECTIONS: Counter<Admission, { Admission::COUNT }> = "angarium_smtpd_connections";
    /// Sessions with clients that are open now.
    SMTPD_SESSIONS: Gauge = "angarium_smtpd_sessions";
    /// Commands of clients, by what was asked and the class of the reply.
    SMTPD_COMMANDS: Counter<(Stage, ReplyClass), { Stage::COUNT * ReplyClass::COUNT }> =
        "angarium_smtpd_commands";
    /// Refusals, by what was refused and the reply. Those never given are left out.
    SMTPD_REJECTS: Counter<(Stage, Refusal), { Stage::COUNT * Refusal::COUNT }> =
        "angarium_smtpd_rejects";
    /// Clients, messages and recipients that a rule of the front door refused, by its kind.
    DOOR_REFUSALS: Counter<DoorRule, { DoorRule::COUNT }> = "angarium_smtpd_door_refusals";
    /// Times that nearly all clients seemed to be one gateway; at most one a day.
    GATEWAYS_SUSPECTED: Counter<(), 1> = "angarium_smtpd_gateways_suspected";
    /// Clients looked up in block lists, by list and answer. A list with too much silence is left
    /// alone for a minute: unasked.
    BLOCK_LIST_LOOKUPS: Asked = "angarium_dnsbl_lookups", "counter";
    /// TLS handshakes with clients, by result.
    TLS_HANDSHAKES: Counter<Handshake, { Handshake::COUNT }> = "angarium_smtpd_tls_handshakes";
    /// Attempts to log in, by result.
    LOGINS: Counter<Login, { Login::COUNT }> = "angarium_smtpd_logins";
    /// Addresses that were shut out for a while, after too many failed logins.
    SHUT_OUT: Counter<(), 1> = "angarium_smtpd_shut_out";
    /// Messages and recipients of users that were not taken, by the limit that was reached.
    QUOTA_REFUSALS: Counter<Meter, { Meter::COUNT }> = "angarium_submission_limit_refusals";
    /// When each certificate in use ends, since the epoch.
    CERTIFICATE_NOT_AFTER: Asked = "angarium_certificate_not_after_seconds" in "seconds", "gauge";
    /// Time from the end of a message's content to its reply.
    SMTPD_ACCEPT: Histogram<(), 1> = "angarium_smtpd_accept_seconds" in "seconds", SHORT_US;
    /// Messages that were made safe and acknowledged.
    RECEIVED_MESSAGES: Counter<(), 1> = "angarium_received_messages";
    /// Octets of their content, as it came.
    RECEIVED_OCTETS: Counter<(), 1> = "angarium_received_bytes" in "bytes";
    /// Mailstores asked for a recipient, by answer.
    PROBES: Counter<Answer, { Answer::COUNT }> = "angarium_probes";

    /// Time to write and sync a group of the spool's log.
    SPOOL_SYNC: Histogram<(), 1> = "angarium_spool_sync_seconds" in "seconds", SHORT_US;
    /// Batches that one sync of the spool covered.
    SPOOL_GROUP: Histogram<(), 1> = "angarium_spool_group_batches", COUNTED;
    /// Octets written to the spool's log.
    SPOOL_WRITTEN: Counter<(), 1> = "angarium_spool_written_bytes" in "bytes";
    /// Whether new mail is taken as far as the spool goes: 1 or 0.
    SPOOL_ACCEPTING: Asked = "angarium_spool_accepting", "gauge";

    /// Messages in the queue: waiting for their first attempt, for another, for the operator, or
    /// failed and waiting for the report that they owe.
    QUEUE_MESSAGES: Asked = "angarium_queue_messages", "gauge";
    /// Age of the oldest message in the queue; 0 without any.
    QUEUE_OLDEST: Asked = "angarium_queue_oldest_age_seconds" in "seconds", "gauge";
    /// Jobs that could be delivered now, of the destinations with the most to do.
    DESTINATION_READY: Asked = "angarium_destination_ready_jobs", "gauge";
    /// Deliveries under way, of the destinations with the most to do.
    DESTINATION_ACTIVE: Asked = "angarium_destination_active_deliveries", "gauge";
    /// Next hops that can't be reached. They are looked at while mail for them is due.
    NEXT_HOPS_UNREACHABLE: Asked = "angarium_next_hops_unreachable", "gauge";
    /// Part of each tenant, from 0 to 1, in what tenants got since this was last read, by whomever:
    /// among those that had mail here at both readings, and only where another waited for a turn at the
    /// same next hop. The 20 that got most are told; none where nobody had to wait.
    TENANT_SHARE: Asked = "angarium_tenant_share_ratio" in "ratio", "gauge";
    /// Jain's index of all these parts: 1 where all got the same, 1/n where one of n got everything.
    /// Tenants that got nothing are not in it. Left out with fewer than two.
    TENANT_FAIRNESS: Asked = "angarium_tenant_fairness_index", "gauge";

    /// Recipients that an attempt settled or put off, by destination and result. The first 200
    /// destinations since the start have their names; the rest is told as other.
    DESTINATION_ATTEMPTS: Asked = "angarium_destination_attempts", "counter";
    /// Recipients that an attempt settled or put off, by transport and result.
    DELIVERY_ATTEMPTS: Counter<(Transport, Outcome), { Transport::COUNT * Outcome::COUNT }> =
        "angarium_delivery_attempts";
    /// Time that an attempt took, all its recipients together.
    DELIVERY_TIME: Histogram<Transport, { Transport::COUNT }> =
        "angarium_delivery_seconds" in "seconds", DELIVERY_US;
    /// Time from when an attempt was due to its begin.
    QUEUE_WAIT: Histogram<(), 1> = "angarium_queue_wait_seconds" in "seconds", LONG_US;
}

#[cfg(test)]
mod tests;
