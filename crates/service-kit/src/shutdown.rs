//! The token that tells every long-running part to drain.

use std::future::Future;

use tokio_util::sync::CancellationToken;

/// A request to drain. Clones share it; once triggered it stays triggered.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A token that nothing has triggered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every holder to drain.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Whether draining was asked for.
    pub fn is_triggered(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves once draining was asked for; at once if it already was. Cancel-safe.
    pub fn triggered(&self) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().cancelled_owned()
    }

    /// A token that this one triggers, and that can be triggered without it.
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    /// Runs `work` until it ends or draining is asked for; `None` when it was cut off.
    pub async fn guard<F: Future>(&self, work: F) -> Option<F::Output> {
        self.0.run_until_cancelled(work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_stops_alone_and_a_parent_stops_its_children() {
        let parent = Shutdown::new();
        let (first, second) = (parent.child(), parent.child());
        first.trigger();
        assert!(first.is_triggered());
        assert!(!second.is_triggered() && !parent.is_triggered());
        parent.trigger();
        second.triggered().await;
        assert_eq!(second.guard(std::future::pending::<()>()).await, None);
    }
}
