//! The program itself: who may read a mount, how it begins and ends, and what it says where it cannot be.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::can_mount;
use crate::engine::{back_up, on_disk, open};
use crate::support::need::has_program;
use crate::support::scratch::Scratch;

/// Somebody who owns nothing.
const NOBODY: u32 = 65534;

struct Place {
    scratch: Scratch,
    repository: PathBuf,
    key_file: PathBuf,
    mount: PathBuf,
}

/// A repository on the disk with a tree of files of root's and of nobody's.
fn place() -> Place {
    let scratch = Scratch::new();
    let [repository, key_file] = on_disk(&scratch);
    let source = scratch.join("source");
    std::fs::create_dir(&source).unwrap();
    for (name, mode, owner) in [("root's", 0o600, 0), ("everybody's", 0o644, 0), ("nobody's", 0o400, NOBODY)]
    {
        std::fs::write(source.join(name), name).unwrap();
        std::fs::set_permissions(source.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        chown(source.join(name), Some(owner), Some(owner)).unwrap();
    }
    std::fs::write(source.join("granted"), "granted").unwrap();
    std::fs::set_permissions(source.join("granted"), std::fs::Permissions::from_mode(0o640)).unwrap();
    // Root may write, the user with the number of nobody may read, nobody else may anything.
    let mut acl = vec![2, 0, 0, 0];
    for (tag, permissions, id) in
        [(1_u16, 6_u16, u32::MAX), (2, 4, NOBODY), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        acl.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    let name = "system.posix_acl_access";
    rustix::fs::setxattr(source.join("granted"), name, &acl, rustix::fs::XattrFlags::empty()).unwrap();
    let storage = packstone::storage::local::Local::open(&repository).unwrap();
    back_up(&open(std::sync::Arc::new(storage), None), &source);
    let mount = scratch.join("mount");
    std::fs::create_dir(&mount).unwrap();
    // Others must be able to come near it.
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    Place { scratch, repository, key_file, mount }
}

impl Place {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        command.arg("--repository").arg(&self.repository).arg("--key-file").arg(&self.key_file);
        command.args(["--no-cache", "mount"]).arg(&self.mount).args(arguments);
        command
    }

    /// A mount that is there.
    fn start(&self, arguments: &[&str]) -> Served {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut said).unwrap();
        assert!(said.starts_with("mounted at "), "{said}{}", rest_of(&mut child));
        Served { child, mount: self.mount.clone() }
    }

    fn shown(&self, name: &str) -> PathBuf {
        let source = self.scratch.join("source");
        self.mount.join("snapshots/latest").join(source.strip_prefix("/").unwrap()).join(name)
    }
}

fn rest_of(child: &mut Child) -> String {
    let mut rest = String::new();
    child.stderr.take().unwrap().read_to_string(&mut rest).unwrap();
    rest
}

/// A process that serves a mount.
struct Served {
    child: Child,
    mount: PathBuf,
}

