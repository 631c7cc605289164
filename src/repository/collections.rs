//! What collections forbid a writer: packs that are about to go or that went (format-spec chapter 14).
//!
//! What must hold: read after the session's start is visible, before the index (ordering rule 3). A collection that
//! cannot be read stops the session: what it condemns is not known.

use std::collections::{BTreeMap, HashSet};

use crate::base::{ContentName, Result, SessionId};
use crate::format::collection::{Condemned, Verdict};
use crate::format::names::{self, Phase};
use crate::format::sealing::ObjectKind;
use crate::repository::Repository;

/// What the collections of a repository forbid a writer.
#[derive(Debug, Default)]
pub(super) struct Collections {
    /// Every pack that a verdict or a condemned set without verdict names.
    pub(super) blocked: HashSet<ContentName>,
    /// Every pack that a verdict names.
    pub(super) dead: HashSet<ContentName>,
    /// The highest number of a collection; 0 if there is none.
    last: u64,
    /// Of each condemned set without verdict: the snapshots whose chunks all have a place outside of it.
    open: Vec<Vec<SessionId>>,
    /// A repair gave up chunks, so that no snapshot can be taken to be whole.
    has_lost: bool,
}

impl Collections {
    /// The number of the last collection, if all have verdicts.
    pub(super) fn last_decided(&self) -> Option<u64> {
        self.open.is_empty().then_some(self.last)
    }

    /// Whether what a snapshot names may be named again without looking up each chunk.
    pub(super) fn allow_taking_over(&self, snapshot: &SessionId) -> bool {
        !self.has_lost && self.open.iter().all(|kept| kept.contains(snapshot))
    }
}

impl Repository {
    /// Reads all collections.
    pub(super) fn collections(&self) -> Result<Collections> {
        let mut collections = Collections::default();
        let listed = self.listed_collections()?;
        self.prefetch(listed.iter().map(|(number, (phase, size_bytes))| match phase {
            Phase::Condemned => (names::condemned(*number), *size_bytes),
            Phase::Verdict => (names::verdict(*number), *size_bytes),
        }));
        for (number, (phase, size_bytes)) in listed {
            collections.last = number;
            match phase {
                Phase::Condemned => {
                    let condemned = self.listed_condemned(number, size_bytes)?;
                    collections.blocked.extend(&condemned.packs);
                    collections.has_lost |= !condemned.lost.is_empty();
                    collections.open.push(condemned.kept);
                }
                Phase::Verdict => {
                    let read = || self.listed_verdict(number, size_bytes);
                    let verdict = self.records.verdict(number, size_bytes, read)?;
                    collections.has_lost |= !verdict.lost.is_empty();
                    collections.dead.extend(&verdict.packs);
                }
            }
        }
        collections.blocked.extend(&collections.dead);
        Ok(collections)
    }

    /// Each collection: how far it is, and the size of the object that says so.
    pub(super) fn listed_collections(&self) -> Result<BTreeMap<u64, (Phase, u64)>> {
        let mut phases: BTreeMap<u64, (Phase, u64)> = BTreeMap::new();
        let mut listed_names = HashSet::new();
        self.storage.list(names::COLLECTIONS, None, &mut |listed| {
            if let Some((number, phase)) = names::parse_collection(listed.name.as_str()) {
                let known = phases.entry(number).or_insert((phase, listed.size_bytes));
                if phase == Phase::Verdict {
                    *known = (phase, listed.size_bytes);
                }
                listed_names.insert(listed.name.as_str().to_owned());
            }
            Ok(())
        })?;
        self.records.settle(names::COLLECTIONS, |name| listed_names.contains(name));
        Ok(phases)
    }

    /// A condemned set that was listed.
    pub(super) fn listed_condemned(&self, number: u64, size_bytes: u64) -> Result<Condemned> {
        let name = names::condemned(number);
        self.record(&name, size_bytes, |object| {
            let (_, content) = self.open_record(ObjectKind::Condemned, &name, object)?;
            Condemned::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))
        })
    }

    /// A verdict that was listed.
    pub(super) fn listed_verdict(&self, number: u64, size_bytes: u64) -> Result<Verdict> {
        let name = names::verdict(number);
        self.record(&name, size_bytes, |object| {
            let (_, content) = self.open_record(ObjectKind::Verdict, &name, object)?;
            Verdict::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))
        })
    }
}
