//! A database whose place another one takes: a server gives no database another name, but it moves tables into one.
//!
//! What must hold: until the new one is whole, nothing of the former one is lost: its tables stand in a database of another
//! name, beside them the statements that bring it back; if the load fails, or is ended, they are run.

use std::collections::BTreeSet;

use super::rights::Rights;
use super::server::{Server, identifier, text};
use super::views::BrokenViews;
use super::{MARKER, arguments_for};
use crate::base::{Error, ErrorKind, Result, Wrap};

/// Longest name of a database.
const NAME_CHARACTERS_MAX: usize = 64;
/// What such a name has between that of the database and a number.
const ASIDE: &str = ".packstone-old-";
/// The table with the statements that bring the former one back.
const UNDO: &str = "packstone_undo";
/// Whoever works on a table keeps it from being moved; after so many seconds it is given up.
const MOVING_WAIT: &str = "SET SESSION lock_wait_timeout=60;\n";
/// How long a statement of a client that was ended may go on.
const SETTLING_SECONDS_MAX: u32 = 300;
/// What of a database is written down without its tables.
const WITHOUT_TABLES: [&str; 4] = ["--no-data", "--no-create-db", "--skip-lock-tables", "--skip-add-locks"];
/// Triggers, which go before their tables are moved.
const TRIGGERS: [&str; 3] = ["--no-create-info", "--triggers", "--add-drop-trigger"];
/// What goes with the database itself. A routine is never made anew where it is still there: with the one that is dropped
/// for it go the rights on it.
const ROUTINES: [&str; 4] = ["--no-create-info", "--skip-triggers", "--routines", "--events"];
/// Views, whose names follow.
const VIEWS: [&str; 1] = ["--skip-triggers"];

/// Lets `load` fill a database, which is made here, in the place of one that is there or of none. It is given statements
/// that it must run first on its connection. Nobody else may do the same meanwhile, who asks for the lock.
pub(super) fn replacing(
    server: &Server,
    name: &str,
    is_there: bool,
    load: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let undoing = server.for_undoing();
    let taken = server.column("SELECT schema_name FROM information_schema.schemata")?;
    let aside = name_aside(name, &taken);
    // Who has this lock is the client that loads; the server takes it back once nothing of that client runs any more.
    let begin = format!("DO GET_LOCK({}, 60);\n", text(&aside));
    if !is_there {
        let removed = |error: Error| match remove(&undoing, name, &aside) {
            Ok(()) => error.while_doing("what was made of it is removed"),
            Err(other) => error.while_doing(format!("what is there of it is not whole ({other})")),
        };
        // Whoever made one of that name just now keeps it.
        make(&undoing, name)?;
        return load(&begin).map_err(removed);
    }
    let mut former = Former::look(server, name, aside)?;
    let cannot = || format!("cannot make the database {}, which would keep it", former.aside);
    // By itself: only what was made here may be dropped.
    make(&undoing, &former.aside).wrap(cannot)?;
    if let Err(error) = server.run(former.preparation()) {
        // Nothing of the former one has been touched.
        let removed = undoing.run(format!("DROP DATABASE IF EXISTS {};\n", identifier(&former.aside)));
        return Err(match removed {
            Ok(()) => error.while_doing(cannot()),
            Err(other) => error.while_doing(format!("{}; what was made of it stays ({other})", cannot())),
        });
    }
    if let Err(error) = former.set_aside(&undoing, server).and_then(|()| load(&begin)) {
        return Err(match former.put_back(&undoing) {
            Ok(()) => error.while_doing(former.is_back()),
            Err(other) => error.while_doing(format!(
                "the database that was there is kept as {}, whose table {UNDO} has the statements that bring it back ({})",
                former.aside,
                other.chain().join(": ")
            )),
        });
    }
    let drop = format!("DROP DATABASE {};\n", identifier(&former.aside));
    undoing.run(drop).wrap(|| format!("it is whole, but the former one stays as {}", former.aside))
}

/// A database that was there.
struct Former {
    name: String,
    aside: String,
    tables: Vec<String>,
    triggers: Vec<String>,
    /// Makes it again, empty.
    create: String,
    /// Makes its triggers, also where they are still there.
    make_triggers: Vec<u8>,
    /// Makes its routines, events and views.
    make_others: Vec<u8>,
    /// Views that a server does not make again.
    broken: BrokenViews,
    /// It is not there any more under its name, or what is there is another one.
    is_gone: bool,
    /// What is there under its name is somebody else's.
    is_taken: bool,
}

