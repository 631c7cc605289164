//! Tables that keep their former rows, tables that number their rows by a sequence, and databases that were made in another
//! character set than they have.
//!
//! What must hold: what is compared is what the server itself says of each former row, to the microsecond.

use packstone::source::LoadOptions;
use packstone::source::engine::{Access, Databases, Mariadb};

use super::super::Fakes;
use super::super::kept::{dump, replacing};
use super::{Server, engine};

const OLD: &str = "
CREATE DATABASE old CHARACTER SET latin1; USE old;
CREATE TABLE price (id INT PRIMARY KEY, cents INT) WITH SYSTEM VERSIONING;
CREATE TABLE sized (id INT PRIMARY KEY, size INT, since TIMESTAMP(6) GENERATED ALWAYS AS ROW START,
    until TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (since, until)) WITH SYSTEM VERSIONING;
CREATE TABLE loose (id INT) ENGINE=MyISAM WITH SYSTEM VERSIONING;
INSERT INTO price VALUES (1, 10), (2, 20); UPDATE price SET cents = cents + 1; DELETE FROM price WHERE id = 2;
INSERT INTO sized VALUES (1, 10, NULL, NULL); UPDATE sized SET size = 11; INSERT INTO loose VALUES (1); DELETE FROM loose;
CREATE SEQUENCE numbers START WITH 7;
CREATE TABLE numbered (id INT DEFAULT nextval(old.numbers), word TEXT); INSERT INTO numbered (word) VALUES ('a'), ('b');
CREATE PROCEDURE nothing() SELECT 1;
CREATE TRIGGER counting AFTER INSERT ON price FOR EACH ROW SET @count = 1;
CREATE EVENT often ON SCHEDULE EVERY 1 DAY DO SELECT 1;
ALTER DATABASE old CHARACTER SET utf8mb4;
";

const CHARACTER_SET: &str =
    "SELECT default_character_set_name FROM information_schema.schemata WHERE schema_name = ";

fn former_rows(server: &Server, database: &str) -> String {
    ["price", "sized", "loose"]
        .map(|table| {
            let columns = if table == "sized" { "*" } else { "*, row_start, row_end" };
            server.ask(&format!(
                "SELECT {columns} FROM {database}.{table} FOR SYSTEM_TIME ALL ORDER BY 1, 2, 3"
            ))
        })
        .join("\n")
}

fn of(server: &Server, databases: &[&str]) -> Mariadb {
    let databases = databases.iter().map(|name| (*name).to_owned()).collect();
    Mariadb { databases: Databases::Named(databases), ..engine(server) }
}

#[test]
fn former_rows_come_back_as_they_were() {
    let Some(server) = Server::start("former rows of MariaDB") else { return };
    server.ask(OLD);
    let old = of(&server, &["old"]);
    let before = former_rows(&server, "old");
    assert_eq!(before.lines().count(), 4 + 2 + 1, "{before}");
    let kept = dump(&old).expect("a dump");
    assert_eq!(kept.problems, [""; 0]);
    assert!(kept.consistency.ends_with("meanwhile: old.loose (MyISAM)"), "{}", kept.consistency);
    kept.load(&old, &replacing()).expect("loaded");
    assert_eq!(former_rows(&server, "old"), before);
    assert!(dump(&old).expect("a dump").bytes("old.sql") == kept.bytes("old.sql"));

    // Under another name, on a server that knows the former one no more.
    let as_copy = LoadOptions { new_name: Some("copy".into()), ..LoadOptions::default() };
    server.ask("ALTER DATABASE old CHARACTER SET utf8mb3");
    kept.load(&old, &as_copy).expect("loaded");
    assert_eq!(former_rows(&server, "copy"), before);
    assert_eq!(server.ask(&format!("{CHARACTER_SET}'copy'")), "utf8mb4");
    assert_eq!(server.ask(&format!("{CHARACTER_SET}'old'")), "utf8mb3");
    server.ask("DROP DATABASE old; DROP DATABASE copy");
    kept.load(&old, &as_copy).expect("loaded");
    server.ask("INSERT INTO copy.numbered (word) VALUES ('c')");
    assert_eq!(server.ask("SELECT id FROM copy.numbered WHERE word = 'c'"), "1007");
    assert_eq!(server.ask(&format!("{CHARACTER_SET}'copy'")), "utf8mb4");
}

#[test]
fn former_rows_that_cannot_be_dumped_are_a_problem() {
    let Some(server) = Server::start("former rows of MariaDB that cannot be dumped") else { return };
    server.ask(OLD);
    server.ask(
        "CREATE DATABASE counted; USE counted; CREATE TABLE c (a INT, b BIGINT UNSIGNED GENERATED ALWAYS AS ROW START,
             e BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (b, e)) WITH SYSTEM VERSIONING;
         CREATE TABLE d (a INT) WITH SYSTEM VERSIONING; INSERT INTO c (a) VALUES (42)",
    );
    let both = of(&server, &["counted", "old"]);
    let kept = dump(&both).expect("a dump");
    assert_eq!(
        kept.problems,
        [
            "the former rows of counted.c, counted.d are not dumped, only the present ones: the dump program knows none that \
          is counted in transactions, as that of counted.c"
        ]
    );
    let before = former_rows(&server, "old");
    kept.load(&both, &replacing()).expect("loaded");
    assert_eq!((server.ask("SELECT a FROM counted.c"), former_rows(&server, "old")), ("42".into(), before));

    let fakes = Fakes::new();
    fakes.add("mariadb", "exec mariadb \"$@\"");
    fakes.add("mariadb-dump", r#"case " $* " in *" --help "*) exec mariadb-dump --help | grep -v history ;; *) exec mariadb-dump "$@" ;; esac"#);
    let access = Access { programs: Some(fakes.folder()), ..both.access.clone() };
    let older =
        dump(&Mariadb { access, databases: Databases::Named(vec!["old".into()]), ..both }).expect("a dump");
    assert_eq!(
        older.problems,
        [
            "the former rows of old.loose, old.price, old.sized are not dumped, only the present ones: client and server must \
          be of MariaDB 10.11 or later"
        ]
    );
    assert!(fakes.calls().iter().all(|call| !call.contains("--dump-history")));
}
