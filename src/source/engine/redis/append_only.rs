//! A server's append-only files, as they are at one moment.
//!
//! What must hold: all files that the manifest names are opened before the server can replace one of them; the one that
//! grows is given up to a place behind which nothing that is whole is left out, and before which all is whole.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;

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
/// So much of a file a server may have cut off when it started: a command or a transaction that was not whole.
const CUT_OFF_BYTES_MAX: u64 = 64 << 10;

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
    is_base: bool,
    grows: bool,
}

/// A dump of each file.
pub(super) fn dumps(client: &Client, server: &Server, folder: &Path) -> Result<Vec<Dump>> {
    if client.configuration("appendonly")? != "yes" {
        let message = "the server writes no append-only files (appendonly is no)";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let name = client.configuration("appendfilename")?;
    if !server.is_multi_part() {
        let files = of_server(client, folder, || Ok(vec![open(folder, &name, (false, true))?]))?;
        return Ok(files.into_iter().map(|file| dump(name.clone(), file)).collect());
    }
    let below = client.configuration("appenddirname")?;
    let inside = folder.join(&below);
    let mut manifest = Vec::new();
    let files = of_server(client, &inside, || {
        let (text, files) = open_all(&inside, &name)?;
        manifest = text;
        Ok(files)
    })?;
    let mut dumps = vec![Dump {
        name: format!("{below}/{name}{MANIFEST}"),
        metadata: None,
        open: Box::new(move || Ok(later(FAILED, move |_| Ok(Box::new(Cursor::new(manifest)))))),
    }];
    dumps.extend(files.into_iter().map(|file| dump(format!("{below}/{}", file.name), file)));
    Ok(dumps)
}

/// So many bytes a server says that its files have: all of them, and those that it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    all: u64,
    base: u64,
}

impl Sizes {
    fn of(client: &Client) -> Result<Self> {
        let told = client.information("persistence")?;
        if told.is("aof_last_write_status", "err") {
            let message = "the server cannot write its append-only files (its log says why)";
            return Err(Error::new(ErrorKind::Failed, message));
        }
        match (told.number("aof_current_size"), told.number("aof_base_size")) {
            (Some(all), Some(base)) => Ok(Self { all, base }),
            _ => Err(Error::new(
                ErrorKind::Failed,
                "the server does not say how long its append-only files are",
            )),
        }
    }
}

/// What files are, by what a server says of their sizes before and after they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belonging {
    Its,
    /// It counts so many more. After a crash a server goes on counting what it cut off at the end of its last file.
    Shorter(u64),
    Foreign,
    /// It replaced them meanwhile.
    Unknown,
}

impl Belonging {
    /// Of so many bytes, some of them in the first file. Who has made that as an empty one does not count it.
    fn of(bytes: u64, in_first: u64, before: Sizes, after: Sizes) -> Self {
        let missing = before.all.saturating_sub(bytes);
        let is_counted = |bytes: u64| (before.all..=after.all).contains(&bytes);
        match (before.base == after.base, missing) {
            (false, _) => Self::Unknown,
            (true, _) if is_counted(bytes) || is_counted(bytes - in_first) => Self::Its,
            (true, 1..=CUT_OFF_BYTES_MAX) if bytes > 0 => Self::Shorter(missing),
            (true, _) => Self::Foreign,
        }
    }
}

/// Opens files that must be those which the server writes.
fn of_server(
    client: &Client,
    folder: &Path,
    mut open: impl FnMut() -> Result<Vec<Opened>>,
) -> Result<Vec<Opened>> {
    for _ in 0..ATTEMPTS_MAX {
        let before = Sizes::of(client)?;
        let files = open()?;
        let bytes = files.iter().map(|file| file.bytes).sum();
        let in_first = files.iter().filter(|file| file.is_base).map(|file| file.bytes).sum();
        match Belonging::of(bytes, in_first, before, Sizes::of(client)?) {
            Belonging::Its => return Ok(files),
            Belonging::Shorter(missing) => {
                client.listener().tell(&format!(
                    "the server counts {missing} bytes more than its append-only files have, as one does that had to \
                     cut off their end when it started; else {} is not its folder",
                    show_file(folder)
                ));
                return Ok(files);
            }
            Belonging::Foreign => {
                let message = format!(
                    "the append-only files in {} are not those that this server writes: they have {bytes} bytes, and it \
                     counts {}; folder must be its data folder, as this machine sees it, and its first rewrite over",
                    show_file(folder),
                    before.all
                );
                return Err(Error::new(ErrorKind::Failed, message));
            }
            Belonging::Unknown => {}
        }
    }
    Err(Error::new(ErrorKind::Failed, "the server replaces its files all the time"))
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
            .map(|(index, file)| {
                let grows = file.is_incremental && index + 1 == count;
                open(folder, &file.name, (!file.is_incremental, grows))
            })
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

/// The name of the file that a manifest names as the first, which is no file of changes.
pub(super) fn base_of(manifest: &[u8]) -> Option<String> {
    files_of(manifest).ok()?.into_iter().find(|file| !file.is_incremental).map(|file| file.name)
}

fn open(folder: &Path, name: &str, (is_base, grows): (bool, bool)) -> Result<Opened> {
    let path = folder.join(name);
    let what = || format!("cannot open {}", show_file(&path));
    let file = File::open(&path).wrap(what)?;
    let bytes = file.metadata().wrap(what)?.len();
    Ok(Opened { name: name.to_owned(), file, bytes, is_base, grows })
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
    fn sizes_tell_whose_files_they_are() {
        let sizes = |all| Sizes { all, base: 100 };
        for (bytes, before, after, wanted) in [
            (1000, 1000, 1000, Belonging::Its),
            (1005, 1000, 1010, Belonging::Its),
            (990, 1000, 1000, Belonging::Shorter(10)),
            (1011, 1000, 1010, Belonging::Foreign),
            (0, 1000, 1010, Belonging::Foreign),
            (1000, 1_000_000, 1_000_000, Belonging::Foreign),
        ] {
            assert_eq!(Belonging::of(bytes, 0, sizes(before), sizes(after)), wanted, "{bytes}");
        }
        assert_eq!(Belonging::of(1000, 100, sizes(900), sizes(900)), Belonging::Its);
        assert_eq!(Belonging::of(1, 0, sizes(1), Sizes { all: 1, base: 1 }), Belonging::Unknown);
    }

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
