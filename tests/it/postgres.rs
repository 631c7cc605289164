//! Dumps of a live PostgreSQL: what `pg_dump` writes while others write to the database goes into a repository on disk
//! and comes back byte for byte, can be played into an empty database, and costs little the next time.
//!
//! What must hold: what is compared with is a copy that `tee` made of the very same stream, because two runs of
//! `pg_dump` never write the same bytes.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use packstone::base::{ErrorKind, Result};
use packstone::format::config::Parameters;
use packstone::format::snapshot::Statistic;
use packstone::ops::backup::{BackupSummary, StreamInput, backup_stream};
use packstone::ops::dump::dump_file;
use packstone::repository::Repository;
use packstone::source::CommandStream;
use packstone::storage::local::Local;

use crate::engine::{Findings, init, open, options, snapshot, statistic};
use crate::support::need::postgres;
use crate::support::scratch::Scratch;

/// Where the dumps are in the snapshots.
const DUMP: &str = "/dumps/postgres/shop.sql";

/// Rows with texts that a dump must quote, large values, and all that is not text; about 17 MiB as a dump.
const SHOP: &str = r#"
CREATE TABLE odd (id serial PRIMARY KEY, text text);
INSERT INTO odd (text) VALUES (NULL), (''), ('\N'), ('\.'), (E'\\.\n\\.'), (E'tab\tline\nreturn\rquote''"'),
    (E'bell\x07 escape\x1b[0m'), ('naïve café 漢字 🪨'), (E'\u202eturned'), ($$'; DROP TABLE odd; --$$),
    (repeat('\', 1001)), (E'\n\n\n'), (' spaces at both ends ');
CREATE TABLE goods (id int PRIMARY KEY, name text NOT NULL, price numeric(12, 4), added timestamptz, tags text[],
    facts jsonb, picture bytea);
INSERT INTO goods SELECT id, 'stone ' || md5(id::text), id * 1.2345, timestamptz '1969-12-31 23:59:59.999999Z' +
    id * interval '7 hours', ARRAY[md5('a' || id), NULL, '{"x"}'], jsonb_build_object('id', id, 'hash', md5('b' || id)),
    decode(md5('c' || id), 'hex') FROM generate_series(1, 8000) AS id;
CREATE TABLE large (id int PRIMARY KEY, value text, bytes bytea);
INSERT INTO large SELECT id, (SELECT string_agg(md5(id || '/' || part), '') FROM generate_series(1, 20000) AS part),
    (SELECT decode(string_agg(md5(id || ':' || part), ''), 'hex') FROM generate_series(1, 5000) AS part)
    FROM generate_series(1, 20) AS id;
CREATE TABLE journal (id serial PRIMARY KEY, entry text);
CREATE VIEW dear AS SELECT * FROM goods WHERE price > 5000;
CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT 2 * x';
SELECT lo_from_bytea(4711, decode(repeat('00ff7f', 3000), 'hex'));
"#;

/// What happens in a day.
const A_DAY: &str = "
UPDATE goods SET price = price + 1 WHERE id % 400 = 0;
DELETE FROM goods WHERE id BETWEEN 3000 AND 3010;
INSERT INTO goods SELECT id, 'pebble', 1, now(), NULL, NULL, NULL FROM generate_series(9001, 9050) AS id;
UPDATE odd SET text = text || '!' WHERE id = 5;
";

/// A database of its own on the server of the tests.
struct Database {
    host: String,
    name: String,
}

impl Database {
    fn new(host: &str, name: &str) -> Self {
        let name = format!("{name}_{}", std::process::id());
        let mut database = Self { host: host.to_owned(), name: "postgres".into() };
        database.run(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"));
        database.name = name;
        database
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args([
            "--host",
            &self.host,
            "--username",
            "postgres",
            "--dbname",
            &self.name,
            "--no-password",
        ]);
        command
    }

    fn psql(&self) -> Command {
        let mut command = self.client("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command
    }

    /// Runs statements, each in a transaction of its own, and gives what they print.
    #[track_caller]
    fn run(&self, statements: &str) -> String {
        let mut child =
            self.psql().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql can be started");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(statements.as_bytes()).expect("psql reads");
        drop(input);
        let output = child.wait_with_output().expect("psql ends");
        assert!(output.status.success(), "psql failed");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Goes on writing to the journal until it has written so many lines.
    fn scribble(&self, lines: usize) -> Child {
        let statements = "INSERT INTO journal (entry) VALUES (md5(random()::text));\n".repeat(lines);
        let mut child = self.psql().stdin(Stdio::piped()).spawn().expect("psql can be started");
        let mut input = child.stdin.take().expect("a pipe");
        std::thread::spawn(move || input.write_all(statements.as_bytes()));
        child
    }

    /// What `pg_dump` writes, without the two lines that hold a random word.
    fn dumped(&self) -> Vec<u8> {
        let output = self.client("pg_dump").output().expect("pg_dump can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        without_random_words(&output.stdout)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = std::mem::replace(&mut self.name, "postgres".into());
        // If it fails, the server ends with the tests all the same.
        let _ = self.psql().args(["--command", &format!("DROP DATABASE {name} WITH (FORCE)")]).status();
    }
}

/// Arguments for bash to write a dump, and a copy of it into a file; it fails if either does.
fn dump_command(host: &str, database: &str, copy: &Path) -> Vec<OsString> {
    let script = r#"set -o pipefail; pg_dump --host="$0" --username=postgres --no-password "$1" | tee "$2""#;
    vec!["-c".into(), script.into(), host.into(), database.into(), copy.into()]
}

fn without_random_words(dump: &[u8]) -> Vec<u8> {
    let is_random = |line: &[u8]| line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ");
    dump.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_random(line)).flatten().copied().collect()
}

/// A command's output, shared by who reads it and who asks how it ended.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<CommandStream>>>);

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().as_mut().expect("still open").read(buffer)
    }
}

fn back_up(repository: &Repository, arguments: &[OsString]) -> Result<BackupSummary> {
    let stream = CommandStream::spawn("bash".as_ref(), arguments, &[])?;
    let shared = Shared(Arc::new(Mutex::new(Some(stream))));
    let input = StreamInput {
        filename: DUMP.into(),
        reader: Box::new(shared.clone()),
        end: Box::new(move || shared.0.lock().unwrap().take().expect("still open").finish()),
        stop: Box::new(|| {}),
    };
    let findings = Findings::default();
    let summary = backup_stream(repository, input, &options(), &findings);
    findings.assert_none();
    summary
}

/// The bytes of a dump in a snapshot.
fn given_back(repository: &Repository, summary: &BackupSummary) -> Vec<u8> {
    let mut bytes = Vec::new();
    let findings = Findings::default();
    let entry = snapshot(repository, summary.id);
    dump_file(repository, &entry, DUMP.as_bytes(), &mut bytes, &findings).expect("a dump");
    findings.assert_none();
    bytes
}

#[track_caller]
fn assert_equal(given_back: &[u8], copy: &Path) {
    let copied = std::fs::read(copy).expect("the copy");
    // Millions of bytes are not to be printed.
    assert!(given_back == copied, "{} bytes came back for {}", given_back.len(), copied.len());
}

struct Place {
    scratch: Scratch,
    storage: PathBuf,
}

impl Place {
    fn new() -> Self {
        let scratch = Scratch::new();
        Self { storage: scratch.join("repository"), scratch }
    }

    fn init(&self) -> Repository {
        init(Arc::new(Local::create(&self.storage).expect("a folder")), Parameters::default(), None)
    }

    /// Opened anew, as by another process.
    fn open(&self) -> Repository {
        let cache_folder = self.scratch.join("cache");
        open(Arc::new(Local::open(&self.storage).expect("a folder")), Some(&cache_folder))
    }
}

#[test]
fn dumps_of_a_live_database_come_back_and_share_their_data() {
    let Some(host) = postgres("dumps of a live database") else { return };
    let shop = Database::new(&host, "shop");
    shop.run(SHOP);
    let place = Place::new();
    let copies = [place.scratch.join("first.sql"), place.scratch.join("second.sql")];

    let mut scribbler = shop.scribble(2000);
    let first = back_up(&place.init(), &dump_command(&host, &shop.name, &copies[0])).expect("a snapshot");
    assert!(scribbler.wait().expect("psql ends").success());
    shop.run(A_DAY);
    let second = back_up(&place.open(), &dump_command(&host, &shop.name, &copies[1])).expect("a snapshot");

    let repository = place.open();
    let (first_bytes, second_bytes) = (given_back(&repository, &first), given_back(&repository, &second));
    assert_equal(&first_bytes, &copies[0]);
    assert_equal(&second_bytes, &copies[1]);
    assert!(first_bytes.len() > 10 << 20, "{} bytes are no dump of that database", first_bytes.len());
    assert!(first_bytes != second_bytes);
    assert_eq!(first.snapshot.paths, [DUMP.as_bytes().to_vec()]);
    assert_eq!(first.snapshot.total_bytes, first_bytes.len() as u64);
    assert_eq!((first.snapshot.generation, second.snapshot.generation), (1, 2));

    // The server's large objects and rows are incompressible by half: the bound is about sharing, not compression.
    let stored = [&first, &second].map(|summary| statistic(&summary.snapshot, Statistic::BytesStored));
    assert!(stored[1] < stored[0] / 3, "the second dump stored {} bytes, the first {}", stored[1], stored[0]);

    let again = Database::new(&host, "again");
    again.run(std::str::from_utf8(&second_bytes).expect("a dump in UTF-8"));
    assert!(again.dumped() == without_random_words(&second_bytes), "the database that came back is another");
    assert_eq!(again.run("SELECT count(*), sum(hashtext(goods::text)) FROM goods"), {
        shop.run("SELECT count(*), sum(hashtext(goods::text)) FROM goods")
    });
}

#[test]
fn a_dump_that_fails_is_no_snapshot() {
    let Some(host) = postgres("that a failed dump is no snapshot") else { return };
    let shop = Database::new(&host, "partly");
    shop.run(SHOP);
    let place = Place::new();
    let repository = place.init();
    let copy = place.scratch.join("copy.sql");
    let failed = back_up(&repository, &dump_command(&host, "no such database", &copy)).expect_err("no dump");
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed:?}");
    assert_eq!(std::fs::metadata(&copy).expect("the copy").len(), 0);

    // One that breaks off in the middle, after many bytes: the server ends its connection.
    shop.run("CREATE FUNCTION stop() RETURNS text LANGUAGE sql AS 'SELECT pg_terminate_backend(pg_backend_pid())::text'");
    let mut breaks_off = dump_command(&host, &shop.name, &copy);
    breaks_off[1] = OsString::from(
        r#"set -o pipefail; psql --no-psqlrc --quiet --host="$0" --username=postgres "$1" --set=ON_ERROR_STOP=1 \
           --command="COPY large TO STDOUT" --command="SELECT stop()" | tee "$2""#,
    );
    let failed = back_up(&repository, &breaks_off).expect_err("half a dump");
    assert_eq!(failed.kind(), ErrorKind::Failed, "{failed:?}");
    assert!(std::fs::metadata(&copy).expect("the copy").len() > 5 << 20, "it broke off too early");

    let snapshots = place.open().snapshots().expect("snapshots");
    assert_eq!((snapshots.visible.len(), snapshots.damaged.len()), (0, 0));
    // Arguments can hold secrets.
    assert!(failed.chain().iter().all(|message| !message.contains(&host)), "{failed:?}");
}
