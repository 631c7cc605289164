//! Objects that stand for themselves: configs, key slots, commit keys, tombstones, session records, collections.
//!
//! What must hold: each that is listed is fetched and opened, whether anything needs it or not; one that is gone when it
//! is read was removed for a reason that another object shows, or it is damage.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use subtle::ConstantTimeEq;

use super::findings::Findings;
use crate::base::limits::{CONFIG_BYTES_MAX, RECORD_BYTES_MAX};
use crate::base::{ContentName, Error, ErrorKind, Result, SessionId};
use crate::crypto::content_name;
use crate::format::collection::{Condemned, Verdict};
use crate::format::config::Config;
use crate::format::names::{self, Phase, SessionRecord};
use crate::format::sealing::ObjectKind;
use crate::format::session::{SessionBeat, SessionStart};
use crate::format::snapshot::Commit;
use crate::format::tombstone::Tombstone;
use crate::repository::object::object_name;
use crate::repository::slots::SlotState;
use crate::repository::{Repository, SnapshotEntry};

/// What collections say.
#[derive(Debug, Default)]
pub(super) struct ReadCollections {
    /// Every pack that a verdict names.
    pub dead: HashSet<ContentName>,
    /// The numbers of all verdicts that were listed.
    pub verdicts: BTreeSet<u64>,
    /// Objects.
    pub count: u64,
}

/// What commit keys and tombstones say.
#[derive(Debug, Default)]
pub(super) struct ReadCommits {
    /// Visible snapshots, oldest first.
    pub visible: Vec<SnapshotEntry>,
    /// Sessions that have a commit key.
    pub ended: HashSet<SessionId>,
    /// Tombstones.
    pub forgotten: BTreeSet<SessionId>,
    /// Snapshots whose predecessor on the same host is not there.
    pub gaps: u64,
    /// Of these, how many more there are than snapshots that were forgotten and removed.
    pub unexplained_gaps: u64,
}

