//! What SQLite databases on disk give, and what is no such database.

use std::fs::{create_dir, read, read_dir, write};
use std::io::{Read, Write};
use std::path::Path;

use rusqlite::Connection;

use super::*;

fn make(path: &Path, mode: &str) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection.pragma_update(None, "journal_mode", mode).expect("a mode");
    connection
        .execute_batch(
            "CREATE TABLE a (b);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
             INSERT INTO a SELECT randomblob(1000) FROM n",
        )
        .expect("rows");
    connection
}

fn silent() -> Listener {
    Listener::silent()
}

fn engine(patterns: &[String]) -> Sqlite {
    Sqlite { paths: patterns.to_vec(), scratch: None, memory_bytes: 1 << 20 }
}

fn bytes_of(dump: Dump) -> Result<Vec<u8>> {
    let open = (dump.open)()?;
    let mut bytes = Vec::new();
    let mut reader = open.reader;
    reader.read_to_end(&mut bytes).map_err(|cause| Error::system("cannot read", cause))?;
    (open.end)()?;
    Ok(bytes)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

#[test]
fn patterns_give_databases_and_what_is_none_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    drop(make(&root.join("rollback.db"), "delete"));
    drop(make(&root.join("log.db"), "wal"));
    let _open = make(&root.join("open.db"), "wal");
    write(root.join("text.db"), "this is not what it says to be").expect("written");
    create_dir(root.join("folder.db")).expect("a folder");
    let before = names_in(root);
    let at = |name: &str| root.join(name).display().to_string();
    let engine = engine(&[at("*.db*"), at("none-*.db"), at("missing.db"), "relative.db".into()]);
    let dumps = engine.dump(&silent()).expect("dumps");
    let names: Vec<_> = dumps.dumps.iter().map(|dump| format!("/{}", dump.name)).collect();
    assert_eq!(names, [at("log.db"), at("open.db"), at("rollback.db")]);
    for (problem, word) in
        dumps.problems.iter().zip(["none-", "relative", "no regular", "missing", "encrypted"])
    {
        assert!(problem.contains(word), "{problem} without {word}");
    }
    assert_eq!(dumps.problems.len(), 5, "{:?}", dumps.problems);
    assert!(dumps.consistency.starts_with("online backup of SQLite 3."), "{}", dumps.consistency);
    for dump in dumps.dumps {
        let (name, metadata) = (dump.name.clone(), dump.metadata.clone().expect("that of the file"));
        assert_eq!(metadata.mode, 0o644);
        let bytes = bytes_of(dump).expect("a copy");
        let is_log = !name.ends_with("rollback.db");
        assert_eq!(bytes.get(18..20).expect("a head"), if is_log { [2, 2] } else { [1, 1] }, "{name}");
        assert!(bytes.len() > 100_000, "{name}");
    }
    // Nothing was left there, and nothing taken away.
    assert_eq!(names_in(root), before);
}

#[test]
fn copies_of_one_state_are_the_same_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(make(&path, "wal"));
    let mut engine = engine(&[path.display().to_string()]);
    let mut copies = Vec::new();
    for memory_bytes in [1 << 20, 0, 1 << 20, 0] {
        engine.memory_bytes = memory_bytes;
        engine.scratch = Some(folder.path().to_owned());
        let mut dumps = engine.dump(&silent()).expect("dumps").dumps;
        copies.push(bytes_of(dumps.remove(0)).expect("a copy"));
    }
    let differ = |one: &[u8], other: &[u8]| one.iter().zip(other).position(|(one, other)| one != other);
    assert_eq!(differ(&copies[0], &copies[2]), None);
    assert_eq!(differ(&copies[1], &copies[3]), None);
    // In a file SQLite counts the change that the copy is.
    let rest = |copy: &[u8]| [&copy[28..92], &copy[96..]].concat();
    assert_eq!(differ(&rest(&copies[0]), &rest(&copies[1])), None);
    assert_eq!(copies[0].len(), read(&path).expect("the original").len());
    engine.scratch = None;
    engine.memory_bytes = 0;
    let dump = engine.dump(&silent()).expect("dumps").dumps.remove(0);
    let error = bytes_of(dump).expect_err("no room");
    assert!(error.chain().join(": ").contains("more than memory"), "{error:?}");
}

