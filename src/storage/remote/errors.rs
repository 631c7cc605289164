//! What went wrong on a service, in words of the storage, and whether trying again may help.
//!
//! What must hold: nothing of an address behind its `?` and nothing of a header is shown, for it may be a secret; what a
//! service says of itself is shown in one line.

use std::error::Error as _;

use opendal::ErrorKind as Opendal;

use super::transport::last_status;
use crate::base::{Error, ErrorKind};

/// What became of one attempt.
pub(in crate::storage) type Attempt<T> = std::result::Result<T, Failure>;

/// A call that failed.
#[derive(Debug)]
pub(in crate::storage) struct Failure {
    pub(in crate::storage) error: Error,
    /// The same may succeed if it is tried again.
    pub(in crate::storage) may_pass: bool,
    /// Something was achieved nevertheless.
    pub(in crate::storage) has_progressed: bool,
}

impl Failure {
    /// One that stays, however often it is tried.
    pub(in crate::storage) const fn lasting(error: Error) -> Self {
        Self { error, may_pass: false, has_progressed: false }
    }

    /// One that may pass.
    pub(in crate::storage) const fn passing(error: Error) -> Self {
        Self { error, may_pass: true, has_progressed: false }
    }

    /// What a service said.
    pub(super) fn of_service(cause: &opendal::Error) -> Self {
        let said = said(cause);
        if said.contains("failed to load signing credential") {
            return Self::lasting(Error::new(
                ErrorKind::Denied,
                format!("{said}: no credentials were found"),
            ));
        }
        let (kind, may_pass) = classify(cause, last_status(), &said);
        Self { error: Error::new(kind, said), may_pass, has_progressed: false }
    }

    /// The name is taken, as far as the service says.
    pub(super) fn is_taken(&self) -> bool {
        self.error.kind() == ErrorKind::Exists
    }
}

fn classify(cause: &opendal::Error, status: u16, said: &str) -> (ErrorKind, bool) {
    match (cause.kind(), status) {
        // Glacier and its like.
        (_, 403) if said.starts_with("InvalidObjectState") => (ErrorKind::Frozen, false),
        (_, 409) if ["BlobArchived", "BlobBeingRehydrated"].iter().any(|code| said.starts_with(code)) => {
            (ErrorKind::Frozen, false)
        }
        (_, 409) if said.starts_with("BlobImmutable") => (ErrorKind::Denied, false),
        (_, 507) => (ErrorKind::OutOfSpace, false),
        (_, 413 | 400 | 403) if said.contains("QuotaExceeded") => (ErrorKind::OutOfSpace, false),
        (Opendal::ConditionNotMatch | Opendal::AlreadyExists, _) => (ErrorKind::Exists, false),
        // Another creation runs at this moment.
        (Opendal::Conflict, 409) => (ErrorKind::Unreachable, true),
        (Opendal::PermissionDenied, _) | (_, 401) => (ErrorKind::Denied, false),
        (Opendal::NotFound, _) => (ErrorKind::NotFound, false),
        (Opendal::RateLimited, _) | (_, 408 | 425 | 429) => (ErrorKind::Unreachable, true),
        (Opendal::Unsupported, _) | (_, 501) => (ErrorKind::Unsupported, false),
        _ if cause.is_temporary() => (ErrorKind::Unreachable, true),
        _ => (ErrorKind::Failed, false),
    }
}

/// More of it would not be read.
const SAID_BYTES_MAX: usize = 400;

/// What the service and what lies below it say.
fn said(cause: &opendal::Error) -> String {
    let mut parts = vec![of_xml(cause.message()).unwrap_or_else(|| cause.message().to_owned())];
    let mut below = cause.source();
    while let Some(deeper) = below {
        parts.push(deeper.to_string());
        below = deeper.source();
    }
    let status = last_status();
    if status >= 400 && !parts.iter().any(|part| part.contains(&status.to_string())) {
        parts.push(format!("status {status}"));
    }
    parts.retain(|part| !part.trim().is_empty());
    let line = parts.join(": ");
    let mut line = line.split_whitespace().map(without_query).collect::<Vec<_>>().join(" ");
    if line.len() > SAID_BYTES_MAX {
        let end = (0..=SAID_BYTES_MAX).rev().find(|end| line.is_char_boundary(*end)).unwrap_or_default();
        line.truncate(end);
        line.push('…');
    }
    if line.is_empty() {
        "it failed without a word".to_owned()
    } else {
        line.replace(|letter: char| letter.is_control(), " ")
    }
}

