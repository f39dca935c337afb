//! What both daemons stand on: config, TLS with reload, caller identity, deadlines, shedding, telemetry, drain, clock.
//!
//! A daemon's `main` is a list of steps over these modules:
//!
//! 1. [`config`]: default < file < environment < flags, every mistake named at once;
//! 2. [`process`]: hardening, and the signals that become a [`shutdown::Shutdown`];
//! 3. [`telemetry`]: logs, metrics, `/healthz`, `/readyz`, `/metrics`;
//! 4. [`tls`] and [`grants`]: who may call, both reloaded while the daemon runs;
//! 5. [`layers`] and [`serve`]: the stack around tonic's routes, and the loop that accepts connections.
//!
//! Nothing here knows a proto, a key or a store.

pub mod clock;
pub mod config;
pub mod grants;
pub mod identity;
pub mod layers;
pub mod process;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod watched;
