//! Floor 0: the named events of the log, one structured line per change of state.
//!
//! Promises stable names and fields, which programs may rely on, and that every line about a message
//! carries its queue id and every line of a session the session's id. What a peer said is quoted as
//! a field; control characters in it are escaped by the subscriber, so a peer can't forge a line.
//! What is counted one to one with an event is counted here.

use std::fmt::Display;

use tracing::{debug, error, info, warn};

use crate::metric::{self, Admission, DoorRule, Login, Meter, Reload};

/// A listener accepts connections.
pub fn listening(bind: impl Display, role: &str) {
    info!(event = "listening", %bind, role);
}

/// A client connected.
pub fn session_opened(session: &str, client: impl Display) {
    metric::SMTPD_CONNECTIONS.add(Admission::Served, 1);
    info!(event = "session-opened", session, %client);
}

/// A connection is under TLS.
pub fn secured(
    session: &str,
    (protocol, cipher): (&str, &str),
    group: Option<&str>,
    sni: Option<&str>,
    resumed: bool,
) {
    info!(event = "secured", session, protocol, cipher, group, sni, resumed);
}

/// A client's TLS handshake came to nothing.
pub fn handshake_failed(session: &str, client: impl Display, why: impl Display) {
    info!(event = "handshake-failed", session, %client, %why);
}

/// A certificate is in use from now on.
pub fn certificate_taken(name: &str, fingerprint: &str, not_after: impl Display) {
    info!(event = "certificate-taken", name, fingerprint, %not_after);
}

/// The new files of a certificate can't be used; the old one stays.
pub fn certificate_refused(name: &str, why: &str) {
    error!(event = "certificate-refused", name, why);
}

/// Clients will not trust a certificate; told each day while it is so.
pub fn certificate_doubtful(name: &str, why: &str) {
    warn!(event = "certificate-doubtful", name, why);
}

/// A session that begins is through this proxy.
pub fn proxied(session: &str, proxy: impl Display) {
    info!(event = "proxied", session, %proxy);
}

/// A proxy did not say whom it speaks for, and was let go.
pub fn proxy_refused(proxy: impl Display, why: impl Display) {
    metric::SMTPD_CONNECTIONS.add(Admission::Refused, 1);
    warn!(event = "proxy-refused", %proxy, %why);
}

/// A proxy named the client that it speaks for.
pub fn impersonated(session: &str, client: impl Display, port: Option<u16>, name: Option<&str>) {
    info!(event = "impersonated", session, %client, port, name);
}

/// A user logged in.
pub fn logged_in(session: &str, mechanism: &str, user: &str, label: Option<&str>) {
    metric::LOGINS.add(Login::Granted, 1);
    info!(event = "logged-in", session, mechanism, user, label);
}

/// A client was not let in; `claimed` is what it said of itself.
pub fn login_denied(
    session: &str,
    client: impl Display,
    (mechanism, claimed): (&str, &str),
    (outcome, why): (Login, &str),
) {
    metric::LOGINS.add(outcome, 1);
    info!(event = "login-denied", session, %client, mechanism, claimed, why);
}

/// Too many logins failed from an address: it is shut out, by now so many times.
pub fn shut_out(
    session: &str,
    client: impl Display,
    claimed: &str,
    times: u32,
    until: impl Display,
) {
    metric::SHUT_OUT.add((), 1);
    warn!(event = "shut-out", session, %client, claimed, times, %until);
}

/// A session ended.
pub fn session_closed(session: &str, messages: u64, why: &str) {
    info!(event = "session-closed", session, messages, why);
}

/// A connection was refused before its session began.
pub fn session_refused(client: impl Display, why: &str) {
    metric::SMTPD_CONNECTIONS.add(Admission::Refused, 1);
    warn!(event = "session-refused", %client, why);
}

/// A user has reached a limit of what they may send, for the first time within a day.
pub fn limit_reached(user: &str, meter: Meter, limit: u32) {
    warn!(event = "limit-reached", user, meter = meter.name(), limit);
}

/// The mail that tells of a reached limit is in the queue, as a message of its own.
pub fn limit_told(id: impl Display, user: &str, to: impl Display) {
    info!(event = "limit-told", %id, user, %to);
}

