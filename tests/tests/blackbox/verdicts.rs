//! A malformed token is a verdict, whatever it is; and what a verdict says.

use blackbox::Stack;
use client_core::request::{Decrypt, DecryptThenVerify, Decryption, RejectReason, Verdict, Verify};
use jose::base64url;

use crate::support::{AUDIENCE, crypto, sign};

/// The token with one segment replaced.
fn with_segment(token: &str, index: usize, text: &str) -> String {
    let mut segments: Vec<&str> = token.split('.').collect();
    segments[index] = text;
    segments.join(".")
}

/// Flips a bit in the middle of a segment.
fn flipped(token: &str, index: usize) -> String {
    let segment = token.split('.').nth(index).unwrap();
    let mut bytes = base64url::decode(segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    with_segment(token, index, &base64url::encode(&bytes))
}

fn header(json: &str) -> String {
    base64url::encode(json)
}

#[tokio::test]
async fn every_malformed_token_is_a_verdict_and_never_a_status() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));
    let signed = sign(&token, "op/access-token").await.unwrap();
    let (good, kid) = (signed.token.as_str(), signed.kid.as_str());
    let head = |more: &str| with_segment(good, 0, &header(&format!(r#"{{"kid":"{kid}",{more}}}"#)));
    let rows = [
        ("empty", String::new(), RejectReason::Malformed),
        ("one dot", ".".to_owned(), RejectReason::Malformed),
        ("two dots", "..".to_owned(), RejectReason::Malformed),
        (
            "four segments",
            format!("{good}.x"),
            RejectReason::Malformed,
        ),
        (
            "five segments",
            "a.b.c.d.e".to_owned(),
            RejectReason::Malformed,
        ),
        (
            "thousands of dots",
            ".".repeat(10_000),
            RejectReason::Malformed,
        ),
        ("a space", format!(" {good}"), RejectReason::Malformed),
        ("padding", format!("{good}="), RejectReason::Malformed),
        (
            "the other alphabet",
            with_segment(good, 2, "++//"),
            RejectReason::Malformed,
        ),
        (
            "not ASCII",
            "\u{e9}.\u{e9}.\u{e9}".to_owned(),
            RejectReason::Malformed,
        ),
        (
            "a header that is no JSON",
            with_segment(good, 0, &header("{")),
            RejectReason::Malformed,
        ),
        (
            "a header member twice",
            head(r#""alg":"ES256","\u0061lg":"none""#),
            RejectReason::Malformed,
        ),
        (
            "over 20 KiB",
            format!("{good}{}", "A".repeat(20 * 1024)),
            RejectReason::TooLarge,
        ),
        ("alg none", head(r#""alg":"none""#), RejectReason::Algorithm),
        (
            "alg of another key",
            head(r#""alg":"HS256""#),
            RejectReason::Algorithm,
        ),
        (
            "crit",
            head(r#""alg":"ES256","crit":["x"],"x":1"#),
            RejectReason::CriticalHeader,
        ),
        (
            "an unknown kid",
            with_segment(good, 0, &header(r#"{"alg":"ES256","kid":"nobody"}"#)),
            RejectReason::UnknownKey,
        ),
        (
            "no kid",
            with_segment(good, 0, &header(r#"{"alg":"ES256"}"#)),
            RejectReason::UnknownKey,
        ),
        (
            "another signature",
            flipped(good, 2),
            RejectReason::Signature,
        ),
        ("other claims", flipped(good, 1), RejectReason::Signature),
        (
            "a short signature",
            with_segment(good, 2, "AAAA"),
            RejectReason::Signature,
        ),
    ];
    for (what, text, reason) in rows {
        let verdict = auth.verify(&Verify::new(&text, AUDIENCE)).await;
        assert_eq!(
            verdict.unwrap_or_else(|error| panic!("{what}: {error}")),
            Verdict::Rejected(reason),
            "{what}"
        );
        let opened = auth.decrypt(&Decrypt::new(&text)).await;
        assert_eq!(
            opened.unwrap_or_else(|error| panic!("{what}: {error}")),
            Decryption::Failed,
            "{what}"
        );
        let nested = auth
            .decrypt_then_verify(&DecryptThenVerify::new(Verify::new(&text, AUDIENCE)))
            .await;
        assert_eq!(
            nested.unwrap(),
            Verdict::Rejected(RejectReason::DecryptionFailed),
            "{what}"
        );
    }
    for (what, verify, reason) in [
        (
            "audience",
            Verify::new(good, "https://other.example.com"),
            RejectReason::Audience,
        ),
        (
            "issuer",
            Verify::new(good, AUDIENCE).issuer("https://other.example.com"),
            RejectReason::Issuer,
        ),
        (
            "type",
            Verify::new(good, AUDIENCE).typ("JWT"),
            RejectReason::Type,
        ),
        (
            "another set",
            Verify::new(good, AUDIENCE).key_set("op/id-token"),
            RejectReason::UnknownKey,
        ),
    ] {
        assert_eq!(
            auth.verify(&verify).await.unwrap(),
            Verdict::Rejected(reason),
            "{what}"
        );
    }
    encrypted(&stack).await;
}

/// Everything that is wrong with a JWE has one reason.
async fn encrypted(stack: &Stack) {
    use client_core::request::{Encrypt, Recipient};
    let (token, auth) = (crypto(stack, "token"), crypto(stack, "auth"));
    let sealed = Encrypt::new("secret", Recipient::KeySet("op/encryption".to_owned()));
    let sealed = token.encrypt(&sealed).await.unwrap();
    let (good, kid) = (sealed.token.as_str(), sealed.kid.as_str());
    let head = |more: &str| with_segment(good, 0, &header(&format!(r#"{{"kid":"{kid}",{more}}}"#)));
    let mut rows = vec![
        ("RSA1_5", head(r#""alg":"RSA1_5","enc":"A256GCM""#)),
        (
            "zip",
            head(r#""alg":"RSA-OAEP-256","enc":"A256GCM","zip":"DEF""#),
        ),
        (
            "another enc",
            head(r#""alg":"RSA-OAEP-256","enc":"A128GCM""#),
        ),
        (
            "an unknown kid",
            with_segment(
                good,
                0,
                &header(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"nobody"}"#),
            ),
        ),
        (
            "no kid, no set named",
            with_segment(
                good,
                0,
                &header(r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#),
            ),
        ),
        ("a cut tag", with_segment(good, 4, "AA")),
        ("an empty IV", with_segment(good, 2, "")),
        ("over 384 KiB", format!("{good}{}", "A".repeat(384 * 1024))),
    ];
    rows.extend((0..5).map(|index| ("a flipped bit", flipped(good, index))));
    for (what, text) in rows {
        let opened = auth.decrypt(&Decrypt::new(&text)).await;
        assert_eq!(
            opened.unwrap_or_else(|error| panic!("{what}: {error}")),
            Decryption::Failed,
            "{what}"
        );
    }
    assert!(
        auth.decrypt(&Decrypt::new(good))
            .await
            .unwrap()
            .into_token()
            .is_some()
    );
}
