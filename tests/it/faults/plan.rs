//! Which calls go wrong, and how.

use std::sync::{Mutex, PoisonError};

use crate::storage::{Call, Deed, Director, Kept};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An error, and nothing is done.
    Before,
    /// It is done, and an error.
    After,
    /// It breaks in the middle.
    Torn,
    /// A put or a delete arrives a second time later.
    Duplicate,
    /// An error, but a put or a delete arrives later.
    Delayed,
    /// The process ends here.
    Crash,
    /// The machine loses its power here.
    PowerLoss,
}

/// A fault at one call, or from one call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How it goes wrong.
    pub kind: Kind,
    /// The number of the call.
    pub at: usize,
    /// All later calls of the same sort go wrong as well. A crash and a loss of power are for ever in any case; of these
    /// it says that the call at which the crash comes is still done, and that the last thing before the power went is
    /// there, though not what was done before it.
    pub for_ever: bool,
    /// After how many further calls something late arrives.
    pub after: u64,
}

/// Brings a fault about.
#[derive(Debug)]
pub struct Plan {
    fault: Fault,
    hit: Mutex<Option<Call>>,
}

impl Plan {
    /// A plan for one handle.
    pub fn new(fault: Fault) -> Self {
        Self { fault, hit: Mutex::new(None) }
    }

    /// What a loss of power keeps.
    pub const fn kept(&self) -> Kept {
        if self.fault.for_ever { Kept::Last } else { Kept::Nothing }
    }

    /// The first call that went wrong, if it came to that.
    pub fn hit(&self) -> Option<Call> {
        self.hit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Director for Plan {
    fn decide(&self, call: &Call) -> Deed {
        let Fault { kind, at, for_ever, after } = self.fault;
        let mut hit = self.hit.lock().unwrap_or_else(PoisonError::into_inner);
        if call.number == at {
            *hit = Some(call.clone());
        }
        let is_later = |hit: &Call| call.number > at && hit.sort == call.sort;
        let is_hit = call.number == at || (for_ever && hit.as_ref().is_some_and(is_later));
        match kind {
            _ if !is_hit => Deed::Do,
            Kind::Before => Deed::FailBefore,
            Kind::After => Deed::FailAfter,
            Kind::Torn => Deed::Torn,
            Kind::Duplicate => Deed::Twice(after),
            Kind::Delayed => Deed::Late(after),
            Kind::Crash => Deed::Die { done: for_ever },
            Kind::PowerLoss => Deed::LosePower(self.kept()),
        }
    }
}
