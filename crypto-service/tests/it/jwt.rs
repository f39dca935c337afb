use crypto_proto::jwt::v1 as jwt;
use crypto_service::keys::Profile;
use jose::algorithm::JwsAlgorithm;
use jwt::RejectReason;
use keyring::State;

use crate::support::{ISSUER, NOW, TestKey, TestSet, World, judged, sign, verdict, verify};

#[tokio::test]
async fn every_algorithm_signs_what_it_verifies() {
    let name = |algorithm: &JwsAlgorithm| format!("op/{}", algorithm.name().to_lowercase());
    let set = |algorithm: &JwsAlgorithm| {
        TestSet::sign(&name(algorithm), vec![TestKey::new(algorithm.name())])
    };
    let world = World::with(JwsAlgorithm::ALL.iter().map(set).collect()).await;
    let (mut token, mut auth) = (world.jwt("token"), world.jwt("auth"));
    for algorithm in JwsAlgorithm::ALL {
        let signed = token
            .sign(sign(&name(algorithm), r#"{"aud":"api","sub":"u1"}"#))
            .await
            .unwrap()
            .into_inner();
        let valid = judged(&mut auth, &signed.token)
            .await
            .unwrap_or_else(|reason| panic!("{algorithm}: {reason:?}"));
        assert_eq!(
            (valid.kid.as_str(), valid.key_set),
            (signed.kid.as_str(), name(algorithm)),
            "{algorithm}"
        );
        assert!(
            valid
                .header_json
                .contains(&format!(r#""alg":"{algorithm}""#)),
            "{}",
            valid.header_json
        );
        assert_eq!(
            signed.expires_at.unwrap().seconds,
            i64::try_from(NOW + 300).unwrap(),
            "{algorithm}"
        );
        assert!(
            valid
                .claims_json
                .contains(&format!(r#""jti":"{}""#, signed.jti)),
            "{}",
            valid.claims_json
        );
        let mut altered = signed.token.into_bytes();
        let at = altered.len() - 8;
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let reason = judged(&mut auth, std::str::from_utf8(&altered).unwrap())
            .await
            .unwrap_err();
        assert_eq!(reason, RejectReason::Signature, "{algorithm}");
    }
}

#[tokio::test]
async fn claims_are_carried_over_byte_for_byte() {
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let claims = r#"{"aud":[ "api" ],"n":1.0,"big":123456789012345678901234567890,"e":1E+2,"s":"\u00e9\/","o":{ "b":1, "a":2 }"#;
    let signed = world
        .jwt("token")
        .sign(sign("op/a", &format!("{claims}}}")))
        .await
        .unwrap()
        .into_inner();
    let valid = judged(&mut world.jwt("auth"), &signed.token).await.unwrap();
    let expected = format!(
        r#"{claims},"iss":"{ISSUER}","iat":{NOW},"exp":{},"jti":"{}"}}"#,
        NOW + 300,
        signed.jti
    );
    assert_eq!(valid.claims_json, expected);
}

#[tokio::test]
async fn a_structure_is_signed_with_whole_numbers_as_integers() {
    use prost_types::value::Kind;
    let value = |kind| prost_types::Value { kind: Some(kind) };
    let world = World::with(vec![TestSet::sign("op/a", vec![TestKey::new("ES256")])]).await;
    let fields = [
        ("aud".to_owned(), value(Kind::StringValue("api".to_owned()))),
        (
            "auth_time".to_owned(),
            value(Kind::NumberValue(1_799_999_999.0)),
        ),
    ];
    let structure = prost_types::Struct {
        fields: fields.into(),
    };
    let request = jwt::SignRequest {
        claims_input: Some(jwt::sign_request::ClaimsInput::Claims(structure)),
        ..sign("op/a", "")
    };
    let signed = world.jwt("token").sign(request).await.unwrap().into_inner();
    let valid = judged(&mut world.jwt("auth"), &signed.token).await.unwrap();
    assert!(
        valid
            .claims_json
            .starts_with(r#"{"aud":"api","auth_time":1799999999,"#),
        "{}",
        valid.claims_json
    );
}

#[tokio::test]
async fn typ_lifetime_and_jti_follow_the_profile() {
    let profile = Profile {
        typ: "at+jwt".to_owned(),
        default_lifetime: 60,
        jti_optional: true,
        ..Profile::default()
    };
    let set = TestSet {
        profile,
        ..TestSet::sign("op/a", vec![TestKey::new("ES256")])
    };
    let open = Profile {
        expiry_optional: true,
        ..Profile::default()
    };
    let endless = TestSet {
        profile: open,
        ..TestSet::sign("op/b", vec![TestKey::new("ES256")])
    };
    let world = World::with(vec![set, endless]).await;
    let (mut token, mut auth) = (world.jwt("token"), world.jwt("auth"));
    let signed = token
        .sign(sign("op/a", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (signed.jti.as_str(), signed.expires_at.unwrap().seconds),
        ("", i64::try_from(NOW + 60).unwrap())
    );
    assert!(
        judged(&mut auth, &signed.token)
            .await
            .unwrap()
            .header_json
            .contains(r#""typ":"at+jwt""#)
    );

    let other = jwt::SignRequest {
        typ: "logout+jwt".to_owned(),
        ..sign("op/a", r#"{"aud":"api","jti":"j1"}"#)
    };
    let signed = token.sign(other).await.unwrap().into_inner();
    assert_eq!(signed.jti, "j1");
    assert_eq!(
        judged(&mut auth, &signed.token).await,
        Err(RejectReason::Type)
    );
    let asked = jwt::VerifyRequest {
        types: vec!["application/LOGOUT+JWT".to_owned()],
        ..verify(&signed.token)
    };
    assert!(verdict(auth.verify(asked).await.unwrap().into_inner()).is_ok());

    let signed = token
        .sign(sign("op/b", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(signed.expires_at, None);
    assert!(judged(&mut auth, &signed.token).await.is_ok());
}

#[tokio::test]
async fn malformed_tokens_are_verdicts() {
    let key = TestKey::new("ES256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key])]).await;
    let signed = world
        .jwt("token")
        .sign(sign("op/a", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner()
        .token;
    let mut auth = world.jwt("auth");
    for (token, reason) in [
        (String::new(), RejectReason::Malformed),
        ("a.b".to_owned(), RejectReason::Malformed),
        ("....".to_owned(), RejectReason::Malformed),
        (format!("{signed}="), RejectReason::Malformed),
        ("x".repeat(20 * 1024 + 1), RejectReason::TooLarge),
        (
            "eyJhbGciOiJub25lIn0.e30.".to_owned(),
            RejectReason::Algorithm,
        ),
        (
            "eyJhbGciOiJFUzI1NiIsImtpZCI6InVua25vd24ifQ.e30.AA".to_owned(),
            RejectReason::UnknownKey,
        ),
    ] {
        assert_eq!(judged(&mut auth, &token).await, Err(reason), "{token:.40}");
    }
    for (change, reason) in [
        (
            jwt::VerifyRequest {
                audiences: vec!["other".to_owned()],
                ..verify(&signed)
            },
            RejectReason::Audience,
        ),
        (
            jwt::VerifyRequest {
                issuer: "https://other".to_owned(),
                ..verify(&signed)
            },
            RejectReason::Issuer,
        ),
    ] {
        assert_eq!(
            verdict(auth.verify(change).await.unwrap().into_inner()),
            Err(reason)
        );
    }
    world.clock.advance(std::time::Duration::from_secs(20));
    world.clock.set_wall(NOW + 301);
    assert_eq!(judged(&mut auth, &signed).await, Err(RejectReason::Expired));
}

#[tokio::test]
async fn retired_keys_verify_hints_only_and_revoked_ones_nothing() {
    let key = TestKey::new("ES256");
    let profile = Profile {
        hint_window: 3600,
        ..Profile::default()
    };
    let set = |state| {
        let keys = vec![key.clone().state(state), TestKey::new("ES256")];
        let keys = if state == State::Active {
            keys[..1].to_vec()
        } else {
            keys
        };
        TestSet {
            profile: profile.clone(),
            ..TestSet::sign("op/id-token", keys)
        }
    };
    let mut world = World::with(vec![set(State::Active)]).await;
    let (mut token, mut auth) = (world.jwt("token"), world.jwt("auth"));
    let signed = token
        .sign(sign("op/id-token", r#"{"aud":"api"}"#))
        .await
        .unwrap()
        .into_inner()
        .token;
    let hint = || jwt::VerifyRequest {
        purpose: jwt::Purpose::Hint.into(),
        ..verify(&signed)
    };
    for (state, access, as_hint) in [
        (State::Retiring, Ok(()), Ok(())),
        (State::Retired, Err(RejectReason::UnknownKey), Ok(())),
        (
            State::Revoked,
            Err(RejectReason::KeyRevoked),
            Err(RejectReason::KeyRevoked),
        ),
    ] {
        world.change(set(state));
        assert_eq!(
            judged(&mut auth, &signed).await.map(|_| ()),
            access,
            "{state:?}"
        );
        let hinted = verdict(auth.verify(hint()).await.unwrap().into_inner());
        assert_eq!(hinted.map(|_| ()), as_hint, "{state:?}");
    }
}

#[tokio::test]
async fn a_prepared_key_verifies_and_the_active_one_signs_until_the_next_is_held() {
    let (first, second) = (TestKey::new("ES256"), TestKey::new("ES256"));
    let standby = TestKey {
        held: false,
        ..second.clone().state(State::Prepared)
    };
    let mut world = World::with(vec![TestSet::sign("op/a", vec![first.clone(), standby])]).await;
    let mut token = world.jwt("token");
    let kid = async |token: &mut jwt::jwt_service_client::JwtServiceClient<_>| {
        token
            .sign(sign("op/a", r#"{"aud":"api"}"#))
            .await
            .unwrap()
            .into_inner()
            .kid
    };
    assert_eq!(kid(&mut token).await, first.kid);
    world.change(TestSet::sign(
        "op/a",
        vec![first.state(State::Retiring), second.clone()],
    ));
    assert_eq!(kid(&mut token).await, second.kid);
}

#[tokio::test]
async fn a_token_without_kid_is_verified_where_one_set_is_named() {
    let key = TestKey::new("ES256");
    let world = World::with(vec![TestSet::sign("op/a", vec![key.clone()])]).await;
    let jose::algorithm::Algorithm::Jws(algorithm) = key.algorithm else {
        panic!("a signing key")
    };
    let header = jose::jws::EncodedHeader::new(algorithm, None, Some("JWT"), None);
    let signer = jose_aws_lc::AwsLc
        .signing_key(algorithm, &key.material)
        .unwrap();
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"api","exp":{}}}"#, NOW + 60);
    let token = jose::jws::sign(&header, claims.as_bytes(), &*signer).unwrap();
    let mut auth = world.jwt("auth");
    assert_eq!(
        judged(&mut auth, &token).await,
        Err(RejectReason::UnknownKey)
    );
    let named = jwt::VerifyRequest {
        key_sets: vec!["op/a".to_owned()],
        ..verify(&token)
    };
    assert_eq!(
        verdict(auth.verify(named).await.unwrap().into_inner())
            .unwrap()
            .kid,
        key.kid
    );
}