/// A word, of an address only what stands before its `?`.
fn without_query(word: &str) -> String {
    match word.split_once('?') {
        Some((address, _)) if address.contains('/') => format!("{address}?…"),
        _ => word.to_owned(),
    }
}

/// Code and message of an answer of S3 or Azure, which the crate gives as its own structure's text.
fn of_xml(message: &str) -> Option<String> {
    let field = |name: &str| {
        let (_, after) = message.split_once(&format!("{name}: \""))?;
        after.split_once('"').map(|(value, _)| value)
    };
    ["S3Error", "AzblobError"].iter().any(|begin| message.starts_with(begin)).then_some(())?;
    let code = field("code").filter(|code| !code.is_empty())?;
    Some(match field("message").filter(|text| !text.is_empty()) {
        Some(text) => format!("{code}: {text}"),
        None => code.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::remote::transport::failed;

    #[test]
    fn what_a_service_says_is_one_line_without_secrets() {
        let message = "S3Error { code: \"NoSuchBucket\", message: \"There is none\", resource: \"/x\", request_id: \"1\" }";
        assert_eq!(said(&failed(message)), "NoSuchBucket: There is none");
        let message = "AzblobError { code: \"BlobArchived\", message: \"Not permitted RequestId:1\" }";
        assert_eq!(said(&failed(message)), "BlobArchived: Not permitted RequestId:1");
        let cause = std::io::Error::other("get https://h/c/x?sig=hunter2&se=1\nfailed");
        let shown = said(&failed("request").set_source(cause));
        assert_eq!(shown, "request: get https://h/c/x?… failed");
        assert_eq!(said(&failed("")), "it failed without a word");
        let long = said(&failed("ä".repeat(10_000)));
        assert!(long.len() <= SAID_BYTES_MAX + '…'.len_utf8(), "{}", long.len());
    }

    #[test]
    fn kinds_and_repetition_follow_from_the_answer() {
        let of = |kind, status, said: &str| classify(&opendal::Error::new(kind, "x"), status, said);
        assert_eq!(of(Opendal::ConditionNotMatch, 412, ""), (ErrorKind::Exists, false));
        assert_eq!(of(Opendal::Conflict, 409, ""), (ErrorKind::Unreachable, true));
        assert_eq!(of(Opendal::Conflict, 409, "BlobArchived: cold"), (ErrorKind::Frozen, false));
        assert_eq!(of(Opendal::Conflict, 409, "BlobImmutableDueToPolicy"), (ErrorKind::Denied, false));
        assert_eq!(
            of(Opendal::PermissionDenied, 403, "InvalidObjectState: cold"),
            (ErrorKind::Frozen, false)
        );
        assert_eq!(of(Opendal::PermissionDenied, 403, "AccessDenied"), (ErrorKind::Denied, false));
        assert_eq!(of(Opendal::Unexpected, 429, ""), (ErrorKind::Unreachable, true));
        assert_eq!(of(Opendal::NotFound, 404, ""), (ErrorKind::NotFound, false));
        assert_eq!(of(Opendal::Unexpected, 501, ""), (ErrorKind::Unsupported, false));
        assert_eq!(of(Opendal::Unexpected, 507, ""), (ErrorKind::OutOfSpace, false));
        assert_eq!(of(Opendal::Unexpected, 400, ""), (ErrorKind::Failed, false));
        let temporary = opendal::Error::new(Opendal::Unexpected, "x").set_temporary();
        assert_eq!(classify(&temporary, 503, ""), (ErrorKind::Unreachable, true));
    }
}
