//! `sign`, `verify`, `encrypt`, `decrypt` and `jwks`.

use std::io::Read as _;

use client_core::request::{
    Decrypt as DecryptRequest, Decryption, Encrypt as EncryptRequest, Purpose, Recipient,
    Sign as SignRequest, Verdict, Verify as VerifyRequest,
};
use serde_json::{Value, json};

use crate::{
    args::{Decrypt, Encrypt, Global, Sign, Verify},
    connect::{crypto, failed},
    error::Error,
    output::{self, answer},
};

pub(crate) async fn sign(global: &Global, sign: Sign) -> Result<(), Error> {
    let mut request = SignRequest::json(sign.key_set, argument_text("claims", sign.claims)?)
        .tenant(&global.tenant)
        .typ(sign.typ.unwrap_or_default());
    if let Some(lifetime) = sign.lifetime {
        request = request.lifetime(lifetime);
    }
    let signed = crypto(global, "token")?
        .sign(&request)
        .await
        .map_err(|error| failed(&global.endpoint, &error))?;
    let expires_at = signed.expires_at.map(rfc3339);
    let shown = json!({
        "token": signed.token, "kid": signed.kid, "jti": signed.jti, "expires_at": expires_at,
    });
    answer(global.output, &shown, || signed.token.clone())
}

pub(crate) async fn verify(global: &Global, verify: Verify) -> Result<(), Error> {
    let default_role = if verify.audience_unchecked {
        "management"
    } else {
        "auth"
    };
    let request = verify_request(global, verify)?;
    let verdict = crypto(global, default_role)?
        .verify(&request)
        .await
        .map_err(|error| failed(&global.endpoint, &error))?;
    match verdict {
        Verdict::Valid(token) => {
            let shown = json!({
                "valid": true, "claims": parsed(&token.claims_json), "header": parsed(&token.header_json),
                "kid": token.kid, "key_set": token.key_set,
            });
            answer(global.output, &shown, || token.claims_json.clone())
        }
        Verdict::Rejected(reason) => {
            if global.output == output::Format::Json {
                answer(
                    global.output,
                    &json!({"valid": false, "reason": reason.name()}),
                    String::new,
                )?;
            }
            Err(Error::refused(format!("rejected: {}", reason.name())))
        }
    }
}

fn verify_request(global: &Global, verify: Verify) -> Result<VerifyRequest, Error> {
    let token = argument_text("token", verify.token)?;
    let mut request = if verify.audience_unchecked {
        VerifyRequest::any_audience(token)
    } else {
        let mut audiences = verify.audience.into_iter();
        let first = audiences.next().unwrap_or_default();
        audiences.fold(VerifyRequest::new(token, first), VerifyRequest::audience)
    }
    .tenant(&global.tenant);
    if let Some(issuer) = verify.issuer {
        request = request.issuer(issuer);
    }
    if let Some(leeway) = verify.leeway {
        request = request.leeway(leeway);
    }
    if verify.hint {
        request = request.purpose(Purpose::Hint);
    }
    request = verify.types.into_iter().fold(request, VerifyRequest::typ);
    Ok(verify
        .key_set
        .into_iter()
        .fold(request, VerifyRequest::key_set))
}

pub(crate) async fn encrypt(global: &Global, encrypt: Encrypt) -> Result<(), Error> {
    let recipient = match (encrypt.key_set, encrypt.jwk) {
        (Some(name), _) => Recipient::KeySet(name),
        (None, Some(path)) => Recipient::Jwk(
            std::fs::read_to_string(&path).map_err(|cause| Error::file(&path, &cause))?,
        ),
        (None, None) => return Err(Error::usage("name a recipient: --key-set or --jwk")),
    };
    let request = EncryptRequest::new(argument_bytes("payload", encrypt.payload)?, recipient)
        .tenant(&global.tenant)
        .alg(encrypt.alg.unwrap_or_default())
        .enc(encrypt.enc.unwrap_or_default())
        .cty(encrypt.cty.unwrap_or_default());
    let encrypted = crypto(global, "token")?
        .encrypt(&request)
        .await
        .map_err(|error| failed(&global.endpoint, &error))?;
    let shown = json!({"token": encrypted.token, "kid": encrypted.kid});
    answer(global.output, &shown, || encrypted.token.clone())
}

pub(crate) async fn decrypt(global: &Global, decrypt: Decrypt) -> Result<(), Error> {
    let token = argument_text("token", decrypt.token)?;
    let request = decrypt.key_set.into_iter().fold(
        DecryptRequest::new(token).tenant(&global.tenant),
        DecryptRequest::key_set,
    );
    let decryption = crypto(global, "auth")?
        .decrypt(&request)
        .await
        .map_err(|error| failed(&global.endpoint, &error))?;
    let Decryption::Decrypted(token) = decryption else {
        return Err(Error::refused("rejected: REJECT_REASON_DECRYPTION_FAILED"));
    };
    if global.output == output::Format::Text {
        // as it is: a payload need not be text
        return output::bytes(&token.payload);
    }
    let shown = json!({
        "payload_base64url": jose::base64url::encode(&token.payload),
        "payload": String::from_utf8(token.payload.clone()).ok(),
        "header": parsed(&token.header_json), "kid": token.kid, "key_set": token.key_set,
    });
    answer(global.output, &shown, String::new)
}

pub(crate) async fn jwks(global: &Global, issuer: &str) -> Result<(), Error> {
    let jwks = crypto(global, "auth")?
        .jwks(&global.tenant, issuer)
        .await
        .map_err(|error| failed(&global.endpoint, &error))?;
    answer(global.output, &parsed(&jwks.json), || jwks.json.clone())
}

/// JSON for display; numbers of a token that no program could hold are shown as text.
fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_unreadable| Value::String(json.to_owned()))
}

pub(crate) fn rfc3339(time: std::time::SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time)
        .ok()
        .map(|time| time.to_string())
}

/// An argument, or standard input for `-`, without the line break at its end.
pub(crate) fn argument_text(name: &str, argument: String) -> Result<String, Error> {
    let bytes = argument_bytes(name, argument)?;
    let text = String::from_utf8(bytes)
        .map_err(|_not_text| Error::data(format!("{name}: standard input is not UTF-8")))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn argument_bytes(name: &str, argument: String) -> Result<Vec<u8>, Error> {
    if argument != "-" {
        return Ok(argument.into_bytes());
    }
    let mut bytes = Vec::new();
    std::io::stdin()
        .read_to_end(&mut bytes)
        .map_err(|cause| Error::new(74, format!("{name}: standard input: {cause}")))?;
    Ok(bytes)
}
