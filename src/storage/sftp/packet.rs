//! Packets of SFTP, version 3: requests to bytes, bytes to replies (draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL
//! for the extensions).
//!
//! What must hold: no reply makes this panic or take more memory than its own bytes; what is not exactly understood is no
//! reply.

use bytes::Bytes;

/// Longest packet that is accepted: what OpenSSH accepts.
pub(super) const PACKET_BYTES_MAX: usize = 256 << 10;
/// Bytes of data in a request: what every server must take.
pub(super) const PIECE_BYTES: usize = 32 << 10;

const VERSION: u32 = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Open = 3,
    Close = 4,
    Read = 5,
    Write = 6,
    LinkStat = 7,
    OpenFolder = 11,
    ReadFolder = 12,
    Remove = 13,
    MakeFolder = 14,
    RemoveFolder = 15,
    Stat = 17,
    Rename = 18,
    Extended = 200,
}

/// Open to read.
pub(super) const READ: u32 = 1;
/// Open to write what is not there before.
pub(super) const WRITE_NEW: u32 = 2 | 8 | 0x20;

/// Permissions stand in the attributes; the only ones that are sent.
const HAS_PERMISSIONS: u32 = 4;

/// A request that has no number yet.
#[derive(Clone, Debug)]
pub(super) struct Request {
    kind: Kind,
    fields: Vec<u8>,
    payload: Bytes,
}

impl Request {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, fields: Vec::new(), payload: Bytes::new() }
    }

    pub(super) fn number(mut self, number: u32) -> Self {
        self.fields.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn offset(mut self, offset: u64) -> Self {
        self.fields.extend_from_slice(&offset.to_be_bytes());
        self
    }

    pub(super) fn text(self, text: &[u8]) -> Self {
        let mut request = self.number(u32::try_from(text.len()).unwrap_or(u32::MAX));
        request.fields.extend_from_slice(text);
        request
    }

    pub(super) fn mode(self, mode: u32) -> Self {
        self.number(HAS_PERMISSIONS).number(mode)
    }

    /// The data of a write, which comes last.
    pub(super) fn data(self, data: Bytes) -> Self {
        let request = self.number(u32::try_from(data.len()).unwrap_or(u32::MAX));
        Self { payload: data, ..request }
    }

    /// Head and data of the packet.
    pub(super) fn encode(self, id: u32) -> (Vec<u8>, Bytes) {
        let length = 1 + 4 + self.fields.len() + self.payload.len();
        let mut head = Vec::with_capacity(4 + 1 + 4 + self.fields.len());
        head.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        head.push(self.kind as u8);
        head.extend_from_slice(&id.to_be_bytes());
        head.extend_from_slice(&self.fields);
        (head, self.payload)
    }
}

/// The first packet of a client.
pub(super) fn hello() -> [u8; 9] {
    let [a, b, c, d] = VERSION.to_be_bytes();
    [0, 0, 0, 5, 1, a, b, c, d]
}

/// What a server can do beyond the version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// `hardlink@openssh.com`.
    pub(super) hard_link: bool,
    /// `fsync@openssh.com`.
    pub(super) sync: bool,
    /// `statvfs@openssh.com`.
    pub(super) space: bool,
}

/// Reads the first packet of a server; its version if it is another than ours, or nothing if it is no such packet.
pub(super) fn read_hello(body: Bytes) -> Result<Extensions, Option<u32>> {
    let mut fields = Fields(body);
    if fields.byte() != Some(2) {
        return Err(None);
    }
    let version = fields.number().ok_or(None)?;
    if version != VERSION {
        return Err(Some(version));
    }
    let mut extensions = Extensions::default();
    while !fields.0.is_empty() {
        let (name, data) = (fields.text().ok_or(None)?, fields.text().ok_or(None)?);
        match (&*name, &*data) {
            (b"hardlink@openssh.com", b"1") => extensions.hard_link = true,
            (b"fsync@openssh.com", b"1") => extensions.sync = true,
            (b"statvfs@openssh.com", b"2") => extensions.space = true,
            _ => {}
        }
    }
    Ok(extensions)
}

