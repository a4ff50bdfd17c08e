//! Attacks, owners and forgotten devices, in virtual time and against a naive model.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

const NOW_MS: u64 = 1_800_000_000_000;
const MINUTE_MS: u64 = 60_000;
const RULES: Rules = Rules {
    failures_max: 5,
    window_ms: 60 * MINUTE_MS,
    ban_ms: 10 * MINUTE_MS,
    ban_max_ms: 60 * MINUTE_MS,
};

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

/// Different secrets until the address is shut out; when that ends.
fn attack(guard: &mut Guard, from: IpAddr, first: u64, now_ms: u64) -> u64 {
    for secret in first.. {
        if let Some(ban) = guard.failed(from, "joe", secret, &RULES, now_ms).ban {
            assert_eq!(secret - first, 4);
            return ban.until_ms;
        }
    }
    0
}

#[test]
fn an_address_is_shut_out_for_twice_as_long_each_time_up_to_a_bound() {
    let (mut guard, mut now_ms, mut minutes) = (Guard::default(), NOW_MS, Vec::new());
    for round in 0..5 {
        let until_ms = attack(&mut guard, address(1), round * 100, now_ms);
        minutes.push((until_ms - now_ms) / MINUTE_MS);
        assert_eq!(guard.admit(address(1), until_ms - 1), Err(until_ms));
        assert_eq!(guard.admit(address(2), until_ms - 1), Ok(()), "no other");
        assert_eq!(guard.admit(address(1), until_ms), Ok(()));
        now_ms = until_ms;
    }
    assert_eq!(minutes, [10, 20, 40, 60, 60]);
    let later_ms = now_ms + RULES.ban_max_ms;
    assert_eq!(attack(&mut guard, address(1), 9000, later_ms) - later_ms, RULES.ban_ms);
}

#[test]
fn a_network_of_v6_is_one_address() {
    let mut guard = Guard::default();
    let at = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, 0, last]);
    for number in 0..5 {
        guard.failed(at(number), "joe", number.into(), &RULES, NOW_MS);
    }
    assert!(guard.admit(at(99), NOW_MS).is_err());
    assert!(guard.clear_address(at(1)) && guard.admit(at(99), NOW_MS).is_ok());
    assert!(!guard.clear_address(at(1)));
}

#[test]
fn a_device_with_an_old_password_is_neither_shut_out_nor_slow() {
    let mut guard = Guard::default();
    for minute in 0..10_000 {
        let said = guard.failed(address(1), "joe", 7, &RULES, NOW_MS + minute * MINUTE_MS);
        assert_eq!(said, Consequence { delay: Duration::ZERO, ban: None });
    }
    for account in ["a", "b", "c", "d"] {
        guard.failed(address(2), account, 7, &RULES, NOW_MS);
    }
    let said = guard.failed(address(2), "e", 7, &RULES, NOW_MS);
    assert!(said.ban.is_some(), "one password for many accounts is an attack");
}

#[test]
fn denials_get_slower_and_a_success_forgives_its_own() {
    for failures_max in [0, 100] {
        let mut guard = Guard::default();
        let rules = Rules { failures_max, ..RULES };
        let seconds = |guard: &mut Guard, secret| {
            let said = guard.failed(address(1), "joe", secret, &rules, NOW_MS);
            assert_eq!(said.ban, None);
            said.delay.as_secs()
        };
        let waits: Vec<u64> = (0..9).map(|secret| seconds(&mut guard, secret)).collect();
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 8, 8, 8]);
        guard.succeeded(address(1), "JOE");
        assert_eq!(seconds(&mut guard, 100), 0);
    }
}

#[test]
fn who_attacks_an_account_slows_only_strangers_to_it() {
    let mut guard = Guard::default();
    guard.succeeded(address(1), "joe");
    for number in 0..200 {
        guard.failed(address(100 + number as u8 % 100), "joe", number, &RULES, NOW_MS);
    }
    let slow = |guard: &mut Guard, from| guard.failed(from, "joe", 5000, &RULES, NOW_MS).delay;
    assert_eq!(slow(&mut guard, address(2)), Duration::from_secs(DELAY_MAX_S));
    assert_eq!(slow(&mut guard, address(1)), Duration::ZERO, "logged in to here before");
    assert!(guard.clear_account("Joe"));
    assert_eq!(slow(&mut guard, address(3)), Duration::ZERO);
}

#[test]
fn a_flood_of_addresses_and_names_takes_no_more_memory_than_it_may() {
    let mut guard = Guard::default();
    guard.succeeded(address(1), "joe");
    for number in 0..40_000_u128 {
        let from = Ipv6Addr::from_bits((0x2001_0db8 << 96) + (number << 64)).into();
        guard.failed(from, &format!("made-up-{number}"), 1, &RULES, NOW_MS);
    }
    assert_eq!(guard.addresses.len(), SUSPECTS_MAX.get());
    assert_eq!(guard.accounts.len(), SUSPECTS_MAX.get());
    let key = guard.key("joe");
    assert!(guard.known.peek(&key).is_some(), "names that are made up drive nobody out");
}

/// Failures that count, by address; and bans.
#[derive(Default)]
struct Naive {
    failures: HashMap<u8, Vec<(u64, u8, u64)>>,
    bans: HashMap<u8, (u64, u32)>,
}

impl Naive {
    fn failed(&mut self, from: u8, account: u8, secret: u64, now_ms: u64) {
        let list = self.failures.entry(from).or_default();
        list.retain(|(at_ms, ..)| at_ms + RULES.window_ms > now_ms);
        if list.iter().any(|(_, known, said)| (*known, *said) == (account, secret)) {
            return;
        }
        list.push((now_ms, account, secret));
        if list.len() == RULES.failures_max {
            list.clear();
            let (until_ms, times) = self.bans.get(&from).copied().unwrap_or((0, 0));
            let times = if now_ms < until_ms + RULES.ban_max_ms { times + 1 } else { 1 };
            let minutes = [10, 20, 40, 60][(times as usize - 1).min(3)];
            self.bans.insert(from, (now_ms + minutes * MINUTE_MS, times));
        }
    }

    fn is_out(&self, from: u8, now_ms: u64) -> bool {
        self.bans.get(&from).is_some_and(|(until_ms, _)| *until_ms > now_ms)
    }
}

proptest! {
    #[test]
    fn shuts_out_whom_a_naive_reading_does(
        steps in prop::collection::vec(
            (0..20 * MINUTE_MS, 0..3_u8, 0..3_u8, 0..6_u64, 0..10_u8), 1..300,
        ),
    ) {
        let (mut guard, mut naive, mut now_ms) = (Guard::default(), Naive::default(), NOW_MS);
        for (gap_ms, from, account, secret, kind) in steps {
            now_ms += if kind < 7 { gap_ms % MINUTE_MS } else { gap_ms };
            let name = account.to_string();
            if kind == 0 {
                guard.succeeded(address(from), &name);
                let list = naive.failures.entry(from).or_default();
                list.retain(|(_, known, _)| *known != account);
            } else {
                let said = guard.failed(address(from), &name, secret, &RULES, now_ms);
                naive.failed(from, account, secret, now_ms);
                prop_assert!(said.delay <= Duration::from_secs(DELAY_MAX_S));
            }
            for from in 0..3 {
                let out = guard.admit(address(from), now_ms).is_err();
                prop_assert_eq!(out, naive.is_out(from, now_ms));
            }
        }
    }
}
