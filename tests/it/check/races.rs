//! A check while others write, forget and prune: whatever they do between any two of its calls is no damage.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use packstone::base::host::Host;
use packstone::ops::check::check;
use packstone::ops::prune::{PruneOptions, prune};
use packstone::repository::{MaxUnused, PlanOptions, Repository};
use packstone::storage::memory::Memory;
use packstone::storage::{ObjectName, Storage};

use super::{ALL, Sample, Told, noise};
use crate::engine::key;
use crate::prune::{forget, options};
use crate::storage::{Call, Deed, Director, World, copy};

type Action = Box<dyn Fn() + Send + Sync>;

/// Does something once, before the call of a number.
struct Between {
    at: usize,
    calls: AtomicUsize,
    action: Mutex<Option<Action>>,
}

impl std::fmt::Debug for Between {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Between").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Director for Between {
    fn decide(&self, _call: &Call) -> Deed {
        if self.calls.fetch_add(1, Ordering::SeqCst) == self.at {
            let action = self.action.lock().unwrap().take();
            action.into_iter().for_each(|action| action());
        }
        Deed::Do
    }
}

/// Checks what is in `memory`, with something done before the call of this number. How many calls there were.
fn check_with(memory: &Memory, at: usize, action: Action, judge: impl FnOnce(Told, u64)) -> usize {
    let between = Arc::new(Between { at, calls: AtomicUsize::new(0), action: Mutex::new(Some(action)) });
    let storage = World::new(memory.clone()).handle(Arc::clone(&between) as Arc<dyn Director>);
    let repository = Repository::open(storage, &key(), None).unwrap();
    let told = Told::default();
    let summary = check(&repository, &ALL, &told).unwrap();
    judge(told, summary.damaged + summary.unreadable);
    between.calls.load(Ordering::SeqCst)
}

fn open(memory: &Memory) -> Repository {
    Repository::open(Arc::new(memory.clone()), &key(), None).unwrap()
}

/// Rewrites every pack that holds anything that nothing needs.
fn strict() -> PruneOptions {
    let plan = PlanOptions { max_unused: MaxUnused::Bytes(0), max_repack_bytes: None };
    PruneOptions { plan, host: Host::current(), ..options() }
}

#[test]
fn what_others_do_meanwhile_is_no_damage() {
    let sample = Arc::new(Sample::new());
    let mut tried = 0;
    let mut at = 0;
    loop {
        let memory = copy(&sample.memory);
        let of_action = (memory.clone(), Arc::clone(&sample));
        let action = move || {
            let (memory, sample) = &of_action;
            let repository = open(memory);
            let visible = repository.snapshots().unwrap().visible;
            std::fs::write(sample.source().join("third"), noise(2000 + at as u64, 3000)).unwrap();
            sample.back_up(&repository);
            visible.iter().take(1).for_each(|entry| forget(&repository, entry.id));
            prune(&repository, &strict(), &packstone::base::Silent).unwrap();
        };
        let calls = check_with(&memory, at, Box::new(action), |told, wrong| {
            assert_eq!(told.findings.into_inner().unwrap(), [], "before call {at}");
            assert_eq!(wrong, 0, "before call {at}");
        });
        tried += 1;
        at += 1;
        if at >= calls {
            break;
        }
    }
    println!("{tried} moments at which others wrote, forgot and pruned, and nothing was called damaged");
    assert!(tried > 20, "{tried}");
}

#[test]
fn what_goes_without_a_verdict_meanwhile_is_damage() {
    let sample = Sample::new();
    let packs: Vec<ObjectName> =
        sample.memory.names().into_iter().filter(|name| name.folder() == "packs").collect();
    let mut met = 0;
    for at in 0..200 {
        let memory = copy(&sample.memory);
        let (pack, of_action) = (packs[at % packs.len()].clone(), memory.clone());
        let action = move || of_action.delete(&pack).unwrap();
        let calls = check_with(&memory, at, Box::new(action), |told, wrong| {
            // Packs that were read before are gone too late to be missed.
            met += u64::from(wrong > 0);
            assert_eq!(told.findings.into_inner().unwrap().len() as u64, wrong);
        });
        if at >= calls {
            break;
        }
    }
    assert!(met > 1, "{met}");
}
