//! The sessions that have begun and are not over: which of them are dead, and ending those.
//!
//! What must hold (format-spec section 14.4): nobody is called dead by a clock of another machine. A session is dead if
//! its process is seen to be gone, or if this machine saw the same last beat twice, `SILENCE` apart by its own clock. Only
//! a session that proved atomic creation is ended without a person, and only by who proved it too. A wrong guess costs a
//! run, which says so and can be repeated, and no data.

use std::time::Duration;

use crate::base::clock::SinceBoot;
use crate::base::host::{Host, ProcessState};
use crate::base::{Error, ErrorKind, Result, SessionId, Wrap};
use crate::repository::{EndedNow, LiveSession, Repository};
use crate::state::Observations;

/// A session of which no beat comes for so long is dead: beats come every 10 minutes.
pub const SILENCE: Duration = Duration::from_secs(6 * 3600);

/// Who looks at sessions.
#[derive(Clone, Debug)]
pub struct Observer {
    /// The running process.
    pub host: Host,
    /// The time since its machine was booted.
    pub now: SinceBoot,
}

impl Observer {
    /// This process, now.
    pub fn now(host: Host) -> Self {
        Self { host, now: SinceBoot::now() }
    }
}

/// What can be told of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Its process runs on this machine.
    Running,
    /// Its process ran on this machine, and is gone: it is dead.
    Gone,
    /// Its last beat has been the last for so long as this machine saw, and for long enough: it is dead.
    Silent(Duration),
    /// Nobody can tell; its last beat has been the last for so long as this machine saw.
    Unknown(Duration),
}

/// A live session, and what can be told of it.
#[derive(Debug)]
pub struct SessionView {
    /// The session.
    pub session: LiveSession,
    /// What can be told of it.
    pub state: SessionState,
}

impl SessionView {
    /// Whether nothing will ever come of it.
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, SessionState::Gone | SessionState::Silent(_))
    }

    /// Whether it may be ended without a person who says so.
    pub fn may_be_ended(&self) -> bool {
        self.is_dead() && self.session.start.as_ref().is_ok_and(|start| start.atomic_create_proven)
    }
}

/// The live sessions as one look saw them.
#[derive(Debug)]
pub struct SessionViews {
    /// Oldest first by what they say of themselves, then by name; first those of which that cannot be read.
    pub sessions: Vec<SessionView>,
    /// Why what was seen is not kept, so that silence is not told by it at the next look.
    pub unkept: Option<Error>,
}

impl SessionViews {
    /// The session that a user means by the beginning of its name. `NotFound`; `Usage` if it is the beginning of several.
    pub fn find(&self, wanted: &str) -> Result<&SessionView> {
        let mut found = self.sessions.iter().filter(|view| view.session.id.hex().starts_with(wanted));
        match (found.next(), found.next()) {
            (Some(view), None) if !wanted.is_empty() => Ok(view),
            (Some(first), Some(second)) if !wanted.is_empty() => {
                let (first, second) = (first.session.id, second.session.id);
                let message = format!("{wanted} is the beginning of several sessions: {first} and {second}");
                Err(Error::new(ErrorKind::Usage, message))
            }
            _ => Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no session {wanted:?} that is not over"),
            )),
        }
    }
}

/// Looks at the live sessions, and remembers what it saw where the repository has a cache folder.
pub fn list(repository: &Repository, observer: &Observer) -> Result<SessionViews> {
    let live = repository.live_sessions().wrap(|| "cannot list the sessions")?;
    let mut seen = Observations::open(repository.cache_folder(), repository.local_key("sessions")?);
    let mut look = |session: LiveSession| {
        let unchanged = seen.see(session.id, session.last_beat, observer.host.boot_id, observer.now);
        SessionView { state: state(&session, observer, unchanged), session }
    };
    let mut sessions: Vec<SessionView> = live.into_iter().map(&mut look).collect();
    let is_live = |id: &SessionId| sessions.iter().any(|view| view.session.id == *id);
    let unkept = seen.keep_only(is_live).err();
    let began = |view: &SessionView| view.session.start.as_ref().ok().map(|start| start.time);
    sessions.sort_by_key(|view| (began(view), view.session.id));
    Ok(SessionViews { sessions, unkept })
}

fn state(session: &LiveSession, observer: &Observer, unchanged: SinceBoot) -> SessionState {
    let Ok(start) = &session.start else { return SessionState::Unknown(unchanged.total) };
    // While this machine was suspended, no process on it could send a beat.
    let is_here = observer.host.boot_id.is_some() && start.host.boot_id == observer.host.boot_id;
    let unchanged = if is_here { unchanged.awake } else { unchanged.total };
    match observer.host.state_of(&start.host) {
        ProcessState::Running => SessionState::Running,
        ProcessState::Gone => SessionState::Gone,
        ProcessState::Unknown if unchanged >= SILENCE => SessionState::Silent(unchanged),
        ProcessState::Unknown => SessionState::Unknown(unchanged),
    }
}

/// What became of the live sessions.
#[derive(Debug, Default)]
pub struct EndedReport {
    /// Those that were dead, and that were ended now.
    pub ended: Vec<SessionView>,
    /// Those that are still live.
    pub left: Vec<SessionView>,
}

/// Ends the sessions that are dead. `is_proven`: of many creators of one name on this way to the storage exactly one
/// succeeds; otherwise none is ended, for it could just have committed.
pub fn end_dead(repository: &Repository, observer: &Observer, is_proven: bool) -> Result<EndedReport> {
    let mut report = EndedReport::default();
    for view in list(repository, observer)?.sessions {
        if !(is_proven && repository.creates_atomically() && view.may_be_ended()) {
            report.left.push(view);
        } else if repository.end_session(view.session.id, &observer.host.name)? == EndedNow::Ended {
            report.ended.push(view);
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests;
