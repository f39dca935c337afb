use proptest::prelude::*;

use super::*;

const X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const D: &str = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE";
/// RFC 7638 section 3.1
const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn ec(more: &str) -> String {
    format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}","y":"{Y}"{more}}}"#)
}

#[test]
fn an_ec_key_of_rfc_7517_reads_and_writes_back() {
    let text = ec(&format!(
        r#","d":"{D}","kid":"1","use":"enc","x5c":["ignored"]"#
    ));
    let jwk = SecretJwk::parse(text.as_bytes()).unwrap();
    assert_eq!(
        (
            jwk.kid.as_ref().unwrap().as_str(),
            jwk.key_use,
            jwk.algorithm
        ),
        ("1", Some(KeyUse::Encryption), None)
    );
    assert_eq!(
        *jwk.expose_json(),
        ec(&format!(r#","d":"{D}","kid":"1","use":"enc""#))
    );
    let public = jwk.public().unwrap();
    assert_eq!(public.to_json(), ec(r#","kid":"1","use":"enc""#));
    assert_eq!(
        PublicJwk::parse(public.to_json().as_bytes()).unwrap().key,
        public.key
    );
    assert_eq!(
        PublicJwk::parse(text.as_bytes()).unwrap_err(),
        KeyError::NotPublic
    );
    assert_eq!(
        SecretJwk::parse(public.to_json().as_bytes()).unwrap_err(),
        KeyError::NotPrivate
    );
}

#[test]
fn the_thumbprint_input_is_that_of_rfc_7638() {
    let text = format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#);
    let jwk = PublicJwk::parse(text.as_bytes()).unwrap();
    assert_eq!(
        jwk.key.required_members(),
        format!(r#"{{"e":"AQAB","kty":"RSA","n":"{N}"}}"#)
    );
    let okp = PublicJwk::parse(
        br#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    )
    .unwrap();
    assert_eq!(
        okp.key.required_members(),
        r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#
    );
}

#[test]
fn malformed_keys_are_refused_and_the_member_is_named() {
    let rsa = |more: &str| format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAB"{more}}}"#);
    for (text, member) in [
        (r#"{}"#.to_owned(), Some("kty")),
        (r#"{"kty":"DSA"}"#.to_owned(), Some("kty")),
        (r#"{"kty":1}"#.to_owned(), Some("kty")),
        (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(), Some("x")),
        (r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#.to_owned(), Some("crv")),
        (format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}"}}"#), Some("y")),
        (format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}=","y":"{Y}"}}"#), Some("x")),
        (ec(r#","d":"AA""#), Some("d")),
        (ec(r#","kid":"""#), Some("kid")),
        (ec(r#","kid":7"#), Some("kid")),
        (ec(r#","alg":"ES384""#), Some("alg")),
        (ec(r#","alg":"RS256""#), Some("alg")),
        (ec(r#","alg":"none""#), Some("alg")),
        (ec(r#","alg":"ES256","use":"enc""#), Some("use")),
        (ec(r#","use":"sign""#), Some("use")),
        (ec(r#","use":"sig","key_ops":["deriveKey"]"#), Some("use")),
        (ec(r#","key_ops":["verify","deriveKey"]"#), Some("key_ops")),
        (ec(r#","key_ops":["verify","verify"]"#), Some("key_ops")),
        (ec(r#","key_ops":"verify""#), Some("key_ops")),
        (ec(&format!(r#","d":"{D}","key_ops":["verify"]"#)), Some("key_ops")),
        (ec(r#","crv":"P-256""#), None),
        (rsa(r#","d":"AQ""#), Some("p")),
        (rsa(r#","oth":[]"#), Some("oth")),
        (rsa(r#","p":"AQ""#), Some("d")),
        (rsa(r#","qi":null"#), Some("d")),
        (rsa(r#","alg":"RSA1_5""#), Some("alg")),
        (format!(r#"{{"kty":"RSA","n":"{N}","e":"AQAC"}}"#), Some("e")),
        (format!(r#"{{"kty":"RSA","n":"{N}","e":"AQ"}}"#), Some("e")),
        (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(), Some("n")),
        (r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), Some("k")),
        (r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA","alg":"HS256"}"#.to_owned(), Some("k")),
        (r#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA","alg":"A256GCM"}"#.to_owned(), Some("k")),
        (ec(r#","alg":"A256GCM""#), Some("alg")),
        (r#"{"kty":"OKP","crv":"Ed448","x":"AA"}"#.to_owned(), Some("crv")),
        (r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA"}"#.to_owned(), Some("alg")),
        ("[]".to_owned(), None),
    ] {
        let error = AnyJwk::parse(text.as_bytes()).map(|jwk| format!("{jwk:?}")).expect_err(&text);
        assert_eq!(error.member(), member, "{text}: {error}");
    }
    for text in [
        ec(r#","key_ops":["verify"],"use":"sig","alg":"ES256""#),
        ec(r#","key_ops":[]"#),
        ec(r#","alg":"ECDH-ES""#),
        rsa(r#","alg":"PS512""#),
    ] {
        assert!(PublicJwk::parse(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn refusals_of_weak_algorithms_name_them() {
    let error = AnyJwk::parse(ec(r#","alg":"RSA1_5""#).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("RSA1_5"), "{error}");
    let error = AnyJwk::parse(ec(r#","alg":"PBES2-HS256+A128KW""#).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("PBES2"), "{error}");
}

#[test]
fn a_set_reads_key_by_key() {
    let set = format!(
        r#"{{"keys":[{},{{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAA"}},{{"kty":"new"}}]}}"#,
        ec("")
    );
    let keys = read_public_set(set.as_bytes()).unwrap();
    assert!(
        matches!(&keys[..], [Ok(_), Err(KeyError::NotPublic), Err(_)]),
        "{keys:?}"
    );
    assert!(read_public_set(b"{}").is_err() && read_public_set(br#"{"keys":{}}"#).is_err());
}

#[test]
fn no_jwk_shows_its_secret() {
    let text = ec(&format!(r#","d":"{D}""#));
    let shown = format!("{:?}", AnyJwk::parse(text.as_bytes()).unwrap());
    assert!(
        shown.contains("redacted") && !shown.contains("243, 189"),
        "{shown}"
    );
}

proptest! {
    #[test]
    fn arbitrary_members_never_panic(
        kty in "RSA|EC|OKP|oct|x",
        crv in "P-256|P-521|X25519|Ed25519|x",
        value in "[A-Za-z0-9_-]{0,90}",
        more in "\\PC{0,20}",
    ) {
        for text in [
            format!(r#"{{"kty":"{kty}","crv":"{crv}","x":"{value}","y":"{value}","d":"{value}","k":"{value}","n":"{value}","e":"{value}"}}"#),
            format!(r#"{{"kty":"{kty}",{more}}}"#),
            more,
        ] {
            let _ = AnyJwk::parse(text.as_bytes());
            let _ = read_public_set(text.as_bytes());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = AnyJwk::parse(&bytes);
        let _ = read_public_set(&bytes);
        let _ = crate::header::Header::parse(&bytes);
    }
}
