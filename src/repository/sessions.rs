//! The sessions of others: which live, how one is ended, and what may be removed of those that are over.
//!
//! What must hold (format-spec chapter 14): sessions are listed before commit keys, and these before tombstones, so that
//! none is called live that was over before the listing began; whoever ends a session creates its commit key and
//! believes what is stored. Whether a session may be ended is not decided here.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::limits::RECORD_BYTES_MAX;
use crate::base::{ErrorKind, Result, SessionId, Timestamp, Wrap};
use crate::format::names::{self, SessionRecord};
use crate::format::sealing::ObjectKind;
use crate::format::session::{SessionBeat, SessionStart};
use crate::format::snapshot::{Commit, End, EndReason};
use crate::repository::object::{Creation, object_name};
use crate::repository::records::is_gone;
use crate::repository::{ObjectCount, Repository};
use crate::storage::ObjectName;

/// A session that has begun and is not over.
#[derive(Debug)]
pub struct LiveSession {
    /// Its name.
    pub id: SessionId,
    /// How it began; or why that cannot be read.
    pub start: Result<SessionStart>,
    /// The highest number of a beat; none: it has sent none.
    pub last_beat: Option<u64>,
}

/// What a session is whose commit key is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It committed a snapshot, which may have been forgotten since.
    Committed,
    /// It ended without one.
    Ended(EndReason),
}

/// What became of an attempt to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedNow {
    /// It is over by this, and will never commit.
    Ended,
    /// It was over before.
    AlreadyOver(Over),
}

/// What is listed of a session.
#[derive(Debug, Default)]
struct Records {
    has_start: bool,
    last_beat: Option<u64>,
    objects: Vec<(ObjectName, u64)>,
}

impl Repository {
    /// The sessions that have begun and are not over, in order of their names.
    pub fn live_sessions(&self) -> Result<Vec<LiveSession>> {
        let mut sessions = self.session_records()?;
        let over = self.sessions_over(&sessions)?;
        // A start is removed of what is over, and of nothing else; a beat may come late.
        sessions.retain(|id, records| records.has_start && !over.contains(id));
        let live = sessions.into_iter().map(|(id, Records { last_beat, .. })| {
            let start = self.read_session_start(id);
            LiveSession { id, start, last_beat }
        });
        let mut live: Vec<LiveSession> = live.collect();
        if live.iter().any(|session| is_gone(&session.start)) {
            // A start that is not found is gone only if no listing shows it either.
            let listed = self.session_records()?;
            let is_listed =
                |id: &SessionId| listed.get(id).is_some_and(|records: &Records| records.has_start);
            live.retain(|session| !is_gone(&session.start) || is_listed(&session.id));
        }
        Ok(live)
    }

    /// The names of sessions that are live, whether their starts can be read or not.
    pub(super) fn live_session_names(&self) -> Result<BTreeSet<SessionId>> {
        let sessions = self.session_records()?;
        let over = self.sessions_over(&sessions)?;
        let live = sessions.into_iter().filter(|(id, records)| records.has_start && !over.contains(id));
        Ok(live.map(|(id, _)| id).collect())
    }

    /// Ends a session that another began: it will never commit, unless it has. What it stored stays and is used again.
    /// `host_name` is the machine that ends it. The end is durable when this returns.
    pub fn end_session(&self, id: SessionId, host_name: &str) -> Result<EndedNow> {
        self.check_may_write()?;
        let what = || format!("cannot end session {id}");
        // Where creation is not atomic, a commit key that is there would be overwritten.
        let over = match self.over(id).wrap(what)? {
            Some(over) => Some(over),
            None => {
                let end =
                    End { reason: EndReason::Fenced, time: Timestamp::now(), host: host_name.to_owned() };
                match self.put_commit(id, &Commit::End(end)).wrap(what)? {
                    Creation::Ours => None,
                    // Of all commit keys, only those of what was forgotten are removed.
                    Creation::Taken => Some(self.over(id).wrap(what)?.unwrap_or(Over::Committed)),
                }
            }
        };
        // Whoever made it, what follows builds upon it.
        self.storage.barrier().wrap(what)?;
        Ok(over.map_or(EndedNow::Ended, EndedNow::AlreadyOver))
    }

