//! One play: writers, pruners and one who forgets, all at once on one small repository, in the order of a seed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use packstone::base::host::Host;
use packstone::base::{ErrorKind, Result, SessionId};
use packstone::ops::backup::Comparison;
use packstone::storage::Storage;

use crate::faults::scenario::{self, Scenario};
use crate::process::{BackUp, dead_host, forget, open, prune};
use crate::storage::lying::{Lie, Lying};
use crate::storage::{Handle, World, copy};
use crate::support::random::Random;
use crate::turnstile::gate::{Gate, Step};
use crate::turnstile::policy::Policy;
use crate::witness::{SOURCES, Sources};

/// What an actor does.
#[derive(Clone, Debug)]
pub enum Role {
    /// Makes a backup.
    Writer(BackUp),
    /// Prunes, and says that it is this process.
    Pruner(Host),
    /// Forgets these snapshots.
    Forgetter(Vec<SessionId>),
}

impl Role {
    /// Others may take its process for gone, and end its session.
    fn may_be_ended(&self) -> bool {
        match self {
            Self::Writer(BackUp { host, .. }) | Self::Pruner(host) => *host == dead_host(),
            Self::Forgetter(_) => false,
        }
    }
}

/// Who is lied to, and what.
pub type LiedTo = (fn(&Role) -> bool, Lie);

/// What an actor came to.
#[derive(Debug)]
struct Outcome {
    made: Option<SessionId>,
    result: std::result::Result<(), String>,
}

/// What is the same in all plays.
#[derive(Debug)]
pub struct Stage {
    sources: Sources,
    /// In which plays begin.
    images: Vec<Scenario>,
    pools: Vec<rayon::ThreadPool>,
}

/// How many actors there are.
const ACTORS: usize = 5;
/// Of so many plays one goes on with a prune.
const GOING_ON_OF: u64 = 2;
/// What became of a play.
#[derive(Debug)]
pub struct Ended {
    /// What happened, in order.
    pub trace: Vec<Step>,
    /// Who failed though nothing went wrong.
    pub failure: Option<String>,
    /// What was lost.
    pub loss: Option<String>,
}

const PANIC: &str = "a panic";

impl Stage {
    /// Makes the sources and the repositories.
    pub fn new() -> Self {
        let sources = Sources::new();
        let images = [
            scenario::after_forget,
            scenario::prune,
            scenario::prune_open_collection,
            scenario::prune_many_runs,
        ];
        let images = images.map(|image| image(&sources)).into();
        let pool = || rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        Self { sources, images, pools: (0..ACTORS).map(|_| pool()).collect() }
    }

    fn roles(random: &mut Random, image: &Scenario) -> Vec<Role> {
        let host = if random.chance(1, 2) { Host::current() } else { dead_host() };
        let mut writer = |source: usize| {
            let comparison = if random.chance(1, 2) { Comparison::Newest } else { Comparison::Nothing };
            let host = host.clone();
            Role::Writer(BackUp { source, comparison, host, has_checkpoints: random.chance(1, 4) })
        };
        let first = writer(2);
        let second = writer(3);
        let first = match random.below(4) {
            0 => writer_of(first, random.range(0..SOURCES)),
            _ => first,
        };
        let forgotten = match random.chance(1, 4) {
            true => image.visible.clone(),
            false => vec![*random.pick(&image.visible)],
        };
        let pruner = || Role::Pruner(host.clone());
        vec![first, second, pruner(), pruner(), Role::Forgetter(forgotten)]
    }

    /// Plays a seed. If there is one whom the storage lies to, the storage does not keep its contract.
    pub fn play(&self, seed: u64, lied_to: Option<LiedTo>) -> Ended {
        let mut random = Random::new(seed);
        // Where much is to be done, plays are longer.
        let image = random.weighted(&[(4, 0), (3, 1), (3, 2), (1, 3)]);
        let image = &self.images[image];
        let roles = Self::roles(&mut random, image);
        let policy = Policy::new(random, ACTORS);
        let may_fail = lied_to.is_some() || !policy.is_calm();
        let world = World::new(copy(&image.image));
        let gate = Gate::new(ACTORS, policy);
        let handles = roles.iter().enumerate().map(|(actor, role)| match lied_to {
            Some((is_lied_to, lie)) if is_lied_to(role) => {
                let lying = Lying::new(world.memory().clone(), lie);
                World::through(Arc::new(lying), world.memory().clone()).handle(gate.turn(actor))
            }
            _ => world.handle(gate.turn(actor)),
        });
        let handles: Vec<Arc<Handle>> = handles.collect();
        self.sources.touch();
        let outcomes = self.act(handles, &gate, &roles);
        let failure = outcomes.iter().enumerate().find_map(|(actor, outcome)| {
            let what = outcome.result.as_ref().err()?;
            (!may_fail || what == PANIC).then(|| format!("actor {actor} failed: {what}"))
        });
        let goes_on = seed.is_multiple_of(GOING_ON_OF);
        let loss = self.judge(&world, image, &roles, &outcomes, goes_on).err();
        Ended { trace: gate.trace(), failure, loss }
    }

