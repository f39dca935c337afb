//! The harness of the black-box tests: the real programs, as a user starts them, on ports that the system chooses.
//!
//! A [`Stack`] is a folder with a development set-up, a key-manager and any number of crypto-services. Everything ends with it.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot set itself up stops, says why, and measures its own patience"
)]

mod http;
mod ports;
mod process;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant, SystemTime},
};

pub use http::{Answer, get, get_with};
pub use ports::{Addresses, free_address};
pub use process::Process;

/// How long a daemon may take to become ready on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the repository")
        .to_owned()
}

/// A program of this workspace, built with the same profile as the tests (`make test` builds them first).
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the test knows its own file");
    let folder = this.parent().expect("a program lies in a folder");
    // tests lie in target/<profile>/deps, programs one folder above
    let folder = match folder.file_name().is_some_and(|name| name == "deps") {
        true => folder.parent().expect("target/<profile>"),
        false => folder,
    };
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first, as `make test` does",
        path.display()
    );
    path
}

/// A tool that `make tools` brings.
#[must_use]
pub fn tool(path: &str) -> PathBuf {
    let path = repository().join(".tools").join(path);
    assert!(
        path.exists(),
        "{} is missing: run `make tools`",
        path.display()
    );
    path
}

/// An example of a client crate, built with the tests (`cargo build --workspace --all-targets`).
#[must_use]
pub fn example(name: &str) -> PathBuf {
    program(&format!("examples/{name}"))
}

/// The folder that `JOSE_VECTORS` names; set and not there is a failure.
#[must_use]
pub fn vectors() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os("JOSE_VECTORS")?);
    assert!(
        folder.is_absolute() && folder.is_dir(),
        "JOSE_VECTORS must be the absolute path of a folder, not {}",
        folder.display()
    );
    Some(folder)
}

/// A development set-up with its daemons.
#[derive(Debug)]
pub struct Stack {
    folder: tempfile::TempDir,
    /// Where the key-manager listens.
    pub keys: Addresses,
    /// Where the first crypto-service listens.
    pub crypto: Addresses,
    /// The key-manager; `None` while it is down.
    pub key_manager: Option<Process>,
    /// The first crypto-service; `None` while it is down.
    pub crypto_service: Option<Process>,
    environment: Vec<(String, String)>,
}

impl Stack {
    /// A set-up without daemons.
    #[must_use]
    pub fn init() -> Self {
        let stack = Self {
            folder: tempfile::tempdir().expect("a folder"),
            keys: Addresses::free(),
            crypto: Addresses::free(),
            key_manager: None,
            crypto_service: None,
            environment: Vec::new(),
        };
        let made = stack.cryptoctl(&["dev", "init"]);
        assert!(made.status.success(), "dev init: {}", text(&made));
        stack
    }

    /// Both daemons up and ready.
    #[must_use]
    pub fn start() -> Self {
        let mut stack = Self::init();
        stack.start_daemons();
        stack
    }

    /// Both daemons up and ready, with variables of the environment for both.
    #[must_use]
    pub fn start_with(environment: &[(&str, &str)]) -> Self {
        let mut stack = Self::init();
        stack.set_environment(environment);
        stack.start_daemons();
        stack
    }

