//! Users in words and as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::auth::users::{Account, Accounts, Seen};
use crate::cli::span;

/// A user as `ls` shows it.
#[derive(Debug, Serialize)]
pub(super) struct User<'a> {
    user: &'a str,
    disabled: bool,
    iterations: u32,
    passwords: Vec<Password<'a>>,
}

#[derive(Debug, Serialize)]
struct Password<'a> {
    /// None for the main one.
    label: Option<&'a str>,
    /// In milliseconds since 1970.
    last_used_ms: Option<u64>,
}

/// All users, with when their passwords were last used.
pub(super) fn users<'a>(accounts: &'a Accounts, seen: &BTreeMap<String, u64>) -> Vec<User<'a>> {
    let one = |account: &'a Account| {
        let main = account.has_password().then_some(None);
        let labels = main.into_iter().chain(account.labels().map(Some));
        let passwords = labels.map(|label| Password {
            label,
            last_used_ms: seen.get(&Seen::name(&account.name, label)).copied(),
        });
        User {
            user: &account.name,
            disabled: account.disabled,
            iterations: account.iterations,
            passwords: passwords.collect(),
        }
    };
    accounts.iter().map(one).collect()
}

/// One JSON object a line.
pub(super) fn lines(users: &[User<'_>]) -> String {
    users.iter().map(|user| serde_json::to_string(user).unwrap_or_default() + "\n").collect()
}

/// A line for each password, and for each user without.
pub(super) fn table(users: &[User<'_>], now_ms: u64) -> String {
    let head = ["user", "password", "last used", "state"].map(str::to_owned);
    let mut rows = vec![head];
    for user in users {
        let state = if user.disabled { "disabled" } else { "" };
        let row = |password: &str, used: String| {
            [user.user.to_owned(), password.to_owned(), used, state.to_owned()]
        };
        if user.passwords.is_empty() {
            rows.push(row("none", "never".to_owned()));
        }
        rows.extend(user.passwords.iter().map(|password| {
            let used = match password.last_used_ms {
                Some(ms) => format!("{} ago", span(now_ms / 1000, ms / 1000)),
                None => "never".to_owned(),
            };
            row(password.label.unwrap_or("main"), used)
        }));
    }
    let width = |at: usize| {
        rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
    };
    let [first, second, third] = [0, 1, 2].map(|at| width(at).unwrap_or(0));
    let line = |[user, password, used, state]: &[String; 4]| {
        let line = format!("{user:first$}  {password:second$}  {used:third$}  {state}");
        line.trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let mut accounts = Accounts::default();
        let mut joe = Account::new("joe@ours.example", 4096).unwrap();
        joe.set(None, "secret").unwrap();
        joe.set(Some("phone"), "other").unwrap();
        assert!(accounts.add(joe));
        let mut ann = Account::new("ann", 4096).unwrap();
        ann.disabled = true;
        assert!(accounts.add(ann));
        accounts
    }

    #[test]
    fn each_password_has_its_line() {
        let seen = BTreeMap::from([("joe@ours.example+phone".to_owned(), 1_000_000)]);
        let accounts = accounts();
        let users = users(&accounts, &seen);
        assert_eq!(
            table(&users, 1_065_000),
            "user              password  last used  state\n\
             joe@ours.example  main      never\n\
             joe@ours.example  phone     1m 5s ago\n\
             ann               none      never      disabled\n"
        );
        assert_eq!(
            lines(&users),
            "{\"user\":\"joe@ours.example\",\"disabled\":false,\"iterations\":4096,\"passwords\":\
             [{\"label\":null,\"last_used_ms\":null},{\"label\":\"phone\",\"last_used_ms\":1000000}]}\n\
             {\"user\":\"ann\",\"disabled\":true,\"iterations\":4096,\"passwords\":[]}\n"
        );
    }
}
