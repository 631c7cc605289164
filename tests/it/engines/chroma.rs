//! A folder as ChromaDB has it, under a process that writes to its database and its index files.
//!
//! What must hold: the writer numbers its changes and writes each number first into every index file, then into the
//! database; in what is put back the files are at most that one change ahead. `docker` is a script here, which stops the
//! writer as pausing would.

use std::fs::{Permissions, read_to_string, write};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use packstone::base::{ErrorKind, Result};
use packstone::source::engine::{Chroma, Container};
use packstone::source::{Engine, LoadOptions};
use rusqlite::Connection;

use super::kept::{Kept, dump, keep, listening, printing, replacing};

use crate::support::need::has_program;
use crate::support::scratch::Scratch;

/// Writes numbers for ever, and says so once it has begun.
const WRITER: &str = r#"
import os, sqlite3, sys, time
folder, number = sys.argv[1], 0
database = sqlite3.connect(folder + "/chroma.sqlite3", timeout=60, isolation_level=None)
while True:
    number += 1
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE state SET number = ?", (number,))
    for name in sorted(os.listdir(folder)):
        if os.path.isdir(folder + "/" + name):
            with open(folder + "/" + name + "/data_level0.bin", "r+") as file: file.write(str(number).zfill(20))
    database.execute("COMMIT")
    if number == 20: print("begun", flush=True)
    # Others want to have a look at it, too.
    time.sleep(0.002)
"#;

const SEGMENTS: [&str; 2] = ["6f0f4a6c-0f2b-4d0d-9d0c-0d2b3f0c9a11", "b0a7c1de-77a5-4c3f-8f53-30c1f6d2f7aa"];

struct Writer(Child);

impl Writer {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", WRITER]).arg(folder).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "begun");
        Self(child)
    }

    /// Whether it stands still.
    fn is_stopped(&self) -> bool {
        let stat = read_to_string(format!("/proc/{}/stat", self.0.id())).expect("it runs");
        stat.rsplit(')').next().expect("a state").trim_start().starts_with('T')
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

fn make(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    std::fs::set_permissions(folder, Permissions::from_mode(0o750)).expect("a mode");
    let database = Connection::open(folder.join("chroma.sqlite3")).expect("a database");
    database.execute_batch("CREATE TABLE state (number); INSERT INTO state VALUES (0)").expect("a table");
    for segment in SEGMENTS {
        std::fs::create_dir(folder.join(segment)).expect("a folder");
        write(folder.join(segment).join("data_level0.bin"), "00000000000000000000").expect("written");
        write(folder.join(segment).join("header.bin"), [7; 100]).expect("written");
        write(folder.join(segment).join("length.bin"), []).expect("written");
    }
}

/// The number of a folder.
fn number_of(folder: &Path) -> i64 {
    let database = Connection::open(folder.join("chroma.sqlite3")).expect("a database");
    let number = database.query_row("SELECT number FROM state", [], |row| row.get(0)).expect("a number");
    for segment in SEGMENTS {
        let text = read_to_string(folder.join(segment).join("data_level0.bin")).expect("read");
        let ahead = text.parse::<i64>().expect("a number") - number;
        assert!((0..=1).contains(&ahead), "{ahead} ahead of {number}");
        assert_eq!(std::fs::read(folder.join(segment).join("header.bin")).expect("read"), [7; 100]);
        assert_eq!(std::fs::read(folder.join(segment).join("length.bin")).expect("read"), [0; 0]);
    }
    number
}

/// A script that does with a process what docker does with a container, and writes down what it was told.
fn docker(folder: &Path, process: u32) -> Container {
    let path = folder.join("docker");
    let log = folder.join("docker.log");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>'{}'\ncase $1 in\n\
         inspect) case $(cut -d' ' -f3 /proc/{process}/stat) in T) echo true;; *) echo false;; esac;;\n\
         pause) kill -STOP {process}\n\
         until [ \"$(cut -d' ' -f3 /proc/{process}/stat)\" = T ]; do :; done;;\nunpause) kill -CONT {process};;\nesac\n",
        log.display()
    );
    write(&path, script).expect("written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a mode");
    Container { name: "vectors".into(), program: path.display().to_string() }
}

