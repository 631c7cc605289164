//! Random directory trees that hold everything a file system can hold, for property tests of backup and restore.
//!
//! A tree depends on its seed, on the privileges of the process and on what the file system takes, and on nothing
//! else: not on time, umask or the order of directory entries. What the system refuses is left out and counted.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mkfifoat, mknodat, openat, symlinkat,
};
use rustix::io::Errno;

use super::random::Random;
use super::walk::{open_place, open_root};
use census::{Census, Feature, is_refusal};
use content::Contents;
use metadata::Target;

pub mod census;
mod content;
pub(super) mod metadata;
mod names;

/// The longest target that a symbolic link can have on Linux.
const TARGET_LIMIT_BYTES: usize = 4095;

/// How many objects a tree has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// None to 50, on average 25: thousands of such trees are made in a minute.
    Small,
    /// 150 to 350.
    Medium,
}

/// The place of an object: the names from the root of the tree down to it.
pub(super) type Place = Vec<CString>;

/// What an object can be made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Regular,
    Sparse,
    Directory,
    DeepChain,
    Symlink,
    HardLink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

struct Directory {
    place: Place,
    is_empty: bool,
}

/// Makes objects in one tree.
pub(super) struct Generator {
    pub(super) random: Random,
    pub(super) census: Census,
    pub(super) privileged: bool,
    root: OwnedFd,
    /// Directories whose metadata are set when all is made, the root first.
    directories: Vec<Directory>,
    linkable: Vec<(Place, FileType)>,
    contents: Contents,
}

/// Makes a tree of `size` from `seed` in `root`, which is created if there is none and must be empty.
pub fn generate(seed: u64, root: &Path, size: Size) -> Census {
    if root.symlink_metadata().is_err() {
        std::fs::create_dir(root).expect("the root of a tree can be created");
    }
    let mut generator = Generator::new(Random::new(seed), root);
    let objects = match size {
        Size::Small if generator.random.chance(1, 30) => 0,
        Size::Small => generator.random.range(1..48),
        Size::Medium => generator.random.range(150..351),
    };
    for _ in 0..objects {
        generator.add_somewhere();
    }
    generator.finish_directories();
    generator.census
}

impl Generator {
    /// A generator for the tree `root`, of which it knows nothing but the root.
    pub(super) fn new(random: Random, root: &Path) -> Self {
        Self {
            random,
            census: Census::default(),
            privileged: rustix::process::geteuid().is_root(),
            root: open_root(root),
            directories: vec![Directory { place: Vec::new(), is_empty: true }],
            linkable: Vec::new(),
            contents: Contents::default(),
        }
    }

    /// Makes one object in one of the known directories.
    fn add_somewhere(&mut self) {
        let position = self.random.range(0..self.directories.len());
        let place = self.directories[position].place.clone();
        if self.add_in(&place) {
            self.directories[position].is_empty = false;
        }
    }

