//! What a check finds: told at once, and kept until the files are known that it hurts.
//!
//! What must hold: everything is counted and told; what is kept of each is short, and of more than `DAMAGES_KEPT_MAX`
//! nothing is kept but their number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::monitor::show_path;
use crate::base::{Error, ErrorKind, Finding, FindingKind, Monitor, Result};
use crate::repository::ObjectCount;

/// Damages of which more is kept than their number.
pub const DAMAGES_KEPT_MAX: usize = 10_000;

/// Something of the repository that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of the object; or what is damaged, where that is no object.
    pub object: String,
    /// What is wrong, outermost first.
    pub problem: Vec<String>,
}

/// Takes what is found.
pub(crate) struct Findings<'m> {
    monitor: &'m dyn Monitor,
    inner: Mutex<Inner>,
}

impl std::fmt::Debug for Findings<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Findings").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Inner {
    kept: Vec<Damage>,
    damaged: u64,
    unreadable: u64,
    /// Objects that were told, so that a second look at them tells nothing.
    told: BTreeSet<String>,
    /// What is no object of a repository, and its sizes in bytes.
    foreign: BTreeMap<String, u64>,
}

impl<'m> Findings<'m> {
    pub(crate) fn new(monitor: &'m dyn Monitor) -> Self {
        Self { monitor, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn monitor(&self) -> &'m dyn Monitor {
        self.monitor
    }

    /// Fails if the user or the system asked to stop.
    pub(crate) fn go_on(&self) -> Result<()> {
        match self.monitor.cancelled() {
            true => Err(Error::new(ErrorKind::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }

    /// Tells what is wrong with an object. Gives the number of the damage if it is one that is kept; what could not be
    /// read for another reason is none.
    pub(crate) fn tell(&self, object: &str, error: &Error) -> Option<u32> {
        let is_damage = matches!(error.kind(), ErrorKind::Damaged | ErrorKind::NotFound);
        let mut problem = error.chain();
        if problem.len() > 1
            && problem.first().is_some_and(|first| *first == format!("cannot use object {object}"))
        {
            problem.remove(0);
        }
        let message = problem.join(": ");
        let number = {
            let mut inner = self.inner();
            if inner.told.contains(object) {
                return None;
            }
            if inner.told.len() < DAMAGES_KEPT_MAX {
                inner.told.insert(object.to_owned());
            }
            if is_damage {
                inner.keep(Damage { object: object.to_owned(), problem })
            } else {
                inner.unreadable += 1;
                None
            }
        };
        let kind = if is_damage { FindingKind::Damaged } else { FindingKind::Unreadable };
        self.monitor.finding(&Finding { kind, path: object.as_bytes().to_vec(), message });
        number
    }

    /// Takes something that is no object of a repository; nothing reads it.
    pub(crate) fn foreign(&self, name: &str, size_bytes: u64) {
        let is_new = {
            let mut inner = self.inner();
            inner.foreign.len() < DAMAGES_KEPT_MAX
                && inner.foreign.insert(name.to_owned(), size_bytes).is_none()
        };
        if is_new {
            self.monitor.note(&format!("{} is no object of a repository", show_path(name.as_bytes())));
        }
    }

    /// What is no object of a repository.
    pub(crate) fn foreign_count(&self) -> ObjectCount {
        let inner = self.inner();
        let size_bytes =
            inner.foreign.values().fold(0_u64, |sum, size_bytes| sum.saturating_add(*size_bytes));
        ObjectCount { count: inner.foreign.len() as u64, size_bytes }
    }

    /// How many objects are damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.inner().damaged
    }

    /// How many objects could not be read or judged for another reason than damage.
    pub(crate) fn unreadable(&self) -> u64 {
        self.inner().unreadable
    }

    /// The damages that were kept, by their numbers.
    pub(crate) fn kept(&self) -> Vec<Damage> {
        self.inner().kept.clone()
    }
}

impl Inner {
    fn keep(&mut self, damage: Damage) -> Option<u32> {
        self.damaged += 1;
        if self.kept.len() >= DAMAGES_KEPT_MAX {
            return None;
        }
        self.kept.push(damage);
        u32::try_from(self.kept.len() - 1).ok()
    }
}
