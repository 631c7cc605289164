//! How the dumps of a PostgreSQL server are put back: roles and tablespaces first, then each database, then its
//! statistics.
//!
//! What must hold: a database that holds something is replaced only if the plan named it and replacing was allowed, and
//! is dropped only after what takes its place is whole; what fails is dropped again, and nothing that others made; a
//! role that is there keeps its password; the script of a dump reaches no other database than the one that is meant.

mod alone;
mod aside;
mod base;
mod edit;
mod globals;
mod made;
mod membership;

use std::io::{BufWriter, Read, Write};

use super::script::Script;
use super::server::{Server, connection, identifier, literal};
use super::{BASE, CUSTOM, GLOBALS, PLAIN, Postgres};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap, size};
use crate::source::engine::file_name;
use crate::source::program::Program;
use crate::source::{Feed, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump};

use edit::DatabaseEdit;
use made::Made;

/// How many bytes are given to psql at once.
const BUFFER_BYTES: usize = 64 << 10;

/// What a database holds that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    /// Its tables, if they can be counted.
    tables: Option<u64>,
    size_bytes: u64,
    is_empty: bool,
}

impl Contents {
    fn show(&self, shown: &str) -> String {
        match self.tables {
            Some(1) => format!("the database {shown}, which has 1 table ({})", size::show(self.size_bytes)),
            Some(count) => {
                format!("the database {shown}, which has {count} tables ({})", size::show(self.size_bytes))
            }
            None => format!("the database {shown}, into which nobody can look"),
        }
    }
}

/// One database that is put back.
#[derive(Clone, Debug)]
struct Target {
    /// Its dump.
    file: String,
    is_custom: bool,
    /// The name that it had.
    old: String,
    /// The name that it gets.
    new: String,
    /// What is there under that name, as the plan says.
    planned: Option<Contents>,
    may_replace: bool,
}

impl Target {
    fn shown(&self) -> String {
        show_path(self.new.as_bytes())
    }
}

impl Postgres {
    pub(super) fn plan_load(
        &self,
        stored: &[StoredDump],
        options: &LoadOptions,
        listener: &Listener,
    ) -> Result<LoadPlan> {
        if stored.iter().any(|dump| dump.name == BASE) {
            return self.plan_base(options, listener);
        }
        let mut targets = targets(stored, options)?;
        let server = self.ask_server(&[], listener)?;
        let mut plan = LoadPlan::default();
        let is_all = options.databases.is_empty() && options.new_name.is_none();
        if !is_all {
            listener.tell("roles and tablespaces stay as they are, because not all databases are put back");
        } else if stored.iter().any(|dump| dump.name == GLOBALS) {
            let (engine, listener, server) = (self.clone(), listener.clone(), server.clone());
            plan.steps.push(LoadStep {
                what: format!("restore roles and tablespaces from {GLOBALS}"),
                dump: Some(GLOBALS.to_owned()),
                run: Box::new(move |feed| engine.load_globals(&server, feed, &listener)),
            });
        }
        for target in &mut targets {
            self.tell_left(target, &server, listener)?;
            target.planned = self.contents(&server, &target.new, listener)?;
            plan.replaced.extend(
                target
                    .planned
                    .iter()
                    .filter(|there| !there.is_empty)
                    .map(|there| there.show(&target.shown())),
            );
            self.add_steps(&mut plan.steps, target, &server, listener);
        }
        Ok(plan)
    }

    fn add_steps(&self, steps: &mut Vec<LoadStep>, target: &Target, server: &Server, listener: &Listener) {
        let shown = target.shown();
        let instead = match &target.planned {
            Some(there) if there.is_empty => ", in place of the empty one",
            Some(_) => ", in place of the one that is there",
            None => "",
        };
        let (engine, server, told, restored) =
            (self.clone(), server.clone(), listener.clone(), target.clone());
        steps.push(LoadStep {
            what: format!("restore the database {shown} from {}{instead}", show_path(target.file.as_bytes())),
            dump: Some(target.file.clone()),
            run: Box::new(move |feed| {
                let failed = format!("cannot restore the database {}", restored.shown());
                engine.load_database(&restored, &server, feed, &told).wrap(|| failed)
            }),
        });
        let (engine, told, name) = (self.clone(), listener.clone(), target.new.clone());
        steps.push(LoadStep {
            what: format!("analyse the database {shown}"),
            dump: None,
            run: Box::new(move |_| {
                let psql = engine.psql(&name, &told)?.argument("--command=ANALYZE");
                psql.run().wrap(|| format!("cannot analyse the database {}", show_path(name.as_bytes())))
            }),
        });
    }

    /// What a database holds, if it is there.
    fn contents(&self, server: &Server, name: &str, listener: &Listener) -> Result<Option<Contents>> {
        let cannot = || format!("cannot ask what the database {} holds", show_path(name.as_bytes()));
        let question =
            format!("SELECT datallowconn FROM pg_catalog.pg_database WHERE datname = {}", literal(name));
        let found = self.ask::<1>(&server.database, &question, listener).wrap(cannot)?;
        let Some([allows]) = found.first() else { return Ok(None) };
        if name == "template0" {
            let message = "template0 is what the server makes databases of: it is not to be replaced";
            return Err(Error::new(ErrorKind::Exists, message));
        }
        if allows != "t" {
            return Ok(Some(Contents { tables: None, size_bytes: 0, is_empty: false }));
        }
        let made = made_objects(server);
        let question = format!(
            "SELECT (SELECT count(*) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384), \
             {made}, pg_catalog.pg_database_size(pg_catalog.current_database())"
        );
        let counted = self.ask::<3>(name, &question, listener).wrap(cannot)?;
        let numbers = counted.first().map(|row| row.clone().map(|number| number.parse::<u64>().ok()));
        Ok(Some(match numbers {
            Some([tables, Some(made), Some(size_bytes)]) => {
                Contents { tables, size_bytes, is_empty: made == 0 }
            }
            _ => Contents { tables: None, size_bytes: 0, is_empty: false },
        }))
    }

