//! Something done once for each key set, many at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

use crate::{Fault, progress};

/// Progress is told this often.
const TOLD: usize = 5_000;

/// Does it for each of `sets`, with so many in flight, and stops at the first that fails.
pub(super) async fn each<F>(
    sets: usize,
    at_once: usize,
    act: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<(), Fault>
where
    F: Future<Output = Result<(), client_core::Error>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..at_once.min(sets) {
        let (next, act) = (Arc::clone(&next), act.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sets {
                    return Ok::<(), client_core::Error>(());
                }
                act(number).await?;
                if (number + 1) % TOLD == 0 {
                    progress(&format!("growth: {} of {sets} key sets", number + 1));
                }
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}
