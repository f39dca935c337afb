//! An etcd cluster on loopback, for one test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::{CertificateAuthority, Leaf, Proxy, write_private};

/// Ports are taken from below those that the kernel gives to outgoing connections, so that a member finds its own again.
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 20_000;

/// How long a cluster may take to serve, on a loaded machine, in steps of 50 ms.
const PATIENCE: u32 = 1_200;

/// How often a cluster is set up anew because another process took one of its ports.
const TRIES: u32 = 5;

/// A cluster of one or three members, which end with it.
///
/// The program is `.tools/etcd/bin/etcd`; `scripts/etcd` brings it, and `make test` runs that first.
#[derive(Debug)]
pub struct EtcdCluster {
    folder: TempDir,
    members: Vec<Member>,
    secure: bool,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: SocketAddr,
    peer: SocketAddr,
    /// Stands before `peer`, so that the line between two members can be cut.
    line: Proxy,
    /// Health and metrics, without TLS.
    metrics: SocketAddr,
    child: Option<Child>,
}

impl EtcdCluster {
    /// Starts so many members and waits until they serve.
    pub fn start(members: usize) -> Self {
        Self::start_with(members, None)
    }

    /// As [`start`](Self::start), over TLS: members have certificates of `ca` for 127.0.0.1, and ask their clients for one of it.
    pub fn start_secure(members: usize, ca: &CertificateAuthority) -> Self {
        Self::start_with(members, Some(ca))
    }

    fn start_with(members: usize, ca: Option<&CertificateAuthority>) -> Self {
        for _ in 1..TRIES {
            if let Ok(cluster) = Self::try_start(members, ca) {
                return cluster;
            }
        }
        Self::try_start(members, ca).expect("start an etcd cluster")
    }

    fn try_start(members: usize, ca: Option<&CertificateAuthority>) -> Result<Self, String> {
        let folder = TempDir::new().expect("make a temporary folder");
        if let Some(ca) = ca {
            let issued = ca.issue(&Leaf::server("etcd"));
            fs::write(folder.path().join("ca.crt"), ca.pem()).expect("write the CA certificate");
            fs::write(folder.path().join("etcd.crt"), issued.certificate_pem())
                .expect("write the certificate");
            write_private(&folder.path().join("etcd.key"), issued.key_pem());
        }
        let member = |number| {
            let peer = free_address();
            Member {
                name: format!("member-{number}"),
                client: free_address(),
                peer,
                line: Proxy::to(peer),
                metrics: free_address(),
                child: None,
            }
        };
        let mut cluster = Self {
            folder,
            members: (0..members).map(member).collect(),
            secure: ca.is_some(),
        };
        (0..members).for_each(|number| cluster.spawn(number));
        (0..members).try_for_each(|number| cluster.wait_for(number))?;
        Ok(cluster)
    }

