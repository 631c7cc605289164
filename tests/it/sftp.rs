//! Storage by SFTP: the promises of a storage, a whole life of a repository, and connections that break at any byte.

mod full;
mod server;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use packstone::base::{ErrorKind, Silent};
use packstone::format::config::Parameters;
use packstone::ops::check::{CheckOptions, Portion, check};
use packstone::ops::prune::{PruneOptions, prune};
use packstone::repository::{InitOptions, MaxUnused, NewSlot, PlanOptions, Repository};
use packstone::storage::contract::check_contract;
use packstone::storage::remote::RemoteOptions;
use packstone::storage::{ObjectName, Storage};

use self::server::{Sshd, location_of, open, open_by, options, script, sftp_server};
use crate::engine::{back_up, give_back, init, key};
use crate::support::dump::{assert_same, dump};
use crate::support::generate::{Size, generate};
use crate::support::scratch::Scratch;

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

fn put(storage: &dyn Storage, text: &str, content: &[u8]) {
    storage.put_if_absent(&name(text), &[Bytes::copy_from_slice(content)]).unwrap();
}

/// Checks the contract and gives the number of promises kept; nothing stays.
#[track_caller]
fn contract(storage: &dyn Storage, directory: &Path) -> usize {
    let checked = check_contract(storage, "t", &mut |_| {}).unwrap_or_else(|error| panic!("{error:?}"));
    let left: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["tmp"]);
    assert_eq!(std::fs::read_dir(directory.join("tmp")).unwrap().count(), 0);
    checked
}

#[test]
fn the_contract_holds_for_what_a_server_offers() {
    let Some(server) = sftp_server("the contract of storages by SFTP") else { return };
    let server = server.display();
    // Without links creation is not atomic.
    for (denied, promises) in
        [("", 20), ("-P fsync", 20), ("-P hardlink", 19), ("-P hardlink,fsync,limits", 19)]
    {
        let scratch = Scratch::new();
        let directory = scratch.join("a/b");
        let storage = open_by(&directory, &format!("exec {server} {denied}"));
        let is_denied = promises < 20;
        assert_eq!(storage.capabilities().atomic_create, is_denied.then_some(false), "{denied}");
        assert!(!scratch.join("a").exists(), "nothing is made before something is put");
        assert_eq!(contract(&*storage, &directory), promises, "{denied}");
        assert_eq!(storage.capabilities().atomic_create, Some(!is_denied), "{denied}");
    }
}

#[test]
fn the_contract_holds_behind_sshd_below_the_login_directory() {
    let Some(sshd) = Sshd::start("the contract of storages by SFTP behind sshd") else { return };
    let options = sshd.options("user", Some("host"));
    let storage = open("sftp:server:backups/one", &options);
    assert_eq!(contract(&*storage, &sshd.home().join("backups/one")), 20);
    assert_eq!(storage.location(), "sftp:server:backups/one");
    // With limits that are no hindrance.
    let limited = RemoteOptions {
        upload_bytes_per_second: Some(500_000_000),
        download_bytes_per_second: Some(500_000_000),
        connections: 1,
        ..options
    };
    let directory = sshd.home().join("limited");
    assert_eq!(contract(&*open(&format!("sftp:server:{}", directory.display()), &limited), &directory), 20);
}

#[test]
fn a_session_learns_whether_creation_is_atomic() {
    let Some(server) = sftp_server("the proof of atomic creation by SFTP") else { return };
    for (denied, is_atomic) in [("", true), ("-P hardlink", false)] {
        let scratch = Scratch::new();
        let storage = open_by(scratch.path(), &format!("exec {} {denied}", server.display()));
        let bodies = ["one", "two", "truth"].map(|text| [Bytes::from(text)]);
        let [first, second, truth] = &bodies;
        assert_eq!(storage.prove_create(&name("a/b"), [first, second, truth]).unwrap(), is_atomic);
        let expected = if is_atomic { "one" } else { "truth" };
        assert_eq!(storage.get(&name("a/b"), 10).unwrap(), expected.as_bytes());
        let again = storage.prove_create(&name("a/b"), [first, second, truth]);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists);
    }
}

