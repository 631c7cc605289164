//! What happens to a database whose place another one takes.
//!
//! What must hold: it is dropped only after the other one is whole; if that fails, it gets its name back, and people are
//! told where it is if even that fails; of what stands under its name meanwhile, only what this restore made is dropped;
//! those who are in it are thrown out only if it may be replaced.

use super::super::Postgres;
use super::super::server::{Server, identifier, literal};
use super::alone::of_restores;
use super::made::{Made, Place};
use super::{Target, other_database};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::Listener;

/// Longest name of a database that the server does not cut.
const NAME_BYTES_MAX: usize = 63;
/// How often a name is asked for: somebody may come back after being thrown out.
const ATTEMPTS: usize = 3;

/// A database that was given another name.
struct Aside {
    name: String,
    /// Its number, which stays the same.
    oid: String,
    /// Whether those who are in it may be thrown out.
    may_throw_out: bool,
}

impl Postgres {
    /// Lets `load` make a database, in place of one that is there if that was planned and may be.
    pub(super) fn replacing(
        &self,
        target: &Target,
        server: &Server,
        made: &Made,
        listener: &Listener,
        load: impl FnOnce(Place) -> Result<()>,
    ) -> Result<()> {
        let Some(there) = self.contents(server, &target.new, listener)? else {
            return load(Place::New)
                .map_err(|error| self.undone(error, target, server, (made, None), listener));
        };
        let was_planned = target.planned.as_ref().is_some_and(|planned| !planned.is_empty);
        let is_allowed = was_planned && target.may_replace;
        if !there.is_empty && !is_allowed {
            let message = format!("{} is there and is not to be replaced", there.show(&target.shown()));
            return Err(Error::new(ErrorKind::Exists, message));
        }
        let aside = match self.set_aside(target, server, listener) {
            Ok(aside) => aside,
            // Of most servers the database `postgres` is empty, and somebody is in it.
            Err(error) if there.is_empty => return fill(target, &error, listener, load),
            Err(error) => return Err(error),
        };
        let shown = show_path(aside.name.as_bytes());
        if !there.is_empty {
            listener.tell(&format!(
                "the database {} is kept as {shown} until the new one is whole",
                target.shown()
            ));
        }
        load(Place::New)
            .map_err(|error| self.undone(error, target, server, (made, Some(&aside)), listener))?;
        let kept =
            || format!("the new database {} is whole, but the former one stays as {shown}", target.shown());
        // Somebody may have made something in it meanwhile.
        let is_same =
            is_allowed || self.contents(server, &aside.name, listener)?.is_none_or(|now| now.is_empty);
        if !is_same {
            return Err(Error::new(ErrorKind::Exists, "it is empty no more").while_doing(kept()));
        }
        self.drop_database(server, &aside.name, &aside.oid, aside.may_throw_out, listener).wrap(kept)
    }

    /// Drops a database if it is still the one that is meant; one that others are made of must first be none of these.
    fn drop_database(
        &self,
        server: &Server,
        name: &str,
        oid: &str,
        is_forced: bool,
        listener: &Listener,
    ) -> Result<()> {
        let question = format!(
            "SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = {} AND oid = {oid}",
            literal(name)
        );
        let found = self.ask::<1>(other_database(server, name), &question, listener)?;
        let Some([is_template]) = found.first() else { return Ok(()) };
        let shown = identifier(name);
        let mut statements = Vec::new();
        if is_template == "t" {
            statements.push(format!("ALTER DATABASE {shown} IS_TEMPLATE false"));
        }
        // Before, nobody could be kept out but so.
        if is_forced && !server.version.is_at_least(13) {
            statements.push(format!("ALTER DATABASE {shown} ALLOW_CONNECTIONS false"));
            statements.push(throw_out(name));
        }
        let force = if is_forced && server.version.is_at_least(13) { " WITH (FORCE)" } else { "" };
        statements.push(format!("DROP DATABASE IF EXISTS {shown}{force}"));
        self.change(server, name, &statements, listener)
    }