impl Former {
    /// Asks for all that is needed to bring it back; changes nothing.
    fn look(server: &Server, name: &str, aside: String) -> Result<Self> {
        let hidden = Rights::ask(server)?.problems(server, &[name.to_owned()], &BTreeSet::new());
        if let Some(hidden) = hidden.into_iter().next() {
            return Err(
                Error::new(ErrorKind::Denied, hidden).while_doing("not all that is there can be seen")
            );
        }
        let of_name = text(name);
        let referring = server.rows(&format!(
            "SELECT DISTINCT constraint_schema, table_name FROM information_schema.referential_constraints \
             WHERE unique_constraint_schema = {of_name} AND constraint_schema <> {of_name}"
        ))?;
        if let Some(table) = referring.first() {
            let message = format!("the table {} refers to its rows by a foreign key", table.join("."));
            return Err(Error::new(ErrorKind::Exists, message));
        }
        let listed = |what: &str| server.column(&format!("SELECT {what} = {of_name} ORDER BY 1"));
        let tables = server.tables_of(name)?;
        if tables.iter().any(|table| table == UNDO) {
            let message = format!("its table {UNDO} stands where the statements would that bring it back");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        let broken = BrokenViews::ask(server, name)?;
        let mut views = listed("table_name FROM information_schema.views WHERE table_schema")?;
        views.retain(|view| !broken.has(view));
        let triggers = listed("trigger_name FROM information_schema.triggers WHERE trigger_schema")?;
        let shown = server.rows(&format!("SHOW CREATE DATABASE {}", identifier(name)))?;
        let create = shown.into_iter().next().and_then(|row| row.into_iter().nth(1));
        let create =
            create.ok_or_else(|| Error::new(ErrorKind::Failed, "the server does not say how it was made"))?;
        let make_triggers = definitions(server, &TRIGGERS, &[name])?;
        let mut make_others = definitions(server, &ROUTINES, &[name])?;
        if !views.is_empty() {
            let names: Vec<&str> = [name].into_iter().chain(views.iter().map(String::as_str)).collect();
            make_others.extend(definitions(server, &VIEWS, &names)?);
        }
        make_others.extend(broken.comments().into_bytes());
        let name = name.to_owned();
        let (is_gone, is_taken) = (false, false);
        Ok(Self {
            name,
            aside,
            tables,
            triggers,
            create,
            make_triggers,
            make_others,
            broken,
            is_gone,
            is_taken,
        })
    }

    /// For people, once it was brought back.
    fn is_back(&self) -> String {
        let lost = self.broken.names().map_or_else(String::new, |names| {
            format!(", but for the views {names}, which name what is not there")
        });
        format!("the database that was there is as it was{lost}")
    }

    /// Writes the statements that bring it back into the database in which it is kept.
    fn preparation(&self) -> String {
        let aside = identifier(&self.aside);
        let mut script = format!(
            "{MOVING_WAIT}CREATE TABLE {aside}.{UNDO} \
             (number INT AUTO_INCREMENT PRIMARY KEY, line LONGTEXT CHARACTER SET binary);\n"
        );
        for line in self.undo().split_inclusive(|byte| *byte == b'\n') {
            let line = hexadecimal(line.strip_suffix(b"\n").unwrap_or(line));
            script.push_str(&format!("INSERT INTO {aside}.{UNDO} (line) VALUES (X'{line}');\n"));
        }
        script
    }

    /// Moves the tables, and lets the rest go.
    fn set_aside(&mut self, undoing: &Server, server: &Server) -> Result<()> {
        let cannot = || "cannot move the tables of the one that is there";
        let (name, aside) = (identifier(&self.name), identifier(&self.aside));
        let triggers = self.triggers.iter();
        let triggers = triggers.map(|trigger| format!("DROP TRIGGER {name}.{};\n", identifier(trigger)));
        let moves = self.moves(&name, &aside);
        // What is begun here is done: a statement that goes on would meet the one that undoes it.
        undoing.run(format!("{MOVING_WAIT}{}{moves}", triggers.collect::<String>())).wrap(cannot)?;
        if let Some(table) = undoing.tables_of(&self.name)?.first() {
            let message = format!("the table {table} was made just now");
            return Err(Error::new(ErrorKind::Exists, message)).wrap(cannot);
        }
        if server.is_over() {
            return Err(Error::new(ErrorKind::Interrupted, "it was ended"));
        }
        self.is_gone = true;
        undoing.run(format!("DROP DATABASE {name};\n")).wrap(cannot)?;
        make(undoing, &self.name).inspect_err(|_| self.is_taken = true)
    }

    /// Brings it back once it is gone, in place of what is there. Fails before it drops that, unless all tables are aside.
    fn undo(&self) -> Vec<u8> {
        let (name, aside) = (identifier(&self.name), identifier(&self.aside));
        let looks = self
            .tables
            .iter()
            .map(|table| format!("DO (SELECT 1 FROM {aside}.{} LIMIT 1);\n", identifier(table)));
        let looks: String = looks.collect();
        let (create, moves) = (&self.create, self.moves(&aside, &name));
        let drop = match self.is_taken {
            true => String::new(),
            false => format!("DROP DATABASE IF EXISTS {name};\n"),
        };
        let first = format!("{looks}{drop}{create};\n{moves}USE {name};\n");
        [first.as_bytes(), &self.make_triggers, &self.make_others].concat()
    }

    /// Brings it back, as far as it went.
    fn put_back(&self, undoing: &Server) -> Result<()> {
        let (name, aside) = (identifier(&self.name), identifier(&self.aside));
        settle(undoing, &self.aside)?;
        if self.is_gone {
            undoing.run(self.undo())?;
        } else {
            let there = undoing.tables_of(&self.aside)?;
            let moves = match there.iter().filter(|table| self.tables.contains(table)).count() {
                0 => String::new(),
                _ => self.moves(&aside, &name),
            };
            let first = format!("{moves}USE {name};\n");
            undoing.run([first.as_bytes(), &self.make_triggers].concat())?;
        }
        undoing.run(format!("DROP DATABASE IF EXISTS {aside};\n"))
    }

    /// Moves all tables by one statement.
    fn moves(&self, from: &str, to: &str) -> String {
        let moved = self.tables.iter().map(|table| {
            let table = identifier(table);
            format!("{from}.{table} TO {to}.{table}")
        });
        match moved.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => none,
            moves => format!("RENAME TABLE {moves};\n"),
        }
    }
}

