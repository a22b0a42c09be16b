//! Users on one shard: whose a connection is, and whether its requests may run.
//!
//! Every shard has all users, as one value that is replaced when something changes. The shard that changes the configuration
//! changes them, too, one change after the other; a change is answered when every shard has taken it over, and so knows for each of
//! its connections what the user may do now.

use crate::shard::message::Answer;
use crate::shard::message::AnswerTo;
use crate::shard::message::ConnectionMessage;
use crate::shard::message::SettingsMessage;
use crate::shard::settings::RefreshConfig;
use crate::shard::turn::TurnState;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::slow::unpack;
use super::{Flow, Shard};
use crate::acl::{Context, Denial, Entry, Reason, User, Users, DEFAULT_USER};
use crate::base::durable::{self, Step};
use crate::base::error_text;
use crate::base::log::Level;
use crate::base::Token;
use crate::client::{Connection, Flag, Topic};
use crate::command::table::CommandSpec;
use crate::command::{Args, Caller, CommandError};
use crate::config::AclPubsubDefault;
use crate::resp::Text;
use crate::text;

/// The shard that changes users.
const SETTINGS_SHARD: usize = 0;

/// A change of the users, on its way to the shard where settings are changed.
pub enum UserChange {
    /// ACL SETUSER: the name and its rules.
    Set(Vec<Vec<u8>>),
    /// ACL DELUSER
    Delete(Vec<Vec<u8>>),
    /// ACL LOAD
    Load,
}

/// Whose a connection is.
impl TurnState {
    /// A new connection, or one that is reset, is the default user's.
    pub(super) fn log_in_as_default(&self, c: &mut Connection) {
        let user = self.users.default_user();
        c.flags.assign(Flag::Authenticated, user.is_open());
        become_user(c, user);
    }

    /// AUTH and HELLO.
    pub(super) fn authenticate(
        &self,
        c: &mut Connection,
        command: &[u8],
        name: &[u8],
        password: &[u8],
    ) -> Result<(), CommandError> {
        match self.users.get(name).filter(|user| user.accepts(password)).cloned() {
            Some(user) => {
                c.flags.set(Flag::Authenticated);
                become_user(c, user);
                Ok(())
            }
            None => {
                let context = if c.multi.is_some() { Context::Multi } else { Context::TopLevel };
                self.note_denial(c, context, Reason::Auth, command, name);
                Err(CommandError::other("WRONGPASS invalid username-password pair or user is disabled."))
            }
        }
    }

    /// Whether the connection may run commands: it is logged in, or nobody needs to.
    #[inline]
    pub(super) fn is_admitted(&self, c: &Connection) -> bool {
        c.flags.has(Flag::Authenticated) || self.users.default_user().is_open()
    }

    /// Why the connection's user may not run the command; it is put down in ACL LOG.
    #[inline]
    pub(super) fn refusal_by_user(
        &self,
        c: &Connection,
        spec: &'static CommandSpec,
        args: Args,
    ) -> Option<CommandError> {
        if c.flags.has(Flag::MayEverything) {
            return None;
        }
        let denial = c.user.check(spec, args).err()?;
        let context = if c.multi.is_some() { Context::Multi } else { Context::TopLevel };
        self.note_denial(c, context, denial.reason, denial.object(spec, args), &c.user.name);
        Some(CommandError::other(text!("NOPERM ", denial.text(&c.user, spec))))
    }

    /// Whether a command of the user with this serial number, none for what is replayed, may read keys that it does not name.
    pub(super) fn may_reach(&self, spec: &'static CommandSpec, args: Args, serial: u64) -> bool {
        serial == 0 || self.users.by_serial(serial).is_some_and(|user| user.may_read_all_keys(spec, args))
    }

