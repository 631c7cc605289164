//! One error type for the whole engine, and the one table that gives each kind its exit code.
//!
//! An error says what failed and on which object; its cause is the `source`. It never guesses and never advises:
//! advice belongs to the edge, where the kind is known and the user is near.

use std::error::Error as StdError;
use std::fmt;

/// Result of a fallible operation of the engine.
pub type Result<T> = std::result::Result<T, Error>;

/// What kind of thing went wrong, as far as a caller may want to tell kinds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Anything that fits no other kind.
    Failed,
    /// The request itself makes no sense.
    Usage,
    /// There is no repository at that place.
    NoRepository,
    /// The session was ended by somebody else, or something else is in the way.
    Fenced,
    /// The password or key opens none of the key slots.
    WrongKey,
    /// Stored bytes are not what they must be.
    Damaged,
    /// The repository needs a newer or other program.
    Unsupported,
    /// An object or a path is not there.
    NotFound,
    /// An object or a path is there already.
    Exists,
    /// The operating system or the storage forbids it.
    Denied,
    /// No room left where bytes should be written.
    OutOfSpace,
    /// The process or the machine has as many open files as it may.
    OutOfDescriptors,
    /// The storage did not answer, or not in a way that helps; later it may.
    Unreachable,
    /// The object lies where it must be thawed before it can be read.
    Frozen,
    /// The user or the system asked to stop.
    Interrupted,
}

impl ErrorKind {
    /// The exit code of a command that ends with this kind of error.
    ///
    /// 10 to 12 mean what they mean in restic, so that scripts carry over.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::NoRepository => 10,
            Self::Fenced => 11,
            Self::WrongKey => 12,
            Self::Damaged => 13,
            Self::Interrupted => 130,
            Self::Failed
            | Self::Unsupported
            | Self::NotFound
            | Self::Exists
            | Self::Denied
            | Self::OutOfSpace
            | Self::OutOfDescriptors
            | Self::Unreachable
            | Self::Frozen => 1,
        }
    }
}

/// What failed, on which object, and why.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a deeper cause.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn caused(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self { kind, message: message.into(), source: Some(Box::new(source)) }
    }

    /// An error of the operating system; its kind follows from its number.
    pub fn system(message: impl Into<String>, cause: impl Into<std::io::Error>) -> Self {
        let cause = cause.into();
        Self::caused(kind_of_system_error(&cause), message, cause)
    }

    /// Stored bytes that are not what they must be.
    pub fn damaged(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, message)
    }

    /// What kind of thing went wrong.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Says what was being done when `self` happened; the kind stays.
    pub fn while_doing(self, message: impl Into<String>) -> Self {
        Self { kind: self.kind, message: message.into(), source: Some(Box::new(self)) }
    }

    /// The same error under another kind.
    pub fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The message and all causes below it, outermost first.
    pub fn chain(&self) -> Vec<String> {
        let mut messages = vec![self.message.clone()];
        let mut next = self.source();
        while let Some(cause) = next {
            messages.push(cause.to_string());
            next = cause.source();
        }
        messages
    }
}

fn kind_of_system_error(cause: &std::io::Error) -> ErrorKind {
    use std::io::ErrorKind as Io;
    let descriptors =
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    if cause.raw_os_error().is_some_and(|number| descriptors.contains(&number)) {
        return ErrorKind::OutOfDescriptors;
    }
    match cause.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::AlreadyExists => ErrorKind::Exists,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded => ErrorKind::OutOfSpace,
        _ => ErrorKind::Failed,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.chain().join(": "))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// Adds to a failed result what was being done.
pub trait Wrap<T> {
    /// Says what was being done; the message is only made when it failed.
    fn wrap<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> Wrap<T> for Result<T> {
    fn wrap<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| error.while_doing(message()))
    }
}

impl<T> Wrap<T> for std::io::Result<T> {
    fn wrap<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|cause| Error::system(message(), cause))
    }
}

impl<T> Wrap<T> for rustix::io::Result<T> {
    fn wrap<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|cause| Error::system(message(), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_kind_and_shows_its_causes_in_order() {
        let failed: std::io::Result<()> = Err(std::io::Error::from_raw_os_error(28));
        let error = failed
            .wrap(|| "cannot write object packs/00/…")
            .wrap(|| "cannot finish the session")
            .expect_err("the write failed");
        assert_eq!(error.kind(), ErrorKind::OutOfSpace);
        let chain = error.chain();
        assert_eq!(chain.len(), 3);
        assert_eq!(chain.first().map(String::as_str), Some("cannot finish the session"));
        assert!(chain.last().is_some_and(|cause| cause.contains("No space left")), "{chain:?}");
        for number in [23, 24] {
            let error = Error::system("cannot open", std::io::Error::from_raw_os_error(number));
            assert_eq!(error.kind(), ErrorKind::OutOfDescriptors);
        }
    }
}
