//! SQLite under a process that writes all the time, with a write-ahead log and with a journal.
//!
//! What must hold: money only moves between accounts, and each move is noted; so of whatever moment a copy is, the sum is
//! the same and the notes say what each account has.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use packstone::base::ErrorKind;
use packstone::source::engine::Sqlite;
use packstone::source::{Engine, LoadOptions};
use rusqlite::Connection;

use super::kept::{dump, keep_while, printing, replacing};
use crate::support::need::has_program;
use crate::support::scratch::Scratch;

/// Accounts, and what each has at first.
const ACCOUNTS: i64 = 200;
const START: i64 = 1000;

/// Moves money for ever, and says so every 20 moves; may close the database after each of them.
const WRITER: &str = r#"
import random, sqlite3, sys
path, count, closes = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "closes"
def begin():
    bank = sqlite3.connect(path, timeout=60, isolation_level=None)
    bank.execute("PRAGMA synchronous = OFF")
    return bank
bank = begin()
moves = 0
while True:
    giver, taker, sum = random.randrange(count), random.randrange(count), random.randrange(100)
    bank.execute("BEGIN IMMEDIATE")
    bank.execute("UPDATE account SET money = money - ? WHERE id = ?", (sum, giver))
    bank.execute("UPDATE account SET money = money + ? WHERE id = ?", (sum, taker))
    bank.execute("INSERT INTO move VALUES (NULL, ?, ?, ?, ?)", (giver, taker, sum, random.randbytes(300)))
    bank.execute("COMMIT")
    moves += 1
    if closes:
        bank.close()
        bank = begin()
    if moves % 20 == 0: print("moved", flush=True)
"#;

struct Writer(Child, Arc<AtomicU64>);

impl Writer {
    fn start(path: &Path, closes: bool) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", WRITER]).arg(path).arg(ACCOUNTS.to_string());
        command.arg(if closes { "closes" } else { "stays" }).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let told = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&told);
        std::thread::spawn(move || {
            for _ in output.lines() {
                counting.fetch_add(1, Ordering::Relaxed);
            }
        });
        let writer = Self(child, told);
        writer.wait(1);
        writer
    }

    /// Waits until it has said so many times more that it has moved something.
    fn wait(&self, times: u64) {
        let wanted = self.1.load(Ordering::Relaxed) + times;
        super::until(|| self.1.load(Ordering::Relaxed) >= wanted);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

fn make(path: &Path, mode: &str) {
    let bank = Connection::open(path).expect("a database");
    bank.pragma_update(None, "journal_mode", mode).expect("a mode");
    bank.execute_batch(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, money INTEGER NOT NULL);
         CREATE TABLE move (id INTEGER PRIMARY KEY, giver REFERENCES account, taker REFERENCES account, sum, note);
         CREATE TABLE filling (id INTEGER PRIMARY KEY, bytes);
         CREATE INDEX by_taker ON move (taker, sum);",
    )
    .expect("tables");
    let transaction = bank.unchecked_transaction().expect("a transaction");
    for id in 0..ACCOUNTS {
        bank.execute("INSERT INTO account VALUES (?, ?)", [id, START]).expect("an account");
    }
    for _ in 0..2000 {
        bank.execute("INSERT INTO filling VALUES (NULL, randomblob(2000))", []).expect("a filling");
    }
    transaction.commit().expect("committed");
}

/// The moves that a database knows of; panics unless it is of one moment.
fn moves_of(path: &Path) -> i64 {
    let bank = Connection::open(path).expect("a database");
    let number = |sql: &str| bank.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number");
    let check: String = bank.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok");
    assert_eq!(number("SELECT sum(money) FROM account"), ACCOUNTS * START);
    assert_eq!(number("SELECT count(*) FROM filling"), 2000);
    let wrong = number(
        "SELECT count(*) FROM account WHERE money <> 1000
            + coalesce((SELECT sum(sum) FROM move WHERE taker = account.id), 0)
            - coalesce((SELECT sum(sum) FROM move WHERE giver = account.id), 0)",
    );
    assert_eq!(wrong, 0);
    number("SELECT count(*) FROM move")
}

