//! Proof that the judge sees: for each property two trees that differ in it and in nothing else, and the one line that
//! says so. A judge that is blind for a property would let every test of restored trees pass.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, Timespec, XattrFlags, lsetxattr, makedev, mkdirat, mkfifoat, mknodat};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{DIFFERENCES_LIMIT, Options, assert_same, differences, dump, dump_with, hexadecimal};
use crate::support::generate::census::Feature;
use crate::support::generate::metadata::set_mtime_to;
use crate::support::generate::{Size, generate};
use crate::support::is_root;
use crate::support::scratch::Scratch;
use crate::support::walk::{open_directory, open_root, walk};

const MODE: Mode = Mode::from_raw_mode(0o640);

/// A tree with one of each type of object that needs no privilege, all of them of the same time.
fn specimen(root: &Path) {
    fs::create_dir(root).unwrap();
    fs::write(root.join("file"), b"content").unwrap();
    fs::write(root.join("other"), b"content").unwrap();
    fs::write(root.join("one"), b"of two names").unwrap();
    fs::hard_link(root.join("one"), root.join("two")).unwrap();
    fs::create_dir(root.join("directory")).unwrap();
    fs::write(root.join("directory/inner"), [1; 10_000]).unwrap();
    symlink("target", root.join("link")).unwrap();
    mkfifoat(CWD, root.join("fifo"), MODE).unwrap();
    write_sparse(&root.join("sparse"));
    for name in ["file", "other", "one", "fifo", "sparse"] {
        set_mode(&root.join(name), 0o640);
    }
    set_mode(&root.join("directory"), 0o750);
    set_mode(root, 0o755);
    settle(root);
}

/// Three pages and a hole in place of the second one and behind the third one.
fn write_sparse(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(20_000).unwrap();
    file.write_all_at(&[7; 4096], 0).unwrap();
    file.write_all_at(&[7; 4096], 8192).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    set_mtime_to(CWD, &path, Timespec { tv_sec, tv_nsec }).unwrap();
}

/// Gives everything in the tree `root` one time.
fn settle(root: &Path) {
    walk(root, &mut |met| {
        set_mtime_to(met.parent, met.name, Timespec { tv_sec: 1_500_000_000, tv_nsec: 5 }).unwrap();
    });
}

/// The differences between a tree and the same tree after `change`, times set back.
fn after(change: impl FnOnce(&Path)) -> Vec<String> {
    between(specimen, |root| {
        specimen(root);
        change(root);
        settle(root);
    })
}

/// The differences between two trees that are made where the functions are told.
fn between(make_first: impl FnOnce(&Path), make_second: impl FnOnce(&Path)) -> Vec<String> {
    let scratch = Scratch::new();
    let (first, second) = (scratch.join("first"), scratch.join("second"));
    make_first(&first);
    make_second(&second);
    differences(&dump(&first), &dump(&second))
}

#[test]
fn equal_trees_do_not_differ_and_have_the_lines_that_are_documented() {
    assert_eq!(after(|_| ()), [""; 0]);
    let scratch = Scratch::new();
    let root = scratch.join("root");
    specimen(&root);
    fs::write(root.join("a b%\n\u{e9}"), b"").unwrap();
    settle(&root);
    let options = Options { owner: false, content: false, ..Options::EVERYTHING };
    let time = "mtime=1500000000+000000005ns";
    assert_eq!(
        dump_with(&root, options).lines(),
        [
            format!(". directory mode=0755 {time}"),
            format!("a%20b%25%0a%c3%a9 regular mode={:04o} {time} size=0 data=none", default_mode()),
            format!("directory directory mode=0750 {time}"),
            format!("directory/inner regular mode={:04o} {time} size=10000 data=0+10000", default_mode()),
            format!("fifo fifo mode=0640 {time}"),
            format!("file regular mode=0640 {time} size=7 data=0+7"),
            format!("link symlink mode=0777 {time} target=target"),
            format!("one regular mode=0640 {time} size=12 data=0+12 hard-link=one"),
            format!("other regular mode=0640 {time} size=7 data=0+7"),
            format!("sparse regular mode=0640 {time} size=20000 data=0+4096,8192+4096"),
            format!("two regular mode=0640 {time} size=12 data=0+12 hard-link=one"),
        ]
    );
}

/// The mode that the umask gives to new files.
fn default_mode() -> u32 {
    let scratch = Scratch::new();
    fs::write(scratch.join("file"), b"").unwrap();
    fs::metadata(scratch.join("file")).unwrap().permissions().mode() & 0o7777
}

