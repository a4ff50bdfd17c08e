//! The file and those in it: what it keeps, what a login costs, and what a change ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use super::*;

const NEVER: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(300);

fn account(name: &str, password: &str, apps: &[(&str, &str)]) -> Account {
    let mut account = Account::new(name, ITERATIONS_MIN).unwrap();
    account.set(None, password).unwrap();
    for (label, password) in apps {
        account.set(Some(label), password).unwrap();
    }
    account
}

struct House {
    folder: tempfile::TempDir,
    users: Users,
}

impl House {
    /// Joe with a password for his phone, and Ann who is disabled.
    fn new(remember: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let mut editor = Editor::open(&path).unwrap();
        assert!(editor.accounts.add(account("joe@x.org", "secret", &[("phone", "other")])));
        let mut ann = account("ann", "secret", &[]);
        ann.disabled = true;
        assert!(editor.accounts.add(ann));
        editor.save(None).unwrap();
        let seen = Arc::new(Seen::open(&folder.path().join("logins")));
        let users = Users::open(&path, remember, seen).unwrap();
        Self { folder, users }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("users")
    }

    async fn login(&self, login: &str, password: &str) -> Result<String, Denial> {
        let login = self.users.verify(Proof::Password { login, password }).await?;
        Ok(Seen::name(&login.user, login.label.as_deref()))
    }

    async fn all_places(&self) -> tokio::sync::OwnedSemaphorePermit {
        let count = u32::try_from(processors()).unwrap();
        Arc::clone(&self.users.derivations).acquire_many_owned(count).await.unwrap()
    }

    fn derived(&self) -> usize {
        self.users.derived.load(Ordering::Relaxed)
    }

    /// Lets the next login look at the file.
    fn later(&self) {
        self.users.looked.lock().unwrap().at -= LOOK_TIME;
    }
}

