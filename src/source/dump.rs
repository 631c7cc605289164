//! What a source gives that is no directory of this machine: dumps, each of which becomes one file of the snapshot.
//!
//! What must hold: a dump counts as whole only if it was read to its end and whoever made it then said so; until it is
//! begun, it costs nothing, so that of many only a few run at a time.

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use crate::base::Result;
use crate::format::node::Metadata;
use crate::source::Listener;

/// Bytes that come, and who says whether they ended well.
pub struct OpenDump {
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
    /// Asked once the reader has given everything: whether that is all.
    pub end: Box<dyn FnOnce() -> Result<()> + Send>,
    /// Makes the reader end, even if it waits for what may never come. May be called from any thread, and more than once.
    pub stop: Box<dyn Fn() + Send + Sync>,
}

/// One file of the snapshot that is yet to be made.
pub struct Dump {
    /// Where it stands below the folder of its source, as `shop.sql` or `srv/app/data.db`.
    pub name: String,
    /// Owner, mode and times, where it is the copy of a file; else those of a file that is made now.
    pub metadata: Option<Metadata>,
    /// Begins it.
    pub open: Box<dyn FnOnce() -> Result<OpenDump> + Send>,
}

/// Everything that a source gives.
pub struct Dumps {
    /// How it is made consistent, for people: `one transaction of each database (pg_dump 15.6, server 15.6)`.
    pub consistency: String,
    /// The dumps, in the order in which they are begun. They may run at the same time.
    pub dumps: Vec<Dump>,
    /// What of the source cannot be had: each a finding of the source, the rest goes on.
    pub problems: Vec<String>,
    /// Asked once all dumps have ended well: whether together they are of one moment, as the source promises. Undoes
    /// what was done to the server for the time of the dumps when it is dropped, too.
    pub end: Option<Box<dyn FnOnce() -> Result<()> + Send>>,
}

/// A dump that a snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDump {
    /// Its name below the folder of its source.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
    /// Owner, mode and times.
    pub metadata: Metadata,
}

/// Writes the bytes of a stored dump; every chunk is checked before it is written.
pub type Feed<'f> = dyn FnMut(&mut dyn Write) -> Result<()> + 'f;

/// What is to be done to put a source back.
#[derive(Debug, Default)]
pub struct LoadPlan {
    /// In this order. If one fails, those after it are not begun.
    pub steps: Vec<LoadStep>,
    /// What is there and would be replaced, as `the database shop, which has 12 tables`. Empty: nothing is lost.
    pub replaced: Vec<String>,
}

/// What a step does.
pub type RunStep = Box<dyn FnOnce(&mut Feed<'_>) -> Result<()> + Send>;

/// One step of it.
pub struct LoadStep {
    /// What it does, as `restore the database shop from shop.sql`.
    pub what: String,
    /// The name of the dump that it needs.
    pub dump: Option<String>,
    /// Does it; given what writes the dump that it needs, or nothing.
    pub run: RunStep,
}

/// What is wanted of a stored source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Only these databases, by the names that they had; empty: all.
    pub databases: Vec<String>,
    /// Another name for the one database that is put back; for file databases, another path.
    pub new_name: Option<String>,
    /// What is there may be replaced. A plan says what that is in any case.
    pub may_replace: bool,
}

/// A kind of database or program: how it is dumped and, side by side, how it is put back.
pub trait Engine: fmt::Debug + Send + Sync {
    /// The word of the configuration: `postgres`.
    fn kind(&self) -> &'static str;

    /// Files and folders of this machine that it takes as a unit: directories that are backed up beside it leave them
    /// out.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What a dump would take, for people, a line each. Nothing is changed, and nothing that costs is begun.
    fn plan(&self, listener: &Listener) -> Result<Vec<String>> {
        let Dumps { consistency, dumps, problems, .. } = self.dump(listener)?;
        let names = dumps.into_iter().map(|dump| dump.name);
        let problems = problems.into_iter().map(|problem| format!("problem: {problem}"));
        Ok(names.chain(problems).chain([consistency]).collect())
    }

    /// Asks the server what there is. Fails if nothing can be had: refused, unauthorised, a program is missing, its
    /// version does not fit.
    fn dump(&self, listener: &Listener) -> Result<Dumps>;

    /// Says what putting the stored dumps back would do; nothing is changed before a step is run.
    fn load(&self, stored: &[StoredDump], options: &LoadOptions, listener: &Listener) -> Result<LoadPlan>;
}

impl fmt::Debug for Dump {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Dump({})", self.name)
    }
}

impl fmt::Debug for LoadStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LoadStep({})", self.what)
    }
}
