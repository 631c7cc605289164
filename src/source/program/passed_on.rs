//! What of this process's environment other programs are given.
//!
//! What must hold: no other program gets a password of a repository or the credentials of its storage, whatever of
//! them is set, nor a variable that was named as the place of a secret; a program of another user gets nothing but what finds programs and says language and time.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the names of variables begin with that are this program's, or its storages'.
const OWN_PREFIXES: [&str; 7] = ["PACKSTONE_", "AWS_", "B2_", "AZURE_", "RCLONE_", "WEBDAV_", "GOOGLE_"];
/// What another user's programs are given.
const OF_ANYBODY: [&str; 4] = ["PATH", "LANG", "LANGUAGE", "TZ"];

/// Whether a variable is for this program alone.
pub fn is_own(name: &OsStr) -> bool {
    OWN_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

/// Whether a variable is of use to a program whoever its user is.
pub fn is_of_anybody(name: &OsStr) -> bool {
    OF_ANYBODY.iter().any(|other| name == *other) || name.as_bytes().starts_with(b"LC_")
}

/// Whether this process has a variable.
pub fn is_set(name: &str) -> bool {
    std::env::vars_os().any(|(own, _)| own == name)
}

/// Whether a program is there: at its path, or in a folder in which programs are looked for.
pub fn has_program(program: &OsStr) -> bool {
    if program.as_bytes().contains(&b'/') {
        return Path::new(program).exists();
    }
    let folders = std::env::vars_os().find(|(name, _)| name == "PATH").map(|(_, folders)| folders);
    std::env::split_paths(&folders.unwrap_or_default()).any(|folder| folder.join(program).exists())
}

/// The variables of this process that no other program is given, those of these names among them.
pub fn own(named: &[String]) -> Vec<OsString> {
    let is_withheld = |name: &OsString| is_own(name) || named.iter().any(|other| name == other.as_str());
    std::env::vars_os().map(|(name, _)| name).filter(is_withheld).collect()
}

/// The variables of this process that another user's programs are given.
pub fn of_anybody() -> Vec<(OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_of_anybody(name)).collect()
}
