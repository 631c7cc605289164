//! A save of the server's, awaited by what it says of it.
//!
//! What must hold: the file that is read was saved after the dump began; a save that failed is told as the server's error.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::OpenDump;
use super::super::later::{Reader, later, stopped};
use super::client::Client;
use super::{FAILED, RDB};
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::NotEmpty;

/// Pauses between two questions; they grow.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// As often it is asked whether a save has begun that was only scheduled.
const BEGIN_QUESTIONS_MAX: u32 = 60;

/// Asks again and again, with growing pauses, until something is so.
pub(super) fn poll<T>(
    stop: &AtomicBool,
    mut questions: u32,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some(found) = ask()? {
            return Ok(Some(found));
        }
        questions = questions.saturating_sub(1);
        if questions == 0 {
            return Ok(None);
        }
        if stop.load(Ordering::Acquire) {
            return Err(stopped());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The file that the server saves once the first byte is asked for.
pub(super) fn open(client: Client, folder: Option<String>) -> OpenDump {
    later(FAILED, move |stop| {
        save(&client, stop)?;
        read(&client, folder.as_deref())
    })
}

/// Has the server save, and waits until it has.
fn save(client: &Client, stop: &AtomicBool) -> Result<()> {
    idle(client, stop)?;
    let last = client.number(&["LASTSAVE"])?;
    // It counts seconds: a save of the same second could not be told.
    poll(stop, u32::MAX, || Ok((client.number(&["TIME"])? > last).then_some(())))?;
    let is_begun = begin(client, stop)?;
    let mut waiting = BEGIN_QUESTIONS_MAX;
    poll(stop, u32::MAX, || {
        if client.number(&["LASTSAVE"])? != last {
            return Ok(Some(()));
        }
        let told = client.information("persistence")?;
        if told.is("rdb_bgsave_in_progress", "1") || told.is("aof_rewrite_in_progress", "1") {
            return Ok(None);
        }
        // It can have ended between the two questions.
        if client.number(&["LASTSAVE"])? != last {
            return Ok(Some(()));
        }
        waiting = waiting.saturating_sub(1);
        if told.is("rdb_last_bgsave_status", "err") && is_begun || waiting == 0 {
            let message = "the server could not save its data on its disk (its log says why)";
            return Err(Error::new(ErrorKind::Failed, message));
        }
        Ok(None)
    })?;
    if client.information("persistence")?.is("rdb_last_bgsave_status", "ok") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Failed, "the server says that its last save failed"))
}

/// Waits for a save that runs already: it began before this dump.
fn idle(client: &Client, stop: &AtomicBool) -> Result<()> {
    poll(stop, u32::MAX, || {
        let told = client.information("persistence")?;
        Ok((!told.is("rdb_bgsave_in_progress", "1")).then_some(()))
    })
    .map(drop)
}

/// Begins a save; true if it runs, false if it will when something else of the server's has ended.
fn begin(client: &Client, stop: &AtomicBool) -> Result<bool> {
    let begun = poll(stop, BEGIN_QUESTIONS_MAX, || match client.ask(&["BGSAVE", "SCHEDULE"]) {
        Ok(answer) => Ok(Some(answer.contains("started"))),
        Err(error) if error.chain().iter().any(|line| line.contains("in progress")) => Ok(None),
        Err(error) => Err(error),
    });
    begun?.ok_or_else(|| Error::new(ErrorKind::Failed, "the server is saving all the time"))
}

/// Reads the file, as this machine sees it, or in the container.
fn read(client: &Client, folder: Option<&str>) -> Result<Reader> {
    // A user who may not ask has to have the usual name.
    let name = client.configuration("dbfilename").unwrap_or_else(|_| RDB.to_owned());
    if let Some(program) = folder.is_none().then(|| client.in_container("cat")).flatten() {
        let path = client.folder()?.join(name);
        let OpenDump { reader, end, .. } = program.argument(&path).open(FAILED, NotEmpty)?;
        return Ok(Box::new(Ending { reader, end: Some(end) }));
    }
    let folder = folder.map_or_else(|| client.folder(), |folder| Ok(folder.into()))?;
    let path = folder.join(name);
    let file = std::fs::File::open(&path).wrap(|| format!("cannot open {}", show_file(Path::new(&path))))?;
    Ok(Box::new(file))
}

/// Reads what a program writes, and asks at the end whether it succeeded.
struct Ending {
    reader: Reader,
    end: Option<Box<dyn FnOnce() -> Result<()> + Send>>,
}

impl std::io::Read for Ending {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(end) = self.end.take()
        {
            end().map_err(|error| std::io::Error::other(error.chain().join(": ")))?;
        }
        Ok(count)
    }
}
