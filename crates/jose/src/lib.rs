//! Strict JOSE: codec, keys, JWS, JWE and JWT claims rules; pure, without I/O, clock or randomness.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`base64url`], [`json`] | the two codecs, strict: one spelling per value, no duplicate members, bounded depth |
//! | [`algorithm`] | the names of JWA, and the refusal of those that are not spoken here |
//! | [`key`], [`jwk`] | keys as types (public, private, symmetric are different ones), JWK, PKCS#8, thumbprints |
//! | [`provider`] | the traits that a crypto engine implements: the key picks the algorithm |
//! | [`header`], [`jws`], [`jwe`] | compact form |
//! | [`jwt`] | what an issuer may write into claims, and when a token is believed |
//! | [`revocation`] | what a revocation of tokens matches, and how many are held |
//!
//! Time, randomness and digests come in as arguments. Errors are sorted by who is at fault:
//! [`jwt::RejectReason`] is the token's fault and a verdict, [`key::KeyError`] the fault of who brought
//! a key, [`jwt::Violation`] the fault of who asked for a token, [`algorithm::UnsupportedAlgorithm`]
//! that of who named an algorithm, and [`provider::Failed`] says nothing at all, on purpose.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod base64url;
pub mod header;
pub mod json;
pub mod jwe;
pub mod jwk;
pub mod jws;
pub mod jwt;
pub mod key;
pub mod limits;
pub mod provider;
pub mod revocation;
