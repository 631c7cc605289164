//! PostgreSQL: whole servers, by their real clients.
//!
//! What must hold: what comes back is of one moment, though a writer was at it all the time; what fails is no dump.

mod failures;
mod replacing;
mod whole_server;

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use packstone::base::ErrorKind;
use packstone::source::engine::postgres::Format;
use packstone::source::engine::{Access, Container, Databases, Postgres};
use packstone::source::{Dumps, Engine, LoadOptions};

use super::{Fakes, deaf, listener, load, password, said, stored, until, whole};
use crate::support::is_root;
use crate::support::need::postgres;
use crate::support::servers::postgres::Cluster;

/// A name that needs quotes wherever it goes.
const ODD: &str = "it's \"an\" odd/name = 漢 \\x";

/// Accounts between which money goes about, with a journal of it: at any one moment they agree.
const SHOP: &str = r#"
CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL CHECK (balance > -1000000));
INSERT INTO account SELECT id, 1000 FROM generate_series(1, 50) AS id;
CREATE TABLE journal (id bigserial PRIMARY KEY, source int NOT NULL REFERENCES account,
    target int NOT NULL REFERENCES account, amount int NOT NULL);
CREATE TABLE goods (id int PRIMARY KEY, name text UNIQUE, facts jsonb, picture bytea);
INSERT INTO goods SELECT id, E'stone\\ \t' || id, jsonb_build_object('hash', md5(id::text)),
    decode(repeat(md5(id::text), 20), 'hex') FROM generate_series(1, 5000) AS id;
INSERT INTO goods VALUES (0, E'\\.\n', NULL, NULL);
SELECT lo_from_bytea(4711, decode(repeat('00ff7f', 3000), 'hex'));
CREATE FUNCTION odd() RETURNS text LANGUAGE sql AS $$ SELECT 'CREATE DATABASE x;
CREATE DATABASE shop;
\connect x
GRANT ALL ON DATABASE shop TO x;' $$;
CREATE SCHEMA clerk AUTHORIZATION clerk;
CREATE TABLE clerk.note (text text);
"#;

/// The sum of all money, and how many accounts do not agree with the journal.
const INVARIANT: &str = "SELECT sum(balance), (SELECT count(*) FROM account WHERE balance <> 1000 +
    coalesce((SELECT sum(amount) FROM journal WHERE target = account.id), 0) -
    coalesce((SELECT sum(amount) FROM journal WHERE source = account.id), 0)) FROM account";

/// What does not change while there is a writer.
const FIXED: [&str; 6] = [
    "SELECT count(*), md5(string_agg(goods::text, '|' ORDER BY id)) FROM goods",
    "SELECT md5(lo_get(4711)), odd()",
    "SELECT string_agg(conrelid::regclass || conname || pg_get_constraintdef(oid), ',' ORDER BY conname) FROM pg_constraint
        WHERE conrelid >= 16384",
    "SELECT datacl, pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'), encoding, datcollate, datctype
        FROM pg_database WHERE datname = current_database()",
    "SELECT setdatabase <> 0, setrole::regrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2",
    "SELECT string_agg(nspname || nspowner::regrole, ',' ORDER BY nspname) FROM pg_namespace WHERE oid >= 16384",
];

/// Roles with their passwords, and who is in which.
const ROLES: &str = "SELECT string_agg(rolname || rolsuper || rolcanlogin || coalesce(rolpassword, ''), ',' ORDER BY rolname)
    FROM pg_authid WHERE oid >= 16384 UNION ALL
    SELECT string_agg(roleid::regrole || ' ' || member::regrole, ',' ORDER BY roleid) FROM pg_auth_members WHERE roleid >= 16384";

fn engine(cluster: &Cluster) -> Postgres {
    let access = Access { host: Some(cluster.host()), user: Some("postgres".into()), ..Access::default() };
    Postgres { access, databases: Databases::All, format: Format::Plain, options: Vec::new() }
}

