//! A thin client and the service run the same rules over different engines: verdict and reason must be the same,
//! on good tokens, on attacks, and on anything in between.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what is unexpected fails the test"
)]

use std::sync::{Arc, OnceLock};

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::base64url;
use jose::jws::{EncodedHeader, sign};
use jose::jwt::{
    KeyState, Lookup, NotVerified, Profile, RejectReason, Trust, TrustedKey, Verifier,
    VerifyOptions, VerifyRules, verify,
};
use jose::key::{KeyError, KeyMaterial, PublicKey, SymmetricKey};
use jose::provider::{Provider, Sign, Verify};
use jose_aws_lc::{AwsLc, GeneratedKey, KeySpec};
use jose_ring::Ring;
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000;
const CLAIMS: &str =
    r#"{"iss":"https://op.example.com","aud":"rs","sub":"u","exp":1700000300,"iat":1700000000}"#;

/// Absent where the client asks the service.
type MaybeVerifier = Option<Arc<dyn Verify>>;

/// One view of all keys.
struct View {
    keys: Vec<(GeneratedKey, JwsAlgorithm, MaybeVerifier)>,
    profile: Profile,
    local: bool,
}

impl Trust for View {
    fn key(&self, kid: &str) -> Lookup<'_> {
        let found = self.keys.iter().find(|(key, ..)| key.kid.as_str() == kid);
        match found {
            None if self.local => Lookup::AskService,
            None => Lookup::Unknown,
            Some((key, algorithm, verifier)) => Lookup::Found(TrustedKey {
                kid: key.kid.as_str(),
                key_set: algorithm.name(),
                issuer: Some("https://op.example.com"),
                profile: &self.profile,
                state: KeyState::Active,
                algorithm: *algorithm,
                verifier: verifier
                    .as_deref()
                    .map_or(Verifier::AskService, Verifier::Held),
            }),
        }
    }

    fn only_key(&self, _key_set: &str, _algorithm: JwsAlgorithm) -> Lookup<'_> {
        Lookup::Unknown
    }
}

struct World {
    service: View,
    client: View,
    signers: Vec<Arc<dyn Sign>>,
}

fn service_verifier(algorithm: JwsAlgorithm, key: &GeneratedKey) -> Arc<dyn Verify> {
    match (&key.public, &key.material) {
        (Some(public), _) => AwsLc.verifying_key(algorithm, public).unwrap(),
        (None, KeyMaterial::Symmetric(secret)) => {
            AwsLc.mac_verifying_key(algorithm, secret).unwrap()
        }
        (None, KeyMaterial::Private(_)) => panic!("{algorithm}"),
    }
}

fn client_verifier(algorithm: JwsAlgorithm, key: &GeneratedKey) -> Option<Arc<dyn Verify>> {
    match Ring.verifying_key(algorithm, key.public.as_ref()?) {
        Ok(verifier) => Some(verifier),
        Err(KeyError::NotCovered(_)) => None,
        Err(error) => panic!("{algorithm}: {error}"),
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let profile = Profile {
            types: vec!["at+jwt".to_owned()],
            expiry_optional: false,
            hint_window: 0,
            max_lifetime: 3600,
        };
        let make = |algorithm: &JwsAlgorithm| {
            (
                AwsLc
                    .generate(&KeySpec::new(Algorithm::Jws(*algorithm)))
                    .unwrap(),
                *algorithm,
            )
        };
        let keys: Vec<_> = JwsAlgorithm::ALL.iter().map(make).collect();
        let signers = keys
            .iter()
            .map(|(key, algorithm)| AwsLc.signing_key(*algorithm, &key.material).unwrap())
            .collect();
        let view = |local, verifier: fn(JwsAlgorithm, &GeneratedKey) -> MaybeVerifier| View {
            keys: keys
                .iter()
                .map(|(key, algorithm)| (key.clone(), *algorithm, verifier(*algorithm, key)))
                .collect(),
            profile: profile.clone(),
            local,
        };
        let service = view(false, |algorithm, key| {
            Some(service_verifier(algorithm, key))
        });
        World {
            service,
            client: view(true, client_verifier),
            signers,
        }
    })
}

fn token(at: usize, claims: &str) -> String {
    let (key, algorithm, _) = &world().service.keys[at];
    let header = EncodedHeader::new(*algorithm, Some(key.kid.as_str()), Some("at+jwt"), None);
    sign(&header, claims.as_bytes(), world().signers[at].as_ref()).unwrap()
}

fn judge(view: &View, token: &str) -> Result<String, NotVerified> {
    let rules = VerifyRules::try_from(VerifyOptions {
        audiences: vec!["rs".to_owned()],
        ..VerifyOptions::default()
    })
    .unwrap();
    verify(token, view, &rules, NOW).map(|claims| claims.json().to_owned())
}

/// The verdict, which the client either shares or leaves to the service.
fn one_verdict(token: &str) -> (Result<String, NotVerified>, bool) {
    let service = judge(&world().service, token);
    let client = judge(&world().client, token);
    assert_ne!(service, Err(NotVerified::AskService), "{token}");
    let asks = client == Err(NotVerified::AskService);
    assert!(
        asks || client == service,
        "{token}: client {client:?}, service {service:?}"
    );
    (service, asks)
}

#[test]
fn good_tokens_are_believed_by_both_or_left_to_the_service() {
    for (at, algorithm) in JwsAlgorithm::ALL.iter().enumerate() {
        let (verdict, asks) = one_verdict(&token(at, CLAIMS));
        assert_eq!(verdict.as_deref(), Ok(CLAIMS), "{algorithm}");
        assert_eq!(
            asks,
            matches!(algorithm.name(), "ES512" | "HS256" | "HS384" | "HS512"),
            "{algorithm}"
        );
    }
}

