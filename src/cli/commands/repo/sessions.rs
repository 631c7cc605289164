//! `packstone repo sessions`: lists the sessions that are not over, and ends some.
//!
//! What must hold: a session is ended because a person named it; one whose process is seen to run only with `--force`, and
//! none before all that were named are known.

use std::io::Write;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use packstone::base::host::Host;
use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result, Timestamp, Wrap};
use packstone::ops::sessions::{Observer, SessionState, SessionView, SessionViews, list};
use packstone::repository::{EndedNow, Over, Repository};

use crate::context::Context;
use crate::json::{self, SessionEnded};
use crate::output::Output;
use crate::report::{self, Done, Hint, Outcome, conclude};
use crate::table::{self, Column};
use crate::{open, show};

const AFTER_HELP: &str = "\
A session is one run of a program that writes to the repository; it is over when its snapshot is there or it has said \
that there will be none. One that was killed says nothing. It is dead if its process ran on this machine and is gone, \
or if this machine saw for 6 hours that no sign of life came, of which a running session sends one every 10 minutes. \
\"packstone repo prune\" ends dead sessions by itself, and waits for the others, since they may use what it would remove.

Columns: the beginning of the session's name; when it began, its machine and process; its last sign of life, by its own \
clock; what can be told of it; and its program.

Examples:
  packstone repo sessions
  packstone repo sessions end 4f1c22d0";

const END_AFTER_HELP: &str = "\
A session that was ended makes no snapshot: its program, if it still runs, fails with exit code 11. What it stored stays, \
and the next backup uses it.

Examples:
  packstone repo sessions end 4f1c22d0
  packstone repo sessions end 4f1c22d0 99a0 --force";

/// Arguments of `repo sessions`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// End sessions of which nothing more comes
    End(EndArguments),
}

/// Arguments of `repo sessions end`.
#[derive(Args, Debug)]
#[command(after_help = END_AFTER_HELP)]
struct EndArguments {
    /// The beginning of a session's name, as "packstone repo sessions" shows it
    #[arg(value_name = "ID", required = true)]
    wanted: Vec<String>,
    /// End them though their processes run on this machine
    #[arg(long)]
    force: bool,
}

/// Lists sessions, or ends some.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let host = Host::current();
    let views = list(&opened.repository, &Observer::now(host.clone()))?;
    if let Some(error) = &views.unkept {
        report::warn(&error.chain().join(": "));
    }
    match &arguments.command {
        Some(Command::End(arguments)) => end(arguments, &opened.repository, &views, &host, context),
        None => show(&opened.repository, views, context),
    }
}

fn show(repository: &Repository, views: SessionViews, context: &Context) -> Outcome<Done> {
    // A beat that cannot be read is one all the same.
    let beat = |view: &SessionView| repository.beat_time(view.session.id, view.session.last_beat?).ok();
    let with_beats: Vec<(&SessionView, Option<Timestamp>)> =
        views.sessions.iter().map(|view| (view, beat(view))).collect();
    let mut output = Output::open()?;
    let written = match context.global.json {
        true => json::write_line(&mut output, &json::sessions(with_beats.into_iter())),
        false => write(&mut output, &with_beats, context.global.quiet),
    };
    let mut done = Done::Fully;
    for view in views.sessions {
        if let Err(error) = view.session.start {
            done = Done::WithDamage;
            let id = view.session.id;
            let error = error.while_doing(format!("cannot read how session {} began", id.short()));
            report::error_aside(&error, "sessions", &id.hex());
        }
    }
    Ok(output.end(written.map(|()| done))?)
}

fn write(output: &mut Output, views: &[(&SessionView, Option<Timestamp>)], is_quiet: bool) -> Result<()> {
    let zone = TimeZone::system();
    let columns = ["Session", "Began", "Host", "Process", "Last beat", "State", "Program"].map(Column::Left);
    let rows: Vec<[String; 7]> = views.iter().map(|(view, beat)| row(view, *beat, &zone)).collect();
    let mut lines = if rows.is_empty() { Vec::new() } else { table::lines(&columns, &rows) };
    if !is_quiet {
        lines.push(show::count(views.len() as u64, "session"));
    }
    lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
}

fn row(view: &SessionView, beat: Option<Timestamp>, zone: &TimeZone) -> [String; 7] {
    let id = view.session.id.short();
    let beat = match (view.session.last_beat, beat) {
        (_, Some(time)) => show::time(time, zone),
        (Some(number), None) => format!("number {number}"),
        (None, None) => "none".to_owned(),
    };
    let Ok(start) = &view.session.start else {
        let [began, host, process, program]: [String; 4] = Default::default();
        return [id, began, host, process, beat, state(view), program];
    };
    [
        id,
        show::time(start.time, zone),
        show_path(start.host.name.as_bytes()),
        start.host.process_id.to_string(),
        beat,
        state(view),
        show_path(start.program.as_bytes()),
    ]
}

