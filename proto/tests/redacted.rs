//! What carries a secret never shows it.

use crypto_proto::{
    jwe::v1::{DecryptRequest, DecryptedToken, EncryptRequest, EncryptResponse},
    jwt::v1::{
        DecryptThenVerifyRequest, SignRequest, SignResponse, SignThenEncryptRequest,
        SignThenEncryptResponse, ValidToken, VerifyRequest, VerifyResponse,
        sign_request::ClaimsInput, verify_response::Verdict,
    },
    keys::v1::{
        FedVersion, ImportKeyRequest, IssuedEntry, IssuedKeys, ListIssuedRequest,
        RevokeTokenRequest, TokenMatch, revoke_token_request::Target,
    },
};

const PLANTED: &str = "planted-secret";

fn planted() -> String {
    PLANTED.to_owned()
}

#[test]
fn no_message_shows_a_token_a_claim_or_a_key() {
    let sign = SignRequest {
        claims_input: Some(ClaimsInput::ClaimsJson(planted())),
        ..SignRequest::default()
    };
    let verify = VerifyRequest {
        token: planted(),
        ..VerifyRequest::default()
    };
    let valid = ValidToken {
        claims_json: planted(),
        header_json: planted(),
        ..ValidToken::default()
    };
    let shown = [
        format!("{:?}", sign.claims_input),
        format!("{sign:?}"),
        format!(
            "{:?}",
            SignThenEncryptRequest {
                sign: Some(sign),
                ..SignThenEncryptRequest::default()
            }
        ),
        format!("{verify:?}"),
        format!(
            "{:?}",
            DecryptThenVerifyRequest {
                verify: Some(verify),
                ..DecryptThenVerifyRequest::default()
            }
        ),
        format!(
            "{:?}",
            SignResponse {
                token: planted(),
                jti: planted(),
                ..SignResponse::default()
            }
        ),
        format!(
            "{:?}",
            SignThenEncryptResponse {
                token: planted(),
                ..SignThenEncryptResponse::default()
            }
        ),
        format!(
            "{:?}",
            VerifyResponse {
                verdict: Some(Verdict::Valid(valid)),
            }
        ),
        format!(
            "{:?}",
            EncryptRequest {
                payload: planted().into_bytes(),
                ..EncryptRequest::default()
            }
        ),
        format!(
            "{:?}",
            EncryptResponse {
                token: planted(),
                ..EncryptResponse::default()
            }
        ),
        format!(
            "{:?}",
            DecryptRequest {
                token: planted(),
                ..DecryptRequest::default()
            }
        ),
        format!(
            "{:?}",
            DecryptedToken {
                payload: planted().into_bytes(),
                header_json: planted(),
                ..DecryptedToken::default()
            }
        ),
        format!(
            "{:?}",
            ImportKeyRequest {
                jwk: planted(),
                pkcs8: planted().into_bytes(),
                ..ImportKeyRequest::default()
            }
        ),
        format!(
            "{:?}",
            FedVersion {
                wrapped_key: planted(),
                ..FedVersion::default()
            }
        ),
        format!(
            "{:?}",
            RevokeTokenRequest {
                target: Some(Target::Jti(planted())),
                ..RevokeTokenRequest::default()
            }
        ),
        format!(
            "{:?}",
            TokenMatch {
                sub: planted(),
                sid: planted(),
                client_id: planted(),
                ..TokenMatch::default()
            }
        ),
        format!(
            "{:?}",
            IssuedKeys {
                subject_key: planted(),
                ..IssuedKeys::default()
            }
        ),
        format!(
            "{:?}",
            IssuedEntry {
                jti: planted(),
                subject: planted(),
                ..IssuedEntry::default()
            }
        ),
        format!(
            "{:?}",
            ListIssuedRequest {
                sub: planted(),
                ..ListIssuedRequest::default()
            }
        ),
    ];
    let bytes = format!("{:?}", PLANTED.as_bytes());
    for text in shown {
        assert!(!text.contains(PLANTED), "{text}");
        assert!(!text.contains(bytes.trim_matches(['[', ']'])), "{text}");
    }
}
