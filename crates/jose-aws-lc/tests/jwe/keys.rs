//! Keys and randomness for the tests.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::agreement;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
use jose::algorithm::{ContentEncryption, KeyManagement};
use jose::base64url;
use jose::jwe::{Decrypter, EncryptRequest, Encrypter, JweHeader, encrypt, peek};
use jose::key::{
    EcCurve, EcPrivateKey, EcPublicKey, KeyError, KeyMaterial, OkpCurve, OkpPrivateKey,
    OkpPublicKey, PrivateKey, PublicKey, RsaPrivateKey, RsaPrivateParts, RsaPublicKey,
    SymmetricKey,
};
use jose::provider::{Failed, SecureRandom};
use jose_aws_lc::AwsLc;
use jose_aws_lc::jwe::SharedKey;
use serde_json::Value;

pub(crate) fn encrypter(
    algorithm: KeyManagement,
    key: &PublicKey,
) -> Result<Arc<dyn Encrypter>, KeyError> {
    AwsLc.encrypter(algorithm, key)
}

pub(crate) fn decrypter(
    algorithm: KeyManagement,
    fixed: Option<ContentEncryption>,
    key: &KeyMaterial,
) -> Result<Arc<dyn Decrypter>, KeyError> {
    AwsLc.decrypter(algorithm, fixed, key)
}

pub(crate) fn shared(
    algorithm: KeyManagement,
    fixed: Option<ContentEncryption>,
    key: &SymmetricKey,
) -> Result<SharedKey, KeyError> {
    AwsLc.shared_key(algorithm, fixed, key)
}

/// A generator that has run dry.
#[derive(Debug)]
pub(crate) struct Dry;

impl SecureRandom for Dry {
    fn fill(&self, _out: &mut [u8]) -> Result<(), Failed> {
        Err(Failed)
    }
}

/// Both ends of one recipient.
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) encrypter: Arc<dyn Encrypter>,
    pub(crate) decrypter: Arc<dyn Decrypter>,
}

impl Pair {
    fn new(
        name: &str,
        algorithm: KeyManagement,
        fixed: Option<ContentEncryption>,
        key: &KeyMaterial,
    ) -> Self {
        let encrypter = match key {
            KeyMaterial::Private(private) => encrypter(algorithm, &private.public_key()),
            KeyMaterial::Symmetric(secret) => {
                shared(algorithm, fixed, secret).map(|key| -> Arc<dyn Encrypter> { Arc::new(key) })
            }
        };
        Self {
            name: format!("{algorithm} {name}"),
            encrypter: encrypter.unwrap(),
            decrypter: decrypter(algorithm, fixed, key).unwrap(),
        }
    }

    /// A small token under the first `enc` of the pair.
    pub(crate) fn token(&self) -> String {
        let enc = self.encryptions()[0];
        encrypt(
            &EncryptRequest::default(),
            b"x",
            self.encrypter.as_ref(),
            enc,
            &AwsLc,
        )
        .unwrap()
    }

    /// The algorithms that this pair can encrypt content with.
    pub(crate) fn encryptions(&self) -> Vec<ContentEncryption> {
        self.encrypter
            .fixed_encryption()
            .map_or_else(|| ContentEncryption::ALL.to_vec(), |only| vec![only])
    }
}

pub(crate) const AGREEMENTS: [KeyManagement; 3] = [
    KeyManagement::EcdhEs,
    KeyManagement::EcdhEsA128Kw,
    KeyManagement::EcdhEsA256Kw,
];

/// A pair for every key management algorithm, on every curve, and `dir` for every `enc`.
pub(crate) fn pairs() -> &'static [Pair] {
    static PAIRS: OnceLock<Vec<Pair>> = OnceLock::new();
    PAIRS.get_or_init(|| {
        let rsa = rsa();
        let mut pairs: Vec<_> = [KeyManagement::RsaOaep, KeyManagement::RsaOaep256]
            .into_iter()
            .map(|alg| Pair::new("2048", alg, None, &rsa))
            .collect();
        for (name, key) in agreement_keys() {
            pairs.extend(
                AGREEMENTS
                    .into_iter()
                    .map(|alg| Pair::new(name, alg, None, &key)),
            );
        }
        for alg in KeyManagement::ALL {
            if let Some(len) = alg.key_len() {
                pairs.push(Pair::new("", *alg, None, &secret(&vec![0x5a; len])));
            }
        }
        for enc in ContentEncryption::ALL {
            let key = secret(&vec![0xa5; enc.key_len()]);
            pairs.push(Pair::new(enc.name(), KeyManagement::Dir, Some(*enc), &key));
        }
        pairs
    })
}

