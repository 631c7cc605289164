//! What a PostgreSQL server has beside the databases of its users: templates, closed databases, roles, odd names, what an
//! earlier restore left.
//!
//! What must hold: nothing of it is left out without a word, and a second attempt completes what a first one did not.

use std::process::Stdio;

use packstone::base::ErrorKind;
use packstone::source::engine::postgres::Format;
use packstone::source::engine::{Access, Databases, Postgres};
use packstone::source::{Engine, LoadOptions};

use super::super::{deaf, listener, load, read_all, said, stored, until, whole};
use super::{ROLES, engine};
use crate::support::need::postgres;
use crate::support::servers::postgres::Cluster;

fn names(dumps: &[(String, Vec<u8>)]) -> Vec<&str> {
    dumps.iter().map(|(name, _)| name.as_str()).collect()
}

fn replacing() -> LoadOptions {
    LoadOptions { may_replace: true, ..LoadOptions::default() }
}

#[test]
fn templates_that_somebody_changed_come_back() {
    let Some(_) = postgres("that templates of PostgreSQL come back") else { return };
    let source = Cluster::new(&[]);
    for change in [
        "ALTER DATABASE template1 SET work_mem TO '5MB'",
        "ALTER DATABASE template1 RESET ALL; REVOKE USAGE ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO PUBLIC; GRANT CREATE ON DATABASE template1 TO PUBLIC",
        "REVOKE CREATE ON DATABASE template1 FROM PUBLIC; CREATE TABLE base (id int)",
    ] {
        source.run("template1", change);
        let dumps = engine(&source).dump(&deaf()).expect("dumps");
        assert!(dumps.dumps.iter().any(|dump| dump.name == "template1.sql"), "{change}");
    }
    source.run("postgres", "CREATE DATABASE mould TEMPLATE template0 IS_TEMPLATE true");
    source.run("mould", "CREATE TABLE form (id int); INSERT INTO form VALUES (7)");
    for format in [Format::Plain, Format::Custom] {
        let dumps = whole(Postgres { format, ..engine(&source) }.dump(&deaf()).expect("dumps"));
        let stems: Vec<&str> = names(&dumps).iter().filter_map(|name| name.split('.').next()).collect();
        assert_eq!(stems, ["globals", "mould", "postgres", "template1"]);
        let target = Cluster::new(&[]);
        // Twice: the second time in the place of what the first one made.
        for wanted in [0, 2] {
            let (_, replaced) = load(&engine(&target), &dumps, &replacing(), &deaf()).expect("loaded");
            assert_eq!(replaced.len(), wanted, "{replaced:?}");
        }
        let all = "SELECT string_agg(datname || datistemplate, ',' ORDER BY datname) FROM pg_database";
        assert_eq!(target.run("postgres", all), source.run("postgres", all));
        target.run("postgres", "CREATE DATABASE one");
        target.run("postgres", "CREATE DATABASE two TEMPLATE mould");
        assert_eq!(target.run("one", "SELECT count(*) FROM base"), "0\n");
        assert_eq!(target.run("two", "SELECT id FROM form"), "7\n");
        // One that breaks off leaves the template as it was.
        let mut broken = dumps.clone();
        let (_, bytes) = broken.last_mut().expect("template1");
        bytes.truncate(bytes.len() / 2);
        bytes.extend_from_slice(b"\nSELECT no_such_column;\n");
        let failed = load(&engine(&target), &broken, &replacing(), &deaf()).expect_err("half of a dump");
        assert!(said(&failed).contains("the database template1 is as it was"), "{failed:?}");
        assert_eq!(target.run("template1", "SELECT count(*) FROM base"), "0\n");
    }
}

#[test]
fn closed_and_half_dropped_databases_are_problems() {
    let Some(_) = postgres("that closed databases of PostgreSQL are problems") else { return };
    let cluster = Cluster::new(&[]);
    cluster.run("postgres", "CREATE DATABASE \"Closed one\" ALLOW_CONNECTIONS false");
    cluster.run("postgres", "CREATE DATABASE half");
    cluster.run("postgres", "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'half'");
    let (told, lines) = listener();
    let dumps = engine(&cluster).dump(&told).expect("dumps");
    assert_eq!(
        dumps.problems,
        [
            "the database Closed one is not dumped: it allows no connections; \"ALTER DATABASE \"Closed one\" \
             ALLOW_CONNECTIONS true\" takes it in, naming the others in databases leaves it out",
            "the database half is not dumped: it is dropped in part; DROP DATABASE ends that",
        ]
    );
    assert_eq!(dumps.dumps.len(), 2, "roles, and the database postgres");
    assert_eq!(*lines.lock().unwrap(), [""; 0]);
}

