//! What a test says when it cannot run where it is, and how large it is to be where it can.
//!
//! What must hold: no part is left out in silence. Each is said on the standard error, and where the environment names
//! a file (`scripts/test` does), it is a line of that file, from which the script counts; in CI one line is a failure.
//! The unit tests of the library use this file as well.

use std::fs::OpenOptions;
use std::io::Write;

/// Whether the larger sizes are wanted (`scripts/test --full`).
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment what is wanted")]
pub fn is_full() -> bool {
    std::env::var_os("PACKSTONE_TEST_FULL").is_some_and(|value| !value.is_empty())
}

/// Says and counts that `what` is not tested here, because there is no `need`.
#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where they are")]
pub fn skip(need: &str, what: &str) {
    let line = format!("skipped, needs {need}: {what}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("the standard error takes a line");
    let Some(path) = std::env::var_os("PACKSTONE_TEST_SKIPS") else { return };
    let file = OpenOptions::new().append(true).create(true).open(path);
    // One write, so that tests that run at once do not mix their lines.
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the list of skipped parts takes a line");
}
