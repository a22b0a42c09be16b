//! Directives about TLS.

use super::values::choices;
use std::path::PathBuf;

choices! {
    /// Whether a client must show a certificate.
    TlsAuthClients {
        No = "no",
        Yes = "yes",
        Optional = "optional",
    }
}

super::directive::section! {
    /// Encrypted connections.
    Tls in tls {
        tls_port: u16 = 0, "tls-port", 0, int(0, 65535);
        tls_cluster: bool = false, "tls-cluster", 0, Rule::Any;
        tls_replication: bool = false, "tls-replication", 0, Rule::Any;
        tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, "tls-auth-clients", 0, Rule::Any;
        tls_prefer_server_ciphers: bool = false, "tls-prefer-server-ciphers", 0, Rule::Any;
        tls_session_caching: bool = true, "tls-session-caching", 0, Rule::Any;
        tls_session_cache_size: u32 = 20 * 1024, "tls-session-cache-size", 0, int(0, INT_MAX);
        tls_session_cache_timeout: u32 = 300, "tls-session-cache-timeout", 0, int(0, INT_MAX);
        tls_cert_file: Option<PathBuf> = None, "tls-cert-file", VOLATILE, Rule::Any;
        tls_key_file: Option<PathBuf> = None, "tls-key-file", VOLATILE, Rule::Any;
        tls_key_file_pass: Option<Vec<u8>> = None, "tls-key-file-pass", SENSITIVE, Rule::Any;
        tls_client_cert_file: Option<PathBuf> = None, "tls-client-cert-file", VOLATILE, Rule::Any;
        tls_client_key_file: Option<PathBuf> = None, "tls-client-key-file", VOLATILE, Rule::Any;
        tls_client_key_file_pass: Option<Vec<u8>> = None, "tls-client-key-file-pass", SENSITIVE, Rule::Any;
        tls_dh_params_file: Option<PathBuf> = None, "tls-dh-params-file", VOLATILE, Rule::Any;
        tls_ca_cert_file: Option<PathBuf> = None, "tls-ca-cert-file", VOLATILE, Rule::Any;
        tls_ca_cert_dir: Option<PathBuf> = None, "tls-ca-cert-dir", VOLATILE, Rule::Any;
        tls_protocols: Option<Vec<u8>> = None, "tls-protocols", 0, Rule::Any;
        tls_ciphers: Option<Vec<u8>> = None, "tls-ciphers", 0, Rule::Any;
        tls_ciphersuites: Option<Vec<u8>> = None, "tls-ciphersuites", 0, Rule::Any;
    }
}
