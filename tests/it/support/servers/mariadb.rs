//! A MariaDB server of one test.
