//! JWE in compact form (RFC 7516), strict.
//!
//! The token names its key and nothing else: [`peek`] reads `kid`, the caller looks the key up, and the key says
//! which `alg` (and for `dir` which `enc`) it is for. The header is compared with that and chooses nothing.
//!
//! ```text
//! encrypt   header options, payload, Encrypter, enc, randomness -> token
//! decrypt   token -> peek: length, dots, header -> JweView -> Decrypter -> content key -> tag -> payload
//! ```
//!
//! Whatever is wrong with a token has one error, [`DecryptionFailed`], with one text. Its [`Fault`] is for metrics
//! and debug logs on this side and must not travel back.
//!
//! Refused always: `zip`, every `crit`, RSA1_5, PBES2, an encrypted key where the algorithm has none, an IV or a
//! tag of another length, and anything that strict base64url or strict JSON refuse.

mod agreement;
mod compact;
mod decrypt;
mod encrypt;
mod engine;
mod fault;
mod header;
mod kdf;

pub use agreement::{AgreementCurve, AgreementKey};
pub use compact::{JweView, peek};
pub use decrypt::{Decrypted, decrypt};
pub use encrypt::{EncryptError, EncryptRequest, MemberValue, encrypt};
pub use engine::{
    ContentCipher, ContentInput, ContentKey, Decrypter, Encrypter, Established, KeyParameters,
    MAX_CONTENT_KEY, MAX_TAG, PartyInfo, Tag,
};
pub use fault::{DecryptionFailed, Fault};
pub use header::JweHeader;
pub use kdf::{KdfContext, Sha256, concat_kdf};

#[cfg(test)]
mod tests;
