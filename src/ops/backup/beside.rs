//! What stands in the root of a snapshot beside all that the root of this machine holds: the folder of dumps.
//!
//! What must hold: it is made before the root is read, and comes in the order of names; it is there once, also if the
//! root cannot be read.

use std::sync::{Mutex, PoisonError};

use crate::format::node::Node;
use crate::ops::backup::directory::Finished;

/// A node for the root, until the root takes it.
#[derive(Default)]
pub(super) struct Beside(Mutex<Option<Box<Finished>>>);

/// The same, while the entries of a directory are gone through.
pub(super) struct BesideEntries<'b> {
    beside: &'b Beside,
    node: Option<Box<Finished>>,
}

impl Beside {
    /// Has a node taken into the root.
    pub(super) fn put(&self, node: Box<Finished>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
    }

    /// The node, if it was not taken.
    pub(super) fn take(&self) -> Option<Box<Finished>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A copy of the node, which has no content of its own.
    pub(super) fn node(&self) -> Option<Node> {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        own.as_ref().map(|finished| finished.node.clone())
    }

    /// For entries of a directory so many levels below the root.
    pub(super) fn of_depth(&self, depth: usize) -> BesideEntries<'_> {
        BesideEntries { beside: self, node: if depth == 0 { self.take() } else { None } }
    }
}

impl BesideEntries<'_> {
    /// The node, if it comes before an entry of this name.
    pub(super) fn before(&mut self, name: &[u8]) -> Option<Box<Finished>> {
        self.node.take_if(|finished| finished.node.name.as_slice() < name)
    }

    /// The node, if it was not taken and no more entries come.
    pub(super) fn after(self, is_end: bool) -> Option<Box<Finished>> {
        let node = self.node?;
        if is_end {
            return Some(node);
        }
        self.beside.put(node);
        None
    }
}
