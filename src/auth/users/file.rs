//! The file of users: TOML, with one `[[user]]` each.
//!
//! ```toml
//! seed = "q83vEjRWeJCrze8SNFZ4kA=="
//! [[user]]
//! name = "joe@example.org"
//! iterations = 16384
//! salt = "W22ZaJ0SNY7soEsUEjb6gQ=="
//! password = "StoredKey:ServerKey"
//! app.phone = "StoredKey:ServerKey"
//! ```
//!
//! Promises that what was read is written as it was, and that a fault is told with its line and
//! column. Refuses users that are there twice, and numbers that would cost too much or too little.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use toml::Spanned;

use super::super::secret::Derived;
use super::EditError;

/// The fewest iterations that are taken (RFC 7677 4).
pub const ITERATIONS_MIN: u32 = 4096;
/// The most: each login would cost more than a second.
pub const ITERATIONS_MAX: u32 = 2_000_000;
/// Octets of a salt.
pub(super) const SALT_OCTETS: usize = 16;
/// What an unknown login costs where nobody is known.
const ITERATIONS: u32 = 16_384;
const HEAD: &str =
    "# Users who may log in. `angarium user` writes this file; comments do not last.\n";

/// The name of an app password.
pub type Label = String;

/// One user.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The login.
    pub name: String,
    /// May not log in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Rounds of PBKDF2.
    #[serde(deserialize_with = "iterations")]
    pub iterations: u32,
    /// The salt of all passwords.
    #[serde(with = "salt")]
    pub salt: Arc<[u8]>,
    /// The main password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Kept>,
    /// The passwords of programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    app: BTreeMap<Label, Kept>,
}

impl Account {
    /// A user without passwords.
    ///
    /// # Errors
    /// Why the name is none, or that the system gives no salt.
    pub fn new(name: &str, iterations: u32) -> Result<Self, String> {
        check_name(name)?;
        let (salt, app) = (random()?.into(), BTreeMap::new());
        let name = name.to_owned();
        Ok(Self { name, disabled: false, iterations, salt, password: None, app })
    }

    /// Sets the main password or that of a label.
    ///
    /// # Errors
    /// Why the password or the label is none.
    pub fn set(&mut self, label: Option<&str>, password: &str) -> Result<(), String> {
        if password.is_empty() {
            return Err("a password is not empty".to_owned());
        }
        let derived = Derived::new(password, &self.salt, self.iterations)
            .ok_or("the password holds characters that no program can send")?;
        match label {
            None => self.password = Some(Kept(derived)),
            Some(label) => {
                check_label(label)?;
                self.app.insert(label.to_owned(), Kept(derived));
            }
        }
        Ok(())
    }

    /// Takes the password of a label away; whether there was one.
    pub fn unset(&mut self, label: &str) -> bool {
        self.app.remove(label).is_some()
    }

    /// The labels of its app passwords.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        self.app.keys().map(String::as_str)
    }

    /// Whether it has a main password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// What is kept for a label, or of the main password.
    pub(super) fn kept(&self, label: Option<&str>) -> Option<&Derived> {
        match label {
            None => self.password.as_ref(),
            Some(label) => self.app.get(label),
        }
        .map(|Kept(derived)| derived)
    }

    /// Which of its passwords fits: that of the label alone if there is one. The inner `None` is
    /// the main one.
    pub(super) fn fits<'a>(
        &'a self,
        derived: &Derived,
        label: Option<&'a str>,
    ) -> Option<Option<&'a str>> {
        let main = self.password.iter().map(|kept| (None, kept));
        let apps = self.app.iter().map(|(label, kept)| (Some(label.as_str()), kept));
        main.chain(apps)
            .filter(|(own, _)| label.is_none() || *own == label)
            .find(|(_, Kept(kept))| derived.fits(kept))
            .map(|(own, _)| own)
    }
}

/// The keys of a password.
#[derive(Clone, Copy, Debug)]
struct Kept(Derived);

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keys = [self.0.stored_key, self.0.server_key].map(|key| STANDARD.encode(key));
        serializer.serialize_str(&keys.join(":"))
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let key = |text: &str| STANDARD.decode(text).ok()?.try_into().ok();
        let keys =
            text.split_once(':').and_then(|(stored, server)| Some((key(stored)?, key(server)?)));
        let (stored_key, server_key) = keys.ok_or_else(|| {
            de::Error::custom("this is no StoredKey:ServerKey; make it with `angarium user passwd`")
        })?;
        Ok(Self(Derived { stored_key, server_key }))
    }
}

fn iterations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let iterations = u32::deserialize(deserializer)?;
    if (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
        return Ok(iterations);
    }
    Err(de::Error::custom(format!(
        "`iterations` is a number from {ITERATIONS_MIN} to {ITERATIONS_MAX}"
    )))
}

mod salt {
    use super::{Arc, Cow, Deserialize, Deserializer, Engine, STANDARD, Serializer, de};

    pub(super) fn serialize<S: Serializer>(salt: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(salt))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<[u8]>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let salt = STANDARD.decode(&*text).ok().filter(|salt| (8..=64).contains(&salt.len()));
        salt.map(Arc::from).ok_or_else(|| de::Error::custom("a salt is 8 to 64 octets in base64"))
    }
}

/// All users.
#[derive(Clone, Default, Debug)]
pub struct Accounts {
    seed: Option<Seed>,
    list: Vec<Account>,
    by_key: HashMap<String, usize>,
}

