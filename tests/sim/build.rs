//! Links `entropy.c` into the programs of this package, and into nothing that only uses its library.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=entropy.c");
    if env::var_os("CARGO_CFG_UNIX").is_none() {
        return;
    }
    for object in cc::Build::new().file("entropy.c").compile_intermediates() {
        link(&object);
    }
}

fn link(object: &PathBuf) {
    for programs in ["bins", "tests"] {
        println!("cargo::rustc-link-arg-{programs}={}", object.display());
    }
}
