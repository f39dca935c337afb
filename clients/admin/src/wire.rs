//! Between the wire's types and ours.

use std::time::{Duration, SystemTime};

use client_core::Error;
use client_core::request::{from_wire, time_from_wire, to_wire};
use crypto_proto::keys::v1 as proto;

use crate::key_set::{
    Described, ForcedAct, Holding, HoldingReason, KeySet, KeyState, KeyUse, KeyVersion, Policy,
    Profile, Publish, Revoked, Rotated,
};
use crate::request::{
    Change, CreateKeySet, ImportAs, ImportKey, RevokeKey, RotateKeySet, UpdateKeySet,
};

/// Two enums that name the same things; what the wire has more is `Unknown` here.
macro_rules! same_names {
    ($type:ident { $($name:ident),* }) => {
        impl From<i32> for $type {
            fn from(wire: i32) -> Self {
                match proto::$type::try_from(wire) {
                    $(Ok(proto::$type::$name) => Self::$name,)*
                    _ => Self::Unknown,
                }
            }
        }
    };
}

same_names!(KeyUse {
    Sign,
    Encrypt,
    RawSign,
    Seal
});
same_names!(Publish {
    None,
    Internal,
    Public
});
same_names!(KeyState {
    Prepared,
    Active,
    Retiring,
    Retired,
    Revoked,
    Destroyed
});
same_names!(HoldingReason {
    NotDue,
    NoStandby,
    NotPublished,
    Ack,
    Lead,
    Clock
});

fn use_to_wire(key_use: KeyUse) -> i32 {
    let wire = match key_use {
        KeyUse::Sign => proto::KeyUse::Sign,
        KeyUse::Encrypt => proto::KeyUse::Encrypt,
        KeyUse::RawSign => proto::KeyUse::RawSign,
        KeyUse::Seal => proto::KeyUse::Seal,
        KeyUse::Unknown => proto::KeyUse::Unspecified,
    };
    wire.into()
}

fn publish_to_wire(publish: Publish) -> i32 {
    let wire = match publish {
        Publish::None => proto::Publish::None,
        Publish::Internal => proto::Publish::Internal,
        Publish::Public => proto::Publish::Public,
        Publish::Unknown => proto::Publish::Unspecified,
    };
    wire.into()
}

impl From<&Profile> for proto::Profile {
    fn from(profile: &Profile) -> Self {
        Self {
            typ: profile.typ.clone(),
            default_lifetime: profile.default_lifetime.map(to_wire),
            max_lifetime: profile.max_lifetime.map(to_wire),
            expiry_optional: profile.expiry_optional,
            jti_optional: profile.jti_optional,
            hint_window: profile.hint_window.map(to_wire),
            record_issued: profile.record_issued,
        }
    }
}

impl From<proto::Profile> for Profile {
    fn from(wire: proto::Profile) -> Self {
        Self {
            typ: wire.typ,
            default_lifetime: wire.default_lifetime.map(from_wire),
            max_lifetime: wire.max_lifetime.map(from_wire),
            expiry_optional: wire.expiry_optional,
            jti_optional: wire.jti_optional,
            hint_window: wire.hint_window.map(from_wire),
            record_issued: wire.record_issued,
        }
    }
}

impl From<&Policy> for proto::KeyPolicy {
    fn from(policy: &Policy) -> Self {
        Self {
            algorithm: policy.algorithm.clone(),
            rsa_bits: policy.rsa_bits,
            curve: policy.curve.clone(),
            enc: policy.enc.clone(),
            cryptoperiod: policy.cryptoperiod.map(to_wire),
            publication_lead: policy.publication_lead.map(to_wire),
            max_ciphertext_age: policy.max_ciphertext_age.map(to_wire),
            public_only: policy.public_only,
        }
    }
}

