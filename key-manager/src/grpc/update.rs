//! The field mask of an update: which parts of the message change what.

use crypto_proto::keys::v1 as proto;
use keyring::{KeySet, KeySpec, Policy, Profile, Publish, Update};

use super::{
    decode::{issuer, policy, profile, publish},
    fields::Fields,
};
use crate::lifecycle::UpdateFn;

const PATHS: [&str; 19] = [
    "issuer",
    "publish",
    "profile",
    "profile.typ",
    "profile.default_lifetime",
    "profile.max_lifetime",
    "profile.expiry_optional",
    "profile.jti_optional",
    "profile.hint_window",
    "profile.record_issued",
    "policy",
    "policy.algorithm",
    "policy.rsa_bits",
    "policy.curve",
    "policy.enc",
    "policy.cryptoperiod",
    "policy.publication_lead",
    "policy.max_ciphertext_age",
    "policy.public_only",
];

/// Decodes what changes. The function lays it over the set as it then is.
pub(super) fn update(
    fields: &mut Fields,
    set: &proto::KeySet,
    mask: Option<&prost_types::FieldMask>,
) -> UpdateFn {
    let paths = mask.map(|mask| mask.paths.clone()).unwrap_or_default();
    if paths.is_empty() {
        fields.wrong(
            "update_mask",
            "is required: name what to change, for example profile.max_lifetime",
        );
    }
    for path in paths.iter().filter(|path| !PATHS.contains(&path.as_str())) {
        fields.wrong("update_mask", format!("{path:?} cannot be changed; use issuer, publish, profile, policy or a field of the last two"));
    }
    let within = |part: &str| {
        paths
            .iter()
            .any(|path| path.split('.').next() == Some(part))
    };
    let new_issuer = within("issuer").then(|| issuer(fields, &set.issuer));
    let new_publish = within("publish").then(|| publish(fields, set.publish, Publish::Internal));
    let new_profile = within("profile").then(|| profile(fields, set.profile.as_ref()));
    let new_policy = if within("policy") {
        masked_policy(fields, set.policy.as_ref(), &paths)
    } else {
        None
    };
    Box::new(move |present: &KeySet| Update {
        issuer: new_issuer.clone(),
        publish: new_publish,
        profile: new_profile
            .as_ref()
            .map(|new| lay_profile(&present.profile, new, &paths)),
        policy: new_policy
            .as_ref()
            .map(|new| lay_policy(&present.policy, new, &paths)),
    })
}

/// Whether the update turns the recording of issued tokens on.
pub(super) fn records(set: &proto::KeySet, mask: Option<&prost_types::FieldMask>) -> bool {
    let named = |path: &String| matches!(path.as_str(), "profile" | "profile.record_issued");
    let wanted = set
        .profile
        .as_ref()
        .is_some_and(|profile| profile.record_issued);
    wanted && mask.is_some_and(|mask| mask.paths.iter().any(named))
}

/// The algorithm is required only where it changes; elsewhere a stand-in lets the rest be decoded.
fn masked_policy(
    fields: &mut Fields,
    given: Option<&proto::KeyPolicy>,
    paths: &[String],
) -> Option<Policy> {
    let mut given = given.cloned().unwrap_or_default();
    let named = paths
        .iter()
        .any(|path| path == "policy" || path == "policy.algorithm");
    if !named && given.algorithm.is_empty() {
        given.algorithm = "ES256".to_owned();
    }
    policy(fields, Some(&given))
}

fn lay_profile(present: &Profile, new: &Profile, paths: &[String]) -> Profile {
    let mut next = present.clone();
    for path in paths {
        match path.as_str() {
            "profile" => next = new.clone(),
            "profile.typ" => next.typ.clone_from(&new.typ),
            "profile.default_lifetime" => next.default_lifetime = new.default_lifetime,
            "profile.max_lifetime" => next.max_lifetime = new.max_lifetime,
            "profile.expiry_optional" => next.expiry_optional = new.expiry_optional,
            "profile.jti_optional" => next.jti_optional = new.jti_optional,
            "profile.hint_window" => next.hint_window = new.hint_window,
            "profile.record_issued" => next.record_issued = new.record_issued,
            _ => {}
        }
    }
    next
}

/// A changed algorithm takes its own defaults with it; what the mask names besides is laid over them.
fn lay_policy(present: &Policy, new: &Policy, paths: &[String]) -> Policy {
    let named = |path: &str| paths.iter().any(|named| named == path);
    if named("policy") {
        return new.clone();
    }
    let mut next = present.clone();
    if named("policy.algorithm") && next.key.algorithm != new.key.algorithm {
        next.key = KeySpec::of(new.key.algorithm.clone());
    }
    for path in paths {
        match path.as_str() {
            "policy.rsa_bits" => next.key.rsa_bits = new.key.rsa_bits,
            "policy.curve" => next.key.curve.clone_from(&new.key.curve),
            "policy.enc" => next.key.enc.clone_from(&new.key.enc),
            "policy.cryptoperiod" => next.cryptoperiod = new.cryptoperiod,
            "policy.publication_lead" => next.publication_lead = new.publication_lead,
            "policy.max_ciphertext_age" => next.max_ciphertext_age = new.max_ciphertext_age,
            "policy.public_only" => next.generate = new.generate,
            _ => {}
        }
    }
    next
}
