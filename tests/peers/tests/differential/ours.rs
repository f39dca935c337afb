//! Our side: one key per algorithm and curve, and a verifier's view of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use jose::algorithm::{Algorithm, ContentEncryption, JwsAlgorithm, KeyManagement};
use jose::base64url;
use jose::jwe::{Decrypter, Encrypter, Fault};
use jose::jwk::{Jwk, SecretJwk};
use jose::jws::{self, EncodedHeader};
use jose::jwt::{
    self, KeyState, Lookup, NotVerified, Profile, RejectReason, Trust, TrustedKey, Verifier,
    VerifyOptions, VerifyRules,
};
use jose::key::{KeyMaterial, Kid};
use jose::provider::{Provider as _, Sign, Verify};
use jose_aws_lc::{AgreementCurve, AwsLc, KeySpec};

/// The one key of every view.
pub(crate) const KID: &str = "k1";

/// A moment before the `exp` of all tokens, which lies in 2100 because the peers look at the real clock.
pub(crate) const NOW: u64 = 1_800_000_000;

/// `exp` of all tokens.
pub(crate) const EXP: u64 = 4_102_444_800;

/// The key for an algorithm, generated once.
pub(crate) fn key(spec: KeySpec) -> SecretJwk {
    static KEYS: OnceLock<Mutex<BTreeMap<String, SecretJwk>>> = OnceLock::new();
    let mut keys = KEYS.get_or_init(Mutex::default).lock().unwrap();
    let made = keys.entry(format!("{spec:?}")).or_insert_with(|| {
        let material = AwsLc.generate(&spec).unwrap().material;
        Jwk::new(material)
            .with_kid(Kid::new(KID).unwrap())
            .with_algorithm(spec.algorithm)
    });
    made.clone()
}

/// The signing key of an algorithm.
pub(crate) fn signing_key(algorithm: JwsAlgorithm) -> SecretJwk {
    key(KeySpec::new(Algorithm::Jws(algorithm)))
}

/// A key for JWE with everything that the algorithm leaves open.
pub(crate) fn encryption_key(
    algorithm: KeyManagement,
    curve: AgreementCurve,
    enc: ContentEncryption,
) -> SecretJwk {
    let mut spec = KeySpec::new(Algorithm::Jwe(algorithm));
    (spec.curve, spec.enc) = (curve, enc);
    key(spec)
}

/// Both halves of a `dir` key, which is all that the defects of JWE need.
pub(crate) fn direct(enc: ContentEncryption) -> (SecretJwk, Arc<dyn Decrypter>) {
    let key = encryption_key(KeyManagement::Dir, AgreementCurve::P256, enc);
    let decrypter = decrypter(&key, enc);
    (key, decrypter)
}

pub(crate) fn encrypter(jwk: &SecretJwk, enc: ContentEncryption) -> Arc<dyn Encrypter> {
    let alg = key_management(jwk);
    match &jwk.key {
        KeyMaterial::Symmetric(secret) => {
            Arc::new(AwsLc.shared_key(alg, fixed(alg, enc), secret).unwrap())
        }
        KeyMaterial::Private(key) => AwsLc.encrypter(alg, &key.public_key()).unwrap(),
    }
}

pub(crate) fn decrypter(jwk: &SecretJwk, enc: ContentEncryption) -> Arc<dyn Decrypter> {
    let alg = key_management(jwk);
    AwsLc.decrypter(alg, fixed(alg, enc), &jwk.key).unwrap()
}

fn key_management(jwk: &SecretJwk) -> KeyManagement {
    let Some(Algorithm::Jwe(alg)) = jwk.algorithm else {
        panic!("{jwk:?}")
    };
    alg
}

fn fixed(alg: KeyManagement, enc: ContentEncryption) -> Option<ContentEncryption> {
    (alg == KeyManagement::Dir).then_some(enc)
}

/// The payload of a token, or where it stopped.
pub(crate) fn decrypt(key: &dyn Decrypter, token: &str) -> Result<Vec<u8>, Fault> {
    let opened = jose::jwe::decrypt(token, key).map_err(|failed| failed.fault())?;
    Ok(opened.payload.to_vec())
}

fn signer(jwk: &SecretJwk) -> (JwsAlgorithm, Arc<dyn Sign>) {
    let Some(Algorithm::Jws(algorithm)) = jwk.algorithm else {
        panic!("{jwk:?}")
    };
    (algorithm, AwsLc.signing_key(algorithm, &jwk.key).unwrap())
}

/// Signs as a service does.
pub(crate) fn sign(jwk: &SecretJwk, claims: &str) -> String {
    let (algorithm, signer) = signer(jwk);
    let header = EncodedHeader::new(algorithm, Some(KID), Some("JWT"), None);
    jws::sign(&header, claims.as_bytes(), signer.as_ref()).unwrap()
}

/// Signs any header: a token whose signature holds, whatever else is wrong with it.
pub(crate) fn sign_raw(jwk: &SecretJwk, header: &str, claims: &str) -> String {
    let (_algorithm, signer) = signer(jwk);
    let input = format!(
        "{}.{}",
        base64url::encode(header),
        base64url::encode(claims)
    );
    let mut signature = vec![0; signer.signature_len()];
    signer.sign(input.as_bytes(), &mut signature).unwrap();
    format!("{input}.{}", base64url::encode(signature))
}

/// What is demanded of a token beside its signature.
pub(crate) fn unchecked() -> VerifyOptions {
    VerifyOptions {
        audience_unchecked: true,
        ..VerifyOptions::default()
    }
}

/// The claims of a token, or why it is rejected.
pub(crate) fn verify(
    jwk: &SecretJwk,
    token: &str,
    options: VerifyOptions,
) -> Result<String, RejectReason> {
    let view = View::of(jwk);
    let rules = VerifyRules::try_from(options).unwrap();
    match jwt::verify(token, &view, &rules, NOW) {
        Ok(claims) => Ok(claims.json().to_owned()),
        Err(NotVerified::Rejected(reason)) => Err(reason),
        Err(NotVerified::AskService) => panic!("nobody to ask"),
    }
}

struct View {
    algorithm: JwsAlgorithm,
    verifier: Arc<dyn Verify>,
    profile: Profile,
}

impl View {
    fn of(jwk: &SecretJwk) -> Self {
        let Some(Algorithm::Jws(algorithm)) = jwk.algorithm else {
            panic!("{jwk:?}")
        };
        let verifier = match &jwk.key {
            KeyMaterial::Symmetric(secret) => AwsLc.mac_verifying_key(algorithm, secret).unwrap(),
            KeyMaterial::Private(key) => AwsLc.verifying_key(algorithm, &key.public_key()).unwrap(),
        };
        let profile = Profile {
            types: vec!["JWT".to_owned()],
            expiry_optional: false,
            hint_window: 0,
            max_lifetime: 3600,
        };
        Self {
            algorithm,
            verifier,
            profile,
        }
    }
}

impl Trust for View {
    fn key(&self, kid: &str) -> Lookup<'_> {
        if kid != KID {
            return Lookup::Unknown;
        }
        Lookup::Found(TrustedKey {
            kid: KID,
            key_set: "keys",
            issuer: None,
            profile: &self.profile,
            state: KeyState::Active,
            algorithm: self.algorithm,
            verifier: Verifier::Held(self.verifier.as_ref()),
        })
    }

    fn only_key(&self, _key_set: &str, _algorithm: JwsAlgorithm) -> Lookup<'_> {
        Lookup::Unknown
    }
}
