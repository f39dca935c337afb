//! Data keys and key-encryption keys that change: everything opens at every moment, and nothing that is altered goes unseen.

mod formats;
mod interleaved;
mod keks;
mod passes;
mod tampering;

use jose::revocation::{Entry as Revoked, Id};

use super::*;
use crate::{
    audit::Anchor,
    vault::{
        Forgetting, Owner, Revoking, Rotation, Step, envelope::generation_of, sealing::kinds_of,
    },
};

fn at(seconds: u64) -> Time {
    Time::from_millis((NOW + seconds) * 1_000)
}

fn tenant() -> Owner {
    Owner::Tenant("default".to_owned())
}

async fn opened(store: &Arc<dyn KeyStore>) -> Arc<Vault> {
    Arc::new(Vault::open(Arc::clone(store), kek()).await.unwrap())
}

async fn rekey(vault: &Arc<Vault>, owner: &Owner) -> Result<(), VaultError> {
    let rotation = Rotation {
        owner: owner.clone(),
        now: at(0),
        request: None,
    };
    vault.turn().await.rotate_data_key(rotation).await
}

/// One pass from its beginning to its end; false where it was overtaken.
async fn pass(vault: &Arc<Vault>, owner: &Owner) -> Result<bool, VaultError> {
    let Some(mut pass) = vault.begin_pass(owner, at(1)).await? else {
        return Ok(true);
    };
    loop {
        match vault.reseal_some(&mut pass, at(2)).await? {
            Step::More => {}
            Step::Done => return vault.end_pass(&pass, at(3)).await,
            Step::Outdated => return Ok(false),
        }
    }
}

async fn settle(vault: &Arc<Vault>) {
    for _ in 0..20 {
        let mut work = vault.sealing_work().await.unwrap();
        work.retain(|work| work.reseal);
        if work.is_empty() {
            return;
        }
        for work in work {
            pass(vault, &work.owner).await.unwrap();
        }
    }
    panic!("re-sealing does not end");
}

async fn revoke_token(vault: &Arc<Vault>, jti: &str, forget_at: u32) -> Result<u64, VaultError> {
    let entry = Revoked {
        id: Id::of_jti(jti, &AwsLc),
        issued_before: 0,
        forget_at,
    };
    let revoking = Revoking {
        entries: vec![(name(), entry)],
        limit: 100,
        request: None,
    };
    vault.turn().await.revoke_tokens(revoking).await
}

fn anchor() -> Anchor {
    let statement = serde_json::json!({"chain": "c0ffee", "seq": 3, "hash": "aa", "at": 5});
    serde_json::from_value(serde_json::json!({"statement": statement, "jws": "e30.e30.e30"}))
        .unwrap()
}

/// A store with an entry of every kind that stands under a data key, and its vault.
async fn whole() -> (Arc<dyn KeyStore>, Lifecycle) {
    let store = filled().await;
    let lifecycle = lifecycle(&store).await;
    let vault = lifecycle.vault();
    for (jti, forget_at) in [("a", 100), ("b", 2_000), ("c", 3_000)] {
        revoke_token(vault, jti, forget_at).await.unwrap();
    }
    let forgetting = Forgetting { until: 200 };
    vault.turn().await.forget_tokens(forgetting).await.unwrap();
    let instance = Instance {
        caller: "caller".to_owned(),
        scope: Scope::default(),
        subscriber: Subscriber::new("caller#1", 1, at(0)),
        leased: true,
    };
    vault
        .update_instance::<VaultError>("caller#1", |_| Ok(Some(instance.clone())))
        .await
        .unwrap();
    vault
        .keep_audit_key(b"the key of the audit log")
        .await
        .unwrap();
    vault.anchor(&anchor()).await.unwrap();
    let mutation = Mutation {
        caller: "caller".to_owned(),
        request_id: "r".to_owned(),
        ..Mutation::default()
    };
    lifecycle.rotate(&name(), true, &mutation).await.unwrap();
    (store, lifecycle)
}

