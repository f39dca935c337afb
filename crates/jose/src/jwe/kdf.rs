//! The Concat KDF of NIST SP 800-56A as RFC 7518 section 4.6.2 profiles it: SHA-256, one pass per 32 bytes of key.

use crate::provider::Failed;

/// SHA-256 over the concatenation of the parts, from the provider's library.
pub type Sha256 = fn(&[&[u8]]) -> [u8; 32];

/// What the key is bound to besides the shared secret: RFC 7518 section 4.6.2, in its order.
#[derive(Debug, Clone, Copy)]
pub struct KdfContext<'a> {
    /// `enc` for ECDH-ES itself, `alg` where the derived key wraps another.
    pub algorithm_id: &'a str,
    /// Agreement PartyUInfo, decoded; empty when the header has no `apu`.
    pub party_u: &'a [u8],
    /// Agreement PartyVInfo, decoded; empty when the header has no `apv`.
    pub party_v: &'a [u8],
}

/// Fills `key` from the shared secret `z`.
///
/// # Errors
/// Only where a length does not fit the 32 bits that the format has for it, which no header within its limit reaches.
pub fn concat_kdf(
    sha256: Sha256,
    z: &[u8],
    context: KdfContext<'_>,
    key: &mut [u8],
) -> Result<(), Failed> {
    let algorithm_id = context.algorithm_id.as_bytes();
    let (id_len, u_len, v_len) = (
        length(algorithm_id.len())?,
        length(context.party_u.len())?,
        length(context.party_v.len())?,
    );
    let key_bits = length(key.len().saturating_mul(8))?;
    for (counter, block) in (1_u32..).zip(key.chunks_mut(32)) {
        let digest = zeroize::Zeroizing::new(sha256(&[
            &counter.to_be_bytes(),
            z,
            &id_len,
            algorithm_id,
            &u_len,
            context.party_u,
            &v_len,
            context.party_v,
            &key_bits,
        ]));
        for (out, byte) in block.iter_mut().zip(digest.iter()) {
            *out = *byte;
        }
    }
    Ok(())
}

fn length(len: usize) -> Result<[u8; 4], Failed> {
    u32::try_from(len)
        .map(u32::to_be_bytes)
        .map_err(|_too_long| Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows what is hashed: the first byte says how many parts there are, the rest are counter and lengths.
    fn shape(parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        let fields = [0, 2, 4, 6, 8].map(|index| parts[index]).concat();
        out[..20].copy_from_slice(&fields);
        out[20] = u8::try_from(parts.len()).unwrap();
        out
    }

    #[test]
    fn lengths_and_counter_are_big_endian_words() {
        let mut key = [0; 64];
        let context = KdfContext {
            algorithm_id: "A256CBC-HS512",
            party_u: b"Alice",
            party_v: b"",
        };
        concat_kdf(shape, b"z", context, &mut key).unwrap();
        let lengths = [0, 0, 0, 13, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 2, 0, 9];
        for (round, block) in key.chunks(32).enumerate() {
            assert_eq!(
                block[..4],
                [0, 0, 0, u8::try_from(round + 1).unwrap()],
                "round {round}"
            );
            assert_eq!(block[4..21], lengths, "round {round}");
        }
    }

    #[test]
    fn a_key_that_is_no_multiple_of_the_digest_is_cut_from_the_last_one() {
        let mut key = [0xff; 48];
        concat_kdf(
            shape,
            b"z",
            KdfContext {
                algorithm_id: "x",
                party_u: b"",
                party_v: b"",
            },
            &mut key,
        )
        .unwrap();
        assert_eq!(key[32..36], [0, 0, 0, 2]);
    }
}
