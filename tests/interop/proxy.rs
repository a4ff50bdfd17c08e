//! PROXY headers as swaks writes them, of both versions.

use crate::require_peers;
use crate::support::daemon::{Daemon, Parts};
use crate::tools::swaks;

/// Who speaks for others, and who may relay.
const LISTENER: &str = "proxy_from = [\"127.0.0.1\"]\n";
const TABLES: &str = "[relay]\nfrom = [\"127.0.0.1\", \"203.0.113.9\", \"2001:db8:9::/48\"]\n";

#[test]
fn clients_behind_swaks_have_their_own_rights() {
    require_peers!();
    let daemon =
        Daemon::start_with(&Parts { listener: LISTENER, tables: TABLES, ..Parts::default() });
    let refused = "550 5.7.1";
    let routeless = "550 5.4.4";
    for (version, family, source, reply) in [
        ("1", "TCP4", "198.51.100.7", refused),
        ("1", "TCP4", "203.0.113.9", routeless),
        ("1", "TCP6", "2001:db8:8::7", refused),
        ("1", "TCP6", "2001:db8:9::7", routeless),
        ("2", "AF_INET", "198.51.100.7", refused),
        ("2", "AF_INET", "203.0.113.9", routeless),
        ("2", "AF_INET6", "2001:db8:8::7", refused),
        ("2", "AF_INET6", "2001:db8:9::7", routeless),
    ] {
        let own = if source.contains(':') { "2001:db8::25" } else { "192.0.2.25" };
        let named = ["--proxy-source", source, "--proxy-source-port", "50000"];
        let to = ["--proxy-dest", own, "--proxy-dest-port", "25", "--to", "x@far.example"];
        let how = ["--proxy-version", version, "--proxy-family", family, "--quit-after", "RCPT"];
        let run = swaks(daemon.addr(), &[&named[..], &to, &how].concat());
        let said = run.replies().iter().any(|said| said.starts_with(reply));
        assert!(said, "{version} {source}: {}", run.output);
    }
    let run = swaks(daemon.addr(), &["--to", "x@far.example", "--quit-after", "RCPT"]);
    assert!(run.replies().is_empty() && run.code != 0, "{}", run.output);
}