    /// What is answered in place of a command of a transaction that may not run, though it could be queued.
    pub(super) fn denial_at_exec(
        &self,
        c: &Connection,
        user: &User,
        spec: &'static CommandSpec,
        args: Args,
    ) -> Option<Text> {
        let denial = user.check(spec, args).err()?;
        self.note_denial(c, Context::Multi, denial.reason, denial.object(spec, args), &user.name);
        let reason = match denial.reason {
            Reason::Command | Reason::Auth => "no permission to execute the command or subcommand",
            Reason::Key => "no permission to touch the specified keys",
            Reason::Channel => "no permission to access one of the channels used as arguments to the command",
        };
        let why = "ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command \
                   is no longer allowed for the following reason";
        Some(text!("NOPERM ", why, ": ", reason))
    }

    /// Who a connection is now, whose user may have been changed or deleted since it logged in.
    pub(super) fn current_user(&self, c: &Connection) -> Arc<User> {
        self.users.by_serial(c.user.serial).cloned().unwrap_or_else(|| self.users.default_user())
    }

    fn note_denial(&self, c: &Connection, context: Context, reason: Reason, object: &[u8], user: &[u8]) {
        let counter = match reason {
            Reason::Auth => &self.stats.refused_logins,
            Reason::Command => &self.stats.denied_commands,
            Reason::Key => &self.stats.denied_keys,
            Reason::Channel => &self.stats.denied_channels,
        };
        counter.add(1);
        let now_ms = self.now_ms();
        let entry = Entry {
            id: 0,
            count: 0,
            reason,
            context,
            object: object.into(),
            user: user.into(),
            client: self.describe_client(c),
            created_ms: now_ms,
            updated_ms: now_ms,
        };
        self.shared.acl_log().add(entry, self.config.security.acllog_max_len as usize);
    }

    /// The users as they will be, and what the client is told.
    fn changed_users(&self, change: &UserChange) -> Result<(Users, Answer), CommandError> {
        let users = self.shared.current_users();
        match change {
            UserChange::Set(words) => {
                let words = slices(words);
                let users = users.with(words[0], &words[1..], self.new_users_hear_all());
                Ok((users.map_err(|why| CommandError::other(text!("ERR ", why)))?, Answer::Ok))
            }
            UserChange::Delete(names) => {
                let (users, removed) = users.without(&slices(names));
                Ok((users, Answer::Count(removed)))
            }
            UserChange::Load => Ok((self.load_users()?, Answer::Ok)),
        }
    }

    /// Whether new users may hear all channels.
    pub(super) fn new_users_hear_all(&self) -> bool {
        self.config.security.acl_pubsub_default == AclPubsubDefault::AllChannels
    }

    /// The users of the ACL file.
    pub(super) fn load_users(&self) -> Result<Users, CommandError> {
        let file = &self.config.security.aclfile;
        read_users(file, self.new_users_hear_all()).map_err(|why| CommandError::other(text!("ERR ", why)))
    }

    /// Writes the users to the ACL file.
    pub(super) fn save_users(&self) -> Result<(), CommandError> {
        write_whole(&self.config.security.aclfile, &self.users.text()).map_err(|(what, error)| {
            crate::log!(Level::Warning, "{what} ACL file for ACL SAVE: {}", error_text(&error));
            CommandError::other(
                "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
            )
        })
    }
}

impl Shard {
    /// Takes over changed users. Connections of those that are gone are closed, and subscribers that may no longer hear what they
    /// hear.
    pub(super) fn refresh_users(&mut self) {
        let users = self.shared.current_users();
        if Arc::ptr_eq(&users, &self.turn.users) {
            return;
        }
        self.turn.users = users;
        for token in self.connections.table.tokens() {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            let c = &mut *connection;
            let user = self.turn.users.get(&c.user.name).cloned();
            match user.filter(|user| user.serial == c.user.serial || *user.name == *DEFAULT_USER) {
                Some(user) => {
                    if must_leave(c, &user) {
                        self.send_away(c);
                    }
                    become_user(c, user);
                }
                None => self.send_away(c),
            }
            self.finish(connection);
        }
    }

    /// Closes a connection; behind its answer when it waits for one.
    fn send_away(&mut self, c: &mut Connection) {
        if c.pipeline.is_empty() || c.waiting.is_some() {
            self.close(c);
        } else {
            c.flags.set(Flag::CloseAfterReply);
        }
    }
}

