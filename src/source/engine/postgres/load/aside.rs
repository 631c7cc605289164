//! What happens to a database whose place another one takes.
//!
//! What must hold: it is dropped only after the other one is whole; if that fails, it gets its name back, and people are
//! told where it is if even that fails; those who are in it are thrown out only if it may be replaced.

use super::super::Postgres;
use super::super::server::{Server, identifier, literal};
use super::{Target, other_database};
use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::Listener;

/// Longest name of a database that the server does not cut.
const NAME_BYTES_MAX: usize = 63;
/// How often a name is asked for: somebody may come back after being thrown out.
const ATTEMPTS: usize = 3;

impl Postgres {
    /// Lets `load` make a database in place of one that is there, if that was planned and may be.
    pub(super) fn replacing(
        &self,
        target: &Target,
        server: &Server,
        listener: &Listener,
        load: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let Some(there) = self.contents(server, &target.new, listener)? else { return load() };
        let was_planned = target.planned.as_ref().is_some_and(|planned| !planned.is_empty);
        let is_allowed = was_planned && target.may_replace;
        if !there.is_empty && !is_allowed {
            let message = format!("{} is there and is not to be replaced", there.show(&target.shown()));
            return Err(Error::new(ErrorKind::Exists, message));
        }
        let aside = self.set_aside(target, server, is_allowed, listener)?;
        let shown = show_path(aside.as_bytes());
        if !there.is_empty {
            listener.tell(&format!(
                "the database {} is kept as {shown} until the new one is whole",
                target.shown()
            ));
        }
        if let Err(error) = load() {
            return Err(match self.put_back(target, server, &aside, &listener.for_undoing()) {
                Ok(()) => error.while_doing(format!("the database {} is as it was", target.shown())),
                Err(other) => {
                    listener.tell(&format!("the former database {} is now {shown}: {other}", target.shown()));
                    error.while_doing(format!("the former database {} is now {shown}", target.shown()))
                }
            });
        }
        let kept =
            || format!("the new database {} is whole, but the former one stays as {shown}", target.shown());
        // Somebody may have made something in it meanwhile.
        let is_same = is_allowed || self.contents(server, &aside, listener)?.is_none_or(|now| now.is_empty);
        if !is_same {
            return Err(Error::new(ErrorKind::Exists, "it is empty no more").while_doing(kept()));
        }
        let force = if is_allowed && server.version.is_at_least(13) { " WITH (FORCE)" } else { "" };
        self.drop_database(server, &aside, force, listener).wrap(kept)
    }

    /// Drops a database, if it is there; one that others are made of must first be none of these.
    fn drop_database(&self, server: &Server, name: &str, force: &str, listener: &Listener) -> Result<()> {
        let question = format!(
            "SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = {} AND datistemplate",
            literal(name)
        );
        let is_template = !self.ask::<1>(other_database(server, name), &question, listener)?.is_empty();
        let plain = is_template.then(|| format!("ALTER DATABASE {} IS_TEMPLATE false", identifier(name)));
        let dropped = format!("DROP DATABASE IF EXISTS {}{force}", identifier(name));
        self.change(server, name, &plain.into_iter().chain([dropped]).collect::<Vec<_>>(), listener)
    }

    /// Gives what is there another name, which no database has.
    fn set_aside(
        &self,
        target: &Target,
        server: &Server,
        is_allowed: bool,
        listener: &Listener,
    ) -> Result<String> {
        let names = "SELECT datname FROM pg_catalog.pg_database";
        let names = self.ask::<1>(other_database(server, &target.new), names, listener)?;
        let taken: Vec<String> = names.into_iter().map(|[name]| name).collect();
        let aside = name_aside(&target.new, &taken);
        let rename = rename(&target.new, &aside);
        let statements = if is_allowed { vec![throw_out(&target.new), rename] } else { vec![rename] };
        let mut last = Ok(());
        for _ in 0..if is_allowed { ATTEMPTS } else { 1 } {
            last = self.change(server, &target.new, &statements, listener);
            if last.is_ok() {
                break;
            }
        }
        last.wrap(|| "cannot give another name to the one that is there")?;
        Ok(aside)
    }

    /// Drops what was half made, and gives the former one its name back.
    fn put_back(&self, target: &Target, server: &Server, aside: &str, listener: &Listener) -> Result<()> {
        self.change(server, &target.new, &[throw_out(&target.new)], listener)?;
        self.drop_database(server, &target.new, "", listener)?;
        self.change(server, &target.new, &[rename(aside, &target.new)], listener)
    }

    /// Runs statements, each in a transaction of its own, on another database than the one that they concern.
    fn change(&self, server: &Server, name: &str, statements: &[String], listener: &Listener) -> Result<()> {
        statements.iter().try_for_each(|statement| {
            let psql = self.psql(other_database(server, name), listener)?;
            psql.argument(format!("--command={statement}")).run()
        })
    }
}

fn rename(from: &str, to: &str) -> String {
    format!("ALTER DATABASE {} RENAME TO {}", identifier(from), identifier(to))
}

/// Ends all connections to a database.
fn throw_out(name: &str) -> String {
    format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {} \
         AND pid <> pg_catalog.pg_backend_pid()",
        literal(name)
    )
}

/// Stands in a name between that of a database and the number of what stood under it.
const MARK: &str = ".packstone-old-";

/// Tells of what an earlier restore left behind because it was killed: nobody but its user knows what to do with it.
pub(super) fn tell_left(target: &Target, server: &Server, listener: &Listener) {
    for left in server.databases.iter().map(|database| &database.name) {
        let number = left.rsplit_once(MARK).and_then(|(_, number)| number.parse::<u64>().ok());
        if number.is_none_or(|number| *left != aside_of(&target.new, number)) {
            continue;
        }
        let (new, old) = (identifier(&target.new), identifier(left));
        listener.tell(&format!(
            "the database {} is there, which an earlier restore of {} put aside and did not come to drop. \
             \"DROP DATABASE {new}\" and \"{}\" give it back, \"DROP DATABASE {old}\" lets it go",
            show_path(left.as_bytes()),
            target.shown(),
            rename(left, &target.new),
        ));
    }
}

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
