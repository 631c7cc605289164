//! A disk that gives a file only in part, as strace plays it: what could be read is kept, the file is told.
//!
//! What must hold: of a file whose content could not be read to its end, nothing comes into the snapshot as if it were whole.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::engine::on_disk;
use crate::support::need::can_inject;
use crate::support::scratch::Scratch;

/// Several batches, of which each is read by calls of its own.
const BIG_BYTES: usize = 12 << 20;

/// Runs a command of the program by a command that is put before it.
fn run(scratch: &Scratch, before: &[&OsStr], arguments: &[&OsStr]) -> Output {
    let program = OsStr::new(env!("CARGO_BIN_EXE_packstone"));
    let mut words = before.iter().copied().chain([program]);
    Command::new(words.next().unwrap())
        .args(words)
        // So little memory that one thread reads everything, whose calls strace counts.
        .args(["--no-cache", "--memory-limit", "32M", "--repository"])
        .arg(scratch.join("repository"))
        .arg("--key-file")
        .arg(scratch.join("key"))
        .args(arguments)
        .output()
        .unwrap()
}

fn listed(scratch: &Scratch, source: &Path) -> Vec<String> {
    let output = run(scratch, &[], &["ls".as_ref(), "latest".as_ref()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let below = format!("{}/", source.display());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix(&below).map(str::to_owned))
        .collect()
}

#[test]
fn a_large_file_that_breaks_off_is_told_and_left_out_and_all_else_is_kept() {
    if !can_inject("what becomes of a file that the disk does not give") {
        return;
    }
    let scratch = Scratch::new();
    let source = scratch.join("source");
    on_disk(&scratch);
    fs::create_dir(&source).unwrap();
    let mut content = vec![0; BIG_BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    let big = source.join("big");
    fs::write(&big, &content).unwrap();
    for name in ["a", "z"] {
        fs::write(source.join(name), name).unwrap();
    }

    let broken: Vec<&OsStr> =
        ["strace", "-qqf", "-o", "/dev/null", "-e", "inject=pread64:error=EIO:when=3+", "-P"]
            .iter()
            .map(OsStr::new)
            .chain([big.as_os_str()])
            .collect();
    let output = run(&scratch, &broken, &["backup".as_ref(), source.as_os_str()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("/source/big") && told.contains("cannot read file"), "{told}");
    assert_eq!(listed(&scratch, &source), ["a", "z"]);

    let output = run(&scratch, &[], &["backup".as_ref(), source.as_os_str()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(listed(&scratch, &source), ["a", "big", "z"]);
    let wanted = format!("latest:{}", big.display());
    let output = run(&scratch, &[], &["cat".as_ref(), wanted.as_ref()]);
    assert!(output.stdout == content, "the file that is whole again comes back");
}