/// What a server says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) size_bytes: Option<u64>,
    pub(super) mode: Option<u32>,
}

/// What lies under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Regular,
    Folder,
    /// A link, a device, …
    Other,
    /// The server does not say.
    Unknown,
}

impl Attributes {
    pub(super) fn kind(&self) -> FileKind {
        match self.mode.map(|mode| mode & 0o170_000) {
            Some(0o100_000) => FileKind::Regular,
            Some(0o040_000) => FileKind::Folder,
            // Only permissions, without a type.
            None | Some(0) => FileKind::Unknown,
            Some(_) => FileKind::Other,
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Status {
        code: u32,
        message: String,
    },
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<(Bytes, Attributes)>),
    Attributes(Attributes),
    /// Of a request that is no part of the protocol.
    Extended(Bytes),
}

/// What a file system has left for who may not use all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) free_bytes: u64,
    /// Files that can still be made; nothing if they are not counted.
    pub(super) free_files: Option<u64>,
}

impl Space {
    /// What the answer to `statvfs@openssh.com` holds: size of a block, of a fragment, fragments, free ones, available
    /// ones, and the same of files.
    pub(super) fn decode(body: Bytes) -> Option<Self> {
        let mut fields = Fields(body);
        let [_, fragment_bytes, _, _, available, files, _, available_files] = {
            let mut numbers = [0; 8];
            for number in &mut numbers {
                *number = fields.offset()?;
            }
            numbers
        };
        let free_files = (files > 0).then_some(available_files);
        Some(Self { free_bytes: available.saturating_mul(fragment_bytes), free_files })
    }
}

impl Reply {
    /// The number of the request that it answers, and the answer; nothing if it is none.
    pub(super) fn decode(body: Bytes) -> Option<(u32, Self)> {
        let mut fields = Fields(body);
        let (kind, id) = (fields.byte()?, fields.number()?);
        let reply = match kind {
            101 => {
                let code = fields.number()?;
                // Some servers end here.
                let message = fields.text().unwrap_or_default();
                Self::Status { code, message: String::from_utf8_lossy(&message).into_owned() }
            }
            102 => Self::Handle(fields.text()?),
            103 => Self::Data(fields.text()?),
            104 => {
                let count = fields.number()?;
                let mut names = Vec::new();
                for _ in 0..count {
                    let (name, _long) = (fields.text()?, fields.text()?);
                    names.push((name, fields.attributes()?));
                }
                Self::Names(names)
            }
            105 => Self::Attributes(fields.attributes()?),
            201 => Self::Extended(fields.0),
            _ => return None,
        };
        Some((id, reply))
    }
}

/// What is left of a packet.
struct Fields(Bytes);

