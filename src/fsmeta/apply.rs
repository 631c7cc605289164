//! Sets on an object of the file system what a node says of it: owner, extended attributes and ACLs, mode,
//! capabilities, time of change.
//!
//! What must hold: the object is reached by a descriptor only, so that nobody can put another in its place; the order
//! is owner, extended attributes, mode, capabilities, times, because each step may undo a later one; a set-user-id
//! bit never lands on an object of another owner than the stored one; what could not be set, or was accepted and not
//! kept, is said exactly and stops nothing.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io;

use crate::base::monitor::show_path;
use crate::base::{Lack, Timestamp};
use crate::format::node::Metadata;
use crate::fsmeta::acl::{ACCESS as ACCESS_ACL, DEFAULT as DEFAULT_ACL};
use crate::fsmeta::capture::XATTR_LIST_BYTES_MAX;

pub(crate) const CAPABILITY: &[u8] = b"security.capability";

const SET_USER_ID: u16 = 0o4000;
const SET_GROUP_ID: u16 = 0o2000;

/// What of the metadata is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Owner and group, by number.
    pub ownership: bool,
    /// What can give power over the system: set-user-id and set-group-id bits, capabilities, and all extended
    /// attributes under `trusted.` and `security.`. Left out silently: the caller says so once.
    pub special: bool,
    /// Whether extended attributes that are not stored are removed from what was there: ACLs and those under `user.`.
    pub removes_xattrs: bool,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { ownership: true, special: true, removes_xattrs: true }
    }
}

/// What is to be set on one object.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Owner, mode, times.
    pub metadata: &'a Metadata,
    /// Names and complete values of all extended attributes.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// What could not be set, or was accepted and not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is lacking, if that is only so because who sets it may not.
    pub lack: Option<Lack>,
    /// What it is, in words.
    pub message: String,
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self { lack: None, message }
    }
}

/// What is known of an object before anything is set on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// What it is.
    pub kind: FileType,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// False if it was made where no ACL could come from its directory.
    pub may_have_acl: bool,
}

impl Before {
    /// What the system told of an object; nothing is known of ACLs.
    pub fn of(stat: &Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        Self { kind, uid: stat.st_uid, gid: stat.st_gid, may_have_acl: true }
    }
}

/// Sets everything on an open regular file or directory, whose content must not be written afterwards.
///
/// Returns one line for each thing that could not be set or was not kept; empty if all is as stored.
pub fn apply_to_fd(
    descriptor: BorrowedFd<'_>,
    attributes: &Attributes<'_>,
    options: &ApplyOptions,
) -> Vec<Problem> {
    apply(Handle::Open(descriptor), None, attributes, options)
}

/// As [`apply_to_fd`], on a regular file or directory that was there before: attributes that are not stored go.
pub fn apply_to_existing_fd(
    descriptor: BorrowedFd<'_>,
    attributes: &Attributes<'_>,
    options: &ApplyOptions,
) -> Vec<Problem> {
    apply_to_existing(Handle::Open(descriptor), attributes, options)
}

/// As [`apply_to_path_fd`], on an object that was there before: attributes that are not stored go.
pub fn apply_to_existing_path_fd(
    descriptor: BorrowedFd<'_>,
    attributes: &Attributes<'_>,
    options: &ApplyOptions,
) -> Vec<Problem> {
    apply_to_existing(Handle::pinned(descriptor), attributes, options)
}

fn apply_to_existing(
    handle: Handle<'_>,
    attributes: &Attributes<'_>,
    options: &ApplyOptions,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in handle.xattr_names() {
        let is_stored = attributes.xattrs.iter().any(|(stored, _)| *stored == name);
        if !is_stored
            && options.removes(&name)
            && let Err(errno) = handle.remove_xattr(&name)
            && errno != io::Errno::NODATA
        {
            let message = format!("extended attribute {} not removed: {errno}", show_path(&name));
            problems.push(Problem { lack: lack_by(errno, Lack::Xattrs), message });
        }
    }
    problems.extend(apply(handle, None, attributes, options));
    problems
}

/// As [`apply_to_fd`], by who made the object and need not ask again what it is.
pub fn apply_to_made(
    descriptor: BorrowedFd<'_>,
    before: Before,
    attributes: &Attributes<'_>,
    options: &ApplyOptions,
) -> Vec<Problem> {
    apply(Handle::Open(descriptor), Some(before), attributes, options)
}

/// Whether what is made in an open directory takes an ACL from it; where the system does not tell, it may.
pub fn gives_acl(directory: BorrowedFd<'_>) -> bool {
    let asked = rustix::fs::fgetxattr_query(directory, DEFAULT_ACL);
    !matches!(asked, Err(io::Errno::NODATA | io::Errno::OPNOTSUPP))
}

