//! `DestroyKey`.

use crypto_proto::keys::v1 as proto;
use keyring::LONGEST_DESTRUCTION_WAIT;
use service_kit::identity::Caller;

use super::{Admin, content, mutation};
use crate::{
    grpc::{encode, fields::Fields, status::Failure, trail::Trail},
    lifecycle::Destruction,
};

impl Admin {
    pub(super) async fn destroy(
        &self,
        caller: &Caller,
        message: proto::DestroyKeyRequest,
        trail: &Trail,
    ) -> Result<proto::DestroyKeyResponse, Failure> {
        let content = content("destroy", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        let name = fields.key_set(&message.tenant, &message.key_set);
        if !jose::key::is_kid(&message.kid) {
            fields.wrong("kid", "must be 1 to 128 printable ASCII characters");
        }
        let wait = fields.duration("wait", message.wait, LONGEST_DESTRUCTION_WAIT);
        if message.cancel && message.wait.is_some() {
            fields.wrong("wait", "is of no use with cancel; leave it out");
        }
        let name = fields.finish(name)?;
        self.grant(caller, &name)?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, message.expected_revision);
        let destruction = match message.cancel {
            true => Destruction::Cancel,
            false => Destruction::After(wait),
        };
        let scheduled = self
            .lifecycle
            .destroy(&name, &message.kid, destruction, &mutation)
            .await?;
        Ok(proto::DestroyKeyResponse {
            key_set: Some(encode::key_set(&scheduled.entry)),
            destroy_at: scheduled.destroy_at.map(encode::timestamp),
            remains: scheduled.remains,
        })
    }
}
