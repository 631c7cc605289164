//! What happens around a PostgreSQL database that is replaced: other restores, other users, an end that is asked for.
//!
//! What must hold: nothing is dropped that another one made; what was there is there again, or people are told where.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use packstone::base::{ErrorKind, Result, Wrap};
use packstone::source::engine::Postgres;
use packstone::source::{Engine, Listener, LoadOptions, StoredDump};

use super::super::{deaf, listener, load, said, stored, until, whole};
use super::engine;
use crate::support::need::postgres;
use crate::support::servers::postgres::Cluster;

/// A dump that makes something, and one that breaks off after that.
const SHOP: &str = "CREATE DATABASE shop;\n\\connect shop\nCREATE TABLE new (id int);\n";
const BROKEN: &str = "SELECT no_such_column;\n";
/// The databases that are not there from the beginning.
const NAMES: &str = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE oid >= 16384";
const TABLES: &str = "SELECT string_agg(relname, ',') FROM pg_class WHERE relkind = 'r' AND oid >= 16384";

fn options(may_replace: bool) -> LoadOptions {
    LoadOptions { may_replace, ..LoadOptions::default() }
}

fn dump(text: &str) -> Vec<(String, Vec<u8>)> {
    vec![("shop.sql".to_owned(), text.as_bytes().to_vec())]
}

fn shop() -> Vec<StoredDump> {
    stored(&dump(SHOP))
}

/// A server whose shop has a table.
fn with_shop() -> Cluster {
    let cluster = Cluster::new(&[]);
    cluster.run("postgres", "CREATE DATABASE shop");
    cluster.run("shop", "CREATE TABLE old (id int)");
    cluster
}

/// Somebody who is in a database and does nothing.
struct Guest(Child, Option<ChildStdin>);

impl Guest {
    fn new(cluster: &Cluster, database: &str) -> Self {
        let mut psql = cluster.psql(database);
        psql.stdin(Stdio::piped()).stderr(Stdio::null()).env("PGAPPNAME", "guest");
        let mut psql = psql.spawn().expect("psql can be started");
        let input = psql.stdin.take();
        until(|| is_in(cluster, database, "application_name = 'guest'"));
        Self(psql, input)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.1 = None;
        self.0.wait().expect("it ends");
    }
}

/// Whether there is such a connection to a database; nobody asks by the one that is asked about.
fn is_in(cluster: &Cluster, database: &str, which: &str) -> bool {
    let question = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND {which}");
    cluster.run("template1", &question) != "0\n"
}

/// Loads the shop: its dump, and after that whatever `then` writes.
fn load_and(
    engine: &Postgres,
    may_replace: bool,
    listener: &Listener,
    then: impl Fn(&mut dyn Write) -> Result<()>,
) -> Result<()> {
    let step = engine.load(&shop(), &options(may_replace), listener)?.steps.remove(0);
    (step.run)(&mut |output| {
        output.write_all(SHOP.as_bytes()).and_then(|()| output.flush()).wrap(|| "cannot write the dump")?;
        then(output)
    })
}

fn breaks_off(output: &mut dyn Write) -> Result<()> {
    output.write_all(BROKEN.as_bytes()).wrap(|| "cannot write the dump")
}

#[test]
fn two_restores_of_one_database_are_kept_apart() {
    let Some(_) = postgres("that two restores of PostgreSQL are kept apart") else { return };
    let cluster = with_shop();
    let engine = engine(&cluster);
    load_and(&engine, true, &deaf(), |_| {
        until(|| cluster.run("postgres", NAMES) == "shop,shop.packstone-old-1\n");
        let (told, lines) = listener();
        let other = load(&engine, &dump(SHOP), &options(true), &told).expect_err("one is under way");
        assert_eq!(other.kind(), ErrorKind::Fenced, "{other:?}");
        assert!(said(&other).contains("another restore of the database shop is under way"), "{other:?}");
        let lines = lines.lock().expect("lines").join("\n");
        assert!(lines.contains("put aside by another restore of shop, which is still under way"), "{lines}");
        assert!(!lines.contains("DROP"), "{lines}");
        // One of another name is another matter.
        let beside = LoadOptions {
            databases: vec!["shop".into()],
            new_name: Some("beside".into()),
            may_replace: false,
        };
        load(&engine, &dump(SHOP), &beside, &deaf()).expect("it is beside");
        Ok(())
    })
    .expect("the first one goes on");
    assert_eq!(cluster.run("shop", TABLES), "new\n");
    assert_eq!(cluster.run("postgres", NAMES), "beside,shop\n");
    load(&engine, &dump(SHOP), &options(true), &deaf()).expect("nothing is in the way any more");
}

