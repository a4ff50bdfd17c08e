//! A strict reader of OpenMetrics 1.0, for what a scraper would stumble over.
//!
//! Promises a panic, with the line, on anything that the specification forbids and that can happen
//! in a text like ours: metadata out of order or twice, samples outside their family, suffixes that
//! do not fit the type, units that do not fit the name, histograms that are not cumulative, samples
//! twice, no end mark.

use std::collections::{BTreeMap, HashSet};

/// The labels of a sample.
pub(crate) type Labels = BTreeMap<String, String>;

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The name with its suffix.
    pub(crate) name: String,
    /// The labels.
    pub(crate) labels: Labels,
    /// The value.
    pub(crate) value: f64,
}

/// Everything that was exposed.
#[derive(Debug, Default)]
pub(crate) struct Exposed {
    /// The samples, in their order.
    pub(crate) samples: Vec<Sample>,
}

impl Exposed {
    /// The sum of the samples of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            let has = |(label, value): &(&str, &str)| {
                sample.labels.get(*label).is_some_and(|found| found == value)
            };
            sample.name == name && labels.iter().all(has)
        };
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }
}

#[derive(Debug, Default)]
struct Family {
    name: String,
    ty: String,
    unit: String,
    help: bool,
    samples: Vec<Sample>,
}

/// Reads a whole exposition.
pub(crate) fn parse(text: &str) -> Exposed {
    let body = text.strip_suffix("# EOF\n").expect("no end mark");
    let (mut exposed, mut names) = (Exposed::default(), HashSet::new());
    let mut family = Family::default();
    for line in body.split_terminator('\n') {
        assert!(!line.is_empty() && line.trim() == line, "blank: {line:?}");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("cut short: {line}"));
            let (key, name, rest) = (word(), word(), word());
            if name != family.name {
                finish(std::mem::take(&mut family), &mut exposed);
                assert!(names.insert(name.to_owned()), "a family twice or interleaved: {line}");
                name.clone_into(&mut family.name);
            }
            assert!(family.samples.is_empty(), "metadata behind samples: {line}");
            describe(&mut family, key, rest, line);
        } else {
            family.samples.push(sample(line));
        }
    }
    finish(family, &mut exposed);
    clashes(&names);
    exposed
}

fn describe(family: &mut Family, key: &str, rest: &str, line: &str) {
    match key {
        "HELP" => {
            assert!(!family.help && !rest.is_empty(), "{line}");
            family.help = true;
        }
        "TYPE" => {
            assert!(family.ty.is_empty(), "a second type: {line}");
            let known = ["counter", "gauge", "histogram", "info"];
            assert!(known.contains(&rest), "an unknown type: {line}");
            rest.clone_into(&mut family.ty);
        }
        "UNIT" => {
            assert!(family.unit.is_empty(), "a second unit: {line}");
            assert!(family.name.ends_with(&format!("_{rest}")), "the name lacks the unit: {line}");
            rest.clone_into(&mut family.unit);
        }
        _ => panic!("a comment: {line}"),
    }
}

/// A family's name with a suffix of its type may not be another's name.
fn clashes(names: &HashSet<String>) {
    for name in names {
        for suffix in ["_total", "_created", "_bucket", "_count", "_sum", "_info"] {
            assert!(!names.contains(&format!("{name}{suffix}")), "{name}{suffix} clashes");
        }
    }
}

fn finish(family: Family, exposed: &mut Exposed) {
    if family.name.is_empty() {
        return;
    }
    let name = &family.name;
    assert!(family.help && !family.ty.is_empty(), "{name} is not described");
    assert!(family.ty != "info" || family.unit.is_empty(), "{name} has a unit");
    let suffixes: &[&str] = match family.ty.as_str() {
        "counter" => &["_total"],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_count", "_sum"],
        _ => &[""],
    };
    let mut seen = HashSet::new();
    for sample in &family.samples {
        let suffix = sample.name.strip_prefix(name.as_str());
        let fits = suffix.is_some_and(|suffix| suffixes.contains(&suffix));
        assert!(fits, "{} does not belong to {name}", sample.name);
        assert!(seen.insert(format!("{}{:?}", sample.name, sample.labels)), "twice: {sample:?}");
        let negative = family.ty != "gauge" && (sample.value < 0.0 || sample.value.is_nan());
        assert!(!negative, "{sample:?}");
        assert!(family.ty != "info" || sample.value == 1.0, "{sample:?}");
    }
    if family.ty == "histogram" {
        cumulative(&family);
    }
    exposed.samples.extend(family.samples);
}

/// Buckets in rising order up to +Inf, which is the count; each histogram with its sum.
fn cumulative(family: &Family) {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for bucket in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = bucket.labels.clone();
        let le = labels.remove("le").unwrap_or_else(|| panic!("no le: {bucket:?}"));
        assert!(le == "+Inf" || le.contains(['.', 'e']), "le is no float: {bucket:?}");
        let le = le.parse().unwrap_or(f64::INFINITY);
        histograms.entry(labels).or_default().push((le, bucket.value));
    }
    for (labels, buckets) in histograms {
        let rising = buckets.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        assert!(rising, "{}{labels:?}: {buckets:?}", family.name);
        let last = buckets.last().unwrap();
        let of = |suffix: &str| {
            let name = format!("{}{suffix}", family.name);
            let found = family.samples.iter().find(|s| s.name == name && s.labels == labels);
            found.unwrap_or_else(|| panic!("{name}{labels:?} is missing")).value
        };
        assert!(last.0.is_infinite() && last.1 == of("_count"), "{}{labels:?}", family.name);
        assert!(of("_sum") >= 0.0);
    }
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
    let (name, rest) = line.split_at(end);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    assert!(name.chars().all(legal) && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest, line),
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space: {line}"));
    // One value, and neither timestamp nor exemplar.
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    Sample { name: name.to_owned(), labels, value }
}

fn labels<'a>(mut rest: &'a str, line: &str) -> (Labels, &'a str) {
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no value: {line}"));
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(!name.is_empty() && name.chars().all(legal) && !name.starts_with("__"), "{line}");
        let (value, after) = quoted(after, line);
        assert!(labels.insert(name.to_owned(), value).is_none(), "a label twice: {line}");
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => {
                let after = after.strip_prefix('}');
                return (labels, after.unwrap_or_else(|| panic!("not closed: {line}")));
            }
        }
    }
}

fn quoted<'a>(text: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => panic!("an unknown escape: {line}"),
            },
            other => value.push(other),
        }
    }
    panic!("not closed: {line}");
}
