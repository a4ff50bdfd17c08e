//! The table of rules, row by row, and sequences of changes that it must survive.

use proptest::prelude::*;

use super::super::extension::{Support, all, find};
use super::*;

const IETF: &[Consent] = &[Consent::Ietf];
const CONTROLLER: &[Consent] = &[Consent::Controller];
const EVERYBODY: &[Consent] = Consent::ALL;

fn entry(keyword: &str) -> Extension {
    find(keyword).unwrap().clone()
}

/// An entry of somebody who came first.
fn fcfs() -> Extension {
    Extension {
        keyword: "REMEMBER".to_owned(),
        references: Vec::new(),
        method: RegMethod::Fcfs,
        contact: "Jo".to_owned(),
        change_controller: "Jo".to_owned(),
        mail_parameters: vec!["TOKEN=xtext".to_owned()],
        verbs: vec!["FORGET token".to_owned()],
        ehlo_parameters: "seconds".to_owned(),
        support: Support::Refused,
        ..entry("CHECKPOINT")
    }
}

fn changed(old: &Extension, change: impl FnOnce(&mut Extension)) -> Ruling {
    let mut new = old.clone();
    change(&mut new);
    Change::Changed(old, &new).judge(all())
}

/// Asserts that exactly these consents are needed.
fn needs(ruling: &Ruling, consents: &[Consent]) {
    assert!(ruling.possible, "{ruling:?}");
    assert_eq!(ruling.needs, consents, "{ruling:?}");
    assert!(ruling.allows(EVERYBODY));
    assert_eq!(ruling.allows(&[]), consents.is_empty());
}

/// Asserts that it never may be, whoever consents.
fn never(ruling: &Ruling, says: &str) {
    assert!(!ruling.allows(EVERYBODY) && ruling.why.contains(says), "{ruling:?}");
}

#[test]
fn an_entry_of_the_ietf_is_changed_by_its_review_and_stays() {
    let size = entry("SIZE");
    needs(&changed(&size, |new| new.description = "other".into()), IETF);
    needs(&changed(&size, |new| new.mail_parameters.push("LEAST=1*DIGIT".into())), IETF);
    needs(&changed(&size, |new| new.contact = "the working group".into()), CONTROLLER);
    never(&changed(&size, |new| new.method = RegMethod::Fcfs), "stays with it");
    never(&changed(&size, |new| new.method = RegMethod::Bilateral), "stays registered");
    never(&changed(&size, |new| new.method = RegMethod::Legacy), "before the models");
    never(&changed(&size, |new| new.change_controller = "Jo".into()), "must be \"IETF\"");
    never(&changed(&size, |new| new.references.clear()), "must name an RFC");
}

#[test]
fn first_come_is_changed_by_its_controller_and_stays_compatible() {
    let ours = fcfs();
    needs(&changed(&ours, |new| new.description = "clearer".into()), CONTROLLER);
    needs(&changed(&ours, |new| new.contact = "Al".into()), CONTROLLER);
    needs(&changed(&ours, |new| new.change_controller = "Al".into()), CONTROLLER);
    needs(&changed(&ours, |new| new.mail_parameters.push("FOR=1*DIGIT".into())), CONTROLLER);
    never(&changed(&ours, |new| new.mail_parameters.clear()), "`TOKEN=xtext` is on the wire");
    never(&changed(&ours, |new| new.verbs = vec!["FORGET all".into()]), "`FORGET token`");
    never(&changed(&ours, |new| new.ehlo_parameters.clear()), "`seconds`");
    never(&changed(&ours, |new| new.contact.clear()), "whom to ask");
    never(&changed(&ours, |new| new.method = RegMethod::Legacy), "before the models");
}

#[test]
fn first_come_becomes_the_ietfs_with_both_consents() {
    let upgrade = |new: &mut Extension| {
        new.method = RegMethod::Ietf;
        new.change_controller = "IETF".into();
        new.references = vec!["RFC9999".into()];
    };
    let ruling = changed(&fcfs(), upgrade);
    needs(&ruling, &[Consent::Ietf, Consent::Owner]);
    assert!(!ruling.allows(IETF) && !ruling.allows(&[Consent::Owner, Consent::Controller]));
    never(&changed(&fcfs(), |new| new.method = RegMethod::Ietf), "must name an RFC");
    let keeps_controller = |new: &mut Extension| {
        upgrade(new);
        new.change_controller = "Jo".into();
    };
    never(&changed(&fcfs(), keeps_controller), "must be \"IETF\"");
}

#[test]
fn legacy_is_immutable() {
    for keyword in ["VERB", "ONEX"] {
        let old = entry(keyword);
        never(&changed(&old, |new| new.contact = "Jo".into()), "stays as it is");
        never(&changed(&old, |new| new.method = RegMethod::Ietf), "stays as it is");
        never(&changed(&old, |new| new.description.clear()), "stays as it is");
        never(&Change::Gone(&old).judge(all()), "an entry stays");
    }
}

#[test]
fn keywords_are_neither_renamed_nor_taken_twice_nor_freed() {
    never(&changed(&entry("SIZE"), |new| new.keyword = "LENGTH".into()), "never renamed");
    never(&changed(&fcfs(), |new| new.keyword = "RECALL".into()), "never renamed");
    let twice = Extension { keyword: "sIzE".to_owned(), ..fcfs() };
    never(&Change::New(&twice).judge(all()), "there already");
    never(&Change::Gone(&entry("SEND")).judge(all()), "an entry stays");
    never(&Change::Gone(&fcfs()).judge(all()), "an entry stays");
}

