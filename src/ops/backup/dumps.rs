//! Sources that are no paths: a stream that was given, and all that a program or a database gives.
//!
//! What must hold: a dump is part of the snapshot only after whoever made it said that it ended well; one that broke off
//! is a finding, or fails the run, as was chosen, and is never taken for whole; no dump is ever put together on a disk.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::monitor::show_path;
use crate::base::{Change, ChunkId, Error, ErrorKind, FindingKind, Result, Timestamp, Wrap};
use crate::format::node::{Content, Metadata, Node, NodeKind, Regular};
use crate::ops::backup::changes::Known;
use crate::ops::backup::directory::Finished;
use crate::ops::backup::roots::{self, bare_directory};
use crate::ops::backup::run::{Run, SourceCounts};
use crate::ops::backup::sources::{BeginDumps, OnFailure, StreamOfSource, StreamWork};
use crate::ops::backup::stream::{Failed, StreamInput, store};
use crate::source::{Dump, Dumps, Limit, Listener, OpenDump, Stop};
use crate::tree::DirectoryBuilder;

/// Lines that a source may say: some programs say one for each file.
const NOTES_MAX: usize = 100;

/// Takes a source that is no path; what it gives goes to the roots of the run.
pub(super) fn take(run: &Run<'_>, pool: &rayon::ThreadPool, source: StreamOfSource<'_>) {
    let StreamOfSource { path, counts, on_failure, work } = source;
    counts.begin();
    run.monitor.begin(&counts.path);
    let taken = match work {
        StreamWork::One(input) => take_one(run, pool, &path, &counts, input),
        StreamWork::Many { begin, time_limit } => {
            let taken = take_many(run, pool, &path, (&counts, on_failure), (begin, time_limit));
            taken.or_else(|failed| failed.unless_fatal(|error| give_up(run, &counts, on_failure, &error)))
        }
    };
    match taken {
        Ok(finished) => roots::put(run, path, finished),
        Err(Failed::Run(error) | Failed::Source(error)) => run.fail(error),
    }
    counts.ended();
}

impl Failed {
    fn unless_fatal(
        self,
        on_source: impl FnOnce(Error) -> std::result::Result<(), Error>,
    ) -> std::result::Result<Option<Finished>, Self> {
        match self {
            Self::Run(error) => Err(Self::Run(error)),
            Self::Source(error) => on_source(error).map(|()| None).map_err(Self::Run),
        }
    }
}

/// A source that failed: fails the run, or is counted and told.
fn give_up(run: &Run<'_>, counts: &SourceCounts, on_failure: OnFailure, error: &Error) -> Result<()> {
    if run.is_over() {
        // Everything is being stopped, which is why it failed.
        return Ok(());
    }
    counts.clear();
    counts.set_failed();
    let message = error.chain().join(": ");
    if on_failure == OnFailure::Fail {
        return Err(failing(counts, Error::new(error.kind(), message)));
    }
    run.finding(counts, counts.path.clone(), FindingKind::Unreadable, message);
    Ok(())
}

/// The error of a run in which a source must not fail.
pub(super) fn failing(counts: &SourceCounts, error: Error) -> Error {
    let shown = counts.name.clone().unwrap_or_else(|| show_path(&counts.path));
    error.while_doing(format!("the source {shown} failed; no snapshot was made"))
}

fn take_one(
    run: &Run<'_>,
    pool: &rayon::ThreadPool,
    path: &Path,
    counts: &SourceCounts,
    input: StreamInput<'_>,
) -> std::result::Result<Option<Finished>, Failed> {
    let StreamInput { reader, end, stop, .. } = input;
    let (content, size) = store(run, reader, &stop, pool)?;
    end().wrap(|| "the stream did not end well; no snapshot was made").map_err(Failed::Source)?;
    counts.add_node(size);
    run.add_bytes_read(size);
    let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    let node = file_node(run, name, content, size, None);
    Ok(Some(Finished { node, member: None, inode: 0 }))
}

/// A file that is made of what was read.
fn file_node(run: &Run<'_>, name: Vec<u8>, content: Content, size: u64, metadata: Option<Metadata>) -> Node {
    let made_now = || {
        let now = Timestamp::now();
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        Metadata {
            mode: 0o600,
            uid,
            gid,
            user: run.owners.user(uid),
            group: run.owners.group(gid),
            mtime: now,
            ctime: now,
            links: None,
            link_count: None,
        }
    };
    let metadata = metadata.unwrap_or_else(made_now);
    let kind = NodeKind::Regular(Regular { size, content, extents: None, changed_while_read: false });
    Node { name, kind, metadata, xattrs: Vec::new(), kept: Vec::new() }
}

