//! A server whose disk is full.
//!
//! What must hold: the file system is a small one of the test's own, in memory, and gone when the test is over.

use bytes::Bytes;
use packstone::base::ErrorKind;

use super::server::{open_by, sftp_server};
use super::{name, put};
use crate::support::random::Random;
use crate::support::scratch::Scratch;
use crate::support::small_disk::SmallDisk;

#[test]
fn a_full_disk_is_told_as_one() {
    let skipped = "a full disk by SFTP";
    let Some(server) = sftp_server(skipped) else { return };
    // Of bytes, then of files.
    for options in ["size=1m", "size=1m,nr_inodes=8"] {
        let scratch = Scratch::new();
        let Some(disk) = SmallDisk::new(&scratch.join("disk"), options, skipped) else { return };
        let storage = open_by(&disk.path().join("r"), &format!("exec {}", server.display()));
        put(&*storage, "a/small", b"12345");
        let large = [Bytes::from(Random::new(51).bytes(2 << 20))];
        let error = if options == "size=1m" {
            storage.put_if_absent(&name("a/large"), &large).unwrap_err()
        } else {
            let mut puts = (0..8).map(|number| storage.put_if_absent(&name(&format!("b/{number}")), &[]));
            puts.find_map(Result::err).unwrap()
        };
        let chain = error.chain().join(": ");
        assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{chain}");
        assert!(chain.contains("no space is left on the server"), "{chain}");
        // What could not be written takes no space, and what is there is whole.
        assert_eq!(std::fs::read_dir(disk.path().join("r/tmp")).unwrap().count(), 0);
        assert_eq!(storage.get(&name("a/small"), 10).unwrap(), b"12345");
        if options == "size=1m" {
            put(&*storage, "a/other", &[7; 100_000]);
        }
        // Another refusal is not taken for it.
        let taken = storage.put_if_absent(&name("a/small"), &large[..0]).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Exists, "{taken}");
        drop(storage);
    }
}
