//! Random changes to a directory tree: what happens to a source between two backups.
//!
//! Each counted change is one that a dump of the tree shows. Times are the kernel's, as in real life, but a change of
//! content sometimes hides behind the old modification time and the old size, as programs do that set times back.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Uid,
    chmodat, chownat, fallocate, fchmod, fchown, ftruncate, linkat, lremovexattr, openat, renameat_with,
    seek,
};
use rustix::io::pread;

use super::generate::metadata::{Target, random_mode, set_mtime_to, set_xattr};
use super::generate::{Generator, Kind, Place};
use super::random::Random;
use super::scratch::remove_at;
use super::walk::{bounded_path, open_place, open_root, stat, walk, xattrs};

const PAGE_BYTES: u64 = 4096;

/// Contents longer than this are not copied to break a hard link.
const COPY_LIMIT_BYTES: i64 = 1 << 20;

/// One way to change a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Another byte in the middle of a regular file.
    EditByte,
    /// Bytes behind the end of a regular file.
    Append,
    /// Fewer bytes in a regular file.
    Truncate,
    /// Another object, mostly of another type, under the same name.
    Replace,
    /// An object, or a directory with everything below it, that is gone.
    Delete,
    /// A new object.
    Add,
    /// Another name, perhaps in another directory.
    Rename,
    /// Other permissions.
    SetMode,
    /// Another owner.
    SetOwner,
    /// Another modification time.
    Touch,
    /// An extended attribute more, less, or with another value.
    SetXattr,
    /// A hole where data were.
    PunchHole,
    /// A name of a hard-linked file that gets a file of its own, of the same content.
    BreakLink,
    /// A second name of an object.
    AddLink,
}

/// Every way to change a tree.
pub const CHANGES: &[Change] = &[
    Change::EditByte,
    Change::Append,
    Change::Truncate,
    Change::Replace,
    Change::Delete,
    Change::Add,
    Change::Rename,
    Change::SetMode,
    Change::SetOwner,
    Change::Touch,
    Change::SetXattr,
    Change::PunchHole,
    Change::BreakLink,
    Change::AddLink,
];

/// Makes one to eight changes in the tree `root`, drawn from `seed`; how many were made. None may be possible in an
/// empty tree.
pub fn mutate(seed: u64, root: &Path) -> usize {
    let mut random = Random::new(seed);
    let wanted = random.range(1..9);
    let mut made = 0;
    for _ in 0..wanted * 8 {
        let change = *random.pick(CHANGES);
        if made < wanted && mutate_by(change, random.next(), root) {
            made += 1;
        }
    }
    made
}

/// Makes one `change` in the tree `root` if there is an object to which it can be made; whether it was made.
pub fn mutate_by(change: Change, seed: u64, root: &Path) -> bool {
    let mut objects = Vec::new();
    walk(root, &mut |met| {
        if !met.path.is_empty() {
            let names = met.path.split(|byte| *byte == b'/').map(|name| CString::new(name).expect("no NUL"));
            objects.push(Object { place: names.collect(), stat: *met.stat });
        }
    });
    let generator = Generator::new(Random::new(seed), root);
    Mutator { generator, root: open_root(root), objects }.make(change)
}

/// An object in the tree as it was before a change.
struct Object {
    place: Place,
    stat: Stat,
}

impl Object {
    fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    fn is_regular_with_data(&self) -> bool {
        self.file_type() == FileType::RegularFile && self.stat.st_size > 0
    }

    fn mtime(&self) -> Timespec {
        let tv_nsec = i64::try_from(self.stat.st_mtime_nsec).expect("less than a second");
        Timespec { tv_sec: self.stat.st_mtime, tv_nsec }
    }
}

/// A chosen object: the directory that holds it, its name there, and the object.
struct Chosen<'a> {
    parent: OwnedFd,
    name: &'a CStr,
    object: &'a Object,
}

impl Chosen<'_> {
    fn target(&self) -> Target<'_> {
        Target { parent: self.parent.as_fd(), name: self.name, file_type: self.object.file_type() }
    }

    fn parent_place(&self) -> &[CString] {
        self.object.place.split_last().map_or(&[], |(_, parents)| parents)
    }

    fn open(&self, flags: OFlags) -> OwnedFd {
        openat(&self.parent, self.name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .expect("a regular file can be opened")
    }
}

struct Mutator {
    generator: Generator,
    root: OwnedFd,
    objects: Vec<Object>,
}

