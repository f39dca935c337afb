//! Both daemons as `make run` starts them, on ports that the system chooses, in a folder of their own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use client_core::{Channel, Options, TlsFiles};

use crate::{Fault, kernel, settings::Settings};

/// How the daemons are started.
#[derive(Debug, Clone)]
pub struct Start {
    programs: PathBuf,
    scratch: PathBuf,
    variables: Vec<(&'static str, &'static str)>,
    core: Option<usize>,
}

impl Start {
    /// The programs and the folder that the settings name.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self::of(&settings.programs, &settings.scratch)
    }

    /// The programs in `programs`, over a new folder below `scratch`.
    #[must_use]
    pub fn of(programs: &Path, scratch: &Path) -> Self {
        Self {
            programs: programs.to_owned(),
            scratch: scratch.to_owned(),
            variables: Vec::new(),
            core: None,
        }
    }

    /// With a variable of the daemons' configuration.
    #[must_use]
    pub fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// On one core: they see no other, and start as many threads as fit it.
    #[must_use]
    pub fn on_core(mut self, core: usize) -> Self {
        self.core = Some(core);
        self
    }

    /// Starts them, with the development key sets.
    ///
    /// # Errors
    /// When they do not become ready; the message holds what they said.
    pub fn start(&self) -> Result<Stack, Fault> {
        // the programs run in that folder: nothing may be relative to this one
        let programs = self.programs.canonicalize().map_err(|cause| {
            format!(
                "{}: {cause}: build the daemons first",
                self.programs.display()
            )
        })?;
        let folder = new_folder(&self.scratch)?;
        let addresses = free_addresses()?;
        let [grpc, keys_grpc, http, keys_http] = addresses;
        let mut command = Command::new(programs.join("cryptoctl"));
        command
            .args(["dev", "run", "--programs"])
            .arg(&programs)
            .current_dir(&folder)
            .env("CRYPTO_GRPC", grpc.to_string())
            .env("KEYS_GRPC", keys_grpc.to_string())
            .env("CRYPTO_HTTP", http.to_string())
            .env("KEYS_HTTP", keys_http.to_string())
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut run = spawn_on(self.core, command)?;
        wait_for_ready(&mut run)?;
        Ok(Stack {
            crypto_service: kernel::child_named(run.id(), "crypto-service")?,
            key_manager: kernel::child_named(run.id(), "key-manager")?,
            programs,
            folder,
            run,
            grpc,
            keys_grpc,
        })
    }
}

/// Running daemons; they end with this value.
#[derive(Debug)]
pub struct Stack {
    programs: PathBuf,
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
    /// The folder that holds `var/dev`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the programs.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// How a channel to the crypto-service is made, as `role`.
    #[must_use]
    pub fn options(&self, role: &str, connections: usize) -> Options {
        self.options_to(self.grpc, role).connections(connections)
    }

    /// A channel to the key-manager as `admin`.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn admin_channel(&self, connections: usize) -> Result<Channel, Fault> {
        let options = self.options_to(self.keys_grpc, "admin");
        Ok(options.connections(connections).channel()?)
    }

    fn options_to(&self, address: SocketAddr, role: &str) -> Options {
        let files = TlsFiles::in_folder(self.folder.join("var/dev"), role);
        Options::new(format!("https://{address}"), files).deadline(Duration::from_secs(10))
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

fn new_folder(scratch: &Path) -> Result<PathBuf, Fault> {
    static FOLDERS: AtomicU32 = AtomicU32::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    fs::create_dir_all(scratch)?;
    let folder = scratch
        .canonicalize()?
        .join(format!("bench-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What a thread starts inherits its cores.
fn spawn_on(core: Option<usize>, mut command: Command) -> Result<Child, Fault> {
    let program = PathBuf::from(command.get_program());
    let spawned = thread::spawn(move || -> Result<Child, Fault> {
        if let Some(core) = core {
            kernel::stay_on(core)?;
        }
        let spawned = command.spawn();
        Ok(spawned.map_err(|cause| format!("{}: {cause}", program.display()))?)
    });
    spawned.join().map_err(|_panic| "the start panicked")?
}

fn free_addresses() -> Result<[SocketAddr; 4], Fault> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners = [bind()?, bind()?, bind()?, bind()?];
    let [a, b, c, d] = listeners.each_ref().map(TcpListener::local_addr);
    Ok([a?, b?, c?, d?])
}

/// An address that nothing listens on.
///
/// # Errors
/// When the system has none.
pub fn free_address() -> Result<SocketAddr, Fault> {
    let [address, ..] = free_addresses()?;
    Ok(address)
}

fn wait_for_ready(run: &mut Child) -> Result<(), Fault> {
    let output = run.stdout.take().ok_or("no output of dev run")?;
    let mut said = Vec::new();
    let mut lines = BufReader::new(output).lines();
    for line in lines.by_ref() {
        let line = line?;
        if line == "ready" {
            // whatever it says later must not fill the pipe
            thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return Ok(());
        }
        said.push(line);
    }
    let _reaped = run.wait();
    Err(format!("dev run ended without `ready`:\n{}", said.join("\n")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_not_there_are_named() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = Start::of(Path::new("/nothing/here"), scratch.path()).start();
        let said = missing.unwrap_err().to_string();
        assert!(said.contains("/nothing/here"), "{said}");
        let empty = Start::of(scratch.path(), scratch.path()).start();
        let said = empty.unwrap_err().to_string();
        assert!(said.contains("cryptoctl"), "{said}");
    }

    #[test]
    fn a_run_that_ends_without_being_ready_says_what_it_said() {
        let mut echo = Command::new("echo");
        let run = echo.arg("no such luck").stdout(Stdio::piped()).spawn();
        let said = wait_for_ready(&mut run.unwrap()).unwrap_err();
        assert!(said.to_string().contains("no such luck"), "{said}");
    }

    #[test]
    fn a_core_that_is_not_there_is_an_error() {
        assert!(spawn_on(Some(100_000), Command::new("true")).is_err());
    }
}
