//! The threads of an operation.

use rayon::ThreadPool;

use crate::base::{Error, ErrorKind, Result};
use crate::repository::Repository;

/// Number of threads for an option: 0 means one for each processor; no more than there is memory for.
pub(super) fn worker_count(repository: &Repository, wanted: usize) -> usize {
    let wanted = match wanted {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        other => other,
    };
    repository.memory().workers(wanted)
}

/// So many threads, which have the name of the operation.
pub(super) fn pool(operation: &'static str, threads: usize) -> Result<ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |number| format!("{operation}-{number}"))
        .build()
        .map_err(|cause| Error::caused(ErrorKind::Failed, "cannot start threads", cause))
}
