//! What can be backed up: directories and files of this machine, and streams that a command writes.
//!
//! What must hold: nothing here writes, and nothing changes a source beyond what reading cannot avoid; below an opened
//! directory only handles and single names are used, so that nobody who moves things about leads the way elsewhere;
//! no source file is ever mapped; everything may be used from many threads.

mod at_rest;
pub mod directory;
pub mod dump;
pub mod engine;
pub mod exclude;
pub mod file;
pub mod glob;
pub mod limit;
pub mod listener;
pub mod listing;
pub mod plan;
pub mod program;
pub mod stream;

pub use directory::Directory;
pub use dump::{Dump, Dumps, Engine, Feed, LoadOptions, LoadPlan, LoadStep, OpenDump, StoredDump};
pub use exclude::{Excludes, GivenPattern, Marker, Patterns, Reason, Sought};
pub use file::File;
pub use glob::{Globbed, glob};
pub use limit::Limit;
pub use listener::{Listener, Stop, Stoppable, Stops};
pub use listing::{Listed, Listing, Names};
pub use plan::{Planned, PlannedDirectory, join_lists, plan, stream_path};
pub use stream::{CommandStop, CommandStream};
