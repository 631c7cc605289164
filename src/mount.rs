//! Snapshots as a file system that can only be read (Linux, by FUSE).
//!
//! What must hold: what is read from a mount are the bytes that were stored, or an error of that file alone; new snapshots
//! appear while it is there; what it keeps stays within the repository's limit of memory, however large directories and
//! files are; when it ends, nothing of it is left but what a client still holds open.

mod attributes;
mod file;
mod layout;
mod listing;
mod pages;
mod recent;
mod segments;
mod server;
mod template;
mod view;
mod workers;

pub use template::{PATH_TEMPLATES, PathTemplate};

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Monitor, Result, Timestamp};
use crate::mount::attributes::Owners;
use crate::mount::file::Contents;
use crate::mount::pages::Pages;
use crate::mount::segments::Segments;
use crate::mount::server::{Server, Serving};
use crate::mount::view::{Shown, View};
use crate::mount::workers::Workers;
use crate::repository::{Repository, SnapshotFilter};

/// Requests that need no content are answered by so many threads; those that need a page that is not kept wait there for
/// the storage.
const ANSWERING_THREADS: usize = 16;
/// Content is fetched by so many threads: many times what a storage behind a network is usually asked at a time, so that
/// those that wait for one object leave room to those that want another.
const FETCHING_THREADS: usize = 32;
/// How long a listing of snapshots usually counts.
pub const LISTED_FOR: Duration = Duration::from_secs(5);
/// `AT_STATX_DONT_SYNC`: what the kernel knows already.
const DONT_SYNC: u32 = 0x4000;
/// What the mount is called in tables of mounts.
const KIND: &str = "packstone";

/// What is shown in a mount, and to whom.
pub struct MountOptions {
    /// Only these snapshots.
    pub filter: SnapshotFilter,
    /// Where they stand.
    pub templates: Vec<PathTemplate>,
    /// What stands for `%T`.
    pub name_of_time: Box<dyn Fn(Timestamp) -> String + Send + Sync>,
    /// How long a listing of the snapshots counts, before it is made again.
    pub listed_for: Duration,
    /// Others than who mounts may read it, too.
    pub allow_other: bool,
    /// If others may read it: only what the stored permissions allow them.
    pub checks_permissions: bool,
    /// Everything is shown as owned by root.
    pub owner_root: bool,
}

/// A mount that is there.
pub struct Mounted {
    directory: PathBuf,
    session: Session<Serving>,
    unmounter: Unmounter,
}

/// Ends a mount from another thread.
#[derive(Clone)]
pub struct Unmounter {
    directory: PathBuf,
    device: Option<(u32, u32)>,
    unmounter: Arc<Mutex<SessionUnmounter>>,
}

/// Mounts snapshots at a directory. It is there when this returns, and answers once `Mounted::serve` is called. `Usage` if
/// there is no such directory, `Denied` if the system does not allow it, `Unsupported` where there is no FUSE.
pub fn mount(
    repository: Arc<Repository>,
    directory: &Path,
    options: MountOptions,
    monitor: Arc<dyn Monitor>,
) -> Result<Mounted> {
    let directory = mount_point(directory)?;
    let source = repository.location().replace([',', '\\', '\n'], "_");
    let MountOptions { filter, templates, name_of_time, listed_for, allow_other, owner_root, .. } = options;
    let checks_permissions = allow_other && options.checks_permissions;
    let shown = Shown { filter, templates, name_of_time, listed_for };
    let server = serve(repository, shown, owner_root, checks_permissions, monitor)?;
    let mut config = Config::default();
    // To the kernel itself, or to the program that mounts for others than root.
    let kind = match rustix::process::geteuid().is_root() {
        true => MountOption::CUSTOM(format!("subtype={KIND}")),
        false => MountOption::Subtype(KIND.to_owned()),
    };
    config.mount_options = vec![MountOption::RO, MountOption::FSName(source), kind];
    if checks_permissions {
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(ANSWERING_THREADS);
    config.clone_fd = true;
    let session = Session::new(Serving(Arc::new(server)), &directory, &config);
    let mut session = session.map_err(|error| refused(&directory, error))?;
    let unmounter = Arc::new(Mutex::new(session.unmount_callable()));
    let device = device_at(&directory);
    let unmounter = Unmounter { directory: directory.clone(), device, unmounter };
    Ok(Mounted { directory, session, unmounter })
}

fn serve(
    repository: Arc<Repository>,
    shown: Shown,
    owner_root: bool,
    checks_permissions: bool,
    monitor: Arc<dyn Monitor>,
) -> Result<Server> {
    // Segments are kept here, where it is known which chunks were compared.
    let reader = Arc::new(repository.lasting_reader()?.keeping_at_most(0));
    let memory = repository.memory();
    let pages = Arc::new(Pages::of(Arc::clone(&reader), memory.mounted_page_bytes()));
    let content_bytes = memory.mounted_content_bytes();
    let segments = Segments::of(reader, content_bytes);
    let workers = Workers::start(FETCHING_THREADS)?;
    let contents = Contents::new(Arc::clone(&pages), segments, workers, content_bytes as u64);
    let mounting = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    Ok(Server {
        view: View::of(repository, pages, shown, Arc::clone(&monitor))?,
        contents: Arc::new(contents),
        owners: Owners { mounting, all_root: owner_root },
        checks_permissions,
        monitor,
        handles: server::Handles::default(),
        told: Mutex::default(),
    })
}

/// A directory that can be looked at.
fn mount_point(directory: &Path) -> Result<PathBuf> {
    let shown = show_file(directory);
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotConnected => Error::new(
            ErrorKind::Exists,
            format!("cannot mount at {shown}: a mount is there whose program has ended without removing it"),
        ),
        _ => Error::system(format!("cannot mount at {shown}"), error),
    };
    if !std::fs::metadata(directory).map_err(failed)?.is_dir() {
        return Err(Error::new(ErrorKind::Usage, format!("cannot mount at {shown}: it is no directory")));
    }
    let absolute = directory.canonicalize().map_err(failed)?;
    if is_mounted_by_program(&absolute) {
        let message = format!("cannot mount at {shown}: a file system of a program is mounted there");
        return Err(Error::new(ErrorKind::Exists, message));
    }
    Ok(absolute)
}

