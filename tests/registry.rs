//! `angarium registry` from outside, and the page that is made of the registry.
//!
//! UPDATE_DOC=1 writes `src/registry/extensions.md` anew.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use angarium::registry::{extension, page};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What the program wrote, what it complained of, and how it ended.
fn registry(arguments: &[&str]) -> (String, String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_angarium"))
        .env_remove("ANGARIUM_CONFIG")
        .arg("registry")
        .args(arguments)
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn list(name: &str) -> String {
    root().join("tests/config/lists").join(name).to_str().unwrap().to_owned()
}

/// A copy of the built-in registry with a change in its text.
fn edited(folder: &Path, name: &str, from: &str, to: &str) -> String {
    assert!(extension::TABLE.contains(from), "{from}");
    let path = folder.join(name);
    fs::write(&path, extension::TABLE.replacen(from, to, 1)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_page_is_what_the_tables_say() {
    let path = root().join("src/registry/extensions.md");
    if std::env::var_os("UPDATE_DOC").is_some() {
        fs::write(&path, page::page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page::page(), "extensions.md: run this test with UPDATE_DOC=1");
}

#[test]
fn ls_and_show_tell_what_is_known() {
    let (all, _, code) = registry(&["ls"]);
    assert_eq!((all.lines().count(), code), (38, 0));
    let (lines, _, _) = registry(&["ls", "--json"]);
    let keywords: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|entry| entry["keyword"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!((keywords.len(), &*keywords[0], &*keywords[36]), (37, "SEND", "XFORWARD"));
    let (size, _, _) = registry(&["show", "size"]);
    assert!(size.contains("change controller  IETF\n") && size.contains("MAIL 26"), "{size}");
    let (_, said, code) = registry(&["show", "MADE-UP"]);
    assert!(said.contains("no extension that is known") && code == 65, "{said}");
    let (codes, _, _) = registry(&["codes", "--json"]);
    assert_eq!(codes.lines().count(), 92);
    assert!(codes.contains(r#""change_controller":"ima@ietf.org""#));
}

#[test]
fn a_configuration_adds_local_entries() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("angarium.toml");
    fs::write(&config, format!("[registry]\nlocal = \"{}\"\n", list("extensions.toml"))).unwrap();
    let config = config.to_str().unwrap();
    let (all, _, _) = registry(&["ls", "--config", config]);
    assert!(all.lines().any(|line| line.starts_with("XSCORE ") && line.contains(" local ")));
    let (shown, _, code) = registry(&["show", "xscore", "--config", config]);
    assert!(shown.contains("change controller  Example Organisation\n") && code == 0, "{shown}");
    assert_eq!(registry(&["show", "xscore"]).2, 65);
}

#[test]
fn check_names_each_fault_with_its_place() {
    let (said, _, code) = registry(&["check", &list("extensions.toml")]);
    assert!(said.ends_with("no faults; local entries, 1 in all\n") && code == 0, "{said}");
    let bad = list("bad-extensions.toml");
    let (_, said, code) = registry(&["check", &bad]);
    let expected = fs::read_to_string(root().join("tests/config/bad-registry/expected")).unwrap();
    let faults: String = said.lines().skip(1).map(|line| line.to_owned() + "\n").collect();
    assert_eq!((faults, code), (expected.replace("LISTS/bad-extensions.toml", &bad), 65));
    assert_eq!(registry(&["check", "/nonexistent/registry.toml"]).2, 66);

    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("keyword = \"SOML\"", "keyword = \"send\"", "`send` is there already"),
        ("contact = \"Eric Allman\"", "", "`contact` must be there"),
        ("references = [\"RFC1870\"]", "references = [\"a book\"]", "must name an RFC"),
        ("length_added = { MAIL = 26 }", "", "must say how much MAIL grows"),
        ("reg_method = \"Legacy\"", "reg_method = \"legacy\"", "it is \"IETF\", \"FCFS\","),
    ];
    for (from, to, says) in cases {
        let file = edited(folder.path(), "bad.toml", from, to);
        let (_, said, code) = registry(&["check", &file]);
        assert!(said.contains(says) && code == 65, "{to}: {said}");
        let place = said.lines().nth(1).unwrap().strip_prefix(&*file).unwrap();
        assert!(place.split(':').nth(1).unwrap().parse::<usize>().unwrap() > 1, "{said}");
    }
}

#[test]
fn diff_says_whether_the_rules_allow_it_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let old = edited(folder.path(), "old.toml", "", "");
    let (said, _, code) = registry(&["diff", &old, &old]);
    assert_eq!((&*said, code), ("no difference\n", 0));

    let new = edited(folder.path(), "new.toml", "MAIL = 26", "MAIL = 27");
    let (said, _, code) = registry(&["diff", &old, &new]);
    let with = "SIZE changed (length_added): allowed with the approval of the IETF: ";
    assert!(said.starts_with(with) && code == 0, "{said}");

    let legacy = "contact = \"Eric Allman\"";
    let new = edited(folder.path(), "new.toml", legacy, "contact = \"somebody\"");
    let (said, why, code) = registry(&["diff", &old, &new]);
    assert!(said.starts_with("VERB changed (contact): forbidden: ") && code == 65, "{said}");
    assert!(why.contains("forbid 1 of 1 changes"), "{why}");
    let (said, _, _) = registry(&["diff", "--json", &old, &new]);
    let told: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!((&told["keyword"], &told["possible"]), (&"VERB".into(), &false.into()));
}

#[test]
fn an_export_is_taken_back_and_iana_gets_its_columns() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _, code) = registry(&["export", "--format", "toml"]);
    assert_eq!(code, 0);
    let again = folder.path().join("again.toml");
    fs::write(&again, text).unwrap();
    let again = again.to_str().unwrap();
    assert_eq!(registry(&["check", again]).2, 0);
    let built_in = edited(folder.path(), "built-in.toml", "", "");
    assert_eq!(registry(&["diff", &built_in, again]).0, "no difference\n");
    assert_eq!(registry(&["export", "--format", "csv", again]).0.lines().count(), 38);

    let (iana, _, _) = registry(&["export", "--format", "iana"]);
    let columns = "EHLO Keyword,Description,Reference,EHLO Parameters,Additional Verbs,\
                   MAIL/RCPT Parameter Values,RegMethod,Message Submission Use and Values,\
                   Length Added,Note,Contact,Change Controller";
    assert_eq!((iana.lines().next(), iana.lines().count()), (Some(columns), 36));
    assert!(!iana.contains("XCLIENT"));
    assert_eq!(registry(&["export", "--format", "yaml"]).2, 64);
}
