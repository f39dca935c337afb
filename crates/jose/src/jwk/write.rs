//! Writing JWKs.

use zeroize::Zeroizing;

use super::{Jwk, PublicJwk, SecretJwk};
use crate::algorithm::{Algorithm, ContentEncryption};
use crate::json::ObjectWriter;
use crate::key::{KeyMaterial, PrivateKey, PublicKey};

/// Longer than any JWK, so that the buffer never moves and leaves no copy of a private key behind.
const CAPACITY: usize = 10 * 1024;

impl PublicJwk {
    /// The JWK, with `kid`, `use` and `alg` where they are known.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = ObjectWriter::with_capacity(512);
        public_members(&self.key, &mut out);
        attributes(self, &mut out);
        out.finish()
    }
}

impl SecretJwk {
    /// The JWK with its private or secret members. For export by whoever owns the key, and for nothing else.
    #[must_use]
    pub fn expose_json(&self) -> Zeroizing<String> {
        let mut out = ObjectWriter::with_capacity(CAPACITY);
        match &self.key {
            KeyMaterial::Symmetric(key) => {
                out.string("kty", "oct").base64url("k", key.as_bytes());
            }
            KeyMaterial::Private(key) => {
                public_members(&key.public_key(), &mut out);
                private_members(key, &mut out);
            }
        }
        attributes(self, &mut out);
        out.finish_secret()
    }
}

fn public_members(key: &PublicKey, out: &mut ObjectWriter) {
    match key {
        PublicKey::Rsa(key) => out
            .string("kty", "RSA")
            .base64url("n", key.n())
            .base64url("e", key.e()),
        PublicKey::Ec(key) => out
            .string("kty", "EC")
            .string("crv", key.curve().name())
            .base64url("x", key.x())
            .base64url("y", key.y()),
        PublicKey::Okp(key) => out
            .string("kty", "OKP")
            .string("crv", key.curve().name())
            .base64url("x", key.x()),
    };
}

fn private_members(key: &PrivateKey, out: &mut ObjectWriter) {
    match key {
        PrivateKey::Rsa(key) => {
            let parts = key.expose_parts();
            out.base64url("d", parts.d)
                .base64url("p", parts.p)
                .base64url("q", parts.q);
            out.base64url("dp", parts.dp)
                .base64url("dq", parts.dq)
                .base64url("qi", parts.qi);
        }
        PrivateKey::Ec(key) => {
            out.base64url("d", key.expose_scalar());
        }
        PrivateKey::Okp(key) => {
            out.base64url("d", key.expose_seed());
        }
    }
}

fn attributes<K>(jwk: &Jwk<K>, out: &mut ObjectWriter) {
    if let Some(kid) = &jwk.kid {
        out.string("kid", kid.as_str());
    }
    if let Some(key_use) = jwk.key_use {
        out.string("use", key_use.name());
    }
    let enc = jwk.enc.map(ContentEncryption::name);
    if let Some(name) = enc.or_else(|| jwk.algorithm.map(Algorithm::name)) {
        out.string("alg", name);
    }
}