/// Makes a database, unless there is one of that name.
fn make(undoing: &Server, name: &str) -> Result<()> {
    undoing.run(format!("CREATE DATABASE {};\n", identifier(name)))
}

/// What the dump program writes of one database, or of some of its views, without its rows. It is no text: a routine stands
/// in it as it was written, which may be in another way than the next.
fn definitions(server: &Server, arguments: &[&str], names: &[&str]) -> Result<Vec<u8>> {
    let cannot = || "cannot dump what is there besides tables";
    let known = arguments_for(&server.dump_options().wrap(cannot)?);
    let program = server.dump_program()?.arguments(WITHOUT_TABLES).arguments(arguments).arguments(known);
    let script = program.argument("--").arguments(names).capture().wrap(cannot)?;
    let last = script.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let is_whole = last.is_some_and(|line| line.starts_with(MARKER.as_bytes()));
    if !is_whole {
        return Err(Error::new(ErrorKind::Failed, "the dump program did not end it")).wrap(cannot);
    }
    let lines = script.split_inclusive(|byte| *byte == b'\n');
    let without_sandbox = lines.filter(|line| !line.starts_with(b"/*M!999999"));
    Ok(without_sandbox.flatten().copied().collect())
}

/// Drops what a load left behind.
fn remove(undoing: &Server, name: &str, lock: &str) -> Result<()> {
    settle(undoing, lock)?;
    undoing.run(format!("DROP DATABASE IF EXISTS {};\n", identifier(name)))
}

/// Waits until the server has done the last statement of a client that was ended: none may come after those that undo it.
fn settle(undoing: &Server, lock: &str) -> Result<()> {
    let lock = text(lock);
    let holder = undoing.column(&format!("SELECT coalesce(IS_USED_LOCK({lock}), '')"))?.concat();
    if !holder.is_empty() {
        // It may be gone by now; if it cannot be ended, the lock is waited for.
        drop(undoing.run(format!("KILL {holder};\n")));
    }
    let taken =
        undoing.column(&format!("SELECT coalesce(GET_LOCK({lock}, {SETTLING_SECONDS_MAX}), 0)"))?.concat();
    if taken != "1" {
        return Err(Error::new(ErrorKind::Failed, "the server still works on what it was given"));
    }
    Ok(())
}

/// A name for what stood under another one.
fn name_aside(name: &str, taken: &[String]) -> String {
    let mut number = 1_u64;
    loop {
        let aside = numbered(name, &number.to_string());
        if !taken.iter().any(|name| name.eq_ignore_ascii_case(&aside)) {
            return aside;
        }
        number = number.saturating_add(1);
    }
}

/// Whether a database has the name of one that was set aside for another one.
pub(super) fn is_former(database: &str, name: &str) -> bool {
    let number = database.rsplit_once(ASIDE).map(|(_, number)| number);
    number.is_some_and(|number| number.parse::<u64>().is_ok() && numbered(name, number) == database)
}

/// The lock of whoever restores a database.
pub(super) fn lock_of(name: &str) -> String {
    numbered(name, "lock")
}

/// So much of a name as fits, and a number.
fn numbered(name: &str, number: &str) -> String {
    let end = format!("{ASIDE}{number}");
    let kept = NAME_CHARACTERS_MAX.saturating_sub(end.len());
    name.chars().take(kept).collect::<String>() + &end
}

fn hexadecimal(line: &[u8]) -> String {
    line.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_what_is_set_aside_is_nobody_elses() {
        let taken = ["shop", "SHOP.packstone-old-1"].map(str::to_owned);
        assert_eq!(name_aside("shop", &taken), "shop.packstone-old-2");
        let long = name_aside(&"漢".repeat(64), &[]);
        assert_eq!(long, "漢".repeat(48) + ".packstone-old-1");
        assert_eq!(long.chars().count(), NAME_CHARACTERS_MAX);
        assert!(is_former("shop.packstone-old-12", "shop") && is_former(&long, &"漢".repeat(60)));
        assert!(!is_former("shop.packstone-old-1", "sho") && !is_former("shop.packstone-old-x", "shop"));
    }
}
