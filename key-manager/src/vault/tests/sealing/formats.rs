//! Stored bytes of every format, read by whatever comes later.

use service_kit::shutdown::Shutdown;

use super::{keks::another_kek, *};
use crate::sealer::Sealer;

/// The form before generations: the root and each tenant have one wrapped key, which says nothing of what wraps it.
#[tokio::test]
async fn a_store_of_format_1_is_taken_over_rotated_and_re_sealed() {
    let store = fixture(include_str!(
        "../../../../tests/fixtures/store-format-1.json"
    ))
    .await;
    let wrong = Vault::open(Arc::clone(&store), another_kek()).await;
    assert!(
        matches!(wrong, Err(VaultError::Kek(KekError::Wrong))),
        "{wrong:?}"
    );
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 3);
    let lifecycle = lifecycle(&store).await;
    Sealer::new(lifecycle.clone()).round(&Shutdown::new()).await;
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 3);
    let wrong = Vault::open(Arc::clone(&store), another_kek()).await;
    assert!(
        matches!(&wrong, Err(VaultError::Kek(KekError::Wanted { wanted, .. })) if wanted == kek().id()),
        "{wrong:?}"
    );
    for owner in [Owner::Root, tenant()] {
        rekey(lifecycle.vault(), &owner).await.unwrap();
    }
    Sealer::new(lifecycle.clone()).round(&Shutdown::new()).await;
    assert_eq!(generations(&store).await, (2, 2));
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 3);
    // a rotation straight from the old form does the same
    let store = fixture(include_str!(
        "../../../../tests/fixtures/store-format-1.json"
    ))
    .await;
    let vault = opened(&store).await;
    for owner in [Owner::Root, tenant()] {
        rekey(&vault, &owner).await.unwrap();
    }
    settle(&vault).await;
    assert_eq!(generations(&store).await, (2, 2));
    assert_eq!(open_all(store).await.unwrap(), 3);
}

/// The stored bytes of format 2, in the middle of re-sealing: whatever comes later reads them.
#[tokio::test]
async fn records_of_format_2_are_read() {
    let store = fixture(include_str!(
        "../../../../tests/fixtures/store-format-2.json"
    ))
    .await;
    assert_eq!(generations(&store).await, (1, 3));
    assert_eq!(open_all(Arc::clone(&store)).await.unwrap(), 4);
    let vault = opened(&store).await;
    assert_eq!((vault.revoked_tokens(), vault.instances().len()), (2, 1));
    assert!(vault.audit_key().await.unwrap().is_some());
    assert_eq!(vault.anchors().await.unwrap().len(), 1);
    settle(&vault).await;
    assert_eq!(open_all(store).await.unwrap(), 4);
}

async fn fixture(text: &str) -> Arc<dyn KeyStore> {
    let entries: std::collections::BTreeMap<String, String> = serde_json::from_str(text).unwrap();
    let entries: Vec<_> = entries
        .into_iter()
        .map(|(key, value)| (key, jose::base64url::decode(value).unwrap()))
        .collect();
    restored(&entries).await
}
