use std::sync::Arc;

use jose::algorithm::Algorithm;
use keyring::{Publish, State, Use};
use service_kit::clock::FakeClock;

use super::*;

fn spec(name: String, publish: Publish) -> KeySetSpec {
    const JWK: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let version = VersionSpec {
        kid: format!("kid of {name}"),
        algorithm: Algorithm::parse("Ed25519").unwrap(),
        state: State::Active,
        public_jwk: Some(JWK.to_owned()),
        sealed: None,
        invocations: None,
    };
    KeySetSpec {
        tenant: "default".to_owned(),
        name,
        key_use: Use::Sign,
        issuer: String::new(),
        publish,
        profile: Profile::default(),
        enc: None,
        versions: vec![version],
        next_change: None,
        ready_at: None,
    }
}

fn filled(sets: usize, publish: Publish) -> (KeysWriter, KeysReader) {
    let (mut writer, reader) = pair(FakeClock::at(1_800_000_000).shared(), Terms::default());
    let sets = (0..sets)
        .map(|number| spec(format!("set/{number}"), publish))
        .collect();
    writer.replace(1, Times::default(), sets).unwrap();
    (writer, reader)
}

#[test]
fn a_delta_for_one_set_of_many_shares_the_others() {
    let (mut writer, reader) = filled(10_000, Publish::Internal);
    let before = reader.snapshot_owned();
    writer
        .apply(1, 2, vec![spec("set/7".to_owned(), Publish::Internal)], &[])
        .unwrap();
    let after = reader.snapshot_owned();
    let same = |name: &str| {
        Arc::ptr_eq(
            before.set("default", name).unwrap(),
            after.set("default", name).unwrap(),
        )
    };
    assert!(same("set/6") && !same("set/7"));
    // What the engine made of an unchanged public key is taken over.
    let public = |snapshot: &Snapshot| {
        Arc::clone(
            snapshot
                .set("default", "set/7")
                .unwrap()
                .active()
                .unwrap()
                .public
                .as_ref()
                .unwrap(),
        )
    };
    assert!(Arc::ptr_eq(&public(&before), &public(&after)));
}

#[test]
fn kids_follow_their_sets() {
    let (mut writer, reader) = filled(2, Publish::Internal);
    let holder = |kid: &str| {
        reader
            .snapshot()
            .tenant("default")
            .unwrap()
            .key(kid)
            .map(|key| key.set.name.to_string())
    };
    assert_eq!(holder("kid of set/0").as_deref(), Some("set/0"));
    // One delta moves a kid from one set to another, whatever the order in it.
    let mut taker = spec("set/1".to_owned(), Publish::Internal);
    taker.versions[0].kid = "kid of set/0".to_owned();
    let mut giver = spec("set/0".to_owned(), Publish::Internal);
    giver.versions.clear();
    writer.apply(1, 2, vec![taker, giver], &[]).unwrap();
    assert_eq!(holder("kid of set/0").as_deref(), Some("set/1"));
    assert_eq!(holder("kid of set/1"), None);
    writer
        .apply(2, 3, vec![], &[("default".to_owned(), "set/1".to_owned())])
        .unwrap();
    assert_eq!(holder("kid of set/0"), None);
}

#[test]
fn a_change_of_what_is_not_public_renders_nothing_anew() {
    let (mut writer, reader) = filled(2, Publish::Public);
    let document = || {
        Arc::clone(
            reader
                .snapshot()
                .tenant("default")
                .unwrap()
                .jwks(None)
                .unwrap(),
        )
    };
    let before = document();
    writer
        .apply(
            1,
            2,
            vec![spec("internal".to_owned(), Publish::Internal)],
            &[],
        )
        .unwrap();
    assert!(Arc::ptr_eq(&before, &document()));
    writer
        .apply(2, 3, vec![spec("set/1".to_owned(), Publish::Internal)], &[])
        .unwrap();
    assert_ne!(before.etag, document().etag);
}
