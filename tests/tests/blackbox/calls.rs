//! Every rpc once through the clients.

use std::time::{Duration, SystemTime};

use blackbox::{PATIENCE, Stack, get};
use client_admin::{
    Change, CreateKeySet, ImportAs, ImportKey, KeyState, KeyUse, Publish, RevokeKey, RotateKeySet,
    UpdateKeySet,
};
use client_core::request::{
    Decrypt, DecryptThenVerify, Encrypt, Recipient, Sign, SignThenEncrypt, Verify,
};
use client_core::{Code, Follow, LocalVerifier, Reason};

use crate::support::{AUDIENCE, ISSUER, active_kid, admin, claims, crypto, sign, verify};

const PAYLOAD: &[u8] = b"nobody else reads this";

#[tokio::test]
async fn every_rpc_of_the_crypto_service_answers_its_clients() {
    let stack = Stack::start();
    stack.create_development_key_sets();
    let (token, auth) = (crypto(&stack, "token"), crypto(&stack, "auth"));

    for (key_set, algorithm) in [("op/access-token", "ES256"), ("op/id-token", "RS256")] {
        let signed = sign(&token, key_set).await.unwrap();
        let valid = verify(&auth, &signed.token).await.unwrap().unwrap();
        assert_eq!((valid.kid, valid.key_set.as_str()), (signed.kid, key_set));
        assert!(
            valid.header_json.contains(algorithm),
            "{}",
            valid.header_json
        );
        for part in ["alice", ISSUER, AUDIENCE, &signed.jti] {
            assert!(valid.claims_json.contains(part), "{key_set}: no {part}");
        }
        let expires = signed.expires_at.unwrap();
        assert!(expires < SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800));
    }

    let platform = || Recipient::KeySet("op/encryption".to_owned());
    let nested = SignThenEncrypt::new(Sign::new("op/id-token", &claims()), platform());
    let nested = token.sign_then_encrypt(&nested).await.unwrap();
    assert!(!nested.encryption_kid.is_empty());
    let opened = DecryptThenVerify::new(Verify::new(nested.token, AUDIENCE));
    let opened = auth.decrypt_then_verify(&opened).await.unwrap();
    assert_eq!(opened.into_result().unwrap().kid, nested.kid);

    let sealed = token
        .encrypt(&Encrypt::new(PAYLOAD, platform()).cty("text"))
        .await
        .unwrap();
    let opened = auth.decrypt(&Decrypt::new(sealed.token)).await.unwrap();
    let opened = opened.into_token().unwrap();
    assert_eq!(
        (opened.payload.as_slice(), opened.kid),
        (PAYLOAD, sealed.kid)
    );
    assert_eq!(opened.key_set, "op/encryption");

    let jwks = auth.jwks("", ISSUER).await.unwrap();
    let over_http = get(stack.crypto.http, "/.well-known/jwks.json").unwrap();
    assert_eq!(jwks.json, over_http.body);
    assert_eq!(Some(jwks.etag.as_str()), over_http.header("etag"));
    assert!(jwks.max_age <= Duration::from_secs(5), "{:?}", jwks.max_age);

    let verifier = LocalVerifier::start(auth, Follow::all());
    tokio::time::timeout(PATIENCE, verifier.ready())
        .await
        .unwrap();
    let signed = sign(&token, "op/access-token").await.unwrap();
    let verdict = verifier.verify_here(&Verify::new(signed.token, AUDIENCE));
    assert_eq!(verdict.unwrap().into_result().unwrap().kid, signed.kid);
}

#[tokio::test]
async fn every_rpc_of_the_key_manager_answers_its_clients() {
    let stack = Stack::start();
    let admin = admin(&stack);
    let name = "op/tested";

    let create = CreateKeySet::new(name, KeyUse::Sign, "ES256")
        .issuer(ISSUER)
        .publish(Publish::Public);
    let created = admin.create(&create).await.unwrap();
    assert_eq!(
        (created.name.as_str(), created.issuer.as_str()),
        (name, ISSUER)
    );
    assert!(
        created.active().is_none() && created.standby().is_some(),
        "{created:?}"
    );
    // asked again, it does not act twice
    assert_eq!(
        admin.create(&create).await.unwrap().versions.len(),
        created.versions.len()
    );
    let taken = admin
        .create(&CreateKeySet::new(name, KeyUse::Sign, "ES256"))
        .await
        .unwrap_err();
    assert_eq!(
        (taken.code(), taken.reason()),
        (Code::Aborted, Some(&Reason::Conflict))
    );

    let first = admin
        .rotate(&RotateKeySet::new(name).force())
        .await
        .unwrap();
    assert!(!first.may_have_broken.is_empty(), "{first:?}");
    assert_eq!(active_kid(&first.key_set), created.standby().unwrap().kid);
    let stale = RotateKeySet::new(name).expected_revision(created.revision);
    let stale = admin.rotate(&stale).await.unwrap_err();
    assert_eq!(
        (stale.code(), stale.reason()),
        (Code::Aborted, Some(&Reason::Conflict))
    );

    let update = UpdateKeySet::new(name, Change::Algorithm("RS256".to_owned()));
    let updated = admin.update(&update).await.unwrap();
    assert_eq!(updated.policy.algorithm, "RS256");
    assert!(
        updated.active().is_some_and(|key| key.algorithm == "ES256"),
        "{updated:?}"
    );

    let jwk = stack.ctl(&["keygen", "RS256"]);
    let import = ImportKey::new(name, jwk.trim(), ImportAs::Prepared);
    let (imported, kid) = admin.import(&import).await.unwrap();
    assert_eq!(imported.standby().unwrap().kid, kid);
    let twice = admin
        .import(&ImportKey::new(name, jwk.trim(), ImportAs::Prepared))
        .await
        .unwrap_err();
    assert_eq!(twice.violations()[0].field, "jwk", "{twice}");

    let old = active_kid(&first.key_set);
    let revoked = admin.revoke(&RevokeKey::new(name, &old)).await.unwrap();
    let late = revoked.stragglers.len();
    assert_eq!(
        (
            usize::try_from(revoked.acked).unwrap() + late,
            revoked.total
        ),
        (1, 1),
        "{revoked:?}"
    );
    assert_eq!(active_kid(&revoked.key_set), kid);

    let shown = admin.get("", name).await.unwrap();
    let state = shown
        .key_set
        .versions
        .iter()
        .find(|version| version.kid == old)
        .unwrap()
        .state;
    assert_eq!(state, KeyState::Revoked);
    let listed: Vec<_> = admin
        .list("")
        .await
        .unwrap()
        .into_iter()
        .map(|set| set.name)
        .collect();
    assert_eq!(listed, [name]);
    let missing = admin.get("", "op/none").await.unwrap_err();
    assert_eq!(
        (missing.code(), missing.reason()),
        (Code::NotFound, Some(&Reason::KeySetNotFound))
    );
}
