//! Creation, rotation on request and import.

use keyring::{
    Action, Context, Peers, Policy, Profile, Publish, Refusal, Span, State, Times, Update, Use,
    apply, create, plan, request_rotation,
};

use crate::world::{START, World, minutes, new_set, secs};

#[test]
fn creation_names_every_field_that_does_not_fit() {
    let ctx = Context {
        now: START,
        epoch: 1,
        times: &Times::DEFAULT,
        subscribers: &[],
        peers: Peers::NONE,
    };
    let mut bad = new_set(Use::Sign, "RSA-OAEP-256", Publish::Public);
    bad.tenant = "a/b".to_owned();
    bad.name = "sp ace".to_owned();
    bad.issuer = Some(String::new());
    bad.profile = Profile {
        default_lifetime: Span::ZERO,
        ..Profile::default()
    };
    bad.policy.publication_lead = Some(secs(1));
    bad.policy.key.rsa_bits = Some(2047);
    bad.policy.key.curve = Some("P-256".to_owned());
    bad.policy.key.enc = Some("A256GCM".to_owned());
    let text = create(bad, &ctx).unwrap_err().to_string();
    let fields = [
        "tenant",
        "name",
        "issuer",
        "profile.default_lifetime",
        "policy.publication_lead",
        "policy.algorithm",
        "policy.rsa_bits",
        "policy.curve",
        "policy.enc",
    ];
    for field in fields {
        assert!(
            text.contains(&format!("{field}: ")),
            "{field} is missing in: {text}"
        );
    }
}

#[test]
fn a_cryptoperiod_that_cannot_be_kept_is_refused_with_the_reason() {
    let ctx = Context {
        now: START,
        epoch: 1,
        times: &Times::DEFAULT,
        subscribers: &[],
        peers: Peers::NONE,
    };
    // The lead is 15 minutes; 300 keys of an hour last 298 hours, those of 16 minutes 79 hours.
    for (period, lifetime, refused) in [
        (minutes(15), minutes(60), None),
        (minutes(14), minutes(60), Some("policy.cryptoperiod")),
        (minutes(16), minutes(79 * 60), None),
        (minutes(16), minutes(80 * 60), Some("profile.max_lifetime")),
    ] {
        let mut new = new_set(Use::Sign, "ES256", Publish::Public);
        new.policy.cryptoperiod = Some(period);
        new.profile.max_lifetime = lifetime;
        let made = create(new, &ctx);
        let said = made.map_or_else(|refusal| refusal.to_string(), |_made| String::new());
        assert_eq!(said.is_empty(), refused.is_none(), "{period}: {said}");
        assert!(said.contains(refused.unwrap_or_default()), "{said}");
    }
}