#[test]
fn what_is_damaged_or_not_read_to_its_end_is_no_dump() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(make(&path, "delete"));
    let engine = engine(&[path.display().to_string()]);
    let open = (engine.dump(&silent()).expect("dumps").dumps.remove(0).open)().expect("opened");
    let mut reader = open.reader;
    reader.read_exact(&mut [0; 1000]).expect("some bytes");
    (open.end)().expect_err("not read to its end");
    let open = (engine.dump(&silent()).expect("dumps").dumps.remove(0).open)().expect("opened");
    (open.stop)();
    let mut reader = open.reader;
    reader.read_to_end(&mut Vec::new()).expect_err("stopped");
    (open.end)().expect_err("stopped");

    let mut bytes = read(&path).expect("the original");
    let end = bytes.len() - 50_000;
    bytes[end..].fill(0x55);
    write(&path, &bytes).expect("written");
    // It is given as it is, and that is told.
    let listener = silent();
    let copy = bytes_of(engine.dump(&listener).expect("dumps").dumps.remove(0)).expect("a copy");
    assert_eq!(copy[end..], bytes[end..]);
    let findings = listener.take_findings();
    assert!(matches!(findings.as_slice(), [one] if one.contains("SQLite's check")), "{findings:?}");
    damaged_only_with_a_yes(&engine, &copy);
}

/// Puts a copy back at another path; what was told.
fn put_back(engine: &Sqlite, copy: &[u8], target: &Path, may_replace: bool) -> Result<String> {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let listener = Listener::new(move |line| telling.lock().expect("a list").push(line.to_owned()));
    let dump = engine.dump(&silent())?.dumps.remove(0);
    let stored = StoredDump { name: dump.name, size_bytes: 0, metadata: dump.metadata.expect("one") };
    let new_name = Some(target.display().to_string());
    let options = LoadOptions { new_name, may_replace, ..LoadOptions::default() };
    let mut feed =
        |writer: &mut dyn Write| writer.write_all(copy).map_err(|cause| Error::system("no", cause));
    (engine.load(&[stored], &options, &listener)?.steps.remove(0).run)(&mut feed)?;
    let told = told.lock().expect("a list").join("\n");
    Ok(told)
}

/// What was damaged when it was stored is put back so, but not unasked.
fn damaged_only_with_a_yes(engine: &Sqlite, copy: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("b.db");
    let error = put_back(engine, copy, &target, false).expect_err("nobody agreed");
    // Nothing is wrong with the repository.
    assert_eq!(error.kind(), ErrorKind::Failed, "{error:?}");
    assert!(error.chain().join(": ").contains("damaged already when it was backed up"), "{error:?}");
    assert_eq!(names_in(folder.path()), [""; 0]);
    let told = put_back(engine, copy, &target, true).expect("put back");
    assert!(told.contains("damaged already when it was backed up"), "{told}");
    assert_eq!(read(&target).expect("it is there"), copy);
    assert_eq!(names_in(folder.path()), ["b.db"]);
}

#[test]
fn what_differs_by_its_program_alone_is_sound_and_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let made = make(&path, "delete");
    made.execute_batch(check::OWN).expect("another order, and a full text that is behind");
    drop(made);
    let engine = engine(&[path.display().to_string()]);
    let listener = silent();
    let copy = bytes_of(engine.dump(&listener).expect("dumps").dumps.remove(0)).expect("a copy");
    assert_eq!(listener.take_findings(), [""; 0]);
    let target = folder.path().join("b.db");
    let told = put_back(&engine, &copy, &target, false).expect("put back");
    assert!(
        told.contains("the index by_name is in another order") && told.contains("FTS4 table main.words"),
        "{told}"
    );
    assert_eq!(read(&target).expect("it is there"), copy);
}

#[test]
fn of_a_database_that_cannot_even_be_read_the_file_is_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(make(&path, "delete"));
    let mut bytes = read(&path).expect("the original");
    // The head of the page that names the tables.
    bytes[100..108].fill(0x55);
    write(&path, &bytes).expect("written");
    let engine = engine(&[path.display().to_string()]);
    let listener = silent();
    let dumps = engine.dump(&listener).expect("dumps");
    assert_eq!(bytes_of(dumps.dumps.into_iter().next().expect("one")).expect("its bytes"), bytes);
    damaged_only_with_a_yes(&engine, &bytes);
    let findings = listener.take_findings();
    assert!(matches!(findings.as_slice(), [one] if one.contains("its file alone is stored")), "{findings:?}");
}

#[test]
fn what_only_its_program_can_check_is_copied_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let made = make(&path, "delete");
    made.execute_batch(
        "CREATE TABLE named (name TEXT COLLATE NOCASE PRIMARY KEY); INSERT INTO named VALUES ('x');
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'NOCASE', 'icu_root');",
    )
    .expect("a collation that nobody else has");
    drop(made);
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let listener = Listener::new(move |line| telling.lock().expect("a list").push(line.to_owned()));
    let mut engine = engine(&[path.display().to_string()]);
    engine.scratch = Some(folder.path().to_owned());
    for memory_bytes in [1 << 20, 0] {
        engine.memory_bytes = memory_bytes;
        let dump = engine.dump(&listener).expect("dumps").dumps.remove(0);
        let stored = StoredDump {
            name: dump.name.clone(),
            size_bytes: 0,
            metadata: dump.metadata.clone().expect("one"),
        };
        let copy = bytes_of(dump).expect("a copy");
        assert_eq!(listener.take_findings(), [""; 0]);
        let target = folder.path().join("back.db").display().to_string();
        let options = LoadOptions { new_name: Some(target), may_replace: true, ..LoadOptions::default() };
        let mut feed =
            |writer: &mut dyn Write| writer.write_all(&copy).map_err(|cause| Error::system("no", cause));
        for step in engine.load(&[stored], &options, &listener).expect("a plan").steps {
            (step.run)(&mut feed).expect("put back");
        }
    }
    let told = told.lock().expect("a list").join("\n");
    assert_eq!(told.matches("the table named could not be checked: no such collation").count(), 4, "{told}");
}

