//! Holds `format-spec/` and the program together: what one says, the other does.
//!
//! What must hold: no rule, size, limit, key or vector stands in the text alone or in the program alone.

pub(crate) mod cases;
mod maps;
mod rules;
mod tables;
mod text;
mod vectors;
