//! The key slots of a repository: which there are, and how they come and go.
//!
//! What must hold: a new slot counts only after it was read back and opened; nothing takes away the last slot that can
//! be used, not even two processes that take one each at the same time; what a slot gives way to is written before.

use bytes::Bytes;

use crate::base::limits::{SLOT_BYTES_MAX, SLOTS_MAX};
use crate::base::{Error, ErrorKind, Result, SlotName, Timestamp, Wrap};
use crate::crypto::slot::{Credential, make_slot, open_slot, slot_name};
use crate::format::names;
use crate::format::slot::{LABEL_BYTES_MAX, PasswordCost, Slot, Way};
use crate::repository::Repository;
use crate::repository::object::{create_unique, object_name};
use crate::storage::Storage;

/// A key slot to make.
#[derive(Debug)]
pub struct NewSlot {
    /// What opens it.
    pub credential: Credential,
    /// What people call it, at most 1024 bytes.
    pub label: String,
}

impl NewSlot {
    pub(super) fn check(&self) -> Result<()> {
        Self::check_label(&self.label)
    }

    /// `Usage` for a label that is too long.
    pub fn check_label(label: &str) -> Result<()> {
        match label.len() {
            ..=LABEL_BYTES_MAX => Ok(()),
            bytes => {
                let message = format!("a label of {bytes} bytes: {LABEL_BYTES_MAX} are the most");
                Err(Error::new(ErrorKind::Usage, message))
            }
        }
    }
}

/// The slot that opened the repository, with what only its credential shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSlot {
    /// Its name.
    pub name: SlotName,
    /// What people call it.
    pub label: String,
    /// When it was made.
    pub created: Timestamp,
}

/// What can be said of a slot without its credential.
#[derive(Debug)]
pub enum SlotState {
    /// Its bytes are those that it is named after, and it can be tried.
    Whole(Way),
    /// It cannot be used, and why: it is damaged, needs a newer program, or cannot be read.
    Unusable(Error),
}

/// A slot as whoever reads the storage sees it.
#[derive(Debug)]
pub struct SlotEntry {
    /// Its name.
    pub name: SlotName,
    /// What can be said of it.
    pub state: SlotState,
}

/// The slots of a repository.
#[derive(Debug, Default)]
pub struct SlotList {
    /// In ascending order of names, which is the order in which they are tried.
    pub slots: Vec<SlotEntry>,
    /// Names of objects among the slots that are no slots, and that nothing reads.
    pub foreign: Vec<String>,
}

impl SlotList {
    /// The slots that can be tried.
    pub fn whole(&self) -> impl Iterator<Item = &SlotEntry> {
        self.slots.iter().filter(|entry| matches!(entry.state, SlotState::Whole(_)))
    }

    /// The slot that a user means by the beginning of its name. `NotFound`; `Usage` if it is the beginning of several.
    pub fn find(&self, wanted: &str) -> Result<&SlotEntry> {
        let mut found = self.slots.iter().filter(|entry| entry.name.hex().starts_with(wanted));
        match (found.next(), found.next()) {
            (Some(entry), None) if !wanted.is_empty() => Ok(entry),
            (Some(first), Some(second)) if !wanted.is_empty() => {
                let message = format!(
                    "{wanted} is the beginning of several key slots: {} and {}",
                    first.name, second.name
                );
                Err(Error::new(ErrorKind::Usage, message))
            }
            _ => Err(Error::new(ErrorKind::NotFound, format!("there is no key slot {wanted:?}"))),
        }
    }
}

/// What is listed where slots are.
pub(super) struct ListedSlots {
    /// In ascending order.
    pub slots: Vec<SlotName>,
    foreign: Vec<String>,
}

/// Lists the slots.
pub(super) fn listed_slots(storage: &dyn Storage) -> Result<ListedSlots> {
    let mut listed = ListedSlots { slots: Vec::new(), foreign: Vec::new() };
    storage.list(names::KEYS, None, &mut |entry| {
        match names::parse_slot(entry.name.as_str()) {
            Some(name) => listed.slots.push(name),
            None => listed.foreign.push(entry.name.as_str().to_owned()),
        }
        Ok(())
    })?;
    Ok(listed)
}

/// Reads a slot, whose bytes must be those that it is named after.
pub(super) fn read_slot(storage: &dyn Storage, name: &SlotName) -> Result<Slot> {
    let object = object_name(&names::slot(name))?;
    let bytes = storage.get(&object, SLOT_BYTES_MAX)?;
    if slot_name(&bytes) != *name {
        let message = "its bytes are not those that it is named after (format rule SLOT-8)";
        return Err(Error::damaged(message));
    }
    Slot::decode(&bytes).map_err(|error| error.of_object(&format!("object {object}")))
}

impl Repository {
    /// The slot that opened this repository.
    pub const fn own_slot(&self) -> &OwnSlot {
        &self.own_slot
    }

    /// Reads all slots. One that cannot be used is told with the reason, and stands in no other's way.
    pub fn slots(&self) -> Result<SlotList> {
        let ListedSlots { slots: listed, foreign } = listed_slots(&*self.storage)?;
        let mut slots = Vec::new();
        for (position, name) in listed.into_iter().enumerate() {
            let slot = match position {
                ..SLOTS_MAX => read_slot(&*self.storage, &name),
                _ => Err(Error::new(ErrorKind::Failed, format!("only the first {SLOTS_MAX} are ever tried"))),
            };
            match slot {
                Ok(slot) => slots.push(SlotEntry { name, state: SlotState::Whole(slot.way) }),
                // It was removed since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => slots.push(SlotEntry { name, state: SlotState::Unusable(error) }),
            }
        }
        Ok(SlotList { slots, foreign })
    }