#[test]
fn what_is_asked_is_counted_and_paced() {
    let Some(server) = sftp_server("what is counted by SFTP") else { return };
    let scratch = Scratch::new();
    let limit = Some(400_000);
    let options = RemoteOptions {
        upload_bytes_per_second: limit,
        download_bytes_per_second: limit,
        ..script(&format!("exec {}", server.display()))
    };
    let storage = open(&location_of(scratch.path()), &options);
    put(&*storage, "a/first", b"x");
    let before = storage.traffic().unwrap();
    put(&*storage, "a/second", b"four");
    let traffic = storage.traffic().unwrap();
    // Opened, written, synced, closed, linked, and its first name removed.
    assert_eq!(traffic.requests.total() - before.requests.total(), 6);
    assert_eq!(traffic.requests.put - before.requests.put, 1);
    assert_eq!(traffic.sent_bytes - before.sent_bytes, 4);
    let content: Vec<u8> = (0..200_000_u32).flat_map(|number| number.to_be_bytes()).take(400_000).collect();
    let began = std::time::Instant::now();
    put(&*storage, "a/large", &content);
    assert_eq!(storage.get(&name("a/large"), 400_000).unwrap(), content);
    assert!(began.elapsed() >= Duration::from_millis(1200), "{:?}", began.elapsed());
    let after = storage.traffic().unwrap();
    // Looked at, opened, read, closed.
    assert_eq!((after.requests.get, after.requests.total() - traffic.requests.total()), (1, 10));
    assert_eq!((after.received_bytes, after.repeated), (400_000, 0));
    let listed = after.requests.list;
    storage.list("a", None, &mut |_| Ok(())).unwrap();
    storage.delete(&name("a/first")).unwrap();
    let last = storage.traffic().unwrap();
    assert_eq!((last.requests.list - listed, last.requests.delete), (1, 1));
}

