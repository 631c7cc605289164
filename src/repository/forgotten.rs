//! Forgetting: a tombstone beside a snapshot, which is never taken back (format-spec chapters 10 and 14).
//!
//! What must hold: whoever reads takes the presence of a tombstone for forgotten; whoever removes packs honours only one
//! that opens, so that a name alone, which a stranger may create, costs nobody a chunk.

use std::collections::BTreeSet;

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{Result, SessionId, Wrap};
use crate::crypto::random;
use crate::format::names;
use crate::format::sealing::ObjectKind;
use crate::format::tombstone::{ForgetReason, Tombstone};
use crate::repository::Repository;
use crate::repository::object::{Creation, create, object_name};

impl Repository {
    /// Forgets a snapshot, for ever. One that was forgotten before stays so, with the words of whoever was first; then
    /// this gives false.
    ///
    /// What was forgotten is durable only after `settle_forgotten`.
    pub fn forget(&self, snapshot: SessionId, tombstone: &Tombstone) -> Result<bool> {
        let name = names::tombstone(&snapshot);
        // No session writes tombstones: this one is drawn for the header alone.
        let drawn = SessionId(random::array()?);
        let object = self.seal_record(ObjectKind::Tombstone, drawn, Some(&name), tombstone.encode())?;
        let created = create(&*self.storage, &object_name(&name)?, &[object]);
        let is_ours = created.wrap(|| format!("cannot forget snapshot {snapshot}"))? == Creation::Ours;
        if is_ours {
            self.remember_own(snapshot);
        }
        Ok(is_ours)
    }

    /// Remembers that this machine forgot a snapshot: whoever removes packs need not ask again.
    fn remember_own(&self, snapshot: SessionId) {
        use std::io::Write;
        let Some(path) = self.own_forgotten_path() else { return };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        // Who cannot remember is asked.
        let _ = file.and_then(|mut file| writeln!(file, "{snapshot}"));
    }

    /// The snapshots that this machine forgot, of those that are asked for.
    pub(super) fn own_forgotten(&self, asked: &BTreeSet<SessionId>) -> BTreeSet<SessionId> {
        let path = self.own_forgotten_path();
        let text = path.as_deref().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().filter_map(SessionId::from_hex).filter(|session| asked.contains(session)).collect()
    }

    fn own_forgotten_path(&self) -> Option<std::path::PathBuf> {
        Some(self.cache_folder.as_deref()?.join("forgotten"))
    }

    /// Makes durable what was forgotten.
    pub fn settle_forgotten(&self) -> Result<()> {
        self.storage.barrier().wrap(|| "cannot make durable what was forgotten")
    }

    /// Forgets a snapshot in whose place another one stands that is durable. If somebody else forgot it first, the other
    /// one is forgotten too, and nothing is replaced: then this gives false.
    pub fn forget_replaced(&self, old: SessionId, new: SessionId, tombstone: &Tombstone) -> Result<bool> {
        let replacing =
            Tombstone { reason: ForgetReason::Replaced, replaced_by: Some(new), ..tombstone.clone() };
        let is_first = self.forget(old, &replacing)?;
        if !is_first {
            // What became of the old one must become of the new: it may be that nobody should see it any more.
            let first = self.read_tombstone(old).unwrap_or_else(|_| tombstone.clone());
            let Tombstone { reason, replaced_by, .. } = first;
            self.forget(new, &Tombstone { reason, replaced_by, ..tombstone.clone() })?;
        }
        self.settle_forgotten()?;
        Ok(is_first)
    }

    /// The snapshots that have a tombstone, whether it opens or not.
    pub(super) fn forgotten(&self) -> Result<BTreeSet<SessionId>> {
        let mut forgotten = BTreeSet::new();
        self.storage.list(names::FORGOTTEN, None, &mut |listed| {
            forgotten.extend(names::parse_tombstone(listed.name.as_str()));
            Ok(())
        })?;
        Ok(forgotten)
    }

    /// Reads a tombstone.
    pub(super) fn read_tombstone(&self, session: SessionId) -> Result<Tombstone> {
        let name = names::tombstone(&session);
        let object = self.storage.get(&object_name(&name)?, RECORD_BYTES_MAX)?;
        let (_, content) = self.open_record(ObjectKind::Tombstone, &name, &object)?;
        Tombstone::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::ErrorKind;
    use crate::format::sealing::Header;
    use crate::format::tombstone::tests::tombstone;
    use crate::repository::tests::new_repository;

    #[test]
    fn who_was_first_is_read_back() {
        let (memory, repository) = new_repository();
        let [first, second] = [1, 2].map(|byte| SessionId([byte; 16]));
        assert!(repository.forget(first, &tombstone()).unwrap());
        let later = Tombstone { host: "other".into(), ..tombstone() };
        assert!(!repository.forget(first, &later).unwrap());
        repository.forget(second, &later).unwrap();
        repository.settle_forgotten().unwrap();
        assert_eq!(repository.forgotten().unwrap(), BTreeSet::from([first, second]));
        assert_eq!(repository.read_tombstone(first).unwrap(), tombstone());
        assert_eq!(repository.read_tombstone(second).unwrap(), later);
        let object = memory.bytes(&object_name(&names::tombstone(&first)).unwrap()).unwrap();
        let (header, _) = Header::decode(ObjectKind::Tombstone, &object).unwrap();
        assert_ne!(header.session, first, "the header names no session that there is");
    }

    #[test]
    fn what_replaces_a_snapshot_goes_with_it_if_somebody_was_faster() {
        let (_, repository) = new_repository();
        let [old, new, late] = [1, 2, 3].map(|byte| SessionId([byte; 16]));
        let tombstone = Tombstone { reason: ForgetReason::Named, replaced_by: None, ..tombstone() };
        assert!(repository.forget_replaced(old, new, &tombstone).unwrap());
        let replaced = repository.read_tombstone(old).unwrap();
        assert_eq!((replaced.reason, replaced.replaced_by), (ForgetReason::Replaced, Some(new)));
        assert!(!repository.forget_replaced(old, late, &tombstone).unwrap());
        assert_eq!(repository.read_tombstone(old).unwrap(), replaced);
        let gone = repository.read_tombstone(late).unwrap();
        assert_eq!((gone.reason, gone.replaced_by), (ForgetReason::Replaced, Some(new)));
        assert_eq!(repository.forgotten().unwrap(), BTreeSet::from([old, late]));
    }

    #[test]
    fn a_tombstone_that_does_not_open_is_there_and_is_no_tombstone() {
        let (memory, repository) = new_repository();
        let [good, bad, moved] = [1, 2, 3].map(|byte| SessionId([byte; 16]));
        let place = |session| object_name(&names::tombstone(&session)).unwrap();
        repository.forget(good, &tombstone()).unwrap();
        memory.replace(&place(bad), Bytes::from_static(b"x"));
        memory.replace(&place(moved), memory.bytes(&place(good)).unwrap());
        // It is there, so that nothing is written; what is there stays as it is.
        assert!(!repository.forget(bad, &tombstone()).unwrap());
        assert_eq!(repository.forgotten().unwrap(), BTreeSet::from([good, bad, moved]));
        assert!(repository.read_tombstone(good).is_ok());
        for session in [bad, moved] {
            assert_eq!(repository.read_tombstone(session).unwrap_err().kind(), ErrorKind::Damaged);
        }
    }
}