fn take_many(
    run: &Run<'_>,
    pool: &rayon::ThreadPool,
    path: &Path,
    (counts, on_failure): (&SourceCounts, OnFailure),
    (begin, time_limit): (BeginDumps<'_>, Option<Duration>),
) -> std::result::Result<Option<Finished>, Failed> {
    if run.is_over() {
        return Ok(None);
    }
    let listener = listener(run, counts);
    let stops = Arc::clone(listener.stops());
    let _with_run = run.stops.add(Arc::new(move || stops.stop_all()));
    let limit = TimeLimit::start(time_limit, &listener).map_err(Failed::Run)?;
    let begun = begin(&listener).map_err(|error| Failed::Source(limit.judge(error)));
    let Dumps { consistency, dumps, problems, end } = begun?;
    counts.set_consistency(consistency);
    let source = (counts, on_failure);
    for problem in problems {
        lacks(run, source, &counts.path, FindingKind::Unreadable, problem)?;
    }
    take_findings(run, source, &listener, &counts.path)?;
    let mut folder = Folder::default();
    for dump in dumps {
        if run.is_over() {
            return Ok(None);
        }
        if let Some(why) = limit.over() {
            let name = show_path(dump.name.as_bytes());
            let message = format!("{why}; {name} and what comes after it was not dumped");
            lacks(run, source, &counts.path, FindingKind::Unreadable, message)?;
            break;
        }
        let shown = [counts.path.as_slice(), b"/", dump.name.as_bytes()].concat();
        let taken = take_dump(run, pool, (counts, &shown, &listener), dump, &mut folder);
        take_findings(run, source, &listener, &shown)?;
        match taken {
            Ok(size) => counts.add_node(size),
            Err(Failed::Source(error)) if on_failure != OnFailure::Fail && !run.is_over() => {
                let error = limit.judge(error);
                run.finding(counts, shown, FindingKind::Unreadable, error.chain().join(": "));
            }
            Err(Failed::Source(error)) => return Err(Failed::Source(limit.judge(error))),
            Err(failed) => return Err(failed),
        }
    }
    if let Some(end) = end {
        end().map_err(|error| Failed::Source(limit.judge(error)))?;
    }
    // If nothing was there to dump and nothing went wrong, an empty folder says so.
    let status = counts.status();
    if status.nodes == 0 && status.findings > 0 {
        counts.set_failed();
        return Ok(None);
    }
    let name = path.file_name().map(|name| name.as_encoded_bytes().to_vec()).unwrap_or_default();
    let above = path.parent().map(|above| above.as_os_str().as_encoded_bytes()).unwrap_or_default();
    let node = folder.store(run, counts, above, name).map_err(Failed::Run)?;
    Ok(Some(Finished { node, member: None, inode: 0 }))
}

/// The time that a source may take.
struct TimeLimit(Option<(Duration, Limit)>);

impl TimeLimit {
    fn start(limit: Option<Duration>, listener: &Listener) -> Result<Self> {
        let start = |limit: Duration| {
            let stops = Arc::clone(listener.stops());
            Ok((limit, Limit::start(limit, Arc::new(move || stops.stop_all()))?))
        };
        limit.map(start).transpose().map(Self)
    }

    /// That the time is over, if it is.
    fn over(&self) -> Option<String> {
        let (limit, _) = self.0.as_ref().filter(|(_, running)| running.is_over())?;
        Some(format!("its time limit of {} s is over", limit.as_secs()))
    }

    /// Why something failed: it was stopped, if the time is over.
    fn judge(&self, error: Error) -> Error {
        match self.over() {
            Some(why) => error.while_doing(why),
            None => error,
        }
    }
}

/// A source of which something is not as it must be: a finding, or its failure.
fn lacks(
    run: &Run<'_>,
    (counts, on_failure): (&SourceCounts, OnFailure),
    path: &[u8],
    kind: FindingKind,
    message: String,
) -> std::result::Result<(), Failed> {
    if on_failure == OnFailure::Fail {
        return Err(Failed::Source(Error::new(ErrorKind::Failed, message)));
    }
    run.finding(counts, path.to_owned(), kind, message);
    Ok(())
}

/// What an engine gives as it is, although it is not what it must be.
fn take_findings(
    run: &Run<'_>,
    source: (&SourceCounts, OnFailure),
    listener: &Listener,
    path: &[u8],
) -> std::result::Result<(), Failed> {
    listener
        .take_findings()
        .into_iter()
        .try_for_each(|found| lacks(run, source, path, FindingKind::Damaged, found))
}

/// Passes on what an engine says, under the name of its source. It is told at once, by whichever thread.
fn listener(run: &Run<'_>, counts: &SourceCounts) -> Listener {
    let name = counts.name.clone().unwrap_or_default();
    let notes = run.notes.clone();
    let told = AtomicUsize::new(0);
    // Once the run is over, nobody listens.
    Listener::new(move |text| match told.fetch_add(1, Ordering::Relaxed) {
        ..NOTES_MAX => drop(notes.send(Some(format!("{name}: {text}")))),
        NOTES_MAX => drop(notes.send(Some(format!("{name}: what it says further is not told")))),
        _ => {}
    })
    .withholding(run.withheld)
}

/// Reads and stores one dump, and adds it to the folder once it ended well; gives its length.
fn take_dump(
    run: &Run<'_>,
    pool: &rayon::ThreadPool,
    (counts, path, listener): (&SourceCounts, &[u8], &Listener),
    dump: Dump,
    folder: &mut Folder,
) -> std::result::Result<u64, Failed> {
    let names = crate::source::stream_path(&dump.name).map_err(Failed::Source)?;
    let place = folder.place(&names).map_err(Failed::Source)?;
    run.monitor.begin(path);
    let OpenDump { reader, end, stop } = (dump.open)().map_err(Failed::Source)?;
    let stop: Stop = Arc::from(stop);
    let stoppable = listener.stops().add(Arc::clone(&stop));
    let stored = store(run, reader, &|| stop(), pool);
    let ended = stored.and_then(|stored| end().map(|()| stored).map_err(Failed::Source));
    drop(stoppable);
    let (content, size) = ended?;
    run.add_bytes_read(size);
    count(run, counts, path, &content, size).map_err(Failed::Run)?;
    let name = names.last().cloned().unwrap_or_default();
    place.insert(Placed::File(Box::new(file_node(run, name, content, size, dump.metadata))));
    run.monitor.advance(1, 0);
    Ok(size)
}

/// Counts a dump as new, changed or as it was.
fn count(run: &Run<'_>, counts: &SourceCounts, path: &[u8], content: &Content, size: u64) -> Result<()> {
    let before = run.earlier.source_file(path)?.and_then(|old| old.regular());
    let change = match before {
        None => Change::New,
        Some((_, regular)) if regular.content == *content && regular.size == size => Change::Unmodified,
        Some(_) => Change::Changed,
    };
    counts.changes.add_file(change);
    if run.monitor.wants_items() {
        run.monitor.backed_up(change, path, size);
    }
    Ok(())
}

/// The dumps of a source, in the folders that their names say.
#[derive(Default)]
struct Folder {
    entries: BTreeMap<Vec<u8>, Placed>,
}

enum Placed {
    Folder(Folder),
    File(Box<Node>),
}

/// Where a dump goes.
struct Place<'f> {
    folder: &'f mut Folder,
    name: Vec<u8>,
}

