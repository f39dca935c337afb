//! `RevocationService`: decode -> grant -> use case -> encode.

use crypto_proto::keys::v1::{
    self as proto, revocation_service_server::RevocationService, revoke_token_request::Target,
};
use jose::revocation::LONGEST_VALUE;
use service_kit::{
    grants::{Operation, PolicyHandle},
    identity::Caller,
};
use tonic::{Request, Response, Status};

use super::{
    admin::{caller, content, mutation},
    fields::Fields,
    status::Failure,
    trail::Trail,
};
use crate::{
    lifecycle::{Lifecycle, TokenTarget, TokensRevoked},
    vault::SetName,
};

/// Key sets of one call: each takes a few steps of the one transaction.
const MAX_SETS: usize = 16;

/// The service.
#[derive(Clone, Debug)]
pub struct Revocation {
    lifecycle: Lifecycle,
    policy: PolicyHandle,
}

impl Revocation {
    /// A service over these use cases, for callers with the grant `revoke-tokens`.
    #[must_use]
    pub fn new(lifecycle: Lifecycle, policy: PolicyHandle) -> Self {
        Self { lifecycle, policy }
    }

    async fn revoke(
        &self,
        caller: &Caller,
        message: proto::RevokeTokenRequest,
        trail: &Trail,
    ) -> Result<proto::RevokeTokenResponse, Failure> {
        let content = content("revoke-token", &message);
        let mut fields = Fields::default();
        let request_id = fields.request_id(&message.request_id);
        let tenant = fields.tenant("tenant", &message.tenant);
        let mut names: Vec<_> = message
            .key_sets
            .iter()
            .map(|name| fields.set_name("key_sets", name))
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > MAX_SETS {
            fields.wrong("key_sets", "must be at most 16");
        }
        let expires_at = fields.time("expires_at", message.expires_at);
        if expires_at.is_some() && !matches!(message.target, Some(Target::Jti(_))) {
            fields.wrong("expires_at", "goes with jti only");
        }
        let target = target(&mut fields, message.target, expires_at);
        let Some(target) = fields.finish(target)? else {
            return Err(Failure::field("target", "is required: jti or match"));
        };
        let names = self.granted(caller, &tenant, names)?;
        trail.begin().await?;
        let mutation = mutation(caller, request_id, content, 0);
        let revoked = self
            .lifecycle
            .revoke_tokens(&names, &target, &mutation)
            .await?;
        Ok(answer(names, revoked))
    }

    /// The sets that are named, or all that are granted. Grants come before existence.
    fn granted(
        &self,
        caller: &Caller,
        tenant: &str,
        names: Vec<String>,
    ) -> Result<Vec<SetName>, Failure> {
        let policy = self.policy.current();
        let refused = |name: &str| {
            Failure::NotGranted(format!(
                "{caller} has no grant `revoke-tokens` on {tenant}/{name}"
            ))
        };
        let granted = policy.matcher(caller, Operation::RevokeTokens, tenant);
        if let Some(name) = names.iter().find(|name| !granted.matches(name)) {
            return Err(refused(name));
        }
        if !names.is_empty() {
            return Ok(names
                .into_iter()
                .map(|name| SetName::new(tenant, name))
                .collect());
        }
        if !policy.allows_any(caller, Operation::RevokeTokens, tenant) {
            return Err(refused("*"));
        }
        let vault = self.lifecycle.vault();
        let names = vault.signing_sets(tenant, MAX_SETS + 1, |name| granted.matches(name));
        match names.len() {
            0 => Err(Failure::NotFound),
            1..=MAX_SETS => Ok(names),
            _ => Err(Failure::field(
                "key_sets",
                "is required where more than 16 key sets are granted: name up to 16",
            )),
        }
    }
}

fn target(
    fields: &mut Fields,
    target: Option<Target>,
    expires_at: Option<keyring::Time>,
) -> Option<TokenTarget> {
    match target? {
        Target::Jti(jti) => {
            if jti.is_empty() || jti.len() > LONGEST_VALUE {
                fields.wrong("jti", "must be 1 to 1024 bytes");
            }
            Some(TokenTarget::Jti { jti, expires_at })
        }
        Target::Match(wanted) => {
            let mut part = |field, value: String| {
                if value.len() > LONGEST_VALUE {
                    fields.wrong(field, "must be at most 1024 bytes");
                }
                (!value.is_empty()).then_some(value)
            };
            let sub = part("match.sub", wanted.sub);
            let sid = part("match.sid", wanted.sid);
            let client = part("match.client_id", wanted.client_id);
            if sub.is_none() && sid.is_none() && client.is_none() {
                fields.wrong("match", "must name at least one of sub, sid and client_id");
            }
            let issued_before = fields.time("match.issued_before", wanted.issued_before);
            Some(TokenTarget::Match {
                sub,
                sid,
                client,
                issued_before,
            })
        }
    }
}

fn answer(names: Vec<SetName>, revoked: TokensRevoked) -> proto::RevokeTokenResponse {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let time = |seconds: u32| prost_types::Timestamp {
        seconds: seconds.into(),
        nanos: 0,
    };
    proto::RevokeTokenResponse {
        key_sets: names.into_iter().map(|name| name.name).collect(),
        issued_before: revoked.issued_before.map(time),
        forgotten_at: revoked.forgotten_at.map(time),
        acked: count(revoked.progress.acked),
        total: count(revoked.progress.total),
        stragglers: revoked.progress.stragglers,
        elapsed: prost_types::Duration::try_from(revoked.elapsed).ok(),
    }
}

#[tonic::async_trait]
impl RevocationService for Revocation {
    async fn revoke_token(
        &self,
        request: Request<proto::RevokeTokenRequest>,
    ) -> Result<Response<proto::RevokeTokenResponse>, Status> {
        let caller = caller(&request)?;
        let message = request.into_inner();
        let trail = Trail::new(self.lifecycle.audit(), &caller, "RevokeToken")
            .on(&message.tenant, &message.key_sets.join(" "))
            .request(&message.request_id);
        let revoked = self.revoke(&caller, message, &trail).await;
        Ok(Response::new(trail.end(revoked).await?))
    }
}