    fn load_database(
        &self,
        target: &Target,
        server: &Server,
        feed: &mut Feed<'_>,
        listener: &Listener,
    ) -> Result<()> {
        // What is there is touched only if the clients that are needed are there as well.
        let knows_restrict = self.client_version("psql", listener)?.knows_restrict();
        let restore = if target.is_custom { Some(self.restore_program(listener)?) } else { None };
        let mut edit = DatabaseEdit {
            old: target.old.clone(),
            new: target.new.clone(),
            knows_restrict,
            server: server.version.clone(),
            is_connected: false,
        };
        let psql = self.psql(other_database(server, &target.new), listener)?.argument("--file=-");
        let made = Made::default();
        let load = |place| {
            let mut run = |write: &mut dyn FnMut(&mut dyn Write) -> Result<()>| {
                let mut write = |input: &mut dyn Write| {
                    let output = BufWriter::with_capacity(BUFFER_BYTES, input);
                    let judge = |statement: &[u8]| edit.judge_for(place, statement);
                    let mut script = Script::new(output, judge);
                    write(&mut script)?;
                    script.finish().wrap(|| "cannot write the input of psql")
                };
                psql.feed_through(&mut write, |printed| made.read(printed))
            };
            match &restore {
                None => run(feed),
                Some(program) => {
                    program.feed_through(feed, |script| run(&mut |input| pass_on(script, input)))
                }
            }
        };
        self.alone(target, server, listener, || self.replacing(target, server, &made, listener, load))
    }

    /// What makes a script of a dump in pg_dump's own format.
    fn restore_program(&self, listener: &Listener) -> Result<Program> {
        let version = self.client_version("pg_restore", listener)?;
        let program = Program::client("pg_restore", &self.access, listener);
        let program = program.arguments(["--create", "--exit-on-error"]);
        // Older ones took the sign for the name of a file, and wrote there without being told.
        Ok(if version.is_at_least(12) { program.argument("--file=-") } else { program })
    }
}

/// Counts what was made in a database: what the server comes with has lower numbers.
pub(super) fn made_objects(server: &Server) -> String {
    let lists = [
        "pg_class",
        "pg_proc",
        "pg_type",
        "pg_namespace",
        "pg_operator",
        "pg_cast",
        "pg_event_trigger",
        "pg_foreign_data_wrapper",
        "pg_foreign_server",
        "pg_ts_config",
        "pg_ts_dict",
        "pg_default_acl",
        "pg_largeobject_metadata",
    ];
    // Before version 10 there was no such list.
    let publications = server.version.is_at_least(10).then_some("pg_publication");
    let counts = lists.into_iter().chain(publications);
    let counts = counts.map(|list| format!("(SELECT count(*) FROM pg_catalog.{list} WHERE oid >= 16384) + "));
    let extensions =
        "(SELECT count(*) FROM pg_catalog.pg_extension WHERE oid >= 16384 AND extname <> 'plpgsql')";
    counts.chain([extensions.to_owned()]).collect()
}

/// A database by which another one is dropped and created.
fn other_database<'s>(server: &'s Server, name: &str) -> &'s str {
    if server.database != name {
        &server.database
    } else if name == "postgres" {
        "template1"
    } else {
        "postgres"
    }
}

fn pass_on(from: &mut dyn Read, to: &mut dyn Write) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).wrap(|| "cannot read the output of pg_restore")?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..count).unwrap_or_default()).wrap(|| "cannot write the input of psql")?;
    }
}

/// The databases of these dumps that are wanted.
fn targets(stored: &[StoredDump], options: &LoadOptions) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for dump in stored.iter().filter(|dump| dump.name != GLOBALS) {
        let plain = dump.name.strip_suffix(PLAIN).map(|name| (name, false));
        let Some((name, is_custom)) =
            plain.or_else(|| dump.name.strip_suffix(CUSTOM).map(|name| (name, true)))
        else {
            let message = format!("{} is no dump of a PostgreSQL database", show_path(dump.name.as_bytes()));
            return Err(Error::new(ErrorKind::Failed, message));
        };
        let old = file_name::decode(name)?;
        let (new, file, may_replace) = (old.clone(), dump.name.clone(), options.may_replace);
        targets.push(Target { file, is_custom, old, new, planned: None, may_replace });
    }
    // Where it may not be replaced, all others are there.
    targets.sort_by_key(|target| target.old == "template1");
    let all: Vec<String> = targets.iter().map(Target::shown).collect();
    if let Some(absent) =
        options.databases.iter().find(|name| !targets.iter().any(|target| target.old == **name))
    {
        let there = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        let message =
            format!("there is no dump of the database {}; there are: {there}", show_path(absent.as_bytes()));
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    if !options.databases.is_empty() {
        targets.retain(|target| options.databases.contains(&target.old));
    }
    if let Some(new) = &options.new_name {
        let [target] = targets.as_mut_slice() else {
            let message = format!("one database can have another name, not {}", targets.len());
            return Err(Error::new(ErrorKind::Usage, message));
        };
        if new.is_empty() || new.contains(['\n', '\r', '\0']) {
            return Err(Error::new(ErrorKind::Usage, format!("{new:?} is no name for a database")));
        }
        target.new.clone_from(new);
    }
    Ok(targets)
}

/// The command of psql's that goes to another database.
fn connect_command(name: &str) -> String {
    format!("\\connect -reuse-previous=on {}\n", identifier(&connection(name)))
}

#[cfg(test)]
mod tests;
