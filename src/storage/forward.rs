//! Storages that change a few calls of another one: all other calls are forwarded by one line.
//!
//! What must hold: a call is forwarded only if it is named, so that a method with a default keeps it, and goes through
//! what the wrapper changes.

/// Implements the named methods of `Storage` by calling those of another storage: that which an expression gives, which
/// may fail.
///
/// ```
/// # use packstone::base::Result;
/// # use packstone::storage::{Body, ObjectName, Storage, memory::Memory};
/// /// Counts what is created.
/// #[derive(Debug, Default)]
/// struct Counting {
///     memory: Memory,
///     created: std::sync::atomic::AtomicUsize,
/// }
///
/// impl Storage for Counting {
///     packstone::storage::forward_storage!(self => self.memory; get, get_range, list, delete, barrier, capabilities, location);
///
///     fn put_if_absent(&self, name: &ObjectName, body: &Body) -> Result<()> {
///         self.created.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///         self.memory.put_if_absent(name, body)
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward_storage {
    (@ put_if_absent $self:ident $inner:expr) => {
        fn put_if_absent(
            &$self,
            name: &$crate::storage::ObjectName,
            body: &$crate::storage::Body,
        ) -> $crate::base::Result<()> {
            $inner.put_if_absent(name, body)
        }
    };
    (@ put_data_if_absent $self:ident $inner:expr) => {
        fn put_data_if_absent(
            &$self,
            name: &$crate::storage::ObjectName,
            body: &$crate::storage::Body,
        ) -> $crate::base::Result<()> {
            $inner.put_data_if_absent(name, body)
        }
    };
    (@ prove_create $self:ident $inner:expr) => {
        fn prove_create(
            &$self,
            name: &$crate::storage::ObjectName,
            bodies: [&$crate::storage::Body; 3],
        ) -> $crate::base::Result<bool> {
            $inner.prove_create(name, bodies)
        }
    };
    (@ get $self:ident $inner:expr) => {
        fn get(&$self, name: &$crate::storage::ObjectName, size_bytes_max: u64) -> $crate::base::Result<Vec<u8>> {
            $inner.get(name, size_bytes_max)
        }
    };
    (@ get_range $self:ident $inner:expr) => {
        fn get_range(
            &$self,
            name: &$crate::storage::ObjectName,
            offset: u64,
            length: usize,
        ) -> $crate::base::Result<Vec<u8>> {
            $inner.get_range(name, offset, length)
        }
    };
    (@ list $self:ident $inner:expr) => {
        fn list(
            &$self,
            folder: &str,
            start_after: Option<&$crate::storage::ObjectName>,
            visit: &mut dyn FnMut($crate::storage::Listed) -> $crate::base::Result<()>,
        ) -> $crate::base::Result<()> {
            $inner.list(folder, start_after, visit)
        }
    };
    (@ strays $self:ident $inner:expr) => {
        fn strays(
            &$self,
            folders: &[&str],
            visit: &mut dyn FnMut($crate::storage::Stray) -> $crate::base::Result<()>,
        ) -> $crate::base::Result<()> {
            $inner.strays(folders, visit)
        }
    };
    (@ thaw $self:ident $inner:expr) => {
        fn thaw(
            &$self,
            name: &$crate::storage::ObjectName,
            request: Option<&$crate::base::ThawRequest>,
        ) -> $crate::base::Result<$crate::base::Thawing> {
            $inner.thaw(name, request)
        }
    };
    (@ delete $self:ident $inner:expr) => {
        fn delete(&$self, name: &$crate::storage::ObjectName) -> $crate::base::Result<()> {
            $inner.delete(name)
        }
    };
    (@ barrier $self:ident $inner:expr) => {
        fn barrier(&$self) -> $crate::base::Result<()> {
            $inner.barrier()
        }
    };
    (@ capabilities $self:ident $inner:expr) => {
        fn capabilities(&$self) -> $crate::storage::Capabilities {
            $inner.capabilities()
        }
    };
    (@ parallel_calls $self:ident $inner:expr) => {
        fn parallel_calls(&$self) -> usize {
            $inner.parallel_calls()
        }
    };
    (@ traffic $self:ident $inner:expr) => {
        fn traffic(&$self) -> Option<$crate::storage::Traffic> {
            $inner.traffic()
        }
    };
    (@ location $self:ident $inner:expr) => {
        fn location(&$self) -> String {
            $inner.location()
        }
    };
    ($self:ident => $inner:expr; $($method:ident),+ $(,)?) => {
        $($crate::storage::forward_storage!(@ $method $self $inner);)+
    };
}

pub use forward_storage;