#[test]
fn what_an_earlier_database_left_is_named_and_not_removed_unasked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(make(&path, "delete"));
    let engine = engine(&[path.display().to_string()]);
    let dump = engine.dump(&silent()).expect("dumps").dumps.remove(0);
    let stored =
        StoredDump { name: dump.name.clone(), size_bytes: 0, metadata: dump.metadata.clone().expect("one") };
    let copy = bytes_of(dump).expect("a copy");
    let target = folder.path().join("b.db");
    let left = folder.path().join("b.db-wal");
    write(&left, "precious").expect("written");
    for may_replace in [false, true] {
        let options = LoadOptions {
            new_name: Some(target.display().to_string()),
            may_replace,
            ..LoadOptions::default()
        };
        let mut plan = engine.load(std::slice::from_ref(&stored), &options, &silent()).expect("a plan");
        assert!(matches!(plan.replaced.as_slice(), [one] if one.contains("b.db-wal")), "{:?}", plan.replaced);
        let mut feed =
            |writer: &mut dyn Write| writer.write_all(&copy).map_err(|cause| Error::system("no", cause));
        let done = (plan.steps.remove(0).run)(&mut feed);
        assert_eq!((done.is_ok(), left.exists(), target.exists()), (may_replace, !may_replace, may_replace));
    }
}

#[test]
fn nobody_works_on_a_database_that_is_about_to_be_replaced() {
    for mode in ["wal", "delete"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        drop(make(&path, mode));
        let alone = place::settle(&path).expect("nobody uses it");
        let other = Connection::open(&path).expect("opened");
        other.busy_timeout(std::time::Duration::ZERO).expect("set");
        other.execute_batch("INSERT INTO a VALUES (1)").expect_err("it is locked");
        drop(alone);
        other.execute_batch("INSERT INTO a VALUES (1)").expect("free");
        // One that is only open with a log keeps it from being replaced.
        assert_eq!(place::settle(&path).is_err(), mode == "wal");
    }
}

#[test]
fn a_locked_database_is_waited_for_and_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let writer = make(&path, "delete");
    writer.execute_batch("BEGIN EXCLUSIVE").expect("locked");
    let error =
        copy::Moment::begin(&path, std::time::Duration::from_millis(20), &silent()).expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Fenced);
    writer.execute_batch("COMMIT").expect("free");
    copy::Moment::begin(&path, std::time::Duration::from_millis(20), &silent()).expect("free");
    drop(place::settle(&path).expect("nobody uses it"));
    writer.execute_batch("BEGIN; SELECT * FROM a").expect("read");
    let error = place::settle(&path).expect_err("it is read");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
}

#[test]
fn half_a_database_takes_no_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    drop(make(&path, "wal"));
    let engine = engine(&[path.display().to_string()]);
    let mut dumps = engine.dump(&silent()).expect("dumps");
    let dump = dumps.dumps.remove(0);
    let stored = StoredDump {
        name: dump.name.clone(),
        size_bytes: 0,
        metadata: dump.metadata.clone().expect("that of the file"),
    };
    let bytes = bytes_of(dump).expect("a copy");
    let before = read(&path).expect("the original");
    let options = LoadOptions { may_replace: true, ..LoadOptions::default() };
    let mut plan = engine.load(std::slice::from_ref(&stored), &options, &silent()).expect("a plan");
    assert_eq!(plan.replaced.len(), 1);
    let half = &bytes[..bytes.len() / 2];
    let mut feed = |writer: &mut dyn Write| {
        writer.write_all(half).map_err(|cause| Error::system("no", cause))?;
        Err(Error::new(ErrorKind::Damaged, "the repository has no more of it"))
    };
    (plan.steps.remove(0).run)(&mut feed).expect_err("half");
    assert_eq!(names_in(folder.path()), ["a.db"]);
    assert_eq!(read(&path).expect("the original"), before);

    let unknown = LoadOptions { databases: vec!["/none.db".into()], ..LoadOptions::default() };
    let error = engine.load(&[stored], &unknown, &silent()).map(drop).expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
