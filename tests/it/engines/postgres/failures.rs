//! What goes wrong with a PostgreSQL server or its clients, and what is said then.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use packstone::base::ErrorKind;
use packstone::source::engine::postgres::Format;
use packstone::source::engine::{Access, Databases, Postgres};
use packstone::source::{Engine, LoadOptions};

use super::super::{Fakes, deaf, listener, load, password, read_all, said, whole};
use super::{engine, filled};
use crate::support::is_root;
use crate::support::need::postgres;
use crate::support::scratch::Scratch;
use crate::support::servers::postgres::Cluster;
use crate::support::small_disk::SmallDisk;

/// Where a real client is.
fn real(name: &str) -> String {
    let found =
        std::process::Command::new("sh").args(["-c", "command -v \"$0\"", name]).output().expect("a shell");
    String::from_utf8(found.stdout).expect("UTF-8").trim().to_owned()
}

/// Real clients in a folder, of which some are only played.
fn clients() -> Fakes {
    let fakes = Fakes::new();
    for name in ["psql", "pg_dump", "pg_dumpall", "pg_restore", "pg_basebackup"] {
        fakes.add(name, &format!("exec {} \"$@\"", real(name)));
    }
    fakes
}

#[test]
fn a_wrong_password_is_said_and_never_shown() {
    let Some(_) = postgres("that a wrong password of PostgreSQL is said") else { return };
    let cluster = Cluster::new(&["local all postgres trust", "local all clerk scram-sha-256"]);
    cluster.run("postgres", "CREATE ROLE clerk LOGIN PASSWORD 'right:pass\\word'");
    let fakes = clients();
    fakes.add(
        "psql",
        &format!("printf %s \"${{PGPASSWORD-none}}\" >\"$HERE/variable\"; exec {} \"$@\"", real("psql")),
    );
    let with = |text: Option<&str>| {
        let mut engine = engine(&cluster);
        engine.access.user = Some("clerk".into());
        engine.access.password = text.map(password);
        engine.access.programs = Some(fakes.folder());
        engine
    };
    let (told, lines) = listener();
    let wrong = with(Some("wrong-password")).dump(&told).err().expect("a wrong password");
    let text = said(&wrong);
    assert!(text.contains("the server does not accept this user or password"), "{text}");
    assert!(text.contains("FATAL:  password authentication failed for user \"clerk\""), "{text}");
    let missing = with(None).dump(&told).err().expect("no password");
    assert!(said(&missing).contains("fe_sendauth: no password supplied"), "{missing:?}");

    // The right one, with what a file of passwords must escape. This role may not read those of others.
    let dumps = with(Some("right:pass\\word")).dump(&told).expect("dumps");
    assert!(dumps.consistency.ends_with("; roles without their passwords, which this user may not read"));
    let globals = &whole(dumps)[0].1;
    assert!(String::from_utf8_lossy(globals).contains("CREATE ROLE clerk;"));
    assert!(!String::from_utf8_lossy(globals).contains("PASSWORD"));
    assert_eq!(
        std::fs::read_to_string(fakes.join("variable")).expect("written"),
        "none",
        "it came by a file"
    );

    let everything =
        format!("{text}{:?}{:?}{:?}", fakes.calls(), lines.lock().unwrap(), with(Some("wrong-password")));
    assert!(!everything.contains("wrong-password") && !everything.contains("right:pass"), "{everything}");
}

#[test]
fn a_server_that_is_killed_in_the_middle_leaves_no_dump() {
    let Some(_) = postgres("that a killed PostgreSQL server leaves no dump") else { return };
    for format in [Format::Plain, Format::Custom, Format::BaseBackup] {
        let mut cluster = filled();
        let engine =
            Postgres { format, databases: Databases::Named(vec!["shop".into()]), ..engine(&cluster) };
        let mut dumps = engine.dump(&deaf()).expect("dumps");
        let dump = dumps.dumps.pop().expect("the database");
        let mut open = (dump.open)().expect("it begins");
        open.reader.read_exact(&mut [0; 3000]).expect("a part");
        cluster.kill();
        let mut rest = Vec::new();
        open.reader.read_to_end(&mut rest).expect("the rest");
        let failed = (open.end)().expect_err("half a dump");
        let text = said(&failed);
        assert!(text.contains(" exited with status 1\n"), "{text}");
        assert!(text.contains("the server ended the connection in the middle"), "{text}");
        println!("{format:?}: {} bytes, then: {}", rest.len(), text.replace('\n', " / "));
    }
}

