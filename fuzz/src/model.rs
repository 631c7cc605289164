//! Target: sessions of several writers, forgetting, pruning, crashes and damage, beside a model of what must come of them.
//!
//! What must hold: what a session committed is listed and read back as it was stored, or, where an object that it needs
//! is damaged, reported as damage; nothing that was not committed is listed; a session that must not commit does not.
//! Once damage is repaired, everything is there again, unless a prune was made while records were gone by which it knows
//! what is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use packstone::base::host::Host;
use packstone::base::{ChunkId, ErrorKind, SessionId, Silent, Timestamp};
use packstone::crypto::ChunkKind;
use packstone::format::names;
use packstone::format::node::{Content, Metadata, Node, NodeKind, Regular};
use packstone::format::page::encode_leaf;
use packstone::format::snapshot::Snapshot;
use packstone::format::tombstone::{ForgetReason, Tombstone};
use packstone::ops::check::{CheckOptions, Portion, check};
use packstone::ops::prune::{PruneOptions, prepare, prune};
use packstone::repository::{
    EndedNow, MaxUnused, Over, PlanOptions, Reader, Repository, Session, SessionOptions,
};
use packstone::storage::Storage;
use packstone::tree::{Budget, Tree, Walk, WalkItem, mark_reachable};

use super::disk::Disk;
use super::forge::{self, chunk_id, met, snapshot};
use super::input::Input;

/// Contents that chunks may have.
const CONTENTS: usize = 16;
/// Sessions at a time.
const SESSIONS_MAX: usize = 3;
/// Most operations of a case.
const OPERATIONS_MAX: usize = 60;

/// Folders by which a prune knows what is needed and who may need it, and a writer what it must not build upon.
const RECORDS: [&str; 4] = [names::SESSIONS, names::SNAPSHOTS, names::FORGOTTEN, names::COLLECTIONS];

/// What chunk number `n` holds: bytes that compress, or noise, so much that a few of them fill a pack.
fn content(number: usize) -> Vec<u8> {
    let seed = u8::try_from(number).expect("small");
    if number < CONTENTS / 2 {
        return vec![seed; 1 + 400 * number];
    }
    let mut noise = vec![0; 4000 * (number - CONTENTS / 2) + 100];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

/// A session that has begun.
struct Running<'r> {
    session: Session<'r>,
    stored: BTreeSet<usize>,
    /// What its index must know: what was committed before it began, unless something was damaged or removed meanwhile.
    known: BTreeSet<usize>,
    has_failed: bool,
}

/// What was committed.
struct Committed {
    snapshot: Snapshot,
    contents: BTreeSet<usize>,
}

/// What must be true.
#[derive(Default)]
struct Model {
    committed: BTreeMap<SessionId, Committed>,
    /// Chunks that were in a commit, and those that any session ever stored.
    in_commits: BTreeSet<usize>,
    ever_stored: BTreeSet<usize>,
    /// Sessions that began and have no end.
    live: BTreeSet<SessionId>,
    /// Something was damaged or removed at some time, so that sessions may know chunks by halves.
    was_changed: bool,
    /// Somebody removed packs, or built upon them, without the records that tell what is needed and what went.
    is_shaken: bool,
}

fn host() -> Host {
    Host { name: "fuzz".into(), ..Host::default() }
}

/// A directory with a file for each content.
fn page_of(contents: &BTreeSet<usize>) -> Vec<u8> {
    let node = |number: &usize| {
        let bytes = content(*number);
        let regular = Regular {
            size: bytes.len() as u64,
            content: Content::Chunk(chunk_id(ChunkKind::Data, &bytes)),
            extents: None,
            changed_while_read: false,
        };
        let name = format!("{number:02}").into_bytes();
        let (metadata, kind) = (Metadata::default(), NodeKind::Regular(regular));
        Node { name, kind, metadata, xattrs: Vec::new(), kept: Vec::new() }
    };
    let nodes: Vec<Node> = contents.iter().map(node).collect();
    encode_leaf(&nodes.iter().collect(), &[])
}

