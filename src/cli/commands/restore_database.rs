//! `packstone restore-database SNAP [NAME]`: puts back a database that a snapshot holds, or lists those that it holds.

mod reach;

use std::ffi::OsString;
use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use jiff::tz::TimeZone;
use packstone::base::monitor::{Monitor, show_path};
use packstone::base::{Error, ErrorKind, Result, Wrap, size};
use packstone::format::snapshot::{SourceOutcome, SourceStatus};
use packstone::ops::restore_database::{StoredSource, database_sources};
use packstone::repository::SnapshotEntry;
use packstone::source::{Engine, Listener, LoadOptions, LoadPlan};

use crate::context::Context;
use crate::json::{self, RestoreDatabaseLine, SourceDocument};
use crate::output::Output;
use crate::progress::{Progress, Work};
use crate::report::{self, Done, Hint, Outcome, conclude};
use crate::selection::Selection;
use crate::table::{self, Column};
use crate::{commands, open, show};

const AFTER_HELP: &str = "\
Without NAME it lists the databases that the snapshot holds. The dumps of one are streamed to the programs of its server, \
as they were streamed from them: no file lies on a disk on the way. What is to be done comes in steps; if one fails, those \
after it are not begun. What is there is replaced only after a yes on the terminal, or with --yes.

The server is reached as the configuration says of the source of this name, else by the clients' own defaults. --to sets \
single keys, by the words of the configuration (docs/configuration.md): host, port, socket, user, password-file, \
password-command, password-env, password-credential, container, container-program, container-password, run-as, programs; \
for Redis folder, stop-command and start-command; for ChromaDB path; for a command restore-command. A list is written \
'[\"systemctl\", \"stop\", \"redis\"]'; KEY= takes a key of the configuration away. A password itself is never an argument.

--as gives the one database that is restored another name: nothing is replaced, and both can be looked at. For SQLite, \
ChromaDB and a base backup of PostgreSQL it is an absolute path.

Examples:
  packstone restore-database latest
  packstone restore-database latest shop --dry-run
  packstone restore-database latest shop --database orders --as orders_yesterday
  packstone restore-database latest shop --to container=svc-postgres --to user=postgres --yes
  packstone restore-database 1a2b3c4d wiki --to host=db --to user=root --to password-file=/etc/packstone/db
  packstone restore-database latest cache --to stop-command='[\"systemctl\", \"stop\", \"redis-server\"]' \
--to start-command='[\"systemctl\", \"start\", \"redis-server\"]'
  packstone restore-database latest files --database srv/app/data.db --as /tmp/data.db
  packstone restore-database latest vectors --to path=/srv/chroma
  packstone restore-database latest events --to container=svc-mongo --yes
  packstone restore-database latest image --to restore-command='[\"docker\", \"load\"]' --yes";

/// Arguments of `restore-database`.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct Arguments {
    /// A snapshot (latest, latest~N, or the beginning of its id)
    #[arg(value_name = "SNAP")]
    wanted: OsString,
    /// The name of the source in its job
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Reach the server so; may be given more than once
    #[arg(long, value_name = "KEY=VALUE", requires = "name")]
    to: Vec<String>,
    /// Only this database; may be given more than once [default: all that are stored]
    #[arg(long = "database", value_name = "DATABASE", requires = "name", value_parser = NonEmptyStringValueParser::new())]
    databases: Vec<String>,
    /// Restore the one database under another name, or a database that is a file or a folder at another path
    #[arg(long = "as", value_name = "NAME", requires = "name", value_parser = NonEmptyStringValueParser::new())]
    new_name: Option<String>,
    /// Change nothing, and say what would be done
    #[arg(short = 'n', long, requires = "name")]
    dry_run: bool,
    /// Agree to what would be asked, or refused where nobody can be asked: what is there is replaced
    #[arg(long, requires = "name")]
    yes: bool,
}