/// Whether the topmost directory of a FUSE file system is there: what is mounted over it would be taken for it.
fn is_mounted_by_program(directory: &Path) -> bool {
    let number = std::fs::metadata(directory).map(|found| std::os::unix::fs::MetadataExt::ino(&found));
    // By what the kernel calls FUSE_SUPER_MAGIC.
    rustix::fs::statfs(directory).is_ok_and(|found| found.f_type == 0x6573_5546)
        && number.is_ok_and(|number| number == layout::ROOT)
}

/// The device number of what is mounted at a directory, without asking whoever serves it.
fn device_at(directory: &Path) -> Option<(u32, u32)> {
    let flags = rustix::fs::AtFlags::from_bits_retain(DONT_SYNC);
    let found = rustix::fs::statx(rustix::fs::CWD, directory, flags, rustix::fs::StatxFlags::TYPE).ok()?;
    Some((found.stx_dev_major, found.stx_dev_minor))
}

/// Why the system refused a mount.
fn refused(directory: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot mount at {}", show_file(directory));
    let has_device = Path::new("/dev/fuse").exists();
    match error.kind() {
        std::io::ErrorKind::NotFound if !has_device => Error::new(
            ErrorKind::Unsupported,
            format!("{message}: there is no /dev/fuse, by which file systems of programs are mounted"),
        ),
        std::io::ErrorKind::NotFound if rustix::process::geteuid().is_root() => {
            Error::new(ErrorKind::Denied, format!("{message}: the system does not let root mount here"))
        }
        std::io::ErrorKind::NotFound => Error::new(
            ErrorKind::Denied,
            format!("{message}: there is no program fusermount3, which mounts for users other than root"),
        ),
        std::io::ErrorKind::PermissionDenied => Error::system(message, error),
        // The device is there, and nothing behind it.
        _ if matches!(Errno::from_io_error(&error), Some(Errno::NODEV | Errno::NXIO)) => {
            Error::caused(ErrorKind::Unsupported, message, error)
        }
        _ => Error::caused(ErrorKind::Denied, message, error),
    }
}

impl Mounted {
    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What ends it.
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Answers until it is unmounted, here or by anybody else.
    pub fn serve(self) -> Result<()> {
        let message = || format!("the mount at {} failed", show_file(&self.directory));
        self.session.run().map_err(|error| Error::caused(ErrorKind::Failed, message(), error))
    }
}

impl Unmounter {
    /// Ends the mount. If a client still uses it, its name goes, and the rest with the last client. What somebody else
    /// mounted there since stays.
    pub fn unmount(&self) -> Result<()> {
        let mut unmounter = self.unmounter.lock().unwrap_or_else(PoisonError::into_inner);
        let message = || format!("cannot unmount {}", show_file(&self.directory));
        let is_there = || self.device.is_some() && device_at(&self.directory) == self.device;
        if !is_there() {
            return Ok(());
        }
        if unmounter.unmount().is_ok() && !is_there() {
            return Ok(());
        }
        unmount(&self.directory, UnmountFlags::DETACH).map_err(|error| Error::system(message(), error))
    }
}