impl Mutator {
    fn make(mut self, change: Change) -> bool {
        let objects = std::mem::take(&mut self.objects);
        match change {
            Change::EditByte => self.edit_byte(&objects),
            Change::Append => self.append(&objects),
            Change::Truncate => self.truncate(&objects),
            Change::Replace => self.replace(&objects),
            Change::Delete => self.choose(&objects, |_| true).is_some_and(|chosen| {
                remove_at(chosen.parent.as_fd(), chosen.name);
                true
            }),
            Change::Add => self.add(&objects),
            Change::Rename => self.rename(&objects),
            Change::SetMode => self.change_mode(&objects),
            Change::SetOwner => self.change_owner(&objects),
            Change::Touch => self.choose(&objects, |_| true).is_some_and(|chosen| {
                let mtime = Timespec { tv_sec: chosen.object.mtime().tv_sec ^ 4096, tv_nsec: 17 };
                set_mtime_to(chosen.parent.as_fd(), chosen.name, mtime).is_ok()
            }),
            Change::SetXattr => self.change_xattr(&objects),
            Change::PunchHole => self.punch_hole(&objects),
            Change::BreakLink => self.break_link(&objects),
            Change::AddLink => self.add_link(&objects),
        }
    }

    /// One of the `objects` that `fits`, if there is one.
    fn choose<'a>(&mut self, objects: &'a [Object], fits: impl Fn(&Object) -> bool) -> Option<Chosen<'a>> {
        let fitting: Vec<&Object> = objects.iter().filter(|object| fits(object)).collect();
        if fitting.is_empty() {
            return None;
        }
        let object = *self.generator.random.pick(&fitting);
        let (name, parents) = object.place.split_last().expect("an object has a name");
        Some(Chosen { parent: open_place(self.root.as_fd(), parents), name, object })
    }

    /// The place of a random directory, perhaps the root.
    fn choose_directory(&mut self, objects: &[Object]) -> Place {
        match self.choose(objects, |object| object.file_type() == FileType::Directory) {
            Some(chosen) if self.generator.random.chance(3, 4) => chosen.object.place.clone(),
            _ => Vec::new(),
        }
    }

    /// Sets the modification time back in one of three cases, if the size and other properties still show the change.
    fn hide(&mut self, chosen: &Chosen<'_>) {
        if self.generator.random.chance(1, 3) {
            set_mtime_to(chosen.parent.as_fd(), chosen.name, chosen.object.mtime())
                .expect("a time can be set");
        }
    }

    fn edit_byte(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, Object::is_regular_with_data) else { return false };
        let position = self.generator.random.below(chosen.object.stat.st_size.unsigned_abs());
        let file = chosen.open(OFlags::RDWR);
        let mut byte = [0_u8];
        pread(&file, &mut byte, position).expect("a byte can be read");
        let flipped = 1 << self.generator.random.below(8);
        rustix::io::pwrite(&file, &[byte[0] ^ flipped], position).expect("a byte can be written");
        self.hide(&chosen);
        true
    }

    fn append(&mut self, objects: &[Object]) -> bool {
        let regular = |object: &Object| object.file_type() == FileType::RegularFile;
        let Some(chosen) = self.choose(objects, regular) else { return false };
        let length = self.generator.random.range(1..9000);
        let bytes = self.generator.random.bytes(length);
        let end = chosen.object.stat.st_size.unsigned_abs();
        rustix::io::pwrite(chosen.open(OFlags::WRONLY), &bytes, end).expect("bytes can be appended") > 0
    }

    fn truncate(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, Object::is_regular_with_data) else { return false };
        let length = self.generator.random.below(chosen.object.stat.st_size.unsigned_abs());
        ftruncate(chosen.open(OFlags::WRONLY), length).expect("a file can be shortened");
        self.hide(&chosen);
        true
    }

    fn replace(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, |_| true) else { return false };
        let kind = match chosen.object.file_type() {
            FileType::RegularFile => {
                *self.generator.random.pick(&[Kind::Directory, Kind::Symlink, Kind::Fifo])
            }
            FileType::Directory => *self.generator.random.pick(&[Kind::Regular, Kind::Symlink]),
            _ => *self.generator.random.pick(&[Kind::Regular, Kind::Directory]),
        };
        remove_at(chosen.parent.as_fd(), chosen.name);
        self.generator.make(kind, chosen.parent_place(), chosen.parent.as_fd(), chosen.name);
        if kind == Kind::Directory {
            self.generator.add_in(&chosen.object.place);
        }
        self.generator.finish_new_directories();
        true
    }

    fn add(&mut self, objects: &[Object]) -> bool {
        let place = self.choose_directory(objects);
        let made = self.generator.add_in(&place);
        self.generator.finish_new_directories();
        made
    }

    fn rename(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, |_| true) else { return false };
        let place = match self.generator.random.chance(1, 2) {
            true => chosen.parent_place().to_vec(),
            false => self.choose_directory(objects),
        };
        if place.starts_with(&chosen.object.place) {
            return false;
        }
        let name = self.free_name();
        let to = open_place(self.root.as_fd(), &place);
        renameat_with(&chosen.parent, chosen.name, to, &name, RenameFlags::NOREPLACE).is_ok()
    }

    /// A name that no object of the tree is likely to have.
    fn free_name(&mut self) -> CString {
        CString::new(format!("changed-{:016x}", self.generator.random.next())).expect("no NUL")
    }

    fn change_mode(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, |object| object.file_type() != FileType::Symlink) else {
            return false;
        };
        let privileged = self.generator.privileged;
        let mode = random_mode(&mut self.generator.random, chosen.object.file_type(), privileged);
        chmodat(&chosen.parent, chosen.name, mode, AtFlags::empty()).expect("a mode can be changed");
        stat(chosen.parent.as_fd(), chosen.name).st_mode != chosen.object.stat.st_mode
    }

    fn change_owner(&mut self, objects: &[Object]) -> bool {
        if !self.generator.privileged {
            return false;
        }
        let Some(chosen) = self.choose(objects, |_| true) else { return false };
        let other_than = |number: u32| if number == 1000 { 1001 } else { 1000 };
        let user = Uid::from_raw(other_than(chosen.object.stat.st_uid));
        let group = Gid::from_raw(other_than(chosen.object.stat.st_gid));
        let group = self.generator.random.chance(1, 2).then_some(group);
        chownat(&chosen.parent, chosen.name, Some(user), group, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    fn change_xattr(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, |_| true) else { return false };
        let before = xattrs(chosen.parent.as_fd(), chosen.name);
        if !before.is_empty() && self.generator.random.chance(1, 2) {
            let (name, _) = self.generator.random.pick(&before);
            let path = bounded_path(chosen.parent.as_fd(), chosen.name);
            return lremovexattr(path, name.as_slice()).is_ok();
        }
        let Generator { random, census, privileged, .. } = &mut self.generator;
        set_xattr(random, census, chosen.target(), *privileged);
        xattrs(chosen.parent.as_fd(), chosen.name) != before
    }

    fn punch_hole(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, Object::is_regular_with_data) else { return false };
        let file = chosen.open(OFlags::RDWR);
        let Ok(start) = seek(&file, SeekFrom::Data(0)) else { return false };
        let length = PAGE_BYTES * (1 + self.generator.random.below(4));
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&file, flags, start - start % PAGE_BYTES, length).is_ok()
    }

    /// Writes the file again under one of its names, with the same bytes, mode, owner and time.
    fn break_link(&mut self, objects: &[Object]) -> bool {
        let linked = |object: &Object| {
            object.is_regular_with_data()
                && object.stat.st_nlink > 1
                && object.stat.st_size <= COPY_LIMIT_BYTES
        };
        let Some(chosen) = self.choose(objects, linked) else { return false };
        let size = usize::try_from(chosen.object.stat.st_size).expect("a small file");
        let mut bytes = vec![0_u8; size];
        let length = pread(chosen.open(OFlags::RDONLY), bytes.as_mut_slice(), 0).expect("a file can be read");
        assert_eq!(length, size, "a small file is read at once");
        remove_at(chosen.parent.as_fd(), chosen.name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&chosen.parent, chosen.name, flags, Mode::RUSR).expect("a file can be created");
        rustix::io::pwrite(&file, &bytes, 0).expect("a file can be written");
        let stat = &chosen.object.stat;
        if self.generator.privileged {
            fchown(&file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
                .expect("as before");
        }
        fchmod(&file, Mode::from_raw_mode(stat.st_mode)).expect("a mode can be set");
        set_mtime_to(chosen.parent.as_fd(), chosen.name, chosen.object.mtime()).is_ok()
    }

    fn add_link(&mut self, objects: &[Object]) -> bool {
        let Some(chosen) = self.choose(objects, |object| object.file_type() != FileType::Directory) else {
            return false;
        };
        let place = self.choose_directory(objects);
        let to = open_place(self.root.as_fd(), &place);
        linkat(&chosen.parent, chosen.name, to.as_fd(), self.free_name(), AtFlags::empty()).is_ok()
    }
}