/// Puts a database back, or lists those that are stored.
pub fn run(arguments: &Arguments, context: &Context) -> Outcome<Done> {
    let opened = open::open(context)?;
    let (snapshot, path) = commands::find_snapshot(&opened, &arguments.wanted, &arguments.selection)?;
    if path.is_some() {
        let message = format!("a database is named beside its snapshot: {} NAME", snapshot.id.short());
        return Err(Error::new(ErrorKind::Usage, message).into());
    }
    let Some(name) = &arguments.name else { return Ok(list(&snapshot, context)?) };
    let progress = Progress::new(&context.global, &context.interruption, Work::Other("restore-database"));
    let progress = Arc::new(progress);
    let source =
        context.interruption.gently(|| StoredSource::find(&opened.repository, &snapshot, name, &*progress));
    let source = source
        .hint(ErrorKind::Usage, || "\"packstone restore\" gives back files and directories".to_owned())
        .hint(ErrorKind::Failed, || "another snapshot may hold it: latest~1 is the one before".to_owned())?;
    let engine = reach::engine(&source, name, &arguments.to, arguments.new_name.as_deref(), context)?;
    let engine = engine.into_engine();
    warn_of(&source, &snapshot, name);
    let run =
        Run { arguments, context, snapshot: &snapshot, name, source: &source, engine: &*engine, progress };
    let plan = if arguments.dry_run { run.plan(false)? } else { run.agreed()? };
    run.done(plan)
}

/// A database that is to be put back.
struct Run<'a> {
    arguments: &'a Arguments,
    context: &'a Context,
    snapshot: &'a SnapshotEntry,
    name: &'a str,
    source: &'a StoredSource<'a>,
    engine: &'a dyn Engine,
    progress: Arc<Progress>,
}

impl Run<'_> {
    fn plan(&self, may_replace: bool) -> Result<LoadPlan> {
        let options = LoadOptions {
            databases: self.arguments.databases.clone(),
            new_name: self.arguments.new_name.clone(),
            may_replace,
        };
        let (name, progress) = (self.name.to_owned(), Arc::clone(&self.progress));
        let listener = Listener::new(move |text| progress.note(&format!("{name}: {text}")))
            .withholding(&self.context.environment.withheld());
        let stops = Arc::clone(listener.stops());
        self.context.interruption.on_request(Box::new(move || stops.stop_all()));
        let planned = self.context.interruption.gently(|| self.source.plan(self.engine, &options, &listener));
        planned.wrap(|| format!("cannot restore {}", self.name))
    }

    /// A plan that replaces nothing, or what somebody agreed to.
    fn agreed(&self) -> Outcome<LoadPlan> {
        if self.arguments.yes {
            return Ok(self.plan(true)?);
        }
        let mut plan = self.plan(false)?;
        while !plan.replaced.is_empty() {
            let listed = plan.replaced.join("\n  ");
            if !report::can_ask() {
                let message = format!("what is there would be replaced: {}", plan.replaced.join("; "));
                return Err(Error::new(ErrorKind::Exists, message)).hint(ErrorKind::Exists, || self.ways());
            }
            report::say(&format!("What is there would be replaced:\n  {listed}"));
            if !report::agrees("Replace it?")? {
                let message = "nothing was restored, as nobody agreed";
                return Err(Error::new(ErrorKind::Failed, message).into());
            }
            // Asked for anew, for it may replace now; what has come since then is asked about as well.
            let next = self.plan(true)?;
            if next.replaced.iter().all(|replaced| plan.replaced.contains(replaced)) {
                return Ok(next);
            }
            plan = next;
        }
        Ok(plan)
    }

    /// How to go on where something would be replaced.
    fn ways(&self) -> String {
        // What mongorestore would find under another name cannot be asked either.
        let is_whole = matches!(self.source.kind(), "redis" | "valkey" | "command" | "mongodb");
        match (is_whole, &self.arguments.new_name) {
            (false, None) => "--yes replaces it; --as NAME restores one database beside it".to_owned(),
            (false, Some(_)) => "--yes replaces it; --as with another NAME restores beside it".to_owned(),
            (true, _) => "--yes replaces it".to_owned(),
        }
    }

    /// Does what is planned, unless it is only to be told.
    fn done(&self, plan: LoadPlan) -> Outcome<Done> {
        let Self { arguments, context, snapshot, name, source, progress, .. } = self;
        let mut document = RestoreDatabaseLine::of(snapshot, source, &plan, arguments.dry_run);
        if arguments.dry_run {
            conclude(&context.global, || told(name, snapshot, source, &plan), || document);
            return Ok(self.end());
        }
        let shown = progress.begin();
        let restored = context.interruption.gently(|| source.restore(plan, &**progress));
        drop(shown);
        let summary = restored.hint(ErrorKind::Interrupted, begin_anew).hint(ErrorKind::Damaged, || {
            "\"packstone repo check --read-data\" tells what is damaged; another snapshot may hold it whole"
                .to_owned()
        })?;
        document.took(progress.elapsed());
        let lines = || {
            let parts = [
                show::count(summary.steps, "step"),
                show::count(summary.dumps, "dump"),
                size::show(summary.bytes),
            ];
            let seconds = show::duration(progress.elapsed().as_secs());
            vec![format!("restored {} in {seconds}: {}", what(name, snapshot, source), parts.join(", "))]
        };
        conclude(&context.global, lines, || document);
        Ok(self.end())
    }

    fn end(&self) -> Done {
        if self.source.is_partial() { Done::WithFindings } else { Done::Fully }
    }
}

