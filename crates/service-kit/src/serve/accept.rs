//! The loop under both servers: accept, cap, drain.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::shutdown::Shutdown;

/// Pause after a failed accept: out of descriptors, usually, and asking again at once would not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection ended by itself.
    Complete,
    /// The drain limit passed, and this many connections were cut.
    Cut(usize),
}

/// What a connection must heed.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    /// Finish what is under way, accept nothing new.
    pub(super) shutdown: Shutdown,
    /// End now.
    pub(super) cut: Shutdown,
}

/// Accepts until shutdown, at most `cap` connections at once; then gives them `drain_limit` to end.
pub(super) async fn accept_loop<F, C>(
    listener: TcpListener,
    cap: usize,
    drain_limit: Duration,
    shutdown: Shutdown,
    connection: C,
) -> Drained
where
    C: Fn(TcpStream, Signals) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let connections = TaskTracker::new();
    let cut = Shutdown::new();
    while let Some(accepted) = shutdown.guard(listener.accept()).await {
        let Some(stream) = usable(accepted.map(|(stream, _)| stream)).await else {
            continue;
        };
        if connections.len() >= cap {
            // Closed, not left waiting: a client that is told at once can try another instance.
            tracing::warn!(cap, "connection refused, the cap is reached");
            continue;
        }
        let signals = Signals {
            shutdown: shutdown.clone(),
            cut: cut.clone(),
        };
        connections.spawn(connection(stream, signals));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain_limit, connections.wait())
        .await
        .is_ok()
    {
        return Drained::Complete;
    }
    let late = connections.len();
    cut.trigger();
    connections.wait().await;
    tracing::warn!(connections = late, "drain limit passed, connections cut");
    Drained::Cut(late)
}

async fn usable(accepted: io::Result<TcpStream>) -> Option<TcpStream> {
    // A peer that is gone already is nobody's error.
    match accepted.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
        Ok(stream) => Some(stream),
        Err(error) => {
            tracing::warn!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
