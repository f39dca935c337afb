//! From the feed's messages to what the writer takes.

use std::sync::Arc;
use std::time::Duration;

use crypto_proto::keys::v1 as proto;
use jose::algorithm::{Algorithm, ContentEncryption};
use jose::revocation;
use keyring::{Publish, State, Use, invocations::is_limited_mode};

use super::FeedError;
use crate::keys::TokensSpec;
use crate::keys::model::{KeySetSpec, Profile, VersionSpec};
use crate::keys::sealed::{Binding, SealedKey, StreamKey};
use crate::keys::snapshot::Times;

/// Reads key sets of one message.
pub(super) struct Decoder<'a> {
    pub(super) opener: &'a Arc<StreamKey>,
    pub(super) epoch: u64,
}

impl Decoder<'_> {
    pub(super) fn sets(&self, sets: Vec<proto::FedKeySet>) -> Result<Vec<KeySetSpec>, FeedError> {
        sets.into_iter().map(|set| self.set(set)).collect()
    }

    fn set(&self, set: proto::FedKeySet) -> Result<KeySetSpec, FeedError> {
        let key_use = key_use(set.r#use())?;
        let publish = publish(set.publish());
        let versions = set
            .versions
            .into_iter()
            .map(|version| self.version(&set.tenant, &set.enc, version));
        let versions = versions
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        Ok(KeySetSpec {
            versions,
            tenant: set.tenant,
            name: set.name,
            key_use,
            issuer: set.issuer,
            publish,
            profile: set.profile.map(profile).unwrap_or_default(),
            enc: content_encryption(&set.enc)?,
            next_change: set.next_change.and_then(seconds),
            ready_at: set.ready_at.and_then(seconds),
        })
    }

    /// `None` for a key of an algorithm that this build does not know: its set's other keys still serve.
    fn version(
        &self,
        tenant: &str,
        enc: &str,
        version: proto::FedVersion,
    ) -> Result<Option<VersionSpec>, FeedError> {
        let Ok(algorithm) = Algorithm::parse(&version.algorithm) else {
            tracing::error!(
                tenant,
                kid = version.kid,
                algorithm = version.algorithm,
                "a key of an unknown algorithm is left out"
            );
            return Ok(None);
        };
        let state = state(version.state())?;
        let binding = Binding {
            tenant,
            kid: &version.kid,
            epoch: self.epoch,
        };
        let sealed = match version.wrapped_key {
            jwe if jwe.is_empty() => None,
            jwe => Some(SealedKey::receive(jwe, self.opener, binding)?),
        };
        let enc = Some(enc).filter(|enc| !enc.is_empty());
        let limited = is_limited_mode(algorithm.name(), enc) || version.invocations > 0;
        let invocations = limited.then_some(version.invocations);
        let public_jwk = Some(version.public_jwk).filter(|jwk| !jwk.is_empty());
        Ok(Some(VersionSpec {
            kid: version.kid,
            algorithm,
            state,
            public_jwk,
            sealed,
            invocations,
        }))
    }
}

/// Revocations of tokens. What is no revocation is not left out in silence: the stream ends.
pub(super) fn tokens(
    revocations: Vec<proto::FedRevocations>,
) -> Result<Vec<TokensSpec>, FeedError> {
    let malformed = |_malformed| FeedError::Protocol("revocations of tokens that are none");
    let read = |wire: proto::FedRevocations| {
        Ok(TokensSpec {
            entries: revocation::decode(&wire.entries).map_err(malformed)?,
            tenant: wire.tenant,
            key_set: wire.key_set,
        })
    };
    revocations.into_iter().map(read).collect()
}

/// Up to when revocations of tokens are forgotten.
pub(super) fn forgotten(time: Option<prost_types::Timestamp>) -> Option<u32> {
    let until = seconds(time?)?;
    Some(u32::try_from(until).unwrap_or(revocation::NEVER - 1))
}

pub(super) fn times(times: Option<proto::FeedTimes>) -> Times {
    let default = Times::default();
    let Some(times) = times else { return default };
    Times {
        jwks_max_age: times
            .jwks_max_age
            .and_then(duration)
            .unwrap_or(default.jwks_max_age),
        client_lease: times
            .client_lease
            .and_then(duration)
            .unwrap_or(default.client_lease),
    }
}

/// A duration that is not negative.
pub(super) fn duration(duration: prost_types::Duration) -> Option<Duration> {
    Duration::try_from(duration).ok()
}

fn seconds(time: prost_types::Timestamp) -> Option<u64> {
    u64::try_from(time.seconds).ok()
}

fn profile(profile: proto::Profile) -> Profile {
    let default = Profile::default();
    let whole = |value: Option<prost_types::Duration>, default| {
        value.and_then(duration).map_or(default, |it| it.as_secs())
    };
    Profile {
        default_lifetime: whole(profile.default_lifetime, default.default_lifetime),
        max_lifetime: whole(profile.max_lifetime, default.max_lifetime),
        hint_window: whole(profile.hint_window, default.hint_window),
        expiry_optional: profile.expiry_optional,
        jti_optional: profile.jti_optional,
        record_issued: profile.record_issued,
        typ: profile.typ,
    }
}

fn content_encryption(name: &str) -> Result<Option<ContentEncryption>, FeedError> {
    if name.is_empty() {
        return Ok(None);
    }
    ContentEncryption::parse(name)
        .map(Some)
        .map_err(|_unknown| FeedError::Protocol("an unknown content encryption"))
}

fn key_use(key_use: proto::KeyUse) -> Result<Use, FeedError> {
    match key_use {
        proto::KeyUse::Sign => Ok(Use::Sign),
        proto::KeyUse::Encrypt => Ok(Use::Encrypt),
        proto::KeyUse::RawSign => Ok(Use::RawSign),
        proto::KeyUse::Seal => Ok(Use::Seal),
        proto::KeyUse::Unspecified => Err(FeedError::Protocol("a key set without a use")),
    }
}

fn publish(publish: proto::Publish) -> Publish {
    match publish {
        proto::Publish::None => Publish::None,
        proto::Publish::Public => Publish::Public,
        proto::Publish::Internal | proto::Publish::Unspecified => Publish::Internal,
    }
}

fn state(state: proto::KeyState) -> Result<State, FeedError> {
    match state {
        proto::KeyState::Prepared => Ok(State::Prepared),
        proto::KeyState::Active => Ok(State::Active),
        proto::KeyState::Retiring => Ok(State::Retiring),
        proto::KeyState::Retired => Ok(State::Retired),
        proto::KeyState::Revoked => Ok(State::Revoked),
        proto::KeyState::Destroyed => Ok(State::Destroyed),
        proto::KeyState::Unspecified => Err(FeedError::Protocol("a key without a state")),
    }
}
