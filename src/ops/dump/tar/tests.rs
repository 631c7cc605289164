//! Headers of tar files, field by field.

use super::*;
use crate::format::node::tests::plain;
use crate::format::node::{Content, Extent, LinkGroup, Metadata};

fn member(name: &[u8], kind: NodeKind) -> Member {
    let node =
        Node { xattrs: Vec::new(), ..plain(name.rsplit(|byte| *byte == b'/').next().unwrap_or(name), kind) };
    let metadata = Metadata { mode: 0o4751, uid: 7, gid: 8, ..Metadata::default() };
    Member { name: name.to_vec(), node: Node { metadata, ..node }, xattrs: Vec::new(), link: None }
}

fn regular(size: u64, extents: Option<Vec<Extent>>) -> NodeKind {
    NodeKind::Regular(Regular { size, content: Content::Empty, extents, changed_while_read: false })
}

/// The records of the extended header, each as `keyword=value`, and the header itself.
fn written(member: &Member) -> (Vec<Vec<u8>>, Vec<u8>) {
    let mut bytes = Vec::new();
    Tar::new(&mut bytes).begin(member).expect("written");
    let size =
        |header: &[u8]| usize::from_str_radix(std::str::from_utf8(&header[124..135]).expect("digits"), 8);
    let mut records = Vec::new();
    if bytes[156] == b'x' {
        let size = size(&bytes).expect("a size");
        let mut rest = bytes[512..512 + size].to_vec();
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').expect("a space");
            let length: usize =
                std::str::from_utf8(&rest[..space]).expect("digits").parse().expect("a length");
            let after = rest.split_off(length);
            assert_eq!(rest.pop(), Some(b'\n'));
            records.push(rest[space + 1..].to_vec());
            rest = after;
        }
        bytes.drain(..512 + size.next_multiple_of(512));
    }
    (records, bytes)
}

fn has(records: &[Vec<u8>], wanted: &str) -> bool {
    records.iter().any(|record| record == wanted.as_bytes())
}

#[test]
fn a_header_holds_what_fits() {
    let mut file = member(b"a/b", regular(10, None));
    file.node.metadata.user = Some("root".into());
    file.node.metadata.mtime = Timestamp { seconds: 8, nanoseconds: 0 };
    let (records, header) = written(&file);
    assert_eq!(records, [b"ctime=0".to_vec()]);
    assert_eq!(header.len(), 512);
    assert_eq!(&header[..4], b"a/b\0");
    assert_eq!(&header[100..108], b"0004751\0");
    assert_eq!(&header[108..124], b"0000007\x000000010\0");
    assert_eq!(&header[124..148], b"00000000012\x0000000000010\0");
    assert_eq!(header[156], b'0');
    assert_eq!(&header[257..265], b"ustar\x0000");
    assert_eq!(&header[265..270], b"root\0");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = header[148..156].iter().map(|byte| u32::from(*byte)).sum();
    let told = u32::from_str_radix(std::str::from_utf8(&header[148..154]).expect("digits"), 8);
    assert_eq!(told, Ok(sum - own + 8 * 32));
}

#[test]
fn every_kind_has_its_letter() {
    let letter = |kind| written(&member(b"n", kind)).1[156];
    assert_eq!(letter(NodeKind::Directory(crate::base::ChunkId([0; 32]))), b'5');
    assert_eq!(letter(NodeKind::Symlink(b"t".to_vec())), b'2');
    assert_eq!(letter(NodeKind::Fifo), b'6');
    let (_, device) = written(&member(b"n", NodeKind::CharacterDevice { major: 8, minor: 9 }));
    assert_eq!((device[156], &device[329..345]), (b'3', b"0000010\x000000011\0".as_slice()));
    let (_, device) = written(&member(b"n", NodeKind::BlockDevice { major: 1, minor: 1 << 24 }));
    assert_eq!((device[156], &device[337..345]), (b'4', b"\x80\0\0\0\x01\0\0\0".as_slice()));
    let mut further = member(b"n", regular(10, None));
    further.link = Some(b"first".to_vec());
    let (_, header) = written(&further);
    assert_eq!(
        (header[156], &header[157..163], &header[124..135]),
        (b'1', b"first\0".as_slice(), b"00000000000".as_slice())
    );
    let (_, root) = written(&member(b"", NodeKind::Directory(crate::base::ChunkId([0; 32]))));
    assert_eq!(&root[..3], b"./\0");
}

