//! Names of owners and groups by number, asked of the system once each.

use std::collections::HashMap;
use std::sync::Mutex;

/// Remembers the names that the system gave.
#[derive(Debug, Default)]
pub struct Owners {
    users: Mutex<HashMap<u32, Option<String>>>,
    groups: Mutex<HashMap<u32, Option<String>>>,
}

impl Owners {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of a user; `None` if the number has none, or one that is not UTF-8.
    pub fn user(&self, uid: u32) -> Option<String> {
        remembered(&self.users, uid, |uid| {
            uzers::get_user_by_uid(uid).and_then(|user| user.name().to_str().map(str::to_owned))
        })
    }

    /// The name of a group; `None` if the number has none, or one that is not UTF-8.
    pub fn group(&self, gid: u32) -> Option<String> {
        remembered(&self.groups, gid, |gid| {
            uzers::get_group_by_gid(gid).and_then(|group| group.name().to_str().map(str::to_owned))
        })
    }
}

fn remembered(
    known: &Mutex<HashMap<u32, Option<String>>>,
    number: u32,
    ask: impl FnOnce(u32) -> Option<String>,
) -> Option<String> {
    let mut known = known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    known.entry(number).or_insert_with(|| ask(number)).clone()
}

#[cfg(test)]
mod tests {
    use super::Owners;

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
}
