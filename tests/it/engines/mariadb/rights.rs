//! What users see who may not do everything.
//!
//! What must hold: the dump of a user without problems is, byte by byte, the one of root; what a problem asks for is enough.

use packstone::source::engine::{Access, Databases, Mariadb};
use packstone::source::{Engine, LoadOptions};

use super::super::kept::{Kept, dump, keep, listening, printing};
use super::{Server, engine, said, server};

const DOCUMENTATION: &str = include_str!("../../../../docs/databases/mariadb.md");

fn of_user(server: &Server, user: &str) -> Mariadb {
    let access = Access { socket: Some(server.socket()), user: Some(user.into()), ..Access::default() };
    Mariadb {
        access,
        databases: Databases::Named(vec!["odd/na`me%.".into(), "shop".into()]),
        ..engine(server)
    }
}

fn statements(problems: &[String]) -> Vec<&str> {
    problems
        .iter()
        .filter_map(|problem| problem.split_once("GRANT "))
        .map(|(_, statement)| statement)
        .collect()
}

#[track_caller]
fn is_like_root(kept: &Kept, of_root: &Kept) {
    assert_eq!(kept.problems, [""; 0]);
    assert_eq!(kept.dumps.len(), of_root.dumps.len());
    for (one, other) in kept.dumps.iter().zip(&of_root.dumps) {
        assert!(one.1 == other.1, "{} differs", one.0.name);
    }
}

#[test]
fn the_documented_user_sees_everything() {
    let Some(server) = server() else { return };
    let (_, rest) = DOCUMENTATION.split_once("```sql\n-- MariaDB").expect("statements");
    let (statements, _) = rest.split_once("\n```").expect("their end");
    let (_, statements) = statements.split_once('\n').expect("statements");
    server.ask(statements);
    server.ask("SET PASSWORD FOR backup@localhost = ''");
    let of_root = dump(&engine(&server)).expect("a dump");
    let mut all = of_user(&server, "backup");
    is_like_root(&dump(&all).expect("a dump"), &of_root);
    all.databases = Databases::All;
    is_like_root(&dump(&all).expect("a dump"), &of_root);
    // It cannot put anything back, which is not said to be for the password.
    let beside = LoadOptions {
        databases: vec!["shop".into()],
        new_name: Some("copy".into()),
        ..LoadOptions::default()
    };
    let only_shop = Kept {
        dumps: of_root.dumps.iter().filter(|(dump, _)| dump.name != "users.sql").cloned().collect(),
        ..of_root
    };
    let error = said(&only_shop.load(&all, &beside).expect_err("it may only read"));
    assert!(
        error.contains("this user may not do that\nERROR 1044") && !error.contains("password"),
        "{error}"
    );
    // The same for one database alone.
    let narrowed = statements.replace("ON *.*", "ON `shop`.*").replace("backup@", "narrow@");
    server.ask(&format!(
        "{narrowed}; SET PASSWORD FOR narrow@localhost = ''; GRANT SELECT ON mysql.* TO narrow@localhost"
    ));
    let narrow = Mariadb { databases: Databases::Named(vec!["shop".into()]), ..of_user(&server, "narrow") };
    let kept = dump(&narrow).expect("a dump");
    assert_eq!(kept.problems, [""; 0]);
    assert!(kept.bytes("shop.sql") == dump(&engine(&server)).expect("a dump").bytes("shop.sql"));
}

#[test]
fn whoever_has_the_rights_is_not_told_to_get_them() {
    let Some(server) = server() else { return };
    server.ask(
        "CREATE USER a@localhost; GRANT ALL ON *.* TO a@localhost;
         CREATE USER r@localhost; CREATE ROLE sees; CREATE ROLE dumps; GRANT sees TO dumps; GRANT dumps TO r@localhost;
         GRANT SELECT, SHOW VIEW ON *.* TO sees; GRANT TRIGGER, EVENT ON *.* TO dumps;
         SET DEFAULT ROLE dumps FOR r@localhost;
         CREATE USER p@localhost; GRANT ALL ON `sh%`.* TO p@localhost; GRANT ALL ON `odd/na``me\\%.`.* TO p@localhost;
         GRANT SELECT ON mysql.* TO p@localhost",
    );
    let of_root = dump(&engine(&server)).expect("a dump");
    for user in ["root", "a", "r", "p"] {
        println!("{user}");
        is_like_root(&dump(&of_user(&server, user)).expect("a dump"), &of_root);
    }
    // What a role gives that is not in effect is not seen.
    server.ask("SET DEFAULT ROLE NONE FOR r@localhost");
    let seen =
        dump(&Mariadb { databases: Databases::All, ..of_user(&server, "r") }).expect("nothing to dump");
    assert!(
        seen.dumps.is_empty() && seen.problems[0].contains("GRANT SELECT ON `mysql`.*"),
        "{:?}",
        seen.problems
    );
}

