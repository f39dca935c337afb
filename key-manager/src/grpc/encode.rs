//! From what the use cases give to messages.

use crypto_proto::keys::v1 as proto;
use keyring::{Holding, Policy, Profile, Publish, Span, State, Time, Times, Use, Version, Wait};

use crate::{
    feed::FedSet,
    vault::{Instance, KeyFacts, SetEntry},
};

pub(super) fn key_set(entry: &SetEntry) -> proto::KeySet {
    let set = &entry.set;
    proto::KeySet {
        tenant: set.tenant.clone(),
        name: set.name.clone(),
        r#use: i32::from(key_use(set.key_use)),
        issuer: set.issuer.clone().unwrap_or_default(),
        publish: i32::from(publish(set.publish)),
        profile: Some(profile(&set.profile)),
        policy: Some(policy(&set.policy)),
        revision: set.revision,
        versions: set
            .versions
            .iter()
            .map(|version| key_version(version, entry.keys.get(&version.kid)))
            .collect(),
        forced: forced(entry),
    }
}

fn key_version(version: &Version, facts: Option<&KeyFacts>) -> proto::KeyVersion {
    proto::KeyVersion {
        kid: version.kid.clone(),
        algorithm: version.algorithm.as_str().to_owned(),
        state: i32::from(state(version.state)),
        created_at: Some(timestamp(version.created_at)),
        published_at: version.published_at.map(timestamp),
        activated_at: version.activated_at.map(timestamp),
        retiring_at: version.retiring_at.map(timestamp),
        retired_at: version.retired_at.map(timestamp),
        revoked_at: version.revoked_at.map(timestamp),
        public_jwk: facts
            .and_then(|facts| facts.public_jwk.clone())
            .unwrap_or_default(),
        destroy_at: version.destroy_at.map(timestamp),
        destroyed_at: version.destroyed_at.map(timestamp),
        invocations_granted: version.invocations_granted,
    }
}

pub(super) fn subscriber(instance: &Instance, now: Time, connected: bool) -> proto::Subscriber {
    let subscriber = &instance.subscriber;
    let evicted = subscriber.evicted;
    proto::Subscriber {
        name: subscriber.name.clone(),
        caller: instance.caller.clone(),
        scope: instance.scope.globs().collect(),
        acked_epoch: subscriber.acked_epoch().unwrap_or_default(),
        lease_end: Some(timestamp(subscriber.lease_end)),
        live: subscriber.is_live(now),
        connected,
        clock_offset: subscriber.clock_offset_ms.map(signed_duration),
        evicted_at: evicted.map(|evicted| timestamp(evicted.at)),
        evicted_by_force: evicted.is_some_and(|evicted| evicted.forced),
    }
}

fn forced(entry: &SetEntry) -> Vec<proto::ForcedAct> {
    let mut acts: Vec<_> = entry
        .set
        .versions
        .iter()
        .filter_map(|version| Some((version, version.forced.as_ref()?)))
        .collect();
    acts.sort_by_key(|(_, forced)| forced.at);
    let act = |(version, forced): (&Version, &keyring::Forced)| proto::ForcedAct {
        at: Some(timestamp(forced.at)),
        kid: version.kid.clone(),
        caller: entry
            .keys
            .get(&version.kid)
            .and_then(|facts| facts.forced_by.clone())
            .unwrap_or_default(),
        may_have_broken: may_have_broken(&forced.skipped),
    };
    acts.into_iter().map(act).collect()
}

/// A sentence for each wait that was skipped.
pub(super) fn may_have_broken(skipped: &[Holding]) -> Vec<String> {
    let sentence = |holding: &Holding| {
        match &holding.wait {
        Wait::Standby => "There was no key in waiting.".to_owned(),
        Wait::FirstAck => {
            "No instance had acknowledged the key: nobody could verify with it yet.".to_owned()
        }
        Wait::Acks => {
            format!(
                "These instances refuse the key until they acknowledge it: {}.",
                holding.subscribers.join(", ")
            )
        }
        Wait::Lead { wait } => {
            format!(
                "Verifiers that hold an older JWK Set may refuse the key's tokens for up to {wait} after it was published."
            )
        }
        Wait::Clocks { spread } => {
            format!("Clocks are {spread} apart: tokens may be refused as not yet valid.")
        }
        Wait::Peers => {
            "The key-manager had not compared its clock with the others yet: tokens may be refused as not yet valid.".to_owned()
        }
    }
    };
    skipped.iter().map(sentence).collect()
}

/// What is waited for; one entry for each instance, where it is instances.
pub(super) fn holdings(holding: &[Holding]) -> Vec<proto::Holding> {
    let one = |holding: &Holding, subscriber: &str| proto::Holding {
        reason: i32::from(reason(&holding.wait)),
        description: holding.to_string(),
        subscriber: subscriber.to_owned(),
        until: holding.until.map(timestamp),
    };
    let each = |holding: &Holding| match holding.subscribers.is_empty() {
        true => vec![one(holding, "")],
        false => holding
            .subscribers
            .iter()
            .map(|subscriber| one(holding, subscriber))
            .collect(),
    };
    holding.iter().flat_map(each).collect()
}

