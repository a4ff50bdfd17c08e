//! A file of users for daemons under test.

use angarium::auth::users::{Account, Accounts, ITERATIONS_MIN};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Users with the password "secret".
pub fn accounts(names: &[&str]) -> Accounts {
    let mut accounts = Accounts::default();
    for name in names {
        let mut account = Account::new(name, ITERATIONS_MIN).unwrap();
        account.set(None, "secret").unwrap();
        assert!(accounts.add(account), "{name} is there twice");
    }
    accounts
}

/// The line by which a user logs in.
pub fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}")))
}
