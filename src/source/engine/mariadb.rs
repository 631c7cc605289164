//! MariaDB and MySQL: each database by `mariadb-dump` or `mysqldump` in one transaction.

use super::{Access, Databases};

/// A MariaDB or MySQL server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mariadb {
    /// How it is reached.
    pub access: Access,
    /// What of it.
    pub databases: Databases,
    /// Further arguments of the dump program.
    pub options: Vec<String>,
    /// The server is MySQL: its clients are `mysqldump` and `mysql`.
    pub is_mysql: bool,
}
