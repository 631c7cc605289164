//! A server's data put back: the server is stopped, its files are replaced, it is started, and says what it has.
//!
//! What must hold: no file is replaced while the server runs, for it would write its own over them; what it would not
//! read is not taken for put back; that it has read it is told by what the server says; until then the old data are kept.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::place::{Beside, describe, set, sync_folder_of};
use super::super::{Feed, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump};
use super::append_only::MANIFEST;
use super::attempt::Attempt;
use super::client::{Client, Server};
use super::proof::{Placed, Told, Verdict};
use super::{RDB, Redis};
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::format::node::Metadata;
use crate::fsmeta::capture::{metadata, stat_fd};
use crate::fsmeta::owners::Owners;

/// The names that a server of its own accord gives the folder and files of its changes.
const APPEND_FOLDER: &str = "appendonlydir";
const APPEND_FILE: &str = "appendonly.aof";

/// What a server that answers says of where it reads its data from.
#[derive(Clone, Debug, Default)]
struct Habits {
    rdb_name: Option<String>,
    /// Whether it reads append-only files, and then not the RDB file; `None`: it does not say.
    is_append_only: Option<bool>,
    /// Whether these are many, in a folder; `None`: it does not say.
    is_multi_part: Option<bool>,
    append_folder: Option<String>,
    append_file: Option<String>,
    keys: Option<u64>,
}

impl Habits {
    fn of(client: &Client) -> Self {
        let Ok(server) = client.server() else { return Self::default() };
        Self {
            rdb_name: client.configuration("dbfilename").ok(),
            // Its configuration may not be had.
            is_append_only: Told::of(client).ok().and_then(|told| told.is_append_only()),
            is_multi_part: Some(server.is_multi_part()),
            append_folder: client.configuration("appenddirname").ok(),
            append_file: client.configuration("appendfilename").ok(),
            keys: client.keys().ok(),
        }
    }
}