/// A server with databases of all kinds of names, and roles.
fn filled() -> Cluster {
    let cluster = Cluster::new(&[]);
    for statement in [
        "CREATE ROLE clerk LOGIN PASSWORD 'clerk''s password'",
        r#"CREATE ROLE "My ""group""" NOLOGIN"#,
        r#"GRANT "My ""group""" TO clerk"#,
        "ALTER ROLE clerk SET statement_timeout TO 12345",
        "CREATE DATABASE shop OWNER clerk TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'",
        "COMMENT ON DATABASE shop IS 'the shop; of ours'",
        "ALTER DATABASE shop SET work_mem TO '5MB'",
        "ALTER ROLE clerk IN DATABASE shop SET work_mem TO '6MB'",
        r#"GRANT CREATE ON DATABASE shop TO "My ""group""""#,
        "CREATE DATABASE globals",
        r#"CREATE DATABASE ".hidden" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"#,
        r#"CREATE DATABASE "it's ""an"" odd/name = 漢 \x""#,
        "CREATE DATABASE closed ALLOW_CONNECTIONS false",
    ] {
        cluster.run("postgres", statement);
    }
    cluster.run("shop", SHOP);
    cluster.run(ODD, "CREATE TABLE \"Odd 漢\" (id int); INSERT INTO \"Odd 漢\" VALUES (1), (2)");
    cluster.run(".hidden", "CREATE TABLE word (text text); INSERT INTO word VALUES (E'na\\u00efve')");
    cluster
}

/// Moves money about until it is stopped.
struct Writer(Child);

