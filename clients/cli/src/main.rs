//! `cryptoctl`: key sets, tokens and the development set-up, from the command line.

mod args;
mod audit;
mod backup;
mod connect;
mod dev;
mod error;
mod issued;
mod keys;
mod keyset;
mod output;
mod revoke;
mod sealing;
mod subscriber;
mod token;
mod update;

use std::process::ExitCode;

use args::{Cli, Command, Token};
use clap::{CommandFactory as _, Parser as _};
use error::Error;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = error.to_string();
            if !message.is_empty() {
                output::note(&format!("cryptoctl: {message}"));
            }
            ExitCode::from(error.code())
        }
    }
}

/// One thread carries everything: the daemons of `dev run` die with the thread that started them.
fn run(cli: Cli) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Error::software(format!("no runtime: {cause}")))?
        .block_on(execute(cli))
}

async fn execute(cli: Cli) -> Result<(), Error> {
    let global = &cli.global;
    match cli.command {
        Command::Keyset(command) => keyset::execute(global, command).await,
        Command::Subscriber(command) => subscriber::execute(global, command).await,
        Command::Audit(command) => audit::execute(global, command).await,
        Command::Sealing(command) => sealing::execute(global, command).await,
        Command::Issued(command) => issued::execute(global, command).await,
        Command::Backup { file } => backup::take(global, &file).await,
        Command::Restore(restore) => backup::restore(global, restore).await,
        Command::Sign(sign) => token::sign(global, sign).await,
        Command::Verify(verify) => token::verify(global, verify).await,
        Command::Encrypt(encrypt) => token::encrypt(global, encrypt).await,
        Command::Decrypt(decrypt) => token::decrypt(global, decrypt).await,
        Command::Token(Token::Revoke(which)) => revoke::token(global, which).await,
        Command::Jwks { issuer } => {
            token::jwks(global, issuer.as_deref().unwrap_or_default()).await
        }
        Command::Keygen {
            algorithm,
            rsa_bits,
            curve,
            out,
        } => keys::keygen(&algorithm, rsa_bits, curve.as_deref(), out.as_deref()),
        Command::Secret { bytes, out } => keys::secret(bytes.into(), out.as_deref()),
        Command::Dev(command) => dev::execute(global, command).await,
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cryptoctl", &mut script);
    output::bytes(&script)
}
