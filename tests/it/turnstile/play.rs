//! One play: writers, pruners and one who forgets, all at once on one small repository, in the order of a seed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use packstone::base::host::Host;
use packstone::base::{ErrorKind, Result, SessionId};
use packstone::ops::backup::Comparison;
use packstone::storage::Storage;
use packstone::storage::memory::Memory;

use crate::engine::init;
use crate::process::{BackUp, dead_host, forget, open, prune};
use crate::storage::lying::{Lie, Lying};
use crate::storage::{World, copy};
use crate::support::random::Random;
use crate::turnstile::gate::{Gate, Step};
use crate::turnstile::policy::Policy;
use crate::witness::{PARAMETERS, SOURCES, Sources};

/// What an actor does.
#[derive(Clone, Debug)]
enum Role {
    Writer(BackUp),
    Pruner(Host),
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

/// What an actor came to.
#[derive(Debug)]
struct Outcome {
    made: Option<SessionId>,
    result: std::result::Result<(), String>,
}

/// A repository in which plays begin.
#[derive(Debug)]
struct Image {
    memory: Memory,
    visible: Vec<SessionId>,
}

/// What is the same in all plays.
#[derive(Debug)]
pub struct Stage {
    sources: Sources,
    images: Vec<Image>,
    pools: Vec<rayon::ThreadPool>,
}

/// How many actors there are.
const ACTORS: usize = 5;

/// What became of a play.
#[derive(Debug)]
pub struct Ended {
    /// What happened, in order.
    pub trace: Vec<Step>,
    /// What was lost, or failed though nothing went wrong.
    pub loss: Option<String>,
}

impl Stage {
    /// Makes the sources and the repositories.
    pub fn new() -> Self {
        let sources = Sources::new();
        let images = vec![Self::with_forgotten(&sources)];
        let pool = || rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        Self { sources, images, pools: (0..ACTORS).map(|_| pool()).collect() }
    }

    /// Three snapshots of which one is forgotten; its packs are all there.
    fn with_forgotten(sources: &Sources) -> Image {
        let memory = Memory::new();
        init(Arc::new(memory.clone()), PARAMETERS, None);
        let storage = || Arc::new(memory.clone());
        let mut visible: Vec<SessionId> =
            [0, 1, 2].map(|source| BackUp::new(source).run(storage(), sources).expect("a backup")).into();
        let forgotten = visible.pop().expect("a snapshot");
        forget(storage(), forgotten).expect("forgotten");
        Image { memory, visible }
    }

    fn roles(random: &mut Random, image: &Image) -> Vec<Role> {
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
        let mut forgotten = vec![*random.pick(&image.visible)];
        if random.chance(1, 4) {
            forgotten = image.visible.clone();
        }
        let pruner = || Role::Pruner(host.clone());
        vec![first, second, pruner(), pruner(), Role::Forgetter(forgotten)]
    }

    /// Plays a seed. With a lie the storage does not keep its contract.
    pub fn play(&self, seed: u64, lie: Option<Lie>) -> Ended {
        let mut random = Random::new(seed);
        let image = random.pick(&self.images);
        let roles = Self::roles(&mut random, image);
        let policy = Policy::new(random, ACTORS);
        let is_calm = policy.is_calm();
        let memory = copy(&image.memory);
        let world = match lie {
            None => World::new(memory),
            Some(lie) => World::through(Arc::new(Lying::new(memory.clone(), lie)), memory),
        };
        let gate = Gate::new(ACTORS, policy);
        self.sources.touch();
        let outcomes = self.act(&world, &gate, &roles);
        let loss = self.judge(&world, image, &roles, &outcomes, is_calm).err();
        Ended { trace: gate.trace(), loss }
    }

    /// Lets all actors do what they do, and waits for their ends.
    fn act(&self, world: &World, gate: &Arc<Gate>, roles: &[Role]) -> Vec<Outcome> {
        let outcomes: Mutex<Vec<Option<Outcome>>> = Mutex::new(roles.iter().map(|_| None).collect());
        std::thread::scope(|scope| {
            for (actor, (role, pool)) in roles.iter().zip(&self.pools).enumerate() {
                let storage = world.handle(gate.turn(actor));
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
                        Err(_) => Outcome { made: None, result: Err("a panic".to_owned()) },
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

    /// What is visible comes back, and what must be visible is.
    fn judge(
        &self,
        world: &World,
        image: &Image,
        roles: &[Role],
        outcomes: &[Outcome],
        is_calm: bool,
    ) -> std::result::Result<(), String> {
        for (actor, outcome) in outcomes.iter().enumerate() {
            match &outcome.result {
                Err(what) if is_calm || what == "a panic" => {
                    return Err(format!("actor {actor} failed: {what}"));
                }
                _ => {}
            }
        }
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