fn slices(words: &[Vec<u8>]) -> Vec<&[u8]> {
    words.iter().map(Vec::as_slice).collect()
}

fn become_user(c: &mut Connection, user: Arc<User>) {
    c.flags.assign(Flag::MayEverything, user.may_everything());
    c.user = user;
}

/// Whether it is subscribed to something that the user, as he is now, may not hear.
fn must_leave(c: &Connection, user: &User) -> bool {
    let Some(subscriptions) = c.subscriptions.as_deref() else { return false };
    let may_hear_all = |topic: Topic| {
        subscriptions.of(topic).iter().all(|name| user.may_hear(name, topic == Topic::Pattern))
    };
    !user.hears_all_of(&c.user) && !Topic::ALL.into_iter().all(may_hear_all)
}

/// Whether a request may run.
impl Shard {
    /// Why the user of a client that has waited, maybe of another shard's, may not run its command any more.
    pub(super) fn refusal_by_user_of(
        &mut self,
        spec: &'static CommandSpec,
        args: Args,
        caller: &Caller,
    ) -> Option<CommandError> {
        // When the user is gone the connection is about to be closed.
        let user = self.turn.users.by_serial(caller.user)?.clone();
        let denial = user.check(spec, args).err()?;
        self.note_denial_of(spec, args, caller, denial, Context::TopLevel);
        Some(CommandError::other(text!("NOPERM ", denial.text(&user, spec))))
    }

    /// Puts a denial down in ACL LOG that concerns a client of maybe another shard.
    pub(super) fn note_denial_of(
        &mut self,
        spec: &'static CommandSpec,
        args: Args,
        caller: &Caller,
        denial: Denial,
        context: Context,
    ) {
        let (token, object) = (unpack(caller.connection), denial.object(spec, args).to_vec());
        let note = ConnectionMessage::Denied { token, reason: denial.reason, object, context };
        self.send(caller.home as usize, note.into());
    }

    pub(super) fn was_denied(&mut self, token: Token, context: Context, reason: Reason, object: &[u8]) {
        if let Some(connection) = self.connections.table.take(token) {
            let name = &connection.user.name;
            self.turn.note_denial(&connection, context, reason, object, name);
            self.finish(connection);
        }
    }
}

/// Changes.
impl Shard {
    /// Changes the users for a client, which has its answer when every shard knows.
    pub(super) fn change_users(&mut self, c: &mut Connection, change: UserChange) -> Flow {
        let answer_to = self.transactions.answer_to(&self.turn, c);
        self.send(SETTINGS_SHARD, SettingsMessage::ChangeUsers { change, answer_to }.into());
        Flow::Later
    }

    pub(super) fn settle_users(&mut self, change: UserChange, answer_to: AnswerTo) {
        match self.turn.changed_users(&change) {
            Err(error) => self.send_answer(answer_to, Err(error)),
            Ok((users, answer)) => {
                self.shared.publish_users(users);
                self.ask_all_until_all_know(RefreshConfig, move |shard, _| {
                    shard.send_answer(answer_to, Ok(answer));
                });
            }
        }
    }
}

/// Reads an ACL file.
pub fn read_users(file: &Path, all_channels: bool) -> Result<Users, Text> {
    let text = fs::read(file)
        .map_err(|error| text!("Error loading ACLs, opening file '", file, "': ", error_text(&error)))?;
    Users::of_file(file, &text, all_channels)
}

/// Replaces a file, so that whenever the machine stops there is the old one or the new one. `Err`: at what it failed.
fn write_whole(path: &Path, text: &[u8]) -> Result<(), (&'static str, io::Error)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".tmp-{}-{number}", std::process::id()));
    let new = fs::File::create(&name).map_err(|error| ("Opening temp", error))?;
    durable::replace(new, Path::new(&name), path, text).map_err(|(step, error)| {
        let what = match step {
            Step::Write => "Writing",
            Step::Sync => "Syncing",
            Step::Rename => "Renaming",
            Step::SyncFolder => "Syncing the folder of the",
        };
        (what, error)
    })
}
