//! CONFIG GET SET REWRITE RESETSTAT HELP.
//!
//! Shard 0 makes every change: it owns the listeners, so rebinding is an ordinary step there, and changes come one
//! after the other without a lock that a shard would have to wait for. The client has its answer when every shard
//! has taken the new settings over.

use crate::shard::message::Answer;
use crate::shard::message::AnswerTo;
use crate::shard::message::SettingsMessage;
use crate::shard::saving::message::LeaderRequest;
use crate::shard::scatter::Question;
use crate::shard::settings::RefreshConfig;
use crate::shard::turn::TurnState;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::{help, Handler};
use crate::base::log::{self as server_log, Level};
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::config::{self, ApplyError, Config, Rewrite, SetError, Setter};
use crate::process::{self, OomRole};
use crate::resp::Reply;
use crate::runtime::{crash, probe};
use crate::shard::accept::is_local;
use crate::shard::{Flow, Shard};
use crate::txn::message::OwnedArgs;

pub const COMMANDS: &[(&str, Handler)] = &[
    ("config|get", get),
    ("config|set", set),
    ("config|rewrite", rewrite),
    ("config|resetstat", reset_statistics),
    ("config|help", print_help),
];

/// The shard that owns the listeners and changes the configuration.
const SETTINGS_SHARD: usize = 0;

const HELP: &[&str] = &[
    "GET <pattern> [<pattern> ...]",
    "    Show the parameters that match a glob-style pattern, with their values.",
    "SET <parameter> <value> [<parameter> <value> ...]",
    "    Change parameters, all of them or none.",
    "RESETSTAT",
    "    Set the statistics that INFO shows back to zero.",
    "REWRITE",
    "    Write the settings in force back to the configuration file.",
];

type Outcome = Result<Flow, CommandError>;

fn get(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, args: Args) -> Outcome {
    let found = config::get(&shard.shared.current_config(), &args[2..]);
    reply.map(found.len());
    for (name, value) in found {
        reply.bulk(&name);
        reply.bulk(&value);
    }
    Ok(Flow::Done)
}

fn set(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let loading = shard.shared.replication.status.is_loading();
    let setter = Setter { local: is_local(c), loading };
    let change = ConfigChange {
        args: OwnedArgs::from_slices(&args[2..]),
        setter,
        answer_to: shard.transactions.answer_to(&shard.turn, c),
        may_wait: !shard.transactions.is_inside_transaction(),
    };
    shard.send(SETTINGS_SHARD, SettingsMessage::ChangeConfig(Box::new(change)).into());
    Ok(Flow::Later)
}

/// CONFIG REWRITE
fn rewrite(shard: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    shard.turn.rewrite_config(false)?;
    reply.ok();
    Ok(Flow::Done)
}

fn reset_statistics(shard: &mut Shard, c: &mut Connection, _: &mut Reply, _: Args) -> Outcome {
    shard.ask_all_for(c, ResetStatistics, |_, _, reply| reply.ok());
    Ok(Flow::Later)
}

fn print_help(_: &mut Shard, _: &mut Connection, reply: &mut Reply, _: Args) -> Outcome {
    help(reply, "CONFIG", HELP);
    Ok(Flow::Done)
}

/// CONFIG RESETSTAT.
#[derive(Clone)]
pub struct ResetStatistics;

impl Question for ResetStatistics {
    type Answer = ();

    fn answer(self, shard: &mut Shard) {
        shard.stats.reset();
        shard.store.stats = Default::default();
    }
}

/// CONFIG SET on its way to the shard where settings are changed.
pub struct ConfigChange {
    args: OwnedArgs,
    setter: Setter,
    answer_to: AnswerTo,
    /// The answer waits until an AOF that is switched on has begun.
    may_wait: bool,
}

impl TurnState {
    fn change_maxclients(&self, old: &Config, new: &Config) -> Result<(), ApplyError> {
        let wanted = new.network.maxclients;
        if wanted > old.network.maxclients {
            let (fit, _) = probe::raise_open_files(wanted, self.slots.shards());
            if fit < wanted {
                return Err(ApplyError::of(
                    "maxclients",
                    format!("The operating system is not able to handle the specified number of clients, try with {fit}"),
                ));
            }
        }
        self.shared.maxclients.store(wanted as usize, Ordering::Relaxed);
        Ok(())
    }

    fn change_oom_score(&self, directive: &'static str, new: &Config) -> Result<(), ApplyError> {
        let mut settings = self.shared.settings();
        let Some(score) = &mut settings.oom_score else { return Ok(()) };
        score.set(new, OomRole::Master).map_err(|error| {
            crate::log!(Level::Warning, "Unable to write oom_score_adj: {}", crate::base::error_text(&error));
            ApplyError::of(directive, "Failed to apply new oom_score_adj configuration, check server logs.")
        })
    }

