//! The logo in the log, with what the server is.

/// As Redis's, it says where the server listens and its process id (` PID: `, which test suites look for).
pub fn logo(mode: &str, port: u16) -> String {
    format!(
        r"
              .-~~~~~~-.
          .-~   ____    ~-.          Gyre {version} (Redis {redis}, {bits} bit)
        .~   .-~    ~-.    ~.
       /    /   .--.   \     \       Running in {mode} mode
      |    |   (    \   |     |      Port: {port}
      |     \   `-~  )  |     |      PID: {pid}
       \     `-.___.~  /     /
        ~.           .~    .~        One shard per core
          ~-._____.-~   .-~
              `-~~~~~~-~

",
        version = env!("CARGO_PKG_VERSION"),
        redis = crate::REDIS_VERSION,
        bits = usize::BITS,
        pid = std::process::id(),
    )
}
