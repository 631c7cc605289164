//! What the kernel asks of a mount, and how it is answered.
//!
//! What must hold: every request is answered once; what cannot be read is an error of that object alone, and is told to
//! whoever listens; a request that waits for a storage does not keep those from being answered that need none.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::{
    AccessFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use crate::base::limits::{NAME_BYTES_MAX, XATTR_BYTES_MAX};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Finding, FindingKind, Monitor};
use crate::format::node::{NodeKind, XattrValue};
use crate::mount::attributes::{Owners, attributes};
use crate::mount::file::{Contents, OpenFile};
use crate::mount::listing::{Listed, Listing};
use crate::mount::view::{Found, Object, View};

/// What a snapshot holds never changes.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);
/// Above the snapshots something may come or go.
const FOR_NOW: Duration = Duration::from_secs(1);
/// The unit of `statfs`.
const BLOCK_BYTES: u32 = 4096;
/// Messages that were told; more of them would be of one cause.
const TOLD_MAX: usize = 1000;

/// Everything behind the requests.
pub(super) struct Server {
    pub(super) view: View,
    pub(super) contents: Arc<Contents>,
    pub(super) owners: Owners,
    /// The kernel compares permissions and access control lists.
    pub(super) checks_permissions: bool,
    pub(super) monitor: Arc<dyn Monitor>,
    pub(super) handles: Handles,
    pub(super) told: Mutex<HashSet<String>>,
}

/// What the kernel holds open.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    directories: Mutex<HashMap<u64, Arc<Listing>>>,
}

impl Handles {
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn file(&self, handle: FileHandle) -> Option<Arc<OpenFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).get(&handle.0).cloned()
    }

    fn directory(&self, handle: FileHandle) -> Option<Arc<Listing>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner).get(&handle.0).cloned()
    }
}

/// Why a request is refused.
enum Refused {
    /// By the rules of a file system.
    With(Errno),
    /// Because something cannot be read.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Server {
    fn object(&self, number: INodeNo) -> std::result::Result<Object, Refused> {
        // The kernel looks it up anew then.
        self.view.object(number.0)?.ok_or(Refused::With(Errno::ESTALE))
    }

    /// The number for a refusal; what could not be read is told.
    fn refuse(&self, refused: Refused, name: &[u8]) -> Errno {
        match refused {
            Refused::With(errno) => errno,
            Refused::Failed(error) => {
                self.tell(name, &error);
                match error.kind() {
                    ErrorKind::OutOfDescriptors => Errno::ENFILE,
                    _ => Errno::EIO,
                }
            }
        }
    }

    /// Tells once what could not be read.
    fn tell(&self, name: &[u8], error: &Error) {
        let message = error.chain().join(": ");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > TOLD_MAX || !told.insert(format!("{}: {message}", show_path(name))) {
            return;
        }
        let is_last = told.len() > TOLD_MAX;
        drop(told);
        if is_last {
            return self.monitor.note("more could not be read; further messages are left out");
        }
        let kind = match error.kind() {
            ErrorKind::Damaged => FindingKind::Damaged,
            _ => FindingKind::Unreadable,
        };
        self.monitor.finding(&Finding { kind, path: name.to_vec(), message });
    }

    fn attributes(&self, found: &Found) -> (fuser::FileAttr, Duration) {
        (attributes(found.number, &found.object, self.owners), lasting(&found.object))
    }

    fn look_up(&self, parent: INodeNo, name: &OsStr) -> std::result::Result<Found, Refused> {
        if name.len() > NAME_BYTES_MAX {
            return Err(Refused::With(Errno::ENAMETOOLONG));
        }
        self.view.find(parent.0, name.as_bytes())?.ok_or(Refused::With(Errno::ENOENT))
    }

