//! The thread that has one wave written while the next one is planned.
//!
//! What must hold: one wave is written at a time; what became of it, an error as well, goes to whoever asks for the end,
//! once; whoever stops asking leaves no wave half written: the thread ends behind the wave that it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use crate::base::{Error, ErrorKind, Result};
use crate::ops::restore::Context;
use crate::ops::restore::wave::{Wave, Written};

/// Where waves go, and where it is told what became of them.
#[derive(Debug)]
pub(super) struct Writing {
    waves: SyncSender<Wave>,
    ends: Receiver<Result<Written>>,
    is_busy: Arc<AtomicBool>,
}

impl Writing {
    /// Starts the thread, which ends when this is dropped.
    pub(super) fn start<'s, 'r: 's>(scope: &'s Scope<'s, '_>, context: &'r Context<'r>) -> Result<Self> {
        let (waves, begun) = sync_channel::<Wave>(1);
        let (ended, ends) = sync_channel(1);
        let is_busy = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&is_busy);
        let work = move || {
            while let Ok(wave) = begun.recv() {
                let written = wave.write(context);
                busy.store(false, Ordering::Relaxed);
                if ended.send(written).is_err() {
                    return;
                }
            }
        };
        let started = Builder::new().name("restore-wave".into()).spawn_scoped(scope, work);
        started.map_err(|cause| Error::caused(ErrorKind::Failed, "cannot start a thread", cause))?;
        Ok(Self { waves, ends, is_busy })
    }

    /// Begins to write a wave, after the end of the one before was asked for.
    pub(super) fn begin(&self, wave: Wave) -> Result<()> {
        self.is_busy.store(true, Ordering::Relaxed);
        self.waves.send(wave).map_err(|_| gone())
    }

    /// Whether nothing is being written at the moment.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_busy.load(Ordering::Relaxed)
    }

    /// Waits until the wave is written that was begun.
    pub(super) fn end(&self) -> Result<Written> {
        self.ends.recv().unwrap_or_else(|_| Err(gone()))
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Failed, "the thread that writes has ended")
}
