//! A file that a command writes for the user.
//!
//! What must hold: it has its name when it is complete and durable, and not before; what had the name before stays until
//! then, and for ever unless it may be replaced; what was begun goes if it is not completed.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use packstone::base::monitor::show_file;
use packstone::base::{Error, ErrorKind, Result, Wrap};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

const BUFFER_BYTES: usize = 256 << 10;

/// A file under way.
#[derive(Debug)]
pub struct TargetFile {
    writer: BufWriter<File>,
    /// Where it is until it is complete; a device or a pipe is written straight.
    temporary: Option<PathBuf>,
    path: PathBuf,
    may_replace: bool,
}

impl TargetFile {
    /// A file that will have this name. `Exists` if a file has it and may not be replaced.
    pub fn create(path: &Path, may_replace: bool) -> Result<Self> {
        let shown = show_file(path);
        let found = match std::fs::metadata(path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                let message = format!("{shown} is a symbolic link that leads nowhere: name the file itself");
                return Err(Error::new(ErrorKind::Usage, message));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).wrap(|| format!("cannot look at {shown}")),
        };
        let is = |judge: fn(&Metadata) -> bool| found.as_ref().is_some_and(judge);
        if is(Metadata::is_dir) {
            return Err(Error::new(ErrorKind::Usage, format!("{shown} is a directory: name a file")));
        }
        if is(Metadata::is_file) && !may_replace {
            return Err(Error::new(ErrorKind::Exists, format!("{shown} is there already")));
        }
        let failed = || format!("cannot make the file {shown}");
        if found.is_some() && !is(Metadata::is_file) {
            let file = OpenOptions::new().write(true).open(path).wrap(failed)?;
            return Ok(Self::of(file, None, path.to_owned(), may_replace));
        }
        // A symbolic link stays, and what it leads to is replaced.
        let path = if found.is_some() { path.canonicalize().wrap(failed)? } else { path.to_owned() };
        let name = path
            .file_name()
            .ok_or_else(|| Error::new(ErrorKind::Usage, format!("{shown} is no name of a file")))?;
        let mut temporary_name = std::ffi::OsString::from(".");
        temporary_name.push(name.to_string_lossy().chars().take(40).collect::<String>());
        temporary_name.push(format!(".packstone-{}", std::process::id()));
        let temporary = path.with_file_name(temporary_name);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&temporary).wrap(failed)?;
        Ok(Self::of(file, Some(temporary), path, may_replace))
    }

    fn of(file: File, temporary: Option<PathBuf>, path: PathBuf, may_replace: bool) -> Self {
        Self { writer: BufWriter::with_capacity(BUFFER_BYTES, file), temporary, path, may_replace }
    }

    /// Lets a file stay that it would replace: it will have that name with `.incomplete` behind it, which is given. `None`
    /// if there is nothing to replace.
    pub fn step_aside(&mut self) -> Option<&Path> {
        if self.temporary.is_none() || !self.may_replace || !self.path.exists() {
            return None;
        }
        self.path.as_mut_os_string().push(".incomplete");
        Some(&self.path)
    }

    /// Completes it: it is durable and has its name.
    pub fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        let Some(temporary) = &self.temporary else {
            // Pipes and most devices keep nothing that could be lost.
            return match self.writer.get_ref().sync_all() {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => Ok(()),
                synced => synced,
            };
        };
        self.writer.get_ref().sync_all()?;
        let named = match self.may_replace {
            true => Err(Errno::INVAL),
            false => renameat_with(CWD, temporary, CWD, &self.path, RenameFlags::NOREPLACE),
        };
        match named {
            // Not every file system can refuse to replace.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if !self.may_replace && self.path.symlink_metadata().is_ok() {
                    return Err(Errno::EXIST.into());
                }
                std::fs::rename(temporary, &self.path)?;
            }
            other => other?,
        }
        self.temporary = None;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Write for TargetFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            drop(std::fs::remove_file(temporary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).expect("a folder");
        names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn it_has_its_name_when_it_is_complete() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let mut file = TargetFile::create(&path, false).expect("made");
        file.write_all(b"new").expect("written");
        assert!(!path.exists());
        file.finish().expect("finished");
        drop(file);
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        assert_eq!(names(folder.path()), ["out"]);
        let refused = TargetFile::create(&path, false).expect_err("it is there");
        assert_eq!(refused.kind(), ErrorKind::Exists);
        let mut file = TargetFile::create(&path, true).expect("made");
        file.write_all(b"newer").expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        file.finish().expect("finished");
        assert_eq!(std::fs::read(&path).expect("there"), b"newer");
    }

    #[test]
    fn what_is_not_completed_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let mut file = TargetFile::create(&path, false).expect("made");
        file.write_all(&[0; 2 * BUFFER_BYTES]).expect("written");
        std::fs::write(&path, "of another").expect("a file");
        assert_eq!(file.finish().expect_err("in the way").kind(), io::ErrorKind::AlreadyExists);
        drop(file);
        assert_eq!(names(folder.path()), ["out"]);
        let refused = TargetFile::create(folder.path(), true).expect_err("a directory");
        assert_eq!(refused.kind(), ErrorKind::Usage);
    }

    #[test]
    fn what_is_not_to_be_replaced_stays_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out");
        let mut file = TargetFile::create(&path, true).expect("made");
        assert_eq!(file.step_aside(), None);
        file.write_all(b"old").expect("written");
        file.finish().expect("finished");
        for new in ["new", "newer"] {
            let mut file = TargetFile::create(&path, true).expect("made");
            file.write_all(new.as_bytes()).expect("written");
            let aside = file.step_aside().expect("there is one").to_owned();
            assert_eq!(aside, folder.path().join("out.incomplete"));
            file.finish().expect("finished");
            assert_eq!(std::fs::read(&aside).expect("there"), new.as_bytes());
        }
        assert_eq!(std::fs::read(&path).expect("there"), b"old");
        assert_eq!(names(folder.path()).len(), 2);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).expect("a link");
        for may_replace in [false, true] {
            let refused = TargetFile::create(&link, may_replace).expect_err("a link");
            assert_eq!(refused.kind(), ErrorKind::Usage);
        }
        assert_eq!(names(folder.path()), ["link"]);
    }

    #[test]
    fn a_device_is_written_straight_and_a_link_stays() {
        let mut file = TargetFile::create(Path::new("/dev/null"), false).expect("opened");
        file.write_all(b"x").expect("written");
        file.finish().expect("finished");
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("out"), folder.path().join("link"));
        std::fs::write(&path, "old").expect("a file");
        std::os::unix::fs::symlink("out", &link).expect("a link");
        let mut file = TargetFile::create(&link, true).expect("made");
        file.write_all(b"new").expect("written");
        file.finish().expect("finished");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
    }
}
