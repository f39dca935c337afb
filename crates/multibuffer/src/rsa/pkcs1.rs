//! EMSA-PKCS1-v1_5 (RFC 8017 section 9.2).

use jose::algorithm::Hash;
use jose::provider::{Digest, Failed};

use super::encoding::digest_into;

/// The DER of DigestInfo up to the digest (RFC 8017 section 9.2, note 1).
const fn digest_info(hash: Hash) -> &'static [u8; 19] {
    match hash {
        Hash::Sha256 => {
            b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"
        }
        Hash::Sha384 => {
            b"\x30\x41\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\x04\x30"
        }
        Hash::Sha512 => {
            b"\x30\x51\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x03\x05\x00\x04\x40"
        }
    }
}

/// Writes 00 01 FF .. FF 00 DigestInfo over all of `encoded`, which is as long as the modulus.
pub(super) fn encode(
    digest: &dyn Digest,
    hash: Hash,
    message: &[u8],
    encoded: &mut [u8],
) -> Result<(), Failed> {
    let info = digest_info(hash);
    let padding = encoded
        .len()
        .checked_sub(3 + info.len() + hash.output_len())
        .filter(|padding| *padding >= 8)
        .ok_or(Failed)?;
    let (head, rest) = encoded.split_at_mut_checked(2).ok_or(Failed)?;
    let (ones, rest) = rest.split_at_mut_checked(padding).ok_or(Failed)?;
    let (zero, rest) = rest.split_at_mut_checked(1).ok_or(Failed)?;
    let (der, value) = rest.split_at_mut_checked(info.len()).ok_or(Failed)?;
    head.copy_from_slice(&[0, 1]);
    ones.fill(0xFF);
    zero.fill(0);
    der.copy_from_slice(info);
    digest_into(digest, hash, message, value)
}
