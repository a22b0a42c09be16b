//! Compiles Lua. With `GYRE_LUA_SANITIZE` in the environment the C code is checked by AddressSanitizer while it runs; the program
//! that is linked to it needs libasan then.

use std::path::Path;

fn main() {
    let sources = Path::new("c");
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-env-changed=GYRE_LUA_SANITIZE");
    let mut build = cc::Build::new();
    build.include(sources).warnings(false).define("LUA_USE_LINUX", None);
    // Sums of integers wrap around; the code says so where that matters.
    build.flag("-fwrapv").flag("-fno-common");
    // Also for debugging: frames of recursions have to fit into the stacks of scripts.
    build.opt_level(2);
    if std::env::var_os("GYRE_LUA_SANITIZE").is_some() {
        build.flag("-fsanitize=address").flag("-fno-omit-frame-pointer").debug(true);
        build.define("LUAI_MAXMATCH", "2000");
    }
    let mut names: Vec<_> = std::fs::read_dir(sources)
        .expect("the sources are here")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    names.sort();
    build.files(names);
    // All of it, since nothing in this crate refers to it.
    build.link_lib_modifier("+whole-archive").compile("gyrelua");
}