impl Writer {
    fn start(cluster: &Cluster) -> Self {
        let transfer = "BEGIN; SELECT 1 + (random() * 48)::int AS a, 50 AS b, (random() * 9)::int AS n \\gset\n\
            UPDATE account SET balance = balance - :n WHERE id = :a; UPDATE account SET balance = balance + :n \
            WHERE id = :b; INSERT INTO journal (source, target, amount) VALUES (:a, :b, :n); COMMIT;\n";
        let mut psql = cluster.psql("shop").stdin(Stdio::piped()).spawn().expect("psql can be started");
        let mut input = psql.stdin.take().expect("a pipe");
        std::thread::spawn(move || while input.write_all(transfer.as_bytes()).is_ok() {});
        let writer = Self(psql);
        while cluster.run("shop", "SELECT count(*) FROM journal WHERE id > 20") == "0\n" {}
        writer
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// Dumps that are whole, while the shop of which they are goes on: it takes on more after each of them was begun.
#[track_caller]
fn whole_meanwhile(dumps: Dumps, cluster: &Cluster) -> Vec<(String, Vec<u8>)> {
    let entries =
        || -> u64 { cluster.run("shop", "SELECT count(*) FROM journal").trim().parse().expect("a number") };
    let read = |dump: packstone::source::Dump| {
        let mut open = (dump.open)().expect("it begins");
        let mut bytes = vec![0];
        open.reader.read_exact(&mut bytes).expect("a part");
        let before = entries();
        until(|| entries() > before + 5);
        open.reader.read_to_end(&mut bytes).expect("the rest");
        (open.end)().expect("it is whole");
        (dump.name, bytes)
    };
    dumps.dumps.into_iter().map(read).collect()
}

#[track_caller]
fn assert_same(one: &Cluster, database: &str, other: &Cluster, other_database: &str) {
    for question in FIXED {
        assert_eq!(one.run(database, question), other.run(other_database, question), "{question}");
    }
}

/// Journal entries, after the balances were found to agree with them.
#[track_caller]
fn agreed(cluster: &Cluster, database: &str) -> u64 {
    assert_eq!(cluster.run(database, INVARIANT), "50000|0\n");
    let entries = cluster.run(database, "SELECT count(*) FROM journal");
    entries.trim().parse().expect("a number")
}

fn comes_back(format: Format) {
    let source = filled();
    let engine_of_source = Postgres { format, ..engine(&source) };
    let writer = Writer::start(&source);
    let (told, lines) = listener();
    let dumps = engine_of_source.dump(&told).expect("dumps");
    assert!(
        dumps.consistency.starts_with("each database in one transaction (pg_dump "),
        "{}",
        dumps.consistency
    );
    let closed = "the database closed is not dumped: it allows no connections; \"ALTER DATABASE \"closed\" \
        ALLOW_CONNECTIONS true\" takes it in, naming the others in databases leaves it out";
    assert_eq!(dumps.problems, [closed]);
    let dumps = whole_meanwhile(dumps, &source);
    let later = source.run("shop", "SELECT count(*) FROM journal");
    drop(writer);
    let end = if format == Format::Plain { "sql" } else { "dump" };
    let names: Vec<&str> = dumps.iter().map(|(name, _)| name.as_str()).collect();
    let wanted = ["%2Ehidden", "%67lobals", "it's \"an\" odd%2Fname = 漢 \\x", "postgres", "shop"];
    let wanted: Vec<String> = wanted.iter().map(|name| format!("{name}.{end}")).collect();
    assert_eq!(names[0], "globals.sql");
    assert_eq!(names[1..], wanted);
    assert_eq!(*lines.lock().unwrap(), [""; 0]);

    let target = Cluster::new(&[]);
    let engine_of_target = engine(&target);
    let (told, lines) = listener();
    let (done, replaced) =
        load(&engine_of_target, &dumps, &LoadOptions::default(), &told).expect("everything comes back");
    assert_eq!(replaced, [""; 0], "an empty server has nothing to lose");
    assert_eq!(done.len(), 1 + 2 * 5);
    assert_eq!(done[0], "restore roles and tablespaces from globals.sql");
    assert_eq!(
        done[7],
        format!("restore the database postgres from postgres.{end}, in place of the empty one")
    );
    assert_eq!(
        done[9..],
        [format!("restore the database shop from shop.{end}"), "analyse the database shop".into()]
    );
    let kept = "the role postgres is there already and keeps its password and attributes";
    assert_eq!(*lines.lock().unwrap(), [kept]);

    let entries = agreed(&target, "shop");
    assert!(
        entries > 20 && entries <= later.trim().parse().expect("a number"),
        "{entries} entries, {later} later"
    );
    assert_same(&source, "shop", &target, "shop");
    assert_eq!(source.run("postgres", ROLES), target.run("postgres", ROLES));
    assert_eq!(target.run(ODD, "SELECT sum(id) FROM \"Odd 漢\""), "3\n");
    assert_eq!(
        target.run(".hidden", "SET client_encoding TO 'UTF8'; SELECT text FROM word; SHOW server_encoding"),
        "naïve\nLATIN1\n"
    );
    // The next number of a sequence is a new one.
    target.run("shop", "INSERT INTO journal (source, target, amount) VALUES (1, 2, 0)");
    println!("{entries} entries came back of {}", later.trim());

    replaces_only_what_it_may(&target, &engine_of_target, &dumps);
}

/// On a server that has everything already.
fn replaces_only_what_it_may(target: &Cluster, engine: &Postgres, dumps: &[(String, Vec<u8>)]) {
    let before = agreed(target, "shop");
    let shop = |may_replace, new_name: Option<&str>| LoadOptions {
        databases: vec!["shop".into()],
        new_name: new_name.map(str::to_owned),
        may_replace,
    };
    let plan = engine.load(&stored(dumps), &shop(true, None), &deaf()).expect("a plan");
    assert_eq!(plan.replaced.len(), 1);
    assert!(plan.replaced[0].starts_with("the database shop, which has 4 tables ("), "{:?}", plan.replaced);
    let refused = load(engine, dumps, &shop(false, None), &deaf()).expect_err("it is there");
    assert_eq!(refused.kind(), ErrorKind::Exists, "{refused:?}");
    assert_eq!(agreed(target, "shop"), before);

    // Beside it, under a name that needs quotes; what is said of the database as a whole is said of the new one.
    let new = "copy of \"shop\" isn't";
    let (done, replaced) = load(engine, dumps, &shop(false, Some(new)), &deaf()).expect("a copy");
    assert_eq!((done.len(), replaced.len()), (2, 0), "roles stay as they are");
    assert_eq!(agreed(target, "shop"), before, "it is untouched");
    assert_eq!(agreed(target, new), before - 1);
    for question in FIXED.iter().filter(|question| !question.contains("setdatabase")) {
        assert_eq!(target.run("shop", question), target.run(new, question), "{question}");
    }
    let settings = "SELECT setrole::regrole, setconfig FROM pg_db_role_setting JOIN pg_database ON setdatabase = \
        pg_database.oid WHERE datname = current_database() ORDER BY 1";
    assert_eq!(target.run("shop", settings), target.run(new, settings));
    let there = load(engine, dumps, &shop(false, Some(ODD)), &deaf()).expect_err("it is there");
    assert_eq!(there.kind(), ErrorKind::Exists);

    fails_without_loss(target, engine, dumps);

    // In its place, while somebody is in it; the password of a role that is there stays.
    target.run("postgres", "ALTER ROLE clerk PASSWORD 'another'");
    let roles = target.run("postgres", ROLES);
    let mut guest = target.psql("shop").stdin(Stdio::piped()).spawn().expect("psql can be started");
    load(engine, dumps, &shop(true, None), &deaf()).expect("it is replaced");
    assert_eq!(agreed(target, "shop"), before - 1);
    assert_eq!(target.run("postgres", ROLES), roles);
    drop(guest.stdin.take());
    guest.wait().expect("it ends");
}

/// A dump that breaks off half-way leaves what was there.
fn fails_without_loss(target: &Cluster, engine: &Postgres, dumps: &[(String, Vec<u8>)]) {
    let names = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database";
    let (before, there) = (agreed(target, "shop"), target.run("postgres", names));
    let mut damaged = dumps.to_vec();
    let (_, bytes) = damaged.iter_mut().find(|(name, _)| name.starts_with("shop.")).expect("a dump");
    bytes.truncate(bytes.len() / 2);
    bytes.extend_from_slice(b"\n\\.\nSELECT no_such_column;\n");
    let options = LoadOptions { databases: vec!["shop".into()], new_name: None, may_replace: true };
    let failed = load(engine, &damaged, &options, &deaf()).expect_err("half of a dump");
    assert!(said(&failed).contains("the database shop is as it was"), "{failed:?}");
    assert_eq!(agreed(target, "shop"), before);
    assert_eq!(target.run("postgres", names), there);

    if damaged.iter().any(|(name, _)| name.ends_with(".dump")) {
        let fakes = Fakes::new();
        fakes.add("psql", "exec psql \"$@\"");
        let mut clientless = engine.clone();
        clientless.access.programs = Some(fakes.folder());
        let failed = load(&clientless, dumps, &options, &deaf()).expect_err("pg_restore is missing");
        assert!(said(&failed).contains("there is no program pg_restore"), "{failed:?}");
        assert!(fakes.calls().iter().all(|call| !call.contains("RENAME")), "{:#?}", fakes.calls());
    }

    // What is no table is something as well.
    target.run("postgres", "CREATE DATABASE seemingly_empty");
    target.run("seemingly_empty", "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO clerk");
    let new_name = Some("seemingly_empty".to_owned());
    let options = LoadOptions { new_name, may_replace: false, ..options };
    let refused = load(engine, dumps, &options, &deaf()).expect_err("it has privileges");
    assert_eq!(refused.kind(), ErrorKind::Exists, "{refused:?}");
    target.run("postgres", "DROP DATABASE seemingly_empty");
}

#[test]
fn a_server_comes_back_from_text() {
    if postgres("that a PostgreSQL server comes back from text").is_some() {
        comes_back(Format::Plain);
    }
}

#[test]
fn a_server_comes_back_from_its_own_format() {
    if postgres("that a PostgreSQL server comes back from its own format").is_some() {
        comes_back(Format::Custom);
    }
}

#[test]
fn a_server_comes_back_from_its_files() {
    let Some(_) = postgres("that a PostgreSQL server comes back from its files") else { return };
    let source = filled();
    let engine = Postgres { format: Format::BaseBackup, ..engine(&source) };
    let writer = Writer::start(&source);
    let dumps = engine.dump(&deaf()).expect("dumps");
    assert!(dumps.consistency.starts_with("the files of the whole server"), "{}", dumps.consistency);
    let dumps = whole_meanwhile(dumps, &source);
    drop(writer);
    assert_eq!(dumps.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["base.tar"]);

    let folder = source.join("new folder");
    let to = |name: &str| LoadOptions { new_name: Some(name.to_owned()), ..LoadOptions::default() };
    let path = folder.to_str().expect("text");
    let (told, lines) = listener();
    let (done, _) = load(&engine, &dumps, &to(path), &told).expect("it is unpacked");
    assert_eq!(done, [format!("unpack base.tar into the new folder {path}")]);
    assert!(lines.lock().unwrap()[0].ends_with(&format!("pg_ctl --pgdata={path} start")));
    for (name, kind) in [("relative", ErrorKind::Usage), (path, ErrorKind::Exists)] {
        let refused = engine.load(&stored(&dumps), &to(name), &deaf()).map(drop).expect_err("refused");
        assert_eq!(refused.kind(), kind);
    }
    let again = Cluster::of_files(&folder);
    let entries = agreed(&again, "shop");
    assert!(entries > 20);
    assert_same(&source, "shop", &again, "shop");
    assert_eq!(source.run("postgres", ROLES), again.run("postgres", ROLES));
    println!("{entries} entries came back in files");
}

#[test]
fn only_named_databases_are_dumped_and_a_missing_one_is_told() {
    let Some(host) = postgres("that named databases are dumped") else { return };
    let access = Access { host: Some(host), user: Some("postgres".into()), ..Access::default() };
    let named = |names: &[&str]| Postgres {
        access: access.clone(),
        databases: Databases::Named(names.iter().map(|name| (*name).to_owned()).collect()),
        format: Format::Plain,
        options: vec!["--exclude-table=old".into(), "-O".into()],
    };
    let dumps = named(&["postgres", "no such database", "postgres"]).dump(&deaf()).expect("dumps");
    let end = "; without what the options leave out: --exclude-table, --no-owner";
    assert!(dumps.consistency.ends_with(end), "{}", dumps.consistency);
    assert_eq!(dumps.problems, ["the server has no database no such database"]);
    let names: Vec<&str> = dumps.dumps.iter().map(|dump| dump.name.as_str()).collect();
    assert_eq!(names, ["globals.sql", "postgres.sql"]);
    let none = named(&["no such database"]).dump(&deaf()).err().expect("nothing is left");
    assert_eq!(none.kind(), ErrorKind::NotFound);
}

#[test]
fn clients_run_as_the_user_whom_the_server_knows() {
    const WHAT: &str = "that PostgreSQL's clients run as another user";
    if postgres(WHAT).is_none() || !is_root(WHAT) {
        return;
    }
    let cluster = Cluster::new(&["local all all peer"]);
    let mut engine = engine(&cluster);
    let refused = engine.dump(&deaf()).err().expect("root is not the user postgres");
    assert!(said(&refused).contains("the server does not accept this user or password"), "{refused:?}");
    engine.access.run_as = Some("postgres".into());
    let dumps = whole(engine.dump(&deaf()).expect("dumps"));
    let (done, _) = load(&engine, &dumps, &LoadOptions::default(), &deaf()).expect("everything comes back");
    assert_eq!(done.len(), 3);
    engine.access.user = None;
    engine.dump(&deaf()).expect("it is the name of the user of the system");
}

/// How `docker` is called for a client that asks the server.
const DOCKER: &str = "docker exec -i -u postgres --env LC_ALL=C --env PGCONNECT_TIMEOUT=60";
/// What is played to be in the container.
const SECRET: &str = "s3cret: pass\\word";

/// A server that wants a password, as if it were in a container.
fn contained() -> (Cluster, Fakes, Postgres) {
    let cluster = Cluster::new(&["local postgres postgres trust", "local all postgres scram-sha-256"]);
    cluster.run("postgres", &format!("ALTER ROLE postgres PASSWORD '{SECRET}'"));
    cluster.run("postgres", "CREATE DATABASE shop");
    let fakes = Fakes::new();
    fakes.add_docker(&format!("PGHOST={} 'POSTGRES_PASSWORD={SECRET}'", cluster.host()));
    let container = Container { name: "db".into(), program: fakes.folder() + "/docker" };
    let access = Access {
        container: Some(container),
        run_as: Some("postgres".into()),
        user: Some("postgres".into()),
        ..Access::default()
    };
    let databases = Databases::Named(vec!["shop".into()]);
    let engine = Postgres { access, databases, format: Format::Plain, options: Vec::new() };
    (cluster, fakes, engine)
}

#[test]
fn clients_in_a_container_are_given_a_password_by_name() {
    let Some(_) = postgres("that PostgreSQL's clients run in a container") else { return };
    let (_cluster, fakes, mut engine) = contained();
    engine.access.password = Some(password(SECRET));
    assert_eq!(whole(engine.dump(&deaf()).expect("dumps")).len(), 2);
    let asked = "--env PGCLIENTENCODING=SQL_ASCII --env PGPASSWORD db psql --username=postgres --no-password \
        --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=VERBOSITY=terse --dbname=dbname=\\'postgres\\' \
        --tuples-only --no-align --field-separator-zero --record-separator-zero";
    let about = r"--command=SELECT\ current_setting\(\'server_version\'\)\,\ has_table_privilege\(\'pg_catalog.pg_authid\'\,\ \'SELECT\'\)\,\ \(SELECT\ rolsuper\ FROM\ pg_catalog.pg_roles\ WHERE\ rolname\ =\ current_user\)";
    let listed = r"--command=SELECT\ datname\,\ datallowconn\,\ datistemplate\,\ datconnlimit\ =\ -2\ FROM\ pg_catalog.pg_database\ ORDER\ BY\ 1";
    let with = "--env PGPASSWORD db";
    assert_eq!(
        fakes.calls(),
        [
            format!("{DOCKER} {asked} {about}"),
            format!("{DOCKER} {asked} {listed}"),
            "docker exec -i -u postgres --env LC_ALL=C db pg_dump --version".to_owned(),
            "docker exec -i -u postgres --env LC_ALL=C db pg_dumpall --version".to_owned(),
            format!("{DOCKER} {with} pg_dumpall --username=postgres --no-password --globals-only"),
            format!(
                "{DOCKER} {with} pg_dump --username=postgres --no-password --dbname=dbname=\\'shop\\' \
             --lock-wait-timeout=30min --format=plain --create"
            ),
        ]
    );
    let variables = std::fs::read_to_string(fakes.join("variables")).expect("variables");
    assert_eq!(variables, "PGPASSWORD is set\n".repeat(4));
}

#[test]
fn clients_in_a_container_take_its_own_password() {
    let Some(_) = postgres("that PostgreSQL's clients take the password of a container") else { return };
    let (cluster, fakes, mut engine) = contained();
    engine.access.container_password = Some("POSTGRES_PASSWORD".into());
    engine.format = Format::Custom;
    let dumps = whole(engine.dump(&deaf()).expect("dumps"));
    let calls = fakes.calls();
    let script = r#"export\ PGPASSWORD=\"\$\{POSTGRES_PASSWORD\?\}\"\;\ exec\ \"\$@\""#;
    for wanted in [
        "docker exec -i -u postgres --env LC_ALL=C db pg_restore --file=/dev/null".to_owned(),
        format!(
            "{DOCKER} db sh -c {script} sh pg_dump --username=postgres --no-password --dbname=dbname=\\'shop\\' \
             --lock-wait-timeout=30min --format=custom --compress=0"
        ),
    ] {
        // They start at the same time.
        assert!(calls[calls.len() - 2..].contains(&wanted), "{wanted} is not in {calls:#?}");
    }
    let new_name = Some("again".into());
    let options = LoadOptions { databases: vec!["shop".into()], new_name, may_replace: false };
    load(&engine, &dumps, &options, &deaf()).expect("it is put back");
    let restores =
        "docker exec -i -u postgres --env LC_ALL=C db pg_restore --create --exit-on-error --file=-";
    assert!(fakes.calls().iter().any(|call| call == restores), "{:#?}", fakes.calls());
    assert!(fakes.calls().iter().all(|call| !call.contains("s3cret")), "{:#?}", fakes.calls());
    assert_eq!(cluster.run("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'again'"), "1\n");
}