#[test]
fn expired_and_tampered_tokens_get_one_reason() {
    for (at, algorithm) in JwsAlgorithm::ALL.iter().enumerate() {
        let expired = token(at, &CLAIMS.replace("1700000300", "1700000000"));
        assert_eq!(
            one_verdict(&expired).0,
            Err(RejectReason::Expired.into()),
            "{algorithm}"
        );
        let good = token(at, CLAIMS);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let bytes = base64url::decode(signature).unwrap();
        for forged in [
            vec![0; bytes.len()],
            vec![0xFF; bytes.len()],
            bytes[1..].to_vec(),
            [&bytes[..], &[0]].concat(),
            Vec::new(),
        ] {
            let forged = format!("{input}.{}", base64url::encode(&forged));
            assert_eq!(
                one_verdict(&forged).0,
                Err(RejectReason::Signature.into()),
                "{algorithm}"
            );
        }
    }
}

/// A signature of one key under the header of another.
fn relabelled(header_json: &str, signer: &dyn Sign) -> String {
    let input = format!(
        "{}.{}",
        base64url::encode(header_json),
        base64url::encode(CLAIMS)
    );
    let mut signature = vec![0; signer.signature_len()];
    signer.sign(input.as_bytes(), &mut signature).unwrap();
    format!("{input}.{}", base64url::encode(signature))
}

#[test]
fn no_key_verifies_under_another_algorithm_or_another_kid() {
    for (key, own, _) in &world().service.keys {
        for (at, claimed) in JwsAlgorithm::ALL.iter().enumerate() {
            let header = format!(
                r#"{{"alg":"{claimed}","kid":"{}","typ":"at+jwt"}}"#,
                key.kid
            );
            let (verdict, _) = one_verdict(&relabelled(&header, world().signers[at].as_ref()));
            let expected = match own.is_same_as(*claimed) {
                true if own == claimed => Ok(CLAIMS.to_owned()),
                true => Err(RejectReason::Signature.into()),
                false => Err(RejectReason::Algorithm.into()),
            };
            assert_eq!(verdict, expected, "{own} as {claimed}");
        }
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_shared_secret() {
    let confused = world()
        .service
        .keys
        .iter()
        .filter_map(|(key, ..)| key.public.as_ref().map(|public| (key, public)));
    let mut tried = 0;
    for (key, public) in confused {
        let spki = public.to_spki();
        let raw = match public {
            PublicKey::Rsa(key) => key.n().to_vec(),
            PublicKey::Ec(key) => key.uncompressed().to_vec(),
            PublicKey::Okp(key) => key.x().to_vec(),
        };
        for secret in [&spki[..], &raw[..]] {
            let Ok(secret) = SymmetricKey::new(secret) else {
                continue;
            };
            let signer = AwsLc
                .signing_key(JwsAlgorithm::Hs256, &KeyMaterial::Symmetric(secret))
                .unwrap();
            let header = format!(r#"{{"alg":"HS256","kid":"{}","typ":"at+jwt"}}"#, key.kid);
            assert_eq!(
                one_verdict(&relabelled(&header, signer.as_ref())).0,
                Err(RejectReason::Algorithm.into())
            );
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
}

#[test]
fn a_key_that_the_token_brings_along_is_not_used() {
    let own = AwsLc
        .generate(&KeySpec::new(Algorithm::Jws(JwsAlgorithm::Es256)))
        .unwrap();
    let signer = AwsLc
        .signing_key(JwsAlgorithm::Es256, &own.material)
        .unwrap();
    let jwk = jose::jwk::Jwk::new(own.public.unwrap()).to_json();
    let known = world()
        .service
        .keys
        .iter()
        .find(|(_, algorithm, _)| *algorithm == JwsAlgorithm::Es256)
        .unwrap();
    for (kid, reason) in [
        (known.0.kid.as_str(), RejectReason::Signature),
        (own.kid.as_str(), RejectReason::UnknownKey),
    ] {
        let header = format!(
            r#"{{"alg":"ES256","kid":"{kid}","typ":"at+jwt","jwk":{jwk},"jku":"https://evil.example"}}"#
        );
        assert_eq!(
            one_verdict(&relabelled(&header, signer.as_ref())).0,
            Err(reason.into()),
            "{kid}"
        );
    }
}

#[test]
fn an_embedded_tag_of_none_is_no_signature() {
    for name in ["none", "None", "NONE", "nOnE"] {
        let input = format!(
            "{}.{}",
            base64url::encode(format!(r#"{{"alg":"{name}"}}"#)),
            base64url::encode(CLAIMS)
        );
        assert_eq!(
            one_verdict(&format!("{input}.")).0,
            Err(RejectReason::Algorithm.into()),
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_changed_character_gets_one_verdict(key in 0_usize..14, at in 0_usize..2000, with in "[A-Za-z0-9_.=~-]") {
        static TOKENS: OnceLock<Vec<String>> = OnceLock::new();
        let tokens = TOKENS.get_or_init(|| (0..JwsAlgorithm::ALL.len()).map(|at| token(at, CLAIMS)).collect());
        let good = &tokens[key];
        let at = at % good.len();
        let changed = format!("{}{with}{}", &good[..at], &good[at + 1..]);
        let (verdict, _) = one_verdict(&changed);
        prop_assert!(&changed == good || verdict.is_err(), "{changed}");
    }

    #[test]
    fn arbitrary_text_gets_one_verdict(text in "\\PC{0,100}") {
        prop_assert!(one_verdict(&text).0.is_err());
    }
}
