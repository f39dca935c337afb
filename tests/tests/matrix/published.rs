//! The JOSE cookbook (RFC 7520, RFC 8037, RFC 7797) under the rules for tokens, by aws-lc-rs and by ring.
//!
//! Most examples sign prose and name no `typ`: their signature holds, and the next check says TYPE.

#![expect(
    clippy::disallowed_methods,
    reason = "the folder of the vectors is the environment's to say"
)]

use std::fs;
use std::path::{Path, PathBuf};

use jose::algorithm::{Algorithm, JwsAlgorithm};
use jose::base64url;
use jose::jwk::AnyJwk;
use jose::jwt::RejectReason;
use jose_aws_lc::AwsLc;
use jose_ring::Ring;
use serde_json::Value;

use crate::altered;
use crate::ours::{named, view_of};
use crate::views::{View, one_verdict};

/// Set and missing is a failure, which the reading of the folder brings.
fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("JOSE_VECTORS")?);
    assert!(
        folder.is_absolute(),
        "JOSE_VECTORS must be absolute: {}",
        folder.display()
    );
    Some(folder.join("rfc7520"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in
        fs::read_dir(folder).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()))
    {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The views of the service and of a client that hold the example's key, as far as it is one for signatures.
fn views(input: &Value) -> [View; 2] {
    let algorithm = input["alg"]
        .as_str()
        .and_then(|name| JwsAlgorithm::parse(name).ok());
    match (
        algorithm,
        AnyJwk::parse(input["key"].to_string().as_bytes()),
    ) {
        (Some(algorithm), Ok(AnyJwk::Secret(jwk))) => {
            let kid = jwk.kid.as_ref().map_or("unnamed", |kid| kid.as_str());
            let jwk = named(jwk.key.clone(), kid, Algorithm::Jws(algorithm));
            [
                view_of(&AwsLc, &jwk),
                view_of(&Ring, &jwk).without_secrets(),
            ]
        }
        _ => [View::default(), View::default()],
    }
}

fn expected(name: &str) -> RejectReason {
    match name {
        "jws/4_5.signature_with_detached_content.json" => RejectReason::Signature,
        "6.nesting_signatures_and_encryption.json" => RejectReason::Expired,
        "rfc7797/hmac-sha2_b64_false.json" => RejectReason::Malformed,
        _ if name.starts_with("jwe/") || name == "curve25519/ecdh-es.json" => {
            RejectReason::Malformed
        }
        _ => RejectReason::Type,
    }
}

/// One example: its verdict, then that of everything made from it.
fn judge(name: &str, example: &Value) -> bool {
    let Some(compact) = example["output"]["compact"].as_str() else {
        return false;
    };
    let [service, client] = views(&example["input"]);
    assert_eq!(
        one_verdict(&service, &client, compact),
        Err(expected(name).into()),
        "{name}"
    );

    let payload = example["input"]["payload"].as_str().map(base64url::encode);
    let whole = payload.map_or_else(
        || compact.to_owned(),
        |payload| compact.replace("..", &format!(".{payload}.")),
    );
    if whole != compact {
        assert_eq!(
            one_verdict(&service, &client, &whole),
            Err(RejectReason::Type.into()),
            "{name}, its payload put back"
        );
    }
    if expected(name) == RejectReason::Malformed {
        return true;
    }
    for (what, bad) in altered::signed(&whole) {
        assert_eq!(
            one_verdict(&service, &client, &bad),
            Err(RejectReason::Signature.into()),
            "{name}, another {what}"
        );
    }
    true
}

#[test]
fn published_vectors_get_one_verdict_from_both_engines() {
    let Some(folder) = folder() else {
        println!("JOSE_VECTORS is unset: the cookbook is not run here");
        return;
    };
    let (mut judged, mut without) = (0, 0);
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        if name.starts_with("jwk/") {
            continue;
        }
        let mut example: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if !example["sign"].is_null() {
            example = example["sign"].take();
        }
        if judge(&name, &example) {
            judged += 1;
        } else {
            without += 1;
        }
    }
    println!(
        "{judged} vectors of the cookbook judged by both engines, {without} without compact form"
    );
    assert_eq!((judged, without), (18, 8));
}
