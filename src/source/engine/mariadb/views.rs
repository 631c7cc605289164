//! Views that name what is not there any more, as a table that was dropped: a dump program stops at the first of them.
//!
//! What must hold: they keep nothing else from being dumped or replaced; each is named, and how it was made is kept.

use super::server::{Server, identifier, text};
use crate::base::Result;

/// What a server says of them in place of a comment.
const BROKEN: &str = "View '%references invalid%";

/// Those of one database.
pub(super) struct BrokenViews {
    database: String,
    /// Their names, and how they were made as far as the server shows it.
    views: Vec<(String, Option<String>)>,
}

impl BrokenViews {
    pub(super) fn ask(server: &Server, database: &str) -> Result<Self> {
        // The length makes the server open them: else it does not know.
        let names = server.column(&format!(
            "SELECT table_name, data_length FROM information_schema.tables WHERE table_type = 'VIEW' \
             AND table_schema = {} AND table_comment LIKE {} ORDER BY 1",
            text(database),
            text(BROKEN)
        ))?;
        let shown = |name: String| {
            let view = format!("{}.{}", identifier(database), identifier(&name));
            let row = server
                .rows(&format!("SHOW CREATE VIEW {view}"))
                .ok()
                .and_then(|rows| rows.into_iter().next());
            (name, row.and_then(|row| row.into_iter().nth(1)))
        };
        Ok(Self { database: database.to_owned(), views: names.into_iter().map(shown).collect() })
    }

    /// Without those that the options of a user leave out.
    pub(super) fn without(mut self, options: &[String]) -> Self {
        let Self { database, views } = &mut self;
        views.retain(|(name, _)| !options.contains(&argument(database, name)));
        self
    }

    pub(super) fn has(&self, view: &str) -> bool {
        self.views.iter().any(|(name, _)| name == view)
    }

    /// What the dump program must be told.
    pub(super) fn arguments(&self) -> impl Iterator<Item = String> + '_ {
        self.views.iter().map(|(name, _)| argument(&self.database, name))
    }

    /// For people: their names.
    pub(super) fn names(&self) -> Option<String> {
        let names: Vec<_> = self.views.iter().map(|(name, _)| name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// What a dump lacks, and what to do.
    pub(super) fn problem(&self) -> Option<String> {
        let place = identifier(&self.database);
        let views: Vec<_> =
            self.views.iter().map(|(name, _)| format!("{place}.{}", identifier(name))).collect();
        Some(format!(
            "the views {} of the database {} name what is not there, or what they may not read; how they were made stands \
             at the end of the dump as a comment: mend them, or DROP VIEW {};",
            self.names()?,
            self.database,
            views.join(", ")
        ))
    }

    /// How they were made, as comments of a script.
    pub(super) fn comments(&self) -> String {
        let made = self.views.iter().filter_map(|(_, made)| made.as_deref());
        made.map(|made| format!("-- not dumped: {};\n", made.replace('\n', "\n-- "))).collect()
    }
}

fn argument(database: &str, view: &str) -> String {
    format!("--ignore-table={database}.{view}")
}
