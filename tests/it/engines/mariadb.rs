//! MariaDB under a client that writes all the time: dumped, destroyed, put back; and everything that goes wrong.
//!
//! What must hold: money only moves between accounts, in transactions that note each move; so of whatever moment a dump
//! is, the sum is the same and the notes say what each account has.

mod history;
mod mysql;
mod replaced;
mod rights;
mod users;

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use packstone::base::ErrorKind;
use packstone::format::node::Metadata;
use packstone::source::engine::{Access, Databases, Mariadb};
use packstone::source::{Engine, LoadOptions, StoredDump};

use super::kept::{Kept, dump, keep, listening, printing, replacing};
use super::{Fakes, password, said};
use crate::support::servers::mariadb::Mariadb as Server;

const SHOP: &str = r#"
CREATE DATABASE shop CHARACTER SET latin1; USE shop;
CREATE TABLE account (id INT PRIMARY KEY, money INT NOT NULL) ENGINE=InnoDB;
CREATE TABLE move (id INT AUTO_INCREMENT PRIMARY KEY, giver INT NOT NULL, taker INT NOT NULL, sum INT NOT NULL,
    FOREIGN KEY (giver) REFERENCES account (id), FOREIGN KEY (taker) REFERENCES account (id)) ENGINE=InnoDB;
CREATE TABLE counter (moves INT) ENGINE=InnoDB;
INSERT INTO counter VALUES (0);
INSERT INTO account SELECT seq, 1000 FROM seq_0_to_49;
CREATE TABLE filling (id INT PRIMARY KEY, bytes BLOB, text TEXT CHARACTER SET utf8mb4, day DATE) ENGINE=InnoDB;
INSERT INTO filling SELECT seq, UNHEX(REPEAT(SHA2(seq, 512), 8)), CONCAT(_utf8mb4'漢字 🪨 \n\r\t\0\\ '' "', seq), '2024-02-29'
    FROM seq_1_to_20000;
CREATE VIEW rich AS SELECT id FROM account WHERE money > 1000;
CREATE TRIGGER counting AFTER INSERT ON move FOR EACH ROW UPDATE counter SET moves = moves + 1;
CREATE PROCEDURE nothing() SELECT 'USE `shop`;';
CREATE EVENT often ON SCHEDULE EVERY 1 DAY DO SELECT 1;
CREATE DATABASE `odd/na``me%.`; CREATE TABLE `odd/na``me%.`.`t``t` (a INT) ENGINE=MyISAM;
INSERT INTO `odd/na``me%.`.`t``t` VALUES (42);
CREATE ROLE reader; GRANT SELECT ON shop.* TO reader;
CREATE USER app@localhost IDENTIFIED BY 'app-pass-word'; GRANT ALL ON shop.* TO app@localhost;
GRANT SELECT ON shop.account TO reader; GRANT EXECUTE ON PROCEDURE shop.nothing TO app@localhost;
GRANT reader TO app@localhost; SET DEFAULT ROLE reader FOR app@localhost;
"#;

const WRONG: &str = "SELECT count(*) FROM account a WHERE money <> 1000
    + (SELECT coalesce(sum(sum), 0) FROM move WHERE taker = a.id)
    - (SELECT coalesce(sum(sum), 0) FROM move WHERE giver = a.id)";

fn server() -> Option<Server> {
    let server = Server::start("dumps of MariaDB")?;
    let mut client = server.client().stdin(Stdio::piped()).spawn().expect("mariadb runs");
    client.stdin.take().expect("an input").write_all(SHOP.as_bytes()).expect("written");
    assert!(client.wait().expect("it ends").success());
    Some(server)
}

fn engine(server: &Server) -> Mariadb {
    let access = Access { socket: Some(server.socket()), user: Some("root".to_owned()), ..Access::default() };
    Mariadb { access, databases: Databases::All, options: Vec::new(), is_mysql: false }
}

