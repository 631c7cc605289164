//! The only source of randomness: the operating system's.

use zeroize::Zeroizing;

use crate::base::{Error, ErrorKind, Result};
use crate::crypto::Secret;

/// Fills a buffer.
pub fn fill(buffer: &mut [u8]) -> Result<()> {
    getrandom::fill(buffer)
        .map_err(|cause| Error::caused(ErrorKind::Failed, "the system gives no random bytes", cause))
}

/// An array of random bytes.
pub fn array<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Ok(bytes)
}

/// A new secret.
pub fn secret() -> Result<Secret> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill(&mut *bytes)?;
    Ok(Secret::new(*bytes))
}
