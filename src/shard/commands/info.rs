//! INFO [section ...]

use super::Handler;
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::resp::Reply;
use crate::runtime::clock;
use crate::shard::housekeeping::PublishGauges;
use crate::shard::info;
use crate::shard::{Flow, Shard};
use crate::txn::message::OwnedArgs;

pub const COMMANDS: &[(&str, Handler)] = &[("info", info)];

fn info(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Result<Flow, CommandError> {
    let wanted = OwnedArgs::from_slices(&args[1..]);
    // What the gauges say may be a tenth of a second old.
    shard.ask_all_for(c, PublishGauges, move |shard, _, reply| {
        let text = info::text(&shard.shared, &shard.turn.config, clock::unix_us(), &wanted.slices());
        reply.verbatim("txt", &text);
    });
    Ok(Flow::Later)
}
