//! Runs of a job that are killed, at one change of the repository's folder after the other.
//!
//! What must hold: the moments are changes of the folder, never times; whatever a run was doing, the next one is right:
//! it makes its snapshot, keeps what the rules say, and a check finds nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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
    fn new() -> Self {
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
        Self { scratch, repository }
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
        command.args(["--quiet", "--no-cache", "--config"]).arg(self.scratch.join("packstone.toml"));
        command.args(["run", "nightly"]).env("XDG_STATE_HOME", self.scratch.join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Kills a run after so many changes of the repository's folder. False if it was over before.
    fn kill_after(&self, changes: usize) -> bool {
        let mut child = self.program().stderr(Stdio::null()).spawn().unwrap();
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

#[test]
fn a_run_after_one_that_was_killed_is_right() {
    let place = Place::new();
    let mut random = Random::new(8);
    let mut killed = 0;
    for change in 1..=CHANGES {
        place.change(&mut random);
        killed += usize::from(place.kill_after(change));
        place.change(&mut random);
        let Output { status, stderr, .. } = place.program().stderr(Stdio::piped()).output().unwrap();
        let told = String::from_utf8_lossy(&stderr).into_owned();
        assert!(status.success(), "after {change} changes: {told}");
        let repository = open(Arc::new(Local::open(&place.repository).unwrap()), None);
        let snapshots = repository.snapshots().unwrap();
        assert_eq!(snapshots.damaged.len(), 0);
        assert!(snapshots.visible.len() <= 2, "{}", snapshots.visible.len());
        let newest = snapshots.find("latest").unwrap();
        assert!(newest.snapshot.sources.iter().all(|status| status.findings == 0));
    }
    // Packs of runs that were killed do not stay for ever: two snapshots of some 900 KiB, and what waits for the next.
    let packs = files(&place.repository.join("packs")).len();
    assert!(packs < 40, "{packs} packs");
    assert!(killed >= 5, "{killed} of {CHANGES} were killed");
    println!("{killed} runs were killed");
}
