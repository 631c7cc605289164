//! Whether a server that is back has read what was put in place for it.
//!
//! What must hold: that it has keys proves nothing, for it may have read files of its own; only how many keys or bytes it
//! says to have read does, compared with those that were put in place.

use super::super::rdb::{Beginning, Keys};
use super::append_only::base_of;
use super::client::{Client, Information};
use crate::base::Result;

/// What was put in place.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// The names of the files and their lengths.
    pub files: Vec<(String, u64)>,
    /// What names them, if that was stored.
    pub manifest: Option<Vec<u8>>,
    /// The keys of the RDB file, as far as they are known.
    pub keys: Option<Keys>,
    /// Whether any of the files holds something.
    pub holds_data: bool,
}

impl Placed {
    /// Notes a file, by its beginning.
    pub(super) fn add(&mut self, name: &str, beginning: &[u8], bytes: u64) {
        self.files.push((name.to_owned(), bytes));
        if [b"REDIS".as_slice(), b"VALKEY"].iter().any(|word| beginning.starts_with(word)) {
            let told = Beginning::of(beginning);
            self.keys = told.keys;
            self.holds_data |= !told.is_empty;
        } else {
            // A file of changes is empty until there are some.
            self.holds_data |= bytes > 0;
        }
    }

    /// The bytes of the first file, and of all.
    fn sizes(&self) -> (u64, u64) {
        let all = self.files.iter().map(|(_, bytes)| bytes).sum();
        let Some(manifest) = &self.manifest else { return (all, all) };
        let base = base_of(manifest);
        let found = self.files.iter().find(|(name, _)| Some(name) == base.as_ref());
        (found.map_or(0, |(_, bytes)| *bytes), all)
    }
}

/// What a server says of what it has read.
#[derive(Debug)]
pub(super) struct Told {
    pub persistence: Information,
    pub keyspace: Information,
}

impl Told {
    pub(super) fn of(client: &Client) -> Result<Self> {
        let (persistence, keyspace) = (client.information("persistence")?, client.information("keyspace")?);
        Ok(Self { persistence, keyspace })
    }

    /// Whether it reads append-only files, and then not the RDB file.
    pub(super) fn is_append_only(&self) -> Option<bool> {
        self.persistence.number("aof_enabled").map(|is| is != 0)
    }
}

/// What follows from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Proven,
    /// It may have read it; why that cannot be told.
    Unproven(String),
    /// It has read something else, or nothing.
    Refuted(String),
}

impl Verdict {
    /// Of a server that must have read its append-only files, or its RDB file.
    pub(super) fn of(placed: &Placed, is_append_only: bool, told: &Told) -> Self {
        match (is_append_only, told.is_append_only()) {
            (true, Some(false)) => Self::Refuted(
                "the server has not read the append-only files that were put in place (appendonly is no): set \
                 appendonly yes in its file of configuration, and restore it once more"
                    .to_owned(),
            ),
            (false, Some(true)) => Self::Refuted(
                "the server reads append-only files, and has not read the RDB file that was put in place".to_owned(),
            ),
            (_, None) => Self::Unproven("it does not say whether it reads append-only files".to_owned()),
            (true, Some(true)) => of_sizes(placed.sizes(), &told.persistence),
            (false, Some(false)) => of_keys(placed, told),
        }
    }
}

/// By the bytes of append-only files.
fn of_sizes((base, all): (u64, u64), told: &Information) -> Verdict {
    let number = |name| told.number(name);
    let (Some(read_base), Some(read)) = (number("aof_base_size"), number("aof_current_size")) else {
        return Verdict::Unproven("it does not say how long the files are that it has read".to_owned());
    };
    // It may have written some more since.
    if read_base == base && read >= all {
        return Verdict::Proven;
    }
    // A rewrite, which can begin at once, makes them others.
    if told.is("aof_last_rewrite_time_sec", "-1") {
        return Verdict::Refuted(format!(
            "the server has read append-only files of {read} bytes, and those that were put in place have {all}: it \
             reads others (appenddirname, appendfilename, or another folder)"
        ));
    }
    Verdict::Unproven("it has written its append-only files anew since".to_owned())
}