#[test]
fn modes_are_seen() {
    assert_eq!(after(|root| set_mode(&root.join("file"), 0o600)), ["file: mode: 0640 | 0600"]);
    assert_eq!(after(|root| set_mode(&root.join("file"), 0o4640)), ["file: mode: 0640 | 4640"]);
    assert_eq!(after(|root| set_mode(&root.join("fifo"), 0o1640)), ["fifo: mode: 0640 | 1640"]);
    assert_eq!(after(|root| set_mode(&root.join("directory"), 0o2750)), ["directory: mode: 0750 | 2750"]);
    assert_eq!(after(|root| set_mode(root, 0o700)), [".: mode: 0755 | 0700"]);
}

#[test]
fn owners_are_seen() {
    if !is_root("owners are seen") {
        return;
    }
    let large = u32::MAX - 1;
    let found = after(|root| chown(root.join("file"), Some(large), None).unwrap());
    assert_eq!(found, ["file: uid: 0 | 4294967294"]);
    let found = after(|root| lchown(root.join("link"), None, Some(5)).unwrap());
    assert_eq!(found, ["link: gid: 0 | 5"]);
}

#[test]
fn modification_times_are_seen_of_every_type_and_by_the_nanosecond() {
    let changed = |name: &'static str, seconds, nanoseconds| {
        between(specimen, move |root| {
            specimen(root);
            set_mtime(&root.join(name), seconds, nanoseconds);
        })
    };
    let before = "mtime: 1500000000+000000005ns";
    assert_eq!(changed("file", 1_500_000_000, 6), [format!("file: {before} | 1500000000+000000006ns")]);
    assert_eq!(changed("link", -1, 999_999_999), [format!("link: {before} | -1+999999999ns")]);
    assert_eq!(changed("directory", 0, 0), [format!("directory: {before} | 0+000000000ns")]);
    assert_eq!(changed("fifo", 5_000_000_000, 5), [format!("fifo: {before} | 5000000000+000000005ns")]);
    assert_eq!(changed(".", 1_500_000_001, 5), [format!(".: {before} | 1500000001+000000005ns")]);
}

#[test]
fn contents_and_sizes_are_seen() {
    let found = after(|root| fs::write(root.join("file"), b"Content").unwrap());
    assert!(matches!(found.as_slice(), [one] if one.starts_with("file: content: ")), "{found:?}");
    // The last byte of a piece that is not full, behind pieces that are equal.
    let found = after(|root| {
        fs::OpenOptions::new()
            .write(true)
            .open(root.join("directory/inner"))
            .unwrap()
            .write_all_at(&[2], 9_999)
            .unwrap();
    });
    assert!(matches!(found.as_slice(), [one] if one.starts_with("directory/inner: content: ")), "{found:?}");
    // Two pieces exchanged.
    let halves = |first: u8, second: u8| {
        move |root: &Path| fs::write(root.join("other"), [[first; 4096], [second; 4096]].concat()).unwrap()
    };
    let found = between(
        |root| {
            specimen(root);
            halves(1, 2)(root);
            settle(root);
        },
        |root| {
            specimen(root);
            halves(2, 1)(root);
            settle(root);
        },
    );
    assert!(matches!(found.as_slice(), [one] if one.starts_with("other: content: ")), "{found:?}");
    // A longer hole at the end changes neither content hash nor data.
    let found = after(|root| {
        fs::OpenOptions::new().write(true).open(root.join("sparse")).unwrap().set_len(20_001).unwrap();
    });
    assert_eq!(found, ["sparse: size: 20000 | 20001"]);
}

#[test]
fn holes_are_seen_apart_from_contents() {
    let fill = |position: u64, length: usize| {
        move |root: &Path| {
            let file = fs::OpenOptions::new().write(true).open(root.join("sparse")).unwrap();
            file.write_all_at(&vec![0; length], position).unwrap();
        }
    };
    assert_eq!(after(fill(4096, 4096)), ["sparse: data: 0+4096,8192+4096 | 0+12288"]);
    assert_eq!(after(fill(12_288, 20_000 - 12_288)), ["sparse: data: 0+4096,8192+4096 | 0+4096,8192+11808"]);
    let all_hole = |root: &Path| {
        specimen(root);
        fs::File::create(root.join("sparse")).unwrap().set_len(20_000).unwrap();
        settle(root);
    };
    let found = between(all_hole, |root| {
        all_hole(root);
        fs::write(root.join("sparse"), [0; 20_000]).unwrap();
        settle(root);
    });
    assert_eq!(found, ["sparse: data: none | 0+20000"]);
}

