//! Servers of databases that belong to one test: in a folder of their own, on a socket in it, gone with it.
//!
//! What must hold: a test that kills, fills or reconfigures a server has one of its own; nothing listens on a port.

pub mod mariadb;
pub mod redis;