#[test]
fn what_is_written_is_read() {
    let house = House::new(NEVER);
    let text = fs::read_to_string(house.path()).unwrap();
    assert!(!text.contains("secret"), "{text}");
    let read = Accounts::parse(&text).unwrap();
    assert_eq!(read.text().unwrap(), text);
    let joe = read.get("JOE@x.org").unwrap();
    assert!(joe.has_password() && joe.labels().eq(["phone"]));
    assert!(read.get("ann").unwrap().disabled);
    assert_eq!(fs::metadata(house.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(Accounts::read(&house.folder.path().join("absent")).unwrap().iter().next().is_none());
}

#[test]
fn a_fault_has_its_line_and_column_and_shows_no_key() {
    let key = "A".repeat(43) + "=";
    let user = |name: &str, more: &str| {
        format!(
            "[[user]]\nname = \"{name}\"\niterations = 4096\nsalt = \"{}\"\n{more}",
            "QUFBQUFBQUE="
        )
    };
    let good = user("joe", &format!("password = \"{key}:{key}\"\napp.a-b_c.d = \"x\"\n"));
    let told = |text: &str| Accounts::parse(text).map(|_| ()).unwrap_err();
    assert_eq!(Accounts::parse(&user("joe", "")).unwrap().iter().count(), 1);
    for (text, place, why) in [
        (good, "6:5: ", ""),
        (user("joe", "password = \"x\"\n"), "5:12: ", "this is no StoredKey:ServerKey"),
        (user("joe", &format!("password = \"{key}\"\n")), "5:12: ", "this is no StoredKey"),
        (user("joe", "pasword = \"x\"\n"), "5:1: ", "unknown field `pasword`"),
        (user("joe", "").replace("4096", "4095"), "3:14: ", "`iterations` is a number from 4096"),
        (user("joe", "").replace("4096", "2000001"), "3:14: ", "`iterations` is a number"),
        (user("joe", "").replace("QUFBQUFBQUE=", "QUE="), "4:8: ", "a salt is 8 to 64 octets"),
        (user("joe", &format!("disabled = \"{key}\"\n")), "5:12: ", "a boolean"),
        (user("joe", &format!("app = \"{key}, expected {key}\"\n")), "5:7: ", "a map"),
        (user("", ""), "1:1: ", "\"\" is no user"),
        (user("a b", ""), "1:1: ", "\"a b\" is no user"),
        (user("joe", "") + "\n" + &user("JOE", ""), "6:1: ", "the user JOE is there twice"),
        (user("joe", &format!("app.\"a b\" = \"{key}:{key}\"\n")), "1:1: ", "\"a b\" is no label"),
        (format!("[[users]]\nname = \"{key}\"\n"), "1:3: ", "unknown field `users`"),
        ("[[user]]\nname = \"joe\n".to_owned(), "2:", ""),
    ] {
        let fault = told(&text);
        assert!(fault.starts_with(place) && fault.contains(why), "{fault} for\n{text}");
        assert!(!fault.contains(&key) && !fault.contains('\n'), "{fault}");
    }
}

#[test]
fn labels_are_short_words() {
    let mut account = Account::new("joe", ITERATIONS_MIN).unwrap();
    for label in ["a", "Phone-2_x.y", &"x".repeat(64)] {
        account.set(Some(label), "secret").unwrap();
    }
    for label in ["", "a b", "a+b", "ä", &"x".repeat(65)] {
        let why = account.set(Some(label), "secret").unwrap_err();
        assert!(why.contains("is no label"), "{why}");
    }
    assert!(account.set(None, "").is_err() && account.set(None, "\u{7}").is_err());
    assert!(account.unset("a") && !account.unset("a"));
    assert_eq!(account.labels().count(), 2);
    assert!(Account::new("", ITERATIONS_MIN).is_err() && Account::new("a\0b", 4096).is_err());
}

#[tokio::test]
async fn each_judgement_costs_one_derivation_whoever_it_is() {
    let house = House::new(NEVER);
    let credentials = || Err(Denial::Credentials);
    for (count, (login, password, expected)) in [
        ("joe@x.org", "secret", Ok("joe@x.org")),
        ("Joe@X.org", "secret", Ok("joe@x.org")),
        ("joe@x.org", "other", Ok("joe@x.org+phone")),
        ("joe@x.org+phone", "other", Ok("joe@x.org+phone")),
        ("joe@x.org+phone", "secret", credentials()),
        ("joe@x.org+absent", "other", credentials()),
        ("joe@x.org", "wrong", credentials()),
        ("joe@x.org", "", credentials()),
        ("joe@x.org", "\u{7}", credentials()),
        ("nobody", "secret", credentials()),
        ("nobody+phone", "secret", credentials()),
        ("", "", credentials()),
        ("ann", "wrong", credentials()),
        ("ann", "secret", Err(Denial::Disabled)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(house.login(login, password).await, expected.map(str::to_owned), "{login}");
        assert_eq!(house.derived(), count + 1, "{login} {password}");
    }
}

#[tokio::test]
async fn what_was_right_is_remembered_until_the_file_changes() {
    let house = House::new(LONG);
    for _ in 0..3 {
        house.login("joe@x.org", "secret").await.unwrap();
        house.login("joe@x.org", "wrong").await.unwrap_err();
    }
    assert_eq!(house.derived(), 4, "only what was right");
    let mut editor = Editor::open(&house.path()).unwrap();
    editor.accounts.get_mut("joe@x.org").unwrap().set(None, "new").unwrap();
    editor.save(None).unwrap();
    house.later();
    assert_eq!(house.login("joe@x.org", "secret").await, Err(Denial::Credentials));
    house.login("joe@x.org", "new").await.unwrap();

    fs::write(house.path(), "[[user]]\n").unwrap();
    house.later();
    house.login("joe@x.org", "new").await.unwrap();
    let aside = house.folder.path().join("aside");
    for _ in 0..3 {
        fs::rename(house.path(), &aside).unwrap();
        house.later();
        house.login("joe@x.org", "new").await.expect("a file on its way");
        fs::write(house.path(), "[[user]]\n").unwrap();
        house.later();
        house.login("joe@x.org", "new").await.expect("a damaged one");
    }
    fs::remove_file(house.path()).unwrap();
    for expected in [Ok("joe@x.org".to_owned()), Err(Denial::Credentials)] {
        house.later();
        assert_eq!(house.login("joe@x.org", "new").await, expected);
    }
}

#[test]
fn a_file_with_other_rights_is_another_one() {
    let house = House::new(NEVER);
    let stamp = Stamp::of(&house.path());
    // The times of files may be as coarse as the system's tick.
    std::thread::sleep(Duration::from_millis(20));
    fs::set_permissions(house.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert_ne!(Stamp::of(&house.path()), stamp);
}

#[test]
fn a_change_keeps_who_may_read() {
    let house = House::new(NEVER);
    for (before, after) in [(0o640, 0o640), (0o600, 0o600), (0o666, 0o640), (0o400, 0o600)] {
        fs::set_permissions(house.path(), fs::Permissions::from_mode(before)).unwrap();
        Editor::open(&house.path()).unwrap().save(None).unwrap();
        let mode = fs::metadata(house.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, after, "{before:o}");
    }
}

#[tokio::test]
async fn a_password_is_not_remembered_past_a_change_that_it_has_met() {
    let house = House::new(LONG);
    // All places are taken, so that the judgement waits while the file changes.
    let places = house.all_places().await;
    let change = async {
        tokio::task::yield_now().await;
        house.users.current.store(Arc::new(Accounts::default()));
        drop(places);
    };
    let (login, ()) = tokio::join!(house.login("joe@x.org", "secret"), change);
    login.unwrap();
    assert_eq!(house.login("joe@x.org", "secret").await, Err(Denial::Credentials));
}

#[tokio::test]
async fn who_waits_too_long_is_put_off_and_who_is_remembered_does_not_wait() {
    let mut house = House::new(LONG);
    house.users.derivation_time = Duration::from_millis(50);
    house.login("joe@x.org", "secret").await.unwrap();
    let places = house.all_places().await;
    assert_eq!(house.users.derivations.available_permits(), 0, "one for each processor");
    for login in ["ann", "nobody"] {
        let denial = house.login(login, "secret").await;
        assert!(matches!(denial, Err(Denial::Unavailable(_))), "{login}: {denial:?}");
    }
    house.login("joe@x.org", "secret").await.unwrap();
    assert_eq!(house.derived(), 1);
    drop(places);
    assert_eq!(house.login("nobody", "secret").await, Err(Denial::Credentials));
}

#[test]
fn scram_tells_nobody_who_is_there() {
    let house = House::new(NEVER);
    let of = |login: &str| house.users.kept(login).unwrap();
    let same = |a: &str, b: &str| of(a).salt == of(b).salt && of(a).iterations == of(b).iterations;
    for name in ["joe@x.org", "ann", "nobody", "nobody@x.org"] {
        assert!(same(name, name) && same(name, &name.to_uppercase()), "{name}");
        assert!(same(name, &format!("{name}+a")), "{name}");
        assert_eq!(of(name).salt.len(), file::SALT_OCTETS);
        assert!(!same(name, "another"));
    }
    let seen = Arc::new(Seen::open(&house.folder.path().join("logins")));
    let restarted = Users::open(&house.path(), NEVER, seen).unwrap();
    for name in ["joe@x.org", "nobody"] {
        assert_eq!(restarted.kept(name).unwrap().salt, of(name).salt, "{name}");
    }
    let fits = |login: &str, password: &str| {
        let kept = of(login);
        let derived = Derived::new(password, &kept.salt, kept.iterations).unwrap();
        derived.stored_key == kept.stored_key && derived.server_key == kept.server_key
    };
    assert!(fits("joe@x.org", "secret") && fits("joe@x.org+phone", "other"));
    assert!(!fits("joe@x.org", "other"), "SCRAM can't try one password after the other");
    assert!(!fits("nobody", "") && !fits("joe@x.org+absent", "other"));
    assert!(fits("ann", "secret") && of("ann").disabled && !of("joe@x.org").disabled);
}

#[test]
fn one_change_waits_for_another() {
    let house = House::new(NEVER);
    let first = Editor::open(&house.path()).unwrap();
    let path = house.path();
    let second = std::thread::spawn(move || {
        let mut editor = Editor::open(&path).unwrap();
        assert!(editor.accounts.get("bob").is_some());
        assert!(editor.accounts.remove("joe@x.org") && !editor.accounts.remove("joe@x.org"));
        editor.save(None).unwrap();
    });
    let mut first = first;
    assert!(first.accounts.add(account("bob", "secret", &[])));
    first.save(None).unwrap();
    second.join().unwrap();
    let accounts = Accounts::read(&house.path()).unwrap();
    assert_eq!(accounts.iter().map(|account| &*account.name).collect::<Vec<_>>(), ["ann", "bob"]);
    assert!(accounts.get("bob").unwrap().has_password() && accounts.get("joe@x.org").is_none());
}