/// Everything in the store opens, and says what `whole` has put there.
async fn is_whole(store: &Arc<dyn KeyStore>, keks: impl Into<Keks>) {
    let vault = Vault::open(Arc::clone(store), keks).await.unwrap();
    let mut keys = 0;
    for entry in vault.all().1 {
        for version in &entry.set.versions {
            keys += usize::from(vault.secret(&entry, &version.kid).await.unwrap().is_some());
        }
    }
    assert_eq!(keys, 3);
    assert_eq!((vault.revoked_tokens(), vault.instances().len()), (2, 1));
    assert_eq!(vault.anchors().await.unwrap().len(), 1);
    let kept = vault.audit_key().await.unwrap().unwrap();
    assert_eq!(kept.as_slice(), b"the key of the audit log");
    let request = vault.request("caller", "r", b"", at(5));
    assert_eq!(
        vault.recall(&request).await.unwrap(),
        Remembered::Done(None)
    );
}

/// The lowest and highest generation that stand anywhere in the store.
async fn generations(store: &Arc<dyn KeyStore>) -> (u32, u32) {
    let mut found = Vec::new();
    for (key, value) in dump(store).await {
        assert_eq!(kinds_of(&key), 1, "{key} is of one kind");
        let sealed = key.starts_with("key/") || key == "audit-key";
        if sealed && !value.is_empty() {
            found.push(crate::seal::generation_of(&value).unwrap());
        } else if let Some(generation) = generation_of(&value) {
            found.push(generation);
        }
    }
    (*found.iter().min().unwrap(), *found.iter().max().unwrap())
}

#[tokio::test]
async fn everything_is_written_under_the_new_data_keys_at_once_and_the_rest_follows() {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    let (epoch, heads) = (vault.epoch(), dump(&store).await);
    for owner in [Owner::Root, tenant()] {
        rekey(vault, &owner).await.unwrap();
    }
    is_whole(&store, kek()).await;
    assert_eq!(vault.epoch(), epoch, "a rotation is no write of a key set");
    lifecycle
        .create(
            new_set(&SetName::new("default", "op/later"), "ES256"),
            &Mutation::default(),
        )
        .await
        .unwrap();
    let before: Vec<&String> = heads.iter().map(|(key, _)| key).collect();
    for (key, value) in dump(&store).await {
        if before.contains(&&key) || value.is_empty() {
            continue;
        }
        let under = match key.starts_with("key/") {
            true => crate::seal::generation_of(&value).ok(),
            false => generation_of(&value),
        };
        assert!(under.is_none_or(|under| under == 2), "{key}: {under:?}");
    }
    assert_eq!(generations(&store).await, (1, 2));
    let shown = vault.sealing(at(9), ("", 9), |_| true).await.unwrap();
    assert!(shown.root.left() > 0 && shown.tenants[0].left() > 0);
    assert_eq!(shown.tenants[0].began, Some(at(0)));
    settle(vault).await;
    assert_eq!(generations(&store).await, (2, 2));
    let shown = vault.sealing(at(60), ("", 9), |_| true).await.unwrap();
    for keys in [&shown.root, &shown.tenants[0]] {
        assert_eq!((keys.left(), keys.generations.len()), (0, 1), "{keys:?}");
        assert_eq!((keys.present, keys.ended), (2, Some(at(3))));
    }
    assert_eq!(vault.sealing_left(), (0, 0, 0));
    let fresh = opened(&store).await;
    assert_eq!(fresh.epoch(), vault.epoch());
    assert_eq!(open_all(store).await.unwrap(), 4);
}

#[tokio::test]
async fn what_is_left_is_counted_down_to_nothing() {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    rekey(vault, &Owner::Root).await.unwrap();
    let before = vault.sealing(at(0), ("", 9), |_| true).await.unwrap();
    // two revocations, what is forgotten, a record of each other kind; the entry `epoch` is there already
    let counted: Vec<_> = before
        .root
        .generations
        .iter()
        .map(|one| (one.records, one.keys))
        .collect();
    let garbage = dump(&store)
        .await
        .iter()
        .filter(|(key, _)| key.starts_with("revoked/"))
        .count();
    let records = u64::try_from(garbage).unwrap() + 4;
    assert_eq!(counted, [(records, 1), (1, 0)]);
    settle(vault).await;
    let after = vault.sealing(at(0), ("", 9), |_| true).await.unwrap();
    let one = &after.root.generations[0];
    assert_eq!((one.generation, one.records, one.keys), (2, records + 1, 1));
    assert!(
        generations(&store).await.0 == 1,
        "the tenant's is not touched"
    );
}
