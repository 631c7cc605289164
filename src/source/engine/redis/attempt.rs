//! What an attempt to put a server's data back has changed, and how that is undone.
//!
//! What must hold: the data that were there are deleted only once the server says that it has the new ones; what an
//! earlier attempt set aside is kept; after a failure the old data are in their place and a server that ran runs again,
//! or it is said where everything is.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::place::{beside, remove, sync_folder_of};
use super::Redis;
use super::client::Client;
use crate::base::monitor::show_file;
use crate::base::{Error, Result, Wrap};

/// What ends the name of what waits for its successor to be read.
const ASIDE: &str = ".packstone-old";

/// An attempt. Dropped before its end, it is undone.
pub(super) struct Attempt {
    redis: Redis,
    /// What is undone is undone even if everything is to end.
    client: Client,
    changed: Mutex<Changed>,
}

#[derive(Default)]
struct Changed {
    /// The server ran, and was told to stop.
    was_stopped: bool,
    /// Where data were, and where they are now.
    aside: Vec<(PathBuf, PathBuf)>,
    /// Files that were put in place, and folders that were made for them.
    placed: Vec<PathBuf>,
}

impl Changed {
    fn is_nothing(&self) -> bool {
        !self.was_stopped && self.aside.is_empty() && self.placed.is_empty()
    }

    /// Where the old data are, for people.
    fn places(&self) -> String {
        let place = |(was, is): &(PathBuf, PathBuf)| {
            format!("what belongs at {} is at {}", show_file(was), show_file(is))
        };
        self.aside
            .iter()
            .filter(|(_, is)| is.symlink_metadata().is_ok())
            .map(place)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl Attempt {
    pub(super) fn new(redis: &Redis, client: &Client) -> Self {
        Self { redis: redis.clone(), client: client.for_undoing(), changed: Mutex::default() }
    }

    /// Does a step; if it fails, all that was changed is undone.
    pub(super) fn step(&self, run: impl FnOnce() -> Result<()>) -> Result<()> {
        run().map_err(|error| match self.undo() {
            None => error,
            Some(sentence) => error.while_doing(sentence),
        })
    }

    /// Notes that the server is told to stop.
    pub(super) fn is_stopping(&self) {
        self.changed().was_stopped = true;
    }

    /// Notes what is put in place.
    pub(super) fn places(&self, path: &Path) {
        self.changed().placed.push(path.to_owned());
    }

    /// Sets aside what stands at a path, if something does.
    pub(super) fn set_aside(&self, path: &Path) -> Result<()> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        let names = (1..).map(|number| match number {
            1 => beside(path, ASIDE),
            number => beside(path, &format!("{ASIDE}-{number}")),
        });
        let mut kept = Vec::new();
        for aside in names {
            if aside.symlink_metadata().is_ok() {
                kept.push(show_file(&aside));
                continue;
            }
            if !kept.is_empty() {
                let line = format!("kept, as an earlier attempt set it aside: {}", kept.join(", "));
                self.client.listener().tell(&line);
            }
            std::fs::rename(path, &aside).wrap(|| format!("cannot set aside {}", show_file(path)))?;
            self.changed().aside.push((path.to_owned(), aside));
            break;
        }
        sync_folder_of(path)
    }

    /// Puts back at once what was set aside at a path: what was put there is somewhere else now.
    pub(super) fn give_back(&self, path: &Path) -> Result<()> {
        let mut changed = self.changed();
        if let Some(index) = changed.aside.iter().position(|(was, _)| was == path) {
            let (was, aside) = changed.aside.remove(index);
            if let Err(error) = std::fs::rename(&aside, path) {
                changed.aside.push((was, aside));
                return Err(Error::system(format!("cannot put back {}", show_file(path)), error));
            }
        }
        changed.placed.retain(|placed| placed != path);
        sync_folder_of(path)
    }

    /// The server has the new data: the old ones of this attempt are of no use any more.
    pub(super) fn succeeded(&self) {
        for (_, aside) in std::mem::take(&mut *self.changed()).aside {
            let removed =
                if aside.is_dir() { std::fs::remove_dir_all(&aside) } else { std::fs::remove_file(&aside) };
            if let Err(error) = removed {
                self.client.listener().tell(&format!("cannot remove {}: {error}", show_file(&aside)));
            }
        }
    }

    /// Nobody says that the server has the new data: the old ones stay where they are now.
    pub(super) fn left_to_the_user(&self) {
        let changed = std::mem::take(&mut *self.changed());
        if !changed.aside.is_empty() {
            self.client.listener().tell(&format!("the old data are kept: {}", changed.places()));
        }
    }

    /// Puts everything back as it was, and gives what is to be said of it; `None` if nothing was changed.
    fn undo(&self) -> Option<String> {
        let changed = std::mem::take(&mut *self.changed());
        if changed.is_nothing() {
            return None;
        }
        if let Err(error) = self.put_back(&changed) {
            let (why, places) = (error.chain().join(": "), changed.places());
            if changed.aside.is_empty() && changed.placed.is_empty() {
                return Some(format!("nothing was changed, but the server was told to stop ({why})"));
            }
            return Some(format!(
                "the old data could not be put back ({why}), and the server may stand still; {places}"
            ));
        }
        // One that somebody else has started meanwhile runs with nothing, and saves that over what was put back.
        if let Err(error) = self.redis.must_be_gone(&self.client) {
            let why = error.chain().join(": ");
            return Some(format!(
                "the old data are in their place again, but it may not have read them ({why})"
            ));
        }
        if !changed.was_stopped {
            return Some("the old data are in their place again".to_owned());
        }
        Some(match self.redis.start(&self.client) {
            Ok(_) => "the old data are in their place again, and the server runs".to_owned(),
            Err(error) => {
                let why = error.chain().join(": ");
                format!("the old data are in their place again, but the server does not run ({why})")
            }
        })
    }

    fn put_back(&self, changed: &Changed) -> Result<()> {
        // It may run by now, with what was put in place; or not have stopped yet.
        self.redis.stop(&self.client, || {})?;
        self.redis.must_be_gone(&self.client)?;
        for placed in changed.placed.iter().rev() {
            match std::fs::remove_dir_all(placed) {
                Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => remove(placed)?,
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::system(format!("cannot remove {}", show_file(placed)), error));
                }
                _ => {}
            }
        }
        for (was, aside) in changed.aside.iter().rev() {
            std::fs::rename(aside, was).wrap(|| format!("cannot move {} back", show_file(aside)))?;
            sync_folder_of(was)?;
        }
        Ok(())
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(sentence) = self.undo() {
            self.client.listener().tell(&sentence);
        }
    }
}