/// What can be told of a session, in words.
fn state(view: &SessionView) -> String {
    let known = match view.state {
        SessionState::Running => "running".to_owned(),
        SessionState::Gone => "dead, its process is gone".to_owned(),
        SessionState::Silent(unchanged) => {
            format!("dead, silent for {}", show::duration(unchanged.as_secs()))
        }
        SessionState::Unknown(unchanged) if unchanged.as_secs() == 0 => "not known".to_owned(),
        SessionState::Unknown(unchanged) => {
            format!("not known, silent for {}", show::duration(unchanged.as_secs()))
        }
    };
    match view.is_dead() && !view.may_be_ended() {
        true => format!("{known}; must be ended by hand"),
        false => known,
    }
}

fn end(
    arguments: &EndArguments,
    repository: &Repository,
    views: &SessionViews,
    host: &Host,
    context: &Context,
) -> Outcome<Done> {
    let mut meant: Vec<&SessionView> = Vec::new();
    for wanted in &arguments.wanted {
        let found = views
            .find(wanted)
            .hint(ErrorKind::NotFound, || "\"packstone repo sessions\" lists them".to_owned())?;
        if meant.iter().all(|view| view.session.id != found.session.id) {
            meant.push(found);
        }
    }
    let is_running = |view: &&&SessionView| view.state == SessionState::Running;
    if let Some(running) = meant.iter().find(is_running).filter(|_| !arguments.force) {
        let id = running.session.id.short();
        let message = format!("session {id} is running on this machine{}", process(running));
        let hint = || "let it end, or stop its process; --force ends the session all the same".to_owned();
        return Err(Error::new(ErrorKind::Fenced, message)).hint(ErrorKind::Fenced, hint);
    }
    for view in meant {
        let id = view.session.id;
        let ended = repository.end_session(id, &host.name)?;
        conclude(&context.global, || vec![told(view, ended)], || SessionEnded::of(id, ended));
    }
    Ok(Done::Fully)
}

fn process(view: &SessionView) -> String {
    view.session
        .start
        .as_ref()
        .map_or_else(|_| String::new(), |start| format!(" as process {}", start.host.process_id))
}

fn told(view: &SessionView, ended: EndedNow) -> String {
    let id = view.session.id.short();
    match ended {
        EndedNow::Ended if view.state == SessionState::Running => {
            format!("session {id} ended; it still runs{}, and will fail", process(view))
        }
        EndedNow::Ended => format!("session {id} ended"),
        EndedNow::AlreadyOver(Over::Committed) => format!("session {id} is over: its snapshot was made"),
        EndedNow::AlreadyOver(Over::Ended(_)) => format!("session {id} is over"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use packstone::base::SessionId;
    use packstone::format::session::SessionStart;
    use packstone::repository::LiveSession;

    use super::*;

    fn view(state: SessionState, atomic_create_proven: bool) -> SessionView {
        let host = Host { name: "a\nb".into(), process_id: 42, ..Host::default() };
        let time = Timestamp::default();
        let start = SessionStart { host, atomic_create_proven, time, program: "p 1".into() };
        let session = LiveSession { id: SessionId([0xab; 16]), start: Ok(start), last_beat: Some(3) };
        SessionView { session, state }
    }

    #[test]
    fn what_can_be_told_is_put_into_words() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        for (state, proven, expected) in [
            (SessionState::Running, true, "running"),
            (SessionState::Running, false, "running"),
            (SessionState::Gone, true, "dead, its process is gone"),
            (SessionState::Gone, false, "dead, its process is gone; must be ended by hand"),
            (SessionState::Silent(hours(7)), true, "dead, silent for 7:00:00"),
            (SessionState::Unknown(hours(0)), false, "not known"),
            (SessionState::Unknown(hours(2)), true, "not known, silent for 2:00:00"),
        ] {
            assert_eq!(super::state(&view(state, proven)), expected);
        }
        let damaged = SessionView {
            session: LiveSession {
                start: Err(Error::damaged("x")),
                ..view(SessionState::Running, true).session
            },
            state: SessionState::Unknown(hours(0)),
        };
        let cells = |view, beat| row(view, beat, &TimeZone::UTC).join("|");
        assert_eq!(cells(&damaged, None), "abababab||||number 3|not known|");
        assert_eq!(
            cells(&view(SessionState::Running, true), Some(Timestamp::default())),
            "abababab|1970-01-01 00:00:00|a\\x0ab|42|1970-01-01 00:00:00|running|p 1"
        );
    }

    #[test]
    fn what_became_of_a_session_is_told() {
        let running = view(SessionState::Running, true);
        let gone = view(SessionState::Gone, true);
        assert_eq!(
            told(&running, EndedNow::Ended),
            "session abababab ended; it still runs as process 42, and will fail"
        );
        assert_eq!(told(&gone, EndedNow::Ended), "session abababab ended");
        let over = EndedNow::AlreadyOver(Over::Committed);
        assert_eq!(told(&gone, over), "session abababab is over: its snapshot was made");
    }
}
