//! A listing as ncdu reads it with `-f`: version 1.2 of its export format, JSON but for names that are no UTF-8.
//!
//! What must hold: a directory is a list whose first element is its own description; a name is given by its own bytes, as
//! ncdu gives it, with no more escaped than JSON asks for; nothing is held but how deep the listing is.

use std::io::Write;

use packstone::base::monitor::show_path;
use packstone::base::{Error, ErrorKind, Result, Timestamp, Wrap};
use packstone::format::node::{Node, NodeKind};

/// Disk usage is counted in pieces of so many bytes.
const DISK_BYTES: u64 = 512;

/// A listing under way.
pub struct Ncdu<'o> {
    output: &'o mut dyn Write,
    /// Depth of the directory that is listed; none before it is met. The root has 0.
    base: Option<usize>,
    /// How many directories are open, that one with them.
    open: usize,
}

impl<'o> Ncdu<'o> {
    /// Lists all of a snapshot, or what is at and below a path, which is then met first.
    pub fn new(output: &'o mut dyn Write, has_path: bool) -> Result<Self> {
        let (version, now) = (env!("CARGO_PKG_VERSION"), Timestamp::now().seconds);
        let mut ncdu = Self { output, base: None, open: 0 };
        let head = format!("{{\"progname\":\"packstone\",\"progver\":\"{version}\",\"timestamp\":{now}}}");
        ncdu.put(format!("[1,2,{head}").as_bytes())?;
        if !has_path {
            (ncdu.base, ncdu.open) = (Some(0), 1);
            ncdu.put(b",\n[{\"name\":\"/\"}")?;
        }
        Ok(ncdu)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_all(bytes).wrap(|| "cannot write the output")
    }

    /// Writes an entry; parents come first.
    pub fn visit(&mut self, path: &[u8], node: &Node) -> Result<()> {
        let depth = path.iter().filter(|byte| **byte == b'/').count();
        let is_directory = matches!(node.kind, NodeKind::Directory(_));
        let name = match self.base {
            Some(base) => {
                self.close_to(depth.saturating_sub(base))?;
                node.name.as_slice()
            }
            None if !is_directory => {
                let message = format!("{} is no directory, and ncdu shows directories", show_path(path));
                return Err(Error::new(ErrorKind::Usage, message));
            }
            None => {
                self.base = Some(depth);
                path
            }
        };
        self.put(if is_directory { b",\n[" } else { b",\n" })?;
        self.open += usize::from(is_directory);
        self.put(&description(name, node))
    }

    fn close_to(&mut self, open: usize) -> Result<()> {
        while self.open > open {
            self.put(b"]")?;
            self.open -= 1;
        }
        Ok(())
    }

    /// Ends the listing.
    pub fn finish(mut self) -> Result<()> {
        self.close_to(0)?;
        self.put(b"]\n")
    }
}

