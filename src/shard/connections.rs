//! The connections of a shard: the table of them, what is to be done about each, and the listeners that new ones come from.

use super::accept::Listeners;
use super::client_memory::ClientMemory;
use super::clients::Clients;
use super::io::RingJob;
use super::partial_outputs::PartialOutputs;
use crate::base::Token;

#[derive(Default)]
pub struct Connections {
    pub table: Clients,
    /// Those with output to send.
    pub(super) to_flush: Vec<Token>,
    /// Those whose replies wait for others of the same pipeline.
    pub(super) partial: PartialOutputs,
    /// Those with input to run.
    pub(super) runnable: Vec<Token>,
    /// Held back by a full queue of the mesh.
    pub(super) congested: Vec<Token>,
    /// Operations for the ring, queued where no ring is at hand.
    pub(super) ring_jobs: Vec<RingJob>,
    pub(super) listeners: Listeners,
    pub(super) memory: ClientMemory,
}