    /// Gives what is there another name, which no database has.
    fn set_aside(&self, target: &Target, server: &Server, listener: &Listener) -> Result<Aside> {
        let cannot = || "cannot give another name to the one that is there";
        let databases = "SELECT datname, oid FROM pg_catalog.pg_database";
        let databases = self.ask::<2>(other_database(server, &target.new), databases, listener)?;
        let oid = databases.iter().find(|[name, _]| *name == target.new).map(|[_, oid]| oid.clone());
        let gone = || Error::new(ErrorKind::NotFound, "it is there no more").while_doing(cannot());
        let oid = oid.ok_or_else(gone)?;
        let taken: Vec<String> = databases.into_iter().map(|[name, _]| name).collect();
        let name = name_aside(&target.new, &taken);
        let may_throw_out = target.may_replace;
        let throws_out = may_throw_out.then(|| throw_out(&target.new));
        let statements: Vec<String> = throws_out.into_iter().chain([rename(&target.new, &name)]).collect();
        // The server goes on with it, whatever becomes of the one that asked.
        let undoing = listener.for_undoing();
        let mut last = Ok(());
        for _ in 0..if may_throw_out { ATTEMPTS } else { 1 } {
            last = self.change(server, &target.new, &statements, &undoing);
            // It may have happened although nobody was told.
            let is_renamed =
                || self.oid_of(server, &name, &undoing).is_ok_and(|now| now.as_ref() == Some(&oid));
            if last.is_ok() || is_renamed() {
                return Ok(Aside { name, oid, may_throw_out });
            }
            if listener.stops().is_over() {
                break;
            }
        }
        Err(last.wrap(cannot).err().unwrap_or_else(gone))
    }

    /// The number of the database of this name.
    fn oid_of(&self, server: &Server, name: &str, listener: &Listener) -> Result<Option<String>> {
        let question = format!("SELECT oid FROM pg_catalog.pg_database WHERE datname = {}", literal(name));
        let found = self.ask::<1>(other_database(server, name), &question, listener)?;
        Ok(found.into_iter().next().map(|[oid]| oid))
    }

    /// Undoes a load that failed, and says in its error how things are now.
    fn undone(
        &self,
        error: Error,
        target: &Target,
        server: &Server,
        (made, aside): (&Made, Option<&Aside>),
        listener: &Listener,
    ) -> Error {
        let (shown, undoing) = (target.shown(), listener.for_undoing());
        let mut undone = Ok(());
        for _ in 0..ATTEMPTS {
            undone = self.undo(target, server, (made.oid(), aside), &undoing);
            if undone.is_ok() {
                break;
            }
        }
        let state = match (&undone, aside) {
            (Ok(()), Some(_)) => format!("the database {shown} is as it was"),
            (Ok(()), None) if made.oid().is_none() => return error,
            (Ok(()), None) => format!("what was made of the database {shown} is dropped again"),
            (Err(_), Some(aside)) => {
                format!("the former database {shown} is now {}", show_path(aside.name.as_bytes()))
            }
            (Err(_), None) => format!("the database {shown} is there, but is not whole"),
        };
        if let Err(other) = undone {
            listener.tell(&format!("{state}: {}", other.chain().join(": ")));
        }
        error.while_doing(state)
    }

    /// Drops what was half made, and gives the former one its name back.
    fn undo(
        &self,
        target: &Target,
        server: &Server,
        (made, aside): (Option<String>, Option<&Aside>),
        listener: &Listener,
    ) -> Result<()> {
        let name = &target.new;
        if let Some(there) = self.oid_of(server, name, listener)? {
            let is_made = made.as_ref() == Some(&there);
            if aside.is_some_and(|aside| aside.oid == there) {
                return Ok(());
            }
            // It was ended before the server could tell the number.
            let is_empty = || match (&made, aside) {
                (None, Some(_)) => Ok(self.contents(server, name, listener)?.is_some_and(|one| one.is_empty)),
                _ => Ok(false),
            };
            if is_made || is_empty()? {
                self.drop_database(server, name, &there, is_made, listener)?;
            } else if aside.is_some() {
                let message = "another database, which this restore did not make, has its name";
                return Err(Error::new(ErrorKind::Exists, message));
            }
        }
        let Some(aside) = aside else { return Ok(()) };
        let throws_out = aside.may_throw_out.then(|| throw_out(&aside.name));
        let statements: Vec<String> = throws_out.into_iter().chain([rename(&aside.name, name)]).collect();
        self.change(server, name, &statements, listener)
    }