/// Sets everything on the object of any kind that a descriptor opened with `O_PATH | O_NOFOLLOW` stands for: a
/// symbolic link itself, a named pipe, socket or device without opening it. Needs `/proc`.
///
/// Returns lines as [`apply_to_fd`] does.
pub fn apply_to_path_fd(
    descriptor: BorrowedFd<'_>,
    attributes: &Attributes<'_>,
    options: &ApplyOptions,
) -> Vec<Problem> {
    apply(Handle::pinned(descriptor), None, attributes, options)
}

fn apply(
    handle: Handle<'_>,
    before: Option<Before>,
    attributes: &Attributes<'_>,
    options: &ApplyOptions,
) -> Vec<Problem> {
    let before =
        before.map_or_else(|| rustix::fs::fstat(handle.descriptor()).map(|stat| Before::of(&stat)), Ok);
    let before = match before {
        Ok(before) => before,
        Err(errno) => return vec![format!("nothing of the metadata was set: {errno}").into()],
    };
    let mut work =
        Work { handle, before, attributes, options, problems: Vec::new(), is_owner_refused: false };
    let has_owner = work.set_owner();
    let mode_limit = work.set_xattrs();
    let mode = if before.kind == FileType::Symlink { None } else { work.set_mode(mode_limit) };
    work.set_capability();
    let has_time = work.set_time();
    work.verify(has_owner, mode, has_time);
    work.problems
}

/// The one object that is worked on.
enum Handle<'a> {
    /// Opened for reading or writing.
    Open(BorrowedFd<'a>),
    /// Opened with `O_PATH`: the system accepts it only through its name under `/proc`, which leads to exactly this
    /// object, be it a symbolic link.
    Pinned { descriptor: BorrowedFd<'a>, path: String },
}

impl<'a> Handle<'a> {
    fn pinned(descriptor: BorrowedFd<'a>) -> Self {
        Self::Pinned { descriptor, path: format!("/proc/self/fd/{}", descriptor.as_raw_fd()) }
    }

    const fn descriptor(&self) -> BorrowedFd<'a> {
        match self {
            Self::Open(descriptor) | Self::Pinned { descriptor, .. } => *descriptor,
        }
    }

    fn set_owner(&self, owner: Option<Uid>, group: Option<Gid>) -> io::Result<()> {
        match self {
            Self::Open(descriptor) => rustix::fs::fchown(descriptor, owner, group),
            Self::Pinned { descriptor, .. } => {
                rustix::fs::chownat(descriptor, "", owner, group, AtFlags::EMPTY_PATH)
            }
        }
    }

    fn set_mode(&self, mode: u16) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode.into());
        match self {
            Self::Open(descriptor) => rustix::fs::fchmod(descriptor, mode),
            Self::Pinned { path, .. } => rustix::fs::chmod(path, mode),
        }
    }

    fn set_times(&self, times: &Timestamps) -> io::Result<()> {
        match self {
            Self::Open(descriptor) => rustix::fs::futimens(descriptor, times),
            Self::Pinned { path, .. } => {
                rustix::fs::utimensat(rustix::fs::CWD, path, times, AtFlags::empty())
            }
        }
    }

    fn has_xattr(&self, name: &[u8]) -> bool {
        match self {
            Self::Open(descriptor) => rustix::fs::fgetxattr_query(descriptor, name).is_ok(),
            Self::Pinned { path, .. } => rustix::fs::getxattr_query(path, name).is_ok(),
        }
    }

    /// The names of its extended attributes; none where the file system has no such thing.
    fn xattr_names(&self) -> Vec<Vec<u8>> {
        let mut list = vec![0; XATTR_LIST_BYTES_MAX];
        let listed = match self {
            Self::Open(descriptor) => rustix::fs::flistxattr(descriptor, &mut *list),
            Self::Pinned { path, .. } => rustix::fs::listxattr(path, &mut *list),
        };
        let list = list.get(..listed.unwrap_or_default()).unwrap_or_default();
        list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(descriptor) => rustix::fs::fsetxattr(descriptor, name, value, XattrFlags::empty()),
            Self::Pinned { path, .. } => rustix::fs::setxattr(path, name, value, XattrFlags::empty()),
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(descriptor) => rustix::fs::fremovexattr(descriptor, name),
            Self::Pinned { path, .. } => rustix::fs::removexattr(path, name),
        }
    }
}

/// One object, what it shall get, and what went wrong so far.
struct Work<'a> {
    handle: Handle<'a>,
    before: Before,
    attributes: &'a Attributes<'a>,
    options: &'a ApplyOptions,
    problems: Vec<Problem>,
    /// The owner or the group could not be set for lack of privileges.
    is_owner_refused: bool,
}

