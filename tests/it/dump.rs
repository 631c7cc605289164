//! A folder as one file that other programs read: GNU tar and Python make of it what was backed up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use packstone::base::{ErrorKind, Finding, Monitor, SessionId};
use packstone::format::config::Parameters;
use packstone::ops::dump::{Dump, DumpSummary, Format};
use packstone::repository::Repository;
use packstone::storage::memory::Memory;

use crate::engine::{back_up, in_memory, init, snapshot};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::scratch::Scratch;

/// Remembers findings and notes.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Monitor for Told {
    fn finding(&self, finding: &Finding) {
        self.0.lock().unwrap().push(finding.to_string());
    }

    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

impl Told {
    fn all(self) -> Vec<String> {
        self.0.into_inner().unwrap()
    }
}

/// What a folder is dumped as; an error ends the test.
#[track_caller]
fn dumped(
    repository: &Repository,
    id: SessionId,
    path: &Path,
    format: Format,
) -> (Vec<u8>, DumpSummary, Vec<String>) {
    let (mut bytes, told) = (Vec::new(), Told::default());
    let entry = snapshot(repository, id);
    let found = Dump::find(repository, &entry, Some(path.as_os_str().as_encoded_bytes())).unwrap();
    let summary = found.folder(format, &mut bytes, &told).unwrap();
    (bytes, summary, told.all())
}

/// Runs a program with something on its standard input.
fn run(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C.UTF-8");
    let mut child = command.spawn().expect("a program");
    let mut stdin = child.stdin.take().expect("an input");
    std::thread::scope(|scope| {
        // A program that ends early reads no more.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("an output")
    })
}

/// Lets GNU tar restore what it can.
fn untar(tar: &[u8], target: &Path) -> Output {
    std::fs::create_dir(target).unwrap();
    let mut command = Command::new("tar");
    command
        .args(["--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpSf", "-", "-C"])
        .arg(target);
    // It finds some times odd, and does not know the word by which POSIX says that a name is no UTF-8.
    command.args(["--warning=no-timestamp", "--warning=no-unknown-keyword"]);
    run(command, tar)
}

/// Removes what lies so deep that GNU tar, which gives the system whole paths, can name it in a tar file and not make it.
fn remove_deep(folder: &Path, length: usize) {
    const PATH_BYTES_MAX: usize = 3500;
    let times = folder_times(folder);
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let length = length + 1 + entry.file_name().len();
        match entry.file_type().unwrap().is_dir() {
            true if length > PATH_BYTES_MAX => std::fs::remove_dir_all(entry.path()).unwrap(),
            true => remove_deep(&entry.path(), length),
            false => {}
        }
    }
    std::fs::File::open(folder).unwrap().set_times(times).unwrap();
}

/// Removes files with holes so long that they would have to be read as zeros for minutes.
fn remove_long(folder: &Path) {
    const BYTES_MAX: u64 = 2 << 20;
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            remove_long(&entry.path());
        } else if metadata.is_file() && metadata.len() > BYTES_MAX {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
}

/// Removes what a tar file cannot hold, and gives the paths.
fn remove_sockets(folder: &Path) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let mut removed = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let times = folder_times(&folder);
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_socket() {
                std::fs::remove_file(entry.path()).unwrap();
                removed.push(entry.path());
            }
        }
        std::fs::File::open(&folder).unwrap().set_times(times).unwrap();
    }
    removed
}

fn folder_times(folder: &Path) -> std::fs::FileTimes {
    let metadata = std::fs::metadata(folder).unwrap();
    std::fs::FileTimes::new().set_modified(metadata.modified().unwrap())
}

#[test]
fn gnu_tar_makes_of_a_tar_file_what_was_backed_up() {
    for seed in 0..12 {
        let parameters = if seed % 2 == 0 { Parameters::tiny() } else { Parameters::default() };
        let scratch = Scratch::new();
        let source = scratch.join("source");
        generate(seed, &source, if seed < 9 { Size::Medium } else { Size::Small });
        remove_deep(&source, 0);
        let repository = in_memory(parameters);
        let id = back_up(&repository, &source).id;
        let (tar, summary, told) = dumped(&repository, id, &source, Format::Tar);
        let output = untar(&tar, &scratch.join("target"));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && errors.is_empty(), "{seed}: {errors}");
        let sockets = remove_sockets(&source);
        assert_eq!(summary.findings, sockets.len() as u64, "{told:?}");
        assert!(
            told.iter().all(|line| line.ends_with("left out: a tar file cannot hold a socket")),
            "{told:?}"
        );
        assert_eq!(summary.damaged, 0);
        assert_same(&dump(&source), &dump(&scratch.join("target")));
        let (compressed, ..) = dumped(&repository, id, &source, Format::TarZst);
        assert!(zstd::decode_all(compressed.as_slice()).unwrap() == tar, "{seed}");
    }
}

