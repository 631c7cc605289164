//! A save of the server's, awaited by what it says of it.
//!
//! What must hold: the file that is read is the one that this server saved after the dump began, and no other's; a save
//! that failed is told as the server's error.

use std::io::{Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::OpenDump;
use super::super::later::{Reader, later};
use super::super::rdb::Beginning;
use super::client::Client;
use super::waiting::{Patience, poll};
use super::{FAILED, RDB};
use crate::base::monitor::show_file;
use crate::base::size::show;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::NotEmpty;

/// As often it is asked whether a save has begun that was only scheduled.
const BEGIN_QUESTIONS_MAX: u32 = 60;
/// What is to be done about a file of another server.
const FOREIGN: &str = "folder must be the data folder of this server, as this machine sees it";
/// So much of a file says when it was saved.
const BEGINNING_BYTES: u64 = 4 << 10;

/// The file that the server saves once the first byte is asked for, from its folder as this machine sees it, or from the
/// container of the client.
pub(super) fn open(client: Client, folder: Option<PathBuf>) -> OpenDump {
    later(FAILED, move |stop| {
        let save = Save { client: &client, folder: folder.as_deref(), stop };
        let path = save.path()?;
        let before = folder.as_ref().and_then(|_| which(&path));
        let begun = save.run()?;
        save.read(&path, before, begun)
    })
}

struct Save<'s> {
    client: &'s Client,
    folder: Option<&'s Path>,
    stop: &'s AtomicBool,
}

impl Save<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire) || self.client.is_over()
    }

    /// Has the server save, and waits until it has; gives the second, by its clock, before the save began.
    fn run(&self) -> Result<u64> {
        let client = self.client;
        self.idle()?;
        let last = client.number(&["LASTSAVE"])?;
        let is_over = || self.is_over();
        // It counts seconds: a save of the same second could not be told.
        let begun = poll(&is_over, u32::MAX, || {
            let now = client.number(&["TIME"])?;
            Ok((now > last).then_some(now))
        })?;
        let is_begun = self.begin()?;
        let mut waiting = BEGIN_QUESTIONS_MAX;
        let mut patience = Patience::new();
        poll(&is_over, u32::MAX, || {
            if client.number(&["LASTSAVE"])? != last {
                return Ok(Some(()));
            }
            let told = client.information("persistence")?;
            if told.is("rdb_bgsave_in_progress", "1") || told.is("aof_rewrite_in_progress", "1") {
                patience.see(&told)?;
                return Ok(None);
            }
            // It can have ended between the two questions.
            if client.number(&["LASTSAVE"])? != last {
                return Ok(Some(()));
            }
            waiting = waiting.saturating_sub(1);
            if told.is("rdb_last_bgsave_status", "err") && is_begun || waiting == 0 {
                return Err(self.failed("the server could not save its data on its disk"));
            }
            Ok(None)
        })?;
        if client.information("persistence")?.is("rdb_last_bgsave_status", "ok") {
            return Ok(begun.unwrap_or(last));
        }
        Err(self.failed("the server says that its last save failed"))
    }

    /// Waits for a save that runs already: it began before this dump.
    fn idle(&self) -> Result<()> {
        let mut patience = Patience::new();
        let idle = poll(&|| self.is_over(), u32::MAX, || {
            let told = self.client.information("persistence")?;
            patience.see(&told)?;
            Ok((!told.is("rdb_bgsave_in_progress", "1")).then_some(()))
        });
        idle.map(drop).wrap(|| "a save that was running already does not end")
    }

    /// Begins a save; true if it runs, false if it will when something else of the server's has ended.
    fn begin(&self) -> Result<bool> {
        let begun = poll(&|| self.is_over(), BEGIN_QUESTIONS_MAX, || {
            match self.client.ask(&["BGSAVE", "SCHEDULE"]) {
                Ok(answer) => Ok(Some(answer.contains("started"))),
                Err(error) if error.chain().iter().any(|line| line.contains("in progress")) => Ok(None),
                Err(error) => Err(error),
            }
        });
        begun?.ok_or_else(|| Error::new(ErrorKind::Failed, "the server is saving all the time"))
    }

    /// What may be wrong if a save fails: of the server's log nothing can be asked.
    fn failed(&self, what: &str) -> Error {
        let free = self.folder.and_then(|folder| rustix::fs::statvfs(folder).ok());
        let free =
            free.map(|free| format!(" ({} are free)", show(free.f_bavail.saturating_mul(free.f_frsize))));
        let why = format!(
            "its log says why: no room on the disk of its folder{}, no right to write there, or no memory for the \
             process that saves",
            free.unwrap_or_default()
        );
        Error::new(ErrorKind::Failed, why).while_doing(what)
    }

    /// Where the file is, as this machine sees it, or in the container.
    fn path(&self) -> Result<PathBuf> {
        let client = self.client;
        // A user who may not ask has to have the usual name.
        let name = client.configuration("dbfilename").unwrap_or_else(|_| RDB.to_owned());
        let folder = self.folder.map_or_else(|| client.folder(), |folder| Ok(folder.to_owned()))?;
        Ok(folder.join(name))
    }

    /// Reads the file.
    fn read(&self, path: &Path, before: Option<Which>, begun: u64) -> Result<Reader> {
        let client = self.client;
        let mut reader: Reader = match client.in_container("cat").filter(|_| self.folder.is_none()) {
            Some(program) => {
                let OpenDump { reader, end, .. } = program.argument(path).open(FAILED, NotEmpty)?;
                Box::new(Ending { reader, end: Some(end) })
            }
            None => {
                let file = std::fs::File::open(path);
                Box::new(file.wrap(|| format!("cannot open {}, which the server saved", show_file(path)))?)
            }
        };
        if before.is_some() && before == which(path) {
            let message = format!("{} is as it was before the server saved: {FOREIGN}", show_file(path));
            return Err(Error::new(ErrorKind::Failed, message));
        }
        let mut beginning = Vec::new();
        let read = (&mut reader).take(BEGINNING_BYTES).read_to_end(&mut beginning);
        read.wrap(|| format!("cannot read {}", show_file(path)))?;
        let saved_at = Beginning::of(&beginning).saved_at();
        must_be_within(saved_at, begun, client.number(&["TIME"])?).wrap(|| show_file(path))?;
        Ok(Box::new(Cursor::new(beginning).chain(reader)))
    }
}

