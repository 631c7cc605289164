//! Databases put back by the program itself: dumped into a repository, destroyed, and restored from it alone.
//!
//! What must hold: nothing is replaced before somebody agreed; what comes back is what was dumped.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use packstone::ops::backup::{BackupSource, OnFailure, SourceInput};
use packstone::source::Engine;
use packstone::source::engine::postgres::Format;
use packstone::source::engine::{Access, Databases, Postgres, Sqlite};
use packstone::storage::local::Local;

use super::back_up;
use crate::engine::{on_disk, open};
use crate::support::need::postgres;
use crate::support::scratch::Scratch;
use crate::support::servers::postgres::Cluster;

const SHOP: &str = "CREATE TABLE goods (id int PRIMARY KEY, name text UNIQUE, picture bytea);
    INSERT INTO goods SELECT id, E'stone\\\\ \\t' || id, decode(repeat(md5(id::text), 40), 'hex') FROM generate_series(1, 9000) AS id;
    CREATE TABLE price (goods int REFERENCES goods, price numeric CHECK (price > 0));
    INSERT INTO price SELECT id, id * 1.5 FROM goods;";

/// What a database holds.
const QUESTION: &str = "SELECT count(*), md5(string_agg(goods::text, '|' ORDER BY id)) FROM goods UNION ALL
    SELECT count(*), md5(string_agg(price::text, '|' ORDER BY goods)) FROM price UNION ALL
    SELECT count(*), string_agg(conname || pg_get_constraintdef(oid), ',' ORDER BY conname) FROM pg_constraint
        WHERE conrelid >= 16384";

/// A repository with one source in one snapshot.
struct Backup {
    scratch: Scratch,
    repository: PathBuf,
    key_file: PathBuf,
}

impl Backup {
    fn of(name: &str, engine: &dyn Engine) -> Self {
        let scratch = Scratch::new();
        let [folder, key_file] = on_disk(&scratch);
        let repository = open(std::sync::Arc::new(Local::open(&folder).unwrap()), None);
        let begin = Box::new(|listener: &_| engine.dump(listener));
        let input = SourceInput::Dumps { kind: engine.kind().to_owned(), begin, time_limit: None };
        let entry = back_up(
            &repository,
            vec![BackupSource { name: name.into(), on_failure: OnFailure::Fail, input }],
        );
        assert_eq!(entry.snapshot.findings, 0);
        Self { scratch, repository: folder, key_file }
    }

    /// Runs the program without a terminal, and without anything of the user's.
    fn restore(&self, arguments: &[&str]) -> Output {
        let home = self.scratch.join("home");
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        command.arg("-r").arg(&self.repository).arg("--key-file").arg(&self.key_file);
        command.env("HOME", &home).env_remove("XDG_CONFIG_HOME").env_remove("PGPASSWORD").env("TZ", "UTC");
        command.args(["--no-cache", "restore-database", "latest"]).args(arguments);
        command.stdin(std::process::Stdio::null()).output().unwrap()
    }

    #[track_caller]
    fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.restore(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it says when it fails with this exit code.
    #[track_caller]
    fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.restore(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    }
}

#[test]
fn a_postgresql_database_is_put_back_by_the_program_alone() {
    if postgres("that a PostgreSQL database is put back by the program alone").is_none() {
        return;
    }
    let cluster = Cluster::new(&[]);
    cluster.run("postgres", "CREATE ROLE clerk LOGIN PASSWORD 'x'");
    for name in ["shop", "other"] {
        cluster.run("postgres", &format!("CREATE DATABASE {name} OWNER clerk"));
        cluster.run(name, SHOP);
    }
    let held = cluster.run("shop", QUESTION);
    let access = Access { host: Some(cluster.host()), user: Some("postgres".into()), ..Access::default() };
    let backup = Backup::of(
        "db",
        &Postgres { access, databases: Databases::All, format: Format::Plain, options: Vec::new() },
    );
    let host = format!("host={}", cluster.host());
    let to = ["db", "--to", host.as_str(), "--to", "user=postgres"];
    let with =
        |more: &[&'static str]| -> Vec<&str> { to.iter().copied().chain(more.iter().copied()).collect() };

    // Beside the one that is there, which nobody agreed to replace.
    cluster.run("shop", "DELETE FROM price");
    let said = backup.fail(1, &with(&["--database", "shop"]));
    assert!(said.contains("shop") && said.contains("hint: --yes replaces it; --as NAME"), "{said}");
    let said = backup.succeed(&with(&["--database", "shop", "--as", "Shop of \"yesterday\""]));
    assert!(said.starts_with("restored db (postgres) of "), "{said}");
    assert_eq!(cluster.run("Shop of \"yesterday\"", QUESTION), held);
    assert_ne!(cluster.run("shop", QUESTION), held);

    // In its place.
    let said = backup.succeed(&with(&["--database", "shop", "--dry-run"]));
    assert!(said.contains("\n1. ") && said.contains("would replace the database shop"), "{said}");
    assert_ne!(cluster.run("shop", QUESTION), held);
    backup.succeed(&with(&["--database", "shop", "--yes"]));
    assert_eq!(cluster.run("shop", QUESTION), held);

    // On a server that has nothing.
    drop(cluster);
    let empty = Cluster::new(&[]);
    let said = backup.fail(1, &to);
    assert!(said.contains("error: cannot restore db\n"), "{said}");
    let host = format!("host={}", empty.host());
    backup.succeed(&["db", "--to", &host, "--to", "user=postgres"]);
    for name in ["shop", "other"] {
        assert_eq!(empty.run(name, QUESTION), held);
        let owner = format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{name}'");
        assert_eq!(empty.run("postgres", &owner), "clerk\n");
    }
}

#[test]
fn a_sqlite_database_is_put_back_by_the_program_alone() {
    let folder = Scratch::new();
    let path = folder.join("data.db");
    let fill = "CREATE TABLE goods (id INTEGER PRIMARY KEY, name TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO goods SELECT i, hex(i * 7919) FROM n;";
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(fill).unwrap();
    drop(connection);
    let held = |path: &Path| -> (i64, String) {
        let connection = rusqlite::Connection::open(path).unwrap();
        let question = "SELECT count(*), coalesce(max(name) || sum(id), '') FROM goods";
        connection.query_row(question, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    };
    let before = held(&path);
    let paths = vec![path.to_str().unwrap().to_owned()];
    let backup = Backup::of("files", &Sqlite { paths, scratch: None, memory_bytes: 64 << 20 });
    rusqlite::Connection::open(&path).unwrap().execute_batch("DELETE FROM goods").unwrap();

    let said = backup.fail(1, &["files"]);
    assert!(said.contains("would be replaced: the file "), "{said}");
    assert_eq!(held(&path).0, 0);
    let beside = folder.join("beside.db");
    backup.succeed(&["files", "--as", beside.to_str().unwrap()]);
    assert_eq!((held(&beside), held(&path).0), (before.clone(), 0));
    backup.succeed(&["files", "--yes"]);
    assert_eq!(held(&path), before);
    std::fs::remove_file(&path).unwrap();
    backup.succeed(&["files"]);
    assert_eq!(held(&path), before);
}
