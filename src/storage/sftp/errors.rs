//! What went wrong between here and the server, in words of the storage: what the program said, what a server answers.
//!
//! What must hold: what only a person can put right is not tried again, and is told with what to do; what a program or a
//! server says is shown in one line.

use std::ffi::OsStr;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind};
use crate::storage::remote::errors::Failure;

/// How the program ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; nothing if it was killed.
    pub(super) code: Option<i32>,
    /// What it said last.
    pub(super) said: Vec<u8>,
}

/// The program cannot be started.
pub(super) fn not_started(program: &OsStr, cause: std::io::Error) -> Failure {
    let shown = show_path(program.as_encoded_bytes());
    let message = if cause.kind() == std::io::ErrorKind::NotFound {
        format!("the program {shown}, by which SFTP is reached, is not installed")
    } else {
        format!("the program {shown}, by which SFTP is reached, cannot be started")
    };
    // Nothing of a repository is missing.
    Failure::lasting(Error::system(message, cause).of_kind(ErrorKind::Failed))
}

/// The program ended before the server greeted.
pub(super) fn not_let_in(ended: &Ended, host: &str) -> Failure {
    // What matters may stand far above the end.
    let whole = String::from_utf8_lossy(&ended.said);
    let has = |text: &str| whole.contains(text);
    let said = match line(&ended.said) {
        said if said.is_empty() => "it says nothing".to_owned(),
        said => said,
    };
    let lasting = |kind, what: String| Failure::lasting(Error::new(kind, format!("{what}: {said}")));
    if has("IDENTIFICATION HAS CHANGED") {
        return lasting(
            ErrorKind::Denied,
            format!(
                "the host key of {host} is not the one that is known; find out why before you replace it"
            ),
        );
    }
    if has("Host key verification failed") {
        return lasting(
            ErrorKind::Denied,
            format!("the host key of {host} is not known; compare and accept it once with ssh {host}"),
        );
    }
    if has("Permission denied") || has("Too many authentication failures") {
        return lasting(
            ErrorKind::Denied,
            format!("{host} refuses the login; ssh {host} must work without a password first"),
        );
    }
    if has("subsystem request failed") {
        return lasting(ErrorKind::Unsupported, format!("{host} offers no SFTP"));
    }
    match ended.code {
        // What ssh gives for all that concerns the connection; what a server gives that ends early; or it was killed.
        None | Some(0 | 255) => {
            let message = format!("no connection to {host}: {said}");
            Failure::passing(Error::new(ErrorKind::Unreachable, message))
        }
        Some(code) => lasting(
            ErrorKind::Failed,
            format!("the program by which {host} is reached ended with code {code}"),
        ),
    }
}

/// Something else than SFTP came.
pub(super) fn no_hello(host: &str, begin: &[u8]) -> Failure {
    let message =
        format!("{host} does not speak SFTP; what a login there prints must go away: {}", line(begin));
    Failure::lasting(Error::new(ErrorKind::Failed, message))
}

/// Another version of SFTP.
pub(super) fn other_version(host: &str, version: u32) -> Failure {
    let message = format!("{host} speaks version {version} of SFTP, not version 3");
    Failure::lasting(Error::new(ErrorKind::Unsupported, message))
}

/// The status of an answer that is no success.
pub(super) const END_OF_FILE: u32 = 1;
pub(super) const NOT_FOUND: u32 = 2;

/// What a server answers, other than success.
pub(super) fn of_status(code: u32, message: &str) -> Failure {
    let (kind, may_pass) = match code {
        NOT_FOUND => (ErrorKind::NotFound, false),
        // The last is of a later version, but sent by some.
        3 | 12 => (ErrorKind::Denied, false),
        6 | 7 => (ErrorKind::Unreachable, true),
        // OpenSSH gives the first also for arguments that the system does not take.
        5 | 8 => (ErrorKind::Unsupported, false),
        11 => (ErrorKind::Exists, false),
        14 | 15 => (ErrorKind::OutOfSpace, false),
        _ => (ErrorKind::Failed, false),
    };
    let said = line(message.as_bytes());
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    let error = Error::new(kind, format!("the server refuses with status {code}{said}"));
    Failure { error, may_pass, has_progressed: false }
}

/// More of it would not be read.
const LINE_BYTES_MAX: usize = 400;

/// The end of what was said, in one line.
pub(super) fn line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said).replace(|letter: char| letter.is_control(), " ");
    // A frame around a warning says nothing.
    let words = text.split_whitespace().filter(|word| !word.starts_with("@@@@"));
    let mut line = words.collect::<Vec<_>>().join(" ");
    if let Some(begin) = line.len().checked_sub(LINE_BYTES_MAX).filter(|begin| *begin > 0) {
        let begin = (begin..=line.len()).find(|begin| line.is_char_boundary(*begin)).unwrap_or_default();
        line = format!("…{}", line.split_off(begin));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: Option<i32>, said: &str) -> (ErrorKind, bool, String) {
        let failure = not_let_in(&Ended { code, said: said.into() }, "h");
        (failure.error.kind(), failure.may_pass, failure.error.to_string())
    }

    #[test]
    fn what_a_person_must_put_right_is_not_tried_again() {
        let (kind, may_pass, message) = told(Some(255), "Host key verification failed.");
        assert_eq!((kind, may_pass), (ErrorKind::Denied, false));
        assert!(message.contains("accept it once with ssh h: Host key"), "{message}");
        let (_, may_pass, message) =
            told(Some(255), "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! Host key verification failed.");
        assert!(!may_pass && message.contains("find out why"), "{message}");
        let (kind, may_pass, _) = told(Some(255), "u@h: Permission denied (publickey).");
        assert_eq!((kind, may_pass), (ErrorKind::Denied, false));
        let (kind, may_pass, _) = told(Some(255), "subsystem request failed on channel 0");
        assert_eq!((kind, may_pass), (ErrorKind::Unsupported, false));
        let (kind, may_pass, message) = told(Some(127), "sh: 1: shh: not found");
        assert_eq!((kind, may_pass), (ErrorKind::Failed, false));
        assert!(message.contains("code 127: sh: 1: shh: not found"), "{message}");
        assert!(told(Some(1), "").2.ends_with("it says nothing"));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for code in [None, Some(0), Some(255)] {
            let (kind, may_pass, message) = told(code, "connect: Connection refused");
            assert_eq!((kind, may_pass), (ErrorKind::Unreachable, true));
            assert_eq!(message, "no connection to h: connect: Connection refused");
        }
    }

    #[test]
    fn of_what_is_said_the_end_is_shown() {
        assert_eq!(line(b"@@@@@@@@@@\r\n@  WARNING\x1b[1m\n\nx  "), "@ WARNING [1m x");
        let long = line("ä".repeat(1000).as_bytes());
        assert!(long.starts_with("…ä") && long.len() <= LINE_BYTES_MAX + 3, "{}", long.len());
    }

    #[test]
    fn a_status_has_a_kind() {
        assert_eq!(of_status(2, "").error.kind(), ErrorKind::NotFound);
        assert_eq!(of_status(3, "no").error.to_string(), "the server refuses with status 3: no");
        assert_eq!(of_status(14, "").error.kind(), ErrorKind::OutOfSpace);
        assert!(of_status(7, "").may_pass && !of_status(4, "").may_pass);
    }
}