    /// Writes the configuration file; `everything` also writes what is at its default.
    pub(super) fn rewrite_config(&self, everything: bool) -> Result<(), CommandError> {
        let config = self.shared.current_config();
        // One writer at a time: the lock is held for as long as the file takes, as Redis stops for it too.
        let settings = self.shared.settings();
        let file: Option<&PathBuf> = settings.file.as_ref();
        // Users live in the configuration, or in a file of their own.
        let has_file = !config.security.aclfile.as_os_str().is_empty();
        let users: Vec<Vec<u8>> =
            self.users.iter().map(|user| user.line()[b"user ".len()..].to_vec()).collect();
        let users = (!has_file).then_some(&users[..]);
        match config::rewrite(file.map(PathBuf::as_path), &config, Rewrite { everything, users }) {
            Ok(()) => {
                crate::log!(Level::Notice, "CONFIG REWRITE executed with success.");
                Ok(())
            }
            Err(error) => {
                crate::log!(Level::Warning, "CONFIG REWRITE failed: {error}");
                Err(CommandError::other(error.to_string()))
            }
        }
    }
}

impl Shard {
    pub(in crate::shard) fn settle_config(&mut self, change: ConfigChange) {
        let ConfigChange { args, setter, answer_to, may_wait } = change;
        let result = self.change_config_inside(!may_wait, &args.slices(), setter);
        match result {
            Err(error) => self.send_answer(answer_to, Err(CommandError::other(error.text()))),
            Ok(()) => self.ask_all(RefreshConfig, move |shard, _| {
                if may_wait {
                    shard.tell_leader(LeaderRequest::AnswerWhenAofHasBegun(answer_to));
                } else {
                    shard.send_answer(answer_to, Ok(Answer::Ok));
                }
            }),
        }
    }

    /// As `change_config`, by a command that may be part of a transaction.
    fn change_config_inside(
        &mut self,
        transaction: bool,
        args: &[&[u8]],
        setter: Setter,
    ) -> Result<(), SetError> {
        self.saving.is_inside_transaction = transaction;
        let result = self.change_config(args, setter);
        self.saving.is_inside_transaction = false;
        result
    }

    /// Changes the configuration in force; on the settling shard.
    fn change_config(&mut self, args: &[&[u8]], setter: Setter) -> Result<(), SetError> {
        let current = self.shared.current_config();
        match config::change(&current, args, setter, |old, new, changed| self.act_on(old, new, changed)) {
            Ok(change) => {
                self.shared.publish_config(change.config);
                Ok(())
            }
            Err(error) => {
                if let SetError::NotApplied { undo: Some(reason), .. } = &error {
                    crate::log!(
                        Level::Warning,
                        "Failed restoring failed CONFIG SET command. Error: {reason}"
                    );
                }
                Err(error)
            }
        }
    }

    /// Does what a changed configuration asks for beyond being read.
    fn act_on(&mut self, old: &Config, new: &Config, changed: &[&'static str]) -> Result<(), ApplyError> {
        let mut listening_done = false;
        for directive in changed {
            match *directive {
                "bind" | "port" if !listening_done => {
                    listening_done = true;
                    self.rebind_for(directive, new)?;
                }
                "requirepass" => {
                    let password = new.security.requirepass.as_deref();
                    self.shared.publish_users(self.shared.current_users().with_default_password(password));
                }
                "maxclients" => self.turn.change_maxclients(old, new)?,
                "crash-log-enabled" => crash::enable_reports(new.observing.crash_log_enabled),
                "loglevel" => server_log::set_level(new.observing.loglevel.lowest()),
                "dir" => process::enter_dir(new)
                    .map_err(|error| ApplyError::of("dir", crate::base::error_text(&error)))?,
                "maxmemory" => warn_if_over(new.memory.maxmemory, self.shared.used_memory()),
                "oom-score-adj" | "oom-score-adj-values" => self.turn.change_oom_score(directive, new)?,
                _ => {}
            }
        }
        if changed.contains(&"aof-disable-auto-gc") && !new.persistence.aof_disable_auto_gc {
            if self.turn.is_leader() {
                self.saving.collect_history(&self.turn);
            } else {
                self.tell_leader(LeaderRequest::CollectHistory);
            }
        }
        if changed.contains(&"appendonly") {
            // Once what is changed here is in force.
            let must_wait = self.saving.is_inside_transaction;
            self.tell_leader(LeaderRequest::SwitchAof { must_wait });
        }
        if changed.iter().any(|name| matches!(*name, "bind" | "port" | "proc-title-template")) {
            if let Some(title) = &mut self.shared.settings().title {
                title.show(new);
            }
        }
        Ok(())
    }

    fn rebind_for(&mut self, directive: &'static str, new: &Config) -> Result<(), ApplyError> {
        let Err(error) = self.connections.rebind(&self.turn, &new.network.bind.0, new.network.port) else {
            self.shared.port.store(u64::from(new.network.port), Ordering::Relaxed);
            return Ok(());
        };
        crate::log_text!(Level::Warning, "Warning: ", error.text());
        let reason = match directive {
            "port" => "Unable to listen on this port. Check server logs.",
            _ => "Failed to bind to specified addresses.",
        };
        Err(ApplyError::of(directive, reason))
    }
}

fn warn_if_over(limit: u64, used: u64) {
    if limit > 0 && limit < used {
        crate::log!(
            Level::Warning,
            "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory usage \
             ({used}). This will result in key eviction and/or the inability to accept new write commands depending on \
             the maxmemory-policy."
        );
    }
}
