//! Argon2id (RFC 9106): from a password to a slot's secret.
//!
//! What must hold: a wrong password costs as much as a right one; what a stored slot may ask for is bounded by its
//! decoder before this is called.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::base::{Error, ErrorKind, Result};
use crate::crypto::Secret;
use crate::format::slot::PasswordCost;

/// The secret that a password gives with a salt.
pub fn stretch(password: &[u8], salt: &[u8; 32], cost: PasswordCost) -> Result<Secret> {
    let failed =
        |cause: argon2::Error| Error::caused(ErrorKind::Failed, "cannot make a key from the password", cause);
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(failed)?;
    let mut output = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password, salt, &mut *output)
        .map_err(failed)?;
    Ok(Secret::new(*output))
}
