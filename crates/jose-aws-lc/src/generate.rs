//! New keys of every kind.

use aws_lc_rs::agreement::{self, PrivateKey as AgreementKey};
use aws_lc_rs::encoding::{AsBigEndian as _, AsDer as _, EcPrivateKeyBin, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use jose::algorithm::{Algorithm, ContentEncryption, JwsAlgorithm, KeyManagement};
use jose::base64url;
use jose::key::{
    EcCurve, EcPrivateKey, EcPublicKey, KeyMaterial, Kid, OkpCurve, OkpPrivateKey, OkpPublicKey,
    PrivateKey, PublicKey, SymmetricKey,
};
use jose::provider::{Failed, SecureRandom as _};
use zeroize::Zeroizing;

use crate::AwsLc;
use crate::check::{ec_public, okp_public};

/// Length of a generated RSA modulus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RsaBits {
    /// 2048 bits
    #[default]
    B2048,
    /// 3072 bits
    B3072,
    /// 4096 bits
    B4096,
}

impl RsaBits {
    /// The length of so many bits, where it is one of these.
    #[must_use]
    pub const fn of(bits: u32) -> Option<Self> {
        match bits {
            2048 => Some(Self::B2048),
            3072 => Some(Self::B3072),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }
}

/// Curve of a generated ECDH-ES key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AgreementCurve {
    /// P-256
    #[default]
    P256,
    /// P-384
    P384,
    /// P-521
    P521,
    /// X25519
    X25519,
}

impl AgreementCurve {
    /// The curve called `name`, as in a JWK's `crv`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "P-521" => Some(Self::P521),
            "X25519" => Some(Self::X25519),
            _ => None,
        }
    }
}

/// What to generate. Only the field that the algorithm leaves open is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// The key's one algorithm.
    pub algorithm: Algorithm,
    /// For RSA keys.
    pub rsa_bits: RsaBits,
    /// For ECDH-ES keys.
    pub curve: AgreementCurve,
    /// For `dir`: the content encryption, which fixes the length of the key.
    pub enc: ContentEncryption,
}

impl KeySpec {
    /// RSA with 2048 bits, ECDH-ES on P-256, `dir` with A256GCM.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            rsa_bits: RsaBits::default(),
            curve: AgreementCurve::default(),
            enc: ContentEncryption::A256Gcm,
        }
    }
}

/// A key, new.
#[derive(Debug, Clone)]
pub struct GeneratedKey {
    /// The RFC 7638 thumbprint, or 128 random bits for a symmetric key, whose thumbprint would publish a hash of it.
    pub kid: Kid,
    /// The key's one algorithm.
    pub algorithm: Algorithm,
    /// The private or shared key.
    pub material: KeyMaterial,
    /// The public half of an asymmetric key.
    pub public: Option<PublicKey>,
}

pub(crate) fn generate(provider: &AwsLc, spec: &KeySpec) -> Result<GeneratedKey, Failed> {
    let material = material(provider, spec)?;
    let public = material.public_key();
    let kid = match &public {
        Some(public) => public.thumbprint(provider),
        None => {
            let mut random = [0; 16];
            provider.fill(&mut random)?;
            base64url::encode(random)
        }
    };
    let kid = Kid::new(kid).map_err(|_impossible| Failed)?;
    Ok(GeneratedKey {
        kid,
        algorithm: spec.algorithm,
        material,
        public,
    })
}

fn material(provider: &AwsLc, spec: &KeySpec) -> Result<KeyMaterial, Failed> {
    use JwsAlgorithm as S;
    use KeyManagement as E;
    match spec.algorithm {
        Algorithm::Jws(S::Rs256 | S::Rs384 | S::Rs512 | S::Ps256 | S::Ps384 | S::Ps512)
        | Algorithm::Jwe(E::RsaOaep | E::RsaOaep256) => rsa(spec.rsa_bits),
        Algorithm::Jws(S::Es256) => ec(EcCurve::P256),
        Algorithm::Jws(S::Es384) => ec(EcCurve::P384),
        Algorithm::Jws(S::Es512) => ec(EcCurve::P521),
        Algorithm::Jws(S::Ed25519 | S::EdDsa) => okp(provider, OkpCurve::Ed25519),
        Algorithm::Jws(hs @ (S::Hs256 | S::Hs384 | S::Hs512)) => {
            oct(provider, hs.hash().output_len())
        }
        Algorithm::Jwe(E::EcdhEs | E::EcdhEsA128Kw | E::EcdhEsA256Kw) => match spec.curve {
            AgreementCurve::P256 => ec(EcCurve::P256),
            AgreementCurve::P384 => ec(EcCurve::P384),
            AgreementCurve::P521 => ec(EcCurve::P521),
            AgreementCurve::X25519 => okp(provider, OkpCurve::X25519),
        },
        Algorithm::Jwe(kw @ (E::A128Kw | E::A256Kw | E::A128GcmKw | E::A256GcmKw | E::Dir)) => {
            oct(provider, kw.key_len().unwrap_or_else(|| spec.enc.key_len()))
        }
    }
}

fn rsa(bits: RsaBits) -> Result<KeyMaterial, Failed> {
    let size = match bits {
        RsaBits::B2048 => KeySize::Rsa2048,
        RsaBits::B3072 => KeySize::Rsa3072,
        RsaBits::B4096 => KeySize::Rsa4096,
    };
    let pair = RsaKeyPair::generate(size).map_err(|_unspecified| Failed)?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_unspecified| Failed)?;
    PrivateKey::from_pkcs8(pkcs8.as_ref())
        .map(KeyMaterial::Private)
        .map_err(|_impossible| Failed)
}

fn ec(curve: EcCurve) -> Result<KeyMaterial, Failed> {
    let algorithm = match curve {
        EcCurve::P256 => &agreement::ECDH_P256,
        EcCurve::P384 => &agreement::ECDH_P384,
        EcCurve::P521 => &agreement::ECDH_P521,
    };
    let key = AgreementKey::generate(algorithm).map_err(|_unspecified| Failed)?;
    let scalar: EcPrivateKeyBin<'_> = key.as_be_bytes().map_err(|_unspecified| Failed)?;
    let point = ec_public(curve, scalar.as_ref()).map_err(|_impossible| Failed)?;
    let private = EcPublicKey::from_uncompressed(curve, &point)
        .and_then(|public| EcPrivateKey::new(public, scalar.as_ref()));
    private
        .map(|key| KeyMaterial::Private(PrivateKey::Ec(key)))
        .map_err(|_impossible| Failed)
}

fn okp(provider: &AwsLc, curve: OkpCurve) -> Result<KeyMaterial, Failed> {
    let mut seed = Zeroizing::new([0; 32]);
    provider.fill(seed.as_mut_slice())?;
    let x = okp_public(curve, seed.as_slice()).map_err(|_impossible| Failed)?;
    let private =
        OkpPublicKey::new(curve, &x).and_then(|public| OkpPrivateKey::new(public, seed.as_slice()));
    private
        .map(|key| KeyMaterial::Private(PrivateKey::Okp(key)))
        .map_err(|_impossible| Failed)
}

fn oct(provider: &AwsLc, len: usize) -> Result<KeyMaterial, Failed> {
    let mut secret = Zeroizing::new(vec![0; len]);
    provider.fill(&mut secret)?;
    SymmetricKey::new(&secret)
        .map(KeyMaterial::Symmetric)
        .map_err(|_impossible| Failed)
}
