//! Scripts as pg_dump writes them, and such as it does not.

use super::*;
use crate::base::{Error, ErrorKind};

/// The statements of a script that comes in pieces; it must pass unchanged.
fn statements(script: &str, size: usize) -> Vec<String> {
    let (mut found, mut passed) = (Vec::new(), Vec::new());
    let mut reader = Script::new(&mut passed, |statement: &[u8]| {
        found.push(String::from_utf8_lossy(statement).into_owned());
        Ok(Edit::Keep)
    });
    for piece in script.as_bytes().chunks(size) {
        reader.write_all(piece).expect("it passes");
    }
    reader.finish().expect("it passes");
    assert_eq!(String::from_utf8_lossy(&passed), script);
    found
}

#[test]
fn statements_are_told_from_what_is_between_and_inside_them() {
    for (script, wanted) in [
        ("", &[][..]),
        ("--\n-- a; b\n--\n\nSET a = 1;\n\n-- c;\nSET b;", &["SET a = 1;", "SET b;"]),
        ("\\connect shop\n\nSET a;\n\\restrict x", &["\\connect shop\n", "SET a;", "\\restrict x"]),
        (
            "SELECT 'a;''b;' || E'c\\';d''e;' || 'f\\';\nSET c;",
            &["SELECT 'a;''b;' || E'c\\';d''e;' || 'f\\';", "SET c;"],
        ),
        (
            "SELECT 1 \"a;\"\"b;\" -- c;\n, 2 /* d; /* e; */ f; */, 3;SET g;",
            &["SELECT 1 \"a;\"\"b;\" -- c;\n, 2 /* d; /* e; */ f; */, 3;", "SET g;"],
        ),
        (
            "AS $$a; '$$;B $x$ $$;$ $x1$; $x$;C $1;D a$b$;E",
            &["AS $$a; '$$;", "B $x$ $$;$ $x1$; $x$;", "C $1;", "D a$b$;", "E"],
        ),
        (
            "COPY t (a) FROM stdin;\n1;\n\\.x\n\\N\n\\\\.\nx\\.\n\\.\nSET a;",
            &["COPY t (a) FROM stdin;", "SET a;"],
        ),
        (
            "COPY t FROM stdin;\n\\.\n\nCOPY u FROM stdin;\n';\n\\.\nSET a;\n",
            &["COPY t FROM stdin;", "COPY u FROM stdin;", "SET a;"],
        ),
        ("SELECT E'a''b\\';c' || 'd''\\';e;", &["SELECT E'a''b\\';c' || 'd''\\';", "e;"]),
        ("/* a; */ SELECT 4 - 2, 4 / 2;\n", &["SELECT 4 - 2, 4 / 2;"]),
        ("-5;- 6;", &["-5;", "- 6;"]),
    ] {
        for size in [1, 2, 3, 1000] {
            assert_eq!(statements(script, size), wanted, "{script}, in pieces of {size}");
        }
    }
}

#[test]
fn a_long_statement_passes_without_being_held() {
    let long = format!("SELECT '{}';", "x;".repeat(STATEMENT_BYTES_MAX));
    let script =
        format!("SET a;\n{long}\nCOPY t FROM stdin;\n{}\n\\.\nSET b;", "y;".repeat(STATEMENT_BYTES_MAX));
    assert_eq!(statements(&script, 100_000), ["SET a;", "COPY t FROM stdin;", "SET b;"]);
}

#[test]
fn statements_are_left_out_and_replaced() {
    let mut passed = Vec::new();
    let mut reader = Script::new(&mut passed, |statement: &[u8]| match statement {
        b"b;" => Ok(Edit::Drop),
        b"c;" => Ok(Edit::Replace(b"d;".to_vec())),
        b"e;" => Err(Error::new(ErrorKind::Failed, "no e")),
        _ => Ok(Edit::Keep),
    });
    reader.write_all(b"a; -- 1\nb; -- 2\nc; -- 3\n").expect("it passes");
    assert_eq!(reader.write_all(b"e;").expect_err("it is refused").to_string(), "no e");
    assert_eq!(String::from_utf8_lossy(&passed), "a; -- 1\n -- 2\nd; -- 3\n");
}

#[test]
fn names_are_read_as_they_are_meant() {
    let statement = b"ALTER DATABASE \"My \"\"Shop\"\"; \" SET Search_Path TO 'it''s', x.y;";
    let found: Vec<Token> = tokens(statement).into_iter().map(|(token, _)| token).collect();
    let word = |text: &str| Token::Word(text.into());
    assert_eq!(
        found,
        [
            word("alter"),
            word("database"),
            Token::Quoted("My \"Shop\"; ".into()),
            word("set"),
            word("search_path"),
            word("to"),
            Token::Other,
            Token::Other,
            word("x"),
            Token::Other,
            word("y"),
            Token::Other,
        ]
    );
    let (_, range) = tokens(statement)[2].clone();
    assert_eq!(&statement[range], b"\"My \"\"Shop\"\"; \"");
    assert_eq!(tokens(b"\"open"), [(Token::Quoted("ope".into()), 0..5)]);
}
