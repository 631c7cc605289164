//! Programs that read whole mounts, in every way in which files are read.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use packstone::format::config::Parameters;

use super::{Stage, run};
use crate::support::need::{can_mount, has_program};
use crate::support::random::Random;

/// Files of many lengths, some of several segments.
fn fill(source: &Path) {
    let mut random = Random::new(5);
    for folder in 0..6 {
        let folder = source.join(format!("folder {folder}"));
        fs::create_dir(&folder).unwrap();
        for (number, bytes) in [0, 1, 100, 4096, 20_000, 131_072, 1_000_003].into_iter().enumerate() {
            fs::write(folder.join(format!("{number}")), random.bytes(bytes)).unwrap();
        }
        fs::write(folder.join("lines"), "a needle in one line\n".repeat(random.range(1..900))).unwrap();
    }
    fs::write(source.join("long"), random.bytes(6_000_000)).unwrap();
}

/// What a script of the shell says of a directory in which it runs.
fn says(script: &str, place: &Path) -> String {
    run(Command::new("sh").args(["-ec", script]).current_dir(place))
}

#[test]
fn find_grep_and_checksums_say_the_same_of_source_and_mount() {
    if !can_mount("what find, grep and checksums say of a mount") {
        return;
    }
    let scripts = [
        // The sizes of folders are each file system's own.
        "find . ! -type d -printf '%p %y %s %#m %n %U %G %T@ %C@ %l\\n' | sort; find . -type d -printf '%p %#m %T@\\n' | sort",
        "grep -rc needle . | sort",
        "find . -type f -exec md5sum {} + | sort -k 2",
        "find . -type f -size +100k -newermt 2000-01-01 | sort",
        "tar -cf - --sort=name --format=gnu . | md5sum",
        "cat 'folder 3'/* long | md5sum; tail -c 1000 long | md5sum; head -c 999999 long | md5sum",
        "dd if=long bs=77777 skip=11 count=7 status=none | md5sum",
    ];
    for parameters in [Parameters::tiny(), Parameters::default()] {
        let stage = Stage::of(parameters, fill);
        for script in scripts {
            assert_eq!(says(script, &stage.source), says(script, &stage.shown()), "{script}");
        }
    }
}

#[test]
fn mapped_files_have_the_right_bytes() {
    let what = "that files of a mount can be mapped";
    if !can_mount(what) || !has_program("python3", what) {
        return;
    }
    let script = "
import hashlib, mmap, os, random, sys
random.seed(3)
for name in sorted(sys.argv[1:]):
    with open(name, 'rb') as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        pieces = hashlib.sha256()
        for _ in range(50):
            start = random.randrange(size)
            pieces.update(mapped[start:start + random.randrange(70000)])
        print(name, size, pieces.hexdigest(), hashlib.sha256(mapped).hexdigest())
";
    let stage = Stage::of(Parameters::default(), fill);
    let mapped = |place: &Path| {
        let names = ["long", "folder 1/6", "folder 2/5", "folder 0/lines", "folder 4/1"];
        run(Command::new("python3").args(["-c", script]).args(names).current_dir(place))
    };
    assert_eq!(mapped(&stage.source), mapped(&stage.shown()));
}

#[test]
fn eight_readers_at_once_read_what_is_there() {
    const READERS: u64 = 8;
    const READS: usize = 120;
    if !can_mount("that many read a mount at once") {
        return;
    }
    for parameters in [Parameters::tiny(), Parameters::default()] {
        let stage = Stage::of(parameters, fill);
        let content = fs::read(stage.source.join("long")).unwrap();
        let shown = stage.shown();
        std::thread::scope(|scope| {
            for reader in 0..READERS {
                let (content, source, shown) = (&content, &stage.source, &shown);
                scope.spawn(move || {
                    let mut random = Random::new(reader);
                    let file = File::open(shown.join("long")).unwrap();
                    let mut next = 0;
                    for _ in 0..READS {
                        // Some jump, some go on.
                        if random.chance(reader, READERS) {
                            next = random.range(0..content.len());
                        }
                        let mut room = vec![0; random.range(1..90_000)];
                        let read = file.read_at(&mut room, next as u64).unwrap();
                        assert!(content[next..][..read] == room[..read], "{read} bytes from {next} on");
                        assert_eq!(read, room.len().min(content.len() - next));
                        next = (next + read) % content.len();
                    }
                    for folder in 0..6 {
                        let name = format!("folder {folder}/{}", reader % 7);
                        let expected = fs::read(source.join(&name)).unwrap();
                        assert!(fs::read(shown.join(&name)).unwrap() == expected, "{name}");
                    }
                });
            }
        });
    }
    println!("{} reads", READERS * READS as u64);
}
