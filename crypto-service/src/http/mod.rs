//! HTTP: JWK Sets for everybody.

mod document;
mod jwks;

pub use document::JwksDocument;
pub(crate) use jwks::router;