impl Place<'_> {
    fn insert(self, placed: Placed) {
        self.folder.entries.insert(self.name, placed);
    }
}

impl Folder {
    /// The place of these names; an error if another dump has it.
    fn place(&mut self, names: &[Vec<u8>]) -> Result<Place<'_>> {
        let taken = |name: &[u8]| {
            let message = format!("two dumps claim the name {}", show_path(name));
            Error::new(ErrorKind::Failed, message)
        };
        let Some((last, above)) = names.split_last() else { return Err(taken(b"")) };
        let mut folder = self;
        for name in above {
            let entry = folder.entries.entry(name.clone());
            match entry.or_insert_with(|| Placed::Folder(Self::default())) {
                Placed::Folder(next) => folder = next,
                Placed::File(_) => return Err(taken(name)),
            }
        }
        match folder.entries.entry(last.clone()) {
            Entry::Occupied(_) => Err(taken(last)),
            Entry::Vacant(_) => Ok(Place { folder, name: last.clone() }),
        }
    }

    /// The node of the folder of this name, which stands in another; it and all below it but for the files are counted.
    fn store(self, run: &Run<'_>, counts: &SourceCounts, above: &[u8], name: Vec<u8>) -> Result<Node> {
        let path = crate::state::join(above, &name);
        let tree: ChunkId = {
            let mut builder = DirectoryBuilder::new(run.session);
            for (name, placed) in self.entries {
                match placed {
                    Placed::File(node) => builder.push(*node, None)?,
                    Placed::Folder(folder) if folder.entries.is_empty() => {}
                    Placed::Folder(folder) => builder.push(folder.store(run, counts, &path, name)?, None)?,
                }
            }
            builder.finish()?
        };
        counts.add_node(0);
        let known = run.earlier.source_directory(above, &name)?;
        // It is made anew each time, as are its times.
        let change = if matches!(known, Known::Nothing) { Change::New } else { Change::Changed };
        counts.changes.add_directory(change);
        Ok(bare_directory(name, tree))
    }
}