impl Running<'_> {
    fn store(&mut self, model: &mut Model, disk: &Disk, number: usize) {
        let bytes = content(number);
        let stored = match self.session.store(ChunkKind::Data, &bytes) {
            Ok(stored) => stored,
            Err(error) => {
                assert!(disk.has_damage(names::INDEX), "{error}");
                met::<()>(Err(error));
                self.has_failed = true;
                return;
            }
        };
        assert_eq!(stored.id, chunk_id(ChunkKind::Data, &bytes));
        let again = self.stored.contains(&number);
        assert!(!(again && stored.is_new), "stored twice by one session");
        let must_know = !model.was_changed && self.known.contains(&number);
        assert!(!(must_know && stored.is_new), "committed before, and stored again");
        let never = !model.ever_stored.contains(&number);
        assert!(stored.is_new || !never, "known, and nobody ever stored it");
        self.stored.insert(number);
        model.ever_stored.insert(number);
    }

    fn commit(self, model: &mut Model, disk: &Disk) {
        let Running { session, stored, mut has_failed, .. } = self;
        let id = session.id();
        let page = page_of(&stored);
        match session.store(ChunkKind::Tree, &page) {
            Ok(stored) => assert_eq!(stored.id, chunk_id(ChunkKind::Tree, &page)),
            Err(error) => {
                assert!(disk.has_damage(names::INDEX), "{error}");
                has_failed = true;
            }
        }
        let bytes = stored.iter().map(|number| content(*number).len() as u64).sum();
        let was_over = disk.has(&names::commit(&id));
        let tree = chunk_id(ChunkKind::Tree, &page);
        let committed = session.commit(|| snapshot(tree, stored.len() as u64, bytes));
        model.live.remove(&id);
        match committed {
            Ok((session, snapshot)) => {
                assert!(!has_failed && !was_over, "a session committed that must not");
                assert_eq!(session, id);
                model.in_commits.extend(&stored);
                model.committed.insert(id, Committed { snapshot, contents: stored });
            }
            Err(error) if was_over && !has_failed => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
            Err(error) => assert!(has_failed, "{}", error.chain().join(": ")),
        }
    }
}

impl Model {
    /// Compares the repository with the model.
    fn check(&self, repository: &Repository, disk: &Disk) {
        let list = repository.snapshots().expect("listed");
        let damaged: BTreeSet<SessionId> = list.damaged.iter().map(|(id, _)| *id).collect();
        for (_, error) in list.damaged {
            met::<()>(Err(error));
        }
        let visible: BTreeMap<SessionId, &Snapshot> =
            list.visible.iter().map(|entry| (entry.id, &entry.snapshot)).collect();
        assert!(visible.keys().all(|id| self.committed.contains_key(id)), "a snapshot that nobody committed");
        for id in &damaged {
            assert!(disk.is_damaged(&names::commit(id)), "{id} is said to be damaged");
        }
        for (id, committed) in &self.committed {
            let name = names::commit(id);
            let is_forgotten = disk.has(&names::tombstone(id));
            let found = visible.get(id);
            assert!(found.is_none_or(|found| **found == committed.snapshot), "another snapshot");
            if is_forgotten || !disk.has(&name) {
                assert!(found.is_none() && !damaged.contains(id), "{id} is still listed");
            } else {
                assert_ne!(found.is_some(), damaged.contains(id), "{id} is neither listed nor damaged");
                assert!(found.is_some() || disk.is_damaged(&name));
            }
        }
        self.check_live(repository, disk);
        if !disk.has_any_damage() && !self.is_shaken {
            Self::check_view(repository, &visible.keys().copied().collect());
        }
        let reader = match repository.reader() {
            Ok(reader) => reader,
            Err(error) => {
                assert!(disk.has_damage(names::INDEX), "{error}");
                met::<()>(Err(error));
                return;
            }
        };
        let mut is_whole = damaged.is_empty();
        for (id, found) in visible {
            is_whole &= self.read(&reader, disk, id, found);
        }
        self.check_told(repository, disk, is_whole);
    }

    /// A check tells of damage if something is lost, and of none if nothing was damaged.
    fn check_told(&self, repository: &Repository, disk: &Disk, is_whole: bool) {
        let checked = check(repository, &CheckOptions { read: Some(Portion::All) }, &Silent);
        if let Some(summary) = met(checked) {
            let told = summary.damaged + summary.unreadable;
            assert!(is_whole || told > 0, "a check tells of no damage");
            let is_sound = !disk.has_any_damage() && !self.is_shaken;
            assert!(!is_sound || told == 0, "a check tells of damage: {:?}", summary.damages);
        } else {
            assert!(disk.has_any_damage() || self.is_shaken, "a check failed");
        }
    }

    fn check_live(&self, repository: &Repository, disk: &Disk) {
        let folders = [names::SESSIONS, names::SNAPSHOTS, names::FORGOTTEN];
        if self.is_shaken || folders.iter().any(|folder| disk.has_damage(folder)) {
            met(repository.live_sessions());
            return;
        }
        let live = repository.live_sessions().expect("listed");
        let live: BTreeSet<SessionId> = live.into_iter().map(|session| session.id).collect();
        assert_eq!(live, self.live);
    }

