//! Objects in memory, for tests: a storage that is never slow, never full and forgets everything with its last handle.
//!
//! It keeps the whole contract. Beyond it, what is stored can be looked at and changed, as an enemy or a bad disk would, and
//! frozen, as cold storage classes do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::{Body, Capabilities, Listed, ObjectName, Storage, refusal};
use crate::base::{Error, ErrorKind, Result, ThawRequest, Thawing};

type Objects = BTreeMap<ObjectName, Bytes>;

/// What is known of objects beside their bytes.
#[derive(Debug, Default)]
struct Classes {
    /// Names of what was put as data.
    data: BTreeSet<ObjectName>,
    frozen: BTreeMap<ObjectName, Ice>,
}

/// A frozen object.
#[derive(Clone, Copy, Debug)]
struct Ice {
    is_asked_for: bool,
    /// Looks after which it can be read, once it is asked for.
    looks: u32,
}

/// Objects in memory. Clones share them: a clone is the same storage, opened again.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    objects: Arc<RwLock<Objects>>,
    classes: Arc<Mutex<Classes>>,
}

impl Memory {
    /// A storage without objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// All names in ascending order.
    pub fn names(&self) -> Vec<ObjectName> {
        self.read().keys().cloned().collect()
    }

    /// The bytes of an object, if it is there.
    pub fn bytes(&self, name: &ObjectName) -> Option<Bytes> {
        self.read().get(name).cloned()
    }

    /// Puts bytes in the place of whatever is there, and gives back what was.
    pub fn replace(&self, name: &ObjectName, bytes: impl Into<Bytes>) -> Option<Bytes> {
        self.write().insert(name.clone(), bytes.into())
    }

    /// Takes an object away, and gives back what was there.
    pub fn remove(&self, name: &ObjectName) -> Option<Bytes> {
        self.write().remove(name)
    }

    /// Freezes all that was put as data. What is asked for can be read when it was looked at so many times more.
    pub fn freeze_data(&self, looks: u32) -> Vec<ObjectName> {
        let mut classes = self.classes();
        let data: Vec<ObjectName> = classes.data.iter().cloned().collect();
        classes.frozen = data.iter().map(|name| (name.clone(), Ice { is_asked_for: false, looks })).collect();
        data
    }

    fn refuse_frozen(&self, name: &ObjectName) -> Result<()> {
        match self.classes().frozen.get(name) {
            Some(_) => Err(Error::new(ErrorKind::Frozen, format!("object {name} is frozen"))),
            None => Ok(()),
        }
    }

    fn classes(&self) -> MutexGuard<'_, Classes> {
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // No code that can panic runs under the lock, so a poisoned map is whole.
    fn read(&self) -> RwLockReadGuard<'_, Objects> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Objects> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Memory {
    fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        let bytes = Bytes::from(body.concat());
        let mut objects = self.write();
        if objects.contains_key(name) {
            return Err(refusal::taken(name));
        }
        objects.insert(name.clone(), bytes);
        Ok(())
    }

    fn put_data_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
        self.put_if_absent(name, body)?;
        self.classes().data.insert(name.clone());
        Ok(())
    }

    fn thaw(&self, name: &ObjectName, request: Option<&ThawRequest>) -> Result<Thawing> {
        if self.bytes(name).is_none() {
            return Err(refusal::not_found(name));
        }
        let mut classes = self.classes();
        let Some(ice) = classes.frozen.get_mut(name) else { return Ok(Thawing::Readable) };
        match request {
            Some(_) if !ice.is_asked_for => {
                ice.is_asked_for = true;
                Ok(Thawing::Asked)
            }
            _ if !ice.is_asked_for => Ok(Thawing::Frozen),
            _ if ice.looks > 1 => {
                ice.looks -= 1;
                Ok(Thawing::UnderWay)
            }
            _ => {
                classes.frozen.remove(name);
                Ok(Thawing::Readable)
            }
        }
    }

    fn get(&self, name: &ObjectName, size_bytes_max: u64) -> Result<Vec<u8>> {
        self.refuse_frozen(name)?;
        let bytes = self.bytes(name).ok_or_else(|| refusal::not_found(name))?;
        let size_bytes = bytes.len() as u64;
        if size_bytes > size_bytes_max {
            return Err(refusal::too_large(name, size_bytes, size_bytes_max));
        }
        Ok(bytes.to_vec())
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.refuse_frozen(name)?;
        let bytes = self.bytes(name).ok_or_else(|| refusal::not_found(name))?;
        usize::try_from(offset)
            .ok()
            .and_then(|begin| bytes.get(begin..begin.checked_add(length)?))
            .map(<[u8]>::to_vec)
            .ok_or_else(|| refusal::too_short(name, bytes.len() as u64, offset, length))
    }

    fn list(
        &self,
        folder: &str,
        start_after: Option<&ObjectName>,
        visit: &mut dyn FnMut(Listed) -> Result<()>,
    ) -> Result<()> {
        let prefix = format!("{folder}/");
        let begin = match start_after.map(ObjectName::as_str) {
            Some(after) if after >= prefix.as_str() => Bound::Excluded(after),
            _ => Bound::Included(prefix.as_str()),
        };
        // Collected first: the visitor may itself put and delete.
        let found: Vec<Listed> = self
            .read()
            .range::<str, _>((begin, Bound::Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(&prefix))
            .map(|(name, bytes)| Listed { name: name.clone(), size_bytes: bytes.len() as u64 })
            .collect();
        found.into_iter().try_for_each(visit)
    }

    fn delete(&self, name: &ObjectName) -> Result<()> {
        let removed = self.remove(name).map(drop).ok_or_else(|| refusal::not_found(name));
        let mut classes = self.classes();
        classes.data.remove(name);
        classes.frozen.remove(name);
        removed
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { atomic_create: Some(true) }
    }

    fn location(&self) -> String {
        "memory:".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ErrorKind;
    use crate::storage::contract::check_contract;

    #[test]
    fn memory_keeps_the_contract_and_is_left_as_it_was() {
        let memory = Memory::new();
        let checks = check_contract(&memory, "memory", &mut |_| ()).expect("the contract is kept");
        assert!(checks >= 15, "{checks}");
        assert_eq!(memory.names(), []);
    }

    #[test]
    fn a_clone_is_the_same_storage_and_objects_can_be_changed_behind_its_back() {
        let memory = Memory::new();
        let name = ObjectName::parse("a/b").expect("a name");
        memory.put_if_absent(&name, &[Bytes::from_static(b"first")]).expect("put");
        let reopened = memory.clone();
        assert_eq!(reopened.get(&name, 5).expect("get"), b"first");
        assert_eq!(reopened.replace(&name, &b"other"[..]).as_deref(), Some(&b"first"[..]));
        assert_eq!(memory.get(&name, 5).expect("get"), b"other");
        assert_eq!(reopened.remove(&name).as_deref(), Some(&b"other"[..]));
        assert_eq!(memory.bytes(&name), None);
    }

    #[test]
    fn a_range_that_overflows_is_refused() {
        let memory = Memory::new();
        let name = ObjectName::parse("a/b").expect("a name");
        memory.replace(&name, &b"first"[..]);
        for (offset, length) in [(u64::MAX, 1), (1, usize::MAX), (u64::MAX, usize::MAX)] {
            let error = memory.get_range(&name, offset, length).expect_err("out of range");
            assert_eq!(error.kind(), ErrorKind::Damaged);
        }
    }
}