#[test]
fn only_signed_tokens_with_a_name_are_recorded_and_sets_without_records_are_stored_as_before() {
    let ctx = Context {
        now: START,
        epoch: 1,
        times: &Times::DEFAULT,
        subscribers: &[],
        peers: Peers::NONE,
    };
    for (key_use, algorithm, jti_optional, fits) in [
        (Use::Sign, "ES256", false, true),
        (Use::Sign, "ES256", true, false),
        (Use::RawSign, "ES256", false, false),
        (Use::Encrypt, "RSA-OAEP-256", false, false),
        (Use::Seal, "dir", false, false),
    ] {
        let mut new = new_set(key_use, algorithm, Publish::None);
        new.profile.record_issued = true;
        new.profile.jti_optional = jti_optional;
        match create(new, &ctx) {
            Ok(set) => {
                assert!(fits, "{key_use:?} {jti_optional}");
                let stored = serde_json::to_string(&set.profile).unwrap();
                assert!(stored.contains(r#""record_issued":true"#), "{stored}");
                let read: Profile = serde_json::from_str(&stored).unwrap();
                assert!(read.record_issued);
            }
            Err(refusal) => {
                assert!(!fits, "{refusal}");
                assert!(refusal.to_string().contains("profile.record_issued"));
            }
        }
    }
    let stored = serde_json::to_string(&Profile::default()).unwrap();
    assert!(!stored.contains("record_issued"), "{stored}");
}

#[test]
fn each_use_takes_its_algorithms_and_no_others() {
    let ctx = Context {
        now: START,
        epoch: 1,
        times: &Times::DEFAULT,
        subscribers: &[],
        peers: Peers::NONE,
    };
    let rows = [
        (Use::Sign, "ES256", true),
        (Use::Sign, "EdDSA", true),
        (Use::Sign, "HS512", true),
        (Use::Sign, "dir", false),
        (Use::RawSign, "Ed25519", true),
        (Use::RawSign, "RSA-OAEP", false),
        (Use::Encrypt, "ECDH-ES+A256KW", true),
        (Use::Encrypt, "A256GCMKW", true),
        (Use::Encrypt, "RS256", false),
        (Use::Seal, "dir", true),
        (Use::Seal, "RSA-OAEP-256", false),
    ];
    for (key_use, algorithm, fits) in rows {
        let result = create(new_set(key_use, algorithm, Publish::None), &ctx);
        assert_eq!(result.is_ok(), fits, "{key_use:?} {algorithm}: {result:?}");
    }
    for name in ["RSA1_5", "PBES2-HS256+A128KW", "none", "", "es256"] {
        assert!(keyring::Algorithm::new(name).is_err(), "{name}");
    }
}

#[test]
fn what_is_never_listed_cannot_be_published() {
    let ctx = Context {
        now: START,
        epoch: 1,
        times: &Times::DEFAULT,
        subscribers: &[],
        peers: Peers::NONE,
    };
    let rows = [
        (Use::Sign, "HS256"),
        (Use::RawSign, "ES256"),
        (Use::Seal, "dir"),
        (Use::Encrypt, "A256KW"),
    ];
    for (key_use, algorithm) in rows {
        for publish in [Publish::Internal, Publish::Public] {
            let text = create(new_set(key_use, algorithm, publish), &ctx)
                .unwrap_err()
                .to_string();
            assert!(
                text.starts_with("publish: "),
                "{key_use:?} {algorithm}: {text}"
            );
        }
    }
}

#[test]
fn a_policy_written_with_and_without_defaults_is_the_same_policy() {
    let mut world = World::of(new_set(Use::Sign, "RS256", Publish::Public));
    let mut policy = world.set.policy.clone();
    assert_eq!(policy.key.rsa_bits, Some(2048));
    policy.key.rsa_bits = None;
    world
        .update(Update {
            policy: Some(policy),
            ..Update::default()
        })
        .unwrap();
    assert_eq!(world.state("key-1"), State::Prepared);
}

#[test]
fn a_rotation_without_a_standby_generates_one_first_also_under_force() {
    for force in [false, true] {
        let mut world = World::signing();
        world.rotate(true).unwrap();
        let needed = request_rotation(&world.set, force, None, &world.ctx());
        assert!(
            matches!(needed, Err(Refusal::KeyNeeded(_))),
            "force {force}: {needed:?}"
        );
        world.rotate(force).unwrap();
        let state = if force {
            State::Active
        } else {
            State::Prepared
        };
        assert_eq!(world.state("key-2"), state, "force {force}");
        assert_eq!(world.set.rotation_requested_at.is_some(), !force);
    }
}

#[test]
fn a_second_request_keeps_the_time_of_the_first() {
    let mut world = World::signing().serving(&["a"]);
    world.rotate(false).unwrap();
    let first = world.set.rotation_requested_at;
    world.pass(minutes(1));
    world.rotate(false).unwrap();
    assert_eq!(
        (world.set.rotation_requested_at, first.is_some()),
        (first, true)
    );
}

#[test]
fn a_failed_key_generation_keeps_the_current_key() {
    let mut world = World::signing();
    world.connect("a");
    world.rotate(true).unwrap();
    let generate = plan(&world.set, &world.ctx()).pop().unwrap();
    assert!(
        matches!(generate, Action::GenerateStandby { .. }),
        "{generate:?}"
    );
    let failed = apply(&world.set, &generate, None, &world.ctx());
    assert!(matches!(failed, Err(Refusal::KeyNeeded(_))), "{failed:?}");
    assert_eq!(world.active(), Some("key-1"));
    assert_eq!(
        plan(&world.set, &world.ctx()).pop(),
        Some(generate),
        "the next plan asks again"
    );
}

#[test]
fn a_generated_key_of_another_spec_is_not_taken() {
    let mut world = World::signing();
    world.rotate(true).unwrap();
    let (action, key) = (
        plan(&world.set, &world.ctx()).pop().unwrap(),
        world.key("RS256"),
    );
    assert!(matches!(
        apply(&world.set, &action, Some(key), &world.ctx()),
        Err(Refusal::KeyNeeded(_))
    ));
}

#[test]
fn an_action_that_the_plan_no_longer_asks_for_is_outdated() {
    let world = World::signing().serving(&["a"]);
    for action in [
        Action::Promote {
            kid: "key-2".to_owned(),
        },
        Action::Retire {
            kid: "key-1".to_owned(),
        },
        Action::MarkPublished {
            kid: "key-2".to_owned(),
            at: world.now,
        },
        Action::GenerateStandby {
            spec: world.set.policy.key.clone(),
        },
    ] {
        assert_eq!(
            apply(&world.set, &action, None, &world.ctx()),
            Err(Refusal::Outdated),
            "{action:?}"
        );
    }
}

#[test]
fn the_epoch_never_goes_down() {
    let world = World::signing();
    for epoch in [0, world.set.epoch] {
        let ctx = Context {
            epoch,
            ..world.ctx()
        };
        let refused = request_rotation(&world.set, false, None, &ctx);
        assert_eq!(
            refused,
            Err(Refusal::EpochBehind {
                given: epoch,
                record: world.set.epoch
            })
        );
    }
}

#[test]
fn a_set_that_generates_nothing_plans_nothing() {
    let mut new = new_set(Use::Sign, "ES256", Publish::Public);
    new.policy = Policy {
        generate: false,
        ..new.policy
    };
    let mut world = World::of(new);
    world.connect("a");
    world.pass(minutes(60));
    assert_eq!((world.settle(), world.set.versions.len()), (Vec::new(), 0));
}
