//! Users that a server does not take, and rights that everybody has.
//!
//! What must hold: one who cannot be made keeps neither the others nor the databases back, and is named at the end.

use super::super::kept::{dump, replacing};
use super::{Server, engine, moves_of, said, server};

#[test]
fn a_user_whom_the_server_does_not_take_keeps_nothing_else_back() {
    let Some(server) = server() else { return };
    let engine = engine(&server);
    let mut kept = dump(&engine).expect("a dump");
    // As from a server that has the plugin.
    let made =
        "-- of `ed`@`%`\nCREATE USER IF NOT EXISTS `ed`@`%` IDENTIFIED VIA nowhere USING 'secret-hash';\n";
    let given = "-- of `ed`@`%`\nGRANT USAGE ON *.* TO `ed`@`%` IDENTIFIED VIA nowhere USING 'secret-hash';\n\
                 GRANT SELECT ON `shop`.* TO `ed`@`%`;\n";
    for (dump, bytes) in &mut kept.dumps {
        if dump.name == "users.sql" {
            let text = String::from_utf8(bytes.clone()).expect("text");
            let text = text.replacen("-- of ", &format!("{made}-- of "), 1);
            *bytes = text.replace("-- Dump completed", &format!("{given}-- Dump completed")).into_bytes();
        }
    }
    server.ask("DROP USER app@localhost; DROP ROLE reader; DROP DATABASE shop");
    let error = said(&kept.load(&engine, &replacing()).expect_err("one is not there"));
    assert!(error.contains("1 of the users could not be made: `ed`@`%`"), "{error}");
    assert!(!error.contains("of the rights") && !error.contains("secret-hash"), "{error}");
    assert_eq!(moves_of(&server, "shop"), 0);
    assert!(server.ask("SHOW GRANTS FOR app@localhost").contains("reader"));
    assert_eq!(server.ask("SELECT count(*) FROM mysql.user WHERE user = 'ed'"), "0");
}

#[test]
fn what_everybody_may_do_comes_back() {
    let Some(server) = server() else { return };
    let version = server.ask("SELECT VERSION()");
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
    if (numbers.next(), numbers.next()) < (Some(10), Some(11)) {
        println!("MariaDB {version} gives no rights to everybody");
        return;
    }
    server.ask("GRANT SELECT ON shop.account TO PUBLIC; GRANT SHOW VIEW ON shop.* TO PUBLIC");
    let engine_of = |server: &Server| engine(server);
    let kept = dump(&engine_of(&server)).expect("a dump");
    assert_eq!(kept.problems, [""; 0]);
    let Some(empty) = Server::start("rights of everybody") else { return };
    kept.load(&engine_of(&empty), &replacing()).expect("loaded");
    let given = empty.ask("SHOW GRANTS FOR PUBLIC");
    assert_eq!(given, server.ask("SHOW GRANTS FOR PUBLIC"));
    assert!(given.contains("SHOW VIEW ON `shop`.*") && given.contains("`account`"), "{given}");
    // Who has some already keeps them as they are.
    empty.ask("REVOKE SHOW VIEW ON shop.* FROM PUBLIC");
    kept.load(&engine_of(&empty), &replacing()).expect("loaded");
    assert!(!empty.ask("SHOW GRANTS FOR PUBLIC").contains("SHOW VIEW"));
}