fn begin_anew() -> String {
    "the same with --yes begins anew, and replaces what is there in part".to_owned()
}

/// Says what of a source is not as its snapshot would have it.
fn warn_of(source: &StoredSource<'_>, snapshot: &SnapshotEntry, name: &str) {
    let status = source.status();
    let why = status.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let id = snapshot.id.short();
    if let Some(carried) = &status.carried {
        report::warn(&format!(
            "{name} failed when snapshot {id} was made, which took its dumps from snapshot {} of {}{why}",
            carried.snapshot.short(),
            show::time(carried.time, &TimeZone::system())
        ));
    } else if source.is_partial() {
        report::warn(&format!("snapshot {id} holds {name} only in part{why}"));
    }
}

/// What is put back, and of when.
fn what(name: &str, snapshot: &SnapshotEntry, source: &StoredSource<'_>) -> String {
    let time = show::time(source.time(), &TimeZone::system());
    format!("{name} ({}) of {time} from snapshot {}", source.kind(), snapshot.id.short())
}

/// The lines of a plan.
fn told(name: &str, snapshot: &SnapshotEntry, source: &StoredSource<'_>, plan: &LoadPlan) -> Vec<String> {
    let bytes = size::show(source.planned_bytes(plan));
    let steps = show::count(plan.steps.len() as u64, "step");
    let mut lines = vec![format!("would restore {}: {steps}, {bytes}", what(name, snapshot, source))];
    for (number, step) in (1..).zip(&plan.steps) {
        let dump = source.needed(step).ok().flatten();
        let size = dump.map(|dump| format!(" ({})", size::show(dump.size_bytes))).unwrap_or_default();
        lines.push(format!("{number}. {}{size}", step.what));
    }
    lines.extend(plan.replaced.iter().map(|replaced| format!("would replace {replaced}")));
    lines
}

const COLUMNS: [Column; 5] = [
    Column::Left("Name"),
    Column::Left("Kind"),
    Column::Left("Status"),
    Column::Right("Size"),
    Column::Left("Time"),
];

/// Lists the databases of a snapshot.
fn list(snapshot: &SnapshotEntry, context: &Context) -> Result<Done> {
    let sources = database_sources(&snapshot.snapshot);
    let mut output = Output::open()?;
    let written = if report::is_json() {
        let documents: Vec<_> = sources.iter().map(|source| SourceDocument::of(source)).collect();
        json::write_line(&mut output, &documents)
    } else {
        use std::io::Write;
        let rows: Vec<_> = sources.iter().map(|source| row(snapshot, source)).collect();
        let mut lines = if rows.is_empty() { Vec::new() } else { table::lines(&COLUMNS, &rows) };
        if !context.global.quiet {
            lines.push(show::count(rows.len() as u64, "database source"));
        }
        lines.iter().try_for_each(|line| writeln!(output, "{line}")).wrap(|| "cannot write the output")
    };
    output.end(written.map(|()| Done::Fully))
}

fn row(snapshot: &SnapshotEntry, source: &SourceStatus) -> [String; 5] {
    let text = |text: &Option<String>| show_path(text.as_deref().unwrap_or_default().as_bytes());
    let is_nothing = source.outcome == SourceOutcome::Failed && source.carried.is_none();
    let status = match &source.carried {
        Some(carried) => format!("{}, from {}", source.outcome.word(), carried.snapshot.short()),
        None => source.outcome.word().to_owned(),
    };
    let time = source.carried.map_or(snapshot.snapshot.time, |carried| carried.time);
    let unless_nothing = |text: String| if is_nothing { "-".to_owned() } else { text };
    let size = unless_nothing(size::show(source.bytes));
    let time = unless_nothing(show::time(time, &TimeZone::system()));
    [text(&source.name), text(&source.kind), status, size, time]
}