/// The steps that put a server's data back.
pub(super) fn plan(
    redis: &Redis,
    stored: &[StoredDump],
    options: &LoadOptions,
    listener: &Listener,
) -> Result<LoadPlan> {
    if !options.databases.is_empty() || options.new_name.is_some() {
        let message = "a Redis server's data are restored as a whole and under no other name";
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let client = Client::find(redis, listener).unwrap_or_else(|_| {
        // On an empty host the client may be in the container that is started at the end.
        Client::of("redis-cli", redis, listener)
    });
    let habits = Habits::of(&client);
    let folder = folder_of(redis, &client)?;
    let mut plan = LoadPlan::default();
    if let Some(keys) = habits.keys.filter(|keys| *keys > 0) {
        plan.replaced.push(format!("the server's {keys} keys"));
    }
    let places = places(stored, &habits, &folder)?;
    for (_, path) in places.files.iter().filter(|(_, path)| path.parent() != places.emptied.as_deref()) {
        plan.replaced.extend(describe(path)?);
    }
    if let Some(old) = places.emptied.as_ref().filter(|old| old.exists()) {
        plan.replaced.push(format!("the folder {}", show_file(old)));
    }
    let may_replace = options.may_replace || plan.replaced.is_empty();
    let attempt = Arc::new(Attempt::new(redis, &client));
    plan.steps.push(stop_step(redis, &client, &attempt, may_replace));
    if let Some(old) = &places.emptied {
        plan.steps.push(empty_step(old.clone(), &attempt));
    }
    let placing = Placing {
        like: Arc::new(Like::of(&folder)),
        attempt,
        listener: listener.clone(),
        placed: Arc::default(),
    };
    for (name, path) in &places.files {
        plan.steps.push(place_step(name.clone(), path.clone(), &placing));
    }
    if let Some((path, text)) = &places.manifest {
        plan.steps.push(manifest_step(path.clone(), text.clone(), &placing));
    }
    let start = Start {
        redis: redis.clone(),
        client,
        placing,
        places,
        folder,
        may_replace: options.may_replace,
        is_known: habits.is_append_only.is_some(),
    };
    plan.steps.push(start.step());
    Ok(plan)
}

/// The server's data folder as this machine sees it. What the server says counts only if it is there.
fn folder_of(redis: &Redis, client: &Client) -> Result<PathBuf> {
    let folder = redis.files_folder(client).map_err(|error| match error.kind() {
        ErrorKind::Usage => error,
        _ => error.while_doing("the server does not say where its data are: its folder must be named"),
    })?;
    if redis.folder.is_none() && !client.works_in(&folder) {
        let message = format!(
            "the server says that its data are in {}, and no process of it can be seen there (it may run in a \
             container): its data folder, as this machine sees it, must be named (folder)",
            show_file(&folder)
        );
        return Err(Error::new(ErrorKind::Usage, message));
    }
    Ok(folder)
}

/// Where the stored dumps go.
struct Places {
    files: Vec<(String, PathBuf)>,
    /// A folder whose files would be read instead.
    emptied: Option<PathBuf>,
    /// A manifest that is not stored, and must be made.
    manifest: Option<(PathBuf, String)>,
    /// Whether the server must read append-only files to find them.
    is_append_only: bool,
}

fn places(stored: &[StoredDump], habits: &Habits, folder: &Path) -> Result<Places> {
    if let [dump] = stored
        && (dump.name == RDB || is_of_older(dump, habits))
    {
        return Ok(places_of_one(dump, habits, folder));
    }
    if habits.is_append_only == Some(false) {
        let message =
            "what is stored are append-only files, which this server does not read (appendonly is no)";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    must_be_read(stored, habits)?;
    let mut files = Vec::new();
    let mut emptied = None;
    for dump in stored {
        let path = Path::new(&dump.name);
        let is_inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !is_inside {
            return Err(Error::damaged(format!("{:?} does not stand below the folder", dump.name)));
        }
        let path = folder.join(path);
        emptied = emptied.or_else(|| path.parent().filter(|parent| *parent != folder).map(Path::to_owned));
        files.push((dump.name.clone(), path));
    }
    // The manifest comes last: without it nothing is read.
    files.sort_by_key(|(name, _)| name.ends_with(MANIFEST));
    Ok(Places { files, emptied, manifest: None, is_append_only: true })
}

/// Whether it is the one append-only file of an older server, which a newer one reads as the first of many.
fn is_of_older(dump: &StoredDump, habits: &Habits) -> bool {
    !dump.name.contains('/') && habits.is_append_only == Some(true) && habits.is_multi_part == Some(true)
}

/// Where a single file goes. What a server with append-only files reads first may be an RDB file, too.
fn places_of_one(dump: &StoredDump, habits: &Habits, folder: &Path) -> Places {
    let file = habits.append_file.as_deref().unwrap_or(APPEND_FILE);
    let is_append_only = habits.is_append_only == Some(true);
    let mut places = Places { files: Vec::new(), emptied: None, manifest: None, is_append_only };
    let path = match (is_append_only, habits.is_multi_part) {
        (true, Some(true)) => {
            let inside = folder.join(habits.append_folder.as_deref().unwrap_or(APPEND_FOLDER));
            let base = format!("{file}.1.base.{}", if dump.name == RDB { "rdb" } else { "aof" });
            let text = format!("file {base} seq 1 type b\n");
            places.manifest = Some((inside.join(format!("{file}{MANIFEST}")), text));
            let path = inside.join(base);
            places.emptied = Some(inside);
            path
        }
        (true, _) => folder.join(file),
        (false, _) => folder.join(habits.rdb_name.as_deref().unwrap_or(RDB)),
    };
    places.files.push((dump.name.clone(), path));
    places
}

/// An error if a server is known to read append-only files of other names than those that are stored.
fn must_be_read(stored: &[StoredDump], habits: &Habits) -> Result<()> {
    let first = stored.iter().find(|dump| dump.name.ends_with(MANIFEST)).or_else(|| stored.first());
    let Some(name) = first.map(|dump| dump.name.as_str()) else { return Ok(()) };
    let (below, file) = name.split_once('/').map_or((None, name), |(below, file)| (Some(below), file));
    let file = file.strip_suffix(MANIFEST).unwrap_or(file);
    let differs = |known: &Option<String>, stored: &str| known.as_ref().is_some_and(|known| known != stored);
    let why = match (below, habits.is_multi_part) {
        (Some(_), Some(false)) => "this one is older than version 7, and reads a single file".to_owned(),
        (Some(below), _) if differs(&habits.append_folder, below) => {
            format!(
                "this one reads others (appenddirname is {:?})",
                habits.append_folder.as_deref().unwrap_or_default()
            )
        }
        _ if differs(&habits.append_file, file) => {
            format!(
                "this one reads others (appendfilename is {:?})",
                habits.append_file.as_deref().unwrap_or_default()
            )
        }
        _ => return Ok(()),
    };
    let message =
        format!("what is stored are the append-only files of a server that named them {name}, and {why}");
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Owner and mode of what is placed: those of the data that are there, or of the folder.
struct Like {
    file: Metadata,
    folder: Option<Metadata>,
}

impl Like {
    fn of(folder: &Path) -> Self {
        let told = |path: &Path| {
            let stat = File::open(path).ok().and_then(|opened| stat_fd(&opened).ok())?;
            Some(metadata(&stat, &Owners::new(), None))
        };
        let there = told(folder);
        let mut file = there.clone().unwrap_or_default();
        file.mode = told(&folder.join(RDB)).map_or(0o640, |rdb| rdb.mode);
        file.mtime = crate::base::Timestamp::now();
        Self { file, folder: there }
    }
}

fn stop_step(redis: &Redis, client: &Client, attempt: &Arc<Attempt>, may_replace: bool) -> LoadStep {
    let (redis, client, attempt) = (redis.clone(), client.clone(), Arc::clone(attempt));
    let run = move |_: &mut Feed<'_>| {
        if !may_replace {
            return Err(Error::new(ErrorKind::Exists, "the server has data, which would be replaced"));
        }
        attempt.step(|| redis.stop(&client, || attempt.is_stopping()))
    };
    LoadStep { what: "stop the Redis server".to_owned(), dump: None, run: Box::new(run) }
}

fn empty_step(folder: PathBuf, attempt: &Arc<Attempt>) -> LoadStep {
    let what = format!("set aside the append-only files in {}", show_file(&folder));
    let attempt = Arc::clone(attempt);
    let run = move |_: &mut Feed<'_>| {
        attempt.step(|| {
            attempt.set_aside(&folder)?;
            attempt.places(&folder);
            Ok(())
        })
    };
    LoadStep { what, dump: None, run: Box::new(run) }
}

/// Passes on what is placed, counts it and keeps its beginning.
struct Beginning<'w> {
    output: &'w mut dyn Write,
    bytes: Vec<u8>,
    count: u64,
}

