//! What is altered, put back or forged while entries stand under several generations.

use super::*;

/// A store in the middle of re-sealing, under two generations of the root's data key and three of the tenant's.
pub(super) async fn mixed() -> Arc<dyn KeyStore> {
    let (store, lifecycle) = whole().await;
    let vault = lifecycle.vault();
    rekey(vault, &tenant()).await.unwrap();
    pass(vault, &tenant()).await.unwrap();
    for owner in [Owner::Root, tenant()] {
        rekey(vault, &owner).await.unwrap();
    }
    let other = SetName::new("default", "op/other");
    lifecycle
        .create(new_set(&other, "ES256"), &Mutation::default())
        .await
        .unwrap();
    assert_eq!(generations(&store).await, (1, 3));
    store
}

#[tokio::test]
async fn a_flipped_bit_is_seen_under_mixed_generations() {
    let entries = dump(&mixed().await).await;
    let read = async |store: Arc<dyn KeyStore>| -> Result<(), VaultError> {
        open_all(Arc::clone(&store)).await?;
        let vault = Vault::open(store, kek()).await?;
        vault.audit_key().await?;
        vault.anchors().await?;
        vault
            .recall(&vault.request("caller", "r", b"", at(5)))
            .await?;
        Ok(())
    };
    read(restored(&entries).await).await.unwrap();
    let mut flipped = 0;
    for (index, (key, value)) in entries.iter().enumerate() {
        let indexes = ["changed/", "material/", "request-at/"];
        if indexes.iter().any(|index| key.starts_with(index)) {
            continue;
        }
        let step = (value.len() / 30).max(1);
        for byte in (0..value.len()).step_by(step) {
            let mut altered = entries.clone();
            altered[index].1[byte] ^= 1 << (byte % 8);
            let outcome = read(restored(&altered).await).await;
            assert!(outcome.is_err(), "{key} byte {byte} of {}", value.len());
            flipped += 1;
        }
    }
    assert!(flipped > 300, "{flipped}");
}

#[tokio::test]
async fn a_record_of_before_is_seen_whatever_it_stands_under() {
    let store = filled().await;
    let lifecycle = lifecycle(&store).await;
    let key = name().key();
    let old = store.get(&key).await.unwrap().unwrap().value;
    lifecycle
        .rotate(&name(), true, &Mutation::default())
        .await
        .unwrap();
    rekey(lifecycle.vault(), &tenant()).await.unwrap();
    // its data key is kept: the record itself is genuine, and no longer the newest
    let put_back = restored(&dump(&store).await).await;
    put_back
        .commit(Batch::new().put(&key, old.as_slice()))
        .await
        .unwrap();
    assert!(matches!(
        open_all(put_back).await,
        Err(VaultError::Damaged { .. })
    ));
    settle(lifecycle.vault()).await;
    let resealed = store.get(&key).await.unwrap().unwrap().value;
    let text = String::from_utf8(resealed.clone()).unwrap();
    let (from, to) = (
        text.find("\"resealed\"").unwrap(),
        text.find("\"record\"").unwrap(),
    );
    let without_mark = format!("{}{}", &text[..from], &text[to..]);
    for (what, forged) in [
        ("of before", old),
        ("without its mark", without_mark.into_bytes()),
    ] {
        let put_back = restored(&dump(&store).await).await;
        put_back
            .commit(Batch::new().put(&key, forged))
            .await
            .unwrap();
        assert!(
            matches!(open_all(put_back).await, Err(VaultError::Damaged { .. })),
            "{what}"
        );
    }
    assert_eq!(open_all(store).await.unwrap(), 3);
}

#[tokio::test]
async fn a_root_that_is_put_back_after_its_rotation_is_seen() {
    let (store, lifecycle) = whole().await;
    let old = store.get(ROOT).await.unwrap().unwrap().value;
    rekey(lifecycle.vault(), &Owner::Root).await.unwrap();
    store.commit(Batch::new().put(ROOT, old)).await.unwrap();
    assert!(matches!(
        open_all(store).await,
        Err(VaultError::Damaged { .. })
    ));
}
