//! From messages to what the use cases take.

use crypto_proto::keys::v1 as proto;
use jose::algorithm::{Algorithm, ContentEncryption};
use keyring::{ImportAs, KeySpec, NewKeySet, Policy, Profile, Publish, Span, Time, Use};

use super::{fields::Fields, status::Failure};

const YEAR: Span = Span::from_days(366);

/// Decodes a set to create.
pub(super) fn new_key_set(fields: &mut Fields, set: Option<proto::KeySet>) -> Option<NewKeySet> {
    let Some(set) = set else {
        fields.wrong("key_set", "is required");
        return None;
    };
    let key_use = key_use(fields, &set);
    let tenant = fields.tenant("key_set.tenant", &set.tenant);
    let name = fields.set_name("key_set.name", &set.name);
    let issuer = issuer(fields, &set.issuer);
    let profile = profile(fields, set.profile.as_ref());
    let policy = policy(fields, set.policy.as_ref());
    let (key_use, policy) = (key_use?, policy?);
    let published =
        !policy.key.algorithm.is_symmetric() && matches!(key_use, Use::Sign | Use::Encrypt);
    let publish = publish(
        fields,
        set.publish,
        if published {
            Publish::Internal
        } else {
            Publish::None
        },
    );
    Some(NewKeySet {
        tenant,
        name,
        key_use,
        issuer,
        publish,
        profile,
        policy,
    })
}

fn key_use(fields: &mut Fields, set: &proto::KeySet) -> Option<Use> {
    match proto::KeyUse::try_from(set.r#use) {
        Ok(proto::KeyUse::Sign) => Some(Use::Sign),
        Ok(proto::KeyUse::Encrypt) => Some(Use::Encrypt),
        Ok(proto::KeyUse::RawSign) => Some(Use::RawSign),
        Ok(proto::KeyUse::Seal) => Some(Use::Seal),
        Ok(proto::KeyUse::Unspecified) | Err(_) => {
            fields.wrong(
                "key_set.use",
                "is required: SIGN, ENCRYPT, RAW_SIGN or SEAL",
            );
            None
        }
    }
}

pub(super) fn publish(fields: &mut Fields, value: i32, default: Publish) -> Publish {
    match proto::Publish::try_from(value) {
        Ok(proto::Publish::None) => Publish::None,
        Ok(proto::Publish::Internal) => Publish::Internal,
        Ok(proto::Publish::Public) => Publish::Public,
        Ok(proto::Publish::Unspecified) => default,
        Err(_) => {
            fields.wrong("key_set.publish", "must be NONE, INTERNAL or PUBLIC");
            default
        }
    }
}

pub(super) fn issuer(fields: &mut Fields, issuer: &str) -> Option<String> {
    if issuer.chars().count() > 255 || issuer.chars().any(char::is_control) {
        fields.wrong(
            "key_set.issuer",
            "must be at most 255 characters, none of them a control character",
        );
    }
    (!issuer.is_empty()).then(|| issuer.to_owned())
}

pub(super) fn profile(fields: &mut Fields, profile: Option<&proto::Profile>) -> Profile {
    let default = Profile::default();
    let Some(profile) = profile else {
        return default;
    };
    if profile.typ.len() > 128
        || !profile
            .typ
            .bytes()
            .all(|byte| (b'!'..=b'~').contains(&byte))
    {
        fields.wrong(
            "key_set.profile.typ",
            "must be at most 128 printable ASCII characters without spaces",
        );
    }
    let max = fields
        .duration("key_set.profile.max_lifetime", profile.max_lifetime, YEAR)
        .unwrap_or(default.max_lifetime);
    let own = fields.duration(
        "key_set.profile.default_lifetime",
        profile.default_lifetime,
        YEAR,
    );
    Profile {
        typ: (!profile.typ.is_empty()).then(|| profile.typ.clone()),
        // The default of an absent default follows a short maximum.
        default_lifetime: own.unwrap_or_else(|| default.default_lifetime.min(max)),
        max_lifetime: max,
        expiry_optional: profile.expiry_optional,
        jti_optional: profile.jti_optional,
        hint_window: fields
            .duration("key_set.profile.hint_window", profile.hint_window, YEAR)
            .unwrap_or_default(),
        record_issued: profile.record_issued,
    }
}

