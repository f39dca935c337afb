//! The key agreement of a stream: X25519, once, then HKDF-SHA-256 (RFC 5869).
//!
//! ```text
//! salt  instance's public key || key-manager's public key
//! info  "crypto-feed-v1/key" 0 subscriber
//! ```
//!
//! Both public keys are signed with the TLS keys of their owners, so a middlebox that ends TLS cannot put its own in.

use std::fmt;

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use jose::provider::Failed;
use zeroize::Zeroizing;

const KEY: &[u8] = b"crypto-feed-v1/key\0";

/// Length of an X25519 public key.
pub(super) const PUBLIC_KEY_LEN: usize = 32;

/// The instance's ephemeral key: made at start, used for every stream, never stored.
pub(super) struct Ephemeral {
    private: PrivateKey,
    public: Vec<u8>,
}

impl Ephemeral {
    /// A fresh key.
    pub(super) fn generate() -> Result<Self, Failed> {
        let private = PrivateKey::generate(&X25519).map_err(failed)?;
        let public = private
            .compute_public_key()
            .map_err(failed)?
            .as_ref()
            .to_vec();
        Ok(Self { private, public })
    }

    pub(super) fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// The key of the stream on which the key-manager answered with `theirs`.
    pub(super) fn stream_secret(
        &self,
        theirs: &[u8],
        subscriber: &str,
    ) -> Result<Zeroizing<[u8; 32]>, Failed> {
        let salt = [self.public.as_slice(), theirs].concat();
        let peer = UnparsedPublicKey::new(&X25519, theirs);
        agree(&self.private, peer, Failed, |shared| {
            derive(&salt, shared, subscriber)
        })
    }
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ephemeral(redacted)")
    }
}

fn derive(salt: &[u8], shared: &[u8], subscriber: &str) -> Result<Zeroizing<[u8; 32]>, Failed> {
    struct Len;
    impl KeyType for Len {
        fn len(&self) -> usize {
            32
        }
    }
    let mut secret = Zeroizing::new([0; 32]);
    let info = [KEY, subscriber.as_bytes()];
    let key = Salt::new(HKDF_SHA256, salt).extract(shared);
    key.expand(&info, Len)
        .and_then(|okm| okm.fill(&mut *secret))
        .map_err(failed)?;
    Ok(secret)
}

/// The library's errors carry nothing.
fn failed<E>(_nothing: E) -> Failed {
    Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_only_for_one_subscriber() {
        let (ours, theirs) = (
            Ephemeral::generate().unwrap(),
            PrivateKey::generate(&X25519).unwrap(),
        );
        let their_public = theirs.compute_public_key().unwrap();
        let mine = ours
            .stream_secret(their_public.as_ref(), "spiffe://a/b#1")
            .unwrap();
        let salt = [ours.public_key(), their_public.as_ref()].concat();
        let peer = UnparsedPublicKey::new(&X25519, ours.public_key());
        let other = agree(&theirs, peer, Failed, |shared| {
            derive(&salt, shared, "spiffe://a/b#1")
        })
        .unwrap();
        assert_eq!(*mine, *other);
        assert_ne!(
            *mine,
            *ours
                .stream_secret(their_public.as_ref(), "spiffe://a/b#2")
                .unwrap()
        );
        assert_eq!(
            ours.stream_secret(&[0; 32], "x"),
            Err(Failed),
            "a point of small order"
        );
        assert_eq!(format!("{ours:?}"), "Ephemeral(redacted)");
    }
}
