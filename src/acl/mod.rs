//! Users, and what each may do.
//!
//! A user has passwords and selectors. A selector is a set of commands, of key patterns and of channel patterns; a request may run
//! when one selector allows all of it. Rules are texts (`+@read`, `~cache:*`, `>secret`), applied in order; what a user may
//! do is kept in both forms, because the texts are what ACL LIST, GETUSER and the files show.
//!
//! `Users` is a value: a change makes a new one, and every shard gets it before the change is answered. So a request is checked
//! without a lock, and for a user who may do everything by one flag of its connection.

mod check;
mod log;
mod password;
mod selector;
mod user;
mod users;

pub use check::{Denial, Reason};
pub use log::{AclLog, Context, Entry};
pub use selector::{RuleError, Selector};
pub use user::User;
pub use users::{Users, DEFAULT_USER};
