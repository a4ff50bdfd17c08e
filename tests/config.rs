//! Configurations and what is said about them.
//!
//! Each folder `tests/config/bad-*` holds an `angarium.toml` with faults and the `expected` text,
//! each `tests/config/good-*` one that must be taken. A line `#ENV NAME=value` in a file is a
//! variable of the environment. UPDATE_CONF=1 writes `expected` anew, and `conf/angarium.toml`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use angarium::config::{Absent, Config, Level, Role, SECTIONS, Shape, reference};
use angarium::route::next_hop::Via;
use angarium::route::recipients::Recipients;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn folders(prefix: &str) -> Vec<PathBuf> {
    let mut folders: Vec<_> = fs::read_dir(root().join("tests/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    folders.sort();
    folders
}

fn variables(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("#ENV ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn parse(text: &str) -> Result<Config, String> {
    let env = variables(text).into_iter();
    Config::parse("angarium.toml", text, env).map_err(|faults| faults.to_string())
}

/// `LISTS` in a file stands for the folder of lists beside the cases: paths must be absolute.
fn read(folder: &Path) -> String {
    let lists = root().join("tests/config/lists");
    let text = fs::read_to_string(folder.join("angarium.toml")).unwrap();
    text.replace("LISTS", lists.to_str().unwrap())
}

#[test]
fn each_bad_file_gets_its_expected_faults() {
    let folders = folders("bad-");
    assert!(folders.len() >= 14, "only {} bad files", folders.len());
    let update = std::env::var_os("UPDATE_CONF").is_some();
    for folder in folders {
        let lists = root().join("tests/config/lists");
        let faults = parse(&read(&folder)).expect_err(&format!("{} is taken", folder.display()));
        let said = faults.replace(lists.to_str().unwrap(), "LISTS");
        let expected = folder.join("expected");
        if update {
            fs::write(&expected, &said).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, expected, "{}", folder.display());
    }
}

#[test]
fn each_good_file_is_taken() {
    let folders = folders("good-");
    assert!(!folders.is_empty());
    for folder in folders {
        if let Err(faults) = parse(&read(&folder)) {
            panic!("{}:\n{faults}", folder.display());
        }
    }
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = Config::default();
    assert_eq!(Config::load(None, std::iter::empty()).unwrap(), config);
    assert_eq!(Config { file: String::new(), ..parse("").unwrap() }, config);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].bind.to_string(), "127.0.0.1:2525");
    assert_eq!(config.listeners[0].role, Role::Mx);
    assert_eq!(config.listeners[0].max_message_size, 50 << 20);
    assert!(config.relay.from.is_empty() && config.domains.is_empty());
    assert_eq!(config.queue.retry.len(), 7);
    assert_eq!(config.queue.lifetime, Duration::from_secs(5 * 86400));
    assert_eq!(config.log.level, Level::Info);
    assert_eq!(config.control_socket(), Path::new("./angarium-spool/control"));
    assert!(!config.hostname.is_empty());
}

/// Checks: Q06 Q07 Q08 Q10
#[test]
fn the_timeouts_of_the_standard_are_defaults_and_options() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let times = parse("").unwrap().timeout;
    assert_eq!((times.greeting, times.command), (minutes(5), minutes(5)));
    assert_eq!((times.data_initiation, times.data_block), (minutes(2), minutes(3)));
    assert_eq!(times.data_termination, minutes(10));
    let other = "[timeout]\ngreeting = \"1m\"\ncommand = \"4m\"\ndata_initiation = \"6m\"\n\
                 data_block = \"7m\"\ndata_termination = \"8m\"\n";
    let times = parse(other).unwrap().timeout;
    assert_eq!((times.greeting, times.command), (minutes(1), minutes(4)));
    assert_eq!((times.data_initiation, times.data_block), (minutes(6), minutes(7)));
    assert_eq!(times.data_termination, minutes(8));
}

#[test]
fn domains_and_routes_know_their_lines() {
    let folder = root().join("tests/config/good-relay");
    let config = parse(&read(&folder)).unwrap();
    let lines: Vec<_> = config.domains.iter().map(|domain| domain.line).collect();
    assert_eq!(lines, [13, 18]);
    assert_eq!(config.routes.iter().map(|route| route.line).collect::<Vec<_>>(), [29, 33, 37]);
    assert_eq!(config.file, "angarium.toml");
    assert_eq!(config.domain("EXAMPLE.org").unwrap().deliver.to_string(), "lmtp:unix:/run/lmtp");
    assert_eq!(config.routes[1].via, Via::Discard);
    assert!(config.routes[0].recipient.matches("a", "partner.example"));
    let Recipients::Listed(listed) = &config.domains[1].recipients else { panic!() };
    assert!(listed.contains("JOE", "example.net") && !listed.contains("jim", "example.net"));
    assert_eq!(config.relay.from[1].to_string(), "192.0.2.7/32");
}

