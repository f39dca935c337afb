//! Eviction: an instance gets no further lease.

use std::sync::Arc;

use super::{Lifecycle, LifecycleError};
use crate::vault::Instance;

/// An evicted instance.
#[derive(Clone, Debug)]
pub struct Evicted {
    /// As it is now.
    pub instance: Arc<Instance>,
    /// Whether its lease had not run out.
    pub was_live: bool,
}

impl Lifecycle {
    /// Refuses an instance renewals from now on; with `force` its lease ends at once. Its stream ends with its next renewal. `None` where there
    /// is no such instance.
    ///
    /// # Errors
    /// [`LifecycleError`].
    pub async fn evict(&self, name: &str, force: bool) -> Result<Option<Evicted>, LifecycleError> {
        let now = self.now();
        let live = |instance: &Instance| instance.subscriber.is_live(now);
        let was_live = self.vault.instance(name).is_some_and(|known| live(&known));
        let evict = |present: Option<&Instance>| -> Result<_, LifecycleError> {
            let mut next = present.ok_or(LifecycleError::NotFound)?.clone();
            let before = next.subscriber.clone();
            next.subscriber.evict(now, force);
            // Evicted again, as before: the first time stays on record.
            if let Some(evicted) = before.evicted
                && (evicted.forced || !force)
            {
                next.subscriber = before;
            }
            Ok(Some(next))
        };
        let evicted = match self.vault.update_instance(name, evict).await {
            Err(LifecycleError::NotFound) => return Ok(None),
            evicted => evicted?,
        };
        Ok(evicted.map(|instance| Evicted { instance, was_live }))
    }
}
