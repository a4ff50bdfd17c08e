//! The books of several users, over restarts.

use proptest::prelude::*;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;

fn settings(counts: [u32; 4]) -> Settings {
    Settings { each: quota::Limits(counts.map(Some)), exempt_local: true, ..Settings::default() }
}

fn fresh(settings: Settings) -> (tempfile::TempDir, Limits, mpsc::UnboundedReceiver<Alert>) {
    let folder = tempfile::tempdir().unwrap();
    let (limits, alerts) = Limits::open(&folder.path().join("limits"), settings);
    (folder, limits, alerts)
}

#[test]
fn who_sends_too_much_is_told_why_and_the_administrator_once() {
    let (_folder, limits, mut alerts) = fresh(settings([2, 0, 0, 0]));
    for _ in 0..2 {
        assert_eq!(limits.take_message("joe", NOW_MS), Ok(()));
    }
    for ms in 0..1000 {
        let refusal = limits.take_message("joe", NOW_MS + ms).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "450 4.7.1 you may send 2 messages an hour, try again later"
        );
    }
    let alert = alerts.try_recv().unwrap();
    let (user, meter) = ("joe".to_owned(), Meter::MessagesPerHour);
    assert_eq!(alert, Alert { user, meter, limit: 2, at_ms: NOW_MS });
    assert!(alerts.try_recv().is_err(), "told once");
    limits.set(Settings { on_excess: OnExcess::Refuse, ..settings([2, 0, 0, 0]) });
    let refusal = limits.take_message("joe", NOW_MS).unwrap_err();
    assert_eq!(refusal.to_string(), "550 5.7.1 you may send 2 messages an hour");
}

#[test]
fn recipients_here_count_only_where_the_operator_says_so() {
    let (_folder, limits, _alerts) = fresh(settings([0, 0, 1, 0]));
    for _ in 0..100 {
        assert_eq!(limits.take_recipient("joe", true, NOW_MS), Ok(false));
    }
    assert_eq!(limits.take_recipient("joe", false, NOW_MS), Ok(true));
    assert!(limits.take_recipient("joe", false, NOW_MS).is_err());
    assert_eq!(limits.take_recipient("joe", true, NOW_MS), Ok(false), "also when it is reached");
    limits.set(Settings { exempt_local: false, ..settings([0, 0, 1, 0]) });
    assert!(limits.take_recipient("joe", true, NOW_MS).is_err());
}

#[test]
fn open_transactions_count_and_abandoned_ones_do_not() {
    let (_folder, limits, _alerts) = fresh(settings([2, 0, 3, 0]));
    let limits = Arc::new(limits);
    let open = || {
        let mut reserved = Reserved::new(Arc::clone(&limits), "joe");
        reserved.take_message(NOW_MS).map(|()| reserved)
    };
    let (mut first, mut second) = (open().unwrap(), open().unwrap());
    assert!(open().is_err(), "two are open");
    let later_ms = NOW_MS + HOUR_MS / 24;
    second.take_recipient(false, NOW_MS).unwrap();
    first.take_recipient(false, NOW_MS).unwrap();
    first.take_recipient(false, later_ms).unwrap();
    first.take_recipient(true, NOW_MS).unwrap();
    assert!(first.take_recipient(false, later_ms).is_err());
    second.keep();
    let used = |meter: Meter| limits.users(later_ms)[0].figures[meter as usize].1;
    assert_eq!((used(Meter::MessagesPerHour), used(Meter::RecipientsPerHour)), (2, 3));
    drop(first);
    assert_eq!((used(Meter::MessagesPerHour), used(Meter::RecipientsPerHour)), (1, 1));
    open().unwrap().keep();
    assert!(open().is_err(), "two are sent");
    let ann = Reserved::new(Arc::clone(&limits), "ann").take_message(NOW_MS);
    assert_eq!(ann, Ok(()));
}