#[test]
fn domains_are_known_in_every_script_and_spelling() {
    let folder = root().join("tests/config/good-domain");
    let config = parse(&read(&folder)).unwrap();
    assert_eq!(config.hostname, "mx.xn--bcher-kva.example");
    assert_eq!(config.domain("BÜCHER.example").unwrap().line, 4);
    assert_eq!(config.domain("[IPv6:2001:db8:0:0:0:0:0:1]").unwrap().line, 11);
    let table = angarium::daemon::table(&config);
    let destination = |mailbox: &str| table.destination(&mailbox.parse().unwrap()).to_string();
    assert_eq!(destination("a@XN--Bcher-KVA.example"), "lmtp://127.0.0.1:24");
    assert_eq!(destination("a@[IPv6:2001:0DB8::1]"), "lmtp://127.0.0.1:24");
    assert_eq!(destination("a@[IPv6:2001:db8::2]"), "unroutable");
    let relay = "smtp://relay.xn--bcher-kva.example:25";
    assert_eq!(destination("a@b.xn--bcher-kva.example"), relay);
    assert_eq!(destination("a@xn--bcher-kva99.example"), "unroutable");
    let Recipients::Listed(listed) = &config.domains[0].recipients else { panic!() };
    for (local_part, domain, known) in [
        ("jOE", "xn--bcher-kva.example", true),
        ("jose\u{301}", "any.example", true),
        ("MÜLLER", "xn--bcher-kva.example", true),
        ("mu\u{308}ller", "xn--bcher-kva.example", true),
        ("müller", "other.example", false),
        ("jose", "any.example", false),
    ] {
        assert_eq!(listed.contains(local_part, domain), known, "{local_part}@{domain}");
    }
}

#[test]
fn the_environment_overrides_the_file() {
    let text = "#ENV ANGARIUM__HOSTNAME=mx.example.org\n\
                #ENV ANGARIUM__QUEUE__LIFETIME=2d\n\
                #ENV ANGARIUM__QUEUE__PAUSED=true\n\
                #ENV ANGARIUM__QUEUE__RETRY=[\"1m\"]\n\
                #ENV ANGARIUM_CORPUS=not ours\n\
                hostname = \"other.example\"\n[queue]\nlifetime = 7\n";
    let config = parse(text).unwrap();
    assert_eq!(config.hostname, "mx.example.org");
    assert_eq!(config.queue.lifetime, Duration::from_secs(2 * 86400));
    assert!(config.queue.paused);
    assert_eq!(config.queue.retry, [Duration::from_secs(60)]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_of_the_file() {
    let load = |path: &Path| Config::load(Some(path), std::iter::empty()).unwrap_err().to_string();
    let said = load(Path::new("/nonexistent/angarium.toml"));
    assert!(said.starts_with("/nonexistent/angarium.toml: cannot be read: "), "{said}");
    let said = load(&root().join("tests/config/lists/latin1.toml"));
    assert!(said.ends_with("latin1.toml:2:6: this is not UTF-8; save the file in that encoding\n"));
}

#[test]
fn the_reference_file_is_what_the_declarations_say() {
    let path = root().join("conf/angarium.toml");
    if std::env::var_os("UPDATE_CONF").is_some() {
        fs::write(&path, reference()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference(), "conf/angarium.toml: run this test with UPDATE_CONF=1");
}

#[test]
fn the_reference_file_can_be_used_as_it_is_and_with_everything_uncommented() {
    let same = parse(&reference()).unwrap();
    assert_eq!(Config { file: String::new(), ..same }, Config::default());
    // A password has one place, the next hops of the examples are not verified, and Dovecot stands
    // in the place of the file of users.
    let contrary = ["#password = ", "#credentials = ", "#dovecot = "];
    let uncommented: String = reference()
        .lines()
        .filter(|line| !contrary.iter().any(|start| line.starts_with(start)))
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    // The files that it names have to be there.
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    fs::write(folder.path().join("mx.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("mx.key"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("secret"), "secret").unwrap();
    let own = folder.path().to_str().unwrap();
    let uncommented = ["/etc/ssl", "/etc/angarium"]
        .iter()
        .fold(uncommented, |text, there| text.replace(there, own));
    let config = parse(&uncommented).unwrap();
    assert_eq!(config.domains[0].name, "example.org");
    assert_eq!(config.queue, Config::default().queue);
}

#[test]
fn each_option_has_a_sentence_and_stays_within_its_line() {
    for section in SECTIONS {
        for option in section.options {
            let about = option.about.concat();
            assert!(about.ends_with('.') || about.ends_with(':'), "{}: {about}", option.name);
            assert!(option.absent != Absent::MachineName || section.shape == Shape::Top);
        }
    }
    assert!(reference().lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn limits_are_those_of_the_nearest_section() {
    let folder = root().join("tests/config/good-limits");
    let config = parse(&read(&folder)).unwrap();
    assert_eq!(config.queue.rate.unwrap().to_string(), "1000/s");
    let table = angarium::daemon::table(&config);
    let of = |mailbox: &str| {
        let limits = table.limits(&table.destination(&mailbox.parse().unwrap()));
        let rate = limits.rate.map(|rate| rate.to_string());
        (
            limits.concurrency.unwrap(),
            rate.unwrap_or_default(),
            limits.recipients_per_transaction.unwrap(),
            limits.messages_per_connection.unwrap(),
        )
    };
    assert_eq!(of("a@example.org"), (40, "100/s".into(), 50, 20));
    assert_eq!(of("a@slow.example"), (5, "20/m".into(), 5, 1));
    assert_eq!(of("a@other.example"), (5, "1000/h".into(), 50, 20));
    let tenants = angarium::daemon::tenants(&config);
    let (host, every) = (tenants.limits("2001:db8:0:0::/64"), tenants.limits("192.0.2.1"));
    assert_eq!((host.concurrency, host.backlog), (Some(2), Some(1000)));
    assert_eq!(host.rate.unwrap().to_string(), "100/d");
    assert_eq!((every.concurrency, every.backlog, every.rate), (Some(10), Some(5000), None));
    assert_eq!(tenants.limits("joe@example.org"), every);
    let default = angarium::daemon::tenants(&Config::default());
    assert_eq!(default.each(), Default::default(), "nobody is limited unless it is said");
}
