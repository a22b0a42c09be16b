//! Directives that promise what this version does not do. One that would leave data or access unprotected in silence
//! stops the start.

use super::Loaded;

/// Why the server must not start with this configuration.
pub fn unsupported_setting(loaded: &Loaded) -> Option<String> {
    let config = &loaded.config;
    let unsupported = [
        (
            config.tls.tls_port != 0,
            "tls-port",
            "it has no TLS; put a TLS proxy in front, or remove the directive",
        ),
        (
            config.cluster.cluster_enabled,
            "cluster-enabled",
            "it is no cluster node; one server uses all cores by 'shards'",
        ),
    ];
    unsupported.iter().find(|(asked, ..)| *asked).map(|(_, directive, reason)| {
        format!("This version of Gyre cannot honour '{directive}' of the configuration: {reason}.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{argv, load};

    fn loaded(options: &str) -> Loaded {
        let args: Vec<Vec<u8>> = options.split(' ').map(|arg| arg.as_bytes().to_vec()).collect();
        let argv::Invocation::Serve(sources) = argv::parse(&args) else { panic!("no server") };
        load(&sources, &mut std::io::empty(), false).unwrap()
    }

    #[test]
    fn what_cannot_be_honoured_stops_the_start() {
        assert!(unsupported_setting(&loaded("--tls-port 7000")).unwrap().contains("tls-port"));
        assert!(unsupported_setting(&loaded("--port 7000")).is_none());
    }
}
