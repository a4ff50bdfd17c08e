//! The declarations keep the rules of names, and the types count as they say.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::registry::reply;

fn text(metric: &dyn Metric, form: Form) -> String {
    let mut out = Exposition::new(form);
    metric.expose(&mut out);
    out.into_text()
}

#[test]
fn names_units_and_help_keep_the_rules() {
    let mut names = HashSet::new();
    for metric in ALL {
        let family = metric.family();
        let name = family.name;
        assert!(names.insert(name), "{name} is declared twice");
        assert!(name.starts_with("angarium_"), "{name}");
        let plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(plain), "{name}");
        for suffix in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
            assert!(!name.ends_with(suffix), "{name} has the suffix of a type");
        }
        let unit = format!("_{}", family.unit);
        assert!(family.unit.is_empty() || name.ends_with(&unit), "{name} lacks its unit");
        let timed = name.ends_with("_seconds") || name.ends_with("_bytes");
        assert!(!timed || !family.unit.is_empty(), "{name} declares no unit");
        assert!(family.help.last().is_some_and(|help| help.ends_with('.')), "{name}");
    }
}

#[test]
fn a_counter_has_a_cell_for_each_combination() {
    static COUNTER: Counter<(Stage, ReplyClass), { Stage::COUNT * ReplyClass::COUNT }> =
        Counter::new(kind::Family { name: "a", unit: "", help: &["A."] });
    COUNTER.add((Stage::Mail, ReplyClass::Permanent), 2);
    COUNTER.add((Stage::Unknown, ReplyClass::Permanent), 1);
    let open = text(&COUNTER, Form::OpenMetrics);
    assert!(open.starts_with("# HELP a A.\n# TYPE a counter\n"), "{open}");
    assert!(open.contains("a_total{stage=\"mail\",class=\"5xx\"} 2\n"), "{open}");
    assert!(open.ends_with("a_total{stage=\"unknown\",class=\"5xx\"} 1\n"), "{open}");
    assert_eq!(open.lines().count(), 2 + Stage::COUNT * ReplyClass::COUNT);
    let older = text(&COUNTER, Form::Prometheus);
    assert!(older.contains("# TYPE a_total counter\n"), "{older}");
}

#[test]
fn refusals_of_one_status_are_one() {
    static COUNTER: Counter<Refusal, { Refusal::COUNT }> =
        Counter::new(kind::Family { name: "a", unit: "", help: &["A."] });
    assert_eq!(Refusal::of(&reply::QUEUED), None);
    for (name, reply) in reply::ALL {
        let refusal = Refusal::of(&reply.with_text("another"));
        assert_eq!(refusal.is_some(), reply.code >= 400, "{name}");
    }
    let refusal = Refusal::of(&reply::NO_SUCH_RECIPIENT).unwrap();
    COUNTER.add(refusal, 1);
    let open = text(&COUNTER, Form::OpenMetrics);
    assert!(open.ends_with("a_total{code=\"550\",status=\"5.1.1\"} 1\n"), "{open}");
    assert_eq!(open.lines().count(), 3, "what never happened is left out");
}

#[test]
fn a_histogram_is_cumulative_and_in_seconds() {
    static TIMES: Histogram<(), 1> = Histogram::new(
        kind::Family { name: "t_seconds", unit: "seconds", help: &["T."] },
        &[1_000, 500_000],
    );
    for micros in [1_000, 1_001, 3_000_000] {
        TIMES.observe_time((), Duration::from_micros(micros));
    }
    let expected = "# HELP t_seconds T.\n# TYPE t_seconds histogram\n# UNIT t_seconds seconds\n\
                    t_seconds_bucket{le=\"0.001\"} 1\nt_seconds_bucket{le=\"0.5\"} 2\n\
                    t_seconds_bucket{le=\"+Inf\"} 3\nt_seconds_sum 3.002001\nt_seconds_count 3\n";
    assert_eq!(text(&TIMES, Form::OpenMetrics), expected);
}

#[test]
fn what_is_given_is_told_and_escaped() {
    let mut out = Exposition::new(Form::OpenMetrics);
    let destination = "lmtp:unix:/a\\b\"c\n".to_owned();
    out.give(&DESTINATION_READY, vec![("destination", destination)], 7.0);
    out.give(&BUILD, vec![("version", "1.2.3".to_owned())], 1.0);
    out.give(&DESTINATION_ATTEMPTS, vec![("result", "failed".to_owned())], 3.0);
    let text = out.write();
    let ready = "_ready_jobs{destination=\"lmtp:unix:/a\\\\b\\\"c\\n\"} 7\n";
    assert!(text.contains(ready), "{text}");
    assert!(text.contains("# TYPE angarium_build info\n"), "{text}");
    assert!(text.contains("angarium_build_info{version=\"1.2.3\"} 1\n"), "{text}");
    assert!(text.contains("# TYPE angarium_destination_attempts counter\n"), "{text}");
    assert!(text.contains("angarium_destination_attempts_total{result=\"failed\"} 3\n"), "{text}");
    assert!(!text.contains("angarium_queue_messages"), "nothing was given");
    assert!(text.ends_with("\n# EOF\n"));
}
