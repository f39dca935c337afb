//! ECDH-ES, alone and with AES key wrap (RFC 7518 section 4.6, RFC 8037 section 3.2).
//!
//! The library checks that a peer's point is on the curve and refuses an X25519 secret of zeros; the curve itself
//! is compared here before any of that. It also zeroises ephemeral private keys and shared secrets.

use std::fmt;

use aws_lc_rs::agreement::{self, ParsedPublicKey, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest;
use aws_lc_rs::key_wrap::{AES_128, AES_256, AesBlockCipher};
use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::jwe::{
    AgreementCurve, AgreementKey, ContentCipher, ContentKey, Decrypter, Encrypter, Established,
    JweHeader, KdfContext, KeyParameters, PartyInfo, concat_kdf,
};
use jose::key::{EcCurve, KeyError, PrivateKey as PrivateJwk, PublicKey};
use jose::provider::{Failed, SecureRandom};
use zeroize::Zeroizing;

use super::content::Content;
use super::symmetric::{unwrap, wrap};
use super::{refused, unfit};

/// What the agreed secret becomes.
#[derive(Clone, Copy)]
enum Use {
    ContentKey,
    Kek(&'static AesBlockCipher, usize),
}

fn use_of(algorithm: KeyManagement) -> Result<Use, KeyError> {
    match algorithm {
        KeyManagement::EcdhEs => Ok(Use::ContentKey),
        KeyManagement::EcdhEsA128Kw => Ok(Use::Kek(&AES_128, 16)),
        KeyManagement::EcdhEsA256Kw => Ok(Use::Kek(&AES_256, 32)),
        _ => Err(unfit(algorithm)),
    }
}

fn agreement_algorithm(curve: AgreementCurve) -> &'static agreement::Algorithm {
    match curve {
        AgreementCurve::Ec(EcCurve::P256) => &agreement::ECDH_P256,
        AgreementCurve::Ec(EcCurve::P384) => &agreement::ECDH_P384,
        AgreementCurve::Ec(EcCurve::P521) => &agreement::ECDH_P521,
        AgreementCurve::X25519 => &agreement::X25519,
    }
}

/// A recipient's public key for the ECDH-ES family, parsed once.
pub struct EcdhEncrypter {
    algorithm: KeyManagement,
    purpose: Use,
    curve: AgreementCurve,
    peer: ParsedPublicKey,
}

impl EcdhEncrypter {
    /// Parses a public key and checks that its point is on the curve.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] for an algorithm or a key outside the family, [`KeyError::Inconsistent`] for the point.
    pub fn new(algorithm: KeyManagement, key: &PublicKey) -> Result<Self, KeyError> {
        let purpose = use_of(algorithm)?;
        let public = AgreementKey::from_public(algorithm, key)?;
        let curve = public.curve();
        let unparsed = UnparsedPublicKey::new(agreement_algorithm(curve), public.as_bytes());
        let peer = ParsedPublicKey::try_from(unparsed).map_err(|_point| KeyError::Inconsistent)?;
        Ok(Self {
            algorithm,
            purpose,
            curve,
            peer,
        })
    }
}

impl fmt::Debug for EcdhEncrypter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcdhEncrypter")
            .field("algorithm", &self.algorithm)
            .field("curve", &self.curve)
            .finish_non_exhaustive()
    }
}

impl Encrypter for EcdhEncrypter {
    fn algorithm(&self) -> KeyManagement {
        self.algorithm
    }

    fn establish(
        &self,
        enc: ContentEncryption,
        parties: PartyInfo<'_>,
        random: &dyn SecureRandom,
    ) -> Result<Established, Failed> {
        let algorithm = agreement_algorithm(self.curve);
        let ephemeral = PrivateKey::generate(algorithm).map_err(refused)?;
        let public = ephemeral.compute_public_key().map_err(refused)?;
        let parameters =
            KeyParameters::Ephemeral(AgreementKey::from_bytes(self.curve, public.as_ref())?);
        let derive = Derivation {
            algorithm: self.algorithm,
            enc,
            parties,
        };
        let (key, encrypted_key) = agreement::agree(&ephemeral, self.peer.clone(), Failed, |z| {
            match self.purpose {
                Use::ContentKey => Ok((derive.content_key(z)?, Vec::new())),
                Use::Kek(cipher, len) => {
                    let kek = derive.kek(z, len)?;
                    let key = ContentKey::generate(enc, random)?;
                    let encrypted_key = wrap(cipher, kek_bytes(&kek, len), key.as_bytes())?;
                    Ok((key, encrypted_key))
                }
            }
        })?;
        Ok(Established {
            key,
            encrypted_key,
            parameters,
        })
    }

    fn content(&self) -> &dyn ContentCipher {
        &Content
    }
}

/// A static private key for the ECDH-ES family, parsed once.
pub struct EcdhDecrypter {
    algorithm: KeyManagement,
    purpose: Use,
    curve: AgreementCurve,
    private: PrivateKey,
}