    /// Runs statements, each in a transaction of its own, on another database than the one that they concern.
    fn change(&self, server: &Server, name: &str, statements: &[String], listener: &Listener) -> Result<()> {
        let psql = self.psql(other_database(server, name), listener)?;
        psql.arguments(statements.iter().map(|statement| format!("--command={statement}"))).run()
    }

    /// Tells of what an earlier restore left behind because it was killed: nobody but its user knows what to do with it.
    pub(super) fn tell_left(&self, target: &Target, server: &Server, listener: &Listener) -> Result<()> {
        let is_left = |name: &&String| {
            let number = name.rsplit_once(MARK).and_then(|(_, number)| number.parse::<u64>().ok());
            number.is_some_and(|number| **name == aside_of(&target.new, number))
        };
        let left: Vec<&String> =
            server.databases.iter().map(|database| &database.name).filter(is_left).collect();
        if left.is_empty() {
            return Ok(());
        }
        let is_under_way = self.is_under_way(target, server, listener)?;
        for left in left {
            let (new, old, shown) = (identifier(&target.new), identifier(left), show_path(left.as_bytes()));
            listener.tell(&match is_under_way {
                true => format!(
                    "the database {shown} was put aside by another restore of {}, which is still under way",
                    target.shown()
                ),
                false => format!(
                    "the database {shown} is there, which an earlier restore of {} put aside and did not come to drop. \
                     \"DROP DATABASE {new}\" and \"{}\" give it back, \"DROP DATABASE {old}\" lets it go",
                    target.shown(),
                    rename(left, &target.new),
                ),
            });
        }
        Ok(())
    }
}

/// Puts a dump into the empty database that is there and cannot be replaced, if that changes nothing in it.
fn fill(
    target: &Target,
    error: &Error,
    listener: &Listener,
    load: impl FnOnce(Place) -> Result<()>,
) -> Result<()> {
    let why = error.chain().pop().unwrap_or_default();
    load(Place::Empty).wrap(|| format!("the empty one that is there could not be replaced: {why}"))?;
    listener.tell(&format!(
        "the database {} stays, as it could not be replaced; it is empty, and so is its dump: {why}",
        target.shown()
    ));
    Ok(())
}
fn rename(from: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", identifier(from), identifier(to))
}

/// Ends all connections to a database, but for those by which other restores are kept apart.
fn throw_out(name: &str) -> String {
    format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {} \
         AND pid <> pg_catalog.pg_backend_pid() AND pid NOT IN ({})",
        literal(name),
        of_restores()
    )
}

/// Stands in a name between that of a database and the number of what stood under it.
const MARK: &str = ".packstone-old-";

/// A name for what stood under another one, which nobody has.
fn name_aside(name: &str, taken: &[String]) -> String {
    let mut number = 1_u64;
    loop {
        let aside = aside_of(name, number);
        if !taken.contains(&aside) {
            return aside;
        }
        number = number.saturating_add(1);
    }
}

/// A name for what stood under another one: so much of that as the server does not cut.
fn aside_of(name: &str, number: u64) -> String {
    let end = format!("{MARK}{number}");
    let mut kept = name.len().min(NAME_BYTES_MAX.saturating_sub(end.len()));
    while !name.is_char_boundary(kept) {
        kept = kept.saturating_sub(1);
    }
    name.get(..kept).unwrap_or_default().to_owned() + &end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_what_is_set_aside_is_nobody_elses() {
        let taken = ["shop", "shop.packstone-old-1"].map(str::to_owned);
        assert_eq!(name_aside("shop", &taken), "shop.packstone-old-2");
        assert_eq!(name_aside("shop", &[]), "shop.packstone-old-1");
        let long = name_aside(&"漢".repeat(21), &[]);
        assert_eq!(long, "漢".repeat(15) + ".packstone-old-1");
        assert!(long.len() <= NAME_BYTES_MAX);
    }
}
