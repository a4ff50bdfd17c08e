//! Addresses: what a mailbox costs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::hint::black_box;

use allocation_counter::measure;
use angarium::syntax::path::{Mailbox, ReversePath, parse_reverse_path, take_path};

#[test]
fn a_parse_allocates_once_and_a_copy_not_at_all() {
    let text = black_box("<A.Long.Local-Part+tag@Sub.Domain.Example> SIZE=1000");
    let mut path = ReversePath::Null;
    let parsing = measure(|| path = parse_reverse_path(take_path(text).unwrap().0).unwrap());
    assert_eq!(parsing.count_total, 1);
    let copying = measure(|| drop(black_box(path.clone())));
    assert_eq!(copying.count_total, 0);
    let stored = serde_json::to_string(&path).unwrap();
    let reading = measure(|| drop(serde_json::from_str::<ReversePath>(&stored).unwrap()));
    assert_eq!(reading.count_total, 1);
    let comparing = measure(|| {
        let ReversePath::Mailbox(mailbox) = &path else { return };
        black_box((mailbox.local_part(), mailbox.domain()));
    });
    assert_eq!(comparing.count_total, 0);
    assert!(size_of::<Mailbox>() <= 32);
}