pub(super) fn policy(fields: &mut Fields, policy: Option<&proto::KeyPolicy>) -> Option<Policy> {
    let Some(policy) = policy else {
        fields.wrong("key_set.policy", "is required");
        return None;
    };
    let spec = spec(fields, policy);
    let cryptoperiod = fields.duration(
        "key_set.policy.cryptoperiod",
        policy.cryptoperiod,
        Span::from_days(3660),
    );
    let lead = fields.duration(
        "key_set.policy.publication_lead",
        policy.publication_lead,
        Span::from_days(90),
    );
    let age = fields.duration(
        "key_set.policy.max_ciphertext_age",
        policy.max_ciphertext_age,
        Span::from_days(3660),
    );
    let default = Policy::new(spec?);
    Some(Policy {
        cryptoperiod: cryptoperiod.or(default.cryptoperiod),
        publication_lead: lead,
        max_ciphertext_age: age.unwrap_or(default.max_ciphertext_age),
        generate: !policy.public_only,
        key: default.key,
    })
}

/// Names of algorithms come first from JOSE, which says by name what it refuses on purpose.
fn spec(fields: &mut Fields, policy: &proto::KeyPolicy) -> Option<KeySpec> {
    const ALGORITHM: &str = "key_set.policy.algorithm";
    if policy.algorithm.is_empty() {
        fields.wrong(ALGORITHM, "is required, for example ES256");
        return None;
    }
    let known = Algorithm::parse(&policy.algorithm).map_err(|error| error.to_string());
    let known = known.and_then(|algorithm| {
        keyring::Algorithm::new(algorithm.name()).map_err(|error| error.to_string())
    });
    let algorithm = known
        .map_err(|problem| fields.wrong(ALGORITHM, problem))
        .ok();
    if !matches!(policy.rsa_bits, 0 | 2048 | 3072 | 4096) {
        fields.wrong("key_set.policy.rsa_bits", "must be 2048, 3072 or 4096");
    }
    if !matches!(
        policy.curve.as_str(),
        "" | "P-256" | "P-384" | "P-521" | "X25519"
    ) {
        fields.wrong(
            "key_set.policy.curve",
            "must be P-256, P-384, P-521 or X25519",
        );
    }
    if !policy.enc.is_empty() && ContentEncryption::parse(&policy.enc).is_err() {
        fields.wrong(
            "key_set.policy.enc",
            "must be A128GCM, A192GCM, A256GCM, A128CBC-HS256, A192CBC-HS384 or A256CBC-HS512",
        );
    }
    let default = KeySpec::of(algorithm?);
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Some(KeySpec {
        rsa_bits: Some(policy.rsa_bits)
            .filter(|bits| *bits != 0)
            .or(default.rsa_bits),
        curve: given(&policy.curve).or(default.curve),
        enc: given(&policy.enc).or(default.enc),
        algorithm: default.algorithm,
    })
}

/// How an imported key enters.
pub(super) fn enters(fields: &mut Fields, state: i32, retire_at: Option<Time>) -> ImportAs {
    match (proto::KeyState::try_from(state), retire_at) {
        (Ok(proto::KeyState::Retiring | proto::KeyState::Unspecified), Some(end)) => {
            ImportAs::Retiring { end }
        }
        (Ok(proto::KeyState::Prepared | proto::KeyState::Unspecified), None) => ImportAs::Prepared,
        (Ok(proto::KeyState::Active), None) => ImportAs::Active,
        (Ok(proto::KeyState::Retiring), None) => {
            fields.wrong("retire_at", "is required for a key that enters as RETIRING");
            ImportAs::Prepared
        }
        (Ok(proto::KeyState::Prepared | proto::KeyState::Active), Some(_)) => {
            fields.wrong(
                "retire_at",
                "is for keys that enter as RETIRING; leave it out",
            );
            ImportAs::Prepared
        }
        _ => {
            fields.wrong("state", "a key enters as PREPARED, RETIRING or ACTIVE");
            ImportAs::Prepared
        }
    }
}

/// Renames the fields of a refusal as the message has them.
pub(super) fn renamed(failure: Failure, rename: impl Fn(&str) -> String) -> Failure {
    match failure {
        Failure::Fields(mut violations) => {
            for violation in &mut violations {
                violation.field = rename(&violation.field);
            }
            Failure::Fields(violations)
        }
        other => other,
    }
}

/// Fields of the lifecycle stand in the message's `key_set`.
pub(super) fn in_key_set(field: &str) -> String {
    match field.split('.').next() {
        Some("tenant" | "name" | "issuer" | "publish" | "profile" | "policy") => {
            format!("key_set.{field}")
        }
        _ => field.to_owned(),
    }
}

/// Fields of the lifecycle in an import of PKCS#8.
pub(super) fn in_pkcs8(field: &str) -> String {
    match field {
        "jwk" | "enc" | "key" => "pkcs8".to_owned(),
        "end" => "retire_at".to_owned(),
        other => other.to_owned(),
    }
}

/// Fields of the lifecycle in an import.
pub(super) fn in_import(field: &str) -> String {
    match field {
        "kid" | "algorithm" | "enc" | "key" => "jwk".to_owned(),
        "end" => "retire_at".to_owned(),
        other => other.to_owned(),
    }
}