    /// Lets all actors do what they do, and waits for their ends.
    fn act(&self, handles: Vec<Arc<Handle>>, gate: &Arc<Gate>, roles: &[Role]) -> Vec<Outcome> {
        let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(roles.iter().map(|_| None).collect());
        std::thread::scope(|scope| {
            let actors = roles.iter().zip(&self.pools).zip(handles).enumerate();
            for (actor, ((role, pool), storage)) in actors {
                let presence = gate.presence(actor);
                let outcomes = &outcomes;
                scope.spawn(move || {
                    // So that what the engine does in parallel is done by one thread.
                    let acted = || pool.install(|| self.act_as(role, storage));
                    let outcome = catch_unwind(AssertUnwindSafe(acted));
                    drop(presence);
                    let outcome = match outcome {
                        Ok(Ok(made)) => Outcome { made, result: Ok(()) },
                        Ok(Err(error)) if error.kind() == ErrorKind::Fenced && role.may_be_ended() => {
                            Outcome { made: None, result: Ok(()) }
                        }
                        Ok(Err(error)) => Outcome { made: None, result: Err(error.chain().join(": ")) },
                        Err(_) => Outcome { made: None, result: Err(PANIC.to_owned()) },
                    };
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner)[actor] = Some(outcome);
                });
            }
        });
        let outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.into_iter().map(|outcome| outcome.expect("every actor ends")).collect()
    }

    fn act_as(&self, role: &Role, storage: Arc<dyn Storage>) -> Result<Option<SessionId>> {
        match role {
            Role::Writer(back_up) => back_up.run(storage, &self.sources).map(Some),
            Role::Forgetter(snapshots) => {
                snapshots.iter().try_for_each(|snapshot| forget(Arc::clone(&storage), *snapshot))?;
                Ok(None)
            }
            Role::Pruner(host) => prune(storage, host).map(|_| None),
        }
    }

    /// What is visible comes back, and what must be visible is; if it goes on, also after a prune that finishes what was
    /// begun, when everything that was on its way has arrived.
    fn judge(
        &self,
        world: &World,
        image: &Scenario,
        roles: &[Role],
        outcomes: &[Outcome],
        goes_on: bool,
    ) -> std::result::Result<(), String> {
        let forgotten: BTreeSet<SessionId> = roles
            .iter()
            .flat_map(|role| match role {
                Role::Forgetter(snapshots) => snapshots.clone(),
                Role::Writer(_) | Role::Pruner(_) => Vec::new(),
            })
            .collect();
        let committed =
            image.visible.iter().copied().chain(outcomes.iter().filter_map(|outcome| outcome.made));
        let expected: BTreeSet<SessionId> = committed.filter(|id| !forgotten.contains(id)).collect();
        self.look(world, &expected).map_err(|what| format!("after it: {what}"))?;
        if !goes_on {
            return Ok(());
        }
        world.settle();
        prune(world.calm(), &dead_host())
            .map_err(|error| format!("a later prune: {}", error.chain().join(": ")))?;
        self.look(world, &expected).map_err(|what| format!("later: {what}"))
    }

    fn look(&self, world: &World, expected: &BTreeSet<SessionId>) -> std::result::Result<(), String> {
        let repository = open(world.calm()).map_err(|error| error.chain().join(": "))?;
        let visible: BTreeSet<SessionId> = self.sources.judge(&repository)?.into_iter().collect();
        match expected.difference(&visible).next() {
            Some(gone) => Err(format!("snapshot {gone} is gone")),
            None => Ok(()),
        }
    }
}

fn writer_of(role: Role, source: usize) -> Role {
    match role {
        Role::Writer(back_up) => Role::Writer(BackUp { source, ..back_up }),
        other => other,
    }
}