/// By the keys of the RDB file.
fn of_keys(placed: &Placed, told: &Told) -> Verdict {
    let kept = told.keyspace.keys();
    // Those that had expired are left out when they are read.
    let expired = told.persistence.number("rdb_last_load_keys_expired").unwrap_or_default();
    let read = ["rdb_last_load_keys_loaded", "rdb_last_load_keys_expired"]
        .iter()
        .try_fold(0_u64, |sum, name| Some(sum.saturating_add(told.persistence.number(name)?)));
    if !placed.holds_data {
        return match read.unwrap_or(kept) {
            0 => Verdict::Proven,
            read => Verdict::Refuted(format!(
                "the server has read {read} keys, and what was put in place holds none: it reads other files"
            )),
        };
    }
    let nothing = || {
        let message =
            "the server is back without any key, and what was put in place holds some: it reads other files";
        Verdict::Refuted(message.to_owned())
    };
    let Some(Keys { database, count, expiring }) = placed.keys else {
        return match read {
            Some(0) => nothing(),
            _ => Verdict::Unproven(
                "the RDB file does not tell at its beginning how many keys it has".to_owned(),
            ),
        };
    };
    let kept_there = told.keyspace.keys_of(database);
    match read {
        Some(0) => nothing(),
        Some(read) if read == count => Verdict::Proven,
        // Other databases may follow on the first; what is missing of that had expired when it was read.
        Some(read) if read > count && kept_there <= count && count - kept_there <= expired => Verdict::Proven,
        Some(read) => {
            Verdict::Unproven(format!("it has read {read} keys, and the RDB file begins with {count}"))
        }
        None if kept_there == count => Verdict::Proven,
        None if kept == 0 && expiring < count => nothing(),
        None => Verdict::Unproven(format!(
            "it has {kept_there} of the {count} keys with which the RDB file begins"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(persistence: &str, keyspace: &str) -> Told {
        let lines = |text: &str| Information::new(text.split(' ').collect::<Vec<_>>().join("\r\n"));
        Told { persistence: lines(persistence), keyspace: lines(keyspace) }
    }

    fn rdb(counts: Option<(u64, u64)>) -> Placed {
        let keys = counts.map(|(count, expiring)| Keys { database: 0, count, expiring });
        Placed { keys, holds_data: true, ..Placed::default() }
    }

    fn word(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Proven => "proven",
            Verdict::Unproven(_) => "unproven",
            Verdict::Refuted(_) => "refuted",
        }
    }

    #[test]
    fn keys_tell_which_rdb_file_was_read() {
        let seven = |loaded: u64, expired: u64| {
            format!("aof_enabled:0 rdb_last_load_keys_loaded:{loaded} rdb_last_load_keys_expired:{expired}")
        };
        let six = "aof_enabled:0".to_owned();
        for (counts, persistence, keyspace, wanted) in [
            (Some((9, 3)), seven(9, 0), "db0:keys=9,expires=3", "proven"),
            (Some((9, 9)), seven(0, 9), "", "proven"),
            // Clients write at once.
            (Some((9, 3)), seven(7, 2), "db0:keys=100,expires=3", "proven"),
            (Some((9, 3)), seven(50, 0), "db0:keys=9,expires=2 db1:keys=41,expires=0", "proven"),
            (Some((9, 3)), seven(50, 0), "db0:keys=8,expires=2 db1:keys=41,expires=0", "unproven"),
            (Some((9, 3)), seven(49, 1), "db0:keys=8,expires=2 db1:keys=41,expires=0", "proven"),
            (Some((9, 3)), seven(50, 0), "db0:keys=50,expires=2", "unproven"),
            (Some((9, 3)), seven(8, 0), "db0:keys=8,expires=2", "unproven"),
            (Some((9, 3)), seven(0, 0), "db0:keys=9,expires=2", "refuted"),
            (None, seven(0, 0), "", "refuted"),
            (None, seven(9, 0), "db0:keys=9,expires=0", "unproven"),
            (Some((9, 3)), six.clone(), "db0:keys=9,expires=1", "proven"),
            // Some may have expired, and any server may have so many.
            (Some((9, 3)), six.clone(), "db0:keys=7,expires=1", "unproven"),
            (Some((9, 3)), six.clone(), "db0:keys=10,expires=1", "unproven"),
            (Some((9, 3)), six.clone(), "", "refuted"),
            (Some((9, 9)), six.clone(), "", "unproven"),
            (Some((9, 3)), "aof_enabled:1".to_owned(), "db0:keys=9,expires=3", "refuted"),
            (Some((9, 3)), "loading:0".to_owned(), "db0:keys=9,expires=3", "unproven"),
        ] {
            let verdict = Verdict::of(&rdb(counts), false, &told(&persistence, keyspace));
            assert_eq!(word(&verdict), wanted, "{counts:?} {persistence} {keyspace}: {verdict:?}");
        }
        for (keyspace, wanted) in [("", "proven"), ("db0:keys=1,expires=0", "refuted")] {
            assert_eq!(word(&Verdict::of(&Placed::default(), false, &told(&six, keyspace))), wanted);
        }
    }

    #[test]
    fn bytes_tell_which_append_only_files_were_read() {
        let mut many =
            Placed { manifest: Some(b"file b seq 1 type b\nfile i seq 1 type i\n".to_vec()), ..rdb(None) };
        many.add("b", b"", 100);
        many.add("i", b"", 30);
        let mut one = rdb(None);
        one.add("appendonly.aof", b"REDIS0011", 130);
        for (placed, base, all, rewrite, wanted) in [
            (&many, 100, 130, "-1", "proven"),
            (&many, 100, 170, "-1", "proven"),
            (&one, 130, 131, "-1", "proven"),
            (&many, 100, 129, "-1", "refuted"),
            (&many, 99, 1000, "-1", "refuted"),
            (&one, 88, 88, "-1", "refuted"),
            (&one, 88, 88, "0", "unproven"),
        ] {
            let text = format!(
                "aof_enabled:1 aof_base_size:{base} aof_current_size:{all} aof_last_rewrite_time_sec:{rewrite}"
            );
            let verdict = Verdict::of(placed, true, &told(&text, "db0:keys=1,expires=0"));
            assert_eq!(word(&verdict), wanted, "{text}: {verdict:?}");
        }
        assert_eq!(word(&Verdict::of(&many, true, &told("aof_enabled:0", ""))), "refuted");
        assert_eq!(word(&Verdict::of(&many, true, &told("aof_enabled:1", ""))), "unproven");
    }
}
