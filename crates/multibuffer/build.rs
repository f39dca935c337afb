//! Finds the archive that `make multibuffer` fetches, when the feature `crypto-mb` asks for it.

use std::path::PathBuf;
use std::process::ExitCode;

const ARCHIVE: &str = "lib/libcrypto_mb.a";

#[expect(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a build script talks to cargo through the environment and its output"
)]
fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=IPP_CRYPTO_DIR");
    if std::env::var_os("CARGO_FEATURE_CRYPTO_MB").is_none() {
        return ExitCode::SUCCESS;
    }
    let folder = std::env::var_os("IPP_CRYPTO_DIR").map_or_else(fetched, PathBuf::from);
    let archive = folder.join(ARCHIVE);
    println!("cargo::rerun-if-changed={}", archive.display());
    if !archive.is_file() {
        eprintln!(
            "multibuffer: {} is missing. `make multibuffer` fetches it; IPP_CRYPTO_DIR names another folder; \
             without the feature crypto-mb it is not needed.",
            archive.display()
        );
        return ExitCode::FAILURE;
    }
    println!(
        "cargo::rustc-link-search=native={}",
        folder.join("lib").display()
    );
    println!("cargo::rustc-link-lib=static=crypto_mb");
    ExitCode::SUCCESS
}

fn fetched() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../.tools/ipp-crypto"
    ))
}