#[test]
fn half_a_dump_of_a_client_that_says_it_succeeded_is_no_dump() {
    let Some(_) = postgres("that half a dump of PostgreSQL is none") else { return };
    let cluster = filled();
    let fakes = clients();
    let mut engine = engine(&cluster);
    engine.access.programs = Some(fakes.folder());
    engine.databases = Databases::Named(vec!["shop".into()]);
    let cut = |name: &str, bytes: &str| {
        let version = "[ \"$1\" = --version ] && exec REAL \"$@\"; REAL \"$@\" | head -c BYTES; exit 0";
        fakes.add(name, &version.replace("REAL", &real(name)).replace("BYTES", bytes));
    };
    for (format, bytes, wanted) in [
        (Format::Plain, "100000", "the output of pg_dump breaks off: its last line is not"),
        (Format::Plain, "-100", "the output of pg_dump breaks off: its last line is not"),
        (Format::Plain, "0", "pg_dump succeeded, but wrote nothing"),
        (Format::Custom, "100000", "the output of pg_dump is not whole\npg_restore exited with status 1"),
        (Format::Custom, "-100", "the output of pg_dump is not whole\npg_restore exited with status 1"),
        (Format::Custom, "-1", "the output of pg_dump is not whole\npg_restore exited with status 1"),
        (Format::Custom, "0", "pg_dump succeeded, but wrote nothing"),
        (Format::BaseBackup, "-100", "the output of pg_basebackup breaks off: it does not end as a tar does"),
        (
            Format::BaseBackup,
            "10000000",
            "the output of pg_basebackup breaks off: it does not end as a tar does",
        ),
    ] {
        cut("pg_dump", bytes);
        cut("pg_basebackup", bytes);
        let engine = Postgres { format, ..engine.clone() };
        let dumps = engine.dump(&deaf()).expect("dumps");
        let failed = read_all(dumps).pop().expect("the database").1.expect_err("half a dump");
        assert!(said(&failed).contains(wanted), "{format:?} {bytes}: {failed:?}");
    }
    cut("pg_dumpall", "-100");
    let globals = read_all(engine.dump(&deaf()).expect("dumps")).remove(0).1.expect_err("half of it");
    assert!(
        said(&globals).contains("is not \"-- PostgreSQL database cluster dump complete\""),
        "{globals:?}"
    );
}

#[test]
fn a_disk_that_is_full_at_the_server_is_said() {
    let Some(host) = postgres("that a full disk of PostgreSQL is said") else { return };
    let fakes = clients();
    let script = "[ \"$1\" = --version ] && exec REAL \"$@\"; printf -- '-- half a dump\\n'
        echo 'pg_dump: error: Error message from server: ERROR:  could not write to file \"base/pgsql_tmp/1\": \
No space left on device' >&2; exit 1";
    fakes.add("pg_dump", &script.replace("REAL", &real("pg_dump")));
    let access = Access {
        host: Some(host),
        user: Some("postgres".into()),
        programs: Some(fakes.folder()),
        ..Access::default()
    };
    let databases = Databases::Named(vec!["postgres".into()]);
    let engine = Postgres { access, databases, format: Format::Plain, options: Vec::new() };
    let failed = read_all(engine.dump(&deaf()).expect("dumps")).remove(1).1.expect_err("no room");
    let text = said(&failed);
    let wanted = "cannot dump the database postgres\npg_dump exited with status 1\nno space is left on the server's disk\n";
    assert!(text.starts_with(wanted), "{text}");
}

#[test]
fn a_disk_that_fills_up_spoils_no_dump_and_no_database() {
    const WHAT: &str = "that a disk of PostgreSQL fills up";
    if postgres(WHAT).is_none() || !is_root(WHAT) {
        return;
    }
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), Permissions::from_mode(0o755)).expect("everybody may pass");
    let user = uzers::get_user_by_name("postgres").expect("the server's user").uid();
    let options = format!("size=20m,mode=700,uid={user}");
    let Some(disk) = SmallDisk::new(&scratch.join("disk"), &options, WHAT) else { return };
    let cluster = Cluster::new(&[]);
    for statement in [
        &format!("CREATE TABLESPACE small LOCATION '{}'", disk.path().display()),
        "CREATE DATABASE shop TABLESPACE small",
        "CREATE ROLE reader LOGIN",
        "GRANT CREATE ON TABLESPACE small TO reader",
        "ALTER ROLE reader SET temp_tablespaces TO small",
        "ALTER ROLE reader SET work_mem TO '64kB'",
    ] {
        cluster.run("postgres", statement);
    }
    cluster.run(
        "shop",
        "CREATE TABLE goods (id int, name text);
        INSERT INTO goods SELECT id, repeat(md5(id::text), 8) FROM generate_series(1, 30000) AS id;
        CREATE TABLE hidden (id int); INSERT INTO hidden VALUES (1); GRANT SELECT ON goods, hidden TO reader",
    );
    // What the server has not written yet takes no room so far.
    cluster.run("shop", "CHECKPOINT");
    let mut engine = engine(&cluster);
    engine.databases = Databases::Named(vec!["shop".into()]);
    let dumps = whole(engine.dump(&deaf()).expect("dumps"));

    // There is room for one such database, not for two.
    let options = LoadOptions { databases: vec!["shop".into()], new_name: None, may_replace: true };
    let failed = load(&engine, &dumps, &options, &deaf()).expect_err("no room");
    let text = said(&failed);
    assert!(text.contains("no space is left on the server's disk"), "{text}");
    assert!(text.contains("the database shop is as it was"), "{text}");
    assert_eq!(cluster.run("shop", "SELECT count(*) FROM goods"), "30000\n");
    assert_eq!(cluster.run("postgres", "SELECT count(*) FROM pg_database"), "4\n");

    // To say which rows this user may see takes more room than there is.
    cluster.run(
        "shop",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY; CREATE POLICY long ON hidden USING ((SELECT count(*) FROM
        (SELECT 1 FROM generate_series(1, 1000000) AS number ORDER BY random()) AS sorted) > id)",
    );
    engine.access.user = Some("reader".into());
    engine.options = vec!["--enable-row-security".into()];
    let failed = read_all(engine.dump(&deaf()).expect("dumps")).remove(1).1.expect_err("no room");
    let text = said(&failed);
    assert!(text.contains("no space is left on the server's disk"), "{text}");
}

