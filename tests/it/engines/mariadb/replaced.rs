//! A database in whose place another one comes, and what becomes of it if that fails.
//!
//! What must hold: afterwards a dump of it is, byte by byte, what it was before: with its rows, former rows, views,
//! triggers, routines and events; and there is no database that was not there before.

use std::io::Write;
use std::process::Stdio;

use packstone::base::{Error, ErrorKind, Result, Wrap};
use packstone::source::engine::Mariadb;
use packstone::source::{Engine, Listener, LoadOptions};

use super::super::kept::{Kept, dump, listening, printing, replacing};
use super::{Server, engine, said, server};

const MORE: &str = "USE shop;
CREATE TABLE price (id INT PRIMARY KEY, cents INT) WITH SYSTEM VERSIONING; INSERT INTO price VALUES (1, 1);
UPDATE price SET cents = 2;
CREATE FUNCTION dear(money INT) RETURNS INT DETERMINISTIC RETURN money > 1000;
CREATE VIEW dear_ones AS SELECT id FROM rich WHERE dear(id);
CREATE SEQUENCE numbers; CREATE TABLE numbered (id INT DEFAULT nextval(shop.numbers));
CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3; INSERT INTO parts VALUES (1), (2), (3);
CREATE TRIGGER first BEFORE UPDATE ON move FOR EACH ROW SET @a = 1;
CREATE TRIGGER second BEFORE UPDATE ON move FOR EACH ROW SET @a = 2;
ALTER DATABASE shop CHARACTER SET utf8mb4 COMMENT 'it''s ours';
GRANT INSERT ON shop.price TO app@localhost;
";

/// A server with a shop, and its dump.
fn full() -> Option<(Server, Mariadb, Kept)> {
    let server = server()?;
    server.ask(MORE);
    let engine = engine(&server);
    let kept = dump(&engine).expect("a dump");
    // What is there is something else than what would come.
    server.ask("DELETE FROM shop.filling WHERE id % 7 = 0; INSERT INTO shop.move (giver, taker, sum) VALUES (1, 2, 3)");
    Some((server, engine, kept))
}

/// Runs the step that restores the shop.
fn restore(
    kept: &Kept,
    engine: &Mariadb,
    to: Option<&str>,
    listener: &Listener,
    feed: &mut Feeding<'_>,
) -> Error {
    let options =
        LoadOptions { databases: vec!["shop".into()], new_name: to.map(str::to_owned), may_replace: true };
    let plan = engine.load(&kept.stored(), &options, listener).expect("a plan");
    let step = plan.steps.into_iter().find(|step| step.dump.as_deref() == Some("shop.sql")).expect("a step");
    (step.run)(feed).expect_err("it fails")
}

type Feeding<'f> = dyn FnMut(&mut dyn Write) -> Result<()> + 'f;

fn databases(server: &Server) -> String {
    server.ask("SHOW DATABASES")
}

#[track_caller]
fn is_as_before(server: &Server, engine: &Mariadb, before: &Kept, databases_before: &str) {
    assert_eq!(databases(server), databases_before);
    let now = dump(engine).expect("a dump");
    for (one, other) in now.dumps.iter().zip(&before.dumps) {
        if one.1 != other.1 {
            let line = one.1.split(|byte| *byte == b'\n').zip(other.1.split(|byte| *byte == b'\n'));
            let differing = line.into_iter().find(|(one, other)| one != other).expect("a line");
            panic!("{}: {:?}", one.0.name, String::from_utf8_lossy(differing.0));
        }
    }
    assert_eq!(server.ask("SELECT count(*) FROM shop.dear_ones").parse::<u64>().map(drop), Ok(()));
}

