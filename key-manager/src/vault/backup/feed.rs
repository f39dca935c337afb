//! What takes the place of everything, part by part.

use tokio::sync::mpsc;

use crate::{
    store::{KeyStore, Pair, Replacement, StoreError},
    vault::PAGE,
};

/// Gives the entries of the file, without those that the restored store has of its own, and these.
pub(super) async fn feed(
    spooled: &dyn KeyStore,
    is_own: impl Fn(&str) -> bool + Send + Sync,
    own: Vec<Pair>,
    parts: mpsc::Sender<Result<Vec<Pair>, StoreError>>,
) {
    let fed = async {
        let (snapshot, mut after) = (spooled.snapshot().await?, None::<String>);
        loop {
            let page = snapshot.page(after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let of_file = page
                .into_iter()
                .filter(|entry| !is_own(&entry.key))
                .map(|entry| (entry.key, entry.value));
            if !send(&parts, of_file).await {
                return Ok(());
            }
        }
        if send(&parts, own).await {
            // An empty part is the end. Where nobody reads there is nobody to tell.
            let _gone = parts.send(Ok(Vec::new())).await;
        }
        Ok(())
    };
    if let Err(error) = fed.await {
        let _gone = parts.send(Err(error)).await;
    }
}

/// False where nobody reads any more.
async fn send(
    parts: &mpsc::Sender<Result<Vec<Pair>, StoreError>>,
    pairs: impl IntoIterator<Item = Pair>,
) -> bool {
    let (mut part, mut bytes) = (Vec::new(), 0);
    for (key, value) in pairs {
        let size = key.len() + value.len();
        let full = part.len() >= Replacement::PART.0 || bytes + size > Replacement::PART.1;
        if full && !part.is_empty() {
            if parts.send(Ok(std::mem::take(&mut part))).await.is_err() {
                return false;
            }
            bytes = 0;
        }
        bytes += size;
        part.push((key, value));
    }
    part.is_empty() || parts.send(Ok(part)).await.is_ok()
}
