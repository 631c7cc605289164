//! What collections forbid a writer: packs that are about to go or that went (format-spec chapter 14).
//!
//! What must hold: read after the session's start is visible, before the index (ordering rule 3). A collection that
//! cannot be read stops the session: what it condemns is not known.

use std::collections::{BTreeMap, HashSet};

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ContentName, Result, SessionId};
use crate::format::collection::{Condemned, Verdict};
use crate::format::names::{self, Phase};
use crate::format::sealing::ObjectKind;
use crate::repository::Repository;
use crate::repository::object::object_name;

/// What the collections of a repository forbid a writer.
#[derive(Debug, Default)]
pub(super) struct Collections {
    /// Every pack that a verdict or a condemned set without verdict names.
    pub(super) blocked: HashSet<ContentName>,
    /// Of each condemned set without verdict: the snapshots whose chunks all have a place outside of it.
    open: Vec<Vec<SessionId>>,
    /// A repair gave up chunks, so that no snapshot can be taken to be whole.
    has_lost: bool,
}

impl Collections {
    /// Whether what a snapshot names may be named again without looking up each chunk.
    pub(super) fn allow_taking_over(&self, snapshot: &SessionId) -> bool {
        !self.has_lost && self.open.iter().all(|kept| kept.contains(snapshot))
    }
}

impl Repository {
    /// Reads all collections.
    pub(super) fn collections(&self) -> Result<Collections> {
        let mut phases: BTreeMap<u64, Phase> = BTreeMap::new();
        self.storage.list(names::COLLECTIONS, None, &mut |listed| {
            if let Some((number, phase)) = names::parse_collection(listed.name.as_str()) {
                let known = phases.entry(number).or_insert(phase);
                if phase == Phase::Verdict {
                    *known = phase;
                }
            }
            Ok(())
        })?;
        let mut collections = Collections::default();
        for (number, phase) in phases {
            let (name, kind) = match phase {
                Phase::Condemned => (names::condemned(number), ObjectKind::Condemned),
                Phase::Verdict => (names::verdict(number), ObjectKind::Verdict),
            };
            let object = self.storage.get(&object_name(&name)?, RECORD_BYTES_MAX)?;
            let (_, content) = self.open_record(kind, &name, &object)?;
            let damaged = |error: crate::format::DecodeError| error.of_opened(&format!("object {name}"));
            match phase {
                Phase::Condemned => {
                    let condemned = Condemned::decode(&content).map_err(damaged)?;
                    collections.blocked.extend(condemned.packs);
                    collections.has_lost |= !condemned.lost.is_empty();
                    collections.open.push(condemned.kept);
                }
                Phase::Verdict => {
                    collections.blocked.extend(Verdict::decode(&content).map_err(damaged)?.packs);
                }
            }
        }
        Ok(collections)
    }
}