#[test]
fn what_is_hidden_is_named_with_the_statement_that_shows_it() {
    let Some(server) = server() else { return };
    let of_root = dump(&engine(&server)).expect("a dump");
    server.ask(
        "CREATE USER few@localhost; GRANT SELECT, SHOW VIEW ON shop.* TO few@localhost;
         GRANT SELECT ON `odd/na``me%.`.`t``t` TO few@localhost;",
    );
    let few = of_user(&server, "few");
    // Without the right on events all the rest is dumped.
    let kept = dump(&few).expect("a dump");
    let text = String::from_utf8_lossy(kept.bytes("shop.sql"));
    for (word, is_there) in
        [("VIEW `rich`", true), ("TRIGGER counting", false), ("EVENT `often`", false), ("`nothing`", false)]
    {
        assert_eq!(text.contains(word), is_there, "{word}");
    }
    let hidden = "the server hides";
    let not_dumped = "from this user, and the dump has none of these:";
    let odd = "GRANT SELECT, TRIGGER, EVENT ON `odd/na``me\\%.`.* TO `few`@`localhost`;";
    assert_eq!(
        kept.problems[..3],
        [
            format!("{hidden} tables, triggers, events of the database odd/na`me%. {not_dumped} {odd}"),
            format!(
                "{hidden} triggers, events of the database shop {not_dumped} \
                 GRANT TRIGGER, EVENT ON `shop`.* TO `few`@`localhost`;"
            ),
            format!(
                "{hidden} routines of the database odd/na`me%., shop {not_dumped} \
                 GRANT SELECT ON `mysql`.`proc` TO `few`@`localhost`;"
            ),
        ]
    );
    assert_eq!(kept.problems.len(), 3);
    // Of all databases the users are a part; of some they are not.
    let users = "GRANT SELECT ON `mysql`.* TO `few`@`localhost`;";
    assert!(kept.consistency.contains("; without users"), "{}", kept.consistency);
    let all = dump(&Mariadb { databases: Databases::All, ..few.clone() }).expect("a dump");
    assert!(all.problems.last().is_some_and(|problem| problem.ends_with(users)), "{:?}", all.problems);
    assert!(!all.consistency.contains("without users"), "{}", all.consistency);
    // One after the other is given, and of each the rest stays.
    for (statement, left) in statements(&kept.problems).into_iter().zip((0..3).rev()) {
        server.ask(&format!("GRANT {statement}"));
        let again = dump(&few).expect("a dump");
        assert_eq!(again.problems.len(), left, "{statement}: {:?}", again.problems);
    }
    server.ask(users);
    let kept = dump(&few).expect("a dump");
    assert_eq!(kept.problems, [""; 0]);
    assert!(!kept.consistency.contains("without users"), "{}", kept.consistency);
    assert!(kept.bytes("shop.sql") == of_root.bytes("shop.sql"));

    // Where there are views, their dump is refused: said before, and in plain words.
    server.ask("CREATE USER blind@localhost; GRANT SELECT, TRIGGER, EVENT ON *.* TO blind@localhost");
    let blind = Mariadb { databases: Databases::Named(vec!["shop".into()]), ..of_user(&server, "blind") };
    let dumps = blind.dump(&printing()).expect("dumps");
    assert_eq!(statements(&dumps.problems), ["SHOW VIEW ON `shop`.* TO `blind`@`localhost`;"]);
    let error = said(&dump(&blind).expect_err("views"));
    assert!(
        error.contains("this user may not do that") && error.contains("SHOW VIEW command denied"),
        "{error}"
    );
    server.ask("GRANT SHOW VIEW ON shop.* TO blind@localhost");
    assert_eq!(dump(&blind).expect("a dump").problems, [""; 0]);
    // A view that calls a function needs the right to call it.
    server.ask("CREATE FUNCTION shop.one() RETURNS INT DETERMINISTIC RETURN 1; CREATE VIEW shop.ones AS SELECT shop.one()");
    let error = said(&dump(&blind).expect_err("a function"));
    assert!(
        error.contains("this user may not do that") && error.contains("execute command denied"),
        "{error}"
    );
    server.ask("GRANT EXECUTE ON FUNCTION shop.one TO blind@localhost");
    assert_eq!(dump(&blind).expect("a dump").problems, [""; 0]);
}

/// As the official image makes it by `MARIADB_USER` and `MARIADB_DATABASE`.
#[test]
fn the_own_user_of_a_database_dumps_it_without_findings() {
    let Some(server) = server() else { return };
    // Only its definer sees what is in a routine.
    server
        .ask("CREATE USER own@localhost; GRANT ALL ON shop.* TO own@localhost; DROP PROCEDURE shop.nothing");
    let own = Mariadb { databases: Databases::Named(vec!["shop".into()]), ..of_user(&server, "own") };
    let of_root = dump(&engine(&server)).expect("a dump");
    let (listener, told) = listening();
    let kept = keep(own.dump(&listener).expect("dumps")).expect("a dump");
    assert_eq!(kept.problems, [""; 0]);
    assert!(kept.consistency.contains("; without users"), "{}", kept.consistency);
    let line =
        "users are not dumped, this user may not read them: GRANT SELECT ON `mysql`.* TO `own`@`localhost`;";
    assert!(told.lock().expect("no panic").iter().any(|told| told == line), "{told:?}");
    assert_eq!(kept.dumps.len(), 1);
    assert!(kept.bytes("shop.sql") == of_root.bytes("shop.sql"));
}

#[test]
fn how_a_server_quotes_names_by_itself_is_no_matter() {
    let Some(server) = server() else { return };
    server.ask(
        "CREATE USER p@localhost; GRANT ALL ON shop.* TO p@localhost; GRANT SELECT ON mysql.* TO p@localhost",
    );
    let engine = Mariadb { databases: Databases::Named(vec!["shop".into()]), ..of_user(&server, "p") };
    let of_usual = dump(&engine).expect("a dump");
    for mode in ["ANSI", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "ORACLE"] {
        server.ask(&format!("SET GLOBAL sql_mode = '{mode}'"));
        is_like_root(&dump(&engine).expect("a dump"), &of_usual);
    }
    server.ask("SET GLOBAL sql_quote_show_create = 0");
    let unquoted = dump(&engine).expect("a dump");
    assert_eq!(unquoted.problems, [""; 0]);
    assert!(unquoted.bytes("users.sql") == of_usual.bytes("users.sql"));
}