/// A message was refused when it was announced.
pub fn sender_refused(session: &str, sender: impl Display, reply: impl Display) {
    info!(event = "sender-refused", session, %sender, %reply);
}

/// A recipient was refused.
pub fn recipient_refused(session: &str, recipient: impl Display, reply: impl Display) {
    info!(event = "recipient-refused", session, %recipient, %reply);
}

/// A rule of the front door refused a client, a message or a recipient; which one, and what for.
pub fn door_refused(
    session: &str,
    (rule, by): (DoorRule, &str),
    hello: &str,
    sender: impl Display,
    recipient: impl Display,
    reply: impl Display,
) {
    metric::DOOR_REFUSALS.add(rule, 1);
    let rule = rule.name();
    info!(event = "door-refused", session, rule, by, hello, %sender, %recipient, %reply);
}

/// A client connected more often than it may.
pub fn door_shut(client: impl Display, (rule, by): (DoorRule, &str)) {
    metric::DOOR_REFUSALS.add(rule, 1);
    metric::SMTPD_CONNECTIONS.add(Admission::Refused, 1);
    info!(event = "session-refused", %client, why = "too many connections in a time", rule = rule.name(), by);
}

/// Nearly all clients seem to be one: something between hides their addresses. Told once a day.
pub fn gateway_suspected(address: impl Display, transactions: u32, names: usize, may_relay: bool) {
    metric::GATEWAYS_SUSPECTED.add((), 1);
    let what = if may_relay {
        "nearly all clients have one address, which [relay] trusts: WHOEVER IT HIDES MAY RELAY"
    } else {
        "nearly all clients have one address, so that limits and lists hold for all together"
    };
    error!(event = "gateway-suspected", %address, transactions, names, may_relay, what,
        remedy = "let the gateway keep client addresses, or name it in `proxy_from` and let it send PROXY headers");
}

/// A block list gave no answer that tells; the client counts as not listed.
pub fn block_list_failed(zone: &str, client: impl Display, why: &str) {
    warn!(event = "block-list-failed", zone, %client, why);
}

/// A block list stayed silent too often, and is left alone for a while.
pub fn block_list_rests(zone: &str, rest_s: u64) {
    warn!(event = "block-list-rests", zone, rest_s);
}

/// A message was accepted and is held, as a line of a list wants it.
pub fn held(id: impl Display, session: &str, by: &str, reason: &str) {
    info!(event = "held", %id, session, by, reason);
}

/// A message is on stable storage and acknowledged.
pub fn accepted(
    id: impl Display,
    session: &str,
    sender: impl Display,
    recipients: usize,
    octets: u64,
) {
    metric::RECEIVED_MESSAGES.add((), 1);
    metric::RECEIVED_OCTETS.add((), octets);
    info!(event = "accepted", %id, session, %sender, recipients, octets);
}

/// Lines of a message that is submitted were too long and are broken: its texts are encoded now.
pub fn reflowed(id: impl Display) {
    info!(event = "reflowed", %id);
}

/// What a user submits was refused for its content: by what reason, and the reply.
pub fn submission_refused(session: &str, user: &str, reason: &str, reply: impl Display) {
    info!(event = "submission-refused", session, user, reason, %reply);
}

/// A message was refused after its content, or could not be stored.
pub fn content_refused(session: &str, why: impl Display) {
    warn!(event = "content-refused", session, %why);
}

/// A recipient got the message; over which TLS, and whether its certificate was verified, or in
/// clear.
pub fn delivered(
    id: impl Display,
    recipient: &str,
    next_hop: impl Display,
    reply: &str,
    tls: Option<&str>,
) {
    info!(event = "delivered", %id, recipient, %next_hop, reply, tls);
}

/// 8-bit content was converted for a next hop that takes none; whether that broke a signature, or
/// left `#` for octets outside of every part.
pub fn converted(id: impl Display, next_hop: impl Display, broke_signature: bool, masked: bool) {
    info!(event = "converted", %id, %next_hop, broke_signature, masked);
}

/// A recipient will be tried again.
pub fn deferred(
    id: impl Display,
    recipient: &str,
    next_hop: impl Display,
    reason: &str,
    attempts: u32,
    retry_in_s: u64,
) {
    info!(event = "deferred", %id, recipient, %next_hop, reason, attempts, retry_in_s);
}

