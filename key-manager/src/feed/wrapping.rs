//! Private keys on the wire: JWEs (`dir`, A256GCM) under the key of one stream.
//!
//! ```text
//! shared  X25519, the instance's ephemeral key and one made for the stream
//! key     HKDF-SHA-256, salt = the instance's public key || ours, info = "crypto-feed-v1/key" 0 subscriber
//! ```
//!
//! The protected header says for whom a key is: `kid`, `tenant`, `epoch` and `instance`.

use std::fmt;

use aws_lc_rs::{
    agreement::{PrivateKey, UnparsedPublicKey, X25519, agree},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use jose::{
    algorithm::ContentEncryption,
    jwe::{EncryptRequest, MemberValue, encrypt},
    key::SymmetricKey,
};
use jose_aws_lc::{AwsLc, jwe::SharedKey};
use zeroize::Zeroizing;

use super::FeedError;

const KEY: &[u8] = b"crypto-feed-v1/key\0";

/// Our half of the agreement, made for one stream.
pub(super) struct Agreement {
    private: PrivateKey,
    public: Vec<u8>,
}

impl Agreement {
    pub(super) fn generate() -> Result<Self, FeedError> {
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

    /// Consumed: a key for one stream agrees once.
    pub(super) fn agree(self, theirs: &[u8], subscriber: &str) -> Result<StreamKey, FeedError> {
        let salt = [theirs, self.public.as_slice()].concat();
        let peer = UnparsedPublicKey::new(&X25519, theirs);
        let secret = agree(&self.private, peer, FeedError::Agreement, |shared| {
            derive(&salt, shared, subscriber)
        })?;
        let secret = SymmetricKey::new(secret.as_slice()).map_err(failed)?;
        let key = SharedKey::direct(ContentEncryption::A256Gcm, &secret).map_err(failed)?;
        Ok(StreamKey {
            key,
            instance: subscriber.to_owned(),
        })
    }
}

/// The key of one stream.
pub struct StreamKey {
    key: SharedKey,
    instance: String,
}

impl StreamKey {
    /// The subscriber at the other end.
    pub(super) fn instance(&self) -> &str {
        &self.instance
    }

    /// Wraps a private key or secret for this instance and this epoch.
    pub(super) fn wrap(
        &self,
        tenant: &str,
        kid: &str,
        epoch: u64,
        secret: &[u8],
    ) -> Result<String, FeedError> {
        let extra = [
            ("tenant", MemberValue::String(tenant)),
            ("epoch", MemberValue::Number(epoch)),
            ("instance", MemberValue::String(&self.instance)),
        ];
        let request = EncryptRequest {
            kid: Some(kid),
            extra: &extra,
            ..EncryptRequest::default()
        };
        encrypt(
            &request,
            secret,
            &self.key,
            ContentEncryption::A256Gcm,
            &AwsLc,
        )
        .map_err(failed)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamKey")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

struct Key32;

impl KeyType for Key32 {
    fn len(&self) -> usize {
        32
    }
}

fn derive(salt: &[u8], shared: &[u8], subscriber: &str) -> Result<Zeroizing<[u8; 32]>, FeedError> {
    let mut secret = Zeroizing::new([0; 32]);
    let info = [KEY, subscriber.as_bytes()];
    let key = Salt::new(HKDF_SHA256, salt).extract(shared);
    key.expand(&info, Key32)
        .and_then(|okm| okm.fill(&mut *secret))
        .map_err(failed)?;
    Ok(secret)
}

/// The library's errors carry nothing, and what failed is none of the peer's business.
fn failed<E>(_nothing: E) -> FeedError {
    FeedError::Agreement
}
