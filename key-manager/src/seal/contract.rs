//! What every key-encryption key does, wherever it is. One list; the tests of each kind run it.

use super::{KEY_LEN, KeyEncryptionKey, SealError};

/// Checks all of it. `other` is another key of the same kind; `hidden` are texts that `Debug` must not show.
pub(crate) async fn holds(
    kek: &dyn KeyEncryptionKey,
    other: &dyn KeyEncryptionKey,
    hidden: &[&str],
) {
    what_is_wrapped_unwraps_for_its_owner_only(kek).await;
    another_key_refuses(kek, other).await;
    whatever_is_altered_or_cut_opens_nowhere(kek).await;
    nothing_is_wrapped_alike_twice(kek).await;
    for shown in [format!("{kek:?}"), format!("{other:?}")] {
        let found = hidden.iter().find(|secret| shown.contains(**secret));
        assert_eq!(found, None, "{shown}");
    }
}

async fn what_is_wrapped_unwraps_for_its_owner_only(kek: &dyn KeyEncryptionKey) {
    let owners = [
        "",
        "default",
        "root",
        "true",
        "a/b",
        "größe",
        &"x".repeat(200),
    ];
    for (number, owner) in owners.iter().enumerate() {
        let key = [u8::try_from(number).unwrap(); KEY_LEN];
        let wrapped = kek.wrap(owner, &key).await.unwrap();
        let opened = kek.unwrap(owner, &wrapped).await.unwrap();
        assert_eq!(opened.as_slice(), key, "{owner}");
        let strangers = owners.iter().filter(|stranger| *stranger != owner);
        for stranger in strangers {
            let refused = kek.unwrap(stranger, &wrapped).await;
            assert_eq!(
                refused.unwrap_err(),
                SealError::Refused,
                "{owner} {stranger}"
            );
        }
    }
}

async fn another_key_refuses(kek: &dyn KeyEncryptionKey, other: &dyn KeyEncryptionKey) {
    for (one, another) in [(kek, other), (other, kek)] {
        let wrapped = one.wrap("a", &[9; KEY_LEN]).await.unwrap();
        assert_eq!(
            another.unwrap("a", &wrapped).await.unwrap_err(),
            SealError::Refused
        );
    }
}

async fn whatever_is_altered_or_cut_opens_nowhere(kek: &dyn KeyEncryptionKey) {
    let wrapped = kek.wrap("a", &[9; KEY_LEN]).await.unwrap();
    for at in 0..wrapped.len() {
        let mut altered = wrapped.clone();
        altered[at] ^= 1;
        let refused = kek.unwrap("a", &altered).await;
        // the first bytes may say which key it is, and which form
        let sealed = at + KEY_LEN >= wrapped.len();
        match refused {
            Err(SealError::Refused) => {}
            Err(_) if !sealed => {}
            other => panic!("byte {at}: {other:?}"),
        }
    }
    for len in [0, 1, 2, 12, wrapped.len() - 1] {
        let refused = kek.unwrap("a", &wrapped[..len]).await;
        assert!(refused.is_err(), "cut at {len}");
    }
    // and it still works after all that
    assert!(kek.unwrap("a", &wrapped).await.is_ok());
}

async fn nothing_is_wrapped_alike_twice(kek: &dyn KeyEncryptionKey) {
    let one = kek.wrap("a", &[9; KEY_LEN]).await.unwrap();
    assert_ne!(one, kek.wrap("a", &[9; KEY_LEN]).await.unwrap());
}