    /// Where its members listen for clients.
    pub fn clients(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.client).collect()
    }

    /// The endpoints of its clients, one per member.
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = if self.secure { "https" } else { "http" };
        let clients = self.members.iter();
        clients
            .map(|member| format!("{scheme}://{}", member.client))
            .collect()
    }

    /// The number of the member that leads. Waits until there is one.
    pub fn leader(&self) -> usize {
        let leads = |member: &Member| {
            member.child.is_some()
                && get(member.metrics, "/metrics")
                    .is_some_and(|text| text.contains("\netcd_server_is_leader 1"))
        };
        let looked = (0..PATIENCE).find_map(|_| {
            let found = self.members.iter().position(leads);
            if found.is_none() {
                sleep(Duration::from_millis(50));
            }
            found
        });
        looked.ok_or_else(|| self.logs()).expect("a leader")
    }

    /// Kills a member at once, as a crash does. Its data stays.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.member_mut(number).child.take() {
            // One that has ended already is as dead as wanted.
            let _ended = child.kill();
            child.wait().expect("wait for a killed member");
        }
    }

    /// Starts a killed member again, on its own data and ports, and does not wait for it.
    pub fn restart(&mut self, number: usize) {
        self.kill(number);
        self.spawn(number);
    }

    /// Waits until every member that runs serves, which takes a quorum.
    pub fn wait(&self) {
        let running = self.members.iter().enumerate();
        running
            .filter(|(_, member)| member.child.is_some())
            .try_for_each(|(number, _)| self.wait_for(number))
            .expect("members that serve");
    }

    /// Cuts a member off from the others, in both directions and without a word. Its clients still reach it.
    pub fn isolate(&self, number: usize) {
        let member = self.members.get(number).expect("a member of that number");
        let metrics = get(member.metrics, "/metrics").expect("the metrics of a member that runs");
        let id = metrics
            .split_once("etcd_server_id{server_id=\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(id, _)| id.to_owned())
            .expect("its id");
        member.line.cut();
        for other in self
            .members
            .iter()
            .filter(|other| other.name != member.name)
        {
            // every connection to a peer begins with a request that names its sender
            other.line.cut_marked(&format!("X-Server-From: {id}"));
        }
    }

    /// Joins what was cut.
    pub fn heal(&self) {
        for member in &self.members {
            member.line.heal();
            // a connection that was silent for long is taken for dead by one end and not by the other
            member.line.reset();
        }
    }

    /// Forgets the history of every key up to now, through a member that serves.
    pub fn compact(&self) {
        let client = |member: &&Member| member.child.is_some();
        let member = self
            .members
            .iter()
            .find(client)
            .expect("a member that runs");
        let (key, all) = (
            "{\"key\":\"AA==\",\"range_end\":\"AA==\",",
            "\"count_only\":true}",
        );
        let range = post(member.client, "/v3/kv/range", &format!("{key}{all}"));
        let range = range.expect("an answer to a range");
        let revision = range
            .split_once("\"revision\":\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(revision, _)| revision.to_owned())
            .expect("the present revision");
        let compaction = format!("{{\"revision\":\"{revision}\"}}");
        let done = post(member.client, "/v3/kv/compaction", &compaction);
        let done = done.expect("an answer to a compaction");
        assert!(done.contains(" 200 "), "{done}");
    }

    /// What the members have logged.
    pub fn logs(&self) -> String {
        let log = |member: &Member| {
            let text = fs::read_to_string(self.log_of(member)).unwrap_or_default();
            let last = text.len().saturating_sub(2_000);
            format!(
                "--- {} ---\n{}",
                member.name,
                text.get(last..).unwrap_or_default()
            )
        };
        self.members.iter().map(log).collect()
    }

    fn log_of(&self, member: &Member) -> PathBuf {
        self.folder.path().join(format!("{}.log", member.name))
    }

    fn member_mut(&mut self, number: usize) -> &mut Member {
        self.members
            .get_mut(number)
            .expect("a member of that number")
    }

    fn spawn(&mut self, number: usize) {
        let command = self.command(number);
        self.member_mut(number).child = Some(spawn(command));
    }

    fn command(&self, number: usize) -> Command {
        let member = self.members.get(number).expect("a member of that number");
        let scheme = if self.secure { "https" } else { "http" };
        let url = |address: SocketAddr| format!("http://{address}");
        let initial: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}={}", member.name, url(member.line.address())))
            .collect();
        let client = format!("{scheme}://{}", member.client);
        let mut command = dying_with_us(&program());
        command
            .args([
                "--name",
                &member.name,
                "--initial-cluster",
                &initial.join(","),
            ])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args(["--listen-peer-urls", &url(member.peer)])
            .args(["--initial-advertise-peer-urls", &url(member.line.address())])
            .args(["--listen-metrics-urls", &url(member.metrics)])
            .arg("--data-dir")
            .arg(self.folder.path().join(&member.name))
            .env("ETCD_UNSUPPORTED_ARCH", unsupported_arch());
        if self.secure {
            let file = |name: &str| self.folder.path().join(name);
            command
                .arg("--client-cert-auth")
                .arg("--cert-file")
                .arg(file("etcd.crt"))
                .arg("--key-file")
                .arg(file("etcd.key"))
                .arg("--trusted-ca-file")
                .arg(file("ca.crt"));
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_of(member))
            .expect("open a log");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    fn wait_for(&self, number: usize) -> Result<(), String> {
        let member = self.members.get(number).expect("a member of that number");
        for _ in 0..PATIENCE {
            if get(member.metrics, "/health")
                .is_some_and(|text| text.contains("\"health\":\"true\""))
            {
                return Ok(());
            }
            let log = fs::read_to_string(self.log_of(member)).unwrap_or_default();
            if log.contains("address already in use") {
                return Err(format!("a port of {} was taken", member.name));
            }
            sleep(Duration::from_millis(50));
        }
        Err(format!("{} does not serve\n{}", member.name, self.logs()))
    }
}

impl Drop for EtcdCluster {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|number| self.kill(number));
    }
}

fn program() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/etcd/bin/etcd");
    assert!(
        program.exists(),
        "{} is missing: run `make etcd`",
        program.display()
    );
    program
}

/// Where there is `setpriv`, a test that is killed takes its servers with it.
pub(crate) fn dying_with_us(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// etcd 3.4 starts on arm64 only where it is told so.
fn unsupported_arch() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        ""
    }
}

fn spawn(mut command: Command) -> Child {
    command.spawn().expect("start etcd")
}

pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Each process begins at another place, so that tests side by side do not meet.
    let begin = std::process::id().wrapping_mul(97);
    let free = (0..PORTS).find_map(|_| {
        let step = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + u16::try_from(step % u32::from(PORTS)).expect("a remainder");
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
        bound.local_addr().ok()
    });
    free.expect("a free port")
}

/// The answer to a GET, head and body; `None` where there is none.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    ask(
        address,
        &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"),
    )
}

/// The answer to a POST of JSON.
fn post(address: SocketAddr, path: &str, json: &str) -> Option<String> {
    let length = json.len();
    ask(
        address,
        &format!(
            "POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}"
        ),
    )
}

fn ask(address: SocketAddr, request: &str) -> Option<String> {
    let timeout = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(cluster: &EtcdCluster, number: usize) -> bool {
        get(cluster.members[number].metrics, "/metrics")
            .is_some_and(|text| text.contains("\netcd_server_is_leader 1"))
    }

    fn eventually(done: impl Fn() -> bool) -> bool {
        (0..PATIENCE).any(|_| {
            let now = done();
            if !now {
                sleep(Duration::from_millis(50));
            }
            now
        })
    }

    #[test]
    fn a_leader_that_is_cut_off_steps_down_and_the_others_elect_one_until_all_are_joined_again() {
        let cluster = EtcdCluster::start(3);
        let old = cluster.leader();
        cluster.isolate(old);
        assert!(eventually(|| !leads(&cluster, old)), "{}", cluster.logs());
        let others = || (0..3).filter(|number| *number != old);
        assert!(
            eventually(|| others().any(|other| leads(&cluster, other))),
            "{}",
            cluster.logs()
        );
        // alone it serves nobody
        assert!(
            get(cluster.members[old].metrics, "/health")
                .is_none_or(|text| !text.contains("\"health\":\"true\""))
        );
        cluster.heal();
        cluster.wait();
    }
}