    fn open_file(&self, number: INodeNo, flags: OpenFlags) -> std::result::Result<Arc<OpenFile>, Refused> {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return Err(Refused::With(Errno::EROFS));
        }
        let object = self.object(number)?;
        let entry = object.entry().ok_or(Refused::With(Errno::EISDIR))?;
        let file = OpenFile::of(entry)?.ok_or(Refused::With(Errno::ENXIO))?;
        Ok(Arc::new(file))
    }

    /// A value; where only its length is asked for, as many zeros.
    fn xattr(&self, number: INodeNo, name: &OsStr, size: u32) -> std::result::Result<Vec<u8>, Refused> {
        let object = self.object(number)?;
        let xattrs = object.node().map(|node| node.xattrs.as_slice()).unwrap_or_default();
        let xattr = xattrs.iter().find(|xattr| xattr.name == name.as_bytes());
        match &xattr.ok_or(Refused::With(Errno::NO_XATTR))?.value {
            XattrValue::Inline(value) => Ok(value.clone()),
            XattrValue::Chunk(chunk) if size == 0 => {
                Ok(vec![0; usize::try_from(chunk.length).unwrap_or_default().min(XATTR_BYTES_MAX)])
            }
            XattrValue::Chunk(chunk) => Ok(self.contents.whole(chunk)?),
        }
    }

    /// Names, of which some are for root alone.
    fn xattr_names(&self, number: INodeNo, user: u32) -> std::result::Result<Vec<u8>, Refused> {
        let object = self.object(number)?;
        let mut names = Vec::new();
        for xattr in object.node().map(|node| node.xattrs.as_slice()).unwrap_or_default() {
            if user != 0 && xattr.name.starts_with(b"trusted.") {
                continue;
            }
            names.extend_from_slice(&xattr.name);
            names.push(0);
        }
        Ok(names)
    }

    fn link_target(&self, number: INodeNo) -> std::result::Result<Vec<u8>, Refused> {
        match self.object(number)? {
            Object::Link(layout, number) => {
                layout.link_of(number).map(|(target, _)| target.clone()).ok_or(Refused::With(Errno::ENOENT))
            }
            object => match object.node().map(|node| &node.kind) {
                Some(NodeKind::Symlink(target)) => Ok(target.clone()),
                _ => Err(Refused::With(Errno::EINVAL)),
            },
        }
    }

    fn seek(&self, handle: FileHandle, offset: i64, whence: i32) -> std::result::Result<i64, Refused> {
        const DATA: i32 = 3;
        const HOLE: i32 = 4;
        let file = self.handles.file(handle).ok_or(Refused::With(Errno::EBADF))?;
        let offset = u64::try_from(offset).map_err(|_| Refused::With(Errno::ENXIO))?;
        let found = match whence {
            DATA => file.map().data_from(offset),
            HOLE => file.map().hole_from(offset),
            _ => return Err(Refused::With(Errno::EINVAL)),
        };
        let found = found.ok_or(Refused::With(Errno::ENXIO))?;
        i64::try_from(found).map_err(|_| Refused::With(Errno::EOVERFLOW))
    }
}

/// How long the kernel may go by what it was told of an object.
fn lasting(object: &Object) -> Duration {
    if object.can_change() { FOR_NOW } else { FOR_EVER }
}

