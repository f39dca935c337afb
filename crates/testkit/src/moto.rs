//! AWS KMS as moto plays it, for one test.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tempfile::TempDir;

use crate::etcd::{dying_with_us, free_address};
use crate::{CertificateAuthority, Leaf, write_private};

/// How long a server may take to serve, on a loaded machine, in steps of 50 ms.
const PATIENCE: u32 = 1_200;

/// A server with two keys, which ends with it. Its keys outlive it: started again, it opens what it has wrapped before.
///
/// The packages are in `.tools/moto`; `scripts/moto` brings them, and `make test` runs that first.
#[derive(Debug)]
pub struct MotoKms {
    folder: TempDir,
    address: SocketAddr,
    ca: Option<String>,
    authenticates: bool,
    child: Option<Child>,
}

impl MotoKms {
    /// The region of its keys.
    pub const REGION: &'static str = "eu-central-1";
    /// A symmetric key; `alias/<id>` names it too.
    pub const KEY: &'static str = "0b1f7a52-0000-4000-8000-000000000001";
    /// Another.
    pub const OTHER_KEY: &'static str = "0b1f7a52-0000-4000-8000-000000000002";

    /// Starts it and waits until it serves.
    pub fn start() -> Self {
        Self::start_with(None, false)
    }

    /// As [`start`](Self::start), over TLS with a certificate of `ca` for 127.0.0.1.
    pub fn start_secure(ca: &CertificateAuthority) -> Self {
        Self::start_with(Some(ca), false)
    }

    /// As [`start`](Self::start), where it knows no credentials and so refuses all.
    pub fn start_strict() -> Self {
        Self::start_with(None, true)
    }

    fn start_with(ca: Option<&CertificateAuthority>, authenticates: bool) -> Self {
        let folder = TempDir::new().expect("make a temporary folder");
        if let Some(ca) = ca {
            let issued = ca.issue(&Leaf::server("kms"));
            fs::write(folder.path().join("ca.crt"), ca.pem()).expect("write the CA certificate");
            fs::write(folder.path().join("kms.crt"), issued.certificate_pem())
                .expect("write the certificate");
            write_private(&folder.path().join("kms.key"), issued.key_pem());
        }
        let mut server = Self {
            address: free_address(),
            ca: ca.map(|_| folder.path().join("ca.crt").display().to_string()),
            folder,
            authenticates,
            child: None,
        };
        server.start_again();
        server
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The file with the authority of its certificate.
    pub fn ca(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended already is as dead as wanted.
            let _ended = child.kill();
            child.wait().expect("wait for a killed server");
        }
    }

    /// Starts it where it was, and waits until it serves.
    pub fn start_again(&mut self) {
        self.stop();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/moto_kms.py");
        let mut command = dying_with_us(&tool("venv/bin/python"));
        command
            .arg(script)
            .args([&self.address.port().to_string(), Self::REGION])
            .args([Self::KEY, Self::OTHER_KEY])
            .env("PYTHONPATH", tool("moto/lib"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        if self.authenticates {
            command.env("INITIAL_NO_AUTH_ACTION_COUNT", "0");
        }
        if self.ca.is_some() {
            let file = |name| self.folder.path().join(name);
            command
                .arg("--tls")
                .args([file("kms.crt"), file("kms.key")]);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("open a log");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().expect("start moto"));
        self.wait();
    }

    /// Calls an action of AWS KMS, such as `DisableKey`, and gives its answer.
    pub fn call(&self, action: &str, json: &str) -> String {
        let head = format!(
            "POST / HTTP/1.0\r\nHost: {}\r\nX-Amz-Target: TrentService.{action}\r\nContent-Type: application/x-amz-json-1.1\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/{}/kms/aws4_request, SignedHeaders=host, Signature=0\r\n\
             Content-Length: {}\r\n\r\n{json}",
            self.address,
            Self::REGION,
            json.len()
        );
        let mut stream = TcpStream::connect(self.address).expect("reach moto");
        stream.write_all(head.as_bytes()).expect("call moto");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(" 200 "), "{action}: {answer}");
        answer
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("moto.log")
    }

    fn wait(&mut self) {
        for _ in 0..PATIENCE {
            if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok() {
                return;
            }
            let ended = self.child.as_mut().map(Child::try_wait);
            assert!(
                !matches!(ended, Some(Ok(Some(_)))),
                "moto has ended\n{}",
                fs::read_to_string(self.log()).unwrap_or_default()
            );
            sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        assert!(log.is_empty(), "moto does not serve\n{log}");
    }
}

impl Drop for MotoKms {
    fn drop(&mut self) {
        self.stop();
    }
}

fn tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../.tools")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make moto`",
        path.display()
    );
    path
}