    /// Makes one object in the directory at `place`; whether the system took it.
    pub(super) fn add_in(&mut self, place: &[CString]) -> bool {
        let kind = self.random_kind();
        let parent = open_place(self.root.as_fd(), place);
        for _ in 0..20 {
            let (name_feature, name) = names::name(&mut self.random);
            match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => {}
                Err(Errno::NOENT) => {
                    let made = self.make(kind, place, parent.as_fd(), &name);
                    if made {
                        self.census.made(name_feature);
                    }
                    return made;
                }
                Err(cause) => drop(self.census.attempted(name_feature, Err(cause))),
            }
        }
        false
    }

    fn random_kind(&mut self) -> Kind {
        let devices = if self.privileged { 3 } else { 0 };
        self.random.weighted(&[
            (84, Kind::Regular),
            (15, Kind::Sparse),
            (32, Kind::Directory),
            (1, Kind::DeepChain),
            (20, Kind::Symlink),
            (22, Kind::HardLink),
            (7, Kind::Fifo),
            (6, Kind::Socket),
            (devices, Kind::CharDevice),
            (devices, Kind::BlockDevice),
        ])
    }

    /// Makes `name`, which must be free, in `parent`, the directory at `place`; whether the system took it.
    pub(super) fn make(
        &mut self,
        kind: Kind,
        place: &[CString],
        parent: BorrowedFd<'_>,
        name: &CStr,
    ) -> bool {
        let whole_mode = Mode::from_raw_mode(0o700);
        let (file_type, made) = match kind {
            Kind::Regular | Kind::Sparse => (FileType::RegularFile, self.make_regular(kind, parent, name)),
            Kind::Directory => {
                let result = mkdirat(parent, name, whole_mode);
                (FileType::Directory, self.count_directory(place, name, result))
            }
            Kind::DeepChain => return self.make_deep_chain(place, parent, name),
            Kind::Symlink => (FileType::Symlink, self.make_symlink(place, parent, name)),
            Kind::HardLink => return self.make_hard_link(place, parent, name),
            Kind::Fifo => {
                let result = mkfifoat(parent, name, whole_mode);
                (FileType::Fifo, self.census.attempted(Feature::Fifo, result))
            }
            Kind::Socket => {
                let result = mknodat(parent, name, FileType::Socket, whole_mode, 0);
                (FileType::Socket, self.census.attempted(Feature::Socket, result))
            }
            Kind::CharDevice => {
                self.make_device(FileType::CharacterDevice, Feature::CharDevice, parent, name)
            }
            Kind::BlockDevice => self.make_device(FileType::BlockDevice, Feature::BlockDevice, parent, name),
        };
        if made && file_type != FileType::Directory {
            let target = Target { parent, name, file_type };
            metadata::set_all(&mut self.random, &mut self.census, target, self.privileged);
            self.linkable.push((joined(place, name), file_type));
        }
        made
    }

    fn make_regular(&mut self, kind: Kind, parent: BorrowedFd<'_>, name: &CStr) -> bool {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(parent, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => file,
            Err(cause) if is_refusal(cause) => return false,
            Err(cause) => panic!("cannot create regular file {name:?}: {cause}"),
        };
        if kind == Kind::Sparse {
            content::write_sparse(&mut self.random, &mut self.census, file.as_fd());
        } else {
            let bytes = self.contents.next(&mut self.random, &mut self.census);
            content::write_at(file.as_fd(), &bytes, 0);
        }
        true
    }

    /// Remembers the directory `name` that was made (or not) in the directory at `place`.
    fn count_directory(&mut self, place: &[CString], name: &CStr, result: Result<(), Errno>) -> bool {
        let made = self.census.attempted(Feature::Directory, result);
        if made {
            if place.len() > 1 {
                self.census.made(Feature::DirectoryNested);
            }
            self.directories.push(Directory { place: joined(place, name), is_empty: true });
        }
        made
    }

    /// A chain of directories whose path from the root is longer than `PATH_MAX` (4096), with a file at its end.
    fn make_deep_chain(&mut self, place: &[CString], parent: BorrowedFd<'_>, name: &CStr) -> bool {
        let mut place = place.to_vec();
        let mut name = name.to_owned();
        let mut current = parent.try_clone_to_owned().expect("a descriptor can be copied");
        for _ in 0..self.random.range(18..22) {
            let result = mkdirat(&current, &name, Mode::RWXU);
            if !self.count_directory(&place, &name, result) {
                self.census.was_refused(Feature::DirectoryDeepChain);
                return false;
            }
            current = super::walk::open_directory(current.as_fd(), &name);
            place.push(name);
            let length = self.random.range(245..names::NAME_LIMIT_BYTES + 1);
            name = CString::new(names::long(&mut self.random, length)).expect("a name holds no NUL");
            if let Some(made) = self.directories.last_mut() {
                made.is_empty = false;
            }
        }
        self.census.made(Feature::DirectoryDeepChain);
        self.make(Kind::Regular, &place, current.as_fd(), c"at the end")
    }

    fn make_symlink(&mut self, place: &[CString], parent: BorrowedFd<'_>, name: &CStr) -> bool {
        let feature = self.random.weighted(&[
            (5, Feature::SymlinkDangling),
            (3, Feature::SymlinkAbsolute),
            (1, Feature::SymlinkLong),
            (3, Feature::SymlinkNotUtf8),
            (5, Feature::SymlinkToObject),
        ]);
        let target: Vec<u8> = match feature {
            Feature::SymlinkAbsolute => {
                self.random.pick(&["/etc/passwd", "/", "/no/such//path/"]).as_bytes().to_vec()
            }
            Feature::SymlinkLong => {
                let length = *self.random.pick(&[TARGET_LIMIT_BYTES, 300, 1023]);
                (0..length).map(|position| if position % 200 == 199 { b'/' } else { b'l' }).collect()
            }
            Feature::SymlinkNotUtf8 => b"\xff/\x80 caf\xe9\n".to_vec(),
            Feature::SymlinkToObject => self.way_to_an_object(place),
            _ => self.random.pick(&["missing", "../../..//gone", "...", "-", " "]).as_bytes().to_vec(),
        };
        self.census.attempted(feature, symlinkat(target, parent, name))
    }

    /// A relative path from the directory at `place` to an object, or to the directory itself.
    fn way_to_an_object(&mut self, place: &[CString]) -> Vec<u8> {
        if self.linkable.is_empty() {
            return b".".to_vec();
        }
        let mut way = b"../".repeat(place.len());
        let (object, _) = self.random.pick(&self.linkable);
        way.extend(object.iter().map(|name| name.to_bytes()).collect::<Vec<_>>().join(&b'/'));
        if way.len() > TARGET_LIMIT_BYTES { b".".to_vec() } else { way }
    }

    fn make_hard_link(&mut self, place: &[CString], parent: BorrowedFd<'_>, name: &CStr) -> bool {
        if self.linkable.is_empty() {
            return self.make(Kind::Regular, place, parent, name);
        }
        let position = self.random.range(0..self.linkable.len());
        let (linked, file_type) = self.linkable[position].clone();
        let (linked_name, linked_parent) = linked.split_last().expect("an object has a name");
        let from = open_place(self.root.as_fd(), linked_parent);
        let feature = match file_type {
            FileType::Symlink => Feature::HardLinkToSymlink,
            FileType::Fifo => Feature::HardLinkToFifo,
            _ if linked_parent == place => Feature::HardLinkSameDirectory,
            _ => Feature::HardLinkOtherDirectory,
        };
        let result = linkat(from, linked_name, parent, name, AtFlags::empty());
        let made = self.census.attempted(feature, result);
        if made {
            self.linkable.push((joined(place, name), file_type));
        }
        made
    }

    /// A device that need not exist; 0:0 is what overlay file systems call a whiteout.
    fn make_device(
        &mut self,
        file_type: FileType,
        feature: Feature,
        parent: BorrowedFd<'_>,
        name: &CStr,
    ) -> (FileType, bool) {
        let (major, minor) =
            *self.random.pick(&[(1, 3), (7, 0), (259, 70_000), (4095, 0xf_ffff), (0, 0), (8, 255)]);
        let result = mknodat(parent, name, file_type, Mode::RUSR, makedev(major, minor));
        (file_type, self.census.attempted(feature, result))
    }

    /// Sets the metadata of all directories that were made and of the root, when nothing more is put into them.
    fn finish_directories(&mut self) {
        for directory in std::mem::take(&mut self.directories).iter().rev() {
            self.finish_directory(directory);
        }
    }

    /// The same for directories that were made in a tree that had been there.
    pub(super) fn finish_new_directories(&mut self) {
        for directory in self.directories.drain(1..).rev().collect::<Vec<_>>() {
            self.finish_directory(&directory);
        }
    }

    fn finish_directory(&mut self, directory: &Directory) {
        let opened = open_place(self.root.as_fd(), &directory.place);
        let target = Target { parent: opened.as_fd(), name: c".", file_type: FileType::Directory };
        metadata::set_all(&mut self.random, &mut self.census, target, self.privileged);
        if directory.is_empty {
            self.census.made(Feature::DirectoryEmpty);
        }
    }
}

/// The place of `name` in the directory at `place`.
pub(super) fn joined(place: &[CString], name: &CStr) -> Place {
    let mut joined = place.to_vec();
    joined.push(name.to_owned());
    joined
}

#[cfg(test)]
mod tests;
