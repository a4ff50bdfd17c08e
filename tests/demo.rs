//! The first command of the README: the whole job on loopback, checked by itself.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::process::Command;

#[test]
fn the_demo_delivers_every_message_octet_for_octet() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_angarium"));
    let done = demo.args(["demo", "--folder"]).arg(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let log = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}\n{log}");
}