    /// Variables for the daemons that are started from now on.
    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
    }

    /// Adds grants to the policy file, in its own form.
    pub fn grant(&self, grants: &str) {
        let path = self.dev().join("policy.toml");
        let policy = String::from_utf8(read(&path)).expect("text");
        write_whole(&path, &format!("{policy}\n{grants}"));
    }

    /// Starts what is down, and waits until it is ready.
    pub fn start_daemons(&mut self) {
        if self.key_manager.is_none() {
            self.key_manager = Some(self.spawn("key-manager", &[]));
        }
        self.ready(self.keys.http);
        if self.crypto_service.is_none() {
            self.crypto_service = Some(self.spawn("crypto-service", &[]));
        }
        self.ready(self.crypto.http);
    }

    /// Another crypto-service on the same key-manager, ready.
    #[must_use]
    pub fn another_crypto_service(&self) -> (Process, Addresses) {
        let addresses = Addresses::free();
        let process = self.spawn(
            "crypto-service",
            &[
                ("CRYPTO_GRPC", addresses.grpc.to_string()),
                ("CRYPTO_HTTP", addresses.http.to_string()),
            ],
        );
        self.ready(addresses.http);
        (process, addresses)
    }

    /// Starts a daemon of this set-up; does not wait.
    #[must_use]
    pub fn spawn(&self, name: &str, more: &[(&str, String)]) -> Process {
        let mut command = self.command(name);
        command
            .arg("--config")
            .arg(self.dev().join(format!("{name}.toml")))
            .arg("--die-with-parent")
            .envs(self.environment.iter().cloned())
            .envs(more.iter().map(|(name, value)| (*name, value.as_str())));
        Process::start(name, command)
    }

    /// A program with this set-up's folder and ports.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .current_dir(self.folder.path())
            .env("CRYPTO_GRPC", self.crypto.grpc.to_string())
            .env("CRYPTO_HTTP", self.crypto.http.to_string())
            .env("KEYS_GRPC", self.keys.grpc.to_string())
            .env("KEYS_HTTP", self.keys.http.to_string());
        command
    }

    /// Runs `cryptoctl` to its end.
    #[must_use]
    pub fn cryptoctl(&self, arguments: &[&str]) -> Output {
        self.command("cryptoctl")
            .args(arguments)
            .output()
            .expect("cryptoctl runs")
    }

    /// Runs `cryptoctl`, which has to succeed; gives its standard output.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.cryptoctl(arguments);
        assert!(
            output.status.success(),
            "cryptoctl {arguments:?}: {}",
            text(&output)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs the real grpcurl as `role` against `address`: `options`, then the address, then `what`.
    #[must_use]
    pub fn grpcurl(
        &self,
        role: &str,
        address: SocketAddr,
        options: &[&str],
        what: &[&str],
    ) -> Output {
        let file = |name: String| self.dev().join(name);
        Command::new(tool("venv/bin/grpcurl"))
            .arg("-cacert")
            .arg(file("ca.crt".to_owned()))
            .arg("-cert")
            .arg(file(format!("{role}.crt")))
            .arg("-key")
            .arg(file(format!("{role}.key")))
            .args(options)
            .arg(address.to_string())
            .args(what)
            .output()
            .expect("grpcurl runs")
    }

    /// Creates the three development key sets, promoted by force as `make run` does.
    pub fn create_development_key_sets(&self) {
        for (name, algorithm, typ) in [
            ("op/access-token", "ES256", "at+jwt"),
            ("op/id-token", "RS256", "JWT"),
            ("op/encryption", "RSA-OAEP-256", ""),
        ] {
            let issuer = "https://op.example.com";
            let _shown = self.ctl(&[
                "keyset",
                "create",
                name,
                "--alg",
                algorithm,
                "--typ",
                typ,
                "--issuer",
                issuer,
                "--publish",
                "public",
            ]);
            let _shown = self.ctl(&["keyset", "rotate", name, "--force"]);
            let served = || match algorithm {
                "RSA-OAEP-256" => self.cryptoctl(&["encrypt", "x", "--key-set", name]),
                _ => self.cryptoctl(&["sign", name, "{}"]),
            };
            assert!(
                wait_until(PATIENCE, || served().status.success()),
                "{name}: {}",
                text(&served())
            );
        }
    }

    /// The folder that holds `var/dev`.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// `var/dev`.
    #[must_use]
    pub fn dev(&self) -> PathBuf {
        self.folder.path().join("var/dev")
    }

    /// Waits until `/readyz` answers 200.
    pub fn ready(&self, http: SocketAddr) {
        let ready = wait_until(PATIENCE, || {
            get(http, "/readyz").is_some_and(|a| a.status == 200)
        });
        assert!(
            ready,
            "http://{http}/readyz: {:?}\n{}",
            get(http, "/readyz"),
            self.logs()
        );
    }

    /// What the daemons have written.
    #[must_use]
    pub fn logs(&self) -> String {
        [&self.key_manager, &self.crypto_service]
            .into_iter()
            .flatten()
            .map(Process::log)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// The wall clock: the harness is the one place of these tests that reads it.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Asks again until `done` says yes; false where `patience` ran out first.
pub fn wait_until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < patience {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    done()
}

/// Standard output and error of a program that ended.
#[must_use]
pub fn text(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Replaces a file at once: a reader sees the old text or the new one. The mode is kept.
pub fn write_whole(path: &Path, text: &str) {
    let part = path.with_extension("part");
    let mode = fs::metadata(path).map(|found| found.permissions());
    fs::write(&part, text)
        .and_then(|()| mode.map_or(Ok(()), |mode| fs::set_permissions(&part, mode)))
        .and_then(|()| fs::rename(&part, path))
        .unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
}

/// Reads a file that has to be there.
#[must_use]
pub fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}