/// Moves money until it is dropped.
struct Writer(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Writer {
    fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let mut client = server.client();
        let mut child =
            client.arg("shop").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("mariadb runs");
        let thread = std::thread::spawn(move || {
            let mut input = child.stdin.take().expect("an input");
            for count in 0_u64.. {
                let (giver, taker, sum) = (count * 7 % 50, count * 3 % 50, count % 97);
                let text = format!(
                    "BEGIN; UPDATE account SET money = money - {sum} WHERE id = {giver};\n\
                     UPDATE account SET money = money + {sum} WHERE id = {taker};\n\
                     INSERT INTO move (giver, taker, sum) VALUES ({giver}, {taker}, {sum}); COMMIT;\n"
                );
                if stopping.load(Ordering::Relaxed) || input.write_all(text.as_bytes()).is_err() {
                    break;
                }
            }
            drop(input);
            drop(child.kill());
            child.wait().expect("it ends");
        });
        super::until(|| server.ask("SELECT moves > 20 FROM shop.counter") == "1");
        Self(stop, Some(thread))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().expect("a thread").join().expect("no panic");
    }
}

/// The moves that a database knows of; panics unless it is of one moment.
fn moves_of(server: &Server, database: &str) -> u64 {
    let ask = |statement: &str| server.ask(&format!("USE {database}; {statement}"));
    assert_eq!(ask("SELECT sum(money) FROM account"), "50000");
    assert_eq!(ask(WRONG), "0");
    assert_eq!(ask("SELECT moves - (SELECT count(*) FROM move) FROM counter"), "0");
    ask("SELECT count(*) FROM move").parse().expect("a number")
}

/// Dumps everything, the shop last, and lets the writer go on once the dump of the shop has begun; gives the moves that
/// were there by then, too.
fn dump_under_a_writer(server: &Server, engine: &Mariadb) -> (Kept, u64) {
    let moves = || server.ask("SELECT moves FROM shop.counter").parse::<u64>().expect("a number");
    let mut dumps = engine.dump(&printing()).expect("dumps");
    let shop = dumps.dumps.pop().expect("a dump");
    assert_eq!(shop.name, "shop.sql");
    let mut kept = keep(dumps).expect("the others");
    let mut open = (shop.open)().expect("it begins");
    // Far more is to come than all buffers on the way hold: so much is not written before its transaction has begun.
    let mut bytes = vec![0; 100_000];
    open.reader.read_exact(&mut bytes).expect("a beginning");
    let begun = moves();
    super::until(|| moves() > begun + 20);
    open.reader.read_to_end(&mut bytes).expect("the rest");
    (open.end)().expect("it is whole");
    let stored =
        StoredDump { name: shop.name, size_bytes: bytes.len() as u64, metadata: Metadata::default() };
    kept.dumps.push((stored, bytes));
    (kept, begun)
}

/// What does not change in a database.
fn facts(server: &Server, database: &str) -> String {
    let quoted = format!("'{database}'");
    [
        format!("SELECT md5(group_concat(md5(concat(id, hex(bytes), hex(text), day)) ORDER BY id)) FROM {database}.filling"),
        format!("CHECKSUM TABLE {database}.filling").replace("CHECKSUM", "CHECKSUM /**/"),
        format!("SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = {quoted}"),
        format!("SELECT table_name, constraint_name FROM information_schema.referential_constraints WHERE constraint_schema = {quoted} ORDER BY 1, 2"),
        format!("SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = {quoted}"),
        format!("SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = {quoted}"),
        format!("SELECT event_name FROM information_schema.events WHERE event_schema = {quoted}"),
        format!("SELECT count(*) FROM information_schema.views WHERE table_schema = {quoted}"),
    ]
    .map(|statement| {
        let told = server.ask(&format!("SET group_concat_max_len = 10000000; {statement}"));
        told.replace(&format!("{database}."), "")
    })
    .join("\n")
}

