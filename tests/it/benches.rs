//! The programs in `benches/` that compare and measure: each runs on the least that it can, and leaves no figure out.
//!
//! What must hold: nothing is asserted of a figure but that it is there; no other backup tool is needed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::need::{can_make_databases, has_program};
use crate::support::scratch::Scratch;

const PROGRAM: &str = env!("CARGO_BIN_EXE_packstone");

/// What a program of `benches/` prints. It gets a folder of its own.
fn run(name: &str, scratch: &Scratch, arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name).join("run");
    let folder = scratch.join("work");
    std::fs::create_dir_all(&folder).expect("a folder");
    let output = Command::new("python3")
        .arg(script)
        .args(arguments)
        .args(["--packstone", PROGRAM, "--folder"])
        .arg(&folder)
        .arg("--out")
        .arg(scratch.join("out"))
        .output()
        .expect("python3");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let left = std::fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(left, 0, "{name} leaves nothing behind");
    String::from_utf8(output.stdout).expect("text")
}

/// The same results, shown again.
fn render(name: &str, scratch: &Scratch) -> String {
    render_as(name, scratch, &[])
}

fn render_as(name: &str, scratch: &Scratch, how: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name).join("run");
    let output =
        Command::new("python3").arg(script).args(how).arg("--render").arg(scratch.join("out")).output();
    String::from_utf8(output.expect("python3").stdout).expect("text")
}

/// Rows of Markdown tables, without heads and rules: of each table and row the cells.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| |"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

fn is_figure(cell: &str) -> bool {
    cell.starts_with(|first: char| first.is_ascii_digit())
}

#[test]
fn the_comparison_has_a_figure_for_every_operation() {
    if !has_program("python3", "the comparison with other tools") {
        return;
    }
    let scratch = Scratch::new();
    let picture = scratch.join("picture.svg");
    let arguments = ["--size", "minimal", "--tools", "packstone,tar", "--corpora", "source", "--runs", "1"];
    let quick = ["--settle", "0", "--no-warm", "--picture", picture.to_str().expect("a path")];
    let text = run("peers", &scratch, &[arguments.as_slice(), &quick].concat());
    assert_eq!(text, render("peers", &scratch));
    assert!(!text.contains("failed") && !text.contains("other metadata"), "{text}");
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows(&text) {
        // tar is there or not, and checks nothing.
        assert!(is_figure(row[1]), "{row:?} of\n{text}");
        assert!(row[0] == "check" || row[1..row.len() - 1].iter().all(|cell| is_figure(cell)), "{row:?}");
        *told.entry(row[0]).or_default() += 1;
    }
    let operations = [
        "first backup",
        "nothing changed",
        "the day after",
        "restore",
        "one file",
        "list all",
        "check",
        "check all data",
        "prune to the last",
    ];
    // Seconds, processors, memory.
    assert!(operations.iter().all(|operation| told.remove(operation) == Some(3)), "{text}");
    assert_eq!(
        told.into_keys().collect::<Vec<_>>(),
        ["added by the day after", "after the first backup", "after the prune"]
    );
    let summary = render_as("peers", &scratch, &["--summary"]);
    let short = rows(&summary);
    assert_eq!(short.len(), operations.len() + 4, "{summary}");
    assert!(short.iter().all(|row| is_figure(row[1].trim_start_matches('*'))), "{summary}");
    let drawn = std::fs::read_to_string(picture).expect("a picture");
    assert!(drawn.starts_with("<svg ") && drawn.contains(">packstone</text>"), "{drawn}");
}

