//! What became of a key while its signature was checked.

use jose::algorithm::Algorithm;
use jose::jwk::Jwk;
use jose::jwt::VerifyOptions;
use jose_aws_lc::{AwsLc, KeySpec};
use keyring::Publish;
use service_kit::clock::FakeClock;
use service_kit::grants::{Policy, PolicyHandle};
use service_kit::telemetry::Metrics;

use super::*;
use crate::ServiceMetrics;
use crate::issued::Recorder;
use crate::keys::{KeySetSpec, PrivateKeys, Profile, Terms, Times, VersionSpec, pair};
use crate::lanes::{Engine, LaneOptions, Lanes};
use crate::policy::Access;
use crate::usecase::Parts;

fn set(kid: &str, public_jwk: &str, state: State) -> KeySetSpec {
    KeySetSpec {
        tenant: "default".to_owned(),
        name: "op/a".to_owned(),
        key_use: Use::Sign,
        issuer: String::new(),
        publish: Publish::Public,
        profile: Profile::default(),
        enc: None,
        versions: vec![VersionSpec {
            kid: kid.to_owned(),
            algorithm: Algorithm::parse("ES256").unwrap(),
            state,
            public_jwk: Some(public_jwk.to_owned()),
            sealed: None,
            invocations: None,
        }],
        next_change: None,
        ready_at: None,
    }
}

fn demands(purpose: Purpose) -> Demands {
    let options = VerifyOptions {
        audience_unchecked: true,
        purpose,
        ..VerifyOptions::default()
    };
    Demands {
        tenant: "default".to_owned(),
        rules: options.try_into().unwrap(),
        prefix: "",
    }
}

#[test]
fn a_key_that_left_service_while_its_signature_was_checked_verifies_nothing() {
    let clock = FakeClock::at(1_800_000_000);
    let (mut writer, keys) = pair(clock.shared(), Terms::default());
    let policy = Policy::parse("").unwrap();
    let plane = DataPlane::new(Parts {
        issued: Recorder::off(keys.clone(), clock.shared()),
        keys,
        access: Access::new(PolicyHandle::fixed("policy", policy)),
        lanes: Lanes::start(LaneOptions::default()).unwrap(),
        private: PrivateKeys::new(16, Engine::single()),
        clock: clock.shared(),
        metrics: ServiceMetrics::new(&Metrics::new("test", "0")),
    });
    let key = AwsLc.generate(&KeySpec::new(Algorithm::parse("ES256").unwrap()));
    let key = key.unwrap();
    let jwk = Jwk::new(key.public.unwrap()).to_json();
    let kid = key.kid.as_str();
    let mut replace = |sets| writer.replace(1, Times::default(), sets).unwrap();
    replace(vec![set(kid, &jwk, State::Active)]);
    let then = plane.keys().snapshot_owned();
    let found = |purpose| plane.still_verifies(&then, &demands(purpose), kid);
    assert_eq!(found(Purpose::Access), Ok(()), "nothing changed");
    let (revoked, unknown) = (Err(RejectReason::KeyRevoked), Err(RejectReason::UnknownKey));
    for (state, access, hint) in [
        (State::Prepared, Ok(()), Ok(())),
        (State::Active, Ok(()), Ok(())),
        (State::Retiring, Ok(()), Ok(())),
        (State::Retired, unknown, Ok(())),
        (State::Revoked, revoked, revoked),
        (State::Destroyed, unknown, unknown),
    ] {
        replace(vec![set(kid, &jwk, state)]);
        assert_eq!(found(Purpose::Access), access, "{state:?}");
        assert_eq!(found(Purpose::Hint), hint, "{state:?} as a hint");
    }
    replace(Vec::new());
    assert_eq!(found(Purpose::Hint), unknown, "gone");
}