    /// Adds a slot; passwords at the given cost. When this returns, the slot is durable, and was read back and opened.
    ///
    /// Errors: `Usage` for a label that is too long; `Exists` for a key file that opens a slot already; `Failed` if
    /// there are as many slots as are ever tried. No error leaves a slot behind, as far as the storage lets it be
    /// removed.
    pub fn add_slot(&self, new: &NewSlot, cost: PasswordCost) -> Result<SlotName> {
        new.check()?;
        let listed = listed_slots(&*self.storage)?.slots;
        if listed.len() >= SLOTS_MAX {
            let message =
                format!("there are {} key slots, and {SLOTS_MAX} are the most that are tried", listed.len());
            return Err(Error::new(ErrorKind::Failed, message));
        }
        if let Some(name) = self.opened_by_key_file(&listed, &new.credential) {
            return Err(Error::new(ErrorKind::Exists, format!("this key opens key slot {name} already")));
        }
        let id = self.id();
        let bytes = make_slot(&self.keys, &new.credential, cost, &id, &new.label, Timestamp::now())?;
        let name = slot_name(&bytes);
        let object = object_name(&names::slot(&name))?;
        let written = create_unique(&*self.storage, &object, &[Bytes::from(bytes)])
            .and_then(|()| self.storage.barrier())
            .and_then(|()| self.prove(&name, new));
        if let Err(error) = written {
            // It may be there in spite of the error, for a credential that the user must think refused.
            drop(self.storage.delete(&object));
            return Err(error.while_doing("cannot add a key slot"));
        }
        Ok(name)
    }

    /// The slot that a key file opens. Passwords are not tried: each would cost what a wrong one costs an enemy.
    fn opened_by_key_file(&self, slots: &[SlotName], credential: &Credential) -> Option<SlotName> {
        let Credential::KeyFile(_) = credential else { return None };
        let opens = |name: &&SlotName| {
            let opened = read_slot(&*self.storage, name)
                .and_then(|slot| open_slot(&slot, credential, &self.config.repository));
            opened.is_ok_and(|opened| opened.is_some())
        };
        slots.iter().find(opens).copied()
    }

    /// Reads a new slot back and opens it as a later run would.
    fn prove(&self, name: &SlotName, new: &NewSlot) -> Result<()> {
        let slot = read_slot(&*self.storage, name)?;
        let opened = open_slot(&slot, &new.credential, &self.config.repository)?;
        if opened.is_some_and(|opened| opened.keys == *self.keys && opened.label == new.label) {
            Ok(())
        } else {
            Err(Error::damaged(format!("key slot {name} does not give the keys that it was made for")))
        }
    }

    /// Removes a slot, whatever its state.
    ///
    /// Errors: `NotFound`; `Failed` if no slot that can be used would be left; `Fenced` if another process took the
    /// others at the same time, and this one was put back.
    pub fn remove_slot(&self, name: &SlotName) -> Result<()> {
        let before = self.slots()?;
        let Some(entry) = before.slots.iter().find(|entry| entry.name == *name) else {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no key slot {name}")));
        };
        if !before.whole().any(|other| other.name != *name) {
            let message = match entry.state {
                SlotState::Whole(_) => format!("key slot {name} is the last that can be used"),
                SlotState::Unusable(_) => {
                    format!("key slot {name} is not removed while no other can be used")
                }
            };
            return Err(Error::new(ErrorKind::Failed, message));
        }
        let object = object_name(&names::slot(name))?;
        let kept = match entry.state {
            SlotState::Whole(_) => Some(self.storage.get(&object, SLOT_BYTES_MAX)?),
            SlotState::Unusable(_) => None,
        };
        let removed = match self.storage.delete(&object) {
            // Another process was faster, and had its reasons.
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            // Whoever removes last sees what all others left.
            deleted => deleted.and_then(|()| match self.slots()?.whole().next() {
                Some(_) => Ok(()),
                None => {
                    let message = "another process removed the other key slots at the same time";
                    Err(Error::new(ErrorKind::Fenced, message))
                }
            }),
        };
        if let Err(error) = removed {
            // Rather a slot too many than none.
            if let Some(bytes) = kept {
                create_unique(&*self.storage, &object, &[Bytes::from(bytes)])
                    .and_then(|()| self.storage.barrier())
                    .wrap(|| format!("cannot put back key slot {name}, whose removal failed"))?;
            }
            return Err(error.while_doing(format!("cannot remove key slot {name}")));
        }
        self.storage.barrier()
    }

    /// Adds a slot, and then removes the one that opened this repository. Gives the name of the new one.
    ///
    /// Errors: those of `add_slot` leave all as it was; after an error of the removal both are there.
    pub fn replace_own_slot(&self, new: &NewSlot, cost: PasswordCost) -> Result<SlotName> {
        let name = self.add_slot(new, cost)?;
        match self.remove_slot(&self.own_slot.name) {
            // Somebody else removed it meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => {
                let old = &self.own_slot.name;
                removed.wrap(|| format!("key slot {name} was added, but {old} is still there"))?;
            }
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests;
