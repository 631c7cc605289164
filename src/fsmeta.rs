//! File metadata of the operating system ↔ the types of the format: `capture` reads it, `apply` sets it, side by side,
//! so that what one knows the other cannot forget.

pub mod acl;
pub mod apply;
pub mod capture;
pub mod compare;
pub mod owners;