fn engine(folder: &Path, paused_container: Option<Container>) -> Chroma {
    Chroma { path: folder.display().to_string(), scratch: None, memory_bytes: 1 << 20, paused_container }
}

fn load_and_check(kept: &Kept, engine: &Chroma, target: PathBuf) -> i64 {
    let options = LoadOptions { new_name: Some(target.display().to_string()), ..LoadOptions::default() };
    assert_eq!(kept.load(engine, &options).expect("loaded"), [""; 0]);
    number_of(&target)
}

#[test]
fn a_folder_at_rest_is_dumped_and_swapped() {
    let scratch = Scratch::new();
    let folder = scratch.join("chroma");
    make(&folder);
    let engine = engine(&folder, None);
    let kept = dump(&engine).expect("a dump");
    assert_eq!(kept.dumps.len(), 7);
    assert!(kept.consistency.contains("no file of it changed"), "{}", kept.consistency);
    assert_eq!(load_and_check(&kept, &engine, scratch.join("copy")), 0);
    write(folder.join("more"), "of today").expect("written");
    let error = kept.load(&engine, &LoadOptions::default()).expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::Exists, "{error:?}");
    assert!(folder.join("more").exists());
    let reader = Connection::open(folder.join("chroma.sqlite3")).expect("a database");
    reader.execute_batch("BEGIN; SELECT * FROM state").expect("read");
    let error = kept.load(&engine, &replacing()).expect_err("it is read");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    drop(reader);
    let replaced = kept.load(&engine, &replacing()).expect("loaded");
    assert_eq!(replaced.len(), 1, "{replaced:?}");
    assert!(!folder.join("more").exists());
    assert_eq!(number_of(&folder), 0);
    let mode = std::fs::metadata(&folder).expect("a folder").permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn through_a_link_the_folder_that_it_leads_to_is_swapped() {
    let scratch = Scratch::new();
    let [folder, link] = [scratch.join("chroma"), scratch.join("link")];
    make(&folder);
    std::os::unix::fs::symlink("chroma", &link).expect("a link");
    let engine = engine(&link, None);
    let kept = dump(&engine).expect("a dump");
    write(folder.join("more"), "of today").expect("written");
    assert_eq!(kept.load(&engine, &replacing()).expect("loaded").len(), 1);
    assert_eq!(std::fs::read_link(&link).expect("still a link"), Path::new("chroma"));
    assert!(!folder.join("more").exists());
    assert_eq!(number_of(&folder), 0);
    let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn what_changes_meanwhile_is_no_dump() {
    let scratch = Scratch::new();
    for (count, change) in [
        |folder: &Path| write(folder.join(SEGMENTS[1]).join("header.bin"), [8; 100]),
        |folder: &Path| std::fs::remove_file(folder.join(SEGMENTS[0]).join("length.bin")),
        |folder: &Path| write(folder.join("new.bin"), "x"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = scratch.join(&format!("chroma{count}"));
        make(&folder);
        // Before anything is read, and after everything was.
        let dumps = engine(&folder, None).dump(&printing()).expect("dumps");
        change(&folder).expect("changed");
        let error = keep(dumps).map(drop).expect_err("changed");
        assert!(count == 1 || format!("{error:?}").contains("paused-container"), "{error:?}");
        let mut dumps = engine(&folder, None).dump(&printing()).expect("dumps");
        let end = dumps.end.take().expect("an end");
        keep(dumps).expect("read");
        std::fs::remove_dir_all(folder.join(SEGMENTS[0])).expect("removed");
        let error = end().expect_err("changed");
        assert!(format!("{error:?}").contains("paused-container"), "{error:?}");
    }
}

#[test]
fn a_container_is_paused_for_it_and_goes_on() {
    if !has_program("python3", "ChromaDB's folder under a process that writes") {
        return;
    }
    let scratch = Scratch::new();
    let folder = scratch.join("chroma");
    make(&folder);
    let writer = Writer::start(&folder);
    // Without, it fails, or is of one moment: which of both depends on when the writer gets to write.
    let mut good = 0;
    for round in 0..3 {
        let engine = engine(&folder, None);
        if let Ok(kept) = dump(&engine) {
            load_and_check(&kept, &engine, scratch.join(&format!("lucky{round}")));
            good += 1;
        }
    }
    println!("without a pause {good} of 3 are good");
    let paused = engine(&folder, Some(docker(scratch.path(), writer.0.id())));
    let mut last = 0;
    for round in 0..3 {
        let (listener, told) = listening();
        let dumps = paused.dump(&listener).expect("dumps");
        assert!(writer.is_stopped());
        let kept = keep(dumps).expect("a dump");
        assert!(!writer.is_stopped());
        let told = told.lock().expect("no panic").join("\n");
        assert!(told.contains("is paused") && told.contains("goes on"), "{told}");
        let number = load_and_check(&kept, &paused, scratch.join(&format!("copy{round}")));
        println!("copy {round} is of number {number}");
        assert!(number >= last);
        last = number;
    }
    // Dropped in the middle, it goes on, too.
    let dumps = paused.dump(&printing()).expect("dumps");
    assert!(writer.is_stopped());
    drop(dumps);
    assert!(!writer.is_stopped());
    // What others paused stays so.
    let container = paused.paused_container.clone().expect("a container");
    let run =
        |word: &str| Command::new(&container.program).args([word, "vectors"]).status().expect("it runs");
    assert!(run("pause").success());
    let refused: Result<_> = paused.dump(&printing()).map(drop);
    assert_eq!(refused.expect_err("paused already").kind(), ErrorKind::Fenced);
    assert!(writer.is_stopped());
    assert!(run("unpause").success());
    let log = read_to_string(scratch.join("docker.log")).expect("a log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(
        lines[..3],
        ["inspect --format {{.State.Paused}} vectors", "pause vectors", "unpause vectors"]
    );
}

/// A script that is asked to pause and does not, but may do something before.
fn played(folder: &Path, before: &str) -> Container {
    let path = folder.join("docker");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>'{}'\ncase $1 in\ninspect) echo false;;\npause) {before};;\nesac\n",
        folder.join("docker.log").display()
    );
    write(&path, script).expect("written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a mode");
    Container { name: "vectors".into(), program: path.display().to_string() }
}

