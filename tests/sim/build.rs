//! Links `entropy.c` into the programs of this package, and into nothing that only uses its library.

fn main() {
    println!("cargo::rerun-if-changed=entropy.c");
    for object in cc::Build::new().file("entropy.c").compile_intermediates() {
        for programs in ["bins", "tests"] {
            println!("cargo::rustc-link-arg-{programs}={}", object.display());
        }
    }
}