#[test]
fn dumped_under_a_writer_destroyed_and_put_back() {
    let Some(server) = server() else { return };
    let engine = engine(&server);
    // The folder that file systems make where they begin is no database.
    std::fs::create_dir(std::path::Path::new(&server.ask("SELECT @@datadir")).join("lost+found"))
        .expect("a folder");
    assert!(server.ask("SHOW DATABASES").contains("#mysql50#lost+found"));
    let before = facts(&server, "shop");
    let writer = Writer::start(&server);
    let first: u64 = server.ask("SELECT count(*) FROM shop.move").parse().expect("a number");
    let (kept, begun) = dump_under_a_writer(&server, &engine);
    drop(writer);
    let last = moves_of(&server, "shop");
    println!("{}; {first} to {last} moves, {begun} when the dump had begun", kept.consistency);
    assert_eq!(kept.problems, [""; 0]);
    let names: Vec<_> = kept.dumps.iter().map(|(stored, _)| stored.name.as_str()).collect();
    assert_eq!(names, ["users.sql", "odd%2Fna`me%25..sql", "shop.sql"]);
    assert!(kept.consistency.contains("odd/na`me%..t`t (MyISAM)"), "{}", kept.consistency);

    let error = kept.load(&engine, &LoadOptions::default()).expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", said(&error));
    server.ask("DROP USER app@localhost; DROP ROLE reader; DROP DATABASE shop");
    let replaced = kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(replaced, ["the database odd/na`me%., which has 1 table"]);
    let moves = moves_of(&server, "shop");
    assert!(first <= moves && moves <= begun && begun < last, "{first} {moves} {begun} {last}");
    assert_eq!(facts(&server, "shop"), before);
    assert_eq!(server.ask("SELECT a FROM `odd/na``me%.`.`t``t`"), "42");
    let rights = server.ask("SHOW GRANTS FOR app@localhost");
    assert!(rights.contains("GRANT ALL PRIVILEGES ON `shop`.*") && rights.contains("reader"), "{rights}");
    let mut app = server.client();
    let app = app.args(["--user=app", "--password=app-pass-word", "shop", "-e", "CALL nothing()"]).output();
    assert_eq!(String::from_utf8_lossy(&app.expect("mariadb runs").stdout), "USE `shop`;\n");
    // The constraints are there.
    let refused = server.client().args(["-e", "INSERT INTO shop.move VALUES (NULL, 999, 1, 1)"]).output();
    assert!(!refused.expect("mariadb runs").status.success());

    // A user who is there keeps the password; and a database can get another name.
    server.ask("SET PASSWORD FOR app@localhost = PASSWORD('other')");
    let hash = server.ask("SHOW CREATE USER app@localhost");
    let options = LoadOptions {
        databases: vec!["shop".into()],
        new_name: Some("shop2".into()),
        ..LoadOptions::default()
    };
    assert_eq!(kept.load(&engine, &options).expect("loaded"), [""; 0]);
    assert_eq!(moves_of(&server, "shop2"), moves);
    assert_eq!(facts(&server, "shop2"), before);
    assert_eq!(server.ask("SHOW CREATE USER app@localhost"), hash);
    assert_ne!(server.ask("SELECT count(*) FROM shop2.rich"), "0");
    let both = LoadOptions { new_name: Some("x".into()), ..LoadOptions::default() };
    assert_eq!(
        engine.load(&kept.stored(), &both, &printing()).map(drop).expect_err("two").kind(),
        ErrorKind::Usage
    );

    // Of the same data the dump is the same; and a server without anything gets everything.
    let (again, once_more) = (dump(&engine).expect("a dump"), dump(&engine).expect("a dump"));
    assert!(again.dumps.iter().zip(&once_more.dumps).all(|(one, other)| one.1 == other.1));
    let Some(empty) = Server::start("an empty server") else { return };
    let of_empty =
        Mariadb { access: Access { socket: Some(empty.socket()), ..engine.access.clone() }, ..engine };
    assert_eq!(kept.load(&of_empty, &LoadOptions::default()).expect("loaded"), [""; 0]);
    assert_eq!(moves_of(&empty, "shop"), moves);
    assert_eq!(facts(&empty, "shop"), before);
    assert_eq!(empty.ask("SHOW GRANTS FOR reader"), server.ask("SHOW GRANTS FOR reader"));
    let rights = empty.ask("SHOW GRANTS FOR app@localhost");
    assert!(rights.contains("GRANT EXECUTE ON PROCEDURE `shop`.`nothing`"), "{rights}");
}

