//! The JOSE cookbook (RFC 7520, RFC 8037) from the folder that `JOSE_VECTORS` names.

#![expect(
    clippy::disallowed_methods,
    reason = "the folder of the vectors is the environment's to say"
)]

use std::fs;
use std::path::{Path, PathBuf};

use jose::algorithm::{KeyManagement, UnsupportedAlgorithm};
use jose::jwe::{Fault, decrypt, peek};
use serde_json::Value;

use crate::keys::{decrypter, from_jwk};

/// What becomes of a vector, by the start of its file name.
enum Expect {
    Decrypts,
    Refused(Fault),
    NoCompactForm,
}

fn expectation(name: &str) -> Expect {
    match name.split('.').next().unwrap() {
        "5_1" | "5_3" => Expect::Refused(Fault::Algorithm),
        "5_9" => Expect::Refused(Fault::Compression),
        "5_10" | "5_11" | "5_12" | "5_13" => Expect::NoCompactForm,
        _ => Expect::Decrypts,
    }
}

/// Set and missing is a failure, which the reading of the folder brings.
fn folder() -> Option<PathBuf> {
    let Ok(folder) = std::env::var("JOSE_VECTORS") else {
        println!("JOSE_VECTORS is not set: 0 vectors of the cookbook run");
        return None;
    };
    assert!(
        Path::new(&folder).is_absolute(),
        "JOSE_VECTORS must be absolute: {folder}"
    );
    Some(PathBuf::from(folder).join("rfc7520"))
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn decrypts(vector: &Value, name: &str) {
    let input = &vector["input"];
    let alg = KeyManagement::parse(input["alg"].as_str().unwrap()).unwrap();
    let token = vector["output"]["compact"].as_str().unwrap();
    let view = peek(token).unwrap();
    let fixed = (alg == KeyManagement::Dir).then(|| view.header().enc());
    if let Some(kid) = view.kid() {
        assert_eq!(kid, input["key"]["kid"], "{name}");
    }
    assert_eq!(
        view.header().enc().name(),
        input["enc"].as_str().unwrap(),
        "{name}"
    );
    let key = decrypter(alg, fixed, &from_jwk(&input["key"])).unwrap();
    let payload = view
        .decrypt(key.as_ref())
        .unwrap_or_else(|error| panic!("{name}: {error:?}"))
        .payload;
    assert_eq!(
        std::str::from_utf8(&payload).unwrap(),
        input["plaintext"],
        "{name}"
    );
}

fn refused(vector: &Value, fault: Fault, name: &str) {
    let token = vector["output"]["compact"].as_str().unwrap();
    assert_eq!(peek(token).unwrap_err().fault(), fault, "{name}");
    if fault == Fault::Algorithm {
        let alg = vector["input"]["alg"].as_str().unwrap();
        let refusal = KeyManagement::parse(alg).unwrap_err();
        assert!(
            !matches!(refusal, UnsupportedAlgorithm::Unknown(_)),
            "{name}: {refusal}"
        );
    }
}

#[test]
fn the_vectors_of_the_cookbook_decrypt_or_are_refused_by_name() {
    let Some(folder) = folder() else {
        return;
    };
    let mut files: Vec<_> = fs::read_dir(folder.join("jwe"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(folder.join("curve25519/ecdh-es.json"));
    files.sort();

    let (mut ran, mut absent) = (0, 0);
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let vector = read(&path);
        match expectation(&name) {
            Expect::Decrypts => decrypts(&vector, &name),
            Expect::Refused(fault) => refused(&vector, fault, &name),
            Expect::NoCompactForm => {
                assert!(
                    vector["output"]["compact"].is_null(),
                    "{name} has a compact form"
                );
                absent += 1;
                continue;
            }
        }
        ran += 1;
    }
    let nested = read(&folder.join("6.nesting_signatures_and_encryption.json"));
    decrypts(&nested["encrypt"], "6");
    println!(
        "cookbook: {} JWE vectors run, {absent} without compact form",
        ran + 1
    );
    assert_eq!((ran + 1, absent), (11, 4));
}

#[test]
fn a_token_of_the_cookbook_fails_under_the_key_of_another() {
    let Some(folder) = folder().map(|folder| folder.join("jwe")) else {
        return;
    };
    let agreement = read(&folder.join(
        "5_4.key_agreement_with_key_wrapping_using_ecdh-es_and_aes-keywrap_with_aes-gcm.json",
    ));
    let rsa = read(&folder.join("5_2.key_encryption_using_rsa-oaep_with_aes-gcm.json"));
    let token = rsa["output"]["compact"].as_str().unwrap();
    let key = from_jwk(&agreement["input"]["key"]);
    let key = decrypter(KeyManagement::EcdhEsA128Kw, None, &key).unwrap();
    assert_eq!(
        decrypt(token, key.as_ref()).unwrap_err().fault(),
        Fault::Algorithm
    );
    let key = decrypter(
        KeyManagement::RsaOaep256,
        None,
        &from_jwk(&rsa["input"]["key"]),
    )
    .unwrap();
    assert_eq!(
        decrypt(token, key.as_ref()).unwrap_err().fault(),
        Fault::Algorithm
    );
}
