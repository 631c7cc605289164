//! What rules leave of a directory tree, as a dry run tells it.

use std::fs::{create_dir_all, write};
use std::path::Path;
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::base::Finding;
use crate::base::host::Host;
use crate::ops::backup::{BackupOptions, DryRun, dry_run};
use crate::source::{GivenPattern, Patterns};

/// Remembers what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn push(&self, line: String) {
        self.0.lock().expect("a lock").push(line);
    }
}

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.push(format!("! {finding}"));
    }

    fn note(&self, text: &str) {
        self.push(format!("note: {text}"));
    }

    fn excluded(&self, path: &[u8], reason: &dyn std::fmt::Display) {
        self.push(format!("- {} {reason}", String::from_utf8_lossy(path)));
    }

    fn included(&self, path: &[u8]) {
        self.push(format!("+ {}", String::from_utf8_lossy(path)));
    }
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let temporary = tempfile::tempdir().expect("a directory");
    for (path, content) in files {
        let path = temporary.path().join(path);
        create_dir_all(path.parent().expect("a parent")).expect("a directory");
        write(path, content).expect("a file");
    }
    temporary
}

/// Runs dry; the lines have paths below the directory.
fn told(temporary: &TempDir, sources: &[&str], excludes: Excludes) -> (Vec<String>, DryRun) {
    let monitor = Told::default();
    let options = BackupOptions { excludes, ..BackupOptions::new(Host::current()) };
    let paths: Vec<PathBuf> = sources.iter().map(PathBuf::from).collect();
    let counts = dry_run(&paths, temporary.path(), &options, false, &monitor).expect("a dry run");
    let root = format!("{}/", temporary.path().display());
    let lines = monitor.0.into_inner().expect("lines");
    (lines.iter().map(|line| line.replace(&root, "")).collect(), counts)
}

fn patterns(texts: &[&str]) -> Excludes {
    let given = |text: &&str| GivenPattern {
        text: text.as_bytes().to_vec(),
        ignores_case: false,
        origin: "--exclude".into(),
    };
    let patterns = Patterns::new(texts.iter().map(given).collect()).expect("patterns");
    Excludes { patterns, ..Excludes::default() }
}

#[test]
fn patterns_leave_out_names_and_what_is_below_them() {
    let temporary = tree(&[
        ("s/a/x.tmp", "x"),
        ("s/a/y", "yy"),
        ("s/cache/z", ""),
        ("s/cache/keep", ""),
        ("s/b.tmp", ""),
    ]);
    let (lines, counts) = told(&temporary, &["s"], patterns(&["*.tmp", "cache/*", "!keep"]));
    assert_eq!(
        lines,
        [
            "+ s",
            "- s/b.tmp pattern \"*.tmp\" of --exclude",
            "+ s/a",
            "+ s/cache",
            "- s/a/x.tmp pattern \"*.tmp\" of --exclude",
            "+ s/a/y",
            "- s/cache/z pattern \"cache/*\" of --exclude",
            "+ s/cache/keep",
        ]
    );
    assert_eq!(counts, DryRun { files: 2, directories: 3, bytes: 2, excluded: 3, findings: 0 });
}

#[test]
fn a_source_itself_is_never_left_out() {
    let temporary = tree(&[("s/tmp/x", "12345"), ("f.tmp", "12345")]);
    let excludes = Excludes { larger_than_bytes: Some(3), ..patterns(&["/**/s", "*.tmp"]) };
    let (lines, _) = told(&temporary, &["s", "f.tmp"], excludes);
    assert_eq!(lines, ["+ s", "- s/tmp pattern \"/**/s\" of --exclude", "+ f.tmp"]);
    let (lines, counts) = told(&temporary, &["s"], patterns(&["/"]));
    assert_eq!((lines.len(), counts.excluded), (2, 1));
}

#[test]
fn a_marked_directory_keeps_its_marker_alone() {
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache\n";
    let temporary = tree(&[
        ("s/c/CACHEDIR.TAG", tag),
        ("s/c/x", ""),
        ("s/c/d/y", ""),
        ("s/false/CACHEDIR.TAG", &tag[1..]),
        ("s/false/x", ""),
        ("s/short/CACHEDIR.TAG", &tag[..42]),
        ("s/kind/CACHEDIR.TAG/x", ""),
        ("s/n/.nobackup", ""),
        ("s/n/CACHEDIR.TAG", tag),
        ("s/n/x", ""),
        ("s/.nobackup/x", ""),
    ]);
    let no_backup = Marker::parse(b".nobackup", "--exclude-if-present").expect("a marker");
    let excludes = Excludes { markers: vec![Marker::of_caches(), no_backup], ..Excludes::default() };
    let (lines, counts) = told(&temporary, &["s"], excludes.clone());
    // A marker without a header may be anything, and the source's own marks it.
    let reason = "beside .nobackup, --exclude-if-present";
    let expected: Vec<String> =
        ["c", "false", "kind", "n", "short"].map(|name| format!("- s/{name} {reason}")).into();
    assert_eq!(
        lines,
        [&["+ s".to_owned()], &expected[..], &["+ s/.nobackup".into(), "+ s/.nobackup/x".into()]].concat()
    );
    assert_eq!(counts.excluded, 5);

    let (lines, counts) = told(&temporary, &["s/c", "s/false", "s/kind", "s/n", "s/short"], excludes);
    assert_eq!(
        lines,
        [
            "+ s/c",
            "- s/c/d beside CACHEDIR.TAG, --exclude-caches",
            "- s/c/x beside CACHEDIR.TAG, --exclude-caches",
            "+ s/c/CACHEDIR.TAG",
            "+ s/false",
            "+ s/false/CACHEDIR.TAG",
            "+ s/false/x",
            "+ s/kind",
            "+ s/kind/CACHEDIR.TAG",
            "+ s/kind/CACHEDIR.TAG/x",
            "+ s/n",
            "- s/n/x beside CACHEDIR.TAG, --exclude-caches",
            "+ s/n/.nobackup",
            "+ s/n/CACHEDIR.TAG",
            "+ s/short",
            "+ s/short/CACHEDIR.TAG",
        ]
    );
    assert_eq!(counts, DryRun { files: 7, directories: 6, bytes: counts.bytes, excluded: 3, findings: 0 });
}

