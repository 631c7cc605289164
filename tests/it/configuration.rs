//! Holds `docs/configuration.md` against the configuration: every key is documented where it stands, nothing else is, and
//! the example is right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use packstone::config::{Config, SECTIONS};

use crate::support::code::read;

/// Tables that several sections share, by what a section must have to share them.
const SHARED: [(&str, &str); 3] =
    [("Every source", "type"), ("Every server", "container-password"), ("What is left out", "exclude")];

/// The keys of each table, by its title.
fn documented(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut title = String::new();
    for line in text.lines() {
        if let Some(next) = line.strip_prefix("## ") {
            next.clone_into(&mut title);
        } else if let Some(row) = line.strip_prefix("| `") {
            let key = row.split('`').next().expect("a key").to_owned();
            assert!(
                tables.entry(title.clone()).or_default().insert(key.clone()),
                "{title}: {key} stands there twice"
            );
        }
    }
    tables
}

/// What is documented and not known, or known and not documented.
fn differences(text: &str) -> Vec<String> {
    let mut tables = documented(text);
    let shared: Vec<(&str, BTreeSet<String>)> =
        SHARED.iter().filter_map(|(title, mark)| Some((*mark, tables.remove(*title)?))).collect();
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (title, known) in SECTIONS {
        let known: BTreeSet<String> = known.iter().map(|key| (*key).to_owned()).collect();
        let mut all = tables.remove(*title).unwrap_or_default();
        wrong.extend(all.difference(&known).map(|key| format!("{title}: {key} is no key")));
        for (mark, keys) in shared.iter().filter(|(mark, _)| known.contains(*mark)) {
            wrong.extend(
                keys.difference(&known).map(|key| format!("{title}: {key} is no key, but shared by {mark}")),
            );
            wrong.extend(all.intersection(keys).map(|key| format!("{title}: {key} stands there twice")));
            all.extend(keys.iter().cloned());
            used.insert(*mark);
        }
        wrong.extend(known.difference(&all).map(|key| format!("{title}: {key} is not documented")));
    }
    wrong.extend(tables.keys().map(|title| format!("{title}: no such table")));
    if used.len() != SHARED.len() {
        wrong.push(format!("only {used:?} are shared"));
    }
    wrong
}

#[test]
fn every_key_is_documented_and_nothing_else() {
    let text = read("docs/configuration.md").text;
    assert_eq!(differences(&text), [""; 0]);
    println!("{} keys", SECTIONS.iter().map(|(_, keys)| keys.len()).sum::<usize>());
}

#[test]
fn what_does_not_fit_is_found() {
    let text = read("docs/configuration.md").text;
    for (from, to) in [
        ("| `url` |", "| `ulr` |"),
        ("| `oplog` |", "| oplog |"),
        ("## keep", "## kept"),
        ("| `exclude-caches` |", "| `caches` |"),
        ("| `socket` |", "| `host` |"),
    ] {
        assert!(!differences(&text.replacen(from, to, 1)).is_empty(), "{from}");
    }
}

#[test]
fn the_example_is_a_configuration() {
    let text = read("docs/configuration.md").text;
    let example =
        text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let config = Config::parse(example, Path::new("/etc/packstone")).expect("no problem");
    assert_eq!((config.repositories.len(), config.jobs.len()), (2, 1));
    assert_eq!(config.jobs[0].sources.len(), 7);
}