/// What ncdu is told of an object, with what its extended mode shows. Of an object with several names it is told that it
/// has them, and how to know it again.
fn description(name: &[u8], node: &Node) -> Vec<u8> {
    let mut text = b"{\"name\":\"".to_vec();
    for byte in name {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            ..0x20 | 0x7f => text.extend(format!("\\u{byte:04x}").bytes()),
            other => text.push(*other),
        }
    }
    text.push(b'"');
    let mut add = |more: String| text.extend(more.bytes());
    let kind: u32 = match &node.kind {
        NodeKind::Regular(regular) => {
            if regular.size > 0 {
                let disk = regular.content_bytes().div_ceil(DISK_BYTES).saturating_mul(DISK_BYTES);
                add(format!(",\"asize\":{},\"dsize\":{disk}", regular.size));
            }
            0o100_000
        }
        NodeKind::Directory(_) => 0o040_000,
        NodeKind::Symlink(_) => 0o120_000,
        NodeKind::Fifo => 0o010_000,
        NodeKind::Socket => 0o140_000,
        NodeKind::CharacterDevice { .. } => 0o020_000,
        NodeKind::BlockDevice { .. } => 0o060_000,
    };
    let metadata = &node.metadata;
    if let Some(links) = metadata.links {
        if links.filesystem > 0 {
            add(format!(",\"dev\":{}", links.filesystem));
        }
        add(format!(",\"ino\":{},\"hlnkc\":true", links.inode));
        // With it, ncdu shows what else holds the same bytes.
        metadata.link_count.into_iter().for_each(|count| add(format!(",\"nlink\":{count}")));
    }
    if !matches!(node.kind, NodeKind::Regular(_) | NodeKind::Directory(_)) {
        add(",\"notreg\":true".to_owned());
    }
    let (mode, mtime) = (kind | u32::from(metadata.mode), metadata.mtime.seconds.max(0));
    add(format!(",\"uid\":{},\"gid\":{},\"mode\":{mode},\"mtime\":{mtime}}}", metadata.uid, metadata.gid));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use packstone::base::ChunkId;
    use packstone::format::node::{Content, Extent, LinkGroup, Metadata, Regular};

    fn node(name: &[u8], kind: NodeKind) -> Node {
        let mtime = Timestamp { seconds: -1, nanoseconds: 0 };
        let metadata = Metadata { mode: 0o644, uid: 7, gid: 8, mtime, ..Metadata::default() };
        Node { name: name.to_vec(), kind, metadata, xattrs: Vec::new(), kept: Vec::new() }
    }

    fn directory() -> NodeKind {
        NodeKind::Directory(ChunkId([0; 32]))
    }

    fn listed(has_path: bool, entries: &[(&[u8], NodeKind)]) -> Result<String> {
        let mut output = Vec::new();
        let mut ncdu = Ncdu::new(&mut output, has_path)?;
        for (path, kind) in entries {
            let name = path.rsplit(|byte| *byte == b'/').next().expect("a name");
            ncdu.visit(path, &node(name, kind.clone()))?;
        }
        ncdu.finish()?;
        let text = String::from_utf8(output).expect("text");
        let (head, rest) = text.split_once('\n').expect("lines");
        assert!(head.starts_with("[1,2,{\"progname\":\"packstone\",") && head.ends_with("},"), "{head}");
        // What all have.
        Ok(rest.replace(",\"uid\":7,\"gid\":8", "").replace(",\"mtime\":0", ""))
    }

    #[test]
    fn directories_are_lists() {
        let entries: [(&[u8], NodeKind); 4] =
            [(b"/a", directory()), (b"/a/b", directory()), (b"/a/b/c", NodeKind::Fifo), (b"/d", directory())];
        let expected = "[{\"name\":\"/\"},\n[{\"name\":\"a\",\"mode\":16804},\n[{\"name\":\"b\",\"mode\":16804},\n\
                        {\"name\":\"c\",\"notreg\":true,\"mode\":4516}]],\n[{\"name\":\"d\",\"mode\":16804}]]]\n";
        assert_eq!(listed(false, &entries).expect("listed"), expected);
        let below: [(&[u8], NodeKind); 2] = [(b"/srv/a", directory()), (b"/srv/a/c", NodeKind::Socket)];
        let expected =
            "[{\"name\":\"/srv/a\",\"mode\":16804},\n{\"name\":\"c\",\"notreg\":true,\"mode\":49572}]]\n";
        assert_eq!(listed(true, &below).expect("listed"), expected);
        assert_eq!(listed(false, &[]).expect("listed"), "[{\"name\":\"/\"}]]\n");
        let refused = listed(true, &[(b"/a", NodeKind::Fifo)]).expect_err("no directory");
        assert_eq!(refused.kind(), ErrorKind::Usage);
    }

    #[test]
    fn a_file_says_what_it_takes_and_that_it_has_further_names() {
        let extents = Some(vec![Extent { offset: 4096, length: 513 }]);
        let regular = Regular { size: 1 << 40, content: Content::Empty, extents, changed_while_read: false };
        let mut file = node(b"a\"\\\n\x7f\xff", NodeKind::Regular(regular));
        file.metadata.links = Some(LinkGroup { filesystem: 2, inode: 5 });
        let expected =
            b"{\"name\":\"a\\\"\\\\\\u000a\\u007f\xff\",\"asize\":1099511627776,\"dsize\":1024,\"dev\":2,\
                         \"ino\":5,\"hlnkc\":true,\"uid\":7,\"gid\":8,\"mode\":33188,\"mtime\":0}";
        assert_eq!(description(&file.name, &file), expected);
        file.metadata.link_count = Some(3);
        let counted = String::from_utf8_lossy(expected).replace("true", "true,\"nlink\":3");
        assert_eq!(String::from_utf8_lossy(&description(&file.name, &file)), counted);
    }
}
