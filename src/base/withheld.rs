//! Variables of this process that hold secrets and that no other program is given, because somebody said so: the list is
//! the process's, as its environment is.
//!
//! What must hold: what was named once is withheld until the process ends; names are kept here, never values.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

static NAMES: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Withholds variables of these names from every program that is started from now on.
pub fn withhold(names: impl IntoIterator<Item = String>) {
    NAMES.write().unwrap_or_else(PoisonError::into_inner).extend(names);
}

/// The names of variables that are withheld.
pub fn names() -> Vec<String> {
    NAMES.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}
