//! How the dumps of a MariaDB or MySQL server are put back: users first, then each database with its statistics, and last
//! what the users may do, for rights on a table can be given only once it is there.
//!
//! What must hold: a database that holds something is replaced only if that was allowed, and dropped only after what takes
//! its place is whole.

use std::io::{BufWriter, Write};

use super::aside;
use super::lock;
use super::new_users::NewUsers;
use super::rename::Rename;
use super::sandbox::WithoutSandbox;
use super::server::{Server, identifier};
use super::{Mariadb, SUFFIX, USERS};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::engine::{Feed, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump, file_name};

/// How many bytes are given to the client at once.
const BUFFER_BYTES: usize = 64 << 10;

/// The steps that put dumps back.
pub(super) fn plan(
    engine: &Mariadb,
    stored: &[StoredDump],
    options: &LoadOptions,
    listener: &Listener,
) -> Result<LoadPlan> {
    let targets = targets(stored, options)?;
    let server = Server::ask_version(engine, listener)?;
    let mut plan = LoadPlan::default();
    let is_all = options.databases.is_empty() && options.new_name.is_none();
    let users = match stored.iter().any(|dump| dump.name == USERS) {
        // Asked now: later those who are made here would be among them.
        true if is_all => Some(NewUsers::ask(&server)?),
        true => {
            listener.tell("users stay as they are, because not all databases are put back");
            None
        }
        false => None,
    };
    if let Some(users) = users.clone() {
        let (server, listener) = (server.clone(), listener.clone());
        plan.steps.push(LoadStep {
            what: format!("restore users from {USERS}; those who are there stay as they are"),
            dump: Some(USERS.to_owned()),
            run: Box::new(move |feed| users.create(&server, feed, &listener)),
        });
    }
    let databases = server.column("SELECT schema_name FROM information_schema.schemata")?;
    for target in targets {
        Server::refuse_own(&target.new)?;
        for left in databases.iter().filter(|name| aside::is_former(name, &target.new)) {
            let kept = format!("in which a restore that broke off kept the former {}", target.new);
            listener.tell(&format!("the database {left} is there, {kept}"));
        }
        let there = server.contents_of(&target.new)?;
        if let Some(contents) = there.filter(|contents| !contents.is_empty()) {
            plan.replaced.push(format!("the database {}, which has {}", target.new, contents.shown()));
        }
        let instead = match there {
            Some(contents) if contents.is_empty() => ", in place of the empty one",
            Some(_) => ", in place of the one that is there",
            None => "",
        };
        let (of_load, of_analyze, name) = (server.clone(), server.clone(), target.new.clone());
        let may_replace = options.may_replace;
        plan.steps.push(LoadStep {
            what: format!("restore the database {} from {}{instead}", target.new, target.file),
            dump: Some(target.file.clone()),
            run: Box::new(move |feed| {
                let failed = format!("cannot restore the database {}", target.new);
                let load = || load_database(&of_load, &target, may_replace, feed);
                lock::holding(&of_load, &aside::lock_of(&target.new), load).wrap(|| failed)
            }),
        });
        plan.steps.push(LoadStep {
            what: format!("analyse the tables of {name}"),
            dump: None,
            run: Box::new(move |_| analyze(&of_analyze, &name)),
        });
    }
    if let Some(users) = users {
        let listener = listener.clone();
        plan.steps.push(LoadStep {
            what: "give the new users their rights".to_owned(),
            dump: None,
            run: Box::new(move |_| users.grant(&server, &listener)),
        });
    }
    Ok(plan)
}

/// One database that is put back.
struct Target {
    file: String,
    old: String,
    new: String,
}

fn targets(stored: &[StoredDump], options: &LoadOptions) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for dump in stored.iter().filter(|dump| dump.name != USERS) {
        let Some(encoded) = dump.name.strip_suffix(SUFFIX) else { continue };
        let old = file_name::decode(encoded)?;
        if options.databases.is_empty() || options.databases.contains(&old) {
            let new = options.new_name.clone().unwrap_or_else(|| old.clone());
            targets.push(Target { file: dump.name.clone(), old, new });
        }
    }
    if let Some(unknown) =
        options.databases.iter().find(|name| targets.iter().all(|found| found.old != **name))
    {
        let message = format!("the source holds no database {unknown}");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    if options.new_name.is_some() && targets.len() != 1 {
        let message = format!("{} databases cannot all get one name", targets.len());
        return Err(Error::new(ErrorKind::Usage, message));
    }
    Ok(targets)
}

fn load_database(server: &Server, target: &Target, may_replace: bool, feed: &mut Feed<'_>) -> Result<()> {
    // Asked again: since the plan was made, somebody may have filled it.
    let there = server.contents_of(&target.new)?;
    if let Some(contents) = there.filter(|contents| !may_replace && !contents.is_empty()) {
        let message = format!("it is there and has {}", contents.shown());
        return Err(Error::new(ErrorKind::Exists, message));
    }
    aside::replacing(server, &target.new, there.is_some(), |begin| {
        let mut write = |input: &mut dyn Write| {
            let cannot = || "cannot write the dump";
            let mut input = BufWriter::with_capacity(BUFFER_BYTES, input);
            input.write_all(begin.as_bytes()).wrap(cannot)?;
            let mut buffered = WithoutSandbox::new(input);
            let mut rename = Rename::new(&mut buffered, &target.old, &target.new);
            feed(&mut rename)?;
            rename.finish().wrap(cannot)?;
            buffered.finish().wrap(cannot)
        };
        server.client()?.feed(&mut write).wrap(|| "the dump was not taken to its end")
    })
}

/// Has the server count anew what its plans of queries rest on.
fn analyze(server: &Server, database: &str) -> Result<()> {
    let tables = server.column(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = {} \
         AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')",
        super::text(database)
    ))?;
    let statement =
        |table: &String| format!("ANALYZE TABLE {}.{};\n", identifier(database), identifier(table));
    server.run(tables.iter().map(statement).collect::<String>())
}