#[test]
fn what_is_no_regular_file_is_damage_and_stops_nobody() {
    let Some(server) = sftp_server("what is no regular file by SFTP") else { return };
    let scratch = Scratch::new();
    let storage = open_by(scratch.path(), &format!("exec {}", server.display()));
    put(&*storage, "a/object", b"1234");
    symlink("object", scratch.join("a/link")).unwrap();
    std::fs::create_dir(scratch.join("a/folder")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        scratch.join("a/pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    for text in ["a/link", "a/folder", "a/pipe"] {
        let error = storage.get(&name(text), 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
        assert_eq!(error.to_string(), format!("object {text} is not a regular file"));
        assert_eq!(storage.get_range(&name(text), 0, 1).unwrap_err().kind(), ErrorKind::Damaged);
        let taken = storage.put_if_absent(&name(text), &[Bytes::from("x")]).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Exists, "{taken:?}");
    }
    let list = || storage.list("a", None, &mut |_| Ok(()));
    assert_eq!(list().unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(storage.delete(&name("a/folder")).unwrap_err().kind(), ErrorKind::Damaged);
    for text in ["link", "pipe"] {
        std::fs::remove_file(scratch.join("a").join(text)).unwrap();
    }
    list().unwrap();
    std::fs::write(scratch.join("b"), "x").unwrap();
    assert_eq!(storage.list("b", None, &mut |_| Ok(())).unwrap_err().kind(), ErrorKind::Damaged);
    let error = storage.put_if_absent(&name("b/c"), &[Bytes::from("x")]).unwrap_err();
    assert!(error.chain().join(": ").contains("b is not a directory"), "{error:?}");
}

#[test]
fn all_that_is_no_object_is_found() {
    let Some(server) = sftp_server("what lies beside objects by SFTP") else { return };
    let scratch = Scratch::new();
    for directory in ["tmp", "packs/00", "packs/a/b/c/d", "packs/Odd", "other/sub", "lost+found", "index"] {
        std::fs::create_dir_all(scratch.join(directory)).unwrap();
    }
    let unfinished = format!("tmp/{}", "0a".repeat(16));
    for file in
        ["packs/00/object", "packs/00/draft.tmp", "packs/Odd/x", "other/sub/object", "note.txt", "tmp/x"]
    {
        std::fs::write(scratch.join(file), "12345").unwrap();
    }
    std::fs::write(scratch.join(&unfinished), "12345").unwrap();
    symlink("nowhere", scratch.join("index/link")).unwrap();
    let storage = open_by(scratch.path(), &format!("exec {}", server.display()));
    let mut found = Vec::new();
    let mut note = |stray: packstone::storage::Stray| {
        found.push((String::from_utf8(stray.path).unwrap(), stray.size_bytes, stray.is_unfinished));
        Ok(())
    };
    storage.strays(&["packs", "index"], &mut note).unwrap();
    found.sort_unstable();
    let expected = [
        ("index/link", 0, false),
        ("note.txt", 5, false),
        ("other", 0, false),
        ("packs/00/draft.tmp", 5, false),
        ("packs/Odd", 0, false),
        ("packs/a/b/c", 0, false),
        (&unfinished, 5, true),
        ("tmp/x", 5, false),
    ];
    assert_eq!(found, expected.map(|(path, size, is)| (path.to_owned(), size, is)));
}

/// What a person must put right is told at once, with what to do.
#[track_caller]
fn assert_refused(storage: &dyn Storage, kind: ErrorKind, words: &[&str]) {
    let error = storage.get(&name("config/00000001"), 10).unwrap_err();
    let told = error.chain().join(": ");
    assert_eq!(error.kind(), kind, "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    assert_eq!(storage.traffic().unwrap().repeated, 0, "{told}");
    assert_eq!(storage.capabilities().atomic_create, None);
}

#[test]
fn a_program_that_reaches_nothing_is_told() {
    let by = |options| open("sftp:server:x", &options);
    let missing = by(options(&["packstone-no-such-program"]));
    assert_refused(&*missing, ErrorKind::Failed, &["packstone-no-such-program", "is not installed"]);
    let failing = by(script("echo 'sh: shh: not found' >&2; exit 127"));
    assert_refused(&*failing, ErrorKind::Failed, &["ended with code 127", "shh: not found"]);
    let talking = by(script("echo Welcome to this server; cat"));
    assert_refused(&*talking, ErrorKind::Failed, &["does not speak SFTP", "Welcome to this server"]);
    let newer = by(script(r"printf '\0\0\0\5\2\0\0\0\6'; cat"));
    assert_refused(&*newer, ErrorKind::Unsupported, &["version 6"]);
}

#[test]
fn what_keeps_ssh_out_is_told_with_what_to_do() {
    let Some(sshd) = Sshd::start("what is told when ssh is not let in") else { return };
    let by = |user, host| open("sftp:server:x", &sshd.options(user, host));
    assert_refused(
        &*by("user", None),
        ErrorKind::Denied,
        &[
            "the host key of server is not known",
            "accept it once with ssh server",
            "Host key verification failed",
        ],
    );
    assert_refused(
        &*by("user", Some("other-host")),
        ErrorKind::Denied,
        &["is not the one that is known; find out why"],
    );
    assert_refused(
        &*by("stranger", Some("host")),
        ErrorKind::Denied,
        &["server refuses the login; ssh server must work", "Permission denied (publickey"],
    );
    assert!(
        by("user", Some("host")).get(&name("a"), 1).unwrap_err().kind() == ErrorKind::NotFound,
        "{}",
        sshd.log()
    );
    // Nobody listens any more.
    let options =
        RemoteOptions { patience: Duration::from_millis(600), ..sshd.options("user", Some("host")) };
    drop(sshd);
    let error = open("sftp:server:x", &options).get(&name("a"), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
}

/// The program is gone with the storage, and one that was killed is started again.
#[test]
fn the_program_lives_as_long_as_the_storage() {
    let Some(server) = sftp_server("the life of the program by which SFTP is reached") else { return };
    let scratch = Scratch::new();
    let pids = scratch.join("pids");
    let run = format!("echo $$ >> {}; exec {}", pids.display(), server.display());
    let storage = open_by(&scratch.join("r"), &run);
    assert!(!pids.exists(), "nothing is started before something is asked");
    put(&*storage, "a/b", b"1");
    let pid = || std::fs::read_to_string(&pids).unwrap().lines().last().unwrap().to_owned();
    let first = pid();
    let number = rustix::process::Pid::from_raw(first.parse().unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
    assert_eq!(storage.get(&name("a/b"), 10).unwrap(), b"1");
    let second = pid();
    assert_ne!(first, second);
    // Its end may have been noticed before something was asked of it.
    assert!(storage.traffic().unwrap().repeated <= 1);
    drop(storage);
    assert!(!Path::new("/proc").join(second).exists());
}

/// A program that passes on so many bytes, each at once, and ends.
fn pass(count: usize) -> String {
    format!("dd bs=1 count={count} status=none")
}

/// Creations whose connection breaks at any byte of what is asked or answered: each is done once, whole.
#[test]
fn a_connection_that_breaks_at_any_byte_makes_no_difference() {
    let Some(server) = sftp_server("connections by SFTP that break") else { return };
    let server = &server.display();
    let scratch = Scratch::new();
    let content = &b"some bytes".repeat(10);
    let repeated = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        for count in (0..400).step_by(13) {
            for is_asked in [true, false] {
                let directory = scratch.join(&format!("{count}-{is_asked}"));
                scope.spawn(move || {
                    std::fs::create_dir(&directory).unwrap();
                    let broken = if is_asked {
                        format!("{} | {server}", pass(count))
                    } else {
                        format!("{server} | {{ {}; kill -9 $$; }}", pass(count))
                    };
                    // Only the first connection breaks.
                    let flag = directory.join("was-here");
                    let flag = flag.display();
                    let run = format!("if [ -e {flag} ]; then exec {server}; fi; : > {flag}; {broken}");
                    let storage = open_by(&directory.join("r"), &run);
                    put(&*storage, "a/b", content);
                    let again = storage.put_if_absent(&name("a/b"), &[Bytes::from("other")]);
                    assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists, "{count} {is_asked}");
                    assert_eq!(&storage.get(&name("a/b"), 1000).unwrap(), content, "{count} {is_asked}");
                    storage.delete(&name("a/b")).unwrap();
                    repeated.fetch_add(storage.traffic().unwrap().repeated, Ordering::Relaxed);
                });
            }
        }
    });
    // Of the last few, more is let through than goes.
    assert!(repeated.load(Ordering::Relaxed) >= 50, "{repeated:?}");
}

fn assert_whole(repository: &Repository, scratch: &Scratch, source: &Path, target: &str) {
    let all = CheckOptions { read: Some(Portion::All) };
    let summary = check(repository, &all, &Silent).unwrap();
    assert_eq!((summary.damaged, summary.unreadable), (0, 0), "{:?}", summary.damages);
    let latest = repository.snapshots().unwrap().find("latest").unwrap().id;
    give_back(repository, latest, Some(source), &scratch.join(target));
    assert_same(&dump(source), &dump(&scratch.join(target)));
}

/// Two backups, one forgotten, a prune, a check of everything, a restore.
fn live(storage: &Arc<dyn Storage>, reopened: Arc<dyn Storage>) {
    let scratch = Scratch::new();
    let source = scratch.join("source");
    generate(1, &source, Size::Small);
    let repository = init(Arc::clone(storage), Parameters::tiny(), None);
    let first = back_up(&repository, &source);
    std::fs::remove_dir_all(&source).unwrap();
    generate(2, &source, Size::Small);
    back_up(&repository, &source);
    crate::prune::forget(&repository, first.id);
    let plan = PlanOptions { max_unused: MaxUnused::Bytes(0), max_repack_bytes: None };
    let summary = prune(&repository, &PruneOptions { plan, ..crate::prune::options() }, &Silent).unwrap();
    assert!(summary.removed.count > 0, "{summary:?}");
    let repository = crate::engine::open(reopened, None);
    assert_eq!(repository.snapshots().unwrap().visible.len(), 1);
    assert_whole(&repository, &scratch, &source, "target");
}

#[test]
fn a_repository_lives_behind_sshd() {
    let Some(sshd) = Sshd::start("a life by SFTP") else { return };
    let storage = || open("sftp:server:backups", &sshd.options("user", Some("host")));
    live(&storage(), storage());
}

/// The program itself, by the command that its user sets.
#[test]
fn the_program_reaches_a_repository_behind_sshd() {
    let Some(sshd) = Sshd::start("the program with a repository behind sshd") else { return };
    let scratch = Scratch::new();
    let source = scratch.join("source");
    generate(1, &source, Size::Small);
    std::fs::write(scratch.join("password"), "one\n").unwrap();
    let command: Vec<String> = sshd
        .options("user", Some("host"))
        .ssh_command
        .iter()
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let run = |command: &str, arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_packstone"))
            .env("PACKSTONE_SSH_COMMAND", command)
            .args(["--repository", "sftp:server:backups", "--no-cache", "--password-file"])
            .arg(scratch.join("password"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let target = scratch.join("target");
    let (source_path, target_path) = (source.to_str().unwrap(), target.to_str().unwrap());
    let latest = format!("latest:{source_path}");
    for arguments in [
        vec!["repo", "init"],
        vec!["backup", source_path],
        vec!["backup", source_path],
        vec!["forget", "--keep-last", "1", "--prune"],
        vec!["repo", "check", "--read-data"],
        vec!["restore", &latest, "-t", target_path],
    ] {
        let (code, said) = run(&command.join(" "), &arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    assert_same(&dump(&source), &dump(&target));
    let (code, said) = run("packstone-no-such-program", &["snapshots"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("ended with code 127") && said.contains("packstone-no-such-program"), "{said}");
}

/// Each connection breaks after so many bytes that are asked or answered, more than a piece of a file has: the work goes
/// on by the next one.
#[test]
fn a_repository_lives_on_connections_that_break() {
    let Some(server) = sftp_server("a life by SFTP on connections that break") else { return };
    let server = server.display();
    for broken in
        [format!("{} | {server}", pass(150_000)), format!("{server} | {{ {}; kill -9 $$; }}", pass(100_000))]
    {
        let scratch = Scratch::new();
        let storage = || open_by(&scratch.join("r"), &broken);
        let used = storage();
        live(&used, storage());
        assert!(used.traffic().unwrap().repeated > 0, "{broken}");
    }
}

/// What cannot be done on such connections fails, and leaves no snapshot.
#[test]
fn a_backup_that_never_gets_through_leaves_no_snapshot() {
    let Some(server) = sftp_server("a backup by SFTP that fails") else { return };
    let server = server.display();
    let scratch = Scratch::new();
    let source = scratch.join("source");
    generate(1, &source, Size::Small);
    let whole = || open_by(&scratch.join("r"), &format!("exec {server}"));
    let options = InitOptions {
        parameters: Parameters::tiny(),
        slots: vec![NewSlot { credential: key(), label: String::new() }],
        password_cost: packstone::format::slot::PasswordCost::RECOMMENDED,
        cache_folder: None,
    };
    Repository::init(whole(), options).unwrap();
    let narrow = RemoteOptions {
        patience: Duration::from_millis(600),
        ..script(&format!("{} | {server}", pass(9000)))
    };
    let repository = crate::engine::open(open(&location_of(&scratch.join("r")), &narrow), None);
    let failed = packstone::ops::backup::backup_paths(
        &repository,
        std::slice::from_ref(&source),
        Path::new("/"),
        &crate::engine::options(),
        &Silent,
    );
    let Err(error) = failed else { panic!("no pack is so small") };
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    let repository = crate::engine::open(whole(), None);
    assert_eq!(repository.snapshots().unwrap().visible.len(), 0);
    back_up(&repository, &source);
    assert_whole(&repository, &scratch, &source, "target");
}