#[test]
fn a_terabyte_of_hole_is_compared_at_once() {
    let with_last_byte = |last: u8| {
        move |root: &Path| {
            let file = fs::File::create(root.join("sparse")).unwrap();
            file.set_len(1 << 40).unwrap();
            file.write_all_at(&[last], (1 << 40) - 1).unwrap();
        }
    };
    let made = |last: u8| {
        move |root: &Path| {
            specimen(root);
            with_last_byte(last)(root);
            settle(root);
        }
    };
    assert_eq!(between(made(1), made(1)), [""; 0]);
    let found = between(made(1), made(2));
    assert!(matches!(found.as_slice(), [one] if one.starts_with("sparse: content: ")), "{found:?}");
}

#[test]
fn link_targets_are_seen() {
    let found = after(|root| {
        fs::remove_file(root.join("link")).unwrap();
        symlink(OsStr::from_bytes(b"target\xff"), root.join("link")).unwrap();
    });
    assert_eq!(found, ["link: target: target | target%ff"]);
}

#[test]
fn types_are_seen() {
    let found = after(|root| {
        fs::remove_file(root.join("file")).unwrap();
        fs::create_dir(root.join("file")).unwrap();
    });
    assert_eq!(found, ["file: type: regular | directory"]);
    let found = after(|root| {
        fs::remove_file(root.join("fifo")).unwrap();
        mknodat(CWD, root.join("fifo"), FileType::Socket, MODE, 0).unwrap();
    });
    assert_eq!(found, ["fifo: type: fifo | socket"]);
    let found = after(|root| {
        fs::remove_file(root.join("link")).unwrap();
        fs::write(root.join("link"), b"target").unwrap();
    });
    assert_eq!(found, ["link: type: symlink | regular"]);
}

#[test]
fn devices_are_seen() {
    if !is_root("devices are seen") {
        return;
    }
    let device = |file_type: FileType, major: u32, minor: u32| {
        move |root: &Path| {
            specimen(root);
            mknodat(CWD, root.join("device"), file_type, MODE, makedev(major, minor)).unwrap();
            settle(root);
        }
    };
    use FileType::{BlockDevice, CharacterDevice};
    let found = between(device(CharacterDevice, 1, 3), device(CharacterDevice, 1, 65_539));
    assert_eq!(found, ["device: device: 1:3 | 1:65539"]);
    let found = between(device(CharacterDevice, 1, 3), device(CharacterDevice, 259, 3));
    assert_eq!(found, ["device: device: 1:3 | 259:3"]);
    let found = between(device(CharacterDevice, 1, 3), device(BlockDevice, 1, 3));
    assert_eq!(found, ["device: type: char-device | block-device"]);
}

#[test]
fn extended_attributes_are_seen() {
    let with = |name: &'static str, value: &'static [u8]| {
        move |root: &Path| {
            specimen(root);
            set_xattr(&root.join("directory"), "user.kept", b"kept");
            set_xattr(&root.join("file"), name, value);
            settle(root);
        }
    };
    assert_eq!(between(with("user.a", b"\x00"), with("user.a", b"\x01")), ["file: xattr:user.a: 00 | 01"]);
    let found = between(with("user.a", b"x"), with("user.\u{e9}", b"x"));
    assert_eq!(found, ["file: xattr:user.a: 78 | absent", "file: xattr:user.%c3%a9: absent | 78"]);
    let found = after(|root| set_xattr(&root.join("file"), "user.empty", b""));
    assert_eq!(found, ["file: xattr:user.empty: absent | "]);
    let found = after(|root| set_xattr(root, "user.of.root", b"1"));
    assert_eq!(found, [".: xattr:user.of.root: absent | 31"]);
    if !is_root("extended attributes of links and fifos, capabilities") {
        return;
    }
    let found = after(|root| set_xattr(&root.join("link"), "trusted.t", b"1"));
    assert_eq!(found, ["link: xattr:trusted.t: absent | 31"]);
    let found = after(|root| set_xattr(&root.join("fifo"), "trusted.t", b"1"));
    assert_eq!(found, ["fifo: xattr:trusted.t: absent | 31"]);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let found = after(|root| set_xattr(&root.join("file"), "security.capability", &capability));
    let value = "0100000200040000000000000000000000000000";
    assert_eq!(found, [format!("file: xattr:security.capability: absent | {value}")]);
}

