//! The directories of a target that this run has made or entered, reached by number.
//!
//! What must hold: a directory is only ever reached from the root's descriptor, one component at a time, each opened
//! with `O_NOFOLLOW | O_DIRECTORY`, so a symbolic link is never followed; a directory that is reached again is the
//! very one that was registered; only a bounded number of descriptors is kept, whatever the size and depth of the tree;
//! what is closed is forgotten. Whether a directory gives ACLs to what is made in it is asked once for each time that it
//! is opened: until it is finished, nobody but its owner can change that.
//!
//! Plain `openat` rather than `openat2`: for a single component that is neither `.` nor `..` it refuses the same, works
//! on every kernel and is not filtered in containers.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io;

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::fsmeta::apply::gives_acl;

/// Most bytes of a path that a message shows; the end of the path is kept.
const SHOWN_PATH_BYTES_MAX: usize = 1024;

/// A directory of the target, as long as the target is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DirectoryNumber(usize);

impl DirectoryNumber {
    /// The directory that the user named.
    pub const ROOT: Self = Self(0);

    /// A number that no directory need have.
    #[cfg(test)]
    pub(super) const fn of_test(number: usize) -> Self {
        Self(number)
    }
}

/// Which object of the system something is, while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Number of the file system.
    pub device: u64,
    /// Number within it.
    pub inode: u64,
}

impl FileIdentity {
    pub(super) const fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Opens a directory by its name, and nothing but a directory.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// A directory that is open.
pub(super) struct OpenDirectory {
    descriptor: OwnedFd,
    gives_acl: OnceLock<bool>,
}

impl OpenDirectory {
    const fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor, gives_acl: OnceLock::new() }
    }

    /// Whether what is made in it may take an ACL from it.
    pub(super) fn gives_acl(&self) -> bool {
        *self.gives_acl.get_or_init(|| gives_acl(self.descriptor.as_fd()))
    }
}

impl AsFd for OpenDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// What is known of one directory.
struct Known {
    parent: usize,
    name: Box<[u8]>,
    identity: FileIdentity,
}

/// A descriptor that is kept open.
struct Open {
    descriptor: Arc<OpenDirectory>,
    last_use: u64,
}

struct State {
    known: HashMap<usize, Known>,
    next: usize,
    open: HashMap<usize, Open>,
    uses: u64,
    /// One directory of each file system that the target reaches, held from the first moment, so that asking it to
    /// be written out tells of every failure since.
    file_systems: Vec<(u64, Arc<OpenDirectory>)>,
}

/// The table of directories.
pub(super) struct Directories {
    root: Arc<OpenDirectory>,
    path: PathBuf,
    open_max: usize,
    state: Mutex<State>,
}

/// A step from an open directory down to one that was closed meanwhile.
struct Step {
    number: usize,
    name: Box<[u8]>,
    identity: FileIdentity,
}

impl Directories {
    /// Knows the root only; keeps at most `open_max` further descriptors, and at least one.
    pub(super) fn new(path: PathBuf, root: OwnedFd, open_max: usize) -> Result<Self> {
        let identity = FileIdentity::of(&rustix::fs::fstat(&root).wrap(|| "cannot examine the target")?);
        let root = Arc::new(OpenDirectory::new(root));
        let state = State {
            known: HashMap::new(),
            next: 1,
            open: HashMap::new(),
            uses: 0,
            file_systems: vec![(identity.device, Arc::clone(&root))],
        };
        Ok(Self { root, path, open_max: open_max.max(1), state: Mutex::new(state) })
    }

    /// Remembers a directory that was opened as the entry `name` of `parent`.
    pub(super) fn register(
        &self,
        parent: DirectoryNumber,
        name: &[u8],
        identity: FileIdentity,
        descriptor: OwnedFd,
    ) -> DirectoryNumber {
        let descriptor = Arc::new(OpenDirectory::new(descriptor));
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.known.insert(number, Known { parent: parent.0, name: name.into(), identity });
        if !state.file_systems.iter().any(|(device, _)| *device == identity.device) {
            state.file_systems.push((identity.device, Arc::clone(&descriptor)));
        }
        state.keep(number, descriptor, self.open_max);
        DirectoryNumber(number)
    }