pub(super) fn not_due() -> Vec<proto::Holding> {
    vec![proto::Holding {
        reason: i32::from(proto::HoldingReason::NotDue),
        description: "nothing asks for a promotion".to_owned(),
        subscriber: String::new(),
        until: None,
    }]
}

fn reason(wait: &Wait) -> proto::HoldingReason {
    match wait {
        Wait::Standby => proto::HoldingReason::NoStandby,
        Wait::FirstAck => proto::HoldingReason::NotPublished,
        Wait::Acks => proto::HoldingReason::Ack,
        Wait::Lead { .. } => proto::HoldingReason::Lead,
        Wait::Clocks { .. } | Wait::Peers => proto::HoldingReason::Clock,
    }
}

pub(super) fn fed(fed: FedSet) -> proto::FedKeySet {
    let set = &fed.entry.set;
    let version = |key: crate::feed::FedVersion| {
        let known = set.version(&key.kid)?;
        Some(proto::FedVersion {
            algorithm: known.algorithm.as_str().to_owned(),
            state: i32::from(state(known.state)),
            kid: key.kid,
            public_jwk: key.public_jwk,
            wrapped_key: key.wrapped_key,
            invocations: key.invocations,
        })
    };
    proto::FedKeySet {
        tenant: set.tenant.clone(),
        name: set.name.clone(),
        r#use: i32::from(key_use(set.key_use)),
        issuer: set.issuer.clone().unwrap_or_default(),
        publish: i32::from(publish(set.publish)),
        profile: Some(profile(&set.profile)),
        enc: set.policy.key.enc.clone().unwrap_or_default(),
        versions: fed.versions.into_iter().filter_map(version).collect(),
        next_change: fed.next_change.map(timestamp),
        ready_at: fed.ready_at.map(timestamp),
    }
}

pub(super) fn feed_times(times: &Times) -> proto::FeedTimes {
    proto::FeedTimes {
        jwks_max_age: Some(duration(times.jwks_cap)),
        client_lease: Some(duration(times.client_lease)),
    }
}

fn profile(profile: &Profile) -> proto::Profile {
    proto::Profile {
        typ: profile.typ.clone().unwrap_or_default(),
        default_lifetime: Some(duration(profile.default_lifetime)),
        max_lifetime: Some(duration(profile.max_lifetime)),
        expiry_optional: profile.expiry_optional,
        jti_optional: profile.jti_optional,
        hint_window: Some(duration(profile.hint_window)),
        record_issued: profile.record_issued,
    }
}

fn policy(policy: &Policy) -> proto::KeyPolicy {
    proto::KeyPolicy {
        algorithm: policy.key.algorithm.as_str().to_owned(),
        rsa_bits: policy.key.rsa_bits.unwrap_or_default(),
        curve: policy.key.curve.clone().unwrap_or_default(),
        enc: policy.key.enc.clone().unwrap_or_default(),
        cryptoperiod: policy.cryptoperiod.map(duration),
        publication_lead: policy.publication_lead.map(duration),
        max_ciphertext_age: Some(duration(policy.max_ciphertext_age)),
        public_only: !policy.generate,
    }
}

fn key_use(key_use: Use) -> proto::KeyUse {
    match key_use {
        Use::Sign => proto::KeyUse::Sign,
        Use::Encrypt => proto::KeyUse::Encrypt,
        Use::RawSign => proto::KeyUse::RawSign,
        Use::Seal => proto::KeyUse::Seal,
    }
}

fn publish(publish: Publish) -> proto::Publish {
    match publish {
        Publish::None => proto::Publish::None,
        Publish::Internal => proto::Publish::Internal,
        Publish::Public => proto::Publish::Public,
    }
}

pub(super) fn state(state: State) -> proto::KeyState {
    match state {
        State::Prepared => proto::KeyState::Prepared,
        State::Active => proto::KeyState::Active,
        State::Retiring => proto::KeyState::Retiring,
        State::Retired => proto::KeyState::Retired,
        State::Revoked => proto::KeyState::Revoked,
        State::Destroyed => proto::KeyState::Destroyed,
    }
}

pub(super) fn timestamp(time: Time) -> prost_types::Timestamp {
    let (seconds, nanos) = parts(time.as_millis());
    prost_types::Timestamp { seconds, nanos }
}

fn signed_duration(millis: i64) -> prost_types::Duration {
    let nanos = i32::try_from(millis % 1_000).unwrap_or_default();
    prost_types::Duration {
        seconds: millis / 1_000,
        nanos: nanos.saturating_mul(1_000_000),
    }
}

pub(super) fn duration(span: Span) -> prost_types::Duration {
    let (seconds, nanos) = parts(span.as_millis());
    prost_types::Duration { seconds, nanos }
}

fn parts(millis: u64) -> (i64, i32) {
    let nanos = i32::try_from(millis % 1_000)
        .unwrap_or_default()
        .saturating_mul(1_000_000);
    (i64::try_from(millis / 1_000).unwrap_or(i64::MAX), nanos)
}
