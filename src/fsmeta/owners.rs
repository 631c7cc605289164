//! Names of owners and groups by number, and numbers by name, asked of the system once each.
//!
//! What must hold: what the system does not know stays as it is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;

use smol_str::SmolStr;

use crate::format::node::Metadata;

/// Remembers the names that the system gave.
#[derive(Debug, Default)]
pub struct Owners {
    users: Mutex<HashMap<u32, Option<SmolStr>>>,
    groups: Mutex<HashMap<u32, Option<SmolStr>>>,
}

impl Owners {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a user; `None` if the number has none, or one that is not UTF-8.
    pub fn user(&self, uid: u32) -> Option<SmolStr> {
        remembered(&self.users, uid, |uid| {
            uzers::get_user_by_uid(*uid).and_then(|user| user.name().to_str().map(SmolStr::new))
        })
    }

    /// The name of a group; `None` if the number has none, or one that is not UTF-8.
    pub fn group(&self, gid: u32) -> Option<SmolStr> {
        remembered(&self.groups, gid, |gid| {
            uzers::get_group_by_gid(*gid).and_then(|group| group.name().to_str().map(SmolStr::new))
        })
    }
}

/// Remembers the numbers that the system gave for names.
#[derive(Debug, Default)]
pub struct LocalIds {
    users: Mutex<HashMap<SmolStr, Option<u32>>>,
    groups: Mutex<HashMap<SmolStr, Option<u32>>>,
}

impl LocalIds {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the numbers that owner and group have on this machine by their names in the place of the stored ones. A
    /// number without a name, or with a name that nobody has here, stays.
    pub fn localize(&self, metadata: &mut Metadata) {
        let user = metadata.user.as_ref().and_then(|name| self.user(name));
        let group = metadata.group.as_ref().and_then(|name| self.group(name));
        metadata.uid = user.unwrap_or(metadata.uid);
        metadata.gid = group.unwrap_or(metadata.gid);
    }

    fn user(&self, name: &SmolStr) -> Option<u32> {
        remembered(&self.users, name.clone(), |name| {
            uzers::get_user_by_name(name.as_str()).map(|user| user.uid())
        })
    }

    fn group(&self, name: &SmolStr) -> Option<u32> {
        remembered(&self.groups, name.clone(), |name| {
            uzers::get_group_by_name(name.as_str()).map(|group| group.gid())
        })
    }
}

fn remembered<K: Eq + Hash + Clone, V: Clone>(
    known: &Mutex<HashMap<K, Option<V>>>,
    key: K,
    ask: impl FnOnce(&K) -> Option<V>,
) -> Option<V> {
    let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(value) = known.get(&key) {
        return value.clone();
    }
    let value = ask(&key);
    known.insert(key, value.clone());
    value
}

#[cfg(test)]
mod tests {
    use super::{LocalIds, Owners};
    use crate::format::node::Metadata;

    #[test]
    fn number_zero_has_a_name_and_an_odd_number_has_none() {
        let owners = Owners::new();
        for _ in 0..2 {
            assert_eq!(owners.user(0).as_deref(), Some("root"));
            assert_eq!(owners.group(0).as_deref(), Some("root"));
            assert_eq!(owners.user(3_999_999_999), None);
            assert_eq!(owners.group(3_999_999_999), None);
        }
    }

    #[test]
    fn a_name_takes_its_number_here_and_an_unknown_one_keeps_the_stored() {
        let ids = LocalIds::new();
        let metadata = |uid, gid, user: Option<&str>, group: Option<&str>| Metadata {
            uid,
            gid,
            user: user.map(Into::into),
            group: group.map(Into::into),
            ..Metadata::default()
        };
        let localized = |mut metadata: Metadata| {
            ids.localize(&mut metadata);
            (metadata.uid, metadata.gid)
        };
        for _ in 0..2 {
            assert_eq!(localized(metadata(7, 8, Some("root"), Some("root"))), (0, 0));
            assert_eq!(localized(metadata(7, 8, Some("nobody here"), None)), (7, 8));
            assert_eq!(localized(metadata(7, 8, None, Some("root"))), (7, 0));
            assert_eq!(localized(metadata(7, 8, Some("a\0b"), Some(""))), (7, 8));
        }
    }
}
