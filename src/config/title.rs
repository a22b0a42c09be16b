//! `proc-title-template`: the process title with its variables filled in.

use super::Config;

const VARIABLES: [&str; 7] =
    ["title", "listen-addr", "server-mode", "config-file", "port", "tls-port", "unixsocket"];

/// Whether the template can be expanded, and is not empty.
pub fn is_valid(template: &str) -> bool {
    // Any text will do for a variable but an empty one, for which `{server-mode}` stands when there is no mode.
    let probe = |name: &str| {
        VARIABLES.contains(&name).then(|| if name == "server-mode" { "" } else { "x" }.to_owned())
    };
    expand(template, probe).is_some_and(|title| !title.is_empty())
}

/// The title of a server that runs with `config`. `name`: how it was called; `file`: its configuration file. None when
/// the template is not valid, which CONFIG SET and start-up have refused.
pub fn process_title(config: &Config, name: &str, file: Option<&str>) -> Option<String> {
    let network = &config.network;
    let tls_port = config.tls.tls_port;
    let unixsocket =
        || network.unixsocket.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    expand(&config.general.proc_title_template, |variable| {
        Some(match variable {
            "title" => name.to_owned(),
            "listen-addr" if network.port == 0 && tls_port == 0 => {
                format!("unixsocket:{}", unixsocket())
            }
            "listen-addr" => {
                let address = network.bind.0.first().map_or("*", String::as_str);
                format!("{address}:{}", if network.port != 0 { network.port } else { tls_port })
            }
            "server-mode" => if config.cluster.cluster_enabled { "[cluster]" } else { "" }.to_owned(),
            "config-file" => file.unwrap_or("-").to_owned(),
            "port" => network.port.to_string(),
            "tls-port" => tls_port.to_string(),
            "unixsocket" => unixsocket(),
            _ => return None,
        })
    })
}

/// Replaces each `{variable}`; `{{` is a brace. None for a brace that is not closed or a variable that is not known.
fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        rest = match after.strip_prefix('{') {
            Some(after) => {
                out.push('{');
                after
            }
            None => {
                let (variable, after) = after.split_once('}')?;
                out.push_str(&value(variable)?);
                after
            }
        };
    }
    out.push_str(rest);
    Some(out.trim_matches(' ').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let mut config = Config::default();
        assert_eq!(process_title(&config, "gyre-server", None).unwrap(), "gyre-server *:6379");
        config.network.port = 0;
        config.network.unixsocket = Some("/run/x.sock".into());
        config.cluster.cluster_enabled = true;
        assert_eq!(
            process_title(&config, "gyre-server", None).unwrap(),
            "gyre-server unixsocket:/run/x.sock [cluster]"
        );
        config.general.proc_title_template = "{{{config-file}} {port}".into();
        assert_eq!(process_title(&config, "g", Some("/etc/a.conf")).unwrap(), "{/etc/a.conf} 0");
    }

    #[test]
    fn broken_unknown_and_empty_templates_are_refused() {
        for template in ["{", "{title", "{nothing}", "", "{server-mode}"] {
            assert!(!is_valid(template), "{template}");
        }
        assert!(is_valid("--my--title--template"));
    }
}
