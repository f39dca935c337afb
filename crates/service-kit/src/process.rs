//! The process around the daemon: hardening, death with the parent, signals.

use std::io;
use std::time::Duration;

use rustix::process::{
    DumpableBehavior, Resource, Rlimit, Signal, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::shutdown::Shutdown;

/// The exit code of a drain that a second signal cut short.
pub const EXIT_INTERRUPTED: i32 = 130;

/// Keeps secrets in memory out of core files and away from debuggers of the same user. Call it first in `main`.
pub fn harden() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Has the kernel send SIGTERM to this process when its parent ends. The kernel means the parent's *thread*, so
/// the parent must start its children from one that lives as long as it does.
pub fn die_with_parent() -> io::Result<()> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // A parent that died just before the call will send nothing any more.
    if getppid() != parent {
        return Err(io::Error::other("the parent process has ended already"));
    }
    Ok(())
}

/// Listens for SIGTERM and SIGINT: the first triggers `shutdown`, the second ends the process at once.
/// Must be called within a runtime; the handlers are in place when it returns.
pub fn drain_on_signals(shutdown: Shutdown) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut received = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = received().await;
        tracing::info!(
            signal = name,
            "draining; a second signal ends the process at once"
        );
        shutdown.trigger();
        let name = received().await;
        tracing::warn!(signal = name, "second signal, leaving without drain");
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(())
}

/// Waits for `parts` to end, at most `limit` after `shutdown` was triggered; false when they were cut off.
pub async fn run_until_drained<F: Future>(
    parts: F,
    shutdown: &Shutdown,
    limit: Duration,
) -> Option<F::Output> {
    let too_late = async {
        shutdown.triggered().await;
        tokio::time::sleep(limit).await;
    };
    tokio::select! {
        output = parts => Some(output),
        () = too_late => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_drain_is_bounded_from_the_moment_it_was_asked_for() {
        let shutdown = Shutdown::new();
        let limit = Duration::from_secs(5);
        let quick = run_until_drained(async { 7 }, &shutdown, limit).await;
        assert_eq!(quick, Some(7));
        let long_before = tokio::time::timeout(
            Duration::from_secs(60),
            run_until_drained(std::future::pending::<()>(), &shutdown, limit),
        );
        assert!(
            long_before.await.is_err(),
            "nothing is cut off before the drain"
        );
        shutdown.trigger();
        let start = tokio::time::Instant::now();
        assert_eq!(
            run_until_drained(std::future::pending::<()>(), &shutdown, limit).await,
            None
        );
        assert_eq!(start.elapsed(), limit);
    }

    #[test]
    fn a_hardened_process_leaves_no_core() {
        harden().unwrap();
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        assert_eq!(
            rustix::process::dumpable_behavior().unwrap(),
            DumpableBehavior::NotDumpable
        );
    }
}