#[test]
fn gnu_tar_lists_what_lies_deeper_than_it_can_make() {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    generate(4, &source, Size::Medium);
    let repository = in_memory(Parameters::tiny());
    let id = back_up(&repository, &source).id;
    let (tar, summary, _) = dumped(&repository, id, &source, Format::Tar);
    let mut command = Command::new("tar");
    command.args(["--quoting-style=escape", "--warning=no-unknown-keyword", "-tf", "-"]);
    let output = run(command, &tar);
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count() as u64, summary.files + summary.directories + summary.others);
    assert!(text.lines().any(|line| line.len() > 4096));
}

/// What Python reads of a zip file, a line for each member: its name as bytes, kind and mode, time, and a hash of its
/// content.
const READ_ZIP: &str = r#"
import hashlib, io, sys, zipfile
zip = zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read()))
for row in zip.infolist():
    name = row.filename.encode('utf-8' if row.flag_bits & 0x800 else 'cp437').hex()
    print(name, oct(row.external_attr >> 16), row.file_size, hashlib.sha256(zip.read(row)).hexdigest())
"#;

#[test]
fn python_reads_of_a_zip_file_what_was_backed_up() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    for seed in [3, 4] {
        let scratch = Scratch::new();
        let source = scratch.join("source");
        generate(seed, &source, Size::Medium);
        remove_deep(&source, 0);
        remove_long(&source);
        std::fs::write(source.join("long"), vec![7; 3 << 20]).unwrap();
        let repository = in_memory(Parameters::tiny());
        let id = back_up(&repository, &source).id;
        let (zip, summary, told) = dumped(&repository, id, &source, Format::Zip);
        let mut expected = Vec::new();
        let (mut left_out, mut folders) = (0, vec![source.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
                let mut name = path.strip_prefix(&source).unwrap().as_os_str().as_bytes().to_vec();
                let content = if kind.is_dir() {
                    name.push(b'/');
                    folders.push(path.clone());
                    Vec::new()
                } else if kind.is_symlink() {
                    std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()
                } else if kind.is_file() {
                    std::fs::read(&path).unwrap()
                } else {
                    assert!(
                        kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
                    );
                    left_out += 1;
                    continue;
                };
                let name = name.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                expected.push((name, path.symlink_metadata().unwrap().mode(), content));
            }
        }
        assert_eq!(summary.findings, left_out, "{told:?}");
        let mut python = Command::new("python3");
        python.args(["-c", READ_ZIP]);
        let output = run(python, &zip);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let mut found: Vec<&str> = text.lines().collect();
        let sha256 = |content: &[u8]| {
            let output = run(Command::new("sha256sum"), content);
            String::from_utf8(output.stdout).unwrap()[..64].to_owned()
        };
        let mut expected: Vec<String> = expected
            .into_iter()
            .map(|(name, mode, content)| format!("{name} 0o{mode:o} {} {}", content.len(), sha256(&content)))
            .collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{seed}");
    }
}

#[test]
fn a_dump_of_damaged_content_never_ends_well_with_a_wrong_byte() {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    std::fs::create_dir_all(source.join("below")).unwrap();
    for number in 0..40 {
        std::fs::write(source.join(format!("below/tiny{number}")), format!("number {number}")).unwrap();
    }
    let mut noise = vec![0; 60_000];
    for (number, name) in (0..).zip(["a", "b", "z"]) {
        blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut noise);
        std::fs::write(source.join(name), &noise).unwrap();
    }
    std::fs::hard_link(source.join("a"), source.join("linked")).unwrap();
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
    let id = back_up(&repository, &source).id;
    let whole = dumped(&repository, id, &source, Format::Tar).0;
    let entry = snapshot(&repository, id);
    let packs: Vec<_> = memory.names().into_iter().filter(|name| name.folder() == "packs").collect();
    assert!(packs.len() > 3);
    let path = source.as_os_str().as_encoded_bytes();
    let (mut truncated, mut left_out) = (0, 0);
    for (round, name) in packs.iter().enumerate() {
        let pack = memory.bytes(name).unwrap();
        let mut damaged = pack.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 4;
        memory.replace(name, damaged);
        let told = Told::default();
        let mut bytes = Vec::new();
        // Each time by a reader that has kept nothing.
        let outcome = Dump::find(&repository, &entry, Some(path))
            .and_then(|found| found.folder(Format::Tar, &mut bytes, &told));
        memory.replace(name, pack);
        match outcome {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
                truncated += 1;
            }
            Ok(summary) if summary.damaged == 0 => assert!(bytes == whole, "{round}"),
            Ok(summary) => {
                left_out += 1;
                assert_eq!(summary.findings, told.all().len() as u64);
                let target = scratch.join(&format!("target{round}"));
                let output = untar(&bytes, &target);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                let mut right = 0;
                for folder in ["", "below"] {
                    let Ok(entries) = std::fs::read_dir(target.join(folder)) else { continue };
                    for entry in entries.map(|entry| entry.unwrap().path()) {
                        let below = entry.strip_prefix(&target).unwrap();
                        if entry.is_file() {
                            assert!(
                                std::fs::read(&entry).unwrap() == std::fs::read(source.join(below)).unwrap()
                            );
                            right += 1;
                        }
                    }
                }
                assert!(right < 44);
            }
        }
    }
    println!("{truncated} ended early, {left_out} left something out");
    assert!(left_out > 0);
}