/// The secret that salts of unknown logins are made from, so that they outlive a restart as those
/// of known ones do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Seed(#[serde(with = "salt")] Arc<[u8]>);

/// The file as it is read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    seed: Option<Seed>,
    #[serde(default, rename = "user")]
    users: Vec<Spanned<Account>>,
}

/// The file as it is written.
#[derive(Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: &'a Option<Seed>,
    #[serde(rename = "user")]
    users: &'a [Account],
}

impl Accounts {
    /// Reads a file; none where there is no file.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub fn read(path: &Path) -> Result<Self, EditError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(EditError::Io(path.to_owned(), error)),
        };
        let fault = |why| EditError::Refused(format!("{}:{why}", path.display()));
        Self::parse(&text).map_err(fault)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it, behind its line and column. No line of the file is shown: it may hold
    /// keys.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = |offset: usize, why: &str| {
            let before = text.get(..offset).unwrap_or_default();
            let line = before.rsplit('\n').next().unwrap_or_default();
            let lines = before.matches('\n').count() + 1;
            format!("{lines}:{}: {why}", line.chars().count() + 1)
        };
        let Written { seed, users } = toml::from_str(text).map_err(|error: toml::de::Error| {
            at(error.span().map_or(0, |span| span.start), &without_value(error.message()))
        })?;
        let mut accounts = Self { seed, ..Self::default() };
        for user in users {
            let (start, account) = (user.span().start, user.into_inner());
            check_name(&account.name).map_err(|why| at(start, &why))?;
            account.labels().try_for_each(check_label).map_err(|why| at(start, &why))?;
            let name = account.name.clone();
            if !accounts.add(account) {
                return Err(at(start, &format!("the user {name} is there twice")));
            }
        }
        Ok(accounts)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// What TOML can't hold; there is nothing such in an account.
    pub fn text(&self) -> Result<String, String> {
        let text = toml::to_string(&Text { seed: &self.seed, users: &self.list });
        Ok([HEAD, &text.map_err(|error| error.to_string())?].concat())
    }

    /// The secret for the salts of unknown logins.
    pub(super) fn seed(&self) -> Option<&[u8]> {
        self.seed.as_ref().map(|Seed(seed)| &**seed)
    }

    /// Makes that secret where there is none.
    pub(super) fn make_seed(&mut self) -> Result<(), String> {
        if self.seed.is_none() {
            self.seed = Some(Seed(random()?.into()));
        }
        Ok(())
    }

    /// Adds a user; false if there is one of that name.
    pub fn add(&mut self, account: Account) -> bool {
        let key = key(&account.name);
        if self.by_key.contains_key(&key) {
            return false;
        }
        self.by_key.insert(key, self.list.len());
        self.list.push(account);
        true
    }

    /// Takes a user away; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let gone = key(name);
        let before = self.list.len();
        self.list.retain(|account| key(&account.name) != gone);
        let keys = self.list.iter().enumerate().map(|(at, account)| (key(&account.name), at));
        self.by_key = keys.collect();
        self.list.len() < before
    }

    /// All users, in the file's order.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.list.iter()
    }

    /// The user of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Account> {
        self.list.get(*self.by_key.get(&key(name))?)
    }

    /// The user of this name, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Account> {
        let at = *self.by_key.get(&key(name))?;
        self.list.get_mut(at)
    }

    /// The user of a login, and the label behind its last `+` if no user has the whole name.
    pub(super) fn find<'a>(&self, login: &'a str) -> Option<(&Account, Option<&'a str>)> {
        if let Some(account) = self.get(login) {
            return Some((account, None));
        }
        let (name, label) = login.rsplit_once('+')?;
        Some((self.get(name)?, Some(label)))
    }

    /// The iterations of some user, always the same for a number.
    pub(super) fn iterations_like(&self, number: usize) -> u32 {
        let at = number.checked_rem(self.list.len()).unwrap_or(0);
        self.list.get(at).map_or(ITERATIONS, |account| account.iterations)
    }
}

/// What is wrong with a value, without the value: a key may stand in a wrong place.
fn without_value(message: &str) -> Cow<'_, str> {
    match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => {
            format!("this is not what stands here: {expected}").into()
        }
        _ => message.into(),
    }
}

fn random() -> Result<[u8; SALT_OCTETS], String> {
    let mut octets = [0; SALT_OCTETS];
    aws_lc_rs::rand::fill(&mut octets).map_err(|_| "the system gives no random octets")?;
    Ok(octets)
}

/// What a login is found by: blind to letter case and to spellings that look alike.
pub(super) fn key(login: &str) -> String {
    stringprep::saslprep(login).map_or_else(|_| login.to_lowercase(), |name| name.to_lowercase())
}

fn check_name(name: &str) -> Result<(), String> {
    let bad = |character: char| character.is_whitespace() || character.is_control();
    if name.is_empty()
        || name.len() > 255
        || name.contains(bad)
        || stringprep::saslprep(name).is_err()
    {
        return Err(format!("{name:?} is no user; a name has 1 to 255 octets and no blanks"));
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), String> {
    let good = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if (1..=64).contains(&label.len()) && label.bytes().all(good) {
        return Ok(());
    }
    Err(format!("{label:?} is no label; it has 1 to 64 letters, digits, and - _ ."))
}

/// What tells one state of a file from another. The time is that of its last change of any kind, so
/// that a file which only became readable is another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stamp(u64, i64, i64, u64);

impl Stamp {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self(found.ino(), found.ctime(), found.ctime_nsec(), found.len()))
    }
}