impl Repository {
    /// Names that are listed in a folder; those that `parse` refuses are counted as foreign.
    fn listed<T>(
        &self,
        folder: &str,
        findings: &Findings<'_>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.storage.list(folder, None, &mut |listed| {
            match parse(listed.name.as_str()) {
                Some(name) => found.push(name),
                None => findings.foreign(listed.name.as_str(), listed.size_bytes),
            }
            findings.go_on()
        })?;
        Ok(found)
    }

    /// Every config: its code, and that it follows the one before it.
    pub(super) fn audit_configs(&self, findings: &Findings<'_>) -> Result<()> {
        let mut before: Option<(u32, ContentName)> = None;
        for number in self.listed(names::CONFIG, findings, names::parse_config)? {
            let name = names::config(number);
            match self.audit_config(&name, number, before) {
                Ok(hash) => before = Some((number, hash)),
                Err(error) => {
                    findings.tell(&name, &error);
                    before = None;
                }
            }
        }
        Ok(())
    }

    fn audit_config(
        &self,
        name: &str,
        number: u32,
        before: Option<(u32, ContentName)>,
    ) -> Result<ContentName> {
        let object = self.storage.get(&object_name(name)?, CONFIG_BYTES_MAX)?;
        let damaged = |error: crate::format::DecodeError| error.of_object(&format!("object {name}"));
        let (covered, code) = Config::split(&object).map_err(damaged)?;
        let config = Config::decode(covered).map_err(damaged)?;
        let expected = self.keys.config_code(config.generation, name, covered)?;
        if !bool::from(expected.ct_eq(code)) {
            return Err(Error::damaged("its code does not fit its bytes (format rule CFG-2)"));
        }
        if config.repository != self.id() {
            return Err(Error::damaged("it is of another repository"));
        }
        if let Some((last, hash)) = before
            && last.checked_add(1) == Some(number)
            && config.previous != Some(hash)
        {
            return Err(Error::damaged("it does not follow the config before it"));
        }
        Ok(content_name([object.as_slice()]))
    }

    /// Every key slot: its name against its bytes.
    pub(super) fn audit_slots(&self, findings: &Findings<'_>) -> Result<()> {
        let list = self.slots()?;
        for slot in list.slots {
            if let SlotState::Unusable(error) = slot.state {
                findings.tell(&names::slot(&slot.name), &error);
            }
        }
        list.foreign.iter().for_each(|name| findings.foreign(name, 0));
        Ok(())
    }

    /// Every commit key, and which snapshots are visible.
    pub(super) fn audit_commits(&self, findings: &Findings<'_>) -> Result<ReadCommits> {
        let committed = self.listed(names::SNAPSHOTS, findings, names::parse_commit)?;
        let forgotten: BTreeSet<SessionId> =
            self.listed(names::FORGOTTEN, findings, names::parse_tombstone)?.into_iter().collect();
        let mut commits = ReadCommits { forgotten, ..ReadCommits::default() };
        let mut hashes: HashSet<ContentName> = HashSet::new();
        let mut unusable = 0_u64;
        for session in committed {
            findings.go_on()?;
            match self.read_commit(session) {
                Ok((Commit::Snapshot(snapshot), stored_hash)) => {
                    hashes.insert(stored_hash);
                    if !commits.forgotten.contains(&session) {
                        let entry = SnapshotEntry { id: session, stored_hash, snapshot: *snapshot };
                        commits.visible.push(entry);
                    }
                }
                Ok((Commit::End(_), _)) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && self.is_forgotten(&session)? => continue,
                Err(error) => {
                    unusable += 1;
                    findings.tell(&names::commit(&session), &error);
                }
            }
            commits.ended.insert(session);
        }
        commits.visible.sort_by_key(|entry| (entry.snapshot.time, entry.id));
        let follows = |entry: &&SnapshotEntry| {
            entry.snapshot.previous.is_some_and(|previous| !hashes.contains(&previous))
        };
        commits.gaps = commits.visible.iter().filter(follows).count() as u64;
        let removed = commits.forgotten.iter().filter(|session| !commits.ended.contains(*session)).count();
        commits.unexplained_gaps = commits.gaps.saturating_sub(removed as u64 + unusable);
        Ok(commits)
    }

    /// Whether a tombstone of a snapshot is there now.
    pub(super) fn is_forgotten(&self, session: &SessionId) -> Result<bool> {
        self.is_there(&names::tombstone(session))
    }

    fn is_there(&self, name: &str) -> Result<bool> {
        match self.storage.get_range(&object_name(name)?, 0, 0) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            // Of an odd object others tell more.
            _ => Ok(true),
        }
    }

    /// Every tombstone.
    pub(super) fn audit_tombstones(&self, commits: &ReadCommits, findings: &Findings<'_>) -> Result<()> {
        for session in &commits.forgotten {
            findings.go_on()?;
            let name = names::tombstone(session);
            let opened = self.open_whole(ObjectKind::Tombstone, &name).and_then(|(_, content)| {
                Tombstone::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))
            });
            if let Err(error) = opened {
                findings.tell(&name, &error);
            }
        }
        Ok(())
    }

    fn open_whole(&self, kind: ObjectKind, name: &str) -> Result<(SessionId, Vec<u8>)> {
        let object = self.storage.get(&object_name(name)?, RECORD_BYTES_MAX)?;
        let (header, content) = self.open_record(kind, name, &object)?;
        Ok((header.session, content))
    }

    /// Every session record. Gives how many sessions have started and not ended.
    pub(super) fn audit_sessions(&self, commits: &ReadCommits, findings: &Findings<'_>) -> Result<u64> {
        let records = self.listed(names::SESSIONS, findings, |name| {
            names::parse_session(name).map(|(session, record)| (session, record, name.to_owned()))
        })?;
        let mut started: HashSet<SessionId> = HashSet::new();
        for (session, record, name) in records {
            findings.go_on()?;
            if record == SessionRecord::Start {
                started.insert(session);
            }
            match self.audit_session_record(session, &name, record) {
                // Records of a session that is over may be removed.
                Err(error) if error.kind() == ErrorKind::NotFound && !self.is_there(&name)? => {}
                Err(error) => drop(findings.tell(&name, &error)),
                Ok(()) => {}
            }
        }
        started.retain(|session| !commits.ended.contains(session) && !commits.forgotten.contains(session));
        Ok(started.len() as u64)
    }

    fn audit_session_record(&self, session: SessionId, name: &str, record: SessionRecord) -> Result<()> {
        let kind = match record {
            SessionRecord::Start => ObjectKind::SessionStart,
            SessionRecord::Beat(_) => ObjectKind::SessionBeat,
        };
        let (writer, content) = self.open_whole(kind, name)?;
        if writer != session {
            return Err(Error::damaged("another session made it"));
        }
        let decoded = match record {
            SessionRecord::Start => SessionStart::decode(&content).map(drop),
            SessionRecord::Beat(_) => SessionBeat::decode(&content).map(drop),
        };
        decoded.map_err(|error| error.of_opened(&format!("object {name}")))
    }

    /// Every collection record. Numbers that are left out, and verdicts on nothing, tell of objects that are gone.
    pub(super) fn audit_collections(&self, findings: &Findings<'_>) -> Result<ReadCollections> {
        let mut phases: BTreeMap<u64, BTreeSet<&'static str>> = BTreeMap::new();
        let mut read = ReadCollections::default();
        for (number, phase) in self.listed(names::COLLECTIONS, findings, names::parse_collection)? {
            findings.go_on()?;
            read.count += 1;
            let (name, word) = match phase {
                Phase::Condemned => (names::condemned(number), "condemned"),
                Phase::Verdict => (names::verdict(number), "verdict"),
            };
            phases.entry(number).or_default().insert(word);
            if phase == Phase::Verdict {
                read.verdicts.insert(number);
            }
            match self.audit_collection(&name, phase) {
                Ok(dead) => read.dead.extend(dead),
                Err(error) => drop(findings.tell(&name, &error)),
            }
        }
        let highest = phases.keys().next_back().copied().unwrap_or_default();
        // A hostile number must not make this long: more than a few that are gone are told by the first of them.
        let gone =
            (1..=highest).filter(|number| !phases.get(number).is_some_and(|has| has.contains("condemned")));
        for number in gone.take(10) {
            let error = Error::damaged("it is not there, though a later one or its verdict is");
            findings.tell(&names::condemned(number), &error);
        }
        Ok(read)
    }

    fn audit_collection(&self, name: &str, phase: Phase) -> Result<Vec<ContentName>> {
        let damaged = |error: crate::format::DecodeError| error.of_opened(&format!("object {name}"));
        match phase {
            Phase::Condemned => {
                let (_, content) = self.open_whole(ObjectKind::Condemned, name)?;
                Condemned::decode(&content).map_err(damaged)?;
                Ok(Vec::new())
            }
            Phase::Verdict => {
                let (_, content) = self.open_whole(ObjectKind::Verdict, name)?;
                Ok(Verdict::decode(&content).map_err(damaged)?.packs)
            }
        }
    }

    /// Whether a verdict came since collections were read, so that packs may have gone for a reason.
    pub(super) fn has_new_verdict(&self, known: &ReadCollections) -> Result<bool> {
        let mut is_new = false;
        self.storage.list(names::COLLECTIONS, None, &mut |listed| {
            if let Some((number, Phase::Verdict)) = names::parse_collection(listed.name.as_str()) {
                is_new |= !known.verdicts.contains(&number);
            }
            Ok(())
        })?;
        Ok(is_new)
    }
}