#[test]
fn damage_anywhere_in_a_short_file_costs_that_file_alone() {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    std::fs::create_dir(&source).unwrap();
    // The first window is a mebibyte: its edge lies in the middle of the second file.
    for (number, (name, length)) in
        (0..).zip([("a", 900_000), ("b", 300_000), ("c", 100_000), ("d", 100_000)])
    {
        let mut noise = vec![0; length];
        blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut noise);
        std::fs::write(source.join(name), &noise).unwrap();
    }
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::tiny(), None);
    let id = back_up(&repository, &source).id;
    let entry = snapshot(&repository, id);
    let path = source.as_os_str().as_encoded_bytes();
    let mut left_out_alone = std::collections::BTreeSet::new();
    for name in memory.names().into_iter().filter(|name| name.folder() == "packs") {
        let pack = memory.bytes(&name).unwrap();
        let mut damaged = pack.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 4;
        memory.replace(&name, damaged);
        let (mut bytes, told) = (Vec::new(), Told::default());
        // Of a pack of the trees, the folder may not be found.
        if let Ok(found) = Dump::find(&repository, &entry, Some(path)) {
            let summary = found.folder(Format::Tar, &mut bytes, &told).unwrap();
            let told = told.all();
            if !told.iter().any(|line| line.contains("directory")) {
                assert_eq!(summary.files + told.len() as u64, 4, "{told:?}");
                left_out_alone.extend(told.first().filter(|_| told.len() == 1).cloned());
            }
        }
        memory.replace(&name, pack);
    }
    for name in ["/a: ", "/b: "] {
        assert!(left_out_alone.iter().any(|line| line.contains(name)), "{left_out_alone:?}");
    }
}

#[test]
fn a_file_that_is_longer_than_a_window_ends_where_it_is_damaged() {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    std::fs::create_dir(&source).unwrap();
    // More than an eighth of the memory that is taken.
    let mut noise = vec![0; 20 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    std::fs::write(source.join("long"), &noise).unwrap();
    let memory = Memory::new();
    let repository = init(Arc::new(memory.clone()), Parameters::default(), None);
    let id = back_up(&repository, &source).id;
    let entry = snapshot(&repository, id);
    let pack = memory.names().into_iter().filter(|name| name.folder() == "packs");
    let pack = pack.max_by_key(|name| memory.bytes(name).unwrap().len()).unwrap();
    let mut damaged = memory.bytes(&pack).unwrap().to_vec();
    let late = damaged.len() - damaged.len() / 8;
    damaged[late] ^= 4;
    memory.replace(&pack, damaged);
    for format in [Format::Tar, Format::Zip] {
        let mut bytes = Vec::new();
        let path = source.as_os_str().as_encoded_bytes();
        let found = Dump::find(&repository, &entry, Some(path)).unwrap();
        let error = found.folder(format, &mut bytes, &Told::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains("/long"), "{error}");
        if format == Format::Tar {
            let start = bytes.windows(64).position(|part| part == &noise[..64]).unwrap();
            assert!(noise.starts_with(&bytes[start..]), "a true beginning");
        }
        let mut reader = Command::new(if format == Format::Tar { "tar" } else { "python3" });
        match format {
            Format::Zip => reader.args(["-c", READ_ZIP]),
            _ => reader.args(["-tf", "-"]),
        };
        assert!(!run(reader, &bytes).status.success(), "it is seen to be cut off");
    }
}