#[test]
fn what_fails_leaves_the_former_database_as_it_was() {
    let Some((server, engine, kept)) = full() else { return };
    let before = dump(&engine).expect("a dump");
    let names = databases(&server);
    let whole = kept.bytes("shop.sql");
    let half = &whole[..whole.len() / 2];

    // The dump is damaged.
    let listener = Listener::silent();
    let mut damaged = |output: &mut dyn Write| -> Result<()> {
        output.write_all(half).wrap(|| "cannot write")?;
        // All is in its own database by now, and the former one aside.
        assert!(databases(&server).contains("shop.packstone-old-1"));
        Err(Error::damaged("a chunk is damaged"))
    };
    let error = said(&restore(&kept, &engine, None, &listener, &mut damaged));
    for words in
        ["cannot restore the database shop", "is as it was", "not taken to its end", "a chunk is damaged"]
    {
        assert!(error.contains(words), "{error}");
    }
    is_as_before(&server, &engine, &before, &names);

    // A statement is wrong; the table of a row is full.
    let tail = whole.windows(12).rposition(|line| line == b"USE `shop`;\n").expect("the views");
    let full = b"\nSET GLOBAL myisam_data_pointer_size=2; CREATE TABLE much (a TEXT) ENGINE=MyISAM;\n\
                 INSERT INTO much SELECT REPEAT('x', 9000) FROM account;\n";
    for (statement, words) in
        [(&b"\nNONSENSE;\n"[..], "syntax"), (full, "no space is left on the server's disk")]
    {
        let mut wrong = |output: &mut dyn Write| -> Result<()> {
            let parts = [&whole[..tail], statement, &whole[tail..]];
            parts.iter().try_for_each(|part| output.write_all(part)).wrap(|| "cannot write")
        };
        let error = said(&restore(&kept, &engine, None, &listener, &mut wrong));
        assert!(error.contains(words) && error.contains("is as it was"), "{error}");
        server.ask("SET GLOBAL myisam_data_pointer_size=6");
        is_as_before(&server, &engine, &before, &names);
    }

    // Somebody ends it.
    let listener = Listener::silent();
    let mut ended = |output: &mut dyn Write| -> Result<()> {
        output.write_all(half).wrap(|| "cannot write")?;
        listener.stops().stop_all();
        output.write_all(&whole[half.len()..]).wrap(|| "cannot write")
    };
    let error = said(&restore(&kept, &engine, None, &listener.clone(), &mut ended));
    assert!(error.contains("is as it was"), "{error}");
    is_as_before(&server, &engine, &before, &names);

    // Under a name that was free nothing is left.
    let error = said(&restore(&kept, &engine, Some("copy"), &Listener::silent(), &mut damaged_half(half)));
    assert!(
        error.contains("what was made of it is removed") && error.contains("a chunk is damaged"),
        "{error}"
    );
    is_as_before(&server, &engine, &before, &names);

    // And one that succeeds leaves nothing of the former one.
    assert_eq!(kept.load(&engine, &replacing()).expect("loaded").len(), 2);
    is_as_before(&server, &engine, &kept, &names);
}

fn damaged_half(half: &[u8]) -> impl FnMut(&mut dyn Write) -> Result<()> {
    move |output| {
        output.write_all(half).wrap(|| "cannot write")?;
        Err(Error::damaged("a chunk is damaged"))
    }
}

#[test]
fn a_database_to_which_others_refer_is_not_touched() {
    let Some((server, engine, kept)) = full() else { return };
    server.ask("CREATE DATABASE more; CREATE TABLE more.card (account INT, FOREIGN KEY (account) REFERENCES shop.account (id))");
    let (before, names) = (dump(&engine).expect("a dump"), databases(&server));
    let mut never = |_: &mut dyn Write| -> Result<()> { panic!("nothing is read") };
    let error = restore(&kept, &engine, None, &Listener::silent(), &mut never);
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert!(said(&error).contains("the table more.card refers to its rows"), "{}", said(&error));
    is_as_before(&server, &engine, &before, &names);
}

