//! A server's append-only files, as they are at one moment.
//!
//! What must hold: all files that the manifest names are opened before the server can replace one of them; the one that
//! grows is given up to a place behind which nothing that is whole is left out, and before which all is whole.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use super::super::Dump;
use super::super::later::later;
use super::FAILED;
use super::client::{Client, Server};
use super::commands::whole_bytes;
use crate::base::monitor::show_file;
use crate::base::{Error, ErrorKind, Result, Wrap};
use crate::fsmeta::capture::{metadata, stat_fd};
use crate::fsmeta::owners::Owners;

/// What ends the name of the file that names the others.
pub(super) const MANIFEST: &str = ".manifest";
/// As often the server may replace its files while they are opened.
const ATTEMPTS_MAX: u32 = 50;

/// A file of the manifest.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    name: String,
    /// Whether it is the one that grows, if it is the last.
    is_incremental: bool,
}

/// A file that is opened.
struct Opened {
    name: String,
    file: File,
    /// So long was it.
    bytes: u64,
    grows: bool,
}

/// A dump of each file.
pub(super) fn dumps(
    client: &Client,
    server: &Server,
    folder: Option<&str>,
    in_container: bool,
) -> Result<Vec<Dump>> {
    if client.configuration("appendonly")? != "yes" {
        let message = "the server writes no append-only files (appendonly is no)";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let folder = match folder {
        Some(folder) => PathBuf::from(folder),
        None if in_container => {
            let message =
                "the server runs in a container: its data folder, as this machine sees it, must be named";
            return Err(Error::new(ErrorKind::Usage, message));
        }
        None => client.folder()?,
    };
    let name = client.configuration("appendfilename")?;
    let mut dumps = Vec::new();
    if server.is_multi_part() {
        let below = client.configuration("appenddirname")?;
        let (manifest, files) = open_all(&folder.join(&below), &name)?;
        dumps.push(Dump {
            name: format!("{below}/{name}{MANIFEST}"),
            metadata: None,
            open: Box::new(move || Ok(later(FAILED, move |_| Ok(Box::new(Cursor::new(manifest)))))),
        });
        dumps.extend(files.into_iter().map(|file| dump(format!("{below}/{}", file.name), file)));
    } else {
        dumps.push(dump(name.clone(), open(&folder, &name, true)?));
    }
    Ok(dumps)
}

/// Opens what a manifest names, at a moment at which it names nothing else.
fn open_all(folder: &Path, name: &str) -> Result<(Vec<u8>, Vec<Opened>)> {
    let path = folder.join(format!("{name}{MANIFEST}"));
    let read = || std::fs::read(&path).wrap(|| format!("cannot read {}", show_file(&path)));
    let mut last = None;
    for _ in 0..ATTEMPTS_MAX {
        let before = read()?;
        let named = files_of(&before)?;
        let count = named.len();
        let opened: Result<Vec<Opened>> = named
            .into_iter()
            .enumerate()
            .map(|(index, file)| open(folder, &file.name, file.is_incremental && index + 1 == count))
            .collect();
        match opened {
            Ok(opened) if read()? == before => return Ok((before, opened)),
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    let error =
        last.unwrap_or_else(|| Error::new(ErrorKind::Failed, "the server replaces its files all the time"));
    Err(error)
}

/// The files that a manifest names, in the order in which the server reads them; those of the past left out.
fn files_of(manifest: &[u8]) -> Result<Vec<Named>> {
    let wrong =
        |line: &str| Error::damaged(format!("a line of the manifest of append-only files is {line:?}"));
    let text = std::str::from_utf8(manifest).map_err(|_| Error::damaged("the manifest is no text"))?;
    let mut files = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let value =
            |key: &str| words.chunks(2).find(|pair| pair.first() == Some(&key)).and_then(|pair| pair.get(1));
        let (Some(name), Some(kind)) = (value("file"), value("type")) else { return Err(wrong(line)) };
        // Names with white space and the like are quoted; the server gives none such by itself.
        if name.starts_with('"') || name.contains('/') {
            return Err(wrong(line));
        }
        match *kind {
            "b" | "i" => files.push(Named { name: (*name).to_owned(), is_incremental: *kind == "i" }),
            "h" => {}
            _ => return Err(wrong(line)),
        }
    }
    Ok(files)
}

fn open(folder: &Path, name: &str, grows: bool) -> Result<Opened> {
    let path = folder.join(name);
    let what = || format!("cannot open {}", show_file(&path));
    let file = File::open(&path).wrap(what)?;
    let bytes = file.metadata().wrap(what)?.len();
    Ok(Opened { name: name.to_owned(), file, bytes, grows })
}

fn dump(name: String, opened: Opened) -> Dump {
    let stat = stat_fd(&opened.file).ok();
    let metadata = stat.map(|stat| metadata(&stat, &Owners::new(), None));
    let failed = format!("{FAILED}: {name}");
    let open = move || {
        Ok(later(&failed, move |_| {
            let Opened { mut file, mut bytes, grows, .. } = opened;
            if grows {
                let part = (&file).take(bytes);
                bytes = whole_bytes(BufReader::with_capacity(1 << 16, part))?;
                file.rewind().wrap(|| "cannot read the append-only file")?;
            }
            Ok(Box::new(Exactly { file, left: bytes }))
        }))
    };
    Dump { name, metadata, open: Box::new(open) }
}

/// The first bytes of a file, all of which must be there.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(buffer.get_mut(..room).unwrap_or_default())?;
        if count == 0 && room > 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "the file has become shorter",
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_name_files() {
        let text = "file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type h\nfile a.2.incr.aof seq 2 type i\n";
        let files = files_of(text.as_bytes()).expect("files");
        let names: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.is_incremental)).collect();
        assert_eq!(names, [("a.1.base.rdb", false), ("a.2.incr.aof", true)]);
        for bad in ["file a seq 1 type x", "file \"a b\" seq 1 type b", "name a", "file ../a seq 1 type b"] {
            files_of(bad.as_bytes()).expect_err(bad);
        }
    }
}
