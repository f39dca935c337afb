//! One at a time: aws-lc-rs and ring, and our codec on aws-lc-rs.

use jose::{
    algorithm::{ContentEncryption, JwsAlgorithm},
    jwe::{self, EncryptRequest},
    provider::Provider,
};
use jose_aws_lc::AwsLc;
use jose_ring::Ring;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};

use super::{Loop, MESSAGE, PAYLOAD};
use crate::{Fault, keys::Key};

const KID: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

pub(super) fn aws_lc_signs(key: &Key) -> Result<Loop, Fault> {
    let signer = AwsLc.signing_key(key.jws()?, &key.material())?;
    let mut signature = vec![0; signer.signature_len()];
    Ok(Loop::new("aws-lc-rs", move || {
        signer.sign(&MESSAGE, &mut signature)?;
        Ok(1)
    }))
}

pub(super) fn aws_lc_verifies(key: &Key) -> Result<Loop, Fault> {
    verifies("aws-lc-rs", &AwsLc, key)
}

pub(super) fn ring_verifies(key: &Key) -> Result<Loop, Fault> {
    verifies("ring", &Ring, key)
}

fn verifies(who: &'static str, provider: &dyn Provider, key: &Key) -> Result<Loop, Fault> {
    let signature = signature(key)?;
    let verifier = provider.verifying_key(key.jws()?, &key.public())?;
    Ok(Loop::new(who, move || {
        verifier.verify(&MESSAGE, &signature)?;
        Ok(1)
    }))
}

/// A signature over the message of all loops.
pub(super) fn signature(key: &Key) -> Result<Vec<u8>, Fault> {
    let signer = AwsLc.signing_key(key.jws()?, &key.material())?;
    let mut signature = vec![0; signer.signature_len()];
    signer.sign(&MESSAGE, &mut signature)?;
    Ok(signature)
}

pub(super) fn ring_signs(key: &Key) -> Result<Loop, Fault> {
    let pkcs8 = key.private.to_pkcs8();
    let random = SystemRandom::new();
    match key.jws()? {
        JwsAlgorithm::Rs256 => ring_rsa(&pkcs8, &RSA_PKCS1_SHA256),
        JwsAlgorithm::Ps256 => ring_rsa(&pkcs8, &RSA_PSS_SHA256),
        JwsAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random)?;
            Ok(Loop::new("ring", move || {
                std::hint::black_box(pair.sign(&random, &MESSAGE)?);
                Ok(1)
            }))
        }
        JwsAlgorithm::Ed25519 => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8)?;
            Ok(Loop::new("ring", move || {
                std::hint::black_box(pair.sign(&MESSAGE));
                Ok(1)
            }))
        }
        other => Err(format!("ring: no loop for {other}").into()),
    }
}

fn ring_rsa(pkcs8: &[u8], encoding: &'static dyn RsaEncoding) -> Result<Loop, Fault> {
    let pair = RsaKeyPair::from_pkcs8(pkcs8)?;
    let mut signature = vec![0; pair.public().modulus_len()];
    let random = SystemRandom::new();
    Ok(Loop::new("ring", move || {
        pair.sign(encoding, &random, &MESSAGE, &mut signature)?;
        Ok(1)
    }))
}

pub(super) fn codec_encrypts(key: &Key) -> Result<Loop, Fault> {
    let encrypter = AwsLc.encrypter(key.jwe()?, &key.public())?;
    Ok(Loop::new("codec", move || {
        let request = EncryptRequest {
            kid: Some(KID),
            ..EncryptRequest::default()
        };
        let enc = ContentEncryption::A256Gcm;
        std::hint::black_box(jwe::encrypt(&request, &PAYLOAD, &*encrypter, enc, &AwsLc)?);
        Ok(1)
    }))
}

pub(super) fn codec_decrypts(key: &Key) -> Result<Loop, Fault> {
    let encrypter = AwsLc.encrypter(key.jwe()?, &key.public())?;
    let decrypter = AwsLc.decrypter(key.jwe()?, None, &key.material())?;
    let token = jwe::encrypt(
        &EncryptRequest::default(),
        &PAYLOAD,
        &*encrypter,
        ContentEncryption::A256Gcm,
        &AwsLc,
    )?;
    Ok(Loop::new("codec", move || {
        std::hint::black_box(jwe::decrypt(&token, &*decrypter)?);
        Ok(1)
    }))
}
