//! The file of users: read or refused with a place, never with what is secret in it, and what was read
//! is written and read again as the same.

use angarium::auth::users::{Accounts, ITERATIONS_MAX, ITERATIONS_MIN};
use fastrand::Rng;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "users",
    words: &[
        "[[user]]\n",
        "[user]\n",
        "user = [",
        "seed = ",
        "name = ",
        "\"joe\"\n",
        "'JOE'\n",
        "disabled = true\n",
        "iterations = ",
        "4096\n",
        "4095\n",
        "2000001\n",
        "-1\n",
        "salt = ",
        "password = ",
        "app.phone = ",
        "app.\"a b\" = ",
        "app = {",
        "\"W22ZaJ0SNY7soEsUEjb6gQ==\"\n",
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\"\n",
        "\"\"\"",
        "\"",
        "=",
        "\n",
        "#",
        "\u{a0}",
        "\\u0000",
        "ﬁ",
        "İ",
        "+phone",
    ],
    octets_max: 8_000,
    check,
};

/// What stands for the secrets in the kept inputs and the words: parts of keys.
const SECRETS: [&str; 2] = ["AAAAAAAAAAAA", "AQEBAQEBAQEB"];

fn check(input: &[u8], random: &mut Rng) {
    let text = String::from_utf8_lossy(input);
    match Accounts::parse(&text) {
        Ok(accounts) => check_accounts(accounts, random),
        Err(why) => check_fault(&text, &why),
    }
}

fn check_fault(text: &str, why: &str) {
    let mut parts = why.splitn(3, ':');
    let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
    let (line, column) = (number(), number());
    let lines: Vec<&str> = text.split('\n').collect();
    assert!((1..=lines.len()).contains(&line), "{why}");
    assert!((1..=lines[line - 1].chars().count() + 1).contains(&column), "{why}");
    // A key that stands in the place of a name is one.
    let names = ["is no user", "is no label", "is there twice", "unknown field"];
    let shown = SECRETS.iter().any(|secret| why.contains(secret));
    assert!(!shown || names.iter().any(|name| why.contains(name)), "{why}");
}

fn check_accounts(mut accounts: Accounts, random: &mut Rng) {
    let written = accounts.text().unwrap();
    let again = Accounts::parse(&written).unwrap_or_else(|why| panic!("{why}: {written}"));
    assert_eq!(again.text().unwrap(), written);
    let names: Vec<String> = accounts.iter().map(|account| account.name.clone()).collect();
    for account in accounts.iter() {
        assert!((ITERATIONS_MIN..=ITERATIONS_MAX).contains(&account.iterations));
        assert!((8..=64).contains(&account.salt.len()));
        assert!((1..=255).contains(&account.name.len()), "{:?}", account.name);
        for spelling in [account.name.clone(), account.name.to_lowercase()] {
            let found = accounts.get(&spelling).map(|found| &*found.name);
            assert_eq!(found, Some(&*account.name), "{spelling:?}");
        }
    }
    let Some(gone) = random.choice(&names) else { return };
    assert!(accounts.remove(gone) && !accounts.remove(gone));
    assert!(accounts.get(gone).is_none());
    for name in names.iter().filter(|name| *name != gone) {
        assert_eq!(accounts.get(name).map(|account| &account.name), Some(name));
    }
}