    /// Who removes packs sees that all is there which snapshots need.
    fn check_view(repository: &Repository, visible: &BTreeSet<SessionId>) {
        let view = repository.view(None, &|reader, snapshots, marks| {
            let roots: Vec<ChunkId> = snapshots.iter().map(|entry| entry.snapshot.tree).collect();
            mark_reachable(reader, &roots, marks, &Silent, &|_, error| Err(error))
        });
        let view = view.unwrap_or_else(|error| panic!("{}", error.chain().join(": ")));
        assert_eq!(view.snapshots.iter().map(|entry| entry.id).collect::<BTreeSet<_>>(), *visible);
        assert!(view.unproven.is_empty());
    }

    /// Reads all that a snapshot holds; false if something of it is lost.
    fn read(&self, reader: &Reader<'_>, disk: &Disk, id: SessionId, found: &Snapshot) -> bool {
        let contents = &self.committed[&id].contents;
        let is_damaged = [names::PACKS, names::INDEX].iter().any(|folder| disk.has_damage(folder));
        let is_whole = !is_damaged && !self.is_shaken;
        let tree = Tree::new(reader);
        let mut read = BTreeSet::new();
        let mut has_lost = false;
        for item in Walk::new(tree, found.tree, Budget::of(found)) {
            let Some(item) = met(item) else {
                has_lost = true;
                continue;
            };
            let WalkItem::Entry(entry) = item else { panic!("a directory that was never stored") };
            let number = contents.iter().find(|number| format!("{number:02}").as_bytes() == entry.node.name);
            let number = *number.expect("a name that was stored");
            let expected = content(number);
            let id: ChunkId = chunk_id(ChunkKind::Data, &expected);
            match met(reader.chunk(ChunkKind::Data, &id)) {
                Some(bytes) => assert_eq!(bytes, expected, "other bytes"),
                None => has_lost = true,
            }
            assert!(read.insert(number));
        }
        assert!(!has_lost || !is_whole, "{id} is said to be damaged");
        assert!(has_lost || read == *contents, "{id} lacks something");
        !has_lost
    }
}

fn damage(disk: &Disk, input: &mut Input<'_>) {
    let (what, number, position) = (input.below(4), input.below(256), input.length());
    let Some(name) = disk.nth(number) else { return };
    match what {
        0 => disk.damage(&name, |_| None),
        1 => disk.damage(&name, |bytes| {
            Some(bytes.get(..position.checked_rem(bytes.len()).unwrap_or_default())?.to_vec())
        }),
        2 => {
            let Some(other) = disk.nth(position) else { return };
            let mut taken = Vec::new();
            disk.damage(&other, |bytes| {
                taken = bytes.to_vec();
                Some(taken.clone())
            });
            disk.damage(&name, |_| Some(taken));
        }
        _ => disk.damage(&name, |bytes| {
            let mut bytes = bytes.to_vec();
            let bit = 1 << (position & 7);
            let place = (position >> 3).checked_rem(bytes.len())?;
            *bytes.get_mut(place)? ^= bit;
            Some(bytes)
        }),
    }
}

fn forget(repository: &Repository, model: &Model, input: &mut Input<'_>) {
    let number = input.below(256).checked_rem(model.committed.len());
    let Some(id) = number.and_then(|number| model.committed.keys().nth(number)) else { return };
    let tombstone = Tombstone {
        time: Timestamp::default(),
        host: "fuzz".into(),
        user: None,
        reason: ForgetReason::Named,
        replaced_by: None,
        program: "fuzz".into(),
    };
    repository.forget(*id, &tombstone).expect("forgotten");
    repository.settle_forgotten().expect("durable");
}

/// Ends a session of another writer.
fn end(repository: &Repository, model: &mut Model, disk: &Disk, id: SessionId) {
    let was_over = disk.has(&names::commit(&id));
    match repository.end_session(id, "fuzz") {
        Ok(EndedNow::Ended) => assert!(!was_over),
        Ok(EndedNow::AlreadyOver(over)) => {
            assert!(was_over);
            assert_eq!(over == Over::Committed, model.committed.contains_key(&id));
        }
        Err(error) => {
            assert!(disk.is_damaged(&names::commit(&id)), "{error}");
            met::<()>(Err(error));
        }
    }
    model.live.remove(&id);
}

/// Removes what nobody needs, without waiting for anybody.
fn prune_all(repository: &Repository, model: &mut Model, disk: &Disk) {
    model.was_changed = true;
    model.is_shaken |= RECORDS.iter().any(|folder| disk.has_damage(folder));
    let options = PruneOptions {
        plan: PlanOptions { max_unused: MaxUnused::Bytes(0), ..PlanOptions::default() },
        wait: Duration::ZERO,
        workers: 1,
        ..PruneOptions::new(host())
    };
    let is_sound = !disk.has_any_damage() && !model.is_shaken;
    match prune(repository, &options, &Silent) {
        Ok(summary) => {
            summary.ended.iter().for_each(|id| assert!(model.live.remove(id), "{id} was not live"));
            if is_sound {
                assert!(summary.waits_for.iter().all(|session| model.live.contains(&session.id)));
            }
            if is_sound && model.live.is_empty() {
                let next = prepare(repository, &options, &Silent).expect("planned");
                let (remove, returned) = (next.plan().remove, next.plan().returned);
                assert_eq!((remove.count, returned.count), (0, 0), "a prune leaves nothing to remove");
            }
        }
        Err(error) => {
            assert!(!is_sound, "{}", error.chain().join(": "));
            met::<()>(Err(error));
        }
    }
}

