//! Checking a repository: that everything is there and is what it must be, and what is hurt where it is not.
//!
//! What must hold: nothing is written to the repository; backups and prunes that run meanwhile are no damage; what is
//! damaged is told as soon as it is met, and with the files that it hurts at the end.

mod portion;

pub use portion::Portion;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock::Stopwatch;
use crate::base::{Error, ErrorKind, Monitor, Result, Timestamp, Wrap};
use crate::repository::{Audit, Counted, Damage, ObjectCount, PacksRead, Repository};
use crate::state::verified;
use crate::tree::{Hurt, Inspected, TreeCounts, TreeDamage, find_hurt, inspect};

/// So often the repository is looked at anew because packs went by a verdict meanwhile.
const ATTEMPTS_MAX: usize = 5;
/// So often it is written down which packs were verified.
const REMEMBER_INTERVAL: Duration = Duration::from_secs(60);

/// What is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// The packs that are read whole; without it, none but what trees need.
    pub read: Option<Portion>,
}

/// What a check found.
#[derive(Debug)]
pub struct CheckSummary {
    /// What was counted.
    pub counted: Counted,
    /// Trees that were read.
    pub trees: TreeCounts,
    /// Packs that were read whole.
    pub read: ObjectCount,
    /// Packs that were to be read whole, and that cannot be read before they are thawed.
    pub frozen: ObjectCount,
    /// How many objects are damaged.
    pub damaged: u64,
    /// How many objects could not be read or judged for another reason.
    pub unreadable: u64,
    /// What is damaged; of more than `DAMAGES_KEPT_MAX` the first.
    pub damages: Vec<Damage>,
    /// What that hurts, by position in `damages`.
    pub hurt: Hurt,
}

/// Checks a repository. What is wrong is told to the monitor as it is met, and is no error.
///
/// Errors: `Interrupted`; whatever keeps folders from being listed.
pub fn check(repository: &Repository, options: &CheckOptions, monitor: &dyn Monitor) -> Result<CheckSummary> {
    monitor.begin(b"records and index");
    let (audit, trees, tree_damage) = check_trees(repository.audit(monitor)?)?;
    let PacksRead { read, frozen } = match options.read {
        None => PacksRead::default(),
        Some(portion) => read_packs(&audit, portion)?,
    };
    let hurt = match audit.damaged() {
        0 => Hurt::default(),
        _ => {
            monitor.begin(b"what is hurt");
            find_hurt(&audit, &tree_damage).wrap(|| "cannot tell which files are hurt")?
        }
    };
    Ok(CheckSummary {
        counted: audit.counted(),
        trees,
        read,
        frozen,
        damaged: audit.damaged(),
        unreadable: audit.unreadable(),
        damages: audit.damages(),
        hurt,
    })
}

fn check_trees(mut audit: Audit<'_>) -> Result<(Audit<'_>, TreeCounts, TreeDamage)> {
    audit.monitor().begin(b"trees");
    for _ in 0..ATTEMPTS_MAX {
        match inspect(&audit)? {
            Inspected::Done(counts, damage) => return Ok((audit, counts, damage)),
            Inspected::Outdated => audit = audit.again()?,
        }
    }
    Err(Error::new(ErrorKind::Failed, "packs are removed faster than the trees can be read"))
}

/// What this machine remembers of packs while they are read.
struct Memory<'a, 'r> {
    audit: &'a Audit<'r>,
    seconds: Mutex<(Vec<u64>, Duration)>,
    clock: Stopwatch,
}

impl Memory<'_, '_> {
    fn now() -> u64 {
        u64::try_from(Timestamp::now().seconds).unwrap_or_default().max(1)
    }

    /// A pack was read; one that is not whole is read again next time.
    fn take(&self, row: u32, is_whole: bool) {
        let mut seconds = self.seconds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_pack) = seconds.0.get_mut(row as usize) {
            *of_pack = if is_whole { Self::now() } else { 0 };
        }
        let now = self.clock.elapsed();
        if now.saturating_sub(seconds.1) >= REMEMBER_INTERVAL {
            seconds.1 = now;
            self.write(&seconds.0);
        }
    }

    fn write(&self, seconds: &[u64]) {
        let repository = self.audit.repository();
        let Some(path) = repository.cache_folder().map(|folder| folder.join("verified")) else { return };
        let rows = self.audit.pack_names().zip(seconds.iter().copied());
        let written =
            repository.local_key("verified packs").and_then(|key| verified::write(&path, &key, rows));
        if let Err(error) = written {
            self.audit.monitor().note(&error.chain().join(": "));
        }
    }
}

fn read_packs(audit: &Audit<'_>, portion: Portion) -> Result<PacksRead> {
    let repository = audit.repository();
    let monitor = audit.monitor();
    monitor.begin(b"packs");
    let seconds = match repository.cache_folder() {
        Some(folder) => {
            let key = repository.local_key("verified packs")?;
            verified::read(&folder.join("verified"), &key, audit.pack_names())
        }
        None => vec![0; audit.pack_names().count()],
    };
    let packs: Vec<(u32, u64)> = audit.packs_there().collect();
    let now = Memory::now();
    let verified_at = |row: u32| seconds.get(row as usize).copied().unwrap_or_default().min(now);
    let chosen = portion.choose(&packs, |row| audit.pack_name(row), verified_at, audit.draw()?);
    let size_of =
        |row: &u32| packs.binary_search_by_key(row, |(row, _)| *row).ok().and_then(|at| packs.get(at));
    let bytes: u64 = chosen.iter().filter_map(size_of).map(|(_, size_bytes)| size_bytes).sum();
    monitor.expect(chosen.len() as u64, bytes);
    let clock = Stopwatch::start();
    let has_time = || match portion {
        Portion::Within(duration) => clock.elapsed() < duration,
        _ => true,
    };
    if !matches!(portion, Portion::Within(_)) {
        monitor.expected_all();
    }
    let memory = Memory { audit, seconds: Mutex::new((seconds, Duration::ZERO)), clock };
    let read = audit.read_packs(&chosen, &has_time, &|row, is_whole| memory.take(row, is_whole));
    // Also after an interruption: what was read need not be read again.
    let seconds = memory.seconds.lock().unwrap_or_else(PoisonError::into_inner);
    if !chosen.is_empty() {
        memory.write(&seconds.0);
    }
    drop(seconds);
    read
}