#[test]
fn what_does_not_fit_stands_before() {
    let long = "é".repeat(60);
    let mut link = member(long.as_bytes(), NodeKind::Symlink(vec![b'x'; 101]));
    let metadata = &mut link.node.metadata;
    (metadata.uid, metadata.gid) = (1 << 21, u32::MAX);
    metadata.user = Some("ü".into());
    metadata.group = Some("g".repeat(32).into());
    metadata.mtime = Timestamp { seconds: -2, nanoseconds: 500_000_000 };
    metadata.ctime = Timestamp { seconds: i64::MIN, nanoseconds: 1 };
    metadata.links = Some(LinkGroup { filesystem: 0, inode: 1 });
    let (records, header) = written(&link);
    assert!(has(&records, &format!("path={long}")));
    assert!(has(&records, &format!("linkpath={}", "x".repeat(101))));
    assert!(has(&records, "uid=2097152") && has(&records, "gid=4294967295"));
    assert!(has(&records, "uname=ü") && has(&records, &format!("gname={}", "g".repeat(32))));
    assert!(has(&records, "mtime=-1.500000000"));
    assert!(has(&records, "ctime=-9223372036854775807.999999999"));
    assert_eq!(&header[108..116], b"7777777\0");
    assert!(!records.iter().any(|record| record.starts_with(b"hdrcharset")));
    let (records, _) = written(&member(b"a\xff\n", NodeKind::Fifo));
    assert_eq!(records[..2], [b"hdrcharset=BINARY".to_vec(), b"path=a\xff\n".to_vec()]);
    let (records, header) = written(&member(b"n", regular(1 << 33, None)));
    assert!(has(&records, "size=8589934592"));
    assert_eq!(&header[124..136], b"77777777777\0");
}

#[test]
fn the_length_of_a_record_counts_itself() {
    for length in [1, 90, 91, 92, 93, 94, 95, 990, 991, 992, 993, 994, 9989, 9990] {
        let mut extended = Extended::default();
        extended.add(b"key", &vec![b'v'; length]);
        let bytes = extended.bytes();
        let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let told: usize = std::str::from_utf8(&bytes[..digits]).expect("digits").parse().expect("a number");
        assert_eq!(told, bytes.len(), "{length}");
    }
}

#[test]
fn attributes_and_lists_are_records() {
    let mut file = member(b"n", regular(0, None));
    let list = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255];
    file.xattrs = vec![
        (b"system.posix_acl_access".to_vec(), list.to_vec()),
        (b"system.posix_acl_default".to_vec(), b"odd".to_vec()),
        (b"user.a=b%".to_vec(), b"\0\n".to_vec()),
    ];
    let (records, _) = written(&file);
    assert!(has(&records, "SCHILY.acl.access=user::rw-"));
    assert!(!records.iter().any(|record| record.starts_with(b"SCHILY.acl.default")));
    assert!(has(&records, "SCHILY.xattr.user.a%3Db%25=\0\n"));
    let raw = [b"SCHILY.xattr.system.posix_acl_access=".as_slice(), &list].concat();
    assert!(records.contains(&raw));
}

#[test]
fn a_sparse_file_has_a_map() {
    let extent = |offset, length| Extent { offset, length };
    let file = member(b"s", regular(1 << 40, Some(vec![extent(4096, 4096), extent(1 << 30, 700)])));
    let (records, rest) = written(&file);
    for record in ["major=1", "minor=0", "name=s", "realsize=1099511627776"] {
        assert!(has(&records, &format!("GNU.sparse.{record}")), "{record}");
    }
    let (header, map) = rest.split_at(512);
    assert_eq!(&header[124..135], format!("{:011o}", 512 + 4096 + 1024).as_bytes());
    assert_eq!(map.len(), 512);
    assert!(map.starts_with(b"3\n4096\n4096\n1073741824\n1024\n1099511627776\n0\n\0"));
}

#[test]
fn regions_are_whole_records_and_apart() {
    let of = |size, extents: &[(u64, u64)]| {
        let extents = extents.iter().map(|(offset, length)| Extent { offset: *offset, length: *length });
        let NodeKind::Regular(regular) = regular(size, Some(extents.collect())) else { panic!("a file") };
        sparse::regions(&regular).into_iter().map(|region| (region.start, region.end)).collect::<Vec<_>>()
    };
    assert_eq!(of(100, &[(10, 3), (50, 4)]), [(10, 100)]);
    assert_eq!(of(2000, &[(10, 3), (600, 4)]), [(10, 522), (600, 1112)]);
    assert_eq!(of(2000, &[(10, 3), (500, 600)]), [(10, 1546)]);
    assert_eq!(of(1546, &[(10, 3), (522, 1024)]), [(10, 1546)]);
    assert_eq!(of(5000, &[(0, 512), (4608, 392)]), [(0, 512), (4608, 5000)]);
    assert_eq!(of(5000, &[]), []);
    assert!(sparse::map(&[], 5000).starts_with(b"1\n5000\n0\n\0"));
    assert!(sparse::map(std::slice::from_ref(&(0..5000)), 5000).starts_with(b"1\n0\n5000\n\0"));
}