#[test]
fn a_marker_can_ask_for_a_beginning() {
    let temporary = tree(&[("s/a/tag", "no backup: today"), ("s/a/x", ""), ("s/b/tag", "no"), ("s/b/x", "")]);
    let marker = Marker::parse(b"tag:no backup", "--exclude-if-present").expect("a marker");
    let excludes = Excludes { markers: vec![marker], ..Excludes::default() };
    let (lines, _) = told(&temporary, &["s"], excludes);
    let left: Vec<&str> = lines.iter().map(String::as_str).filter(|line| line.starts_with('-')).collect();
    assert_eq!(left, ["- s/a/x beside tag, --exclude-if-present"]);
}

#[test]
fn large_files_are_left_out_and_nothing_else_that_is_large() {
    let temporary = tree(&[("s/small", "123"), ("s/large", "1234")]);
    std::os::unix::fs::symlink("a long target", temporary.path().join("s/link")).expect("a link");
    let excludes = Excludes { larger_than_bytes: Some(3), ..Excludes::default() };
    let (lines, counts) = told(&temporary, &["s"], excludes);
    assert_eq!(lines, ["+ s", "- s/large larger than 3 B", "+ s/link", "+ s/small"]);
    assert_eq!(counts, DryRun { files: 2, directories: 1, bytes: 3, excluded: 1, findings: 0 });
}

#[test]
fn another_file_system_is_left_out_where_it_begins() {
    // `/proc` is one of its own on every machine, and within it `/proc/sys/fs/binfmt_misc` may be.
    let excludes = Excludes { one_file_system: true, ..Excludes::default() };
    let options = BackupOptions { excludes, ..BackupOptions::new(Host::current()) };
    let filter = Filter::new([(&"/".into(), &options.excludes)], false);
    let proc = Directory::open_absolute(Path::new("/proc")).expect("a directory");
    let device = proc.stat().expect("a status").device;
    let monitor = Told::default();
    let names = filter.names(&proc, device, b"/", || b"/proc".to_vec(), &monitor).expect("names");
    assert!(names.is_empty());
    assert_eq!(monitor.0.into_inner().expect("lines"), ["- /proc/ another file system"]);
    assert_eq!(filter.excluded(), 1);
    let own = Filter::new([(&"/proc".into(), &options.excludes)], false);
    let names = own.names(&proc, device, b"/proc", || b"/proc".to_vec(), &Told::default()).expect("names");
    assert!(names.contains(b"self"));
}

#[test]
fn what_is_left_out_by_its_name_is_not_even_looked_at() {
    let temporary = tree(&[("s/keep", "")]);
    let long = "n".repeat(255);
    write(temporary.path().join("s").join(&long), "").expect("a file");
    let directory = Directory::open_absolute(&temporary.path().join("s")).expect("a directory");
    let source = temporary.path().join("s");
    let bytes = source.as_os_str().as_bytes();
    let excludes = patterns(&["n*"]);
    let filter = Filter::new([(&source, &excludes)], false);
    let names = filter.names(&directory, 0, bytes, || bytes.to_vec(), &Told::default()).expect("names");
    assert_eq!((names.len(), names.get(0), filter.excluded()), (1, Some(&b"keep"[..]), 1));
}

/// The folder of dumps in the root of the snapshot is theirs; everywhere else, and without them, it is like any other.
#[test]
fn what_the_machine_has_in_place_of_dumps_is_left_out_and_told_once() {
    let temporary = tree(&[("a", ""), ("dumps/old", ""), ("z", "")]);
    let directory = Directory::open_absolute(temporary.path()).expect("a directory");
    let device = directory.stat().expect("its status").device;
    let root = PathBuf::from("/");
    let rules = |text: &str| {
        let text = text.as_bytes().to_vec();
        let given = GivenPattern { text, ignores_case: false, origin: "test".into() };
        Excludes { patterns: Patterns::new(vec![given]).expect("patterns"), ..Excludes::default() }
    };
    for (rule, has_dumps, source, path, is_there, is_told) in [
        (None, true, "/", "", false, true),
        (None, true, "/", "/", false, true),
        (None, false, "/", "", true, false),
        (None, true, "/", "/srv", true, false),
        (None, true, "/srv", "/srv", true, false),
        (Some("/a"), true, "/", "/", false, true),
        (Some("/dumps"), true, "/", "/", false, false),
        (Some("/dumps/*"), true, "/", "/", false, true),
    ] {
        let excludes = rule.map(rules).unwrap_or_default();
        let filter = Filter::new([(&root, &excludes)], has_dumps);
        let here = || path.as_bytes().to_vec();
        let names = filter.names(&directory, device, source.as_bytes(), here, &Told::default());
        let names = names.expect("names");
        let shown = format!("{rule:?} {has_dumps} {source} {path}");
        assert_eq!(names.contains(b"dumps"), is_there, "{shown}");
        assert!(names.contains(b"z"), "{shown}");
        let told: Vec<_> = names.problems().iter().map(|(name, kind, _)| (name.as_slice(), *kind)).collect();
        let expected: &[_] = if is_told { &[(b"dumps".as_slice(), FindingKind::LeftOut)] } else { &[] };
        assert_eq!(told, expected, "{shown}");
    }
}
