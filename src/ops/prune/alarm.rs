//! What somebody should agree to before packs go: a stolen client can forget, and a prune would make that final.
//!
//! What must hold: only snapshots whose chunks may still be there count; what this machine forgot itself, and what was
//! replaced by a snapshot that is there, needs no second word.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::SessionId;
use crate::repository::{GroupKey, Grouping, View};

/// A group that lost much since packs went last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The group: host, job, paths.
    pub group: GroupKey,
    /// How many of its snapshots were forgotten elsewhere.
    pub forgotten: usize,
    /// How many are left.
    pub left: usize,
    /// Its newest is among those that were forgotten.
    pub has_lost_newest: bool,
}

/// The groups of which the newest snapshot, or more than half, was forgotten elsewhere since packs went last.
pub fn alarms(view: &View) -> Vec<Alarm> {
    let visible: BTreeSet<SessionId> = view.snapshots.iter().map(|entry| entry.id).collect();
    // Of each group: how many were forgotten and are left, and the newest of each.
    let mut groups: BTreeMap<GroupKey, [(usize, u64); 2]> = BTreeMap::new();
    let forgotten = view.forgotten.iter().filter(|forgotten| {
        !forgotten.is_own && forgotten.replaced_by.is_none_or(|by| !visible.contains(&by))
    });
    let forgotten = forgotten.filter_map(|forgotten| forgotten.entry.as_ref()).map(|entry| (0, entry));
    for (which, entry) in forgotten.chain(view.snapshots.iter().map(|entry| (1, entry))) {
        let counts = groups.entry(Grouping::HISTORY.key_of(&entry.snapshot)).or_default();
        if let Some((count, newest)) = counts.get_mut(which) {
            *count += 1;
            *newest = entry.snapshot.sequence.max(*newest);
        }
    }
    let alarms = groups.into_iter().map(|(group, [(forgotten, newest), (left, newest_left)])| Alarm {
        group,
        forgotten,
        left,
        has_lost_newest: newest > newest_left,
    });
    alarms
        .filter(|alarm| alarm.forgotten > 0 && (alarm.has_lost_newest || alarm.forgotten > alarm.left))
        .collect()
}