#[test]
fn tables_that_cannot_be_moved_stay() {
    let Some((server, engine, kept)) = full() else { return };
    server.ask(
        "CREATE USER some@localhost; GRANT ALL ON *.* TO some@localhost; REVOKE EVENT ON *.* FROM some@localhost",
    );
    let (before, names) = (dump(&engine).expect("a dump"), databases(&server));
    server.ask("CREATE TABLE shop.torn (a INT) ENGINE=MyISAM; FLUSH TABLES");
    let file = std::path::Path::new(&server.ask("SELECT @@datadir")).join("shop/torn.MYI");
    std::fs::remove_file(file).expect("a file");
    let mut never = |_: &mut dyn Write| -> Result<()> { panic!("nothing is read") };
    let error = said(&restore(&kept, &engine, None, &Listener::silent(), &mut never));
    assert!(error.contains("cannot move the tables of the one that is there"), "{error}");
    assert!(error.contains("the database that was there is as it was"), "{error}");
    drop(server.client().args(["-e", "DROP TABLE shop.torn"]).output().expect("mariadb runs"));
    is_as_before(&server, &engine, &before, &names);

    // Nor are they, if somebody restores who does not see all that would be lost.
    let mut some = engine.clone();
    some.access.user = Some("some".into());
    let error = said(&restore(&kept, &some, None, &Listener::silent(), &mut never));
    assert!(error.contains("GRANT EVENT ON `shop`.* TO `some`@`localhost`"), "{error}");
    is_as_before(&server, &engine, &before, &names);
}

#[test]
fn if_the_server_dies_the_former_database_is_brought_back_by_hand() {
    let Some((mut server, engine, kept)) = full() else { return };
    let (before, names) = (dump(&engine).expect("a dump"), databases(&server));
    let whole = kept.bytes("shop.sql");
    let mut dying = |output: &mut dyn Write| -> Result<()> {
        output.write_all(&whole[..whole.len() / 2]).wrap(|| "cannot write")?;
        server.kill();
        output.write_all(&whole[whole.len() / 2..]).wrap(|| "cannot write")
    };
    let error = said(&restore(&kept, &engine, None, &Listener::silent(), &mut dying));
    let told =
        "is kept as shop.packstone-old-1, whose table packstone_undo has the statements that bring it back";
    assert!(error.contains(told) && error.contains("in the middle"), "{error}");
    server.run();
    // Whoever begins anew is told of it.
    let (listener, told) = listening();
    let plan = engine.load(&kept.stored(), &replacing(), &listener).expect("a plan");
    assert_eq!(plan.replaced.len(), 2);
    let left =
        "the database shop.packstone-old-1 is there, in which a restore that broke off kept the former shop";
    assert!(told.lock().expect("no panic").iter().any(|line| line == left), "{told:?}");
    // As the documentation says.
    assert!(bring_back(&server), "by hand");
    // Once more it does nothing: it would find no tables to move.
    assert!(!bring_back(&server), "it must not drop what is there");
    server.ask("DROP DATABASE `shop.packstone-old-1`");
    is_as_before(&server, &engine, &before, &names);
}

fn bring_back(server: &Server) -> bool {
    let statements = "SELECT line FROM `shop.packstone-old-1`.packstone_undo ORDER BY number";
    let mut read = server.client();
    let mut read =
        read.args(["--raw", "-e", statements]).stdout(Stdio::piped()).spawn().expect("mariadb runs");
    let run = server.client().stdin(read.stdout.take().expect("a pipe")).stderr(Stdio::null()).status();
    read.wait().expect("it ends");
    run.expect("mariadb runs").success()
}

#[test]
fn a_second_restore_of_one_database_is_refused_while_the_first_one_runs() {
    let Some((server, engine, kept)) = full() else { return };
    let names = databases(&server);
    let options = LoadOptions { databases: vec!["shop".into()], may_replace: true, ..LoadOptions::default() };
    for name in [None, Some("copy")] {
        let options = LoadOptions { new_name: name.map(str::to_owned), ..options.clone() };
        let whole = kept.bytes("shop.sql");
        let mut steps = engine.load(&kept.stored(), &options, &printing()).expect("a plan").steps;
        let mut count = 0;
        let mut meeting = |output: &mut dyn Write| -> Result<()> {
            output.write_all(&whole[..whole.len() / 2]).wrap(|| "cannot write")?;
            let mut never = |_: &mut dyn Write| -> Result<()> { panic!("nothing is read") };
            let error = restore(&kept, &engine, name, &Listener::silent(), &mut never);
            assert_eq!(error.kind(), ErrorKind::Exists);
            assert!(
                said(&error).contains("another restore of it is running: wait for its end"),
                "{}",
                said(&error)
            );
            count += 1;
            output.write_all(&whole[whole.len() / 2..]).wrap(|| "cannot write")
        };
        (steps.remove(0).run)(&mut meeting).expect("the first one ends well");
        assert_eq!(count, 1);
    }
    server.ask("DROP DATABASE copy");
    is_as_before(&server, &engine, &kept, &names);
}

