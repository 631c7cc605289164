//! What backing up and restoring a small file ask of the system, counted by strace: whatever else a file costs, it costs no
//! more calls than these.
//!
//! What must hold: calls are counted, never time; what a run costs however many files there are is no part of the count.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::engine::on_disk;
use crate::support::dump::{assert_same, dump};
use crate::support::need::can_trace;
use crate::support::scratch::Scratch;

/// Files of a folder.
const FILES: usize = 500;
/// To ask what it is, to open it, to read it, to ask what it was, to list its extended attributes, to close it.
const CALLS_OF_BACKUP: usize = 6;
/// To make a file, to ask what it is, to write it, to set its mode and its time, to ask what was kept, to close it.
const CALLS_OF_RESTORE: usize = 7;
/// For a further folder, and the pages and segments of its files.
const CALLS_OF_FOLDER: usize = 60;

/// What threads ask of the system to wait for each other and to have memory, which differs from run to run; and by what a
/// build for tests makes sure that a descriptor is open before it closes it.
const UNCOUNTED: [&str; 9] =
    ["brk", "fcntl", "futex", "madvise", "mmap", "mprotect", "munmap", "rt_sigprocmask", "sched_yield"];

/// The calls by which new processes back up and restore so many folders of files.
fn calls(folders: usize) -> (usize, usize) {
    let scratch = Scratch::new();
    let [source, target] = ["source", "target"].map(|name| scratch.join(name));
    let [repository, key_file] = on_disk(&scratch);
    for folder in 0..folders {
        let folder = source.join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        for number in 0..FILES {
            fs::write(folder.join(number.to_string()), format!("number {number}")).unwrap();
        }
    }
    let calls_of = |arguments: &[&OsStr]| {
        let counts = scratch.join("counts");
        let status = Command::new("strace")
            .args(["-f", "-c", "-o"])
            .arg(&counts)
            .arg(env!("CARGO_BIN_EXE_packstone"))
            .args(["--quiet", "--no-cache", "--repository"])
            .arg(&repository)
            .arg("--key-file")
            .arg(&key_file)
            .args(arguments)
            .status();
        assert!(status.unwrap().success());
        counted(&counts)
    };
    let backup = calls_of(&["backup".as_ref(), source.as_os_str()]);
    let wanted = format!("latest:{}", source.display());
    let restore = calls_of(&["restore".as_ref(), "--target".as_ref(), target.as_os_str(), wanted.as_ref()]);
    assert_same(&dump(&source), &dump(&target));
    (backup, restore)
}

/// The sum of a table of strace: share, seconds, microseconds a call, calls, perhaps errors, name.
fn counted(table: &Path) -> usize {
    let text = fs::read_to_string(table).unwrap();
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let name = *columns.last()?;
        let is_counted = name != "total" && !UNCOUNTED.contains(&name);
        columns.get(3)?.parse::<usize>().ok().filter(|_| is_counted)
    };
    let counts: Vec<usize> = text.lines().filter_map(row).collect();
    assert!(counts.len() > 10, "no table of calls:\n{text}");
    counts.iter().sum()
}

#[test]
fn a_small_file_costs_few_calls() {
    if !can_trace("how many system calls a small file takes") {
        return;
    }
    let (one, two) = (calls(1), calls(2));
    let further = [("backup", two.0 - one.0, CALLS_OF_BACKUP), ("restore", two.1 - one.1, CALLS_OF_RESTORE)];
    for (operation, further, of_file) in further {
        let most = FILES * of_file + CALLS_OF_FOLDER;
        println!("{operation}: {further} calls for {FILES} files more");
        assert!(further <= most, "{operation}: {further} calls for {FILES} files more; {most} are allowed");
    }
}