impl EcdhDecrypter {
    /// Parses a private key and recomputes its public half.
    ///
    /// # Errors
    /// [`KeyError::Unfit`] for an algorithm or a key outside the family, [`KeyError::Inconsistent`] for a scalar out
    /// of range or a public half that is not its own.
    pub fn new(algorithm: KeyManagement, key: &PrivateJwk) -> Result<Self, KeyError> {
        let purpose = use_of(algorithm)?;
        let public = AgreementKey::from_public(algorithm, &key.public_key())?;
        let curve = public.curve();
        let scalar = match key {
            PrivateJwk::Ec(key) => key.expose_scalar(),
            PrivateJwk::Okp(key) => key.expose_seed().as_slice(),
            PrivateJwk::Rsa(_) => return Err(unfit(algorithm)),
        };
        let private = PrivateKey::from_private_key(agreement_algorithm(curve), scalar)
            .map_err(|_range| KeyError::Inconsistent)?;
        let own = private
            .compute_public_key()
            .map_err(|_failed| KeyError::Inconsistent)?;
        if own.as_ref() != public.as_bytes() {
            return Err(KeyError::Inconsistent);
        }
        Ok(Self {
            algorithm,
            purpose,
            curve,
            private,
        })
    }
}

impl EcdhDecrypter {
    /// The header's `epk`, on the curve of this key.
    fn peer_of<'h>(&self, header: &'h JweHeader) -> Result<&'h AgreementKey, Failed> {
        match header.parameters() {
            KeyParameters::Ephemeral(epk) if epk.curve() == self.curve => Ok(epk),
            _ => Err(Failed),
        }
    }

    fn derive(
        &self,
        header: &JweHeader,
        encrypted_key: &[u8],
        z: &[u8],
    ) -> Result<ContentKey, Failed> {
        let derive = Derivation {
            algorithm: self.algorithm,
            enc: header.enc(),
            parties: header.parties(),
        };
        match self.purpose {
            Use::ContentKey => derive.content_key(z),
            Use::Kek(cipher, len) => {
                let kek = derive.kek(z, len)?;
                unwrap(cipher, kek_bytes(&kek, len), derive.enc, encrypted_key)
            }
        }
    }
}

impl fmt::Debug for EcdhDecrypter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcdhDecrypter")
            .field("algorithm", &self.algorithm)
            .field("curve", &self.curve)
            .finish_non_exhaustive()
    }
}

impl Decrypter for EcdhDecrypter {
    fn algorithm(&self) -> KeyManagement {
        self.algorithm
    }

    fn recover(&self, header: &JweHeader, encrypted_key: &[u8]) -> Result<ContentKey, Failed> {
        let epk = self.peer_of(header)?;
        let peer = UnparsedPublicKey::new(agreement_algorithm(self.curve), epk.as_bytes());
        agreement::agree(&self.private, peer, Failed, |z| {
            self.derive(header, encrypted_key, z)
        })
    }

    fn recover_agreed(
        &self,
        header: &JweHeader,
        encrypted_key: &[u8],
        shared: &[u8],
    ) -> Result<ContentKey, Failed> {
        self.peer_of(header)?;
        if shared.len() != self.curve.coordinate_len() {
            return Err(Failed);
        }
        self.derive(header, encrypted_key, shared)
    }

    fn content(&self) -> &dyn ContentCipher {
        &Content
    }
}

/// What a derived key is bound to.
struct Derivation<'a> {
    algorithm: KeyManagement,
    enc: ContentEncryption,
    parties: PartyInfo<'a>,
}

type Kek = Zeroizing<[u8; 32]>;

impl Derivation<'_> {
    /// The content key itself, bound to `enc`.
    fn content_key(&self, z: &[u8]) -> Result<ContentKey, Failed> {
        let mut key = ContentKey::zeroed(self.enc);
        concat_kdf(sha256, z, self.context(self.enc.name()), key.as_mut_bytes())?;
        Ok(key)
    }

    /// The key that wraps the content key, bound to `alg`.
    fn kek(&self, z: &[u8], len: usize) -> Result<Kek, Failed> {
        let mut kek = Kek::default();
        let out = kek.get_mut(..len).ok_or(Failed)?;
        concat_kdf(sha256, z, self.context(self.algorithm.name()), out)?;
        Ok(kek)
    }

    fn context<'c>(&'c self, algorithm_id: &'c str) -> KdfContext<'c> {
        KdfContext {
            algorithm_id,
            party_u: self.parties.apu,
            party_v: self.parties.apv,
        }
    }
}

fn kek_bytes(kek: &Kek, len: usize) -> &[u8] {
    kek.get(..len).unwrap_or_default()
}

pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    for (out, byte) in out.iter_mut().zip(context.finish().as_ref()) {
        *out = *byte;
    }
    out
}
