//! EMSA-PSS (RFC 8017 section 9.1) with the salt as long as the hash and MGF1 with the same hash (RFC 7518 section
//! 3.5). Every modulus here is of whole bytes, so the encoding is as long as the modulus and misses its top bit.

use jose::algorithm::Hash;
use jose::provider::{Digest, Failed};

use super::encoding::{MAX_DIGEST, digest_into};

const TRAILER: u8 = 0xBC;
/// All but the top bit of the first byte: the encoding has one bit less than the modulus.
const TOP: u8 = 0x7F;

/// Writes the encoding of `message` under `salt` over all of `encoded`.
pub(super) fn encode(
    digest: &dyn Digest,
    hash: Hash,
    message: &[u8],
    salt: &[u8],
    encoded: &mut [u8],
) -> Result<(), Failed> {
    let Parts { masked, h, trailer } = split(hash, encoded)?;
    salted_digest(digest, hash, message, salt, h)?;
    let start = masked.len().checked_sub(salt.len() + 1).ok_or(Failed)?;
    let (zeros, tail) = masked.split_at_mut_checked(start).ok_or(Failed)?;
    let (one, end) = tail.split_at_mut_checked(1).ok_or(Failed)?;
    zeros.fill(0);
    one.fill(1);
    end.copy_from_slice(salt);
    mask(digest, hash, h, masked)?;
    *trailer = TRAILER;
    Ok(())
}

/// Whether `encoded`, which the public operation gave, is one of `message`. It is unmasked in place.
pub(super) fn verify(
    digest: &dyn Digest,
    hash: Hash,
    message: &[u8],
    encoded: &mut [u8],
) -> Result<(), Failed> {
    if encoded.first().is_none_or(|first| first & !TOP != 0) {
        return Err(Failed);
    }
    let Parts { masked, h, trailer } = split(hash, encoded)?;
    if *trailer != TRAILER {
        return Err(Failed);
    }
    mask(digest, hash, h, masked)?;
    let start = masked
        .len()
        .checked_sub(hash.output_len() + 1)
        .ok_or(Failed)?;
    let (zeros, tail) = masked.split_at_checked(start).ok_or(Failed)?;
    let (one, salt) = tail.split_first().ok_or(Failed)?;
    if *one != 1 || zeros.iter().any(|byte| *byte != 0) {
        return Err(Failed);
    }
    let mut expected = [0; MAX_DIGEST];
    let expected = expected.get_mut(..hash.output_len()).ok_or(Failed)?;
    salted_digest(digest, hash, message, salt, expected)?;
    if expected == h { Ok(()) } else { Err(Failed) }
}

struct Parts<'a> {
    /// DB, masked or not
    masked: &'a mut [u8],
    /// H
    h: &'a mut [u8],
    trailer: &'a mut u8,
}

fn split(hash: Hash, encoded: &mut [u8]) -> Result<Parts<'_>, Failed> {
    let (trailer, rest) = encoded.split_last_mut().ok_or(Failed)?;
    let start = rest.len().checked_sub(hash.output_len()).ok_or(Failed)?;
    let (masked, h) = rest.split_at_mut_checked(start).ok_or(Failed)?;
    Ok(Parts { masked, h, trailer })
}

/// H = Hash(eight zeros, Hash(message), salt)
fn salted_digest(
    digest: &dyn Digest,
    hash: Hash,
    message: &[u8],
    salt: &[u8],
    out: &mut [u8],
) -> Result<(), Failed> {
    let length = hash.output_len();
    let mut padded = [0; 8 + 2 * MAX_DIGEST];
    let padded = padded.get_mut(..8 + length + salt.len()).ok_or(Failed)?;
    let (_, rest) = padded.split_at_mut_checked(8).ok_or(Failed)?;
    let (of_message, end) = rest.split_at_mut_checked(length).ok_or(Failed)?;
    digest_into(digest, hash, message, of_message)?;
    end.copy_from_slice(salt);
    digest_into(digest, hash, padded, out)
}

/// XORs MGF1(seed) over `data` and clears the bits that the encoding does not have.
fn mask(digest: &dyn Digest, hash: Hash, seed: &[u8], data: &mut [u8]) -> Result<(), Failed> {
    let mut input = [0; MAX_DIGEST + 4];
    let input = input.get_mut(..seed.len() + 4).ok_or(Failed)?;
    for (counter, chunk) in (0_u32..).zip(data.chunks_mut(hash.output_len())) {
        let (head, tail) = input.split_at_mut_checked(seed.len()).ok_or(Failed)?;
        head.copy_from_slice(seed);
        tail.copy_from_slice(&counter.to_be_bytes());
        let value = digest.digest(hash, input);
        if value.len() != hash.output_len() {
            return Err(Failed);
        }
        for (byte, mask) in chunk.iter_mut().zip(value) {
            *byte ^= mask;
        }
    }
    if let Some(first) = data.first_mut() {
        *first &= TOP;
    }
    Ok(())
}
