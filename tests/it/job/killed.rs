//! Runs of a job that are killed, at one change of the repository's folder after the other.
//!
//! What must hold: the moments are changes of the folder, never times; whatever a run was doing, the next one is right:
//! it makes its snapshot, keeps what the rules say, a check finds nothing, and what is restored is what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use packstone::format::config::{Packing, Parameters};
use packstone::storage::local::Local;

use crate::engine::{KEY, init, open};
use crate::support::random::Random;
use crate::support::scratch::Scratch;

/// Changes of the folder after which runs are killed, one each.
const CHANGES: usize = 14;

struct Place {
    scratch: Scratch,
    repository: PathBuf,
    has_cache: bool,
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path)),
        }
    }
    found
}

impl Place {
    fn new(has_cache: bool) -> Self {
        let scratch = Scratch::new();
        let repository = scratch.join("repository");
        let key_file = scratch.join("key");
        std::fs::write(&key_file, KEY).unwrap();
        std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::create_dir(scratch.join("data")).unwrap();
        let packing = Packing { segment_bytes: 64 << 10, pack_bytes: 256 << 10 };
        let local = Arc::new(Local::create(&repository).unwrap());
        init(local, Parameters { packing, ..Parameters::default() }, None);
        let shown = scratch.path().to_str().unwrap().to_owned();
        let text = format!(
            "[repository.main]\nurl = \"{shown}/repository\"\nkey-file = \"{shown}/key\"\n\
             [job.nightly]\nkeep = {{ last = 2 }}\ncheck = \"all\"\n\
             [[job.nightly.source]]\ntype = \"path\"\npaths = [\"{shown}/data\"]\non-failure = \"fail\"\n\
             [[job.nightly.source]]\ntype = \"command\"\nname = \"out\"\nfilename = \"out\"\n\
             command = [\"cat\", \"{shown}/stream\"]\nends-with = \"done\"\non-failure = \"fail\"\n"
        );
        std::fs::write(scratch.join("packstone.toml"), text).unwrap();
        Self { scratch, repository, has_cache }
    }

    /// Other content, so that every run stores packs and makes those of earlier ones unneeded.
    fn change(&self, random: &mut Random) {
        for number in 0..4 {
            let name = self.scratch.join("data").join(number.to_string());
            std::fs::write(name, random.bytes(150 << 10)).unwrap();
        }
        let mut stream = random.bytes(300 << 10);
        stream.extend(b"\ndone\n");
        std::fs::write(self.scratch.join("stream"), stream).unwrap();
    }

    fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packstone"));
        command.args(["--quiet", "--config"]).arg(self.scratch.join("packstone.toml"));
        match self.has_cache {
            true => command.arg("--cache-dir").arg(self.scratch.join("cache")),
            false => command.arg("--no-cache"),
        };
        command.env("XDG_STATE_HOME", self.scratch.join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Kills a run after so many changes of the repository's folder. False if it was over before.
    fn kill_after(&self, changes: usize) -> bool {
        let mut child = self.program().args(["run", "nightly"]).stderr(Stdio::null()).spawn().unwrap();
        let mut seen = files(&self.repository);
        let mut left = changes;
        while left > 0 {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let now = files(&self.repository);
            if now != seen {
                left -= 1;
                seen = now;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        !child.wait().unwrap().success()
    }
}

/// What stands in files, by their paths below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let below = |path: &PathBuf| path.strip_prefix(folder).unwrap().to_owned();
    files(folder).into_iter().map(|path| (below(&path), std::fs::read(&path).unwrap())).collect()
}

impl Place {
    /// Runs a command of the program, which must succeed.
    fn succeed(&self, arguments: &[&str], after: usize) {
        let output = self.program().args(arguments).stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?} after {after} changes: {told}");
    }

    /// Restores the newest snapshot elsewhere, and compares it with what was backed up.
    fn restores(&self, after: usize) {
        let target = self.scratch.join(&format!("restored-{after}"));
        self.succeed(&["restore", "latest", "-t", target.to_str().unwrap()], after);
        let data = self.scratch.join("data");
        let of_data = target.join(data.strip_prefix("/").unwrap());
        assert!(contents(&of_data) == contents(&data), "files after {after} changes");
        let stream = std::fs::read(target.join("dumps/out/out")).unwrap();
        assert!(
            stream == std::fs::read(self.scratch.join("stream")).unwrap(),
            "the stream after {after} changes"
        );
        std::fs::remove_dir_all(target).unwrap();
    }
}

/// Kills runs after one change of the folder after the other, each followed by one that is not; tells how many were.
fn kill_and_run(place: &Place, seed: u64) -> usize {
    let mut random = Random::new(seed);
    let mut killed = 0;
    for change in 1..=CHANGES {
        place.change(&mut random);
        killed += usize::from(place.kill_after(change));
        place.change(&mut random);
        place.succeed(&["run", "nightly"], change);
        let repository = open(Arc::new(Local::open(&place.repository).unwrap()), None);
        let snapshots = repository.snapshots().unwrap();
        assert_eq!(snapshots.damaged.len(), 0);
        assert!(snapshots.visible.len() <= 2, "{}", snapshots.visible.len());
        let newest = snapshots.find("latest").unwrap();
        assert!(newest.snapshot.sources.iter().all(|status| status.findings == 0));
        place.restores(change);
    }
    // Packs of runs that were killed do not stay for ever: two snapshots of some 900 KiB, and what waits for the next.
    let packs = files(&place.repository.join("packs")).len();
    assert!(packs < 40, "{packs} packs");
    killed
}

#[test]
fn a_run_after_one_that_was_killed_is_right() {
    let killed = kill_and_run(&Place::new(false), 8);
    assert!(killed >= 5, "{killed} of {CHANGES} were killed");
    println!("{killed} runs were killed");
}

#[test]
fn what_a_killed_run_left_in_the_cache_misleads_none() {
    let place = Place::new(true);
    let killed = kill_and_run(&place, 9);
    assert!(killed >= 5, "{killed} of {CHANGES} were killed");
    let kept = files(&place.scratch.join("cache")).len();
    assert!(kept > 0, "the cache is used");
    println!("{killed} runs were killed, {kept} files in the cache");
}
