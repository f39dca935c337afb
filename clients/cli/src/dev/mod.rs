//! The development set-up: `dev init` makes its files, `dev run` brings it up and shows it.

mod daemons;
pub(crate) mod files;
mod ports;
mod tour;

use std::{path::Path, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use self::{daemons::Daemon, files::FileReport, ports::Ports};
use crate::{
    args::{Dev, Global, variable},
    error::Error,
    output,
};

/// A loaded machine may take this long to bring a daemon up.
const START: Duration = Duration::from_secs(30);

pub(crate) async fn execute(global: &Global, command: Dev) -> Result<(), Error> {
    let ports = Ports::moved_by(variable)?;
    match command {
        Dev::Init => report(&global.certs, &files::init(&global.certs, &ports)?),
        Dev::Run { programs } => {
            let programs = programs.map_or_else(own_folder, Ok)?;
            run(global, &ports, &programs).await
        }
    }
}

fn report(dir: &Path, files: &[FileReport]) -> Result<(), Error> {
    let made = files.iter().filter(|file| file.made).count();
    for file in files.iter().filter(|file| file.made) {
        output::line(&format!("made {}", file.path.display()))?;
    }
    output::line(&format!(
        "{}: {made} files made, {} kept",
        dir.display(),
        files.len() - made
    ))
}

fn own_folder() -> Result<std::path::PathBuf, Error> {
    std::env::current_exe()
        .ok()
        .and_then(|program| program.parent().map(Path::to_owned))
        .ok_or_else(|| Error::usage("--programs: name the folder with the daemons' programs"))
}

/// Up, toured, `ready`; then until a signal, or until a daemon ends by itself. Whatever happens, the daemons end too.
async fn run(global: &Global, ports: &Ports, programs: &Path) -> Result<(), Error> {
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let dir = &global.certs;
    report(dir, &files::init(dir, ports)?)?;
    let mut key_manager = Daemon::start("key-manager", programs, dir, ports)?;
    let mut crypto_service = Daemon::start("crypto-service", programs, dir, ports)?;

    let work = async {
        up(ports, dir, &mut key_manager, &mut crypto_service).await?;
        tour::take(global, ports).await?;
        output::line("ready")?;
        Err(tokio::select! {
            error = key_manager.ended() => error,
            error = crypto_service.ended() => error,
        })
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    // the instance first, so that it ends its lease at a key-manager that is still there
    crypto_service.stop().await;
    key_manager.stop().await;
    outcome
}

async fn up(
    ports: &Ports,
    dir: &Path,
    key_manager: &mut Daemon,
    crypto_service: &mut Daemon,
) -> Result<(), Error> {
    key_manager
        .answers(ports.keys_http, "/readyz", START)
        .await?;
    crypto_service
        .answers(ports.crypto_http, "/readyz", START)
        .await?;
    output::line(&format!(
        "key-manager     gRPC {}  health http://{}/readyz  log {}\n\
         crypto-service  gRPC {}  keys http://{}/.well-known/jwks.json  log {}",
        ports.keys_grpc,
        ports.keys_http,
        dir.join("key-manager.log").display(),
        ports.crypto_grpc,
        ports.crypto_http,
        dir.join("crypto-service.log").display(),
    ))
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Error> {
    signal(kind).map_err(|cause| Error::software(format!("signals: {cause}")))
}