fn give_xattr(bytes: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(bytes.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

/// A server as the kernel's requests find it.
pub(super) struct Serving(pub(super) Arc<Server>);

impl Filesystem for Serving {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let mut wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS;
        if self.0.checks_permissions {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        for flag in wanted.iter() {
            // A kernel that lacks one of them is slower, and compares no access control lists.
            let _ = config.add_capabilities(flag);
        }
        Ok(())
    }

    fn destroy(&mut self) {
        self.0.contents.stop();
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.look_up(parent, name) {
            Ok(found) => {
                let (attributes, lasting) = self.0.attributes(&found);
                self.0.view.remember(&found);
                reply.entry(&lasting, &attributes, Generation(0));
            }
            Err(refused) => reply.error(self.0.refuse(refused, name.as_bytes())),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, count: u64) {
        self.0.view.forget(number.0, count);
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.0.object(number) {
            Ok(object) => {
                reply.attr(&lasting(&object), &attributes(number.0, &object, self.0.owners));
            }
            Err(refused) => reply.error(self.0.refuse(refused, &self.0.view.shown(number.0))),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match self.0.link_target(number) {
            Ok(target) => reply.data(&target),
            Err(refused) => reply.error(self.0.refuse(refused, &self.0.view.shown(number.0))),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.0.open_file(number, flags) {
            Ok(file) => {
                let handle = self.0.handles.number();
                let mut files = self.0.handles.files.lock().unwrap_or_else(PoisonError::into_inner);
                files.insert(handle, file);
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(refused) => reply.error(self.0.refuse(refused, &self.0.view.shown(number.0))),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.0.handles.file(handle) else { return reply.error(Errno::EBADF) };
        let length = u64::from(size);
        let contents = &self.0.contents;
        // Before the answer, after which it may be closed.
        file.go_on(contents, offset, length);
        if let Some(bytes) = file.read_kept(contents, offset, length) {
            return reply.data(&bytes);
        }
        let server = Arc::clone(&self.0);
        contents.ask(move || match file.read(&server.contents, offset, length) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(server.refuse(Refused::Failed(error), &file.name)),
        });
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let closed = {
            let mut files = self.0.handles.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.remove(&handle.0)
        };
        if let Some(file) = closed {
            file.close(&self.0.contents);
        }
        reply.ok();
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.0.object(number).and_then(|object| {
            Listing::of(&self.0.view, number.0, &object).ok_or(Refused::With(Errno::ENOTDIR))
        });
        match opened {
            Ok(listing) => {
                let flags = match listing.can_change() {
                    true => FopenFlags::empty(),
                    false => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
                };
                let handle = self.0.handles.number();
                let mut open = self.0.handles.directories.lock().unwrap_or_else(PoisonError::into_inner);
                open.insert(handle, Arc::new(listing));
                reply.opened(FileHandle(handle), flags);
            }
            Err(refused) => reply.error(self.0.refuse(refused, &self.0.view.shown(number.0))),
        }
    }

    fn readdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(listing) = self.0.handles.directory(handle) else { return reply.error(Errno::EBADF) };
        let mut is_empty = true;
        let listed = listing.from(&self.0.view, offset, &mut |next, listed| {
            let (number, kind, name) = match &listed {
                Listed::Here => (listing.number, fuser::FileType::Directory, b".".as_slice()),
                Listed::Above => (listing.parent, fuser::FileType::Directory, b"..".as_slice()),
                Listed::Entry(name, found) => {
                    (found.number, self.0.attributes(found).0.kind, name.as_slice())
                }
            };
            let is_full = reply.add(INodeNo(number), next, kind, OsStr::from_bytes(name));
            is_empty &= is_full;
            Ok(!is_full)
        });
        match listed {
            // What was listed before something could not be read is given out first; the error comes at the next call.
            Err(error) if is_empty => {
                reply.error(self.0.refuse(error.into(), &self.0.view.shown(listing.number)))
            }
            _ => reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let Some(listing) = self.0.handles.directory(handle) else { return reply.error(Errno::EBADF) };
        let mut is_empty = true;
        let listed = listing.from(&self.0.view, offset, &mut |next, listed| {
            let is_full = match &listed {
                Listed::Entry(name, found) => {
                    let (attributes, lasting) = self.0.attributes(found);
                    let name = OsStr::from_bytes(name);
                    let is_full =
                        reply.add(INodeNo(found.number), next, name, &lasting, &attributes, Generation(0));
                    if !is_full {
                        self.0.view.remember(found);
                    }
                    is_full
                }
                dot => {
                    let (number, name) = match dot {
                        Listed::Here => (listing.number, "."),
                        _ => (listing.parent, ".."),
                    };
                    // Of these two the kernel takes no more than number and kind.
                    let attributes = self.0.dot(number);
                    reply.add(INodeNo(number), next, name, &Duration::ZERO, &attributes, Generation(0))
                }
            };
            is_empty &= is_full;
            Ok(!is_full)
        });
        match listed {
            Err(error) if is_empty => {
                reply.error(self.0.refuse(error.into(), &self.0.view.shown(listing.number)))
            }
            _ => reply.ok(),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.0.handles.directories.lock().unwrap_or_else(PoisonError::into_inner).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        let (bytes, nodes) = self.0.view.layout().totals;
        let blocks = bytes.div_ceil(BLOCK_BYTES.into());
        let longest = u32::try_from(NAME_BYTES_MAX).unwrap_or(u32::MAX);
        reply.statfs(blocks, 0, 0, nodes, 0, BLOCK_BYTES, longest, BLOCK_BYTES);
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.0.xattr(number, name, size) {
            Ok(value) => give_xattr(&value, size, reply),
            Err(refused) => reply.error(self.0.refuse(refused, name.as_bytes())),
        }
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.0.xattr_names(number, request.uid()) {
            Ok(names) => give_xattr(&names, size, reply),
            Err(refused) => reply.error(self.0.refuse(refused, &self.0.view.shown(number.0))),
        }
    }

    /// Asked only where the kernel compares no permissions: who may read a mount may read all of it, but may run only
    /// what can be run.
    fn access(&self, _request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let can_run = |object: &Object| {
            let node = object.node();
            node.is_none_or(|node| {
                !matches!(node.kind, NodeKind::Regular(_)) || node.metadata.mode & 0o111 != 0
            })
        };
        match self.0.object(number) {
            Ok(object) if mask.contains(AccessFlags::X_OK) && !can_run(&object) => reply.error(Errno::EACCES),
            Ok(_) => reply.ok(),
            Err(refused) => reply.error(self.0.refuse(refused, &self.0.view.shown(number.0))),
        }
    }

    fn lseek(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.0.seek(handle, offset, whence) {
            Ok(position) => reply.offset(position),
            Err(refused) => reply.error(self.0.refuse(refused, b"")),
        }
    }
}

impl Server {
    fn dot(&self, number: u64) -> fuser::FileAttr {
        let object = Object::Above(self.view.layout(), number);
        attributes(number, &object, self.owners)
    }
}
