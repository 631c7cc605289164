//! Which packs lie frozen, and asking for them.
//!
//! What must hold: many are asked for at a time, and each once; whatever keeps one from being asked for ends the whole,
//! so that nothing that was not asked for is waited for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::base::{ContentName, Error, ErrorKind, Monitor, Result, ThawRequest, Thawing};
use crate::format::names;
use crate::repository::Repository;
use crate::repository::object::object_name;

impl Repository {
    /// Whether these packs can be read; with a request, those that nobody asked for yet are asked for. A pack that is
    /// gone has no state.
    pub fn thaw(
        &self,
        packs: &[ContentName],
        request: Option<&ThawRequest>,
        monitor: &dyn Monitor,
    ) -> Result<Vec<Option<Thawing>>> {
        let states: Mutex<Vec<Option<Thawing>>> = Mutex::new(vec![None; packs.len()]);
        let failure: Mutex<Option<Error>> = Mutex::default();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(pack) = packs.get(number) else { return };
                let is_over = failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                if is_over {
                    return;
                }
                match self.thaw_one(pack, request, monitor) {
                    Ok(state) => {
                        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(of_pack) = states.get_mut(number) {
                            *of_pack = state;
                        }
                    }
                    Err(error) => {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            // With fewer threads, or with none but this one, it takes longer.
            let start = |_| drop(std::thread::Builder::new().spawn_scoped(scope, work));
            (1..self.storage.parallel_calls().min(packs.len())).for_each(start);
            work();
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(states.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn thaw_one(
        &self,
        pack: &ContentName,
        request: Option<&ThawRequest>,
        monitor: &dyn Monitor,
    ) -> Result<Option<Thawing>> {
        if monitor.cancelled() {
            return Err(Error::new(ErrorKind::Interrupted, "interrupted"));
        }
        match self.storage.thaw(&object_name(&names::pack(pack))?, request) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Silent;
    use crate::repository::tests::{new_repository, pack_names, remove_packs, write_packs};

    const REQUEST: ThawRequest = ThawRequest { days: 1, speed: None };

    #[test]
    fn packs_are_asked_for_once_and_what_is_gone_has_no_state() {
        let (memory, repository) = new_repository();
        write_packs(&repository, 3);
        let packs = pack_names(&memory);
        let states = |request| {
            let mut states = repository.thaw(&packs, request, &Silent).unwrap();
            states.sort();
            states.dedup();
            states
        };
        assert_eq!(states(None), [Some(Thawing::Readable)]);
        let data = memory.freeze_data(2);
        assert!(data.len() >= 3 && data.len() < packs.len(), "{data:?} of {packs:?}");
        assert_eq!(states(None), [Some(Thawing::Readable), Some(Thawing::Frozen)]);
        assert_eq!(states(Some(&REQUEST)), [Some(Thawing::Readable), Some(Thawing::Asked)]);
        assert_eq!(states(Some(&REQUEST)), [Some(Thawing::Readable), Some(Thawing::UnderWay)]);
        assert_eq!(states(Some(&REQUEST)), [Some(Thawing::Readable)]);
        remove_packs(&memory, &packs);
        assert_eq!(states(Some(&REQUEST)), [None]);
    }
}