/// A recipient was not tried, as its next hop takes nothing now; it waits as it did before.
pub fn put_back(id: impl Display, recipient: &str, next_hop: impl Display, reason: &str) {
    info!(event = "put-back", %id, recipient, %next_hop, reason);
}

/// A recipient failed for good, or its time is over.
pub fn failed(
    id: impl Display,
    recipient: &str,
    next_hop: impl Display,
    reason: &str,
    expired: bool,
    report_owed: bool,
) {
    warn!(event = "failed", %id, recipient, %next_hop, reason, expired, report_owed);
}

/// A next hop can't be reached; its mail waits.
pub fn outage(next_hop: impl Display, why: &str) {
    error!(event = "outage", %next_hop, why);
}

/// A next hop failed at a TLS handshake, and does without the hybrid key share, or in clear.
pub fn tls_fell_back(next_hop: impl Display, in_clear: bool, why: &str) {
    warn!(event = "tls-fell-back", %next_hop, in_clear, why);
}

/// A next hop refused our login; its mail waits until the operator has mended that.
pub fn login_refused(next_hop: impl Display, credentials: &str, why: &str) {
    error!(event = "login-refused", %next_hop, credentials, why);
}

/// A next hop can be reached again.
pub fn outage_over(next_hop: impl Display) {
    info!(event = "outage-over", %next_hop);
}

/// A report to the sender of a message is in the queue, as a message of its own.
pub fn reported(
    id: impl Display,
    of: impl Display,
    sender: impl Display,
    action: &str,
    recipients: usize,
    next_hop: impl Display,
) {
    info!(event = "reported", %id, %of, %sender, action, recipients, %next_hop);
}

/// A report could not be made now; it is still owed, or, about a delay, due
/// again in a minute or at the next start.
pub fn report_put_off(of: impl Display, action: &str, why: impl Display) {
    warn!(event = "report-put-off", %of, action, %why);
}

/// The operator did something to a message.
pub fn operated(id: impl Display, verb: &str) {
    info!(event = "operated", %id, verb);
}

/// A second spool was made of what is queued.
pub fn backed_up(to: impl Display, messages: usize, damaged: usize) {
    info!(event = "backed-up", %to, messages, damaged);
}

/// The spool was opened.
pub fn recovered(messages: usize, damaged: usize) {
    info!(event = "recovered", messages, damaged);
}

/// Something in the spool could not be read.
pub fn damaged(file: &str, offset: u64, octets: u64, what: &str) {
    error!(event = "damaged", file, offset, octets, what);
}

/// A queued message cannot be read.
pub fn unreadable(id: impl Display, why: impl Display) {
    error!(event = "unreadable", %id, %why);
}

/// The spool failed: nothing is accepted or delivered any more.
pub fn spool_failed(why: &str) {
    error!(event = "spool-failed", why);
}

/// The configuration was read again.
pub fn reloaded(file: &str) {
    metric::CONFIG_RELOADS.add(Reload::Taken, 1);
    info!(event = "reloaded", file);
}

/// A configuration was refused; the old one stays.
pub fn reload_refused(why: impl Display) {
    metric::CONFIG_RELOADS.add(Reload::Refused, 1);
    error!(event = "reload-refused", %why);
}

/// The daemon is stopping, or has stopped.
pub fn stopping(step: &str) {
    info!(event = "stopping", step);
}

/// Something of the system failed that the daemon can live with.
pub fn trouble(what: &str, why: impl Display) {
    warn!(event = "trouble", what, %why);
}

/// The file of users can't be used; those before may still log in.
pub fn users_stay(why: impl Display) {
    error!(event = "trouble", what = "the users before stay", %why);
}

/// A mailstore was asked for a recipient.
pub fn probed(recipient: impl Display, next_hop: impl Display, answer: &str) {
    debug!(event = "probed", %recipient, %next_hop, answer);
}

/// A bearer token was not taken; why, for whoever sets this up.
pub fn token_refused(issuer: &str, why: &str) {
    debug!(event = "token-refused", issuer, why);
}
