//! One connection: its input, the order of its pipeline, its output, and its MULTI state.

mod connection;
mod multi;
mod output;
mod pipeline;
mod share;
mod subscriptions;
mod topic;
mod tracking;

pub use connection::{Connection, Flag, PendingCall, Suspension, WaitingAt};
pub use multi::{Multi, Queued, Watching};
pub use output::Output;
pub use pipeline::{Pipeline, PLACES_MAX};
pub use share::{RemoteRequests, Share};
pub use subscriptions::{confirm, Subscriptions};
pub use topic::{PerTopic, Topic};
pub use tracking::{Choice, Redirect, Tracking};
