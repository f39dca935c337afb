//! Both daemons as `make run` starts them, on ports that the system chooses, in a folder of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use client_core::{Channel, Options, TlsFiles};

use crate::{Fault, kernel};

/// Running daemons; they end with this value.
#[derive(Debug)]
pub struct Stack {
    folder: PathBuf,
    run: Child,
    /// gRPC of the crypto-service.
    pub grpc: SocketAddr,
    /// gRPC of the key-manager.
    pub keys_grpc: SocketAddr,
    /// The crypto-service's process.
    pub crypto_service: u32,
    /// The key-manager's process.
    pub key_manager: u32,
}

impl Stack {
    /// Starts the programs in `programs` over a new folder below `scratch`, with the development key sets.
    ///
    /// # Errors
    /// When they do not become ready; the message holds what they said.
    pub fn start(programs: &Path, scratch: &Path) -> Result<Self, Fault> {
        // the programs run in that folder: nothing may be relative to this one
        let programs = programs.canonicalize()?;
        let folder = scratch
            .canonicalize()?
            .join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let [grpc, keys_grpc, http, keys_http] = free_addresses()?;
        let mut run = Command::new(programs.join("cryptoctl"))
            .args(["dev", "run", "--programs"])
            .arg(&programs)
            .current_dir(&folder)
            .env("CRYPTO_GRPC", grpc.to_string())
            .env("KEYS_GRPC", keys_grpc.to_string())
            .env("CRYPTO_HTTP", http.to_string())
            .env("KEYS_HTTP", keys_http.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        wait_for_ready(&mut run)?;
        Ok(Self {
            crypto_service: kernel::child_named(run.id(), "crypto-service")?,
            key_manager: kernel::child_named(run.id(), "key-manager")?,
            folder,
            run,
            grpc,
            keys_grpc,
        })
    }

    /// The folder that holds `var/dev`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A channel to the crypto-service as `role`.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn channel(&self, role: &str, connections: usize) -> Result<Channel, Fault> {
        self.channel_to(self.grpc, role, connections)
    }

    /// A channel to the key-manager as `admin`.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn admin_channel(&self) -> Result<Channel, Fault> {
        self.channel_to(self.keys_grpc, "admin", 1)
    }

    fn channel_to(
        &self,
        address: SocketAddr,
        role: &str,
        connections: usize,
    ) -> Result<Channel, Fault> {
        let files = TlsFiles::in_folder(self.folder.join("var/dev"), role);
        let options = Options::new(format!("https://{address}"), files)
            .deadline(Duration::from_secs(10))
            .connections(connections);
        Ok(options.channel()?)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // the daemons die with their parent
        let _ended = self.run.kill();
        let _reaped = self.run.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

fn free_addresses() -> Result<[SocketAddr; 4], Fault> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [bind()?, bind()?, bind()?, bind()?];
    let [a, b, c, d] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([a?, b?, c?, d?])
}

fn wait_for_ready(run: &mut Child) -> Result<(), Fault> {
    let output = run.stdout.take().ok_or("no output of dev run")?;
    let mut said = Vec::new();
    let mut lines = BufReader::new(output).lines();
    for line in lines.by_ref() {
        let line = line?;
        if line == "ready" {
            // whatever it says later must not fill the pipe
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return Ok(());
        }
        said.push(line);
    }
    Err(format!("dev run ended without `ready`:\n{}", said.join("\n")).into())
}
