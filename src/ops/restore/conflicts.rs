//! Looking, before anything is written, whether a restore would meet something that is there already.
//!
//! What must hold: it goes no deeper into the target than directories that both sides have, and never through a
//! symbolic link.

use crate::base::{Error, ErrorKind, Result};
use crate::format::node::NodeKind;
use crate::ops::restore::Wanted;
use crate::ops::restore::target::{DirectoryNumber, Existing, Target};
use crate::tree::Tree;

/// Fails with `Exists` at the first object that stands where something is to be restored. Directories may meet.
pub(super) fn check(tree: Tree<'_>, target: &Target, wanted: &Wanted) -> Result<()> {
    if let Some(entry) = &wanted.single {
        check_free(target, DirectoryNumber::ROOT, &entry.node.name)?;
    }
    let Some((root, _)) = &wanted.directory else { return Ok(()) };
    let mut budget = wanted.budget;
    let mut open = vec![(tree.directory(*root), DirectoryNumber::ROOT)];
    while let Some((entries, number)) = open.last_mut() {
        let number = *number;
        match entries.next() {
            None => drop(open.pop()),
            // The rest of this directory is lost. The restore itself will tell, and creates nothing over anything.
            Some(Err(_)) => drop(open.pop()),
            Some(Ok(entry)) => {
                budget.spend(&entry)?;
                match (&entry.node.kind, target.existing(number, &entry.node.name)?) {
                    (_, None) => {}
                    (NodeKind::Directory(below), Some(Existing::Directory)) => {
                        if let Some(entered) = target.enter(number, &entry.node.name)? {
                            open.push((tree.directory(*below), entered));
                        }
                    }
                    (_, Some(_)) => check_free(target, number, &entry.node.name)?,
                }
            }
        }
    }
    Ok(())
}

fn check_free(target: &Target, number: DirectoryNumber, name: &[u8]) -> Result<()> {
    match target.existing(number, name)? {
        None => Ok(()),
        Some(_) => {
            let message = format!("{} is there already; nothing was restored", target.show(number, name));
            Err(Error::new(ErrorKind::Exists, message))
        }
    }
}