#[test]
fn names_of_another_encoding_come_back_or_are_problems() {
    let Some(_) = postgres("that odd names of PostgreSQL come back") else { return };
    let latin = |cluster: &Cluster, name: &str| {
        let made = format!("CREATE DATABASE \"{name}\" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
        cluster.run("postgres", &made);
    };
    let source = Cluster::new(&[]);
    latin(&source, "käse");
    source.run("käse", "CREATE TABLE word (text text); INSERT INTO word VALUES (E'\\u00e9')");
    source.run("postgres", "ALTER DATABASE \"käse\" SET work_mem TO '5MB'");
    for format in [Format::Plain, Format::Custom] {
        let dumps = whole(Postgres { format, ..engine(&source) }.dump(&deaf()).expect("dumps"));
        assert!(names(&dumps)[1].starts_with("käse."));
        let target = Cluster::new(&[]);
        load(&engine(&target), &dumps, &LoadOptions::default(), &deaf()).expect("loaded");
        let new_name = Some("brot 漢".to_owned());
        let options = LoadOptions { databases: vec!["käse".into()], new_name, may_replace: false };
        load(&engine(&target), &dumps, &options, &deaf()).expect("beside it");
        for name in ["käse", "brot 漢"] {
            let word =
                "SET client_encoding TO 'UTF8'; SELECT text FROM word; SHOW server_encoding; SHOW work_mem";
            assert_eq!(target.run(name, word), "é\nLATIN1\n5MB\n");
        }
        let all = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database";
        assert_eq!(target.run("postgres", all), "brot 漢,käse,postgres,template0,template1\n");
    }
    // Made from within such a database, a name has bytes that are no UTF-8.
    let mut psql = source.psql("käse");
    psql.env("PGCLIENTENCODING", "UTF8").args(["-c", "CREATE DATABASE \"caf\u{e9}\" TEMPLATE template0"]);
    assert!(psql.status().expect("psql can be started").success());
    let dumps = engine(&source).dump(&deaf()).expect("dumps");
    assert_eq!(dumps.problems.len(), 1, "{:?}", dumps.problems);
    assert!(dumps.problems[0].contains("is not dumped: its name is no UTF-8"), "{:?}", dumps.problems);
    assert_eq!(dumps.dumps.len(), 3);
}

#[test]
fn what_an_earlier_restore_left_is_told() {
    let Some(_) = postgres("that what a killed restore left is told") else { return };
    let cluster = Cluster::new(&[]);
    for name in ["shop", "shop.packstone-old-1", "shop.packstone-old-x", "other.packstone-old-1"] {
        cluster.run("postgres", &format!("CREATE DATABASE \"{name}\""));
    }
    let dumps = vec![("shop.sql".to_owned(), b"CREATE DATABASE shop;\n\\connect shop\n".to_vec())];
    let (told, lines) = listener();
    engine(&cluster).load(&stored(&dumps), &replacing(), &told).expect("a plan");
    assert_eq!(
        *lines.lock().unwrap(),
        [
            "the database shop.packstone-old-1 is there, which an earlier restore of shop put aside and did not come to \
          drop. \"DROP DATABASE \"shop\"\" and \"ALTER DATABASE \"shop.packstone-old-1\" RENAME TO \"shop\"\" give it \
          back, \"DROP DATABASE \"shop.packstone-old-1\"\" lets it go"
        ]
    );
    load(&engine(&cluster), &dumps, &replacing(), &deaf()).expect("loaded");
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE '%.packstone-old-%'";
    assert_eq!(cluster.run("postgres", left), "3\n", "nothing is dropped unasked");
}

/// Roles, in what they are and what they are given, as `pg_dumpall` writes them.
fn roles() -> Cluster {
    let source = Cluster::new(&[]);
    for statement in [
        "CREATE ROLE clerk LOGIN PASSWORD 'clerk''s password' CREATEDB",
        "CREATE ROLE readers NOLOGIN",
        "GRANT readers TO clerk",
        "ALTER ROLE clerk SET statement_timeout TO 12345",
        "CREATE ROLE chief SUPERUSER LOGIN",
    ] {
        source.run("postgres", statement);
    }
    source
}

const SETTINGS: &str = "SELECT setrole::regrole, setconfig FROM pg_db_role_setting ORDER BY 1";

#[test]
fn a_second_attempt_completes_the_roles() {
    let Some(_) = postgres("that half of PostgreSQL's roles are completed") else { return };
    let source = roles();
    let dumps = whole(engine(&source).dump(&deaf()).expect("dumps"));
    let target = Cluster::new(&[]);
    let mut broken = dumps.clone();
    broken[0].1.extend_from_slice(b"\nALTER ROLE no_such_role SET a.b TO 1;\n");
    load(&engine(&target), &broken, &LoadOptions::default(), &deaf()).expect_err("a failing statement");
    assert_eq!(target.run("postgres", "SELECT count(*) FROM pg_roles WHERE oid >= 16384"), "0\n");
    // What somebody else's attempt left: a role that can do nothing yet, and one without what it was given.
    target.run("postgres", "CREATE ROLE clerk");
    target.run("postgres", "CREATE ROLE chief SUPERUSER LOGIN PASSWORD 'own'");
    let own = "SELECT rolpassword FROM pg_authid WHERE rolname = 'chief'";
    let before = target.run("postgres", own);
    for _ in 0..2 {
        let (told, lines) = listener();
        load(&engine(&target), &dumps, &LoadOptions::default(), &told).expect("loaded");
        assert_eq!(target.run("postgres", own), before, "a password stays");
        let lines = lines.lock().unwrap().join("\n");
        assert!(
            lines.contains("the role chief is there already and keeps its password and attributes"),
            "{lines}"
        );
    }
    target.run("postgres", "ALTER ROLE chief PASSWORD NULL");
    assert_eq!(target.run("postgres", ROLES), source.run("postgres", ROLES));
    assert_eq!(target.run("postgres", SETTINGS), source.run("postgres", SETTINGS));
}

#[test]
fn who_may_not_do_everything_does_what_he_may_and_is_told_the_rest() {
    let Some(_) = postgres("that PostgreSQL's roles are restored without all rights") else { return };
    let source = roles();
    source.run("postgres", "CREATE DATABASE shop");
    source.run("shop", "CREATE TABLE goods (id int); INSERT INTO goods VALUES (1)");
    let dumps = whole(engine(&source).dump(&deaf()).expect("dumps"));
    let target = Cluster::new(&[]);
    target.run("postgres", "CREATE ROLE manager LOGIN CREATEROLE CREATEDB; GRANT postgres TO manager");
    let mut manager = engine(&target);
    manager.access.user = Some("manager".into());
    let (told, lines) = listener();
    load(&manager, &dumps, &LoadOptions::default(), &told).expect("the databases are there");
    assert_eq!(target.run("shop", "SELECT id FROM goods"), "1\n");
    let lines = lines.lock().unwrap().join("\n");
    assert!(lines.contains("not done, as this user may not: ALTER ROLE chief: must be superuser"), "{lines}");
    assert!(lines.contains("1 of the statements of globals.sql not done"), "{lines}");
    let clerk =
        "SELECT rolcanlogin, rolcreatedb, rolpassword IS NOT NULL FROM pg_authid WHERE rolname = 'clerk'";
    assert_eq!(target.run("postgres", clerk), "t|t|t\n");
    assert_eq!(target.run("postgres", SETTINGS), source.run("postgres", SETTINGS));
    // A superuser completes it.
    load(&engine(&target), &dumps, &replacing(), &deaf()).expect("loaded");
    target.run("postgres", "REVOKE postgres FROM manager; DROP ROLE manager");
    assert_eq!(target.run("postgres", ROLES), source.run("postgres", ROLES));
}

#[test]
fn a_table_that_somebody_holds_is_not_waited_for_without_end() {
    let Some(_) = postgres("that locks of PostgreSQL are not waited for") else { return };
    let cluster = Cluster::new(&[]);
    cluster.run("postgres", "CREATE TABLE held (id int)");
    let mut holder = cluster.psql("postgres").stdin(Stdio::piped()).spawn().expect("psql can be started");
    let mut input = holder.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut input, b"BEGIN; LOCK TABLE held;\n").expect("psql reads");
    let locks =
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 'held'::regclass";
    until(|| cluster.run("postgres", locks) == "1\n");
    let access = Access { host: Some(cluster.host()), user: Some("postgres".into()), ..Access::default() };
    let options = vec!["--lock-wait=100ms".into()];
    let engine = Postgres { access, databases: Databases::All, format: Format::Plain, options };
    let failed = read_all(engine.dump(&deaf()).expect("dumps")).remove(1).1.expect_err("it is held");
    let text = said(&failed);
    assert!(text.contains("somebody else held a table alone for longer than the dump waits"), "{text}");
    assert_eq!(failed.kind(), ErrorKind::Failed);
    drop(input);
    holder.wait().expect("it ends");
}
