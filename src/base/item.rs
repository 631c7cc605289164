//! What a restore does with each object, as it is told to whoever listens.

/// What a restore does with one object, or would do in a dry run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ItemAction {
    /// It is not there and is made.
    Create,
    /// What is there is replaced.
    Replace,
    /// Of a file that is there, ranges that differ are written.
    Patch,
    /// Its content is there already; it gets its metadata.
    Update,
    /// What is there is kept.
    Skip,
    /// It is there and not in the snapshot, and is removed.
    Delete,
}

impl ItemAction {
    /// One word for people and for JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Patch => "patch",
            Self::Update => "update",
            Self::Skip => "skip",
            Self::Delete => "delete",
        }
    }
}

/// Which parts of the metadata of an object differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataParts {
    /// Permissions, set-user-id, set-group-id and sticky bits.
    pub mode: bool,
    /// Owner or group.
    pub owner: bool,
    /// Time of change.
    pub time: bool,
    /// Extended attributes, ACLs and capabilities among them.
    pub xattrs: bool,
}

impl MetadataParts {
    /// Whether nothing differs.
    pub const fn is_empty(self) -> bool {
        !(self.mode || self.owner || self.time || self.xattrs)
    }

    /// A word for each part that differs, for people and for JSON.
    pub fn words(self) -> Vec<&'static str> {
        let Self { mode, owner, time, xattrs } = self;
        let named = [(mode, "mode"), (owner, "owner"), (time, "time"), (xattrs, "xattrs")];
        named.into_iter().filter(|(differs, _)| *differs).map(|(_, word)| word).collect()
    }
}

/// What who restores may not set or make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lack {
    /// Owner or group.
    Owner,
    /// Permissions, or set-user-id and set-group-id bits, which nobody else's file may have.
    Mode,
    /// Extended attributes, capabilities among them.
    Xattrs,
    /// Devices.
    Device,
}

/// How many objects lack something that who restores may not set or make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Objects without their owner or group.
    pub owners: u64,
    /// Objects without their permissions.
    pub modes: u64,
    /// Objects without some of their extended attributes.
    pub xattrs: u64,
    /// Devices that were not made.
    pub devices: u64,
}

impl Lacks {
    /// One object more that lacks this.
    pub const fn add(&mut self, lack: Lack) {
        match lack {
            Lack::Owner => self.owners += 1,
            Lack::Mode => self.modes += 1,
            Lack::Xattrs => self.xattrs += 1,
            Lack::Device => self.devices += 1,
        }
    }

    /// Those of both.
    pub const fn and(self, other: Self) -> Self {
        Self {
            owners: self.owners + other.owners,
            modes: self.modes + other.modes,
            xattrs: self.xattrs + other.xattrs,
            devices: self.devices + other.devices,
        }
    }
}

/// One object of a restore, and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What is done.
    pub action: ItemAction,
    /// Its path in the snapshot; of what is removed, the path that it would have there.
    pub path: &'a [u8],
    /// Size in bytes of a regular file, else 0.
    pub size_bytes: u64,
    /// Bytes of its content that are written.
    pub written_bytes: u64,
    /// Of what is updated or patched: what of its metadata was not as stored.
    pub parts: MetadataParts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_in_one_order() {
        let parts = MetadataParts { xattrs: true, mode: true, ..MetadataParts::default() };
        assert_eq!(parts.words(), ["mode", "xattrs"]);
        assert!(!parts.is_empty() && MetadataParts::default().is_empty());
        assert_eq!(MetadataParts::default().words(), Vec::<&str>::new());
    }
}
