//! Making and opening key slots (format-spec chapter 4).
//!
//! What must hold: a wrong secret is told by the commitment, before anything is opened; what a slot holds is bound to
//! its repository.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::base::{Error, ErrorKind, RepositoryId, Result, SlotName, Timestamp};
use crate::crypto::cipher::{Cipher, Refused};
use crate::crypto::seal::derive;
use crate::crypto::{Keys, Secret, password, random};
use crate::format::sealing::{ObjectKind, Role, nonce};
use crate::format::slot::{Bundle, PasswordCost, Slot, Way};

/// What opens a slot.
#[derive(Clone)]
pub enum Credential {
    /// A password, stretched with the slot's salt.
    Password(Zeroizing<Vec<u8>>),
    /// The content of a key file.
    KeyFile(Secret),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Password(_) => "Password(…)",
            Self::KeyFile(_) => "KeyFile(…)",
        })
    }
}

impl Credential {
    fn secret(&self, way: Way, salt: &[u8; 32]) -> Result<Option<Secret>> {
        match (self, way) {
            (Self::Password(text), Way::Password(cost)) => password::stretch(text, salt, cost).map(Some),
            (Self::KeyFile(secret), Way::KeyFile) => Ok(Some(secret.clone())),
            _ => Ok(None),
        }
    }
}

/// What a slot gives to whoever opens it.
#[derive(Debug)]
pub struct OpenedSlot {
    /// The keys of the repository.
    pub keys: Keys,
    /// What people call the slot.
    pub label: String,
    /// When the slot was made.
    pub created: Timestamp,
}

fn additional(repository: &RepositoryId) -> Vec<u8> {
    [ObjectKind::Slot.head().as_slice(), repository.as_bytes()].concat()
}

/// The name of a slot: the first eight bytes of BLAKE3 of its bytes.
pub fn slot_name(bytes: &[u8]) -> SlotName {
    let hash = blake3::hash(bytes);
    SlotName(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// Seals the keys for a credential; passwords at the given cost.
pub fn make_slot(
    keys: &Keys,
    credential: &Credential,
    cost: PasswordCost,
    repository: &RepositoryId,
    label: &str,
    created: Timestamp,
) -> Result<Vec<u8>> {
    let way = match credential {
        Credential::Password(_) => Way::Password(cost),
        Credential::KeyFile(_) => Way::KeyFile,
    };
    let salt = random::array()?;
    let secret = credential.secret(way, &salt)?.ok_or_else(cannot_seal)?;
    let (key, commitment) = derive(&secret, &salt, repository);
    let mut sealed = keys.to_bundle(label, created);
    let tag = Cipher::new(&key)
        .and_then(|cipher| cipher.seal(nonce(0, Role::Body), &additional(repository), &mut sealed))
        .map_err(|Refused| cannot_seal())?;
    sealed.extend_from_slice(&tag);
    let bytes = Slot { way, salt, commitment, sealed: std::mem::take(&mut *sealed) }.encode();
    // What cannot be opened again must not be written.
    let reread = Slot::decode(&bytes).map_err(|error| error.of_object("a new key slot"))?;
    match open_with(&reread, &key, repository)? {
        reread if reread.keys == *keys => Ok(bytes),
        _ => Err(cannot_seal()),
    }
}

fn cannot_seal() -> Error {
    Error::new(ErrorKind::Failed, "cannot seal a key slot")
}

/// Opens a slot; `None` if the credential is not the one it was made for.
pub fn open_slot(
    slot: &Slot,
    credential: &Credential,
    repository: &RepositoryId,
) -> Result<Option<OpenedSlot>> {
    let Some(secret) = credential.secret(slot.way, &slot.salt)? else { return Ok(None) };
    let (key, commitment) = derive(&secret, &slot.salt, repository);
    if !bool::from(commitment.ct_eq(&slot.commitment)) {
        return Ok(None);
    }
    open_with(slot, &key, repository).map(Some)
}

fn open_with(slot: &Slot, key: &Secret, repository: &RepositoryId) -> Result<OpenedSlot> {
    let refused = || Error::damaged("the sealed keys do not open (format rule SLOT-7)");
    let parts = slot.sealed.split_last_chunk().ok_or_else(refused)?;
    let mut plaintext = Zeroizing::new(vec![0; parts.0.len()]);
    Cipher::new(key)
        .and_then(|cipher| cipher.open(nonce(0, Role::Body), &additional(repository), parts, &mut plaintext))
        .map_err(|Refused| refused())?;
    let bundle = Bundle::decode(&plaintext).map_err(|error| error.of_opened("the keys of a key slot"))?;
    Ok(OpenedSlot { keys: Keys::of_bundle(&bundle), label: bundle.label.to_owned(), created: bundle.created })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 32, passes: 1, lanes: 4 };

    #[test]
    fn a_slot_opens_for_its_credential_alone() {
        let keys = Keys::generate().expect("keys");
        let repository = RepositoryId([1; 16]);
        let password = |text: &[u8]| Credential::Password(Zeroizing::new(text.to_vec()));
        let key_file = |byte| Credential::KeyFile(Secret::new([byte; 32]));
        for (right, wrong) in [(password(b"right"), password(b"wrong")), (key_file(1), key_file(2))] {
            let bytes =
                make_slot(&keys, &right, CHEAP, &repository, "x", Timestamp::default()).expect("a slot");
            let slot = Slot::decode(&bytes).expect("a slot");
            let opened = open_slot(&slot, &right, &repository).expect("tried").expect("it opens");
            assert_eq!((opened.keys, opened.label.as_str()), (keys.clone(), "x"));
            assert!(open_slot(&slot, &wrong, &repository).expect("tried").is_none());
            assert!(open_slot(&slot, &right, &RepositoryId([2; 16])).expect("tried").is_none());
            let mut damaged = slot.clone();
            damaged.sealed[5] ^= 1;
            let error = open_slot(&damaged, &right, &repository).expect_err("must be refused");
            assert!(error.to_string().contains("SLOT-7"), "{error}");
        }
        assert_eq!(format!("{:?}", password(b"hidden")), "Password(…)");
    }
}