    /// What the commit key of a session says, if it is there.
    fn over(&self, id: SessionId) -> Result<Option<Over>> {
        match self.read_commit(id) {
            Ok((Commit::Snapshot(_), _)) => Ok(Some(Over::Committed)),
            Ok((Commit::End(end), _)) => Ok(Some(Over::Ended(end.reason))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the commit keys of sessions that ended themselves with nothing to commit, as those do that write for the
    /// snapshots of others: they never tried to create anything else under that name. To be called after
    /// `sweep_sessions`: the commit key is what says that a session is over while its start is there.
    pub fn sweep_closed(&self) -> Result<u64> {
        self.check_may_write()?;
        let mut closed = self.all_snapshots(false)?.ends;
        closed.retain(|(_, end)| end.reason == EndReason::Closed);
        // After the ends: a session that began and ended meanwhile would seem to have no start.
        let begun = self.session_records()?;
        closed.retain(|(id, _)| !begun.contains_key(id));
        if closed.is_empty() {
            return Ok(0);
        }
        // A start that was removed and comes back when the power goes must not find its end gone.
        self.storage.barrier().wrap(|| "cannot make durable what was removed of sessions")?;
        let mut swept = 0;
        for (id, _) in closed {
            swept += u64::from(self.delete_if_there(&names::commit(&id))?);
        }
        Ok(swept)
    }

    /// Removes the records of sessions that are over. May be done at any time: whoever has a commit key or a tombstone is
    /// not live, whatever of its records comes back late.
    pub fn sweep_sessions(&self) -> Result<ObjectCount> {
        self.check_may_write()?;
        let mut sessions = self.session_records()?;
        let over = self.sessions_over(&sessions)?;
        sessions.retain(|id, records| !records.has_start || over.contains(id));
        let mut swept = ObjectCount::default();
        if sessions.is_empty() {
            return Ok(swept);
        }
        // A commit key that was seen and is lost with the power must not leave a session that nobody knows of.
        self.storage.barrier().wrap(|| "cannot make the ends of sessions durable")?;
        for (name, size_bytes) in sessions.into_values().flat_map(|records| records.objects) {
            match self.storage.delete(&name) {
                Ok(()) => {
                    swept.count += 1;
                    swept.size_bytes = swept.size_bytes.saturating_add(size_bytes);
                }
                // Another sweeps as well.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(swept)
    }

    /// Whether it is known that of many creators of one name on this way to the storage exactly one succeeds.
    pub fn creates_atomically(&self) -> bool {
        self.storage.capabilities().atomic_create == Some(true)
    }

    /// When a beat of a session was sent, by the clock of the machine that sent it: for people to read.
    pub fn beat_time(&self, id: SessionId, number: u64) -> Result<Timestamp> {
        let name = names::session_beat(&id, number);
        let object = self.storage.get(&object_name(&name)?, RECORD_BYTES_MAX)?;
        let (_, content) = self.open_record(ObjectKind::SessionBeat, &name, &object)?;
        let beat =
            SessionBeat::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))?;
        Ok(beat.time)
    }

    fn session_records(&self) -> Result<BTreeMap<SessionId, Records>> {
        let mut sessions: BTreeMap<SessionId, Records> = BTreeMap::new();
        self.storage.list(names::SESSIONS, None, &mut |listed| {
            if let Some((id, record)) = names::parse_session(listed.name.as_str()) {
                let records = sessions.entry(id).or_default();
                match record {
                    SessionRecord::Start => records.has_start = true,
                    SessionRecord::Beat(number) => records.last_beat = records.last_beat.max(Some(number)),
                }
                records.objects.push((listed.name, listed.size_bytes));
            }
            Ok(())
        })?;
        Ok(sessions)
    }

    /// Of these sessions, those that are over: whose commit key is listed, or a tombstone that opens. A name among the
    /// tombstones alone, which a stranger may create, ends no session.
    fn sessions_over(&self, sessions: &BTreeMap<SessionId, Records>) -> Result<BTreeSet<SessionId>> {
        let mut over = BTreeSet::new();
        self.storage.list(names::SNAPSHOTS, None, &mut |listed| {
            over.extend(names::parse_commit(listed.name.as_str()));
            Ok(())
        })?;
        // After the commit keys: one that is removed meanwhile has its tombstone before that.
        for id in self.forgotten()? {
            if sessions.contains_key(&id) && !over.contains(&id) && self.read_tombstone(id).is_ok() {
                over.insert(id);
            }
        }
        Ok(over)
    }

    fn read_session_start(&self, id: SessionId) -> Result<SessionStart> {
        let name = names::session_start(&id);
        let object = self.storage.get(&object_name(&name)?, RECORD_BYTES_MAX)?;
        let (_, content) = self.open_record(ObjectKind::SessionStart, &name, &object)?;
        SessionStart::decode(&content).map_err(|error| error.of_opened(&format!("object {name}")))
    }
}

#[cfg(test)]
mod tests;