impl Work<'_> {
    /// True if the system accepted the owner and the group, or has them already.
    fn set_owner(&mut self) -> bool {
        if !self.options.ownership {
            return false;
        }
        let Metadata { uid, gid, .. } = *self.attributes.metadata;
        // All bits set means "leave it" to the system, and no object can have it.
        let owner = (uid != self.before.uid).then(|| (uid != u32::MAX).then(|| Uid::from_raw(uid)));
        let group = (gid != self.before.gid).then(|| (gid != u32::MAX).then(|| Gid::from_raw(gid)));
        if let (Some(Some(owner)), Some(Some(group))) = (owner, group)
            && self.handle.set_owner(Some(owner), Some(group)).is_ok()
        {
            return true;
        }
        // Together they were refused: an unprivileged owner may still be allowed to set the group.
        let mut all_set = true;
        if let Some(owner) = owner {
            let set = owner.map_or(Err(io::Errno::INVAL), |owner| self.handle.set_owner(Some(owner), None));
            all_set &= self.note(set, Lack::Owner, || format!("owner {uid} not set"));
        }
        if let Some(group) = group {
            let set = group.map_or(Err(io::Errno::INVAL), |group| self.handle.set_owner(None, Some(group)));
            all_set &= self.note(set, Lack::Owner, || format!("group {gid} not set"));
        }
        all_set
    }

    /// Returns the mode bits that may be set at all: without its ACL, an object's group must not get the bits of the
    /// ACL's mask, which stand in the mode in the group's place.
    fn set_xattrs(&mut self) -> u16 {
        self.remove_inherited(ACCESS_ACL);
        self.remove_inherited(DEFAULT_ACL);
        // An ACL may take away the right to write attributes, so it comes after the others.
        for (name, value) in self.attributes.xattrs {
            if !is_acl(name) && name != CAPABILITY && !self.options.leaves_out(name) {
                self.set_xattr(name, value);
            }
        }
        let mut mode_limit = 0o7777;
        for (name, value) in self.attributes.xattrs {
            if is_acl(name) && !self.set_xattr(name, value) {
                if self.before.kind != FileType::Symlink && self.handle.has_xattr(name) {
                    let removed = self.handle.remove_xattr(name);
                    self.note(removed, Lack::Xattrs, || format!("inherited {} not removed", show_path(name)));
                }
                if name == ACCESS_ACL {
                    mode_limit = 0o7707 | owning_group_bits(value) << 3;
                }
            }
        }
        mode_limit
    }

    /// Removes an ACL that the object took from its directory when it was made, unless a stored one will replace it.
    fn remove_inherited(&mut self, name: &[u8]) {
        let can_have = match self.before.kind {
            _ if !self.before.may_have_acl => false,
            FileType::Directory => true,
            FileType::Symlink => false,
            _ => name == ACCESS_ACL,
        };
        let is_stored = self.attributes.xattrs.iter().any(|(stored, _)| stored == name);
        if can_have && !is_stored && self.handle.has_xattr(name) {
            let removed = self.handle.remove_xattr(name);
            self.note(removed, Lack::Xattrs, || format!("inherited {} not removed", show_path(name)));
        }
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> bool {
        let set = self.handle.set_xattr(name, value);
        self.note(set, Lack::Xattrs, || format!("extended attribute {} not set", show_path(name)))
    }

    /// Returns the mode that the system accepted.
    fn set_mode(&mut self, mode_limit: u16) -> Option<u16> {
        let stored = self.attributes.metadata.mode & 0o7777;
        let mut mode = stored & mode_limit;
        if mode != stored {
            let group_bits = mode >> 3 & 0o7;
            self.problems.push(
                format!("group permissions limited to {group_bits:o}, because the ACL was not set").into(),
            );
        }
        if !self.options.special {
            mode &= !(SET_USER_ID | SET_GROUP_ID);
        }
        if mode & (SET_USER_ID | SET_GROUP_ID) != 0 {
            mode = self.without_borrowed_power(mode);
        }
        let set = self.handle.set_mode(mode);
        self.note(set, Lack::Mode, || format!("mode {mode:04o} not set")).then_some(mode)
    }

    /// Takes the set-id bits away where they would lend the power of another owner or group than the stored one.
    fn without_borrowed_power(&mut self, mode: u16) -> u16 {
        let stat = match rustix::fs::fstat(self.handle.descriptor()) {
            Ok(stat) => stat,
            Err(errno) => {
                self.problems.push(format!("set-user-id and set-group-id bits not set: {errno}").into());
                return mode & !(SET_USER_ID | SET_GROUP_ID);
            }
        };
        let mut kept = mode;
        let Metadata { uid, gid, .. } = *self.attributes.metadata;
        if mode & SET_USER_ID != 0 && stat.st_uid != uid {
            kept &= !SET_USER_ID;
            let actual = stat.st_uid;
            self.note_borrowed(format!(
                "set-user-id bit not set, because the owner is {actual} instead of {uid}"
            ));
        }
        // On a directory the bit lends nothing: it says which group new entries get.
        if mode & SET_GROUP_ID != 0 && stat.st_gid != gid && self.before.kind != FileType::Directory {
            kept &= !SET_GROUP_ID;
            let actual = stat.st_gid;
            self.note_borrowed(format!(
                "set-group-id bit not set, because the group is {actual} instead of {gid}"
            ));
        }
        kept
    }

    fn set_capability(&mut self) {
        let stored = self.attributes.xattrs.iter().find(|(name, _)| name == CAPABILITY);
        if let Some((name, value)) = stored
            && !self.options.leaves_out(name)
        {
            self.set_xattr(name, value);
        }
    }

    /// True if the system accepted the time of change. The time of access stays.
    fn set_time(&mut self) -> bool {
        let mtime = self.attributes.metadata.mtime;
        if mtime.nanoseconds >= 1_000_000_000 {
            let nanoseconds = mtime.nanoseconds;
            self.problems
                .push(format!("time of change not set: {nanoseconds} nanoseconds in a second").into());
            return false;
        }
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
        };
        let set = self.handle.set_times(&times);
        self.note(set, Lack::Mode, || "time of change not set")
    }

    /// Tells what the system accepted without keeping it.
    fn verify(&mut self, has_owner: bool, mode: Option<u16>, has_time: bool) {
        let stat = match rustix::fs::fstat(self.handle.descriptor()) {
            Ok(stat) => stat,
            Err(errno) => {
                return self.problems.push(format!("the metadata could not be verified: {errno}").into());
            }
        };
        let Metadata { uid, gid, mtime, .. } = *self.attributes.metadata;
        if has_owner && (stat.st_uid, stat.st_gid) != (uid, gid) {
            let (owner, group) = (stat.st_uid, stat.st_gid);
            self.problems.push(format!("owner and group are {owner}:{group} instead of {uid}:{gid}").into());
        }
        let actual_mode = stat.st_mode & 0o7777;
        if let Some(mode) = mode
            && actual_mode != u32::from(mode)
        {
            self.problems.push(format!("mode is {actual_mode:04o} instead of {mode:04o}").into());
        }
        let actual = Timestamp {
            seconds: stat.st_mtime,
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(u32::MAX),
        };
        if has_time && actual != mtime {
            self.problems.push(
                format!(
                    "time of change is {} instead of {} seconds after 1970",
                    show_time(actual),
                    show_time(mtime)
                )
                .into(),
            );
        }
    }

    /// Keeps a problem; true if there was none.
    fn note<M: Into<String>>(
        &mut self,
        result: io::Result<()>,
        what_lacks: Lack,
        what: impl FnOnce() -> M,
    ) -> bool {
        match result {
            Ok(()) => true,
            Err(errno) => {
                let lack = lack_by(errno, what_lacks);
                self.is_owner_refused |= lack == Some(Lack::Owner);
                self.problems.push(Problem { lack, message: format!("{}: {errno}", what().into()) });
                false
            }
        }
    }

    /// Keeps a problem that comes of the owner or the group that could not be set, if it could not.
    fn note_borrowed(&mut self, message: String) {
        let lack = self.is_owner_refused.then_some(Lack::Mode);
        self.problems.push(Problem { lack, message });
    }
}

