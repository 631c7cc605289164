//! A table of what programs ask of files: each is asked of the source and of the mount, which must answer the same.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{
    Access, AtFlags, CWD, Mode, OFlags, accessat, getxattr, lgetxattr, listxattr, llistxattr, openat,
    readlinkat, seek, statat,
};
use rustix::io::Errno;

use super::{Stage, can_mount};
use crate::support::random::Random;
use packstone::format::config::Parameters;

/// What is asked, and what to be answered by a source and a mount of it alike.
type Check = (&'static str, fn(&Path) -> String);

/// What would change something.
type Change = (&'static str, fn(&Path) -> std::io::Result<()>);

const LONG_BYTES: usize = 300_000;

fn fill(source: &Path) {
    let mut random = Random::new(1);
    fs::write(source.join("empty"), "").unwrap();
    fs::write(source.join("one"), "1").unwrap();
    fs::write(source.join("text"), "some text\nof two lines\n").unwrap();
    fs::write(source.join("long"), random.bytes(LONG_BYTES)).unwrap();
    fs::create_dir_all(source.join("folder/deep/deeper")).unwrap();
    fs::write(source.join("folder/deep/deeper/leaf"), "leaf").unwrap();
    fs::create_dir(source.join("nothing")).unwrap();
    fs::hard_link(source.join("text"), source.join("second")).unwrap();
    fs::hard_link(source.join("text"), source.join("folder/third")).unwrap();
    for (target, name) in [
        ("text", "link"),
        ("nowhere", "dangling"),
        ("folder", "to-folder"),
        ("loop", "loop"),
        ("../../..", "out"),
    ] {
        std::os::unix::fs::symlink(target, source.join(name)).unwrap();
    }
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(&random.bytes(8192), 65536).unwrap();
    sparse.write_all_at(b"end", (1 << 20) - 3).unwrap();
    for (name, mode) in [("shut", 0o000), ("set-user", 0o4755), ("sticky", 0o1777), ("run", 0o755)] {
        fs::write(source.join(name), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(source.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let make = |name: &str, kind, device| {
        let mode = Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(CWD, source.join(name), kind, mode, device).unwrap();
    };
    make("fifo", rustix::fs::FileType::Fifo, 0);
    make("socket", rustix::fs::FileType::Socket, 0);
    make("null", rustix::fs::FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    make("disk", rustix::fs::FileType::BlockDevice, rustix::fs::makedev(259, 70_000));
    let set = |name: &str, attribute: &str, value: &[u8]| {
        rustix::fs::lsetxattr(source.join(name), attribute, value, rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("text", "user.short", b"value");
    set("text", "user.empty", b"");
    set("text", "trusted.long", &random.bytes(3000));
    set("folder", "user.of-folder", b"x");
    let name = std::ffi::OsString::from("odd \u{e4}\n\t'\"\\*");
    fs::write(source.join(&name), "odd").unwrap();
    let longest = "n".repeat(255);
    fs::write(source.join(longest), "longest").unwrap();
    let old = std::time::UNIX_EPOCH - std::time::Duration::from_millis(1_500);
    File::options().write(true).open(source.join("one")).unwrap().set_modified(old).unwrap();
    rustix::fs::chownat(
        CWD,
        source.join("one"),
        Some(rustix::fs::Uid::from_raw(70_000)),
        Some(rustix::fs::Gid::from_raw(12)),
        AtFlags::empty(),
    )
    .unwrap();
}

fn said<T: std::fmt::Debug>(result: std::io::Result<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error {:?}", error.raw_os_error()),
    }
}

fn answered<T: std::fmt::Debug>(result: Result<T, Errno>) -> String {
    said(result.map_err(std::io::Error::from))
}

fn stat(path: &Path, name: &str) -> fs::Metadata {
    path.join(name).symlink_metadata().unwrap()
}

fn open(path: &Path, name: &str) -> File {
    File::open(path.join(name)).unwrap()
}

fn part(path: &Path, name: &str, offset: u64, length: usize) -> String {
    let mut room = vec![0xee; length];
    let read = open(path, name).read_at(&mut room, offset).unwrap();
    format!("{read} {}", blake3::hash(&room[..read]))
}

fn kind(path: &Path, name: &str) -> String {
    let stat = stat(path, name);
    let kind = stat.file_type();
    format!(
        "{:o} {} {} {} {} {}",
        stat.mode(),
        kind.is_fifo(),
        kind.is_socket(),
        kind.is_char_device(),
        kind.is_block_device(),
        stat.rdev()
    )
}

fn opened(path: &Path, name: &str, flags: OFlags) -> String {
    answered(openat(CWD, path.join(name), flags | OFlags::CLOEXEC, Mode::empty()).map(drop))
}

fn value(path: &Path, name: &str, attribute: &str, room: usize) -> String {
    let mut bytes = vec![0; room];
    answered(lgetxattr(path.join(name), attribute, bytes.as_mut_slice()).map(|length| {
        let length = length.min(room);
        format!("{length} {:?}", &bytes[..length])
    }))
}

fn attributes(path: &Path, name: &str) -> String {
    let mut bytes = vec![0; 4096];
    answered(llistxattr(path.join(name), bytes.as_mut_slice()).map(|length| {
        let mut names: Vec<String> = bytes[..length]
            .split(|byte| *byte == 0)
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        names.sort();
        names
    }))
}

fn holes(path: &Path, name: &str, from: &[rustix::fs::SeekFrom]) -> String {
    let file = open(path, name);
    from.iter().map(|from| answered(seek(file.as_fd(), *from))).collect::<Vec<_>>().join(" ")
}

fn allowed(path: &Path, name: &str, access: Access) -> String {
    answered(accessat(CWD, path.join(name), access, AtFlags::empty()))
}

fn names(path: &Path, name: &str) -> String {
    said(fs::read_dir(path.join(name)).map(|entries| {
        let mut names: Vec<_> = entries
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.file_name(), entry.file_type().unwrap())
            })
            .collect();
        names.sort_by(|one, other| one.0.cmp(&other.0));
        names
    }))
}

#[rustfmt::skip]
const CHECKS: &[Check] = &[
    ("stat: size of an empty file", |at| stat(at, "empty").len().to_string()),
    ("stat: size of a long file", |at| stat(at, "long").len().to_string()),
    ("stat: size of a sparse file", |at| stat(at, "sparse").len().to_string()),
    ("stat: size of a link", |at| stat(at, "link").len().to_string()),
    ("stat: mode of a file", |at| format!("{:o}", stat(at, "text").mode())),
    ("stat: mode of a folder", |at| format!("{:o}", stat(at, "folder").mode())),
    ("stat: mode of what nobody may read", |at| format!("{:o}", stat(at, "shut").mode())),
    ("stat: set-user-id", |at| format!("{:o}", stat(at, "set-user").mode())),
    ("stat: sticky", |at| format!("{:o}", stat(at, "sticky").mode())),
    ("stat: owner and group", |at| format!("{} {}", stat(at, "one").uid(), stat(at, "one").gid())),
    ("stat: time of change", |at| format!("{} {}", stat(at, "text").mtime(), stat(at, "text").mtime_nsec())),
    ("stat: time before 1970", |at| format!("{} {}", stat(at, "one").mtime(), stat(at, "one").mtime_nsec())),
    ("stat: time of change of the status", |at| format!("{} {}", stat(at, "text").ctime(), stat(at, "text").ctime_nsec())),
    ("stat: time of a folder", |at| format!("{} {}", stat(at, "folder").mtime(), stat(at, "folder").mtime_nsec())),
    ("stat: names of a file with one", |at| stat(at, "long").nlink().to_string()),
    ("stat: names of a file with three", |at| stat(at, "second").nlink().to_string()),
    ("stat: names of one object have one inode", |at| {
        let [one, two, three, other] = ["text", "second", "folder/third", "one"].map(|name| stat(at, name).ino());
        format!("{} {} {}", one == two, one == three, one == other)
    }),
    ("stat: one file system", |at| (stat(at, "text").dev() == stat(at, "folder/deep").dev()).to_string()),
    ("stat: the same through a link", |at| (fs::metadata(at.join("link")).unwrap().ino() == stat(at, "text").ino()).to_string()),
    ("stat: what is not there", |at| said(at.join("missing").symlink_metadata().map(drop))),
    ("stat: below a file", |at| said(at.join("text/x").symlink_metadata().map(drop))),
    ("stat: a name that is too long", |at| said(at.join("n".repeat(256)).symlink_metadata().map(drop))),
    ("stat: the longest name", |at| stat(at, &"n".repeat(255)).len().to_string()),
    ("stat: an odd name", |at| stat(at, "odd \u{e4}\n\t'\"\\*").len().to_string()),
    ("stat: a dangling link", |at| said(fs::metadata(at.join("dangling")).map(drop))),
    ("stat: a link to itself", |at| said(fs::metadata(at.join("loop")).map(drop))),
    ("stat: through a link to a folder", |at| stat(at, "to-folder/deep/deeper/leaf").len().to_string()),
    ("stat: by dots", |at| stat(at, "folder/../folder/./deep/deeper/leaf").len().to_string()),
    ("stat: a pipe", |at| kind(at, "fifo")),
    ("stat: a socket", |at| kind(at, "socket")),
    ("stat: a character device", |at| kind(at, "null")),
    ("stat: a block device with a large number", |at| kind(at, "disk")),
    ("stat: relative to an open folder", |at| {
        let folder = open(at, "folder");
        answered(statat(folder.as_fd(), "deep/deeper/leaf", AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_size))
    }),
    ("stat: the folder above an open one", |at| {
        let folder = open(at, "folder/deep");
        let above = statat(folder.as_fd(), "..", AtFlags::empty()).unwrap();
        (above.st_ino == stat(at, "folder").ino()).to_string()
    }),
    ("read: all of an empty file", |at| said(fs::read(at.join("empty")))),
    ("read: all of a short file", |at| said(fs::read(at.join("text")))),
    ("read: all of a long file", |at| blake3::hash(&fs::read(at.join("long")).unwrap()).to_string()),
    ("read: all of a sparse file", |at| blake3::hash(&fs::read(at.join("sparse")).unwrap()).to_string()),
    ("read: the first byte", |at| part(at, "long", 0, 1)),
    ("read: the last byte", |at| part(at, "long", LONG_BYTES as u64 - 1, 1)),
    ("read: beyond the end", |at| part(at, "long", LONG_BYTES as u64 + 5, 100)),
    ("read: over the end", |at| part(at, "long", LONG_BYTES as u64 - 10, 100)),
    ("read: far beyond the end", |at| part(at, "long", 1 << 62, 100)),
    ("read: a piece in the middle", |at| part(at, "long", 123_457, 70_001)),
    ("read: a hole", |at| part(at, "sparse", 200_000, 5000)),
    ("read: from a hole into data", |at| part(at, "sparse", 60_000, 10_000)),
    ("read: from data into a hole", |at| part(at, "sparse", 70_000, 10_000)),
    ("read: the end of a sparse file", |at| part(at, "sparse", (1 << 20) - 5, 10)),
    ("read: nothing", |at| part(at, "long", 7, 0)),
    ("read: after a seek from the end", |at| {
        let mut file = open(at, "long");
        file.seek(SeekFrom::End(-100)).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        format!("{} {}", bytes.len(), blake3::hash(&bytes))
    }),
    ("read: backwards", |at| {
        let file = open(at, "long");
        let mut hasher = blake3::Hasher::new();
        for offset in (0..LONG_BYTES).step_by(7001).rev() {
            let mut room = [0; 100];
            let read = file.read_at(&mut room, offset as u64).unwrap();
            hasher.update(&room[..read]);
        }
        hasher.finalize().to_string()
    }),
    ("read: into several buffers", |at| {
        let (mut one, mut two) = ([0; 3], [0; 100]);
        let read = open(at, "text").read_vectored(&mut [std::io::IoSliceMut::new(&mut one), std::io::IoSliceMut::new(&mut two)]);
        format!("{read:?} {one:?} {two:?}")
    }),
    ("read: a folder", |at| said(open(at, "folder").read(&mut [0; 10]))),
    ("read: past the page cache", |at| {
        let file = openat(CWD, at.join("long"), OFlags::RDONLY | OFlags::DIRECT, Mode::empty());
        let Ok(file) = file else { return "4096 right".to_owned() };
        // Aligned, as such reads must be.
        let mut room = vec![0; 8192];
        let start = room.as_ptr().align_offset(4096);
        let read = rustix::io::pread(&file, &mut room[start..start + 4096], 4096).unwrap();
        format!("{read} {}", if room[start..start + 4096] == fs::read(at.join("long")).unwrap()[4096..8192] { "right" } else { "wrong" })
    }),
    ("seek: data and holes", |at| {
        use rustix::fs::SeekFrom::{Data, Hole};
        holes(at, "sparse", &[Data(0), Hole(0), Data(65536), Hole(65536), Data(80_000), Data(1 << 20), Hole(1 << 20)])
    }),
    ("seek: a file without holes", |at| {
        use rustix::fs::SeekFrom::{Data, Hole};
        holes(at, "text", &[Data(0), Data(5), Hole(0), Hole(5), Data(22), Data(23), Hole(23)])
    }),
    ("open: to read", |at| opened(at, "text", OFlags::RDONLY)),
    ("open: what is not there", |at| opened(at, "missing", OFlags::RDONLY)),
    ("open: a folder as such", |at| opened(at, "folder", OFlags::RDONLY | OFlags::DIRECTORY)),
    ("open: a file as a folder", |at| opened(at, "text", OFlags::RDONLY | OFlags::DIRECTORY)),
    ("open: a link, not followed", |at| opened(at, "link", OFlags::RDONLY | OFlags::NOFOLLOW)),
    ("open: a socket", |at| opened(at, "socket", OFlags::RDONLY)),
    ("open: a path alone", |at| opened(at, "shut", OFlags::PATH)),
    ("readlink: a link", |at| said(fs::read_link(at.join("link")))),
    ("readlink: out of the tree", |at| said(fs::read_link(at.join("out")))),
    ("readlink: a file", |at| said(fs::read_link(at.join("text")))),
    ("readlink: relative to an open folder", |at| answered(readlinkat(open(at, "folder").as_fd(), "../to-folder", Vec::new()))),
    ("readdir: names and kinds", |at| names(at, "")),
    ("readdir: an empty folder", |at| names(at, "nothing")),
    ("readdir: through a link", |at| names(at, "to-folder")),
    ("readdir: a file", |at| names(at, "text")),
    ("readdir: inodes are those of stat", |at| {
        let entries = fs::read_dir(at).unwrap().map(Result::unwrap);
        use std::os::unix::fs::DirEntryExt;
        entries.filter(|entry| entry.ino() != stat(at, entry.file_name().to_str().unwrap()).ino()).count().to_string()
    }),
    ("xattr: names", |at| attributes(at, "text")),
    ("xattr: names of a folder", |at| attributes(at, "folder")),
    ("xattr: no names", |at| attributes(at, "one")),
    ("xattr: how long the names are", |at| answered(llistxattr(at.join("text"), &mut [0_u8; 0]))),
    ("xattr: no room for the names", |at| answered(llistxattr(at.join("text"), &mut [0_u8; 3]))),
    ("xattr: a value", |at| value(at, "text", "user.short", 100)),
    ("xattr: an empty value", |at| value(at, "text", "user.empty", 100)),
    ("xattr: a long value", |at| value(at, "text", "trusted.long", 4000)),
    ("xattr: how long a value is", |at| answered(lgetxattr(at.join("text"), "trusted.long", &mut [0_u8; 0]))),
    ("xattr: no room for a value", |at| value(at, "text", "trusted.long", 100)),
    ("xattr: what is not there", |at| value(at, "text", "user.missing", 100)),
    ("xattr: of another name of the object", |at| value(at, "folder/third", "user.short", 100)),
    ("xattr: through a link", |at| {
        let mut room = [0; 100];
        answered(getxattr(at.join("link"), "user.short", &mut room[..]).map(|length| room[..length].to_vec()))
            + &answered(listxattr(at.join("dangling"), &mut [0_u8; 0]))
    }),
    ("access: to read", |at| allowed(at, "text", Access::READ_OK)),
    ("access: to run what can be run", |at| allowed(at, "run", Access::EXEC_OK)),
    ("access: to run what cannot be run", |at| allowed(at, "text", Access::EXEC_OK)),
    ("access: what is not there", |at| allowed(at, "missing", Access::EXISTS)),
    ("exec: a script", |at| {
        let output = std::process::Command::new(at.join("run")).output();
        said(output.map(|output| (output.status.code(), output.stdout)))
    }),
    ("chdir: to a folder", |at| {
        let command = std::process::Command::new("cat").arg("leaf").current_dir(at.join("folder/deep/deeper")).output();
        said(command.map(|output| output.stdout))
    }),
    ("name: a NUL is no name", |at| said(CString::new([at.as_os_str().as_encoded_bytes(), b"/\0"].concat()).map(drop).map_err(Into::into))),
    ("blocks: holes take none", |at| (stat(at, "sparse").blocks() * 512 < 100_000).to_string()),
];

/// What changes something is refused, because the file system can only be read.
#[rustfmt::skip]
const REFUSED: &[Change] = &[
    ("write", |at| File::options().write(true).open(at.join("text")).map(drop)),
    ("append", |at| File::options().append(true).open(at.join("text")).map(drop)),
    ("create", |at| File::create(at.join("new")).map(drop)),
    ("truncate", |at| File::options().write(true).truncate(true).open(at.join("text")).map(drop)),
    ("mkdir", |at| fs::create_dir(at.join("new"))),
    ("unlink", |at| fs::remove_file(at.join("text"))),
    ("rmdir", |at| fs::remove_dir(at.join("nothing"))),
    ("rename", |at| fs::rename(at.join("text"), at.join("other"))),
    ("link", |at| fs::hard_link(at.join("text"), at.join("other"))),
    ("symlink", |at| std::os::unix::fs::symlink("x", at.join("other"))),
    ("chmod", |at| fs::set_permissions(at.join("text"), fs::Permissions::from_mode(0o777))),
    ("chown", |at| std::os::unix::fs::chown(at.join("text"), Some(1), None)),
    ("utimes", |at| open(at, "text").set_modified(std::time::UNIX_EPOCH)),
    ("setxattr", |at| Ok(rustix::fs::setxattr(at.join("text"), "user.x", b"y", rustix::fs::XattrFlags::empty())?)),
    ("removexattr", |at| Ok(rustix::fs::removexattr(at.join("text"), "user.short")?)),
    ("mknod", |at| Ok(rustix::fs::mknodat(CWD, at.join("new"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)?)),
    ("access to write", |at| Ok(accessat(CWD, at.join("text"), Access::WRITE_OK, AtFlags::empty())?)),
];

#[test]
fn what_programs_ask_of_files_is_answered_as_by_the_source() {
    if !can_mount("what a mount answers to programs") {
        return;
    }
    for parameters in [Parameters::tiny(), Parameters::default()] {
        let stage = Stage::of(parameters, fill);
        let shown = stage.shown();
        let mut wrong = Vec::new();
        for (what, check) in CHECKS {
            let (expected, found) = (check(&stage.source), check(&shown));
            if expected != found {
                wrong.push(format!("{what}: {expected} of the source, {found} of the mount"));
            }
        }
        for (what, change) in REFUSED {
            let found = change(&shown).map_err(|error| error.raw_os_error());
            if found != Err(Some(Errno::ROFS.raw_os_error())) {
                wrong.push(format!("{what}: {found:?}"));
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(stage.mount.told.lines(), Vec::<String>::new());
    }
    const { assert!(CHECKS.len() + REFUSED.len() >= 60) };
    println!("{} checks", CHECKS.len() + REFUSED.len());
}