#[test]
fn who_cannot_be_reached_or_is_too_old_is_named() {
    let Some(host) = postgres("that PostgreSQL's clients are judged") else { return };
    let fakes = clients();
    let engine = |host: &str, programs: Option<String>| Postgres {
        access: Access {
            host: Some(host.to_owned()),
            user: Some("postgres".into()),
            programs,
            ..Access::default()
        },
        databases: Databases::All,
        format: Format::Plain,
        options: Vec::new(),
    };
    let said_of = |engine: &Postgres| said(&engine.dump(&deaf()).err().expect("it cannot be dumped"));
    let text = said_of(&engine("/no/such/folder", None));
    assert!(
        text.starts_with("cannot ask the PostgreSQL server what it has\npsql exited with status 2\n"),
        "{text}"
    );
    assert!(text.contains("the server cannot be reached: it does not run, or listens elsewhere"), "{text}");

    fakes.add("pg_dump", "echo 'pg_dump (PostgreSQL) 9.6.24'");
    let old = engine(&host, Some(fakes.folder())).dump(&deaf()).err().expect("too old");
    assert_eq!(old.kind(), ErrorKind::Unsupported);
    let text = said(&old);
    assert!(text.starts_with("pg_dump 9.6.24 is older than the server 1"), "{text}");
    assert!(text.contains("it reads servers up to version 9.6; a client of version 1"), "{text}");

    std::fs::remove_file(fakes.join("pg_dump")).expect("it was there");
    let text = said_of(&engine(&host, Some(fakes.folder())));
    assert_eq!(text, format!("there is no program pg_dump in the folder {}", fakes.folder()));
    assert_eq!(fakes.calls().iter().filter(|call| call.starts_with("pg_dumpall")).count(), 0);
}

#[test]
fn a_script_that_fails_or_is_another_ones_is_not_gone_on_with() {
    let Some(_) = postgres("that a failing script of PostgreSQL is an error") else { return };
    let cluster = Cluster::new(&[]);
    let engine = engine(&cluster);
    let shop = |script: &str| vec![("shop.sql".to_owned(), script.as_bytes().to_vec())];
    let begin = "CREATE DATABASE shop;\n\\connect shop\nCREATE TABLE a (id int);\n";
    let failing = begin.to_owned() + "INSERT INTO a VALUES ('secret-text');\nCREATE TABLE b (id int);\n";
    let failed =
        load(&engine, &shop(&failing), &LoadOptions::default(), &deaf()).expect_err("a failing script");
    let text = said(&failed);
    let wanted = "cannot restore the database shop\nwhat was made of the database shop is dropped again\npsql exited with \
        status 3\n";
    assert!(text.starts_with(wanted), "{text}");
    let tables = "SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r' AND oid > 16383";
    cluster.run("postgres", "CREATE DATABASE shop");
    cluster.run("shop", "CREATE TABLE a (id int)");

    let other = shop("CREATE DATABASE other;\n");
    let options = LoadOptions { may_replace: true, ..LoadOptions::default() };
    let failed = load(&engine, &other, &options, &deaf()).expect_err("of another");
    assert!(
        said(&failed).contains("the dump is one of the database \"other\", not of \"shop\""),
        "{failed:?}"
    );
    assert_eq!(cluster.run("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'other'"), "0\n");
    assert_eq!(cluster.run("shop", tables), "a\n", "what was there is there");
}