/// Which file stands at a path: a save makes a new one.
#[derive(Debug, PartialEq, Eq)]
struct Which {
    inode: u64,
    changed: (i64, i64),
}

fn which(path: &Path) -> Option<Which> {
    let stat = std::fs::metadata(path).ok()?;
    Some(Which { inode: stat.ino(), changed: (stat.ctime(), stat.ctime_nsec()) })
}

/// An error unless a file says that it was saved in these seconds of the server's clock.
fn must_be_within(saved_at: Option<u64>, begun: u64, now: u64) -> Result<()> {
    let Some(saved_at) = saved_at else {
        let message =
            "the file does not say when it was saved; it is no RDB file, or of a server before version 3.2";
        return Err(Error::new(ErrorKind::Failed, message));
    };
    if (begun..=now).contains(&saved_at) {
        return Ok(());
    }
    let show = |second: u64| {
        let time = i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        time.map(|time| time.to_string()).unwrap_or_default()
    };
    let message = format!(
        "this is not the file that the server has just saved: its save began at {}, and the server was asked at {}; \
         {FOREIGN}",
        show(saved_at),
        show(begun)
    );
    Err(Error::new(ErrorKind::Failed, message))
}

/// Reads what a program writes, and asks at the end whether it succeeded.
struct Ending {
    reader: Reader,
    end: Option<Box<dyn FnOnce() -> Result<()> + Send>>,
}

impl Read for Ending {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_saved_since_is_taken() {
        for (saved_at, is_good) in
            [(Some(99), false), (Some(100), true), (Some(103), true), (Some(104), false)]
        {
            assert_eq!(must_be_within(saved_at, 100, 103).is_ok(), is_good, "{saved_at:?}");
        }
        must_be_within(None, 100, 103).expect_err("no date");
    }
}
