//! A server's data put back: the server is stopped, its files are replaced, it is started, and says what it has.
//!
//! What must hold: no file is replaced while the server runs, for it would write its own over them; what it would not
//! read is not taken for put back; that it is back is said by the server itself; until then the old data are kept.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::place::{Beside, describe, set};
use super::super::rdb::Beginning;
use super::super::{Feed, Listener, LoadOptions, LoadPlan, LoadStep, StoredDump};
use super::append_only::MANIFEST;
use super::attempt::Attempt;
use super::client::Client;
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
    is_multi_part: bool,
    append_folder: Option<String>,
    append_file: Option<String>,
    keys: Option<u64>,
}

impl Habits {
    fn of(client: &Client) -> Self {
        let Ok(server) = client.server() else { return Self::default() };
        Self {
            rdb_name: client.configuration("dbfilename").ok(),
            is_append_only: client.configuration("appendonly").ok().map(|is| is == "yes"),
            is_multi_part: server.is_multi_part(),
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
    let folder = redis.files_folder(&client).map_err(|error| match error.kind() {
        ErrorKind::Usage => error,
        _ => error.while_doing("the server does not say where its data are: its folder must be named"),
    })?;
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
    let is_replacing = !plan.replaced.is_empty();
    let attempt = Arc::new(Attempt::new(redis, &client));
    plan.steps.push(stop_step(redis, &client, &attempt, options.may_replace || !is_replacing));
    if let Some(old) = places.emptied {
        plan.steps.push(empty_step(old, &attempt));
    }
    let placing = Placing { like: Arc::new(Like::of(&folder)), attempt, listener: listener.clone() };
    let has_keys = Arc::new(AtomicBool::new(false));
    for (name, path) in places.files {
        plan.steps.push(place_step(name, path, &placing, &has_keys));
    }
    if let Some((path, text)) = places.manifest {
        plan.steps.push(manifest_step(path, text, &placing));
    }
    let expected = Expected { is_append_only: places.is_append_only, has_keys };
    plan.steps.push(start_step(redis, client, expected, placing));
    Ok(plan)
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
    let file = habits.append_file.clone().unwrap_or_else(|| APPEND_FILE.to_owned());
    let below = habits.append_folder.clone().unwrap_or_else(|| APPEND_FOLDER.to_owned());
    if let [dump] = stored
        && dump.name == RDB
    {
        let rdb = folder.join(habits.rdb_name.as_deref().unwrap_or(RDB));
        let name = dump.name.clone();
        // What a server with append-only files reads first is such a file, too.
        let (path, emptied, manifest) = match (habits.is_append_only, habits.is_multi_part) {
            (Some(true), true) => {
                let inside = folder.join(&below);
                let base = format!("{file}.1.base.rdb");
                let text = format!("file {base} seq 1 type b\n");
                (
                    inside.join(base),
                    Some(inside.clone()),
                    Some((inside.join(format!("{file}{MANIFEST}")), text)),
                )
            }
            (Some(true), false) => (folder.join(&file), None, None),
            _ => (rdb, None, None),
        };
        let is_append_only = habits.is_append_only == Some(true);
        return Ok(Places { files: vec![(name, path)], emptied, manifest, is_append_only });
    }
    if habits.is_append_only == Some(false) {
        let message =
            "what is stored are append-only files, which this server does not read (appendonly is no)";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
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

/// What the server must have read once it is back.
struct Expected {
    is_append_only: bool,
    /// Whether what was placed holds something.
    has_keys: Arc<AtomicBool>,
}

impl Expected {
    fn check(&self, client: &Client, keys: u64) -> Result<()> {
        let reads = client.configuration("appendonly").ok();
        let message = match (self.is_append_only, reads.as_deref()) {
            (false, Some("yes")) => {
                "the server reads append-only files, and has not read the RDB file that was put in place; \
                 now that it answers and this is known, restore it once more"
            }
            (true, Some("no")) => {
                "the server has not read the append-only files that were put in place (appendonly is no): set \
                 appendonly yes in its file of configuration, and restore it once more"
            }
            _ if keys == 0 && self.has_keys.load(Ordering::Acquire) => {
                "the server is back without any key, and what was put in place holds some: it reads other files, or \
                 all of them have expired or were deleted"
            }
            _ => return Ok(()),
        };
        Err(Error::new(ErrorKind::Failed, message))
    }
}

/// Passes on what is placed, and keeps its beginning.
struct Start<'w> {
    output: &'w mut dyn Write,
    bytes: Vec<u8>,
}

impl Write for Start<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        const KEPT_BYTES_MAX: usize = 4 << 10;
        let count = self.output.write(bytes)?;
        let room = KEPT_BYTES_MAX.saturating_sub(self.bytes.len()).min(count);
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
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
}

impl Placing {
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
}

fn place_step(name: String, path: PathBuf, placing: &Placing, has_keys: &Arc<AtomicBool>) -> LoadStep {
    let (placing, has_keys) = (placing.clone(), Arc::clone(has_keys));
    let is_manifest = name.ends_with(MANIFEST);
    let what = format!("place {name} as {}", show_file(&path));
    let run = move |feed: &mut Feed<'_>| {
        let mut keeping = |output: &mut dyn Write| {
            let mut start = Start { output, bytes: Vec::new() };
            feed(&mut start)?;
            let is_rdb = ["REDIS", "VALKEY"].iter().any(|word| start.bytes.starts_with(word.as_bytes()));
            // A file of changes is empty until there are some.
            let holds = if is_rdb { Beginning::of(&start.bytes).has_keys } else { !start.bytes.is_empty() };
            has_keys.fetch_or(holds && !is_manifest, Ordering::AcqRel);
            Ok(())
        };
        placing.place(&path, &mut keeping)
    };
    LoadStep { what, dump: Some(name), run: Box::new(run) }
}

fn manifest_step(path: PathBuf, text: String, placing: &Placing) -> LoadStep {
    let placing = placing.clone();
    let what = format!("name it in {}", show_file(&path));
    let run = move |_: &mut Feed<'_>| {
        let mut feed = |writer: &mut dyn std::io::Write| {
            writer.write_all(text.as_bytes()).wrap(|| "cannot write the manifest")
        };
        placing.place(&path, &mut feed)
    };
    LoadStep { what, dump: None, run: Box::new(run) }
}

fn start_step(redis: &Redis, client: Client, expected: Expected, placing: Placing) -> LoadStep {
    let redis = redis.clone();
    let run = move |_: &mut Feed<'_>| {
        let Placing { attempt, listener, .. } = placing;
        if redis.start_command.is_empty() {
            listener.tell("the data are in place; the server is yours to start");
            attempt.left_to_the_user();
            return Ok(());
        }
        attempt.step(|| {
            let server = redis.start(&client)?;
            let keys = client.keys()?;
            expected.check(&client, keys)?;
            attempt.succeeded();
            listener.tell(&format!("{} is back, with {} keys", server.shown(), keys));
            Ok(())
        })
    };
    LoadStep { what: "start the Redis server".to_owned(), dump: None, run: Box::new(run) }
}
