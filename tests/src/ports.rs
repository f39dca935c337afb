//! Where the daemons under test listen.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Ports of the daemons under test.
const FIRST_SERVER_PORT: u16 = 12_000;
const SERVER_PORTS: u16 = 20_000;

/// A listener's address that is free, and that the kernel gives to no outgoing connection while a daemon restarts on it: those take
/// their ports from 32768 up. Each process begins at another place, so that tests side by side do not meet.
#[must_use]
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(40);
    for _ in 0..SERVER_PORTS {
        let step = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port =
            FIRST_SERVER_PORT + u16::try_from(step % u32::from(SERVER_PORTS)).expect("a remainder");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("its own address");
        }
    }
    panic!("no port from {FIRST_SERVER_PORT} on is free");
}

/// Where one crypto-service listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
}

impl Addresses {
    /// Two free ports.
    #[must_use]
    pub fn free() -> Self {
        Self {
            grpc: free_address(),
            http: free_address(),
        }
    }
}
