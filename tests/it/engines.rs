//! Engines against real servers: dumped while others write, destroyed, put back, and compared to one moment.
//!
//! What must hold: what a dump gives is kept in memory and nowhere else, so that nothing but the dumps can bring the data
//! back; a test asks the server itself what is there.

mod chroma;
mod kept;
mod sqlite;
