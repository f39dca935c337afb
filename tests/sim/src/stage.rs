//! The stage of a run: what all nodes stand on, and the nodes themselves.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crypto_service::ServiceMetrics;
use crypto_service::lanes::{LaneOptions, Lanes};
use service_kit::clock::SharedClock;
use service_kit::grants::{self, PolicyHandle};
use service_kit::identity::Caller;
use service_kit::telemetry::Metrics;
use service_kit::tls::{Credentials, TlsFiles};
use testkit::{CertificateAuthority, Leaf, PemFolder};

use crate::Fault;
use crate::instance::Node;
use crate::outside::{Cache, Document};
use crate::replica::Replica;
use crate::sim::{Sim, lock};
use crate::store::Disk;

pub(crate) const TENANT: &str = "default";

const GRANTS: &str = r#"
[[grant]]
caller = "spiffe://crypto.dev/crypto-service"
key_sets = ["*"]
operations = ["feed"]

[[grant]]
caller = "spiffe://crypto.dev/caller"
key_sets = ["*"]
operations = ["sign", "verify", "encrypt", "encrypt-to-jwk", "decrypt"]
"#;

/// Certificates, grants and threads: made once for all runs of a process.
pub(crate) struct Assets {
    _folder: PemFolder,
    instance: TlsFiles,
    manager: TlsFiles,
    pub(crate) policy: PolicyHandle,
    pub(crate) lanes: Lanes,
    pub(crate) metrics: ServiceMetrics,
    pub(crate) caller: Caller,
    pub(crate) instance_name: Caller,
}

impl Assets {
    /// # Errors
    /// Where the system has no room for files or threads.
    pub(crate) fn new() -> Result<Self, Fault> {
        let (ca, folder) = (CertificateAuthority::new("simulation"), PemFolder::new());
        let write = |role: &str| {
            let files = folder.write(role, &ca.issue(&Leaf::server(role)), &ca);
            TlsFiles {
                cert: files.cert,
                key: files.key,
                ca: files.ca,
            }
        };
        let policy = folder.path().join("policy.toml");
        std::fs::write(&policy, GRANTS)?;
        let named = |role: &str| {
            let leaf: Vec<u8> = ca.issue(&Leaf::client(role)).der();
            Caller::from_leaf(&leaf.into(), Default::default())
        };
        Ok(Self {
            instance: write("crypto-service"),
            manager: write("key-manager"),
            policy: grants::open(&policy)?,
            lanes: Lanes::start(LaneOptions {
                threads: std::num::NonZeroUsize::MIN,
                ..LaneOptions::default()
            })?,
            metrics: ServiceMetrics::new(&Metrics::new("sim", "0")),
            caller: named("caller")?,
            instance_name: named("crypto-service")?,
            _folder: folder,
        })
    }

    pub(crate) fn of_instance(&self, clock: SharedClock) -> Result<Credentials, Fault> {
        Ok(Credentials::open(&self.instance, clock)?)
    }

    pub(crate) fn of_manager(&self, clock: SharedClock) -> Result<Credentials, Fault> {
        Ok(Credentials::open(&self.manager, clock)?)
    }
}

/// The nodes of a run, and the lines between them.
pub(crate) struct Stage {
    pub(crate) sim: Sim,
    pub(crate) assets: Arc<Assets>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) replicas: Vec<Arc<Replica>>,
    pub(crate) nodes: Vec<Arc<Node>>,
    /// Lines that are cut: instance and key-manager, until when.
    cuts: Mutex<BTreeMap<(usize, usize), u64>>,
    /// Whether there is trouble now.
    storm: AtomicBool,
    pub(crate) outside: Mutex<Vec<Cache>>,
    pub(crate) documents: Mutex<HashMap<String, Arc<Document>>>,
    pub(crate) numbers: std::sync::atomic::AtomicU64,
}

impl Stage {
    /// # Errors
    /// Where certificates cannot be read.
    pub(crate) fn new(sim: Sim, assets: Arc<Assets>) -> Result<Self, Fault> {
        let disk = Disk::new();
        let (mut replicas, mut nodes) = (Vec::new(), Vec::new());
        for index in 0..sim.world().replicas {
            replicas.push(Arc::new(Replica::new(&sim, &assets, &disk, index)?));
        }
        for index in 0..sim.world().instances {
            nodes.push(Arc::new(Node::new(&sim, &assets, index)?));
        }
        Ok(Self {
            sim,
            assets,
            disk,
            replicas,
            nodes,
            cuts: Mutex::default(),
            storm: AtomicBool::new(false),
            outside: Mutex::new(Cache::some()),
            documents: Mutex::default(),
            numbers: std::sync::atomic::AtomicU64::new(0),
        })
    }

    pub(crate) fn is_storm(&self) -> bool {
        self.storm.load(Ordering::Relaxed)
    }

    pub(crate) fn set_storm(&self, storm: bool) {
        self.storm.store(storm, Ordering::Relaxed);
    }

    pub(crate) fn cut(&self, node: usize, replica: usize, until: u64) {
        lock(&self.cuts).insert((node, replica), until);
    }

    pub(crate) fn mend(&self) {
        lock(&self.cuts).clear();
    }

    pub(crate) fn is_cut(&self, node: usize, replica: usize) -> bool {
        let until = lock(&self.cuts).get(&(node, replica)).copied();
        until.is_some_and(|until| self.sim.now() < until)
    }

    pub(crate) fn any_node(&self) -> Option<Arc<Node>> {
        self.sim.dice().pick(&self.nodes).cloned()
    }

    pub(crate) fn any_replica(&self) -> Option<Arc<Replica>> {
        self.sim.dice().pick(&self.replicas).cloned()
    }

    /// A number that no other call has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}
