//! What each layer of a call costs on its own: `cargo bench -p benches`. The sum is compared with a call over gRPC by `load`.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up stops")]

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group, criterion_main};
use jose::{
    algorithm::{Algorithm, ContentEncryption, JwsAlgorithm, KeyManagement},
    jwe::{self, EncryptRequest},
    jws::{self, EncodedHeader},
    jwt::{
        IssueRules, KeyState, Lookup, PreparedClaims, Profile, Trust, TrustedKey, Verifier,
        VerifyOptions, VerifyRules, verify,
    },
    provider::{Provider, Sign, Verify},
};
use jose_aws_lc::{AwsLc, GeneratedKey, KeySpec};
use jose_ring::Ring;

const CLAIMS: &str = r#"{"sub":"248289761001","aud":"https://api.example.com","client_id":"s6BhdRkqt3","scope":"openid profile email","auth_time":1790000000}"#;
const NOW: u64 = 1_790_000_000;
const KID: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
const SIGNING: [JwsAlgorithm; 6] = [
    JwsAlgorithm::Rs256,
    JwsAlgorithm::Ps256,
    JwsAlgorithm::Es256,
    JwsAlgorithm::Es512,
    JwsAlgorithm::Ed25519,
    JwsAlgorithm::Hs256,
];

fn rules() -> IssueRules<'static> {
    IssueRules {
        issuer: Some("https://op.example.com"),
        now: NOW,
        lifetime: Some(300),
        default_lifetime: 300,
        max_lifetime: 3600,
        expiry_optional: false,
        jti: Some("0JP_0zmLKbe3Ee6tNyXxCQ"),
    }
}

fn key(algorithm: JwsAlgorithm) -> GeneratedKey {
    AwsLc
        .generate(&KeySpec::new(Algorithm::Jws(algorithm)))
        .unwrap()
}

fn signer(algorithm: JwsAlgorithm, key: &GeneratedKey) -> Arc<dyn Sign> {
    AwsLc.signing_key(algorithm, &key.material).unwrap()
}

fn token(algorithm: JwsAlgorithm, signer: &dyn Sign) -> String {
    let header = EncodedHeader::new(algorithm, Some(KID), Some("at+jwt"), None);
    let claims = PreparedClaims::prepare(CLAIMS.as_bytes(), &rules()).unwrap();
    jws::sign(&header, claims.json().as_bytes(), signer).unwrap()
}

/// Claims and codec, without arithmetic.
fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    group.bench_function("prepare claims", |b| {
        b.iter(|| PreparedClaims::prepare(black_box(CLAIMS.as_bytes()), &rules()));
    });
    group.bench_function("encode header", |b| {
        b.iter(|| EncodedHeader::new(JwsAlgorithm::Es256, Some(KID), Some("at+jwt"), None));
    });
    let key = key(JwsAlgorithm::Es256);
    let token = token(JwsAlgorithm::Es256, &*signer(JwsAlgorithm::Es256, &key));
    group.bench_function("parse token", |b| {
        b.iter(|| jws::UnverifiedJws::parse(black_box(&token), 12 * 1024).map(drop));
    });
    group.finish();
}

/// The bare engines, 400 bytes.
fn engines(c: &mut Criterion) {
    let message = [b'm'; 400];
    let mut group = c.benchmark_group("engine");
    for algorithm in SIGNING {
        let key = key(algorithm);
        let signer = signer(algorithm, &key);
        let mut signature = vec![0; signer.signature_len()];
        group.bench_function(format!("aws-lc sign {algorithm}"), |b| {
            b.iter(|| signer.sign(black_box(&message), &mut signature));
        });
        let Some(public) = &key.public else { continue };
        let verifiers = [
            ("aws-lc", AwsLc.verifying_key(algorithm, public)),
            ("ring", Ring.verifying_key(algorithm, public)),
        ];
        for (name, verifier) in verifiers {
            let Ok(verifier) = verifier else { continue };
            group.bench_function(format!("{name} verify {algorithm}"), |b| {
                b.iter(|| verifier.verify(black_box(&message), &signature));
            });
        }
    }
    group.finish();
}

/// A view with one key.
struct OneKey {
    profile: Profile,
    verifier: Arc<dyn Verify>,
}

impl Trust for OneKey {
    fn key(&self, kid: &str) -> Lookup<'_> {
        if kid != KID {
            return Lookup::Unknown;
        }
        Lookup::Found(TrustedKey {
            kid: KID,
            key_set: "op/access-token",
            issuer: Some("https://op.example.com"),
            profile: &self.profile,
            state: KeyState::Active,
            algorithm: self.verifier.algorithm(),
            verifier: Verifier::Held(&*self.verifier),
        })
    }

    fn only_key(&self, _key_set: &str, _algorithm: JwsAlgorithm) -> Lookup<'_> {
        Lookup::Unknown
    }
}

/// Whole tokens, without a network.
fn tokens(c: &mut Criterion) {
    let mut group = c.benchmark_group("token");
    let rules: VerifyRules = VerifyOptions {
        audiences: vec!["https://api.example.com".to_owned()],
        ..VerifyOptions::default()
    }
    .try_into()
    .unwrap();
    for algorithm in [JwsAlgorithm::Es256, JwsAlgorithm::Rs256] {
        let key = key(algorithm);
        let signer = signer(algorithm, &key);
        group.bench_function(format!("sign {algorithm}"), |b| {
            b.iter(|| token(algorithm, &*signer))
        });
        let token = token(algorithm, &*signer);
        let public = key.public.as_ref().unwrap();
        let trust = OneKey {
            profile: Profile {
                types: vec!["at+jwt".to_owned()],
                expiry_optional: false,
                hint_window: 0,
                max_lifetime: 3600,
            },
            verifier: Ring.verifying_key(algorithm, public).unwrap(),
        };
        assert!(verify(&token, &trust, &rules, NOW).is_ok());
        group.bench_function(format!("verify locally {algorithm}"), |b| {
            b.iter(|| verify(black_box(&token), &trust, &rules, NOW).is_ok());
        });
    }
    group.finish();
}

/// JWE both ways, 400 bytes.
fn encryption(c: &mut Criterion) {
    let payload = [b'p'; 400];
    let mut group = c.benchmark_group("jwe");
    for algorithm in [KeyManagement::RsaOaep256, KeyManagement::EcdhEsA256Kw] {
        let key = AwsLc
            .generate(&KeySpec::new(Algorithm::Jwe(algorithm)))
            .unwrap();
        let encrypter = AwsLc
            .encrypter(algorithm, key.public.as_ref().unwrap())
            .unwrap();
        let decrypter = AwsLc.decrypter(algorithm, None, &key.material).unwrap();
        let request = EncryptRequest {
            kid: Some(KID),
            ..EncryptRequest::default()
        };
        let encrypt = || {
            jwe::encrypt(
                &request,
                &payload,
                &*encrypter,
                ContentEncryption::A256Gcm,
                &AwsLc,
            )
        };
        group.bench_function(format!("encrypt {algorithm}"), |b| b.iter(encrypt));
        let token = encrypt().unwrap();
        group.bench_function(format!("decrypt {algorithm}"), |b| {
            b.iter(|| jwe::decrypt(black_box(&token), &*decrypter).map(drop));
        });
    }
    group.finish();
}

criterion_group!(layers, codec, engines, tokens, encryption);
criterion_main!(layers);