#[test]
fn a_new_entry_carries_what_its_model_asks_for() {
    let new = |change: fn(&mut Extension)| {
        let mut entry = fcfs();
        change(&mut entry);
        Change::New(&entry).judge(all())
    };
    needs(&new(|_| {}), &[]);
    never(&new(|entry| entry.contact.clear()), "contact");
    never(&new(|entry| entry.description.clear()), "description");
    never(&new(|entry| entry.change_controller = " ".into()), "change_controller");
    never(&new(|entry| entry.keyword = "NO_GO".into()), "keyword");
    never(&new(|entry| entry.verbs.push("=".into())), "begins with no name");
    never(&new(|entry| entry.verbs.push("forget".into())), "there twice");
    never(&new(|entry| entry.method = RegMethod::Legacy), "before the two models");
    never(&new(|entry| entry.method = RegMethod::Ietf), "must name an RFC");
    let ietf = |entry: &mut Extension| {
        entry.method = RegMethod::Ietf;
        entry.change_controller = "IETF".into();
        entry.references = vec!["RFC9999".into()];
    };
    needs(&new(ietf), IETF);
}

#[test]
fn what_is_not_registered_is_free_and_may_be_registered() {
    let proxy = entry("XCLIENT");
    needs(&changed(&proxy, |new| new.verbs.clear()), &[]);
    needs(&Change::Gone(&proxy).judge(all()), &[]);
    needs(&changed(&proxy, |new| new.method = RegMethod::Fcfs), &[]);
}

#[test]
fn our_own_fields_are_ours() {
    needs(&changed(&entry("VERB"), |new| new.reason = "other".into()), &[]);
    needs(&changed(&entry("DSN"), |new| new.support = Support::Relayed), &[]);
}

#[test]
fn a_diff_tells_each_change_once() {
    assert_eq!(diff(all(), all()), []);
    let mut new = all().to_vec();
    new.retain(|entry| !entry.is("ONEX"));
    new.iter_mut().find(|entry| entry.is("SIZE")).unwrap().note = "other".to_owned();
    new.push(fcfs());
    let told: Vec<_> = diff(all(), &new)
        .into_iter()
        .map(|found| (found.keyword, found.change, found.fields, found.possible))
        .collect();
    assert_eq!(
        told,
        [
            ("SIZE".to_owned(), "changed", vec!["note"], true),
            ("ONEX".to_owned(), "gone", vec![], false),
            ("REMEMBER".to_owned(), "new", vec![], true),
        ]
    );
}

/// One request out of many: which entry, what is done to it, and with which words.
fn request() -> impl Strategy<Value = (usize, u8, u8, Vec<Consent>)> {
    let consents = proptest::sample::subsequence(Consent::ALL, 0..=3);
    (any::<usize>(), 0..12u8, any::<u8>(), consents)
}

fn mutate(entry: &mut Extension, what: u8, seed: u8) {
    let text = format!("X{}", seed % 8);
    match what {
        0 => entry.description = text,
        1 => entry.contact = if seed == 0 { String::new() } else { text },
        2 => entry.change_controller = if seed.is_multiple_of(2) { "IETF".into() } else { text },
        3 => entry.references = vec![if seed.is_multiple_of(2) { "RFC9999".into() } else { text }],
        4 => entry.method = RegMethod::ALL[usize::from(seed) % RegMethod::ALL.len()],
        5 => {
            entry.keyword = if seed.is_multiple_of(2) { entry.keyword.to_lowercase() } else { text }
        }
        6 => entry.verbs.push(text),
        7 => entry.verbs.clear(),
        8 => entry.ehlo_parameters = text,
        _ => {
            entry.method = RegMethod::Ietf;
            entry.change_controller = "IETF".into();
            entry.references = vec!["RFC9999".into()];
        }
    }
}

proptest! {
    #[test]
    fn no_sequence_of_allowed_changes_breaks_the_registry(
        requests in proptest::collection::vec(request(), 1..60)
    ) {
        let mut registry = all().to_vec();
        registry.push(fcfs());
        for (which, what, seed, given) in requests {
            let place = which % registry.len();
            let mut new = registry[place].clone();
            mutate(&mut new, what, seed);
            let before = registry.clone();
            if what == 11 {
                new = Extension { keyword: format!("X{}", seed % 8), ..fcfs() };
                if Change::New(&new).judge(&before).allows(&given) {
                    registry.push(new);
                }
            } else if what == 10 && Change::Gone(&before[place]).judge(&before).allows(&given) {
                prop_assert!(before[place].is_bilateral());
            } else if Change::Changed(&before[place], &new).judge(&before).allows(&given) {
                let old = &before[place];
                if old.method == RegMethod::Fcfs && new.method == RegMethod::Ietf {
                    prop_assert!(given.contains(&Consent::Ietf) && given.contains(&Consent::Owner));
                }
                registry[place] = new;
            }
            for (index, entry) in registry.iter().enumerate() {
                let first = registry.iter().position(|other| other.is(&entry.keyword));
                prop_assert_eq!(first, Some(index), "{} is there twice", entry.keyword);
                prop_assert_eq!(rules::faults_alone(entry), vec![]);
            }
            for old in all().iter().filter(|row| !row.is_bilateral()) {
                let now = registry.iter().find(|row| row.is(&old.keyword));
                let now = now.expect("no entry goes");
                prop_assert_eq!(now.method, old.method);
                prop_assert!(old.method != RegMethod::Legacy || now == old);
                prop_assert_eq!(&now.change_controller, &old.change_controller);
            }
        }
    }
}