#[test]
fn what_somebody_else_made_is_not_dropped() {
    let Some(_) = postgres("that a failed restore of PostgreSQL drops only its own") else { return };
    let cluster = with_shop();
    let failed = load_and(&engine(&cluster), true, &deaf(), |output| {
        until(|| cluster.run("postgres", NAMES) == "shop,shop.packstone-old-1\n");
        until(|| is_in(&cluster, "shop", "true"));
        cluster.run("postgres", "DROP DATABASE shop WITH (FORCE)");
        cluster.run("postgres", "CREATE DATABASE shop");
        cluster.run("shop", "CREATE TABLE others (id int)");
        breaks_off(output)
    })
    .expect_err("it was thrown out");
    assert!(said(&failed).contains("the former database shop is now shop.packstone-old-1"), "{failed:?}");
    assert_eq!(cluster.run("shop", TABLES), "others\n");
    assert_eq!(cluster.run("shop.packstone-old-1", TABLES), "old\n");
}

#[test]
fn what_cannot_be_made_whole_leaves_nothing() {
    let Some(_) = postgres("that a failed restore of PostgreSQL leaves nothing") else { return };
    let cluster = Cluster::new(&[]);
    let failed = load_and(&engine(&cluster), false, &deaf(), breaks_off).expect_err("it breaks off");
    assert!(said(&failed).contains("what was made of the database shop is dropped again"), "{failed:?}");
    assert_eq!(cluster.run("postgres", NAMES), "\n");
}

#[test]
fn what_was_there_comes_back_where_somebody_always_returns() {
    let Some(_) = postgres("that PostgreSQL is put back under a busy application") else { return };
    let cluster = with_shop();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // It stays until it is thrown out, and is there again at once.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let mut psql = cluster.psql("shop");
                psql.args(["-c", "SELECT pg_sleep(30)"]).stdout(Stdio::null()).stderr(Stdio::null());
                psql.status().expect("psql can be started");
            }
        });
        let failed = load_and(&engine(&cluster), true, &deaf(), |output| {
            until(|| is_in(&cluster, "shop", "query LIKE '%pg_sleep%'"));
            breaks_off(output)
        });
        is_over.store(true, Ordering::Relaxed);
        let end =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'";
        until(|| cluster.run("postgres", end).is_empty());
        let failed = failed.expect_err("it breaks off");
        assert!(said(&failed).contains("the database shop is as it was"), "{failed:?}");
    });
    assert_eq!(cluster.run("shop", TABLES), "old\n");
    assert_eq!(cluster.run("postgres", NAMES), "shop\n");
}

#[test]
fn an_end_while_the_name_is_waited_for_leaves_everything_as_it_was() {
    let Some(_) = postgres("that a restore of PostgreSQL ends while it waits") else { return };
    let cluster = Cluster::new(&[]);
    cluster.run("postgres", "CREATE DATABASE shop");
    let oid = "SELECT oid FROM pg_database WHERE datname = 'shop'";
    let before = cluster.run("postgres", oid);
    let guest = Guest::new(&cluster, "shop");
    let listener = deaf();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until(|| is_in(&cluster, "postgres", "state = 'active' AND query LIKE '%RENAME TO%'"));
            listener.stops().stop_all();
            drop(guest);
        });
        load_and(&engine(&cluster), false, &listener, |_| Ok(())).expect_err("it was ended");
    });
    // What was asked of the server may still be going on.
    until(|| !is_in(&cluster, "postgres", "state = 'active'"));
    assert_eq!(cluster.run("postgres", NAMES), "shop\n");
    assert_eq!(cluster.run("postgres", oid), before);
}

