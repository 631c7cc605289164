//! Dumps kept in memory, and put back from there.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use packstone::base::{Error, Result};
use packstone::format::node::Metadata;
use packstone::source::{Dumps, Engine, Listener, LoadOptions, StoredDump};

/// What an engine gave.
#[derive(Debug)]
pub struct Kept {
    pub consistency: String,
    pub problems: Vec<String>,
    pub dumps: Vec<(StoredDump, Vec<u8>)>,
}

/// A listener, and what it was told.
pub fn listening() -> (Listener, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&told);
    (Listener::new(move |line: &str| writer.lock().expect("no panic").push(line.to_owned())), told)
}

/// A listener that prints.
pub fn printing() -> Listener {
    Listener::new(|line: &str| println!("  {line}"))
}

/// Dumps everything. The first dump that is not whole is the error.
pub fn dump(engine: &dyn Engine) -> Result<Kept> {
    keep(engine.dump(&printing())?)
}

/// Reads all dumps, and asks whether they are whole.
pub fn keep(dumps: Dumps) -> Result<Kept> {
    keep_while(dumps, || {})
}

/// The same; does something once each dump has given its first byte, before it gives the others.
pub fn keep_while(dumps: Dumps, mut between: impl FnMut()) -> Result<Kept> {
    let mut kept = Vec::new();
    for dump in dumps.dumps {
        let mut bytes = Vec::new();
        let opened = (dump.open)()?;
        let mut reader = opened.reader;
        let read = (&mut reader).take(1).read_to_end(&mut bytes).and_then(|_| {
            between();
            reader.read_to_end(&mut bytes)
        });
        drop(reader);
        // What the end says of it tells more than that the reader broke off.
        (opened.end)()?;
        read.map_err(|cause| Error::system(format!("cannot read {}", dump.name), cause))?;
        let metadata = dump.metadata.unwrap_or_else(|| Metadata { mode: 0o600, ..Metadata::default() });
        kept.push((StoredDump { name: dump.name, size_bytes: bytes.len() as u64, metadata }, bytes));
    }
    if let Some(end) = dumps.end {
        end()?;
    }
    Ok(Kept { consistency: dumps.consistency, problems: dumps.problems, dumps: kept })
}

impl Kept {
    /// The dumps as a snapshot knows them.
    pub fn stored(&self) -> Vec<StoredDump> {
        self.dumps.iter().map(|(stored, _)| stored.clone()).collect()
    }

    /// The bytes of a dump.
    pub fn bytes(&self, name: &str) -> &[u8] {
        let found = self.dumps.iter().find(|(stored, _)| stored.name == name);
        &found.unwrap_or_else(|| panic!("no {name} in {:?}", self.stored())).1
    }

    /// Puts everything back; gives what was replaced.
    pub fn load(&self, engine: &dyn Engine, options: &LoadOptions) -> Result<Vec<String>> {
        let plan = engine.load(&self.stored(), options, &printing())?;
        for step in plan.steps {
            println!("  {}", step.what);
            let bytes = step.dump.as_deref().map(|name| self.bytes(name));
            let mut feed = |writer: &mut dyn Write| -> Result<()> {
                let bytes = bytes.expect("a step that asks for bytes names their dump");
                bytes
                    .chunks(100_000)
                    .try_for_each(|part| writer.write_all(part))
                    .map_err(|cause| Error::system("cannot feed", cause))
            };
            (step.run)(&mut feed)?;
        }
        Ok(plan.replaced)
    }
}

/// Options that replace what is there.
pub fn replacing() -> LoadOptions {
    LoadOptions { may_replace: true, ..LoadOptions::default() }
}
