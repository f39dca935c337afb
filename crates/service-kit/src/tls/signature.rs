//! Signatures by the TLS key over something other than a handshake.
//!
//! The feed binds an instance's ephemeral key to its certificate this way, so that a middlebox that terminates
//! TLS cannot put its own key in place. The signed text has the shape of RFC 8446, section 4.4.3: 64 spaces, a
//! context, a zero byte, the message. A context of our own can never be mistaken for a handshake's.

use rustls::SignatureScheme;
use rustls_pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{Credentials, load};
use crate::identity::{Caller, IdentityError};

/// Schemes in order of preference; all of them are allowed in TLS 1.3.
const SCHEMES: [SignatureScheme; 8] = [
    SignatureScheme::ED25519,
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::ML_DSA_65,
];

/// A signature made with a TLS key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSignature {
    /// The scheme's number in the TLS SignatureScheme registry.
    pub scheme: u16,
    /// The signature.
    pub bytes: Vec<u8>,
}

/// Why a signature cannot be made, or is refused.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The key signs with no scheme that is allowed here.
    #[error("the TLS key supports no scheme that is allowed here")]
    NoScheme,
    /// The signer failed.
    #[error("the TLS key failed to sign: {0}")]
    Sign(#[source] rustls::Error),
    /// The chain does not lead to our authorities, or is not valid now.
    #[error("the certificate chain is refused: {0}")]
    Chain(#[source] rustls::Error),
    /// The certificate names no caller.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signature is not the certificate's over this message.
    #[error("the signature does not verify")]
    Signature,
}

impl Credentials {
    /// Signs `message` with this process's TLS key; `context` says what for.
    pub fn sign(&self, context: &str, message: &[u8]) -> Result<TlsSignature, SignatureError> {
        let certified = self.loaded.current().certified.clone();
        let signer = certified
            .key
            .choose_scheme(&SCHEMES)
            .ok_or(SignatureError::NoScheme)?;
        let bytes = signer
            .sign(&signed_text(context, message))
            .map_err(SignatureError::Sign)?;
        Ok(TlsSignature {
            scheme: u16::from(signer.scheme()),
            bytes,
        })
    }

    /// Verifies a peer's signature: its chain (leaf first) leads to our authorities and may act as a client,
    /// and its key made the signature. Says who signed.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        context: &str,
        message: &[u8],
        signature: &TlsSignature,
    ) -> Result<Caller, SignatureError> {
        self.verify_chain(chain).map_err(SignatureError::Chain)?;
        let leaf = chain.first().ok_or(IdentityError::Malformed)?;
        verify_with_leaf(leaf, &signed_text(context, message), signature)?;
        Ok(Caller::from_leaf(leaf, self.rules())?)
    }
}

fn verify_with_leaf(
    leaf: &CertificateDer<'_>,
    text: &[u8],
    signature: &TlsSignature,
) -> Result<(), SignatureError> {
    let scheme = SignatureScheme::from(signature.scheme);
    if !SCHEMES.contains(&scheme) {
        return Err(SignatureError::NoScheme);
    }
    let leaf = EndEntityCert::try_from(leaf).map_err(|_malformed| IdentityError::Malformed)?;
    let known = load::provider().signature_verification_algorithms;
    let mapped = known.mapping.iter().find(|(name, _)| *name == scheme);
    let mut algorithms = mapped.map_or(&[][..], |(_, algorithms)| algorithms).iter();
    // A scheme maps to one algorithm per kind of key; the certificate's key fits one of them.
    let verified =
        algorithms.any(|one| leaf.verify_signature(*one, text, &signature.bytes).is_ok());
    verified.then_some(()).ok_or(SignatureError::Signature)
}

fn signed_text(context: &str, message: &[u8]) -> Vec<u8> {
    [&[b' '; 64], context.as_bytes(), &[0], message].concat()
}