impl Write for Beginning<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // Functions stand before the first key.
        const KEPT_BYTES_MAX: usize = 1 << 20;
        let count = self.output.write(bytes)?;
        let room = KEPT_BYTES_MAX.saturating_sub(self.bytes.len()).min(count);
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

/// What is needed to put files in place.
#[derive(Clone)]
struct Placing {
    like: Arc<Like>,
    attempt: Arc<Attempt>,
    listener: Listener,
    placed: Arc<Mutex<Placed>>,
}

impl Placing {
    fn placed(&self) -> MutexGuard<'_, Placed> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file in place; what stood there is set aside.
    fn place(&self, path: &Path, feed: &mut Feed<'_>) -> Result<()> {
        self.attempt.step(|| {
            let folder = path.parent().filter(|folder| !folder.exists());
            let waiting = Beside::write(path, feed)?;
            if let (Some(folder), Some(metadata)) = (folder, &self.like.folder) {
                let opened = File::open(folder).wrap(|| format!("cannot open {}", show_file(folder)))?;
                set(&opened, folder, metadata, &self.listener);
            }
            waiting.set(&self.like.file, &self.listener)?;
            self.attempt.set_aside(&waiting.target)?;
            self.attempt.places(&waiting.target);
            waiting.place()
        })
    }

    fn place_text(&self, path: &Path, text: &str) -> Result<()> {
        let mut feed =
            |writer: &mut dyn Write| writer.write_all(text.as_bytes()).wrap(|| "cannot write the manifest");
        self.place(path, &mut feed)
    }
}

fn place_step(name: String, path: PathBuf, placing: &Placing) -> LoadStep {
    let placing = placing.clone();
    let what = format!("place {name} as {}", show_file(&path));
    let dump = Some(name.clone());
    let run = move |feed: &mut Feed<'_>| {
        let mut keeping = |output: &mut dyn Write| {
            let mut beginning = Beginning { output, bytes: Vec::new(), count: 0 };
            feed(&mut beginning)?;
            let Beginning { bytes, count, .. } = beginning;
            let mut placed = placing.placed();
            if name.ends_with(MANIFEST) {
                placed.manifest = Some(bytes);
            } else {
                let name = name.rsplit('/').next().unwrap_or_default();
                placed.add(name, &bytes, count);
            }
            Ok(())
        };
        placing.place(&path, &mut keeping)
    };
    LoadStep { what, dump, run: Box::new(run) }
}

