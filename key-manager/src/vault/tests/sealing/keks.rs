//! Key-encryption keys that take each other's place.

use service_kit::shutdown::Shutdown;

use super::*;
use crate::{
    seal::{Keks, KeyEncryptionKey},
    sealer::Sealer,
};

pub(super) fn another_kek() -> Arc<LocalKek> {
    Arc::new(LocalKek::new(&[2; 32]).unwrap())
}

fn both(present: Arc<LocalKek>, previous: Arc<LocalKek>) -> Keks {
    let previous: Arc<dyn KeyEncryptionKey> = previous;
    Keks::new(present, Some(previous))
}

async fn with(store: &Arc<dyn KeyStore>, keks: Keks) -> Lifecycle {
    let vault = Vault::open(Arc::clone(store), keks).await.unwrap();
    Lifecycle::new(
        Arc::new(vault),
        Arc::new(AwsLc),
        Times::DEVELOPMENT,
        FakeClock::at(NOW).shared(),
        Metrics::default(),
    )
}

#[tokio::test]
async fn another_key_encryption_key_takes_over_and_the_one_before_opens_nothing() {
    let (store, lifecycle) = whole().await;
    rekey(lifecycle.vault(), &tenant()).await.unwrap();
    let moved = with(&store, both(another_kek(), kek())).await;
    let keks = async || {
        let shown = moved.vault().sealing(at(0), ("", 9), |_| true).await;
        shown.unwrap().keks
    };
    assert_eq!(keks().await.left, 3, "two of the tenant, one of the root");
    Sealer::new(moved.clone()).round(&Shutdown::new()).await;
    assert_eq!(keks().await.left, 0);
    is_whole(&store, another_kek()).await;
    is_whole(&store, both(another_kek(), kek())).await;
    let refused = Vault::open(Arc::clone(&store), kek()).await.unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains(another_kek().id()) && said.contains(kek().id()),
        "{said}"
    );
}

#[tokio::test]
async fn replicas_with_the_keys_exchanged_do_not_take_each_others_back() {
    let (store, _) = whole().await;
    // everybody opens with both before anybody wraps by the new one
    let old = with(&store, both(kek(), another_kek())).await;
    let mut old_sealer = Sealer::new(old.clone());
    old_sealer.round(&Shutdown::new()).await;
    let new = with(&store, both(another_kek(), kek())).await;
    let mut new_sealer = Sealer::new(new.clone());
    for _ in 0..3 {
        new_sealer.round(&Shutdown::new()).await;
        old_sealer.round(&Shutdown::new()).await;
    }
    is_whole(&store, another_kek()).await;
    let none = Mutation::default();
    old.rotate(&name(), true, &none).await.unwrap();
}
