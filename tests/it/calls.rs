//! What restoring a small file asks of the system, counted by strace: whatever else a file costs, it costs no more calls
//! than these.
//!
//! What must hold: calls are counted, never time; what a run costs however many files there are is no part of the count.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use packstone::format::config::Parameters;
use packstone::storage::local::Local;

use crate::engine::{KEY, back_up, init};
use crate::support::dump::{assert_same, dump};
use crate::support::need::can_trace;
use crate::support::scratch::Scratch;

/// Files of a folder.
const FILES: usize = 500;
/// To make a file, to ask what it is, to write it, to set its mode and its time, to ask what was kept, to close it.
const CALLS_OF_FILE: usize = 7;
/// For a further folder, and the pages and segments of its files.
const CALLS_OF_FOLDER: usize = 60;

/// What threads ask of the system to wait for each other and to have memory, which differs from run to run; and by what a
/// build for tests makes sure that a descriptor is open before it closes it.
const UNCOUNTED: [&str; 9] =
    ["brk", "fcntl", "futex", "madvise", "mmap", "mprotect", "munmap", "rt_sigprocmask", "sched_yield"];

/// The calls by which a new process restores so many folders of files.
fn calls(folders: usize) -> usize {
    let scratch = Scratch::new();
    let [source, target, repository, key_file, counts] =
        ["source", "target", "repository", "key", "counts"].map(|name| scratch.join(name));
    fs::write(&key_file, KEY).unwrap();
    fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
    for folder in 0..folders {
        let folder = source.join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        for number in 0..FILES {
            fs::write(folder.join(number.to_string()), format!("number {number}")).unwrap();
        }
    }
    let local = Arc::new(Local::create(&repository).unwrap());
    let id = back_up(&init(local, Parameters::default(), None), &source).id;
    let status = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&counts)
        .arg(env!("CARGO_BIN_EXE_packstone"))
        .args(["--quiet", "--no-cache", "--repository"])
        .arg(&repository)
        .arg("--key-file")
        .arg(&key_file)
        .args(["restore", "--target"])
        .arg(&target)
        .arg(format!("{}:{}", id.hex(), source.display()))
        .status();
    assert!(status.unwrap().success());
    assert_same(&dump(&source), &dump(&target));
    counted(&counts)
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
fn a_small_file_costs_seven_calls() {
    if !can_trace("how many system calls the restore of a small file takes") {
        return;
    }
    let (one, two) = (calls(1), calls(2));
    let most = FILES * CALLS_OF_FILE + CALLS_OF_FOLDER;
    assert!(two - one <= most, "{} calls for {FILES} files more, at most {most} are allowed", two - one);
}
