//! Directives about the process: databases, its directory, its clock, start and end.

use super::lists::OomScoreAdjValues;
use super::special::{ShutdownFlags, WorkingDir};
use super::validate;
use super::values::choices;
use std::path::PathBuf;

choices! {
    /// Who watches over the process.
    Supervised {
        Upstart = "upstart",
        Systemd = "systemd",
        /// Upstart or systemd, by their environment variables.
        Auto = "auto",
        No = "no",
    }
}

choices! {
    /// How the process tells the kernel which of its children to kill first.
    OomScoreAdj {
        No = "no",
        /// Added to what the process started with.
        Relative = "yes" | "relative",
        Absolute = "absolute",
    }
}

super::directive::section! {
    /// The process.
    General in general {
        databases: u32 = 16, "databases", IMMUTABLE, int(1, INT_MAX);
        dir: WorkingDir = WorkingDir::default(), "dir", PROTECTED | DENY_LOADING, Rule::Any;
        hz: u32 = 10, "hz", 0, int(0, INT_MAX);
        dynamic_hz: bool = true, "dynamic-hz", 0, Rule::Any;
        daemonize: bool = false, "daemonize", IMMUTABLE, Rule::Any;
        supervised: Supervised = Supervised::No, "supervised", IMMUTABLE, Rule::Any;
        pidfile: Option<PathBuf> = None, "pidfile", IMMUTABLE, Rule::Any;
        always_show_logo: bool = false, "always-show-logo", IMMUTABLE, Rule::Any;
        set_proc_title: bool = true, "set-proc-title", IMMUTABLE, Rule::Any;
        proc_title_template: Vec<u8> = b"{title} {listen-addr} {server-mode}".to_vec(), "proc-title-template", 0, Rule::Check(validate::proc_title_template);
        locale_collate: Vec<u8> = Vec::new(), "locale-collate", 0, Rule::Check(validate::locale);
        shutdown_timeout: u32 = 10, "shutdown-timeout", 0, int(0, INT_MAX);
        shutdown_on_sigint: ShutdownFlags = ShutdownFlags::default(), "shutdown-on-sigint", MULTI, Rule::Any;
        shutdown_on_sigterm: ShutdownFlags = ShutdownFlags::default(), "shutdown-on-sigterm", MULTI, Rule::Any;
        busy_reply_threshold: u64 = 5000, "busy-reply-threshold" / "lua-time-limit", 0, int(0, LONG_MAX);
        oom_score_adj: OomScoreAdj = OomScoreAdj::No, "oom-score-adj", 0, Rule::Any;
        oom_score_adj_values: OomScoreAdjValues = OomScoreAdjValues::default(), "oom-score-adj-values", MULTI, Rule::Any;
        disable_thp: bool = true, "disable-thp", IMMUTABLE, Rule::Any;
        use_exit_on_panic: bool = false, "use-exit-on-panic", HIDDEN | NO_EFFECT, Rule::Any;
        ignore_warnings: Vec<u8> = Vec::new(), "ignore-warnings", NO_EFFECT, Rule::Any;
        server_cpulist: Option<Vec<u8>> = None, "server_cpulist", IMMUTABLE | NO_EFFECT, Rule::Any;
        bio_cpulist: Option<Vec<u8>> = None, "bio_cpulist", IMMUTABLE | NO_EFFECT, Rule::Any;
        aof_rewrite_cpulist: Option<Vec<u8>> = None, "aof_rewrite_cpulist", IMMUTABLE | NO_EFFECT, Rule::Any;
        bgsave_cpulist: Option<Vec<u8>> = None, "bgsave_cpulist", IMMUTABLE | NO_EFFECT, Rule::Any;
    }
}