#[test]
fn nothing_is_dropped_unasked_and_a_right_that_is_refused_is_named() {
    let Some(server) = server() else { return };
    let engine = engine(&server);
    let kept = dump(&engine).expect("a dump");
    server.ask("CREATE DATABASE bare; CREATE PROCEDURE bare.p() SELECT 1; CREATE DATABASE empty");
    let to = |name: &str| LoadOptions {
        databases: vec!["shop".into()],
        new_name: Some(name.into()),
        ..LoadOptions::default()
    };
    let plan = engine.load(&kept.stored(), &to("bare"), &printing()).expect("a plan");
    assert_eq!(plan.replaced, ["the database bare, which has 1 routine"]);
    let error = kept.load(&engine, &to("bare")).expect_err("it has a routine");
    assert_eq!(error.kind(), ErrorKind::Exists, "{}", said(&error));
    assert_eq!(kept.load(&engine, &to("empty")).expect("loaded"), [""; 0]);
    let own = engine.load(&kept.stored(), &to("mysql"), &printing()).map(drop).expect_err("its own");
    assert_eq!(own.kind(), ErrorKind::Usage);

    // Where only some databases are put back, nobody comes back who was dropped.
    server.ask("DROP DATABASE shop; DROP USER app@localhost; DROP ROLE reader");
    assert_eq!(kept.load(&engine, &to("copy")).expect("loaded"), [""; 0]);
    assert_eq!(moves_of(&server, "copy"), 0);
    let some = LoadOptions { databases: vec!["shop".into()], ..LoadOptions::default() };
    let (listener, told) = listening();
    let plan = engine.load(&kept.stored(), &some, &listener).expect("a plan");
    assert_eq!((plan.steps.len(), plan.steps[0].dump.as_deref()), (2, Some("shop.sql")));
    let line = "users stay as they are, because not all databases are put back";
    assert!(told.lock().expect("no panic").iter().any(|told| told == line), "{told:?}");
    assert_eq!(server.ask("SELECT count(*) FROM mysql.user WHERE user IN ('app', 'reader')"), "0");

    // With all of them everybody comes back; what was granted on a table that is not there is named.
    let mut others = kept;
    others.dumps.retain(|(dump, _)| dump.name != "shop.sql");
    let error = said(&others.load(&engine, &replacing()).expect_err("no such table"));
    assert!(error.contains("2 of the rights were refused") && error.contains("`shop`.`account`"), "{error}");
    assert!(!error.contains("PASSWORD"), "{error}");
    assert!(server.ask("SHOW GRANTS FOR app@localhost").contains("reader"));
}

#[test]
fn a_dump_made_with_other_options_reaches_no_other_database() {
    let Some(server) = server() else { return };
    let to = |name: &str| LoadOptions {
        databases: vec!["shop".into()],
        new_name: Some(name.into()),
        ..LoadOptions::default()
    };
    let mut engine = engine(&server);
    let facts_before = facts(&server, "shop");
    for (options, is_refused) in [
        (&["--add-drop-database"][..], false),
        (&["--skip-quote-names"], true),
        (&["--add-drop-database", "--skip-quote-names"], true),
        (&["--compatible=ansi"], true),
    ] {
        // A configuration refuses them; snapshots may have been made so before.
        engine.options = options.iter().map(|option| (*option).to_owned()).collect();
        let kept = dump(&engine).expect("a dump");
        server.ask("UPDATE shop.counter SET moves = 7");
        let done = kept.load(&engine, &to("copy"));
        assert_eq!(server.ask("SELECT moves FROM shop.counter"), "7", "{options:?}");
        assert_eq!(facts(&server, "shop"), facts_before, "{options:?}");
        server.ask("UPDATE shop.counter SET moves = 0");
        match done {
            Ok(_) => server.ask("SELECT * FROM copy.counter; DROP DATABASE copy"),
            Err(ref error) => {
                assert!(
                    said(error).contains("does not name the database `shop` as it must"),
                    "{}",
                    said(error)
                );
                server.ask("CREATE DATABASE copy; DROP DATABASE copy")
            }
        };
        assert_eq!(done.is_err(), is_refused, "{options:?}");
    }
    // In its own place they are put back.
    engine.options = ["--add-drop-database", "--skip-quote-names"].map(str::to_owned).to_vec();
    let kept = dump(&engine).expect("a dump");
    server.ask("DROP DATABASE shop");
    kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(facts(&server, "shop"), facts_before);
}