#[test]
fn access_control_lists_are_seen() {
    /// The list that says the mode 0640 or 0750, and names one user, who exists in every user namespace.
    fn list(of_owner: u8, named: u8) -> Vec<u8> {
        let unnamed = [0xff; 4];
        let mut list = vec![2, 0, 0, 0];
        for (tag, permissions, id) in [
            (1, of_owner, unnamed),
            (2, named, rustix::process::geteuid().as_raw().to_le_bytes()),
            (4, 4, unnamed),
            (16, named, unnamed),
            (32, 0, unnamed),
        ] {
            list.extend_from_slice(&[tag, 0, permissions, 0]);
            list.extend_from_slice(&id);
        }
        list
    }
    let found = after(|root| set_xattr(&root.join("file"), "system.posix_acl_access", &list(6, 4)));
    let value = hexadecimal(&list(6, 4));
    assert_eq!(found, [format!("file: xattr:system.posix_acl_access: absent | {value}")]);
    let default = |named: u8| {
        move |root: &Path| {
            specimen(root);
            set_xattr(&root.join("directory"), "system.posix_acl_default", &list(7, named));
            settle(root);
        }
    };
    let found = between(default(5), default(7));
    assert!(
        matches!(found.as_slice(), [one] if one.starts_with("directory: xattr:system.posix_acl_default: ")),
        "{found:?}"
    );
}

#[test]
fn hard_links_are_seen() {
    let found = after(|root| {
        fs::remove_file(root.join("two")).unwrap();
        fs::write(root.join("two"), b"of two names").unwrap();
        set_mode(&root.join("two"), 0o640);
    });
    assert_eq!(found, ["one: hard-link: one | absent", "two: hard-link: one | absent"]);
    let found = after(|root| {
        fs::remove_file(root.join("other")).unwrap();
        fs::hard_link(root.join("file"), root.join("other")).unwrap();
    });
    assert_eq!(found, ["file: hard-link: absent | file", "other: hard-link: absent | file"]);
    // The same names with links, but to each other in another way.
    let paired = |pairs: [(&'static str, &'static str); 2]| {
        move |root: &Path| {
            specimen(root);
            for (first, second) in pairs {
                mkfifoat(CWD, root.join(first), MODE).unwrap();
                fs::hard_link(root.join(first), root.join(second)).unwrap();
            }
            settle(root);
        }
    };
    let found = between(paired([("p", "q"), ("r", "s")]), paired([("p", "r"), ("q", "s")]));
    assert_eq!(found, ["q: hard-link: p | q", "r: hard-link: r | p", "s: hard-link: r | q"]);
    // A second name outside of the tree does not count.
    let found = after(|root| fs::hard_link(root.join("file"), root.with_extension("outside")).unwrap());
    assert_eq!(found, [""; 0]);
}

#[test]
fn names_are_seen_byte_by_byte() {
    let found = after(|root| {
        let directory = root.join("directory");
        fs::rename(directory.join("inner"), directory.join(OsStr::from_bytes(b"inner\xff"))).unwrap();
    });
    assert_eq!(
        found,
        [
            "directory/inner: only in the first tree (regular)",
            "directory/inner%ff: only in the second tree (regular)"
        ]
    );
    let found = after(|root| fs::remove_file(root.join("two")).unwrap());
    assert_eq!(found, ["one: hard-link: one | absent", "two: only in the first tree (regular)"]);
    let found = after(|root| fs::create_dir(root.join("directory/new")).unwrap());
    assert_eq!(found, ["directory/new: only in the second tree (directory)"]);
}

#[test]
fn properties_that_are_left_out_are_not_compared() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.join("first"), scratch.join("second"));
    specimen(&first);
    specimen(&second);
    set_mode(&second.join("file"), 0o600);
    set_xattr(&second.join("file"), "user.a", b"");
    fs::write(second.join("other"), b"CONTENT").unwrap();
    fs::hard_link(second.join("fifo"), second.join("fifo-2")).unwrap();
    mkfifoat(CWD, first.join("fifo-2"), MODE).unwrap();
    set_mode(&first.join("fifo-2"), 0o640);
    let file = fs::OpenOptions::new().write(true).open(second.join("sparse")).unwrap();
    file.write_all_at(&[0; 1000], 5000).unwrap();
    settle(&first);
    settle(&second);
    set_mtime(&second, 1, 1);
    set_mtime(&second.join("link"), 1, 1);
    let nothing = Options {
        mode: false,
        owner: false,
        mtime: false,
        root_mtime: false,
        xattrs: false,
        hard_links: false,
        content: false,
        holes: false,
    };
    let found = |options| differences(&dump_with(&first, options), &dump_with(&second, options));
    assert_eq!(found(nothing), [""; 0]);
    assert_eq!(found(Options { mode: true, ..nothing }).len(), 1);
    assert_eq!(found(Options { mtime: true, ..nothing }).len(), 1);
    assert_eq!(found(Options { mtime: true, root_mtime: true, ..nothing }).len(), 2);
    assert_eq!(found(Options { xattrs: true, ..nothing }).len(), 1);
    assert_eq!(found(Options { hard_links: true, ..nothing }).len(), 2);
    assert_eq!(found(Options { content: true, ..nothing }).len(), 1);
    assert_eq!(found(Options { holes: true, ..nothing }).len(), 1);
    assert_eq!(found(Options::EVERYTHING).len(), 8);
}