impl Fields {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.as_ref().try_into().ok()?))
    }

    fn offset(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(self.take(8)?.as_ref().try_into().ok()?))
    }

    fn text(&mut self) -> Option<Bytes> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.number()?;
        let mut attributes = Attributes::default();
        if flags & 1 != 0 {
            attributes.size_bytes = Some(self.offset()?);
        }
        if flags & 2 != 0 {
            self.take(8)?;
        }
        if flags & HAS_PERMISSIONS != 0 {
            attributes.mode = Some(self.number()?);
        }
        if flags & 8 != 0 {
            self.take(8)?;
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Vec<u8> {
        [&u32::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
    }

    #[test]
    fn a_request_is_laid_out_as_the_protocol_says() {
        let request = Request::new(Kind::Write).text(b"h").offset(258).data(Bytes::from_static(b"xyz"));
        let (head, data) = request.encode(7);
        let expected =
            [&[0, 0, 0, 25, 6, 0, 0, 0, 7][..], &[0, 0, 0, 1, b'h', 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3]]
                .concat();
        assert_eq!((head, &*data), (expected, b"xyz".as_slice()));
        let (head, _) = Request::new(Kind::MakeFolder).text(b"a").mode(0o700).encode(1);
        assert_eq!(head.get(9..), Some([0, 0, 0, 1, b'a', 0, 0, 0, 4, 0, 0, 1, 0xc0].as_slice()));
    }

    #[test]
    fn a_hello_names_version_and_extensions() {
        let extension = |name: &[u8]| [text(name), text(b"1")].concat();
        let hello = [
            vec![2, 0, 0, 0, 3],
            extension(b"posix-rename@openssh.com"),
            extension(b"hardlink@openssh.com"),
            extension(b"fsync@openssh.com"),
        ]
        .concat();
        let all = Extensions { hard_link: true, sync: true, space: false };
        assert_eq!(read_hello(Bytes::from(hello.clone())), Ok(all));
        assert_eq!(read_hello(Bytes::from_static(&[2, 0, 0, 0, 3])), Ok(Extensions::default()));
        assert_eq!(read_hello(Bytes::from_static(&[2, 0, 0, 0, 6])), Err(Some(6)));
        assert_eq!(read_hello(Bytes::from_static(b"Welcome")), Err(None));
        assert_eq!(read_hello(Bytes::from(hello[..hello.len() - 1].to_vec())), Err(None));
    }

    fn names() -> Vec<u8> {
        let attributes = [
            [0x8000_000f_u32.to_be_bytes().as_slice(), &9_u64.to_be_bytes(), &[0; 8]].concat(),
            0o100_600_u32.to_be_bytes().to_vec(),
            [[0; 8].as_slice(), &1_u32.to_be_bytes(), &text(b"k"), &text(b"v")].concat(),
        ]
        .concat();
        let entries = [text(b"a"), text(b"long"), attributes, text(b".."), text(b""), vec![0; 4]].concat();
        [&[104, 0, 0, 0, 5, 0, 0, 0, 2], entries.as_slice()].concat()
    }

    #[test]
    fn replies_are_read_and_what_is_none_is_refused() {
        let expected = vec![
            (Bytes::from_static(b"a"), Attributes { size_bytes: Some(9), mode: Some(0o100_600) }),
            (Bytes::from_static(b".."), Attributes::default()),
        ];
        let names = names();
        assert_eq!(Reply::decode(Bytes::from(names.clone())), Some((5, Reply::Names(expected))));
        for length in 0..names.len() {
            assert_eq!(Reply::decode(Bytes::from(names[..length].to_vec())), None, "{length}");
        }
        // A count that is not there.
        assert_eq!(Reply::decode(Bytes::from_static(&[104, 0, 0, 0, 1, 255, 255, 255, 255])), None);
        assert_eq!(Reply::decode(Bytes::from_static(&[103, 0, 0, 0, 1, 255, 255, 255, 255, 0])), None);
        assert_eq!(Reply::decode(Bytes::from_static(&[99, 0, 0, 0, 1, 0, 0, 0, 0])), None);
        let status = Reply::Status { code: 2, message: String::new() };
        assert_eq!(Reply::decode(Bytes::from_static(&[101, 0, 0, 0, 1, 0, 0, 0, 2])), Some((1, status)));
    }

    #[test]
    fn space_is_what_is_available_in_fragments() {
        let numbers = |files: u64| {
            let numbers = [1 << 20, 4096, 900, 300, 200, files, 60, 50, 1, 0, 255_u64];
            Bytes::from(numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>())
        };
        let free_bytes = 200 * 4096;
        assert_eq!(Space::decode(numbers(100)), Some(Space { free_bytes, free_files: Some(50) }));
        assert_eq!(Space::decode(numbers(0)), Some(Space { free_bytes, free_files: None }));
        assert_eq!(Space::decode(numbers(0).slice(..63)), None);
        let reply = Reply::decode(Bytes::from_static(&[201, 0, 0, 0, 1, 9]));
        assert_eq!(reply, Some((1, Reply::Extended(Bytes::from_static(&[9])))));
    }

    #[test]
    fn a_mode_without_a_type_says_nothing() {
        let kind = |mode| Attributes { size_bytes: None, mode }.kind();
        assert_eq!(kind(None), FileKind::Unknown);
        assert_eq!(kind(Some(0o600)), FileKind::Unknown);
        assert_eq!(kind(Some(0o100_600)), FileKind::Regular);
        assert_eq!(kind(Some(0o040_700)), FileKind::Folder);
        assert_eq!(kind(Some(0o120_777)), FileKind::Other);
    }
}
