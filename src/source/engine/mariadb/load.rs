//! How the dumps of a MariaDB or MySQL server are put back: users first, then each database, then its statistics.
//!
//! What must hold: a database that holds something is dropped only if that was allowed; one that fails in the middle is
//! said to be half there.

use std::io::{BufWriter, Write};

use super::rename::Rename;
use super::server::{Server, identifier};
use super::{Mariadb, SUFFIX, USERS, users};
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
    if stored.iter().any(|dump| dump.name == USERS) {
        let server = server.clone();
        plan.steps.push(LoadStep {
            what: format!("restore users from {USERS}; those who are there stay as they are"),
            dump: Some(USERS.to_owned()),
            run: Box::new(move |feed| load_users(&server, feed)),
        });
    }
    for target in targets {
        Server::refuse_own(&target.new)?;
        if let Some(tables) = server.tables_of(&target.new)?.filter(|tables| !tables.is_empty()) {
            let count = if tables.len() == 1 { "1 table".into() } else { format!("{} tables", tables.len()) };
            plan.replaced.push(format!("the database {}, which has {count}", target.new));
        }
        let (of_load, of_analyze, name) = (server.clone(), server.clone(), target.new.clone());
        let may_replace = options.may_replace;
        plan.steps.push(LoadStep {
            what: format!("restore the database {} from {}", target.new, target.file),
            dump: Some(target.file.clone()),
            run: Box::new(move |feed| {
                let failed = format!("cannot restore the database {}", target.new);
                load_database(&of_load, &target, may_replace, feed).wrap(|| failed)
            }),
        });
        plan.steps.push(LoadStep {
            what: format!("analyse the tables of {name}"),
            dump: None,
            run: Box::new(move |_| analyze(&of_analyze, &name)),
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

fn load_users(server: &Server, feed: &mut Feed<'_>) -> Result<()> {
    let mut script = Vec::new();
    feed(&mut script)?;
    let script = zeroize::Zeroizing::new(script);
    let text = std::str::from_utf8(&script).map_err(|_| Error::damaged(format!("{USERS} is no text")))?;
    let wanted = zeroize::Zeroizing::new(users::without(text, &users::names(server)?));
    server.run(&wanted).wrap(|| "cannot restore the users")
}

fn load_database(server: &Server, target: &Target, may_replace: bool, feed: &mut Feed<'_>) -> Result<()> {
    // Asked again: since the plan was made, somebody may have filled it.
    if let Some(tables) = server.tables_of(&target.new)? {
        if !may_replace && !tables.is_empty() {
            let message = format!("it is there and has {} tables", tables.len());
            return Err(Error::new(ErrorKind::Exists, message));
        }
        server.run(&format!("DROP DATABASE {};\n", identifier(&target.new)))?;
    }
    let mut write = |input: &mut dyn Write| {
        let mut buffered = BufWriter::with_capacity(BUFFER_BYTES, input);
        if target.old == target.new {
            feed(&mut buffered)?;
        } else {
            let mut rename = Rename::new(&mut buffered, &target.old, &target.new);
            feed(&mut rename)?;
            rename.finish().wrap(|| "cannot write the dump")?;
        }
        buffered.flush().wrap(|| "cannot write the dump")
    };
    let fed = server.client()?.feed(&mut write);
    fed.wrap(|| "the dump was not taken to its end; what is there of the database is not whole")
}

/// Has the server count anew what its plans of queries rest on.
fn analyze(server: &Server, database: &str) -> Result<()> {
    let tables = server.column(&format!(
        "SELECT table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' AND table_schema = {}",
        super::text(database)
    ))?;
    let statement =
        |table: &String| format!("ANALYZE TABLE {}.{};\n", identifier(database), identifier(table));
    server.run(&tables.iter().map(statement).collect::<String>())
}
