//! `proc-title-template`: the process title with its variables filled in.

use std::path::Path;

use super::Config;
use crate::base::text::Text;
use crate::text;

const VARIABLES: [&str; 7] =
    ["title", "listen-addr", "server-mode", "config-file", "port", "tls-port", "unixsocket"];

/// Whether the template can be expanded, and is not empty.
pub fn is_valid(template: &[u8]) -> bool {
    // Any text will do for a variable but an empty one, for which `{server-mode}` stands when there is no mode.
    let probe =
        |name: &str| VARIABLES.contains(&name).then(|| if name == "server-mode" { "" } else { "x" }.into());
    expand(template, probe).is_some_and(|title| !title.is_empty())
}

/// The title of a server that runs with `config`. `name`: how it was called; `file`: its configuration file. None when
/// the template is not valid, which CONFIG SET and start-up have refused.
pub fn process_title(config: &Config, name: &[u8], file: Option<&Path>) -> Option<Vec<u8>> {
    let network = &config.network;
    let tls_port = config.tls.tls_port;
    let unixsocket = || network.unixsocket.as_ref().map(|path| text!(path)).unwrap_or_default();
    expand(&config.general.proc_title_template, |variable| {
        Some(match variable {
            "title" => text!(name),
            "listen-addr" if network.port == 0 && tls_port == 0 => {
                text!("unixsocket:", unixsocket())
            }
            "listen-addr" => {
                let address = network.bind.0.first().map_or(&b"*"[..], Vec::as_slice);
                let port = if network.port != 0 { network.port } else { tls_port };
                text!(address, format_args!(":{port}"))
            }
            "server-mode" => if config.cluster.cluster_enabled { "[cluster]" } else { "" }.into(),
            "config-file" => file.map_or_else(|| "-".into(), |file| text!(file)),
            "port" => network.port.to_string().into(),
            "tls-port" => tls_port.to_string().into(),
            "unixsocket" => unixsocket(),
            _ => return None,
        })
    })
}

/// Replaces each `{variable}`; `{{` is a brace. None for a brace that is not closed or a variable that is not known.
fn expand(template: &[u8], value: impl Fn(&str) -> Option<Text>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = split_once(rest, b'{') {
        out.extend_from_slice(before);
        rest = match after.strip_prefix(b"{") {
            Some(after) => {
                out.push(b'{');
                after
            }
            None => {
                let (variable, after) = split_once(after, b'}')?;
                out.extend_from_slice(&value(std::str::from_utf8(variable).ok()?)?);
                after
            }
        };
    }
    out.extend_from_slice(rest);
    let from = out.iter().position(|byte| *byte != b' ').unwrap_or(out.len());
    let to = out.iter().rposition(|byte| *byte != b' ').map_or(from, |last| last + 1);
    Some(out[from..to].to_vec())
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(at, text)?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let mut config = Config::default();
        assert_eq!(process_title(&config, b"gyre-server", None).unwrap(), b"gyre-server *:6379");
        config.network.port = 0;
        config.network.unixsocket = Some("/run/x.sock".into());
        config.cluster.cluster_enabled = true;
        assert_eq!(
            process_title(&config, b"gyre-server", None).unwrap(),
            b"gyre-server unixsocket:/run/x.sock [cluster]"
        );
        config.general.proc_title_template = b"{{{config-file}} {port}".to_vec();
        let odd = Path::new(OsStr::from_bytes(b"/etc/\xe9.conf"));
        assert_eq!(process_title(&config, b"g", Some(odd)).unwrap(), b"{/etc/\xe9.conf} 0");
    }

    #[test]
    fn broken_unknown_and_empty_templates_are_refused() {
        for template in ["{", "{title", "{nothing}", "", "{server-mode}"] {
            assert!(!is_valid(template.as_bytes()), "{template}");
        }
        assert!(is_valid(b"--my--title--template"));
        assert!(is_valid(b"caf\xe9"));
    }
}
