//! Paths that share their beginnings.

use std::sync::Arc;

/// A path as a chain from the source's root, so that a million entries share their parents' names.
#[derive(Debug)]
pub(crate) struct PathLink {
    pub(crate) parent: Option<Arc<PathLink>>,
    pub(crate) name: Vec<u8>,
}

impl PathLink {
    /// The bytes of the path, with another name at its end if given.
    pub(crate) fn join(&self, name: Option<&[u8]>) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = name.into_iter().collect();
        let mut link = Some(self);
        while let Some(current) = link {
            parts.push(&current.name);
            link = current.parent.as_deref();
        }
        parts.reverse();
        let joined = parts.join(&b'/');
        // The root of everything has an empty name, so that its entries begin with one slash.
        if joined.is_empty() { b"/".to_vec() } else { joined }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_gives_its_path() {
        let link = |parent: Option<&Arc<PathLink>>, name: &[u8]| {
            Arc::new(PathLink { parent: parent.cloned(), name: name.to_vec() })
        };
        let root = link(None, b"");
        assert_eq!(root.join(None), b"/");
        assert_eq!(root.join(Some(b"a")), b"/a");
        let below = link(Some(&root), b"etc");
        assert_eq!(below.join(None), b"/etc");
        assert_eq!(below.join(Some(b"x\xff")), b"/etc/x\xff");
        let source = link(Some(&link(None, b"/srv/data")), b"db");
        assert_eq!(source.join(Some(b"f")), b"/srv/data/db/f");
    }
}