#[test]
fn a_view_that_names_a_dropped_table_keeps_nothing_back() {
    let Some((server, engine, kept)) = full() else { return };
    server.ask(
        "CREATE VIEW shop.gone AS SELECT id FROM shop.price WHERE 'a\nb' <> ''; CREATE VIEW shop.goner AS SELECT id FROM shop.gone;
         DROP TABLE shop.price",
    );
    // The rest is dumped.
    let broken = dump(&engine).expect("a dump");
    let problem = "the views gone, goner of the database shop name what is not there, or what they may not read; how they were \
                   made stands at the end of the dump as a comment: mend them, or DROP VIEW `shop`.`gone`, `shop`.`goner`;";
    assert_eq!(broken.problems, [problem]);
    let text = String::from_utf8_lossy(broken.bytes("shop.sql"));
    let end = text.split_once("-- Dump completed\n").expect("the last line").1;
    assert_eq!(end.lines().filter(|line| line.starts_with("-- not dumped: CREATE ")).count(), 2, "{end}");
    assert_eq!(end.lines().count(), 2, "{end}");
    let options = LoadOptions {
        databases: vec!["shop".into()],
        new_name: Some("copy".into()),
        ..LoadOptions::default()
    };
    broken.load(&engine, &options).expect("loaded");
    server.ask("SELECT * FROM copy.rich; DROP DATABASE copy");
    let mut chosen = engine.clone();
    chosen.options = ["--ignore-table=shop.gone", "--ignore-table=shop.goner"].map(str::to_owned).to_vec();
    assert_eq!(dump(&chosen).expect("a dump").problems, [""; 0]);

    // And the table comes back; if that fails, all is as it was but for what cannot be made.
    let whole = kept.bytes("shop.sql");
    let mut damaged = damaged_half(&whole[..whole.len() / 2]);
    let error = said(&restore(&kept, &engine, None, &Listener::silent(), &mut damaged));
    let told = "the database that was there is as it was, but for the views gone, goner, which name what is not there";
    assert!(error.contains(told), "{error}");
    let names = databases(&server);
    let mut expected = broken;
    for (dump, bytes) in &mut expected.dumps {
        if dump.name == "shop.sql" {
            let end = bytes.windows(15).rposition(|part| part == b"-- not dumped: ").expect("a comment");
            let first =
                bytes[..end].windows(15).rposition(|part| part == b"-- not dumped: ").expect("a comment");
            bytes.truncate(first);
        }
    }
    is_as_before(&server, &engine, &expected, &names);
    kept.load(&engine, &replacing()).expect("loaded");
    is_as_before(&server, &engine, &kept, &names);
}

#[test]
fn routines_in_any_characters_are_kept() {
    let Some((server, engine, kept)) = full() else { return };
    let mut old = server.client();
    let mut old = old
        .args(["--default-character-set=latin1", "shop"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mariadb runs");
    let statement = b"CREATE PROCEDURE caf\xe9() SELECT 'na\xefve';\nCREATE EVENT soiree ON SCHEDULE EVERY 1 DAY DO SELECT '\xe9';\n";
    old.stdin.take().expect("an input").write_all(statement).expect("written");
    assert!(old.wait().expect("it ends").success());
    let (before, names) = (dump(&engine).expect("a dump"), databases(&server));
    assert!(std::str::from_utf8(before.bytes("shop.sql")).is_err(), "it is written as it was made");
    let whole = kept.bytes("shop.sql");
    let mut damaged = damaged_half(&whole[..whole.len() / 2]);
    let error = said(&restore(&kept, &engine, None, &Listener::silent(), &mut damaged));
    assert!(error.contains("the database that was there is as it was"), "{error}");
    is_as_before(&server, &engine, &before, &names);
    before.load(&engine, &replacing()).expect("loaded");
    is_as_before(&server, &engine, &before, &names);
}