fn refused(engine: &Mariadb, words: &[&str]) {
    let text = said(&dump(engine).map(drop).expect_err("no dump"));
    for word in words {
        assert!(text.contains(word), "{text} without {word}");
    }
    assert!(!text.contains("pass-word"), "{text}");
}

#[test]
fn what_goes_wrong_is_no_dump() {
    let Some(mut server) = server() else { return };
    server.ask(
        "CREATE USER b@localhost IDENTIFIED BY 'pass-word \\\\#\\'\"1'; GRANT ALL ON *.* TO b@localhost",
    );
    let mut good = engine(&server);
    good.access.user = Some("b".into());
    good.access.password = Some(password("pass-word \\#'\"1"));
    let kept = dump(&good).expect("a dump");
    let with = |change: &dyn Fn(&mut Mariadb)| {
        let mut engine = good.clone();
        change(&mut engine);
        engine
    };
    refused(
        &with(&|engine| engine.access.password = Some(password("pass-word-2"))),
        &["does not accept this user or password"],
    );
    refused(&with(&|engine| engine.access.password = None), &["does not accept this user or password"]);
    refused(&with(&|engine| engine.access.socket = Some("/nowhere/s".into())), &["cannot be reached"]);
    refused(
        &with(&|engine| engine.access.programs = Some("/nowhere".into())),
        &["there is no program mariadb"],
    );
    let named = Databases::Named(vec!["none".into()]);
    refused(&with(&|engine| engine.databases = named.clone()), &["no database none"]);
    let some = with(&|engine| engine.databases = Databases::Named(vec!["none".into(), "shop".into()]));
    let some = dump(&some).expect("a dump");
    assert_eq!((some.dumps.len(), some.problems.len()), (2, 1), "{:?}", some.problems);

    // Half of it, and success; and arguments without the password.
    let fakes = Fakes::new();
    fakes.add("mariadb", "exec mariadb \"$@\"");
    for tail in ["head -c 100000", "head -c 0", "head -n -1"] {
        fakes.add("mariadb-dump", &format!("mariadb-dump \"$@\" 2>/dev/null | {tail}\nexit 0"));
        refused(
            &with(&|engine| engine.access.programs = Some(fakes.folder())),
            &["cannot dump the database"],
        );
    }
    let calls = fakes.calls().join("\n");
    assert!(calls.contains("--defaults-extra-file=") && !calls.contains("pass-word"), "{calls}");

    // In a container the password goes by a variable.
    fakes.add_docker("");
    let container = packstone::source::engine::Container {
        name: "db".into(),
        program: fakes.join("docker").display().to_string(),
    };
    let contained = dump(&with(&|engine| engine.access.container = Some(container.clone()))).expect("a dump");
    assert!(contained.dumps.iter().zip(&kept.dumps).all(|(one, other)| one.1 == other.1));
    assert!(!fakes.calls().join("\n").contains("pass-word"));

    // The server dies in the middle: far more is to come than all buffers on the way hold.
    let shop = good.dump(&printing()).expect("dumps").dumps.into_iter().find(|dump| dump.name == "shop.sql");
    let mut open = (shop.expect("a dump").open)().expect("it begins");
    open.reader.read_exact(&mut [0; 10_000]).expect("a beginning");
    server.kill();
    let read = open.reader.read_to_end(&mut Vec::new());
    let error = (open.end)().expect_err("it died");
    println!("{read:?}: {}", said(&error));
    assert!(said(&error).contains("in the middle"), "{}", said(&error));
    server.run();
    moves_of(&server, "shop");
}
