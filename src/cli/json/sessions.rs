//! Sessions that are not over.

use packstone::base::{SessionId, Timestamp};
use packstone::ops::sessions::{SessionState, SessionView};
use packstone::repository::{EndedNow, Over};
use serde::Serialize;

use super::time;

/// A session. What its start says is absent where that cannot be read.
#[derive(Debug, Serialize)]
pub struct SessionDocument {
    id: String,
    state: &'static str,
    unchanged_seconds: u64,
    dead: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    program_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    atomic_create: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_beat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_beat_time: Option<String>,
}

/// Sessions, each with the time of its last beat.
pub fn sessions<'v>(
    views: impl Iterator<Item = (&'v SessionView, Option<Timestamp>)>,
) -> Vec<SessionDocument> {
    views.map(|(view, beat)| of_view(view, beat)).collect()
}

fn of_view(view: &SessionView, beat: Option<Timestamp>) -> SessionDocument {
    let start = view.session.start.as_ref().ok();
    let (state, unchanged) = match view.state {
        SessionState::Running => ("running", None),
        SessionState::Gone => ("gone", None),
        SessionState::Silent(unchanged) => ("silent", Some(unchanged)),
        SessionState::Unknown(unchanged) => ("unknown", Some(unchanged)),
    };
    SessionDocument {
        id: view.session.id.hex(),
        state,
        unchanged_seconds: unchanged.unwrap_or_default().as_secs(),
        dead: view.is_dead(),
        began: start.map(|start| time(start.time)),
        hostname: start.map(|start| start.host.name.clone()),
        process_id: start.map(|start| start.host.process_id),
        program_version: start.map(|start| start.program.clone()),
        atomic_create: start.map(|start| start.atomic_create_proven),
        last_beat: view.session.last_beat,
        last_beat_time: beat.map(time),
    }
}

/// What became of a session that was to be ended.
#[derive(Debug, Serialize)]
pub struct SessionEnded {
    message_type: &'static str,
    id: String,
    outcome: &'static str,
}

impl SessionEnded {
    /// Of an attempt.
    pub fn of(id: SessionId, ended: EndedNow) -> Self {
        let outcome = match ended {
            EndedNow::Ended => "ended",
            EndedNow::AlreadyOver(Over::Committed) => "committed",
            EndedNow::AlreadyOver(Over::Ended(_)) => "over",
        };
        Self { message_type: "session_ended", id: id.hex(), outcome }
    }
}
