//! Holds what the pages about databases tell people to write: configurations and command lines.
//!
//! What must hold: every block of TOML is a configuration without a problem; every command line of packstone's is taken
//! by the program's own reading of arguments.

use std::path::Path;
use std::process::Command;

use packstone::config::Config;

use crate::support::code::{File, files, read};

const PROGRAM: &str = env!("CARGO_BIN_EXE_packstone");

/// What stands before a block that is only a part: a repository, or a job as well.
const REPOSITORY: &str = "[repository.main]\nurl = \"/srv/backup\"\n";
const JOB: &str = "[job.nightly]\n";

fn pages() -> Vec<File> {
    let mut pages = files("docs/databases", ".md");
    pages.extend(["docs/databases.md", "docs/from-backup-sh.md"].map(read));
    pages
}

/// The blocks of a page, each with the word behind its fence.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut blocks: Vec<(&str, String)> = Vec::new();
    let mut is_inside = false;
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), blocks.last_mut()) {
            (Some(word), _) => {
                is_inside = !is_inside;
                if is_inside {
                    blocks.push((word, String::new()));
                }
            }
            (None, Some((_, block))) if is_inside => {
                block.push_str(line);
                block.push('\n');
            }
            _ => {}
        }
    }
    assert!(!is_inside, "a block has no end");
    blocks
}

/// What is wrong with a block of TOML, with what it is a part of before it.
fn problems(block: &str) -> Vec<String> {
    let mut whole = String::new();
    if !block.contains("[repository.") {
        whole.push_str(REPOSITORY);
    }
    if block.contains("[[job.") && !block.contains("[job.") {
        whole.push_str(JOB);
    }
    whole.push_str(block);
    match Config::parse(&whole, Path::new("/etc/packstone")) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|problem| format!("{problem:?} in\n{whole}")).collect(),
    }
}

/// What variables of scripts stand for.
const VARIABLES: [(&str, &str); 1] = [("$date", "2026-01-31")];

/// The words of one command of a shell, as far as the examples need a shell: up to what ends or redirects it.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in text.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => words.iter_mut().last().into_iter().for_each(|word| word.push(character)),
            (None, '\'' | '"') => quote = Some(character),
            (None, ' ') => words.push(String::new()),
            (None, '|' | ';' | '&' | '>' | '<' | ')' | '#' | '`') => break,
            (None, _) => words.iter_mut().last().into_iter().for_each(|word| word.push(character)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The arguments of every call of packstone in a block. Of a transcript only lines that are typed count.
fn calls(kind: &str, block: &str) -> Vec<Vec<String>> {
    let joined =
        VARIABLES.iter().fold(block.replace("\\\n", " "), |text, (name, value)| text.replace(name, value));
    let typed = joined.lines().filter_map(|line| match kind {
        "console" => line.strip_prefix("$ ").or_else(|| line.strip_prefix("> ")),
        "sh" | "cron" | "ini" => Some(line).filter(|line| !line.trim_start().starts_with(['#', ';'])),
        _ => None,
    });
    let mut calls = Vec::new();
    for line in typed {
        for (at, name) in line.match_indices("packstone ") {
            let before = line.get(..at).unwrap_or_default();
            // The program itself, and no folder, package or text of that name.
            let is_called = before.is_empty()
                || before.ends_with("bin/")
                || [" ", "(", "|"].iter().any(|end| before.ends_with(end)) && !before.ends_with("install ");
            if is_called {
                calls.push(words(line.get(at + name.len()..).unwrap_or_default()));
            }
        }
    }
    calls
}

/// Why a command line is refused, if it is.
fn refusal(arguments: &[String]) -> Option<String> {
    // With this the program says what it would do, once it has understood what stands before.
    let end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (own, rest) = arguments.split_at(end);
    let output = Command::new(PROGRAM).args(own).arg("--help").args(rest).output().expect("the program");
    let is_taken = output.status.success();
    (!is_taken)
        .then(|| format!("packstone {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn every_configuration_of_the_pages_is_one() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for (_, block) in blocks(&page.text).iter().filter(|(kind, _)| *kind == "toml") {
            count += 1;
            wrong.extend(problems(block).into_iter().map(|problem| format!("{}: {problem}", page.path)));
        }
    }
    println!("{count} configurations");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 15);
}

#[test]
fn every_command_line_of_the_pages_is_understood() {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for page in pages() {
        for (kind, block) in blocks(&page.text) {
            all.extend(calls(kind, &block).into_iter().map(|call| (page.path.clone(), call)));
        }
    }
    let count = all.len();
    all.sort_by(|one, other| one.1.cmp(&other.1));
    all.dedup_by(|one, other| one.1 == other.1);
    println!("{count} command lines, {} of them different", all.len());
    let wrong: Vec<String> =
        all.iter().filter_map(|(page, call)| Some(format!("{page}: {}", refusal(call)?))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 60);
}

#[test]
fn what_is_no_configuration_and_no_command_is_found() {
    assert_eq!(problems("[[job.nightly.source]]\ntype = \"sqlite\"\npaths = [\"/srv/*.db\"]\n"), [""; 0]);
    assert!(!problems("[[job.nightly.source]]\ntype = \"sqlite\"\npath = \"/srv\"\n").is_empty());
    let found =
        blocks("a\n```sh\npackstone plan x\n```\nb\n```console\n$ packstone ls latest | wc -l\n1\n```\n");
    let found: Vec<_> = found.iter().flat_map(|(kind, block)| calls(kind, block)).collect();
    assert_eq!(found, [vec!["plan", "x"], vec!["ls", "latest"]]);
    let called =
        calls("sh", "tar c /x | packstone backup --stdin \\\n  --tag 'a b' >log\n# packstone is good\n");
    assert_eq!(called, [["backup", "--stdin", "--tag", "a b"]]);
    let own = |line: &str| refusal(&words(line)).is_some();
    assert!(!own("-q backup --stdin-from-command -- pg_dump --nothing"));
    assert!(own("backup --nothing /etc"));
    assert!(own("back-up /etc"));
}
