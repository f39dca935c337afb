//! Thumbprints (RFC 7638, RFC 8037 section 2).

use crate::algorithm::Hash;
use crate::base64url;
use crate::json::ObjectWriter;
use crate::key::PublicKey;
use crate::provider::Digest;

impl PublicKey {
    /// The SHA-256 thumbprint, base64url: the key identifier of generated keys.
    /// Only public keys have one here: that of a shared secret would publish a hash of it.
    #[must_use]
    pub fn thumbprint(&self, digest: &dyn Digest) -> String {
        base64url::encode(digest.digest(Hash::Sha256, self.required_members().as_bytes()))
    }

    /// The required members in lexicographic order, without white space (RFC 7638 section 3).
    pub(super) fn required_members(&self) -> String {
        let mut out = ObjectWriter::with_capacity(512);
        match self {
            Self::Rsa(key) => out
                .base64url("e", key.e())
                .string("kty", "RSA")
                .base64url("n", key.n()),
            Self::Ec(key) => out
                .string("crv", key.curve().name())
                .string("kty", "EC")
                .base64url("x", key.x())
                .base64url("y", key.y()),
            Self::Okp(key) => out
                .string("crv", key.curve().name())
                .string("kty", "OKP")
                .base64url("x", key.x()),
        };
        out.finish()
    }
}