#[test]
fn who_is_in_an_empty_database_stops_no_restore() {
    let Some(_) = postgres("that guests of PostgreSQL stop no restore") else { return };
    let source = with_shop();
    source.run("postgres", "CREATE DATABASE zoo");
    source.run("postgres", "ALTER DATABASE postgres SET work_mem TO '5MB'");
    let dumps = whole(engine(&source).dump(&deaf()).expect("dumps"));
    let settings = "SELECT setconfig FROM pg_db_role_setting";
    for may_replace in [false, true] {
        let target = Cluster::new(&[]);
        let guest = Guest::new(&target, "postgres");
        let (told, lines) = listener();
        load(&engine(&target), &dumps, &options(may_replace), &told).expect("everything comes back");
        assert_eq!(
            target.run("postgres", NAMES),
            if may_replace { "postgres,shop,zoo\n" } else { "shop,zoo\n" }
        );
        assert_eq!(target.run("shop", TABLES), "old\n");
        assert_eq!(target.run("postgres", settings), "{work_mem=5MB}\n");
        let lines = lines.lock().expect("lines").join("\n");
        assert_eq!(lines.contains("the database postgres stays"), !may_replace, "{lines}");
        drop(guest);
    }

    // What makes something is not left out without a word.
    source.run("postgres", "CREATE TABLE own (id int)");
    let dumps = whole(engine(&source).dump(&deaf()).expect("dumps"));
    let target = Cluster::new(&[]);
    let guest = Guest::new(&target, "postgres");
    let failed = load(&engine(&target), &dumps, &options(false), &deaf()).expect_err("somebody is in it");
    let text = said(&failed);
    assert!(text.contains("database \"postgres\" is being accessed by other users"), "{text}");
    assert!(text.contains("its dump makes something: CREATE TABLE"), "{text}");
    drop(guest);
}

#[test]
fn memberships_of_later_servers_come_back() {
    let Some(_) = postgres("that PostgreSQL's memberships come back") else { return };
    let cluster = Cluster::new(&[]);
    if cluster.run("postgres", "SELECT current_setting('server_version_num')::int >= 160000") == "t\n" {
        println!("this server knows the options of a membership");
        return;
    }
    let globals = "CREATE ROLE a;\nALTER ROLE a WITH NOLOGIN;\nCREATE ROLE b;\nALTER ROLE b WITH INHERIT LOGIN;\n\
        CREATE ROLE c;\nALTER ROLE c WITH NOINHERIT LOGIN;\n\
        GRANT a TO b WITH ADMIN OPTION, INHERIT FALSE, SET TRUE GRANTED BY postgres;\n\
        GRANT a TO c WITH INHERIT FALSE GRANTED BY postgres;\nGRANT b TO c WITH INHERIT FALSE, SET FALSE GRANTED BY postgres;\n\
        GRANT pg_monitor TO b WITH INHERIT TRUE GRANTED BY postgres;\n\
        GRANT pg_create_subscription TO b WITH INHERIT TRUE GRANTED BY postgres;\n";
    let dumps = vec![("globals.sql".to_owned(), globals.as_bytes().to_vec())];
    let (told, lines) = listener();
    load(&engine(&cluster), &dumps, &options(false), &told).expect("the roles are there");
    let members =
        "SELECT roleid::regrole || ' ' || member::regrole || ' ' || admin_option FROM pg_auth_members
        WHERE member >= 16384 ORDER BY 1";
    assert_eq!(cluster.run("postgres", members), "a b true\na c false\nb c false\npg_monitor b false\n");
    assert_eq!(
        *lines.lock().expect("lines"),
        [
            "b has what is allowed to a without asking for it (INHERIT TRUE, but it was FALSE): servers before version 16 \
             cannot say otherwise",
            "b is no member of pg_create_subscription: the server has no such role",
            "c may become b (SET TRUE, but it was FALSE): servers before version 16 cannot say otherwise",
        ]
    );
}
