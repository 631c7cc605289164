//! MySQL, by transcripts: with what its programs are called, what they are given, what they write.
//!
//! What must hold: the played programs answer as those of version 8 do; a question that they do not know is an error; the
//! password is in a file or a variable and nowhere else.

use packstone::source::engine::{Access, Container, Databases, Mariadb};
use packstone::source::{Engine, LoadOptions};

use super::super::{Fakes, deaf, load, password, read_all, said, whole};

const DUMP: &str = "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
--
-- Host: localhost    Database: shop
-- ------------------------------------------------------
-- Server version\t8.0.36

--
-- Current Database: `shop`
--

CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop` /*!40100 DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci */ /*!80016 DEFAULT ENCRYPTION='N' */;

USE `shop`;
CREATE TABLE `t` (`a` int NOT NULL);
INSERT INTO `t` VALUES (42);
-- Dump completed
";

const USERS: &str = "-- users and grants
-- of `app`@`%`
CREATE USER IF NOT EXISTS `app`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441243030 REQUIRE NONE PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK;
-- of `reader`@`%`
CREATE USER IF NOT EXISTS `reader`@`%` IDENTIFIED WITH 'caching_sha2_password' REQUIRE NONE PASSWORD EXPIRE ACCOUNT LOCK;
-- of `app`@`%`
GRANT USAGE ON *.* TO `app`@`%`;
GRANT `reader`@`%` TO `app`@`%`;
SET DEFAULT ROLE `reader`@`%` TO `app`@`%`;
-- of `reader`@`%`
GRANT USAGE ON *.* TO `reader`@`%`;
GRANT SELECT ON `shop`.* TO `reader`@`%`;
-- Dump completed
";

/// Answers statements; on an empty server there is neither the database nor the users.
const CLIENT: &str = r#"
    for part; do case $part in --defaults-extra-file=*) cat "${part#*=}" >>"$HERE/configuration" ;; esac; done
    echo "${MYSQL_PWD-}" >>"$HERE/variables"
    case $* in *--unbuffered) read -r _ && read -r asked && echo "$asked" >>"$HERE/locks"; echo 1; cat; exit 0 ;; esac
    while [ $# -gt 0 ] && [ "$1" != --execute ]; do shift; done
    [ $# -gt 0 ] || { cat >>"$HERE/fed"; echo ==== >>"$HERE/fed"; exit 0; }
    there=; [ -e "$HERE/empty" ] || there=yes
    case $2 in
        "SELECT VERSION()") echo 8.0.36 ;;
        "SELECT schema_name FROM information_schema.schemata"*)
            printf '%s\n' information_schema mysql performance_schema ${there:+shop} sys ;;
        "SHOW GRANTS FOR PUBLIC") ;;
        "SHOW GRANTS")
            echo 'GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON *.* TO `backup`@`localhost`'
            echo 'GRANT SHOW_ROUTINE ON *.* TO `backup`@`localhost`' ;;
        "SELECT CURRENT_USER()") echo backup@localhost ;;
        "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_type = 'VIEW'") echo sys ;;
        "SELECT user, host, 'N' FROM mysql.user ORDER BY user, host")
            [ -z "$there" ] || printf 'app\t%%\tN\nreader\t%%\tN\n'
            printf 'mysql.infoschema\tlocalhost\tN\nmysql.session\tlocalhost\tN\nmysql.sys\tlocalhost\tN\n' ;;
        "/*!80017 SET SESSION print_identified_with_as_hex = ON */; SHOW CREATE USER \`app\`@\`%\`")
            echo "CREATE USER \`app\`@\`%\` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441243030 DEFAULT ROLE \`reader\`@\`%\` REQUIRE NONE PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK" ;;
        "/*!80017 SET SESSION print_identified_with_as_hex = ON */; SHOW CREATE USER \`reader\`@\`%\`")
            echo "CREATE USER \`reader\`@\`%\` IDENTIFIED WITH 'caching_sha2_password' REQUIRE NONE PASSWORD EXPIRE ACCOUNT LOCK" ;;
        'SHOW GRANTS FOR `app`@`%`')
            echo 'GRANT USAGE ON *.* TO `app`@`%`'; echo 'GRANT `reader`@`%` TO `app`@`%`' ;;
        'SHOW GRANTS FOR `reader`@`%`')
            echo 'GRANT USAGE ON *.* TO `reader`@`%`'; echo 'GRANT SELECT ON `shop`.* TO `reader`@`%`' ;;
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'SYSTEM VERSIONED'"*) ;;
        "SELECT t.table_schema, t.table_name, t.engine FROM information_schema.tables t JOIN"*) ;;
        "SELECT (SELECT count(*) FROM information_schema.schemata WHERE schema_name = 'shop'), "*) printf '0\t0\t0\t0\n' ;;
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'shop' AND table_type IN"*) echo t ;;
        *) echo "ERROR 1064 (42000) at line 1: You have an error in your SQL syntax near '$2'" >&2; exit 1 ;;
    esac"#;

/// Knows the options that stand here, and no others.
const DUMPER: &str = r#"
    known=" --single-transaction --quick --routines --triggers --hex-blob --skip-dump-date --skip-add-locks
        --default-character-set --max-allowed-packet --set-gtid-purged --column-statistics --no-tablespaces --events
        --databases --user --socket --host --port --protocol --defaults-extra-file --help "
    for part; do
        [ "$part" != -- ] || break
        case $known in *" ${part%%=*} "* | *" ${part%%=*}"$'\n'*) ;; *) echo "mysqldump: [ERROR] unknown option '$part'." >&2; exit 7 ;; esac
        [ "$part" != --help ] || { echo "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)"; echo "$known"; exit 0; }
    done
    cat "$HERE/dump""#;

fn programs() -> Fakes {
    let fakes = Fakes::new();
    fakes.add("mysql", CLIENT).add("mysqldump", DUMPER);
    std::fs::write(fakes.join("dump"), DUMP).expect("a dump");
    fakes
}

fn engine(access: Access) -> Mariadb {
    let access = Access { user: Some("backup".into()), ..access };
    Mariadb {
        access,
        databases: Databases::All,
        options: vec!["--max-allowed-packet=64M".into()],
        is_mysql: true,
    }
}

/// The calls, without the numbers of a process and of a file.
fn calls(fakes: &Fakes) -> Vec<String> {
    let plain = |call: String| match call.split_once("=/proc/") {
        Some((before, after)) => {
            format!("{before}=FILE {}", after.split_once(' ').map_or("", |(_, rest)| rest))
        }
        None => call,
    };
    fakes.calls().into_iter().map(plain).collect()
}

const DUMP_ARGUMENTS: &str = "--single-transaction --quick --routines --triggers --hex-blob --skip-dump-date \
    --skip-add-locks --default-character-set=utf8mb4 --max-allowed-packet=1G --set-gtid-purged=OFF --column-statistics=0 \
    --no-tablespaces --events --max-allowed-packet=64M --databases -- shop";
const CLIENT_ARGUMENTS: &str = "--loose-skip-print-query-on-error --loose-sandbox --batch --skip-column-names \
    --max-allowed-packet=1G --default-character-set=utf8mb4 --connect-timeout=30 \
    --init-command=SET\\ SESSION\\ lock_wait_timeout=1800\\,\\ sql_quote_show_create=1\\,\\ sql_mode=/\\*M\\!100000\\ \\'NO_AUTO_CREATE_USER\\'\\*/\\ \\'\\'";

#[test]
fn mysql_is_dumped_with_its_users_and_put_back() {
    let fakes = programs();
    let engine = engine(Access {
        host: Some("db.example".into()),
        port: Some(3307),
        password: Some(password("s3cret \"word\"")),
        programs: Some(fakes.folder()),
        ..Access::default()
    });
    let dumps = engine.dump(&deaf()).expect("dumps");
    assert_eq!(dumps.consistency, "one transaction of each database (mysqldump from MySQL 8.0.36)");
    let dumps = whole(dumps);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    assert_eq!(dumps.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["users.sql", "shop.sql"]);
    assert_eq!((text(&dumps[0].1).as_str(), text(&dumps[1].1).as_str()), (USERS, DUMP));

    let server = "--defaults-extra-file=FILE --host=db.example --port=3307 --user=backup --protocol=tcp";
    let seen = calls(&fakes);
    assert!(
        seen[0] == format!("mysql {server} {CLIENT_ARGUMENTS} --execute SELECT\\ VERSION\\(\\)"),
        "{}",
        seen[0]
    );
    let of_dump: Vec<_> = seen.iter().filter(|call| call.starts_with("mysqldump")).collect();
    assert_eq!(
        of_dump,
        [&format!("mysqldump {server} --help"), &format!("mysqldump {server} {DUMP_ARGUMENTS}")]
    );
    let secret = "[client]\npassword=\"s3cret \\\"word\\\"\"\n";
    let configuration = std::fs::read_to_string(fakes.join("configuration")).expect("configurations");
    assert_eq!(configuration, secret.repeat(seen.len() - of_dump.len()));
    assert!(fakes.calls().iter().all(|call| !call.contains("s3cret")));

    std::fs::write(fakes.join("empty"), "").expect("a file");
    let (done, replaced) = load(&engine, &dumps, &LoadOptions::default(), &deaf()).expect("it is put back");
    assert_eq!(
        done,
        [
            "restore users from users.sql; those who are there stay as they are",
            "restore the database shop from shop.sql",
            "analyse the tables of shop",
            "give the new users their rights",
        ]
    );
    assert_eq!(replaced, [""; 0]);
    let users = |begins: &str| {
        let lines = USERS.lines().filter(|line| line.starts_with(begins) && !line.starts_with("--"));
        lines.map(|line| line.to_owned() + "\n").collect::<String>()
    };
    let granted = USERS.lines().filter(|line| line.starts_with("GRANT") || line.starts_with("SET"));
    let granted: String = granted.map(|line| format!("{line}\n====\n")).collect();
    // It is there by now, and gets what it was made with.
    let filled = DUMP.replace("CREATE DATABASE /*!32312 IF NOT EXISTS*/", "ALTER DATABASE");
    let fed = format!(
        "{}====\nCREATE DATABASE `shop`;\n====\nDO GET_LOCK('shop.packstone-old-1', 60);\n{filled}====\nANALYZE TABLE `shop`.`t`;\n====\n{granted}",
        users("CREATE USER")
    );
    assert_eq!(std::fs::read_to_string(fakes.join("fed")).expect("statements"), fed);
    let lock = "SELECT coalesce(GET_LOCK('shop.packstone-old-lock', 0), 0);\n";
    assert_eq!(std::fs::read_to_string(fakes.join("locks")).expect("a lock"), lock);
    let last = calls(&fakes).pop().expect("a call");
    assert_eq!(last, format!("mysql {server} {CLIENT_ARGUMENTS}"));
}

#[test]
fn mysql_in_a_container_gets_its_password_by_a_variable() {
    for own in [false, true] {
        let fakes = programs();
        fakes.add_docker(&format!("PATH={}:$PATH MYSQL_ROOT_PASSWORD=\"it's s3cret\"", fakes.folder()));
        let container = Container { name: "db".into(), program: fakes.folder() + "/docker" };
        let engine = engine(Access {
            container: Some(container),
            password: (!own).then(|| password("it's s3cret")),
            container_password: own.then(|| "MYSQL_ROOT_PASSWORD".into()),
            ..Access::default()
        });
        let dumps = whole(engine.dump(&deaf()).expect("dumps"));
        assert_eq!(dumps[1], ("shop.sql".to_owned(), DUMP.as_bytes().to_vec()));
        let calls = fakes.calls();
        let last = calls.iter().rfind(|call| call.starts_with("docker")).expect("a call");
        let wanted = if own {
            let script = r#"export MYSQL_PWD="${MYSQL_ROOT_PASSWORD?}"; exec "$@""#;
            let quoted = std::process::Command::new("bash").args(["-c", "printf %q \"$0\"", script]).output();
            let quoted = String::from_utf8(quoted.expect("bash").stdout).expect("text");
            format!(
                "docker exec -i --env LC_ALL=C db sh -c {quoted} sh mysqldump --user=backup {DUMP_ARGUMENTS}"
            )
        } else {
            format!(
                "docker exec -i --env LC_ALL=C --env MYSQL_PWD db mysqldump --user=backup {DUMP_ARGUMENTS}"
            )
        };
        assert_eq!(*last, wanted);
        assert!(calls.iter().all(|call| !call.contains("s3cret")));
        let variables = std::fs::read_to_string(fakes.join("variables")).expect("variables");
        assert!(
            variables.lines().all(|line| line == "it's s3cret" || line.ends_with(" is set")),
            "{variables}"
        );
    }
}

#[test]
fn what_mysql_refuses_and_what_breaks_off_is_said() {
    let fakes = programs();
    let mysql = engine(Access { programs: Some(fakes.folder()), ..Access::default() });
    for (bytes, wanted) in [
        (&DUMP[..DUMP.len() / 2], "breaks off: its last line is not \"-- Dump completed\""),
        ("", "mysqldump succeeded, but wrote nothing"),
    ] {
        std::fs::write(fakes.join("dump"), bytes).expect("a dump");
        let failed = read_all(mysql.dump(&deaf()).expect("dumps")).remove(1).1.expect_err("half a dump");
        assert!(said(&failed).contains(wanted), "{}", said(&failed));
    }
    for (line, wanted) in [
        (
            "ERROR 1045 (28000): Access denied for user 'backup'@'localhost' (using password: YES)",
            "user or password",
        ),
        (
            "ERROR 1044 (42000): Access denied for user 'backup'@'localhost' to database 'shop'",
            "may not do that",
        ),
        ("ERROR 2003 (HY000): Can't connect to MySQL server on 'db:3306' (111)", "cannot be reached"),
        ("ERROR 1205 (HY000): Lock wait timeout exceeded; try restarting transaction", "holds a lock"),
    ] {
        fakes.add("mysql", &format!("echo \"{line}\" >&2; exit 1"));
        let failed = mysql.dump(&deaf()).map(drop).expect_err("refused");
        assert!(said(&failed).contains(wanted) && said(&failed).contains(line), "{}", said(&failed));
    }
}

/// Its programs are found under the names of MySQL's, as on a host with those alone; what they are is said by what they know.
#[test]
fn the_arguments_of_a_dump_are_those_that_its_program_knows() {
    let fakes = programs();
    let of_mariadb = [
        ("echo 8.0.36", "echo 10.11.6-MariaDB-log"),
        ("ORDER BY user", "ORDER BY is_role DESC, user"),
        ("SELECT user, host, 'N'", "SELECT user, host, is_role"),
        ("/*!80017 SET SESSION print_identified_with_as_hex = ON */; ", ""),
    ];
    let client = of_mariadb.iter().fold(CLIENT.to_owned(), |text, (old, new)| text.replace(old, new));
    fakes.add("mysql", &client);
    let mysql = engine(Access { programs: Some(fakes.folder()), ..Access::default() });
    let mariadb = Mariadb { is_mysql: false, ..mysql };
    let dumps = mariadb.dump(&deaf()).expect("dumps");
    assert_eq!(dumps.consistency, "one transaction of each database (mysqldump from MariaDB 10.11.6)");
    whole(dumps);
    let calls = fakes.calls();
    assert_eq!(calls.last(), Some(&format!("mysqldump --user=backup {DUMP_ARGUMENTS}")));

    // And MariaDB's program on a server of MySQL is not given what only MySQL's knows.
    let fakes = programs();
    let dumper = DUMPER.replace("--set-gtid-purged --column-statistics", "--dump-history");
    fakes.add("mysqldump", &dumper);
    let mysql = engine(Access { programs: Some(fakes.folder()), ..Access::default() });
    whole(mysql.dump(&deaf()).expect("dumps"));
    let wanted = DUMP_ARGUMENTS.replace("--set-gtid-purged=OFF --column-statistics=0 ", "");
    assert_eq!(fakes.calls().last(), Some(&format!("mysqldump --user=backup {wanted}")));
}
