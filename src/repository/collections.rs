//! What collections forbid a writer: packs that are about to go or that went (format-spec chapter 14).
//!
//! What must hold: read after the session's start is visible, before the index (ordering rule 3). A collection that
//! cannot be read stops the session: what it condemns is not known.

use std::collections::{BTreeMap, HashSet};

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ContentName, Result};
use crate::format::collection::{Condemned, Verdict};
use crate::format::names::{self, Phase};
use crate::format::sealing::ObjectKind;
use crate::repository::Repository;
use crate::repository::object::object_name;

impl Repository {
    /// Every pack that a verdict or a condemned set without verdict names.
    pub(super) fn blocked_packs(&self) -> Result<HashSet<ContentName>> {
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
        let mut blocked = HashSet::new();
        for (number, phase) in phases {
            let (name, kind) = match phase {
                Phase::Condemned => (names::condemned(number), ObjectKind::Condemned),
                Phase::Verdict => (names::verdict(number), ObjectKind::Verdict),
            };
            let object = self.storage.get(&object_name(&name)?, RECORD_BYTES_MAX)?;
            let (_, content) = self.open_record(kind, &name, &object)?;
            let packs = match phase {
                Phase::Condemned => Condemned::decode(&content).map(|condemned| condemned.packs),
                Phase::Verdict => Verdict::decode(&content).map(|verdict| verdict.packs),
            };
            blocked.extend(packs.map_err(|error| error.of_opened(&format!("object {name}")))?);
        }
        Ok(blocked)
    }
}