impl From<proto::KeyPolicy> for Policy {
    fn from(wire: proto::KeyPolicy) -> Self {
        Self {
            algorithm: wire.algorithm,
            rsa_bits: wire.rsa_bits,
            curve: wire.curve,
            enc: wire.enc,
            cryptoperiod: wire.cryptoperiod.map(from_wire),
            publication_lead: wire.publication_lead.map(from_wire),
            max_ciphertext_age: wire.max_ciphertext_age.map(from_wire),
            public_only: wire.public_only,
        }
    }
}

impl From<proto::KeySet> for KeySet {
    fn from(wire: proto::KeySet) -> Self {
        Self {
            tenant: wire.tenant,
            name: wire.name,
            key_use: wire.r#use.into(),
            issuer: wire.issuer,
            publish: wire.publish.into(),
            profile: wire.profile.map(Into::into).unwrap_or_default(),
            policy: wire.policy.map(Into::into).unwrap_or_default(),
            revision: wire.revision,
            versions: wire.versions.into_iter().map(Into::into).collect(),
            forced: wire.forced.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<proto::KeyVersion> for KeyVersion {
    fn from(wire: proto::KeyVersion) -> Self {
        Self {
            kid: wire.kid,
            algorithm: wire.algorithm,
            state: wire.state.into(),
            created_at: wire.created_at.map(time_from_wire),
            published_at: wire.published_at.map(time_from_wire),
            activated_at: wire.activated_at.map(time_from_wire),
            retiring_at: wire.retiring_at.map(time_from_wire),
            retired_at: wire.retired_at.map(time_from_wire),
            revoked_at: wire.revoked_at.map(time_from_wire),
            public_jwk: wire.public_jwk,
            destroy_at: wire.destroy_at.map(time_from_wire),
            destroyed_at: wire.destroyed_at.map(time_from_wire),
            invocations_granted: wire.invocations_granted,
        }
    }
}

impl From<proto::ForcedAct> for ForcedAct {
    fn from(wire: proto::ForcedAct) -> Self {
        let at = wire.at.map(time_from_wire);
        Self {
            at,
            kid: wire.kid,
            caller: wire.caller,
            may_have_broken: wire.may_have_broken,
        }
    }
}

impl From<proto::Holding> for Holding {
    fn from(wire: proto::Holding) -> Self {
        let until = wire.until.map(time_from_wire);
        Self {
            reason: wire.reason.into(),
            description: wire.description,
            subscriber: wire.subscriber,
            until,
        }
    }
}

/// The key set of an answer, which every answer has.
pub(crate) fn key_set(wire: Option<proto::KeySet>) -> Result<KeySet, Error> {
    wire.map(KeySet::from)
        .ok_or_else(|| Error::answer("key_set"))
}

fn holding(wire: Vec<proto::Holding>) -> Vec<Holding> {
    wire.into_iter().map(Holding::from).collect()
}

impl Described {
    pub(crate) fn read(wire: proto::GetKeySetResponse) -> Result<Self, Error> {
        Ok(Self {
            key_set: key_set(wire.key_set)?,
            holding: holding(wire.holding),
        })
    }
}

impl Rotated {
    pub(crate) fn read(wire: proto::RotateKeySetResponse) -> Result<Self, Error> {
        Ok(Self {
            key_set: key_set(wire.key_set)?,
            holding: holding(wire.holding),
            stragglers: wire.stragglers,
            may_have_broken: wire.may_have_broken,
        })
    }
}

impl Revoked {
    pub(crate) fn read(wire: proto::RevokeKeyResponse) -> Result<Self, Error> {
        Ok(Self {
            key_set: key_set(wire.key_set)?,
            acked: wire.acked,
            total: wire.total,
            stragglers: wire.stragglers,
            elapsed: wire.elapsed.map_or(Duration::ZERO, from_wire),
        })
    }
}

impl From<&CreateKeySet> for proto::CreateKeySetRequest {
    fn from(create: &CreateKeySet) -> Self {
        let key_set = proto::KeySet {
            tenant: create.mutation.tenant.clone(),
            name: create.mutation.key_set.clone(),
            r#use: use_to_wire(create.key_use),
            issuer: create.issuer.clone(),
            publish: publish_to_wire(create.publish),
            profile: Some((&create.profile).into()),
            policy: Some((&create.policy).into()),
            ..Default::default()
        };
        Self {
            key_set: Some(key_set),
            request_id: create.mutation.request_id.clone(),
        }
    }
}

impl From<&UpdateKeySet> for proto::UpdateKeySetRequest {
    fn from(update: &UpdateKeySet) -> Self {
        let mutation = &update.mutation;
        let mut key_set = proto::KeySet {
            tenant: mutation.tenant.clone(),
            name: mutation.key_set.clone(),
            ..Default::default()
        };
        let paths = update
            .changes
            .iter()
            .map(|change| apply(change, &mut key_set).to_owned())
            .collect();
        Self {
            key_set: Some(key_set),
            update_mask: Some(prost_types::FieldMask { paths }),
            request_id: mutation.request_id.clone(),
            expected_revision: mutation.expected_revision,
        }
    }
}

/// Writes a change and says its path in the mask.
fn apply(change: &Change, key_set: &mut proto::KeySet) -> &'static str {
    match change {
        Change::Issuer(issuer) => {
            key_set.issuer.clone_from(issuer);
            "issuer"
        }
        Change::Publish(publish) => {
            key_set.publish = publish_to_wire(*publish);
            "publish"
        }
        Change::Profile(profile) => {
            key_set.profile = Some(profile.into());
            "profile"
        }
        Change::Policy(policy) => {
            key_set.policy = Some(policy.into());
            "policy"
        }
        Change::Algorithm(algorithm) => {
            key_set
                .policy
                .get_or_insert_default()
                .algorithm
                .clone_from(algorithm);
            "policy.algorithm"
        }
        Change::MaxLifetime(longest) => {
            key_set.profile.get_or_insert_default().max_lifetime = Some(to_wire(*longest));
            "profile.max_lifetime"
        }
        Change::RecordIssued(record) => {
            key_set.profile.get_or_insert_default().record_issued = *record;
            "profile.record_issued"
        }
    }
}

impl From<&RotateKeySet> for proto::RotateKeySetRequest {
    fn from(rotate: &RotateKeySet) -> Self {
        let mutation = rotate.mutation.clone();
        Self {
            tenant: mutation.tenant,
            key_set: mutation.key_set,
            force: rotate.force,
            request_id: mutation.request_id,
            expected_revision: mutation.expected_revision,
        }
    }
}

impl From<&ImportKey> for proto::ImportKeyRequest {
    fn from(import: &ImportKey) -> Self {
        let (state, retire_at) = match import.import_as {
            ImportAs::Prepared => (proto::KeyState::Prepared, None),
            ImportAs::RetiringUntil(end) => {
                (proto::KeyState::Retiring, Some(SystemTime::into(end)))
            }
            ImportAs::ForcedActive => (proto::KeyState::Active, None),
        };
        let mutation = import.mutation.clone();
        Self {
            tenant: mutation.tenant,
            key_set: mutation.key_set,
            jwk: import.jwk.clone(),
            pkcs8: import.pkcs8.clone(),
            kid: import.kid.clone(),
            algorithm: import.algorithm.clone(),
            state: state.into(),
            retire_at,
            force: import.import_as == ImportAs::ForcedActive,
            request_id: mutation.request_id,
            expected_revision: mutation.expected_revision,
        }
    }
}

impl From<&RevokeKey> for proto::RevokeKeyRequest {
    fn from(revoke: &RevokeKey) -> Self {
        let mutation = revoke.mutation.clone();
        Self {
            tenant: mutation.tenant,
            key_set: mutation.key_set,
            kid: revoke.kid.clone(),
            request_id: mutation.request_id,
            expected_revision: mutation.expected_revision,
        }
    }
}
