//! Keeps two runs of one job apart on a machine.
//!
//! What must hold: the lock goes with the process that has it, however that ends, so that no run is ever kept from
//! beginning by one that is gone.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, Wrap};

/// The right to run a job, and to write its log, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// Where this machine keeps what it knows of its jobs.
    pub(super) folder: PathBuf,
    /// The name of the job.
    pub(super) job: String,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone lets go only once a program that is being started has closed what it was given, too.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The file of a job in the folder of what is known of jobs; a name of any letters gives one of few.
pub(super) fn file_of(folder: &Path, job: &str, ending: &str) -> PathBuf {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let plain: String =
        job.bytes().map(|byte| if is_plain(&byte) { char::from(byte) } else { '_' }).collect();
    let mark = match plain == job {
        true => String::new(),
        // Two names that look alike so have two files.
        false => format!("-{}", blake3::hash(job.as_bytes()).to_hex().chars().take(8).collect::<String>()),
    };
    folder.join(format!("{plain}{mark}.{ending}"))
}

/// Makes the folder where it is missing; nobody else may look into it.
fn make_folder(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.wrap(|| format!("cannot make the folder {}", show_file(folder)))
}

/// Takes the right to run a job. `folder` is where this machine keeps what it knows of its jobs. `Fenced` if another
/// process has it.
pub fn lock(folder: &Path, job: &str) -> Result<Lock> {
    make_folder(folder)?;
    let path = file_of(folder, job, "lock");
    let failed = || format!("cannot lock {}", show_file(&path));
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&path).wrap(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // It says who that is, where it can be read.
            let _ = file.read_to_string(&mut holder);
            let holder =
                holder.trim().parse::<u32>().map(|id| format!(", as process {id}")).unwrap_or_default();
            return Err(Error::new(ErrorKind::Fenced, format!("the job {job} runs already{holder}")));
        }
        Err(error) => return Err(Error::system(failed(), error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).wrap(failed)?;
    writeln!(file, "{}", std::process::id()).wrap(failed)?;
    Ok(Lock { file, folder: folder.to_owned(), job: job.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_locked_once_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("jobs");
        let held = lock(&folder, "nightly").unwrap();
        let error = lock(&folder, "nightly").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced);
        let id = std::process::id();
        assert_eq!(error.to_string(), format!("the job nightly runs already, as process {id}"));
        lock(&folder, "weekly").unwrap();
        drop(held);
        lock(&folder, "nightly").unwrap();
    }

    #[test]
    fn names_of_any_letters_have_files_of_their_own() {
        let of = |name| file_of(Path::new("/f"), name, "log").to_str().unwrap().to_owned();
        assert_eq!(of("nightly-1"), "/f/nightly-1.log");
        assert!(of("../x").starts_with("/f/___x-"), "{}", of("../x"));
        assert_ne!(of("a b"), of("a/b"));
    }
}