fn manifest_step(path: PathBuf, text: String, placing: &Placing) -> LoadStep {
    let placing = placing.clone();
    let what = format!("name it in {}", show_file(&path));
    let run = move |_: &mut Feed<'_>| placing.place_text(&path, &text);
    LoadStep { what, dump: None, run: Box::new(run) }
}

/// The last step.
struct Start {
    redis: Redis,
    client: Client,
    placing: Placing,
    places: Places,
    folder: PathBuf,
    may_replace: bool,
    /// Whether it was known before what the server reads.
    is_known: bool,
}

impl Start {
    fn step(self) -> LoadStep {
        let run = move |_: &mut Feed<'_>| self.run();
        LoadStep { what: "start the Redis server".to_owned(), dump: None, run: Box::new(run) }
    }

    fn run(mut self) -> Result<()> {
        let attempt = Arc::clone(&self.placing.attempt);
        attempt.step(|| {
            self.redis.must_be_gone(&self.client)?;
            if self.redis.start_command.is_empty() {
                self.placing.listener.tell("the data are in place; the server is yours to start");
                if !self.is_known && !self.places.is_append_only {
                    let line =
                        "one with appendonly yes does not read them: name start-command and stop-command";
                    self.placing.listener.tell(line);
                }
                attempt.left_to_the_user();
                return Ok(());
            }
            let mut server = self.redis.start(&self.client)?;
            let mut told = Told::of(&self.client)?;
            if !self.places.is_append_only && told.is_append_only() == Some(true) {
                self.become_base(&server, &told)?;
                self.redis.must_be_gone(&self.client)?;
                server = self.redis.start(&self.client)?;
                told = Told::of(&self.client)?;
            }
            let back = format!("{} is back, with {} keys", server.shown(), told.keyspace.keys());
            let verdict = Verdict::of(&self.placing.placed(), self.places.is_append_only, &told);
            match verdict {
                Verdict::Proven => {
                    attempt.succeeded();
                    self.placing.listener.tell(&back);
                }
                Verdict::Unproven(why) => {
                    let line =
                        format!("{back}; whether it has read what was put in place cannot be told: {why}");
                    self.placing.listener.tell(&line);
                    attempt.left_to_the_user();
                }
                Verdict::Refuted(why) => return Err(Error::new(ErrorKind::Failed, why)),
            }
            Ok(())
        })
    }

    /// The server, of which nothing was known before, has said that it reads append-only files. It is stopped once more,
    /// and what was put in place as its RDB file becomes the first of them.
    fn become_base(&mut self, server: &Server, told: &Told) -> Result<()> {
        let attempt = &self.placing.attempt;
        let keys = told.keyspace.keys();
        if keys > 0 && !self.may_replace {
            let message = format!("the server's {keys} keys, of its append-only files, would be replaced");
            return Err(Error::new(ErrorKind::Exists, message));
        }
        let habits = Habits {
            is_append_only: Some(true),
            is_multi_part: Some(server.is_multi_part()),
            ..Habits::of(&self.client)
        };
        self.redis.stop(&self.client, || {})?;
        let [(name, was)] = self.places.files.as_slice() else { return Ok(()) };
        let was = std::fs::canonicalize(was).unwrap_or_else(|_| was.clone());
        let dump = StoredDump { name: name.clone(), size_bytes: 0, metadata: Metadata::default() };
        let places = places_of_one(&dump, &habits, &self.folder);
        if let Some(old) = &places.emptied {
            attempt.set_aside(old)?;
            attempt.places(old);
        }
        if let Some((path, text)) = &places.manifest {
            self.placing.place_text(path, text)?;
        }
        for (_, path) in &places.files {
            attempt.set_aside(path)?;
            attempt.places(path);
            std::fs::rename(&was, path)
                .wrap(|| format!("cannot move {} to {}", show_file(&was), show_file(path)))?;
            sync_folder_of(path)?;
        }
        self.places = places;
        attempt.give_back(&was)
    }
}