impl Served {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its end, and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let said = rest_of(&mut self.child);
        let code = self.child.wait().unwrap().code();
        assert_eq!(std::fs::read_dir(&self.mount).unwrap().count(), 0, "the mount is gone");
        (code, said)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            let _ = rustix::mount::unmount(&self.mount, rustix::mount::UnmountFlags::DETACH);
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// What somebody without privileges reads.
fn read_by_nobody(path: &Path) -> Option<String> {
    let mut command = Command::new("cat");
    std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
    std::os::unix::process::CommandExt::gid(&mut command, NOBODY);
    let output = command.arg(path).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
fn only_who_is_allowed_reads_a_mount() {
    if !can_mount("who may read a mount") {
        return;
    }
    let place = place();
    let read =
        || ["root's", "everybody's", "nobody's", "granted"].map(|name| read_by_nobody(&place.shown(name)));
    let all = ["root's", "everybody's", "nobody's", "granted"].map(|name| Some(name.to_owned()));
    let mounted = place.start(&[]);
    assert_eq!(read(), [None, None, None, None]);
    assert_eq!(std::fs::read(place.shown("root's")).unwrap(), b"root's");
    mounted.signal(Signal::INT);
    assert_eq!(mounted.end(), (Some(0), String::new()));

    let mounted = place.start(&["--allow-other"]);
    let [_, everybodys, nobodys, granted] = all.clone();
    assert_eq!(read(), [None, everybodys, nobodys, granted]);
    mounted.signal(Signal::TERM);
    assert_eq!(mounted.end(), (Some(0), String::new()));

    let mounted = place.start(&["--allow-other", "--no-default-permissions", "--owner-root"]);
    assert_eq!(read(), all);
    let owner = place.shown("nobody's").metadata().unwrap();
    assert_eq!((owner.uid(), owner.gid()), (0, 0));
    drop(Command::new("umount").arg(&place.mount).status());
    assert_eq!(mounted.end(), (Some(0), String::new()));
}

#[test]
fn a_mount_in_use_goes_with_its_last_user() {
    if !can_mount("how a mount in use ends") {
        return;
    }
    let place = place();
    let mut mounted = place.start(&[]);
    let path = place.shown("root's");
    let mut file = std::fs::File::open(&path).unwrap();
    mounted.signal(Signal::TERM);
    let mut said = String::new();
    let mut errors = BufReader::new(mounted.child.stderr.take().unwrap());
    errors.read_line(&mut said).unwrap();
    assert!(said.starts_with("still in use"), "{said}");
    assert!(!path.exists(), "its name is gone");
    let mut content = String::new();
    file.read_to_string(&mut content).unwrap();
    assert_eq!(content, "root's");
    drop(file);
    assert_eq!(mounted.child.wait().unwrap().code(), Some(0));
    assert_eq!(std::fs::read_dir(&place.mount).unwrap().count(), 0);
}

#[test]
fn templates_say_where_snapshots_stand() {
    if !can_mount("what templates do") {
        return;
    }
    let place = place();
    let arguments = ["--path-template", "all/%h-%i", "--path-template", "%T", "--time-template", "%Y"];
    let mounted = place.start(&arguments);
    let mut names: Vec<String> = std::fs::read_dir(&place.mount)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let [year, all, latest] = names.as_slice() else { panic!("{names:?}") };
    assert_eq!((year.len(), all.as_str(), latest.as_str()), (4, "all", "latest"));
    assert_eq!(std::fs::read_link(place.mount.join("latest")).unwrap(), Path::new(year));
    mounted.signal(Signal::HUP);
    assert_eq!(mounted.end(), (Some(0), String::new()));
}

#[test]
fn a_user_mounts_by_fusermount() {
    let what = "that users other than root mount";
    if !can_mount(what) || !has_program("fusermount3", what) {
        return;
    }
    // In a namespace of its own, where /dev/fuse is as on other machines: for everybody.
    let script = r#"
        set -eu
        mount --make-rprivate /
        mount -t tmpfs none "$1"
        mkdir "$1/theirs"
        cp "$2" "$1/packstone"
        mknod -m 666 "$1/fuse" c 10 229
        mount --bind "$1/fuse" /dev/fuse
        chown 65534:65534 "$1/theirs"
        cd "$1/theirs"
        exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -eu -c '
            umask 077
            head -c 32 /dev/urandom >key
            mkdir source mnt
            echo theirs >source/file
            run() { HOME=$PWD ../packstone --repository repository --key-file key --no-cache "$@"; }
            run --quiet repo init
            run --quiet backup source
            mkfifo said
            run mount mnt >said 2>&1 &
            read line <said
            cat mnt/snapshots/latest"$PWD"/source/file
            fusermount3 -u mnt
            wait $!
            ls mnt | wc -l
        '
    "#;
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]);
    let said = super::run(command.arg(scratch.path()).arg(env!("CARGO_BIN_EXE_packstone")));
    assert_eq!(said, "theirs\n0\n");
}
