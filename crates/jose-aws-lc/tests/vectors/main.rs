//! Published JWS and JWK examples: those of the RFCs as constants, and the cookbook where `JOSE_VECTORS` names it.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the folder comes from the environment, and what is unexpected fails the test"
)]

mod appendix;
mod cookbook;

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::base64url;
use jose::jwk::{AnyJwk, SecretJwk};
use jose::jws::UnverifiedJws;
use jose::jwt::RejectReason;
use jose::key::KeyMaterial;
use jose::provider::Provider as _;
use jose_aws_lc::AwsLc;
use serde_json::Value;

use crate::cookbook::Example;

/// Verifies `token` and, where the algorithm is deterministic, signs it again.
pub(crate) fn verifies_and_signs_again(
    name: &str,
    jwk: &str,
    algorithm: &str,
    token: &str,
    payload: &[u8],
) {
    let algorithm = JwsAlgorithm::parse(algorithm).unwrap();
    let material = SecretJwk::parse(jwk.as_bytes())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .key;
    AwsLc.check_material(&material).unwrap();
    let verifier = match &material {
        KeyMaterial::Symmetric(secret) => AwsLc.mac_verifying_key(algorithm, secret).unwrap(),
        KeyMaterial::Private(key) => AwsLc.verifying_key(algorithm, &key.public_key()).unwrap(),
    };
    let jws =
        UnverifiedJws::parse(token, 12 * 1024).unwrap_or_else(|reason| panic!("{name}: {reason}"));
    assert!(jws.algorithm.is_same_as(algorithm), "{name}");
    assert_eq!(jws.payload, payload, "{name}");
    assert!(
        verifier.verify(jws.signing_input, &jws.signature).is_ok(),
        "{name}"
    );
    let signer = AwsLc.signing_key(algorithm, &material).unwrap();
    let mut signature = vec![0; signer.signature_len()];
    signer.sign(jws.signing_input, &mut signature).unwrap();
    if matches!(
        algorithm.name().as_bytes(),
        [b'R' | b'H', ..] | [b'E', b'd', ..]
    ) {
        assert_eq!(signature, jws.signature, "{name}");
    }
    assert!(
        verifier.verify(jws.signing_input, &signature).is_ok(),
        "{name}"
    );
}

/// How an example ends here.
#[derive(Debug, PartialEq)]
enum Outcome {
    Verified,
    /// It has no compact form, and no other form is read.
    NotCompact,
    Refused(RejectReason),
}

fn run_jws(name: &str, json: &Value) -> Outcome {
    let payload = json["input"]["payload"].as_str().unwrap();
    let Some(compact) = json["output"]["compact"].as_str() else {
        let text = json["output"].to_string();
        assert_eq!(
            UnverifiedJws::parse(&text, 12 * 1024).unwrap_err(),
            RejectReason::Malformed,
            "{name}"
        );
        return Outcome::NotCompact;
    };
    // detached content (RFC 7515 appendix F): the payload is put back
    let token = compact.replace("..", &format!(".{}.", base64url::encode(payload)));
    if let Err(reason) = UnverifiedJws::parse(&token, 12 * 1024) {
        return Outcome::Refused(reason);
    }
    let algorithm = json["input"]["alg"].as_str().unwrap();
    verifies_and_signs_again(
        name,
        &json["input"]["key"].to_string(),
        algorithm,
        &token,
        payload.as_bytes(),
    );
    Outcome::Verified
}

fn expected(name: &str) -> Outcome {
    match name {
        "jws/4_6.protecting_specific_header_fields.json"
        | "jws/4_7.protecting_content_only.json"
        | "jws/4_8.multiple_signatures.json"
        | "rfc7797/4.2.hmac-sha2_b64_false.json" => Outcome::NotCompact,
        "rfc7797/hmac-sha2_b64_false.json" => Outcome::Refused(RejectReason::Malformed),
        _ => Outcome::Verified,
    }
}

#[test]
fn every_signature_of_the_cookbook_ends_as_it_must() {
    let Some(folder) = cookbook::folder() else {
        println!(
            "JOSE_VECTORS is unset: the cookbook's signatures are not run, those of the RFCs are"
        );
        return;
    };
    let mut examples = cookbook::examples(&folder, "jws");
    examples.extend(cookbook::examples(&folder, "rfc7797"));
    examples.extend(
        cookbook::examples(&folder, "curve25519")
            .into_iter()
            .filter(|example| example.name.ends_with("jws.json")),
    );
    let nested = cookbook::examples(&folder, "")
        .into_iter()
        .map(|Example { name, mut json }| Example {
            name,
            json: json["sign"].take(),
        });
    examples.extend(nested);
    let mut verified = 0;
    for Example { name, json } in &examples {
        let outcome = run_jws(name, json);
        assert_eq!(outcome, expected(name), "{name}");
        verified += usize::from(outcome == Outcome::Verified);
    }
    assert_eq!((verified, examples.len()), (7, 12));
    println!(
        "JWS examples of the cookbook: {} run, {verified} verified, {} refused as they must be",
        examples.len(),
        examples.len() - verified
    );
}

#[test]
fn every_key_of_the_cookbook_reads_and_writes_back() {
    let Some(folder) = cookbook::folder() else {
        println!("JOSE_VECTORS is unset: the cookbook's keys are not run, those of the RFCs are");
        return;
    };
    let examples = cookbook::examples(&folder, "jwk");
    for Example { name, json } in &examples {
        let written = match AnyJwk::parse(json.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("{name}: {error}"))
        {
            AnyJwk::Public(jwk) => {
                AwsLc.check_public(&jwk.key).unwrap();
                jwk.to_json()
            }
            AnyJwk::Secret(jwk) => {
                AwsLc.check_material(&jwk.key).unwrap();
                jwk.expose_json().to_string()
            }
        };
        assert_eq!(
            serde_json::from_str::<Value>(&written).unwrap(),
            *json,
            "{name}"
        );
    }
    assert_eq!(examples.len(), 6);
    println!("JWK examples of the cookbook: {} run", examples.len());
}

#[test]
fn a_private_key_reads_back_from_what_is_sealed() {
    for (jwk, algorithm) in appendix::PRIVATE_KEYS {
        let material = SecretJwk::parse(jwk.as_bytes()).unwrap().key;
        let algorithm = Algorithm::parse(algorithm).unwrap();
        let again = KeyMaterial::from_bytes(algorithm, &material.to_bytes()).unwrap();
        AwsLc.check_material(&again).unwrap();
        assert_eq!(again.to_bytes(), material.to_bytes(), "{algorithm}");
    }
}
