//! A container that is paused for a while.
//!
//! What must hold: it goes on, however that while ends; only what was paused here is told to go on.

use super::super::{Container, Listener};
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::source::program::Program;

/// A container that stands still; dropped, it goes on.
pub(super) struct Paused {
    container: Container,
    listener: Listener,
    is_paused: bool,
}

impl Paused {
    /// An error if a container is paused already.
    pub(super) fn refuse_paused(container: &Container, listener: &Listener) -> Result<()> {
        let what = || format!("cannot pause the container {}", container.name);
        let asked = command(container, &["inspect", "--format", "{{.State.Paused}}"], listener)
            .capture_text()
            .wrap(what)?;
        if asked.trim() == "true" {
            // Of a run that was killed, or of somebody who wants it so: nobody but the user can tell.
            let message = format!(
                "the container {0} is paused already; let it go on ({1} unpause {0}) unless it is meant to stand still",
                container.name, container.program
            );
            return Err(Error::new(ErrorKind::Fenced, message));
        }
        Ok(())
    }

    /// Pauses a container that runs.
    pub(super) fn pause(container: &Container, listener: &Listener) -> Result<Self> {
        let what = || format!("cannot pause the container {}", container.name);
        // If pausing breaks off in the middle, it may be paused nonetheless.
        let paused = Self { container: container.clone(), listener: listener.clone(), is_paused: true };
        command(container, &["pause"], listener).run().wrap(what)?;
        listener.tell(&format!("the container {} is paused", container.name));
        Ok(paused)
    }

    /// Lets it go on; an error if that cannot be.
    pub(super) fn go_on(mut self) -> Result<()> {
        self.unpause()
    }

    fn unpause(&mut self) -> Result<()> {
        self.is_paused = false;
        let what = || format!("the container {} is still paused", self.container.name);
        command(&self.container, &["unpause"], &self.listener.for_undoing()).run().wrap(what)?;
        self.listener.tell(&format!("the container {} goes on", self.container.name));
        Ok(())
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        if self.is_paused
            && let Err(error) = self.unpause()
        {
            self.listener.tell(&error.chain().join(": "));
        }
    }
}

fn command(container: &Container, words: &[&str], listener: &Listener) -> Program {
    Program::of_command(&container.program, None, None, listener).arguments(words).argument(&container.name)
}
