//! Restores of parts.

use packstone::ops::restore::Selection;
use packstone::source::{GivenPattern, Patterns};

use super::*;

fn patterns(texts: &[&str]) -> Patterns {
    let given = |text: &&str| GivenPattern {
        text: text.as_bytes().to_vec(),
        ignores_case: text.starts_with('i'),
        origin: "a test".into(),
    };
    Patterns::new(texts.iter().map(given).collect()).unwrap()
}

/// What is in the target after a restore of a part, but for the root.
#[track_caller]
fn restored(place: &Place, selection: Selection) -> Vec<String> {
    let options = RestoreOptions { selection, ..RestoreOptions::default() };
    let dry = RestoreOptions { dry_run: true, ..options.clone() };
    let (planned, _) = place.restore_with(&dry);
    assert!(!place.target.exists());
    let (summary, told) = place.restore_with(&options);
    assert_eq!(told.findings(), Vec::<String>::new());
    assert_eq!(without_fetches(planned), summary.unwrap());
    let mut found = Vec::new();
    collect(&place.target, "", &mut found);
    found.sort();
    fs::remove_dir_all(&place.target).unwrap();
    found
}

fn collect(directory: &Path, above: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{above}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{path}/"), found);
        }
        found.push(path);
    }
}

#[test]
fn what_is_included_comes_with_the_directories_that_lead_there() {
    let place = Place::small();
    let include = |texts: &[&str]| restored(&place, Selection::Include(patterns(texts)));
    assert_eq!(include(&["c"]), ["below", "below/deeper", "below/deeper/c"]);
    assert_eq!(include(&["link", "a"]), ["a", "below", "below/link"]);
    assert_eq!(include(&["below"]), ["below", "below/b", "below/deeper", "below/deeper/c", "below/link"]);
    assert_eq!(include(&["below", "!deeper"]), ["below", "below/b", "below/link"]);
    let absolute = format!("{}/below/deeper", place.source.display());
    assert_eq!(include(&[&absolute]), ["below", "below/deeper", "below/deeper/c"]);
    assert_eq!(include(&["**/deeper/*"]), ["below", "below/deeper", "below/deeper/c"]);
}

#[test]
fn a_directory_that_only_leads_there_gets_its_metadata() {
    let place = Place::small();
    fs::set_permissions(place.source.join("below"), fs::Permissions::from_mode(0o751)).unwrap();
    let id = back_up(&place.repository, &place.source).id;
    let place = Place { id, ..place };
    let options =
        RestoreOptions { selection: Selection::Include(patterns(&["c"])), ..RestoreOptions::default() };
    place.restore_with(&options).0.unwrap();
    let stat = |path: &Path| {
        let stat = fs::symlink_metadata(path).unwrap();
        (stat.mode(), stat.mtime(), stat.mtime_nsec())
    };
    assert_eq!(stat(&place.at("below")), stat(&place.source.join("below")));
}

#[test]
fn what_is_excluded_stays_away_with_all_below() {
    let place = Place::small();
    let exclude = |texts: &[&str]| restored(&place, Selection::Exclude(patterns(texts)));
    assert_eq!(exclude(&["below"]), ["a"]);
    assert_eq!(exclude(&["deeper", "link"]), ["a", "below", "below/b"]);
    assert_eq!(exclude(&["below/*", "!b"]), ["a", "below", "below/b"]);
    assert_eq!(exclude(&["nothing"]).len(), 6);
    assert_eq!(exclude(&["a", "below"]), Vec::<String>::new());
}

#[test]
fn a_single_file_is_judged_by_its_path_too() {
    let place = Place::small();
    let file = place.source.join("below/b");
    let entry = snapshot(&place.repository, place.id);
    for (texts, is_there) in [(&["b"][..], true), (&["below"], true), (&["c"], false)] {
        let options =
            RestoreOptions { selection: Selection::Include(patterns(texts)), ..RestoreOptions::default() };
        let path = file.as_os_str().as_encoded_bytes();
        let outcome =
            restore(&place.repository, &entry, Some(path), &place.target, &options, &Told::default());
        assert_eq!(place.at("b").exists(), is_there, "{texts:?}");
        match is_there {
            true => assert_eq!(outcome.unwrap().files, 1),
            false => drop(assert_kind(outcome, ErrorKind::NotFound)),
        }
        if is_there {
            fs::remove_dir_all(&place.target).unwrap();
        }
    }
}

#[test]
fn to_want_nothing_that_is_there_is_an_error_and_makes_nothing() {
    let place = Place::small();
    for selection in [
        Selection::Include(patterns(&["/no/such/thing", "neither"])),
        Selection::Exclude(patterns(&["*"])),
        Selection::Exclude(patterns(&["source"])),
    ] {
        let (outcome, _) = place.restore_with(&RestoreOptions { selection, ..RestoreOptions::default() });
        assert_kind(outcome, ErrorKind::NotFound);
        assert!(!place.target.exists());
    }
}

#[test]
fn only_what_is_wanted_meets_what_is_there() {
    let place = Place::small();
    fs::create_dir(&place.target).unwrap();
    fs::write(place.at("below"), "in the way of what is not wanted").unwrap();
    let selection = Selection::Include(patterns(&["a"]));
    let (outcome, told) = place.restore_with(&RestoreOptions { selection, ..RestoreOptions::default() });
    assert_eq!((outcome.unwrap().files, told.findings().len()), (1, 0));
    let selection = Selection::Include(patterns(&["c"]));
    let (outcome, _) = place.restore_with(&RestoreOptions { selection, ..RestoreOptions::default() });
    assert_kind(outcome, ErrorKind::Exists);
}