#[test]
fn the_summary_names_the_best_peer_and_who_failed() {
    if !has_program("python3", "the summary of the comparison") {
        return;
    }
    let scratch = Scratch::new();
    let tool = |name: &str, version: &str| {
        format!(r#"{{"kind": "tool", "tool": "{name}", "version": {version}, "install": "somehow"}}"#)
    };
    let of = |kind: &str, name: &str, operation: &str| {
        format!(r#"{{"kind": "{kind}", "tool": "{name}", "corpus": "tiny", "operation": "{operation}", "#)
    };
    let cost = |name: &str, operation: &str, seconds: f64, bytes: u64| {
        let figures =
            format!(r#""seconds": {seconds}, "memory_mib": {seconds}, "repository_bytes": {bytes}}}"#);
        of("cost", name, operation) + &figures
    };
    let why = r#""reason": "gone"}"#;
    let lines = [
        r#"{"kind": "machine", "date": "2026-01-01", "machine": "a machine", "size": "full"}"#.to_owned(),
        tool("packstone", "\"packstone 1\""),
        tool("restic", "\"restic 2\""),
        tool("borg", "\"borg 3\""),
        tool("bupstash", "null"),
        tool("tar", "\"tar 4\""),
        r#"{"kind": "corpus", "corpus": "tiny", "files": 1, "bytes": 3145728}"#.to_owned(),
        r#"{"kind": "left out", "corpus": "dumps", "reason": "no database"}"#.to_owned(),
        cost("packstone", "first", 1.0, 1 << 20),
        cost("restic", "first", 3.0, 2 << 20),
        cost("borg", "first", 2.0, 3 << 20),
        cost("tar", "first", 0.5, 1 << 19),
        cost("packstone", "restore", 1.5, 1 << 20),
        cost("restic", "restore", 4.0, 2 << 20),
        of("failed", "borg", "restore") + why,
        of("failed", "packstone", "list") + why,
        of("lacking", "restic", "check all") + why,
    ];
    std::fs::write(scratch.join("out"), lines.join("\n")).expect("a file");
    let text = render_as("peers", &scratch, &["--summary"]);
    let head = "2026-01-01, a machine; packstone 1, restic 2, borg 3, tar 4; bupstash is not installed; \
                dumps is left out: no database.";
    assert_eq!(text.lines().next(), Some(head));
    assert!(text.contains("| | tiny, 3 MiB |"), "{text}");
    let found: BTreeMap<&str, &str> = rows(&text).into_iter().map(|row| (row[0], row[1])).collect();
    let expected = [
        ("first backup", "**1.00 s** (2.00 s borg)"),
        ("nothing changed", "–"),
        ("restore", "**1.50 s** (4.00 s restic; borg failed)"),
        ("list all", "failed"),
        ("check all data", "–"),
        ("memory of the first backup", "**1 MiB** (2 MiB borg)"),
        ("repository", "**1.0 MiB** (2.0 MiB restic)"),
    ];
    for (row, cell) in expected {
        assert_eq!(found.get(row), Some(&cell), "{row} of\n{text}");
    }
}

#[test]
fn constants_are_measured_on_folders_and_streams() {
    if !has_program("python3", "the sweep of constants") {
        return;
    }
    let scratch = Scratch::new();
    for (path, content) in
        [("day1/a", "first"), ("day1/b", "goes"), ("day2/a", "second"), ("removed.txt", "b\n")]
    {
        let path = scratch.join("corpus").join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("a file");
    }
    let corpus = scratch.join("corpus");
    let folder = format!("files={}", corpus.display());
    let stream = format!("stream={0}/day1/a,{0}/day2/a", corpus.display());
    let corpora = ["--corpus", &folder, "--corpus", &stream, "--settle", "0"];
    let points = ["--axis", "", "--point", "chunk=128K", "--point", "chunk=1M,level=-1"];
    let text = run("constants", &scratch, &[&corpora[..], &points].concat());
    let names = |text| rows(text).iter().map(|row| row[0].to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&text), ["defaults", "chunk 1M, level -1", "defaults", "chunk 1M, level -1"]);
    // One axis more on one corpus; what is known is not measured again.
    let text =
        run("constants", &scratch, &[&corpora[..], &["--corpora", "stream", "--axis", "segment"]].concat());
    assert_eq!(text, render("constants", &scratch));
    let axis = ["segment 512K", "segment 1M", "segment 4M"];
    assert_eq!(names(&text)[4..], axis);
    let found = rows(&text);
    let figures = [1, 2, 3, 4, 5, 8, 9];
    assert!(found.iter().all(|row| figures.iter().all(|column| is_figure(row[*column]))), "{text}");
    assert!(found[..2].iter().all(|row| is_figure(row[6])), "one file: {text}");
    let lines = std::fs::read_to_string(scratch.join("out")).expect("raw results");
    assert_eq!(lines.matches("\"constants\"").count(), 7, "{lines}");
}

#[test]
fn ways_to_dump_are_compared_with_what_differs() {
    if !can_make_databases("the ways to dump a database") {
        return;
    }
    let scratch = Scratch::new();
    let text = run("dumps", &scratch, &["--scale", "0.0005", "--days", "2"]);
    assert_eq!(text, render("dumps", &scratch));
    // A later run takes the place of an earlier one.
    let results = std::fs::read_to_string(scratch.join("out")).expect("raw results");
    std::fs::write(scratch.join("out"), [results.as_str(), &results].concat()).expect("a file");
    assert_eq!(text, render("dumps", &scratch));
    let found = rows(&text);
    assert_eq!(found.len(), 14, "{text}");
    assert!(found[..13].iter().all(|row| row[1..].iter().all(|cell| is_figure(cell))), "{text}");
    assert!(is_figure(found[13][3]), "{text}");
}

#[test]
fn days_of_a_database_are_compared_with_files_with_dates() {
    if !can_make_databases("what a database costs day after day") {
        return;
    }
    let scratch = Scratch::new();
    let text = run("days", &scratch, &["--scale", "0.0005", "--days", "2", "--runs", "1", "--no-warm"]);
    assert_eq!(text, render("days", &scratch));
    let found = rows(&text);
    // Other tools are there or not; a pipe in a title has its own sign before it.
    let own: Vec<_> = found
        .iter()
        .filter(|row| row.iter().any(|cell| cell.contains("packstone") || cell.contains("gzip`")))
        .collect();
    assert_eq!(own.len(), 3, "{text}");
    assert!(own.iter().all(|row| row.iter().rev().take(5).all(|cell| is_figure(cell))), "{text}");
}

#[test]
fn scale_is_measured_in_steps_of_ten() {
    if !has_program("python3", "the growth of costs") {
        return;
    }
    let scratch = Scratch::new();
    let pictures = scratch.join("pictures");
    std::fs::create_dir(&pictures).expect("a folder");
    let arguments = ["--most", "30", "--most-snapshots", "10", "--settle", "0", "--pictures"];
    let text = run("scale", &scratch, &[&arguments[..], &[pictures.to_str().expect("a path")]].concat());
    assert_eq!(text, render("scale", &scratch));
    let found: Vec<(String, String)> = rows(&text)
        .into_iter()
        .filter(|row| is_figure(row[0]))
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let of_trees = ["first", "unchanged", "one changed"].map(|name| ("30".to_owned(), name.to_owned()));
    let of_snapshots = ["list", "forget, dry run", "forget half", "prune", "backup"];
    let of_snapshots = of_snapshots.map(|name| ("10".to_owned(), name.to_owned()));
    assert_eq!(found, [of_trees.as_slice(), &of_trees, &of_snapshots].concat());
    assert_eq!(std::fs::read_dir(pictures).expect("a folder").count(), 6);
}
