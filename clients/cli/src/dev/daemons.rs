//! The two daemons as children of `dev run`: started, watched, and ended with it.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::ports::Ports;
use crate::error::Error;

const POLL: Duration = Duration::from_millis(50);
const PROBE: Duration = Duration::from_secs(2);
const STOP: Duration = Duration::from_secs(8);

/// One running daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `programs/name` with `dir/name.toml`; its output goes to `dir/name.log`. It dies with this process.
    /// `ports` win over what a configuration that was made for others says.
    pub(crate) fn start(
        name: &'static str,
        programs: &Path,
        dir: &Path,
        ports: &Ports,
    ) -> Result<Self, Error> {
        let program = programs.join(name);
        let log = dir.join(format!("{name}.log"));
        let output = fs::File::create(&log).map_err(|cause| Error::file(&log, &cause))?;
        let errors = output
            .try_clone()
            .map_err(|cause| Error::file(&log, &cause))?;
        let child = Command::new(&program)
            .arg("--config")
            .arg(dir.join(format!("{name}.toml")))
            .arg("--die-with-parent")
            .envs(ports.variables())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // a terminal's Ctrl-C reaches this process alone, which then drains the daemons in order
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|cause| {
                Error::unavailable(format!(
                    "{}: {cause}; build it with `cargo build --release -p {name}`, or name its folder with --programs",
                    program.display()
                ))
            })?;
        Ok(Self { name, log, child })
    }

    /// Waits until `http://address{path}` answers 200, or the daemon ends, or `limit` passes.
    pub(crate) async fn answers(
        &mut self,
        address: std::net::SocketAddr,
        path: &str,
        limit: Duration,
    ) -> Result<(), Error> {
        let wait = async {
            loop {
                if let Ok(Some(status)) = self.child.try_wait() {
                    return Err(ended(self.name, &self.log, status));
                }
                if matches!(timeout(PROBE, status_of(address, path)).await, Ok(Ok(200))) {
                    return Ok(());
                }
                sleep(POLL).await;
            }
        };
        match timeout(limit, wait).await {
            Ok(result) => result,
            Err(_elapsed) => Err(Error::unavailable(format!(
                "{}: http://{address}{path} does not answer within {} s; see {}\n{}",
                self.name,
                limit.as_secs(),
                self.log.display(),
                tail(&self.log)
            ))),
        }
    }

    /// Resolves when the daemon ends by itself.
    pub(crate) async fn ended(&mut self) -> Error {
        match self.child.wait().await {
            Ok(status) => ended(self.name, &self.log, status),
            Err(cause) => Error::software(format!("{}: {cause}", self.name)),
        }
    }

    /// Asks it to drain, and ends it where that takes too long.
    pub(crate) async fn stop(mut self) {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // it may have ended in between, which is what we want
            let _ended = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP, self.child.wait()).await.is_err() {
            let _ended = self.child.kill().await;
        }
    }
}

fn ended(name: &str, log: &Path, status: ExitStatus) -> Error {
    let how = status.signal().map_or_else(
        || format!("with {status}"),
        |signal| format!("by signal {signal}"),
    );
    Error::unavailable(format!(
        "{name} ended {how}; see {}\n{}",
        log.display(),
        tail(log)
    ))
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The status code of a GET. A probe of our own daemon needs no HTTP client.
async fn status_of(address: std::net::SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    let line = String::from_utf8_lossy(&answer);
    let code = line.split_ascii_whitespace().nth(1);
    Ok(code.and_then(|code| code.parse().ok()).unwrap_or(0))
}
