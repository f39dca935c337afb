//! Three key-managers, each with its own lines to the members of one cluster, and an instance that it feeds.

use std::path::PathBuf;

use blackbox::{Addresses, Process, Stack};
use client_admin::AdminClient;
use testkit::{EtcdCluster, Proxy};

use crate::{
    Fault,
    stack::{Instance, channel},
};

pub(super) const MEMBERS: usize = 3;
pub(super) const REPLICAS: usize = 3;

/// Short times, so that a rotation takes seconds; leases longer than any fault lasts.
const TIMES: [(&str, &str); 6] = [
    ("KEY_MANAGER_TIMES_JWKS_CAP", "1s"),
    ("KEY_MANAGER_TIMES_LEAD", "2s"),
    ("KEY_MANAGER_TIMES_SKEW", "1s"),
    ("KEY_MANAGER_TIMES_MAX_SIGN_STALENESS", "40s"),
    ("KEY_MANAGER_TIMES_MAX_VERIFY_STALENESS", "60s"),
    ("KEY_MANAGER_LOG_FILTER", "warn"),
];

/// What a key-manager takes for the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    Right,
    /// So many seconds away from the right time.
    Off(i64),
}

struct Replica {
    addresses: Addresses,
    /// One to each member.
    lines: Vec<Proxy>,
    process: Option<Process>,
}

pub(super) struct Replicas {
    pub(super) cluster: EtcdCluster,
    stack: Stack,
    replicas: Vec<Replica>,
}

impl Replicas {
    pub(super) fn start() -> Result<Self, Fault> {
        let cluster = EtcdCluster::start(MEMBERS);
        let mut stack = Stack::init();
        stack.set_environment(&TIMES);
        let mut replicas = Self {
            cluster,
            stack,
            replicas: Vec::new(),
        };
        for number in 0..REPLICAS {
            let lines = replicas.cluster.clients().into_iter().map(Proxy::to);
            replicas.replicas.push(Replica {
                addresses: Addresses::free(),
                lines: lines.collect(),
                process: None,
            });
            replicas.restart(number, Clock::Right)?;
        }
        Ok(replicas)
    }

    /// Kills a replica if it runs, and starts it with that clock.
    pub(super) fn restart(&mut self, number: usize, clock: Clock) -> Result<(), Fault> {
        let replica = self.replicas.get_mut(number).ok_or("no such replica")?;
        if let Some(running) = replica.process.take() {
            running.kill();
        }
        replica.process = Some(start(&self.stack, number, replica, clock));
        let http = replica.addresses.http;
        self.stack.ready(http);
        Ok(())
    }

    /// Cuts a replica off from every member.
    pub(super) fn cut(&self, number: usize) {
        self.lines(number).for_each(Proxy::cut);
    }

    /// Its lines carry again.
    pub(super) fn heal(&self, number: usize) {
        self.lines(number).for_each(Proxy::heal);
    }

    fn lines(&self, number: usize) -> impl Iterator<Item = &Proxy> {
        let replica = self.replicas.get(number);
        replica.into_iter().flat_map(|replica| &replica.lines)
    }

    /// An instance at each replica.
    pub(super) fn instances(&self) -> Result<Vec<Instance>, Fault> {
        let at = |replica: &Replica| {
            let addresses = Addresses::free();
            let process = self.stack.spawn(
                "crypto-service",
                &[
                    ("KEYS_GRPC", replica.addresses.grpc.to_string()),
                    ("CRYPTO_GRPC", addresses.grpc.to_string()),
                    ("CRYPTO_HTTP", addresses.http.to_string()),
                ],
            );
            self.stack.ready(addresses.http);
            Instance::at(&self.stack, addresses, Some(process))
        };
        self.replicas.iter().map(at).collect()
    }

    /// A client of each replica.
    pub(super) fn admins(&self) -> Result<Vec<AdminClient>, Fault> {
        let at = |replica: &Replica| {
            let channel = channel(&self.stack, replica.addresses.grpc, "admin")?;
            Ok(AdminClient::new(channel))
        };
        self.replicas.iter().map(at).collect()
    }
}

/// A key-manager of the set-up on the cluster, with an audit log of its own.
fn start(stack: &Stack, number: usize, replica: &Replica, clock: Clock) -> Process {
    let program = match clock {
        Clock::Right => "key-manager",
        Clock::Off(_) => "mortal-key-manager",
    };
    let endpoints: Vec<_> = replica
        .lines
        .iter()
        .map(|line| format!("http://{}", line.address()))
        .collect();
    let mut command = stack.command(program);
    command
        .arg("--config")
        .arg(stack.dev().join("key-manager.toml"))
        .envs(TIMES)
        .env("KEYS_GRPC", replica.addresses.grpc.to_string())
        .env("KEYS_HTTP", replica.addresses.http.to_string())
        .env("KEY_MANAGER_STORE_PATH", "")
        .env("KEY_MANAGER_STORE_ENDPOINTS", format!("{endpoints:?}"))
        .env("KEY_MANAGER_AUDIT_FOLDER", audit(number));
    match clock {
        Clock::Right => command.arg("--die-with-parent"),
        Clock::Off(seconds) => command.arg(format!("--clock-offset={seconds}")),
    };
    Process::start(program, command)
}

fn audit(number: usize) -> PathBuf {
    PathBuf::from(format!("audit-{number}"))
}
