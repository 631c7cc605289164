//! Which databases are put back, and what becomes of the statements of their dumps.

use super::*;
use crate::format::node::Metadata;
use crate::source::engine::postgres::script::Edit;
use crate::source::engine::postgres::server::Version;

fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

fn stored(names: &[&str]) -> Vec<StoredDump> {
    let dump =
        |name: &&str| StoredDump { name: (*name).to_owned(), size_bytes: 1, metadata: Metadata::default() };
    names.iter().map(dump).collect()
}

fn edit(old: &str, new: &str) -> impl Fn(&str) -> Result<String> {
    let (old, new) = (old.to_owned(), new.to_owned());
    move |statement| {
        let mut edit = DatabaseEdit {
            old: old.clone(),
            new: new.clone(),
            knows_restrict: false,
            server: version("12.22"),
            is_connected: false,
        };
        Ok(match edit.judge(statement.as_bytes())? {
            Edit::Keep => statement.to_owned(),
            Edit::Drop => String::new(),
            Edit::Replace(other) => String::from_utf8(other).expect("text"),
        })
    }
}

#[test]
fn what_concerns_the_database_gets_its_new_name() {
    let renamed = edit("shop", "My \"new\" shop's");
    let new = r#""My ""new"" shop's""#;
    for (statement, wanted) in [
        (
            "CREATE DATABASE shop WITH TEMPLATE = template0;",
            format!("CREATE DATABASE {new} WITH TEMPLATE = template0;"),
        ),
        ("ALTER DATABASE shop OWNER TO shop;", format!("ALTER DATABASE {new} OWNER TO shop;")),
        ("ALTER DATABASE shop SET a TO 'shop';", format!("ALTER DATABASE {new} SET a TO 'shop';")),
        (
            "ALTER ROLE shop IN DATABASE shop SET a TO 1;",
            format!("ALTER ROLE shop IN DATABASE {new} SET a TO 1;"),
        ),
        (
            "COMMENT ON DATABASE shop IS 'ON DATABASE shop';",
            format!("COMMENT ON DATABASE {new} IS 'ON DATABASE shop';"),
        ),
        (
            "GRANT CREATE,CONNECT ON DATABASE shop TO shop;",
            format!("GRANT CREATE,CONNECT ON DATABASE {new} TO shop;"),
        ),
        ("REVOKE ALL ON DATABASE shop FROM PUBLIC;", format!("REVOKE ALL ON DATABASE {new} FROM PUBLIC;")),
        (
            "\\connect shop\n",
            "\\connect -reuse-previous=on \"dbname='My \"\"new\"\" shop\\'s'\"\n".to_owned(),
        ),
    ] {
        assert_eq!(renamed(statement).expect("it is changed"), wanted);
        assert_eq!(edit("shop", "shop")(statement).expect("it is kept"), statement);
    }
    for same in [
        "ALTER TABLE database OWNER TO shop;",
        "GRANT SELECT ON TABLE public.database TO shop;",
        "COMMENT ON COLUMN database.shop IS 'x';",
        "SELECT 'ON DATABASE shop';",
        "CREATE TABLE shop (database shop);",
        "ALTER DATABASE other SET a TO 1;",
    ] {
        assert_eq!(renamed(same).expect("it is kept"), same);
    }
    assert_eq!(renamed("\\restrict x\n").expect("psql does not know it"), "");
    assert_eq!(
        edit("a\"b", "c")("CREATE DATABASE \"a\"\"b\";").expect("it is changed"),
        "CREATE DATABASE \"c\";"
    );
    let other = renamed("CREATE DATABASE \"Shop\";").expect_err("it is another");
    assert_eq!(other.to_string(), r#"the dump is one of the database "Shop", not of "shop""#);
}

#[test]
fn a_setting_that_the_server_does_not_know_is_left_out() {
    let text = "-- Settings\nSET statement_timeout = 0;\nSET transaction_timeout = 0;\nSET a = 'b';\n\
        CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\nSET transaction_timeout = 0;\n$$;\n\
        COPY t (a) FROM stdin;\nSET transaction_timeout = 0;\n\\.\n";
    let left = text.replacen("SET transaction_timeout = 0;", "", 1);
    for (server, wanted) in [("17.0", text), ("16.3", &*left)] {
        let (old, new) = ("a".to_owned(), "a".to_owned());
        let mut edit =
            DatabaseEdit { old, new, knows_restrict: true, server: version(server), is_connected: false };
        let mut output = Vec::new();
        let mut script = Script::new(&mut output, |statement: &[u8]| edit.judge(statement));
        script.write_all(text.as_bytes()).expect("it is read");
        script.finish().expect("it is read");
        assert_eq!(String::from_utf8(output).expect("text"), wanted);
    }
}

#[test]
fn creating_a_database_is_fitted_to_an_older_server() {
    let on = |text: &str, statement: &str| {
        let (old, new) = ("shop".to_owned(), "shop".to_owned());
        let mut edit =
            DatabaseEdit { old, new, knows_restrict: true, server: version(text), is_connected: false };
        match edit.judge(statement.as_bytes()) {
            Ok(Edit::Replace(other)) => String::from_utf8(other).expect("text"),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    };
    let made =
        |rest: &str| format!("CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' {rest};");
    let libc = made("LOCALE_PROVIDER = libc LOCALE = 'C.UTF-8'");
    assert_eq!(on("15.6", &libc), libc);
    assert_eq!(on("14.9", &libc), made(" LOCALE = 'C.UTF-8'"));
    assert_eq!(on("12.22", &libc), made(" LC_COLLATE = 'C.UTF-8' LC_CTYPE = 'C.UTF-8'"));
    let icu = made("LOCALE_PROVIDER = icu LOCALE = 'C' ICU_LOCALE = 'de'");
    assert_eq!(on("15.6", &icu), icu);
    assert_eq!(
        on("14.9", &icu),
        "the database \"shop\" was made with LOCALE_PROVIDER = icu, which a server of version 14.9 does not know: it \
         needs version 15 or later"
    );
    assert!(on("16.1", &made("LOCALE_PROVIDER = builtin LOCALE = 'C'")).contains("version 17 or later"));
    assert!(on("15.6", &made("LOCALE_PROVIDER = icu ICU_RULES = '&a < g'")).contains("rules of ICU"));
    let mut odd = DatabaseEdit {
        old: "locale".into(),
        new: "icu_rules".into(),
        knows_restrict: true,
        server: version("12.22"),
        is_connected: false,
    };
    let named = odd.judge(b"CREATE DATABASE locale WITH LOCALE = 'C';").expect("judged");
    let wanted = "CREATE DATABASE \"icu_rules\" WITH LC_COLLATE = 'C' LC_CTYPE = 'C';";
    assert_eq!(named, Edit::Replace(wanted.into()));
    assert_eq!(on("15.6", "DROP DATABASE shop;"), "Drop");
    assert_eq!(on("11.0", "SET default_table_access_method = heap;"), "Drop");
}

#[test]
fn names_that_are_no_ascii_pass_as_they_are() {
    let judged = |old: &str, is_connected| {
        let (old, new) = (old.to_owned(), old.to_owned());
        let mut edit = DatabaseEdit { old, new, knows_restrict: true, server: version("15.6"), is_connected };
        edit.judge(b"SET client_encoding = 'LATIN1';").expect("judged") == Edit::Drop
    };
    assert_eq!(
        [judged("shop", false), judged("k\u{e4}se", false), judged("k\u{e4}se", true)],
        [false, true, false]
    );
}

#[test]
fn databases_are_chosen_by_the_names_that_they_had() {
    let all = stored(&["globals.sql", "a%2Fb.sql", "%67lobals.sql", "c.dump"]);
    let found = targets(&all, &LoadOptions::default()).expect("targets");
    let names: Vec<(&str, bool)> =
        found.iter().map(|target| (target.new.as_str(), target.is_custom)).collect();
    assert_eq!(names, [("a/b", false), ("globals", false), ("c", true)]);

    let one = |names: &[&str], new: Option<&str>| {
        let databases = names.iter().map(|name| (*name).to_owned()).collect();
        targets(&all, &LoadOptions { databases, new_name: new.map(str::to_owned), may_replace: false })
    };
    let renamed = one(&["c"], Some("d")).expect("one");
    assert_eq!((renamed[0].old.as_str(), renamed[0].new.as_str(), renamed.len()), ("c", "d", 1));
    let absent = one(&["x"], None).expect_err("not there");
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    assert_eq!(absent.to_string(), "there is no dump of the database x; there are: a/b, globals, c");
    for (names, new) in [(&[][..], Some("d")), (&["c"], Some("")), (&["c"], Some("a\nb"))] {
        assert_eq!(one(names, new).expect_err("makes no sense").kind(), ErrorKind::Usage);
    }
    targets(&stored(&["x.tar"]), &LoadOptions::default()).expect_err("no dump of a database");
}