pub(crate) fn secret(bytes: &[u8]) -> KeyMaterial {
    KeyMaterial::Symmetric(SymmetricKey::new(bytes).unwrap())
}

pub(crate) fn rsa() -> KeyMaterial {
    static DER: OnceLock<Vec<u8>> = OnceLock::new();
    let der = DER.get_or_init(|| {
        let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
        key.as_der().unwrap().as_ref().to_vec()
    });
    KeyMaterial::Private(PrivateKey::from_pkcs8(der).unwrap())
}

pub(crate) fn agreement_keys() -> Vec<(&'static str, KeyMaterial)> {
    let mut keys: Vec<_> = EcCurve::ALL
        .into_iter()
        .map(|curve| {
            let mut scalar = vec![0x42; curve.coordinate_len()];
            scalar[0] = 0;
            (curve.name(), KeyMaterial::Private(ec(curve, &scalar)))
        })
        .collect();
    keys.push(("X25519", KeyMaterial::Private(x25519(&[0x42; 32]))));
    keys
}

pub(crate) fn ec(curve: EcCurve, scalar: &[u8]) -> PrivateKey {
    let algorithm = match curve {
        EcCurve::P256 => &agreement::ECDH_P256,
        EcCurve::P384 => &agreement::ECDH_P384,
        EcCurve::P521 => &agreement::ECDH_P521,
    };
    let key = agreement::PrivateKey::from_private_key(algorithm, scalar).unwrap();
    let public = key.compute_public_key().unwrap();
    let public = EcPublicKey::from_uncompressed(curve, public.as_ref()).unwrap();
    PrivateKey::Ec(EcPrivateKey::new(public, scalar).unwrap())
}

pub(crate) fn x25519(seed: &[u8]) -> PrivateKey {
    let key = agreement::PrivateKey::from_private_key(&agreement::X25519, seed).unwrap();
    let public = key.compute_public_key().unwrap();
    let public = OkpPublicKey::new(OkpCurve::X25519, public.as_ref()).unwrap();
    PrivateKey::Okp(OkpPrivateKey::new(public, seed).unwrap())
}

/// Reads a private JWK of a published vector.
pub(crate) fn from_jwk(jwk: &Value) -> KeyMaterial {
    let bytes = |name: &str| base64url::decode(jwk[name].as_str().unwrap_or_default()).unwrap();
    let curve = jwk["crv"].as_str().unwrap_or_default();
    match jwk["kty"].as_str().unwrap() {
        "oct" => secret(&bytes("k")),
        "RSA" => {
            let [d, p, q, dp, dq, qi] = ["d", "p", "q", "dp", "dq", "qi"].map(bytes);
            let parts = RsaPrivateParts {
                d: &d,
                p: &p,
                q: &q,
                dp: &dp,
                dq: &dq,
                qi: &qi,
            };
            let public = RsaPublicKey::new(&bytes("n"), &bytes("e")).unwrap();
            KeyMaterial::Private(PrivateKey::Rsa(RsaPrivateKey::new(public, &parts).unwrap()))
        }
        "EC" => {
            let curve = EcCurve::ALL
                .into_iter()
                .find(|known| known.name() == curve)
                .unwrap();
            let public = EcPublicKey::new(curve, &bytes("x"), &bytes("y")).unwrap();
            KeyMaterial::Private(PrivateKey::Ec(
                EcPrivateKey::new(public, &bytes("d")).unwrap(),
            ))
        }
        "OKP" => {
            let public = OkpPublicKey::new(OkpCurve::X25519, &bytes("x")).unwrap();
            KeyMaterial::Private(PrivateKey::Okp(
                OkpPrivateKey::new(public, &bytes("d")).unwrap(),
            ))
        }
        other => panic!("{other}"),
    }
}

/// The header of a token that has nothing else; `None` where it is refused.
pub(crate) fn header(json: &Value) -> Option<JweHeader> {
    let token = format!("{}....", base64url::encode(json.to_string()));
    peek(&token).ok().map(|view| view.header().clone())
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &parts.concat());
    digest.as_ref().try_into().unwrap()
}