#[test]
fn of_many_and_of_long_differences_the_beginning_is_told() {
    let found = between(
        |root| fs::create_dir(root).unwrap(),
        |root| {
            fs::create_dir(root).unwrap();
            for number in 0..DIFFERENCES_LIMIT + 4 {
                fs::write(root.join(number.to_string()), b"").unwrap();
            }
            set_mtime(root, 0, 0);
        },
    );
    assert_eq!(found.len(), DIFFERENCES_LIMIT + 1);
    assert_eq!(found.last().unwrap(), "and 5 more differences");
    let long = |last: u8| {
        move |root: &Path| {
            specimen(root);
            let mut value = vec![0xaa; 1000];
            value.push(last);
            set_xattr(&root.join("file"), "user.long", &value);
            settle(root);
        }
    };
    let found = between(long(1), long(2));
    let same = "a".repeat(24);
    assert_eq!(found, [format!("file: xattr:user.long: …{same}01 | …{same}02")]);
}

#[test]
#[should_panic(expected = "the trees differ:\nfile: mode: 0640 | 0600")]
fn a_difference_ends_the_test() {
    let scratch = Scratch::new();
    specimen(&scratch.join("first"));
    specimen(&scratch.join("second"));
    set_mode(&scratch.join("second/file"), 0o600);
    assert_same(&dump(&scratch.join("first")), &dump(&scratch.join("second")));
}

#[test]
#[should_panic(expected = "cannot open directory")]
fn a_link_to_a_directory_is_no_tree() {
    let scratch = Scratch::new();
    symlink(".", scratch.join("link")).unwrap();
    dump(&scratch.join("link"));
}

#[test]
fn a_tree_deeper_than_paths_and_descriptors_go_is_dumped_and_removed() {
    const DEPTH: usize = 2500;
    // The usual limit of a login; a lower one of the machine stays.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.current.map(|most| most.min(1024)), ..limit })
        .unwrap();
    let scratch = Scratch::new();
    let mut current = open_root(scratch.path());
    for _ in 0..DEPTH {
        mkdirat(&current, c"d", Mode::RWXU).unwrap();
        current = open_directory(current.as_fd(), c"d");
    }
    lsetxattr(
        crate::support::walk::bounded_path(current.as_fd(), c"."),
        "user.deepest",
        b"1",
        XattrFlags::empty(),
    )
    .unwrap();
    let lines = dump(scratch.path()).lines();
    assert_eq!(lines.len(), DEPTH + 1);
    assert!(lines.last().unwrap().ends_with(" xattr:user.deepest=31"), "{}", lines.last().unwrap());
    let path = scratch.path().to_owned();
    drop(scratch);
    assert!(path.symlink_metadata().is_err());
}

#[test]
fn copies_by_another_program_are_equal_to_generated_trees() {
    let mut compared = 0;
    for seed in 0..40 {
        let scratch = Scratch::new();
        let (first, second) = (scratch.join("first"), scratch.join("second"));
        // The program copies by whole paths, which chains beyond PATH_MAX do not have.
        if generate(seed, &first, Size::Small).created(Feature::DirectoryDeepChain) > 0 {
            continue;
        }
        let copied = Command::new("cp").args(["-a", "-T", "--"]).args([&first, &second]).output().unwrap();
        assert!(copied.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&copied.stderr));
        // Nor does it keep pages of zeros in files that have holes.
        let options = Options { holes: false, ..Options::EVERYTHING };
        assert_same(&dump_with(&first, options), &dump_with(&second, options));
        compared += 1;
    }
    assert!(compared > 10, "only {compared} trees were compared");
}