fn engine(paths: &[&Path], scratch: Option<PathBuf>, memory_bytes: u64) -> Sqlite {
    let paths = paths.iter().map(|path| path.to_str().expect("UTF-8").to_owned()).collect();
    Sqlite { paths, scratch, memory_bytes }
}

fn under_a_writer(mode: &str) {
    if !has_program("python3", "SQLite under a process that writes") {
        return;
    }
    let folder = Scratch::new();
    let path = folder.join("bank.db");
    make(&path, mode);
    let writer = Writer::start(&path, false);
    // Whoever reads the files of a database in this process, must not take its locks away.
    let reader = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while reader.load(std::sync::atomic::Ordering::Relaxed) {
                for suffix in ["", "-wal", "-shm", "-journal"] {
                    drop(std::fs::File::open(folder.join(&format!("bank.db{suffix}"))));
                }
                std::thread::yield_now();
            }
        });
        let mut last = 0;
        for round in 0..4 {
            let in_memory = round % 2 == 0;
            let scratch = folder.join("scratch");
            std::fs::create_dir_all(&scratch).expect("a folder");
            let memory_bytes = if in_memory { 1 << 30 } else { 0 };
            let engine = engine(&[&path], Some(scratch.clone()), memory_bytes);
            // It goes on writing while the copy is given.
            let dumps = engine.dump(&printing()).expect("dumps");
            let kept = keep_while(dumps, || writer.wait(2)).expect("a dump");
            assert_eq!(kept.problems, [""; 0]);
            assert_eq!(std::fs::read_dir(&scratch).expect("a folder").count(), 0);
            let copy = folder.join(&format!("copy{round}.db"));
            let options =
                LoadOptions { new_name: Some(copy.display().to_string()), ..LoadOptions::default() };
            assert_eq!(kept.load(&engine, &options).expect("loaded"), [""; 0]);
            let moves = moves_of(&copy);
            println!("{mode}: copy {round} has {} bytes, {moves} moves", kept.dumps[0].1.len());
            assert!(moves > last, "the writer goes on");
            last = moves;
        }
        reader.store(false, std::sync::atomic::Ordering::Relaxed);
    });
    let engine = engine(&[&path], None, 1 << 30);
    let kept = dump(&engine).expect("a dump");
    let error = kept.load(&engine, &replacing()).expect_err("it is in use");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    assert!(format!("{error:?}").contains("python3"), "{error:?}");
    let error = kept.load(&engine, &LoadOptions::default()).expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::Exists, "{error:?}");
    drop(writer);
    // Killed, it has left a log or a journal that belongs to what is replaced.
    let replaced = kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(replaced.len(), 1, "{replaced:?}");
    let moves = moves_of(&path);
    // And destroyed altogether.
    std::fs::write(&path, "no database").expect("written");
    kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(moves_of(&path), moves);
    let mode_now: String = Connection::open(&path)
        .and_then(|bank| bank.pragma_query_value(None, "journal_mode", |row| row.get(0)))
        .expect("a mode");
    assert_eq!(mode_now, mode);
}

#[test]
fn with_a_write_ahead_log_under_a_writing_process() {
    under_a_writer("wal");
}

#[test]
fn with_a_journal_under_a_writing_process() {
    under_a_writer("delete");
}

#[test]
fn a_last_one_that_closes_writes_nothing_under_a_copy() {
    if !has_program("python3", "SQLite under a process that opens and closes") {
        return;
    }
    let folder = Scratch::new();
    let path = folder.join("bank.db");
    make(&path, "wal");
    let writer = Writer::start(&path, true);
    let engine = engine(&[&path], None, 1 << 30);
    for round in 0..3 {
        let dumps = engine.dump(&printing()).expect("dumps").dumps;
        let mut opened = (dumps.into_iter().next().expect("a dump").open)().expect("it begins");
        // Closing takes this process' own locks away.
        for suffix in ["", "-shm"] {
            drop(std::fs::File::open(folder.join(&format!("bank.db{suffix}"))));
        }
        writer.wait(2);
        let mut bytes = Vec::new();
        opened.reader.read_to_end(&mut bytes).expect("a copy");
        (opened.end)().expect("it is whole");
        let copy = folder.join(&format!("copy{round}.db"));
        std::fs::write(&copy, bytes).expect("written");
        println!("copy {round}: {} moves", moves_of(&copy));
    }
}
