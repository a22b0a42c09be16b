//! Directives about what the server tells of itself: log, slow log, latency, notifications.

use super::lists::Percentiles;
use super::special::NotifyEvents;
use super::values::choices;
use crate::base::log::Level;
use std::path::PathBuf;

choices! {
    /// The least severe message that is logged.
    LogLevel {
        Debug = "debug",
        Verbose = "verbose",
        Notice = "notice",
        Warning = "warning",
        Nothing = "nothing",
    }
}

impl LogLevel {
    /// The lowest level that is logged; none: nothing is.
    pub fn lowest(self) -> Option<Level> {
        match self {
            LogLevel::Debug => Some(Level::Debug),
            LogLevel::Verbose => Some(Level::Verbose),
            LogLevel::Notice => Some(Level::Notice),
            LogLevel::Warning => Some(Level::Warning),
            LogLevel::Nothing => None,
        }
    }
}

choices! {
    /// Where syslog files the messages.
    SyslogFacility {
        User = "user",
        Local0 = "local0",
        Local1 = "local1",
        Local2 = "local2",
        Local3 = "local3",
        Local4 = "local4",
        Local5 = "local5",
        Local6 = "local6",
        Local7 = "local7",
    }
}

impl SyslogFacility {
    /// Its number in RFC 3164, section 4.1.1.
    pub fn code(self) -> u8 {
        match self {
            SyslogFacility::User => 1,
            SyslogFacility::Local0 => 16,
            SyslogFacility::Local1 => 17,
            SyslogFacility::Local2 => 18,
            SyslogFacility::Local3 => 19,
            SyslogFacility::Local4 => 20,
            SyslogFacility::Local5 => 21,
            SyslogFacility::Local6 => 22,
            SyslogFacility::Local7 => 23,
        }
    }
}

super::directive::section! {
    /// The log and the other windows into the server.
    Observing in observing {
        loglevel: LogLevel = LogLevel::Notice, "loglevel", 0, Rule::Any;
        logfile: PathBuf = PathBuf::new(), "logfile", IMMUTABLE, Rule::Any;
        syslog_enabled: bool = false, "syslog-enabled", IMMUTABLE, Rule::Any;
        syslog_ident: Vec<u8> = b"redis".to_vec(), "syslog-ident", IMMUTABLE, Rule::Any;
        syslog_facility: SyslogFacility = SyslogFacility::Local0, "syslog-facility", IMMUTABLE, Rule::Any;
        crash_log_enabled: bool = true, "crash-log-enabled", 0, Rule::Any;
        crash_memcheck_enabled: bool = true, "crash-memcheck-enabled", NO_EFFECT, Rule::Any;
        slowlog_log_slower_than: i64 = 10000, "slowlog-log-slower-than", 0, int(-1, LONG_MAX);
        slowlog_max_len: u64 = 128, "slowlog-max-len", 0, int(0, LONG_MAX);
        latency_monitor_threshold: u64 = 0, "latency-monitor-threshold", 0, int(0, LONG_MAX);
        latency_tracking: bool = true, "latency-tracking", 0, Rule::Any;
        latency_tracking_info_percentiles: Percentiles = Percentiles::default(), "latency-tracking-info-percentiles", MULTI, Rule::Any;
        notify_keyspace_events: NotifyEvents = NotifyEvents::NONE, "notify-keyspace-events", 0, Rule::Any;
        watchdog_period: u32 = 0, "watchdog-period", HIDDEN | NO_EFFECT, int(0, INT_MAX);
    }
}