/// What is lacking where the system forbids to set it.
fn lack_by(errno: io::Errno, lack: Lack) -> Option<Lack> {
    matches!(errno, io::Errno::PERM | io::Errno::ACCESS).then_some(lack)
}

pub(super) fn is_acl(name: &[u8]) -> bool {
    name == ACCESS_ACL || name == DEFAULT_ACL
}

/// The permission bits of the owning group in the value of `system.posix_acl_access`; none if it is not well-formed.
///
/// The value is a version of four bytes and entries of eight: tag, permissions (u16 each), number (u32), all
/// little-endian, as in the kernel's `linux/posix_acl_xattr.h`.
fn owning_group_bits(acl: &[u8]) -> u16 {
    const OWNING_GROUP: [u8; 2] = [4, 0];
    let entries = acl.get(4..).unwrap_or_default();
    entries
        .chunks_exact(8)
        .find_map(|entry| match *entry {
            [low, high, permissions, ..] if [low, high] == OWNING_GROUP => Some(u16::from(permissions) & 0o7),
            _ => None,
        })
        .unwrap_or(0)
}

fn show_time(time: Timestamp) -> String {
    let exact = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if exact < 0 { "-" } else { "" };
    let exact = exact.unsigned_abs();
    format!("{sign}{}.{:09}", exact / 1_000_000_000, exact % 1_000_000_000)
}

#[cfg(test)]
pub(crate) mod tests;
