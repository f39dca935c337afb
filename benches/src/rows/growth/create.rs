//! Many key sets through the key-manager's admin rpcs, many at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use client_admin::AdminClient;
use tokio::task::JoinSet;

use crate::{
    Fault, progress,
    service::{KeySetSpec, create},
    stack::Stack,
};

/// Creations in flight. The key-manager writes one at a time; while it writes one, the keys of others are made.
const AT_ONCE: usize = 32;
const CONNECTIONS: usize = 4;
/// Progress is told this often.
const TOLD: usize = 5_000;

/// Creates ES256 key sets, each with an Active key and a standby, as `name` calls them.
pub(super) async fn all(
    stack: &Stack,
    sets: usize,
    name: &(impl Fn(usize) -> String + Clone + Send + 'static),
) -> Result<(), Fault> {
    let admin = AdminClient::new(stack.admin_channel(CONNECTIONS)?);
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE.min(sets) {
        let (admin, next, name) = (admin.clone(), Arc::clone(&next), name.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= sets {
                    return Ok::<(), client_core::Error>(());
                }
                create(&admin, &KeySetSpec::signing(&name(number), "ES256", 0)).await?;
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
