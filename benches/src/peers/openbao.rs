//! OpenBao's Transit engine: the server in dev mode on loopback, its single and its batch endpoints, over HTTP/1.1.
//!
//! Dev mode has neither TLS nor audit, and keeps its storage in memory: it does less for each request than the service
//! that it is compared with.

mod client;
mod requests;

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use client::Connection;
use serde_json::{Value, json};

pub use requests::Transit;

use crate::{Fault, stack::free_address};

const TOKEN: &str = "benches";
const MOUNT: &str = "/v1/sys/mounts/transit";
/// A loaded machine may take this long to bring it up.
const START: Duration = Duration::from_secs(30);

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct OpenBao {
    process: Child,
    address: SocketAddr,
    /// Its version.
    pub version: String,
}

impl OpenBao {
    /// Starts it, with an empty Transit engine.
    ///
    /// # Errors
    /// Names what is missing, and what brings it.
    pub async fn start(root: &Path) -> Result<Self, Fault> {
        let program = root.join(".tools/venv/bin/bao");
        if !program.is_file() {
            let place = program.display();
            return Err(format!("the peer OpenBao is not at {place}: run `make tools`").into());
        }
        let address = free_address()?;
        let process = Command::new(program)
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={TOKEN}"))
            .arg(format!("-dev-listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut server = Self {
            process,
            address,
            version: String::new(),
        };
        server.version = server.wait().await?;
        let mut connection = server.connect().await?;
        connection
            .post(MOUNT, &json!({ "type": "transit" }))
            .await?;
        Ok(server)
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Until it answers; gives its version.
    async fn wait(&mut self) -> Result<String, Fault> {
        let start = crate::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("OpenBao ended with {status}").into());
            }
            if let Ok(health) = self.health().await {
                let version = health.get("version").and_then(Value::as_str);
                return Ok(version.unwrap_or("unknown").to_owned());
            }
            if start.elapsed() > START {
                return Err("OpenBao does not answer".into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn health(&self) -> Result<Value, Fault> {
        self.connect().await?.get("/v1/sys/health").await
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        Connection::open(self.address, TOKEN).await
    }
}

impl Drop for OpenBao {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_peer_is_named_with_what_brings_it() {
        let nowhere = tempfile::tempdir().unwrap();
        let said = OpenBao::start(nowhere.path()).await.unwrap_err();
        assert!(said.to_string().contains("make tools"), "{said}");
    }
}
