//! `ImportKey`.

use crypto_proto::keys::v1 as proto;
use service_kit::identity::Caller;
use zeroize::Zeroizing;

use super::{Admin, content, mutation};
use crate::{
    grpc::{
        decode::{self, in_import, in_pkcs8, renamed},
        encode,
        fields::Fields,
        status::Failure,
        trail::Trail,
    },
    keys::{Given, Pkcs8},
    lifecycle::Import,
};

/// The longest key, in either form.
const MAX_KEY: usize = 16 * 1024;

impl Admin {
    pub(super) async fn import(
        &self,
        caller: &Caller,
        mut message: proto::ImportKeyRequest,
        trail: &Trail,
    ) -> Result<proto::ImportKeyResponse, Failure> {
        let content = content("import", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        let name = fields.key_set(&message.tenant, &message.key_set);
        let given = given(&mut fields, &mut message);
        let retire_at = fields.time("retire_at", message.retire_at);
        let enters = decode::enters(&mut fields, message.state, retire_at);
        let name = fields.finish(name)?;
        self.grant(caller, &name)?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, message.expected_revision);
        let rename = match given {
            Given::Jwk(_) => in_import,
            Given::Pkcs8(_) => in_pkcs8,
        };
        let import = Import {
            given,
            enters,
            force: message.force,
        };
        let imported = self.lifecycle.import(&name, import, &mutation).await;
        let (entry, kid) = imported.map_err(|error| renamed(error.into(), rename))?;
        trail.found(&kid);
        Ok(proto::ImportKeyResponse {
            key_set: Some(encode::key_set(&entry)),
            kid,
        })
    }
}

/// The key, out of the message: its buffers are zeroised when they are dropped.
fn given(fields: &mut Fields, message: &mut proto::ImportKeyRequest) -> Given {
    let jwk = Zeroizing::new(std::mem::take(&mut message.jwk));
    let der = Zeroizing::new(std::mem::take(&mut message.pkcs8));
    match (jwk.is_empty(), der.is_empty()) {
        (true, true) => fields.wrong("jwk", "must be a JWK of at most 16 KiB; or give pkcs8"),
        (false, false) => fields.wrong("pkcs8", "is given besides jwk; give one of them"),
        _ => {}
    }
    if jwk.len() > MAX_KEY {
        fields.wrong("jwk", "must be a JWK of at most 16 KiB");
    }
    if der.len() > MAX_KEY {
        fields.wrong("pkcs8", "must be PKCS#8 of at most 16 KiB");
    }
    if der.is_empty() {
        for (field, value) in [("kid", &message.kid), ("algorithm", &message.algorithm)] {
            if !value.is_empty() {
                fields.wrong(field, "is for a key in pkcs8; a JWK says it itself");
            }
        }
        return Given::Jwk(jwk);
    }
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let kid = given(&message.kid);
    if kid.as_deref().is_some_and(|kid| !jose::key::is_kid(kid)) {
        fields.wrong("kid", "must be 1 to 128 printable ASCII characters");
    }
    Given::Pkcs8(Pkcs8 {
        bytes: der,
        kid,
        algorithm: given(&message.algorithm),
    })
}