    /// An open descriptor of a directory; stays valid when the table closes its own.
    pub(super) fn descriptor(&self, number: DirectoryNumber) -> Result<Arc<OpenDirectory>> {
        let (mut descriptor, steps) = self.nearest(number)?;
        for step in steps.into_iter().rev() {
            let opened = self.reopen(descriptor.as_fd(), &step).wrap(|| {
                format!("cannot return to the directory {}", self.show(DirectoryNumber(step.number), b""))
            })?;
            descriptor = Arc::new(OpenDirectory::new(opened));
            self.lock().keep(step.number, Arc::clone(&descriptor), self.open_max);
        }
        Ok(descriptor)
    }

    /// The nearest open directory at or above one, and the steps down from it, last step first.
    fn nearest(&self, number: DirectoryNumber) -> Result<(Arc<OpenDirectory>, Vec<Step>)> {
        let mut state = self.lock();
        let mut steps = Vec::new();
        let mut at = number.0;
        while at != 0 {
            state.uses += 1;
            let uses = state.uses;
            if let Some(open) = state.open.get_mut(&at) {
                open.last_use = uses;
                return Ok((Arc::clone(&open.descriptor), steps));
            }
            let Some(known) = state.known.get(&at) else {
                return Err(Error::new(ErrorKind::Usage, format!("no directory has the number {at}")));
            };
            steps.push(Step { number: at, name: known.name.clone(), identity: known.identity });
            at = known.parent;
        }
        Ok((Arc::clone(&self.root), steps))
    }

    fn reopen(&self, parent: BorrowedFd<'_>, step: &Step) -> Result<OwnedFd> {
        let opened = match open_directory(parent, &step.name) {
            Err(io::Errno::LOOP | io::Errno::NOTDIR) => Err(replaced()),
            other => other.wrap(|| "cannot open it"),
        }?;
        let stat = rustix::fs::fstat(&opened).wrap(|| "cannot examine it")?;
        if FileIdentity::of(&stat) == step.identity { Ok(opened) } else { Err(replaced()) }
    }

    /// Forgets a directory that is not needed any more, nor any below it; of the root only what it is made of stays.
    pub(super) fn close(&self, number: DirectoryNumber) {
        let mut state = self.lock();
        state.known.remove(&number.0);
        let closed = state.open.remove(&number.0);
        drop(state);
        drop(closed);
    }

    /// One open directory of each file system that was met.
    pub(super) fn file_systems(&self) -> Vec<Arc<OpenDirectory>> {
        self.lock().file_systems.iter().map(|(_, descriptor)| Arc::clone(descriptor)).collect()
    }

    /// The path of an entry, or with an empty name of the directory itself, for a message: of a long one the end.
    pub(super) fn show(&self, directory: DirectoryNumber, name: &[u8]) -> String {
        let state = self.lock();
        let mut names = vec![name];
        let mut bytes = name.len();
        let mut at = directory.0;
        while at != 0 && bytes <= SHOWN_PATH_BYTES_MAX {
            let Some(known) = state.known.get(&at) else { break };
            names.push(&known.name);
            bytes += known.name.len() + 1;
            at = known.parent;
        }
        let mut shown =
            if at == 0 { show_path(self.path.as_os_str().as_encoded_bytes()) } else { "…".to_owned() };
        for name in names.into_iter().rev().filter(|name| !name.is_empty()) {
            shown.push('/');
            shown.push_str(&show_path(name));
        }
        shown
    }

    /// How many directories are known, the root apart.
    #[cfg(test)]
    pub(super) fn known_count(&self) -> usize {
        self.lock().known.len()
    }

    /// How many descriptors are kept, the root's apart.
    #[cfg(test)]
    pub(super) fn open_count(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Keeps a descriptor, and closes those unused for longest: a quarter at a time, so that seldom all are looked at.
    fn keep(&mut self, number: usize, descriptor: Arc<OpenDirectory>, open_max: usize) {
        self.uses += 1;
        self.open.insert(number, Open { descriptor, last_use: self.uses });
        let excess = self.open.len().saturating_sub(open_max);
        if excess > 0 {
            let mut uses: Vec<u64> = self.open.values().map(|open| open.last_use).collect();
            let (_, latest_closed, _) = uses.select_nth_unstable(excess - 1 + open_max / 4);
            self.open.retain(|_, open| open.last_use > *latest_closed);
        }
    }
}

/// The error of a name that stands for another object than the one this run made.
pub(in crate::ops::restore) fn replaced() -> Error {
    Error::new(ErrorKind::Failed, "something else was put in its place while restoring")
}
