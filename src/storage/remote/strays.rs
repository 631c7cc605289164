//! What lies where objects are kept and is none, on a service with folders.
//!
//! What must hold: what vanishes meanwhile is passed over; so is a folder that holds nothing, for nobody but who puts
//! something there could remove it without taking what another just put.

use super::Remote;
use crate::base::Result;
use crate::storage::name::{NAME_PARTS_MAX, UNFINISHED_FOLDER, is_unfinished};
use crate::storage::{ObjectName, Stray};

impl Remote {
    /// Visits all that is neither an object in one of these folders nor a folder on the way to one.
    pub(super) fn visit_strays(
        &self,
        known: &[&str],
        visit: &mut dyn FnMut(Stray) -> Result<()>,
    ) -> Result<()> {
        let mut waiting = vec!["/".to_owned()];
        while let Some(folder) = waiting.pop() {
            for entry in self.entries(&folder)? {
                let bare = entry.path.trim_end_matches('/');
                let is_folder = entry.path.ends_with('/');
                let token = bare.strip_prefix(UNFINISHED_FOLDER).and_then(|rest| rest.strip_prefix('/'));
                let may_lead = if folder == "/" {
                    bare == UNFINISHED_FOLDER || known.contains(&bare)
                } else {
                    bare.split('/').count() < NAME_PARTS_MAX && ObjectName::parse(bare).is_some()
                };
                let is_object =
                    !is_folder && folder != "/" && token.is_none() && ObjectName::parse(bare).is_some();
                if is_folder && may_lead {
                    waiting.push(entry.path);
                    continue;
                }
                let is_nothing = is_folder && self.holds_nothing(&entry.path, NAME_PARTS_MAX)?;
                if !is_object && !is_nothing {
                    visit(Stray {
                        path: bare.as_bytes().to_vec(),
                        size_bytes: entry.size_bytes,
                        is_unfinished: !is_folder
                            && token.is_some_and(|token| is_unfinished(token.as_bytes())),
                    })?;
                }
            }
        }
        Ok(())
    }

    /// Whether nothing but folders lies in and below a folder, at most so deep.
    fn holds_nothing(&self, folder: &str, depth: usize) -> Result<bool> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(false) };
        for entry in self.entries(folder)? {
            if !entry.path.ends_with('/') || !self.holds_nothing(&entry.path, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