#[test]
fn a_user_with_limits_of_their_own_has_those() {
    let mut settings = settings([1, 0, 0, 0]);
    let own = quota::Limits([Some(3), None, None, None]);
    settings.named.insert("app".to_owned(), own);
    let (_folder, limits, _alerts) = fresh(settings);
    let taken = |user| (0..10).filter(|_| limits.take_message(user, NOW_MS).is_ok()).count();
    assert_eq!([taken("app"), taken("joe")], [3, 1]);
}

#[test]
fn a_restart_forgets_neither_what_was_sent_nor_that_it_was_told() {
    let (folder, limits, mut alerts) = fresh(settings([1, 0, 0, 0]));
    limits.take_message("joe", NOW_MS).unwrap();
    limits.take_message("joe", NOW_MS).unwrap_err();
    alerts.try_recv().unwrap();
    limits.save(NOW_MS);
    let file = folder.path().join("limits");
    let reopen = || Limits::open(&file, settings([1, 0, 0, 0]));
    let (again, mut alerts) = reopen();
    assert!(again.take_message("joe", NOW_MS + 1).is_err() && alerts.try_recv().is_err());
    assert_eq!(again.take_message("ann", NOW_MS + 1), Ok(()));
    again.save(NOW_MS + 30 * HOUR_MS);
    assert_eq!(fs::read(&file).unwrap(), b"", "who sends nothing is forgotten");
    let line = "{\"user\":\"joe\",\"windows\":[[],[],[],[]]}\n";
    fs::write(&file, format!("nonsense\n{line}{{}}\n")).unwrap();
    let (again, _alerts) = reopen();
    assert_eq!(again.users.len(), 1);
    fs::write(&file, [0xff, 0xfe, 0]).unwrap();
    assert!(reopen().0.users.is_empty());
}

#[test]
fn who_is_shut_out_stays_so_over_a_restart_and_whom_the_operator_trusts_never_is() {
    let guard =
        guard::Rules { failures_max: 2, window_ms: HOUR_MS, ban_ms: HOUR_MS, ban_max_ms: HOUR_MS };
    let exempt = vec!["198.51.100.0/24".parse().unwrap()];
    let settings = || Settings { guard, exempt: exempt.clone(), ..settings([0; 4]) };
    let (folder, limits, _alerts) = fresh(settings());
    for client in ["192.0.2.7", "127.0.0.1", "::1", "::ffff:127.0.0.2", "198.51.100.7"] {
        let client: IpAddr = client.parse().unwrap();
        let delays = (0..100).map(|secret| limits.failed("s1", client, "joe", secret, NOW_MS));
        let slow = delays.into_iter().any(|delay| !delay.is_zero());
        let is_stranger = client == IpAddr::from([192, 0, 2, 7]);
        assert_eq!((slow, limits.admit(client, NOW_MS).is_err()), (is_stranger, is_stranger));
    }
    limits.save(NOW_MS);
    let (again, _alerts) = Limits::open(&folder.path().join("limits"), settings());
    let stranger = IpAddr::from([192, 0, 2, 7]);
    assert_eq!(again.admit(stranger, NOW_MS), Err(reply::TOO_MANY_FAILURES));
    assert_eq!(again.admit(stranger, NOW_MS + HOUR_MS), Ok(()));
}

proptest! {
    /// A flood by one user, and the verdicts on another with and without it.
    #[test]
    fn a_flood_by_one_user_changes_nothing_for_another(
        counts in prop::array::uniform4(0..20_u32),
        steps in prop::collection::vec((0..600_000_u64, 0..50_usize, any::<bool>()), 1..60),
    ) {
        let (_a, flooded, _) = fresh(settings(counts));
        let (_b, calm, _) = fresh(settings(counts));
        let mut now_ms = NOW_MS;
        for (gap_ms, flood, is_message) in steps {
            now_ms += gap_ms;
            for _ in 0..flood {
                let _ = flooded.take_message("mallory", now_ms);
                let _ = flooded.take_recipient("mallory", false, now_ms);
            }
            let verdict = |limits: &Limits| match is_message {
                true => limits.take_message("joe", now_ms),
                false => limits.take_recipient("joe", false, now_ms).map(|_| ()),
            };
            prop_assert_eq!(verdict(&flooded), verdict(&calm));
        }
    }
}
