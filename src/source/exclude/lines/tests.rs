//! Lines of files in all their encodings.

use super::*;

fn variables(name: &[u8]) -> Option<Vec<u8>> {
    match name {
        b"HOME" => Some(b"/home/bob".to_vec()),
        b"ODD_1" => Some(b"\xff".to_vec()),
        _ => None,
    }
}

fn patterns(bytes: &[u8]) -> Result<Vec<(Vec<u8>, String)>> {
    let read = pattern_lines(bytes, false, "--exclude-file rules", &variables)?;
    Ok(read.into_iter().map(|given| (given.text, given.origin)).collect())
}

#[test]
fn comments_blanks_and_empty_lines_are_passed_over() {
    let bytes = b"# all of it\n\n*.o\n  \t \n   !keep me.o \r\n#last\n\\#1\xc2\xa0\na\xffb \nend";
    let found = patterns(bytes).expect("patterns");
    let expected: Vec<(Vec<u8>, String)> =
        [(&b"*.o"[..], 3), (b"!keep me.o", 5), (b"\\#1", 7), (b"a\xffb", 8), (b"end", 9)]
            .into_iter()
            .map(|(text, line)| (text.to_vec(), format!("--exclude-file rules line {line}")))
            .collect();
    assert_eq!(found, expected);
    assert_eq!(patterns(b"").expect("patterns"), []);
}

#[test]
fn variables_are_replaced_and_a_missing_one_is_told() {
    for (line, expected) in [
        (&b"$HOME/x"[..], &b"/home/bob/x"[..]),
        (b"${HOME}x", b"/home/bobx"),
        (b"!$HOME", b"!/home/bob"),
        (b"a$$b$$", b"a$b$"),
        (b"$$HOME", b"$HOME"),
        (b"a$", b"a$"),
        (b"a$/b", b"a$/b"),
        (b"$ODD_1.", b"\xff."),
        (b"$HOME$HOME", b"/home/bob/home/bob"),
    ] {
        assert_eq!(patterns(line).expect("a pattern")[0].0, expected, "{line:?}");
    }
    for (line, message) in [
        (
            "x\n$CACHE/*",
            "--exclude-file rules line 2: the variable CACHE has no value (write $$ for a dollar sign)",
        ),
        (
            "$HOMES",
            "--exclude-file rules line 1: the variable HOMES has no value (write $$ for a dollar sign)",
        ),
        ("${HOME", "--exclude-file rules line 1: \"${\" begins no variable (write $$ for a dollar sign)"),
        ("${}", "--exclude-file rules line 1: \"${\" begins no variable (write $$ for a dollar sign)"),
        ("${a b}", "--exclude-file rules line 1: \"${\" begins no variable (write $$ for a dollar sign)"),
    ] {
        let error = patterns(line.as_bytes()).expect_err("no value");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Usage, message));
    }
}

#[test]
fn utf_16_is_read_after_its_mark() {
    let text = "# Städte\nMünchen*\n𝄞\n";
    let big: Vec<u8> = text.encode_utf16().flat_map(|unit| [(unit >> 8) as u8, (unit & 255) as u8]).collect();
    let little: Vec<u8> = big.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect();
    for bytes in [
        [&[0xef, 0xbb, 0xbf], text.as_bytes()].concat(),
        [&[0xfe, 0xff][..], &big].concat(),
        [&[0xff, 0xfe][..], &little].concat(),
        text.as_bytes().to_vec(),
    ] {
        let found: Vec<Vec<u8>> =
            patterns(&bytes).expect("patterns").into_iter().map(|(text, _)| text).collect();
        assert_eq!(found, ["München*".as_bytes(), "𝄞".as_bytes()]);
    }
    for bad in [&[0xff, 0xfe, 0x41][..], &[0xff, 0xfe, 0x00, 0xd8], &[0xfe, 0xff, 0xdc, 0x00, 0, 0x41]] {
        assert_eq!(patterns(bad).expect_err("no UTF-16").kind(), ErrorKind::Usage, "{bad:?}");
    }
}

#[test]
fn paths_are_read_as_their_option_says() {
    let text = b"# list\n /a/* \n\n/b # c\n";
    let globs = glob_lines(text, "--files-from list").expect("lines");
    assert_eq!(globs, [(2, b"/a/*".to_vec()), (4, b"/b # c".to_vec())]);
    let verbatim = verbatim_lines(text, "--files-from-verbatim list").expect("lines");
    assert_eq!(verbatim, [&b"# list"[..], b" /a/* ", b"/b # c"]);
    let error = verbatim_lines(b"/a\0/b\0", "--files-from-verbatim list").expect_err("NUL");
    assert!(error.to_string().contains("--files-from-raw"), "{error}");
    let raw = raw_paths(b"/a\nb\0 \xff\0", "--files-from-raw list").expect("paths");
    assert_eq!(raw, [&b"/a\nb"[..], b" \xff"]);
    assert_eq!(raw_paths(b"", "--files-from-raw list").expect("paths").len(), 0);
    for bad in [&b"/a"[..], b"/a\0/b", b"\0", b"/a\0\0"] {
        let error = raw_paths(bad, "--files-from-raw list").expect_err("no list");
        assert_eq!(error.kind(), ErrorKind::Usage, "{bad:?}");
        assert!(error.to_string().starts_with("--files-from-raw list: "), "{error}");
    }
}
