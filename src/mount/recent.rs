//! What was used last, up to so many bytes.
//!
//! What must hold: what is kept stays within the bound, but for the newest piece alone; the piece that was not asked for
//! for the longest time goes first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
struct Kept<V> {
    value: V,
    bytes: usize,
    used: u64,
}

/// Pieces by their names.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    pieces: HashMap<K, Kept<V>>,
    order: BTreeMap<u64, K>,
    bytes: usize,
    bytes_max: usize,
    uses: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// Nothing, up to so many bytes.
    pub(super) fn up_to(bytes_max: usize) -> Self {
        Self { pieces: HashMap::new(), order: BTreeMap::new(), bytes: 0, bytes_max, uses: 0 }
    }

    /// A piece that is kept, which counts as used.
    pub(super) fn get(&mut self, name: &K) -> Option<V> {
        let kept = self.pieces.get_mut(name)?;
        self.order.remove(&kept.used);
        self.uses += 1;
        kept.used = self.uses;
        self.order.insert(self.uses, name.clone());
        Some(kept.value.clone())
    }

    /// Keeps a piece of so many bytes in the place of one with the same name.
    pub(super) fn put(&mut self, name: K, value: V, bytes: usize) {
        self.uses += 1;
        self.order.insert(self.uses, name.clone());
        self.bytes += bytes;
        if let Some(before) = self.pieces.insert(name, Kept { value, bytes, used: self.uses }) {
            self.order.remove(&before.used);
            self.bytes -= before.bytes;
        }
        while self.bytes > self.bytes_max && self.order.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.bytes -= self.pieces.remove(&oldest).map_or(0, |kept| kept.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_goes_first_and_the_bound_holds() {
        let mut recent = Recent::up_to(10);
        for (name, bytes) in [("a", 4), ("b", 4), ("c", 2)] {
            recent.put(name, bytes, bytes);
        }
        assert_eq!(recent.get(&"a"), Some(4));
        recent.put("d", 3, 3);
        assert_eq!((recent.get(&"a"), recent.get(&"b")), (Some(4), None));
        assert_eq!((recent.get(&"c"), recent.get(&"d")), (Some(2), Some(3)));
        recent.put("d", 4, 4);
        assert_eq!(recent.bytes, 10);
        recent.put("large", 99, 99);
        assert_eq!((recent.get(&"large"), recent.pieces.len(), recent.order.len()), (Some(99), 1, 1));
        recent.put("small", 1, 1);
        assert_eq!((recent.get(&"large"), recent.bytes), (None, 1));
    }
}
