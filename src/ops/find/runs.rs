//! Sets of snapshots, by their positions in a list that is ordered by time.
//!
//! What must hold: snapshots that follow each other take the room of one, so that what stays as it is costs nothing more.

/// A set of positions, in runs of neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<(u32, u32)>);

impl Runs {
    /// Adds a position that is not before the last one.
    pub(super) fn add(&mut self, position: u32) {
        match self.0.last_mut() {
            Some((_, last)) if *last >= position => {}
            Some((_, last)) if *last + 1 == position => *last = position,
            _ => self.0.push((position, position)),
        }
    }

    /// Adds all of another set; `settle` must follow before anything else is asked.
    pub(super) fn append(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// Puts what was appended in order.
    pub(super) fn settle(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, before| {
            let joins = next.0 <= before.1.saturating_add(1);
            if joins {
                before.1 = before.1.max(next.1);
            }
            joins
        });
        self.0.shrink_to_fit();
    }

    /// The positions, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.0.iter().flat_map(|(first, last)| *first as usize..=*last as usize)
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The first and the last; nothing of an empty set.
    pub fn ends(&self) -> Option<(usize, usize)> {
        Some((self.0.first()?.0 as usize, self.0.last()?.1 as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(positions: &[u32]) -> Runs {
        let mut runs = Runs::default();
        positions.iter().for_each(|position| runs.add(*position));
        runs
    }

    #[test]
    fn neighbours_are_one_run() {
        let set = runs(&[1, 2, 2, 3, 7, 9, 10]);
        assert_eq!(set.0, [(1, 3), (7, 7), (9, 10)]);
        assert_eq!((set.count(), set.ends()), (6, Some((1, 10))));
        assert_eq!(set.iter().collect::<Vec<_>>(), [1, 2, 3, 7, 9, 10]);
        assert_eq!((runs(&[]).count(), runs(&[]).ends()), (0, None));
    }

    #[test]
    fn sets_are_put_together_in_any_order() {
        let mut set = runs(&[5, 6]);
        for other in [&[1_u32, 2][..], &[9], &[3, 4], &[2, 3], &[]] {
            set.append(&runs(other));
        }
        set.settle();
        assert_eq!(set.0, [(1, 6), (9, 9)]);
    }
}