#[test]
fn an_index_that_is_being_written_when_its_container_is_paused_is_waited_for() {
    let scratch = Scratch::new();
    let folder = scratch.join("chroma");
    make(&folder);
    let header = folder.join(SEGMENTS[0]).join("header.bin");
    let once = scratch.join("once");
    let writes =
        format!("[ -e '{0}' ] || {{ touch '{0}'; printf x >>'{1}'; }}", once.display(), header.display());
    let writes_always = format!("printf x >>'{}'", header.display());
    for (before, pauses, findings) in
        [("true", 1, 0), (writes.as_str(), 2, 0), (writes_always.as_str(), 4, 1)]
    {
        drop(std::fs::remove_file(scratch.join("docker.log")));
        let (listener, _) = listening();
        let dumps = engine(&folder, Some(played(scratch.path(), before))).dump(&listener).expect("dumps");
        keep(dumps).expect("a dump");
        let log = read_to_string(scratch.join("docker.log")).expect("a log");
        let count = |word: &str| log.lines().filter(|line| line.starts_with(word)).count();
        assert_eq!((count("pause"), count("unpause")), (pauses, pauses), "{log}");
        assert_eq!(listener.take_findings().len(), findings);
    }
}

#[test]
fn no_link_leads_elsewhere() {
    let scratch = Scratch::new();
    let folder = scratch.join("chroma");
    make(&folder);
    let [segment, elsewhere] = [folder.join(SEGMENTS[0]), scratch.join("elsewhere")];
    let dumps = engine(&folder, None).dump(&printing()).expect("dumps");
    std::fs::rename(&segment, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &segment).expect("a link");
    let error = keep(dumps).map(drop).expect_err("the folder is a link now");
    println!("{:?}", error.chain());
    let dumps = engine(&folder, None).dump(&printing()).expect("dumps");
    assert!(dumps.problems.iter().any(|problem| problem.contains(SEGMENTS[0])), "{:?}", dumps.problems);
    assert_eq!(dumps.dumps.len(), 4);
    // Nor another folder in the place of the whole one.
    std::fs::rename(&folder, scratch.join("old")).expect("moved");
    make(&folder);
    let error = keep(dumps).map(drop).expect_err("another folder");
    assert!(format!("{error:?}").contains("exchanged"), "{error:?}");
}