fn begin<'r>(repository: &'r Repository, model: &mut Model, disk: &Disk) -> Option<Running<'r>> {
    // What a collection blocks cannot be told without it.
    model.is_shaken |= disk.has_damage(names::COLLECTIONS);
    let session = match repository.start_session(&host(), SessionOptions::default()) {
        Ok(session) => session,
        Err(error) => {
            assert!(disk.has_damage(names::COLLECTIONS), "{}", error.chain().join(": "));
            return met(Err(error));
        }
    };
    model.live.insert(session.id());
    let known = model.in_commits.clone();
    Some(Running { session, stored: BTreeSet::new(), known, has_failed: false })
}

/// What happens while the repository is open once; false if there is nothing more.
fn era(disk: &Arc<Disk>, model: &mut Model, input: &mut Input<'_>, left: &mut usize) -> bool {
    let storage: Arc<dyn Storage> = Arc::clone(disk) as Arc<dyn Storage>;
    let repository = match forge::open(Arc::clone(&storage)) {
        Ok(repository) => repository,
        Err(error) => {
            let is_met = matches!(
                error.kind(),
                ErrorKind::Damaged | ErrorKind::Unsupported | ErrorKind::WrongKey | ErrorKind::NoRepository
            );
            assert!(is_met, "{error}");
            assert!(disk.has_damage(names::CONFIG) || disk.has_damage(names::KEYS), "{error}");
            disk.repair(|folder| [names::CONFIG, names::KEYS].contains(&folder));
            forge::open(storage).expect("config and key slot are whole again")
        }
    };
    let mut running: Vec<Running<'_>> = Vec::new();
    let goes_on = loop {
        if input.is_over() || *left == 0 {
            break false;
        }
        *left -= 1;
        let (what, choice) = (input.byte() % 22, input.byte());
        let chosen = usize::from(choice >> 4).checked_rem(running.len());
        match (what, chosen) {
            (0, _) | (1..10, None) if running.len() < SESSIONS_MAX => {
                running.extend(begin(&repository, model, disk));
            }
            (1..6, Some(chosen)) => {
                running[chosen].store(model, disk, usize::from(choice & 0x0f));
            }
            (6, Some(chosen)) => running[chosen].session.settle().expect("settled"),
            (7 | 8, Some(chosen)) => running.swap_remove(chosen).commit(model, disk),
            (9, Some(chosen)) => {
                let ended = running.swap_remove(chosen).session;
                model.live.remove(&ended.id());
                match choice & 1 {
                    0 => drop(ended),
                    _ => drop(ended.close()),
                }
            }
            (10, _) => {
                disk.set_off(true);
                running.clear();
                disk.set_off(false);
                break true;
            }
            (11, _) => break true,
            (12, _) => forget(&repository, model, input),
            (13 | 14, _) => {
                model.was_changed = true;
                damage(disk, input);
            }
            (15, _) => disk.repair(|_| true),
            (16, Some(chosen)) => end(&repository, model, disk, running[chosen].session.id()),
            (17, _) => {
                let over = model.live.iter().copied().nth(usize::from(choice)).into_iter();
                over.for_each(|id| end(&repository, model, disk, id));
            }
            (18, _) => drop(met(repository.sweep_sessions())),
            (19 | 20, _) => prune_all(&repository, model, disk),
            (21, _) => model.check(&repository, disk),
            _ => {}
        }
    };
    let over: BTreeSet<SessionId> = running.iter().map(|running| running.session.id()).collect();
    model.live.retain(|id| !over.contains(id));
    drop(running);
    model.check(&repository, disk);
    goes_on
}

/// Any sequence of what writers, readers, the power and the disk may do.
pub fn model(data: &[u8]) {
    let mut input = Input::new(data);
    let disk = Arc::new(Disk::new(forge::repository()));
    let mut model = Model::default();
    let mut left = OPERATIONS_MAX;
    while era(&disk, &mut model, &mut input, &mut left) {}
    disk.repair(|_| true);
    let repository = forge::open(Arc::clone(&disk) as Arc<dyn Storage>).expect("all is whole again");
    model.check(&repository, &disk);
}
