//! INFO [section ...]

use super::Handler;
use crate::client::Connection;
use crate::command::{Args, CommandError};
use crate::resp::{Protocol, Reply};
use crate::runtime::clock;
use crate::shard::housekeeping::PublishGauges;
use crate::shard::info;
use crate::shard::replication::Then;
use crate::shard::transactions::Later;
use crate::shard::{Flow, Shard};

pub const COMMANDS: &[(&str, Handler)] = &[("info", info)];

fn info(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Result<Flow, CommandError> {
    let wanted = args[1..].iter().map(|word| word.to_vec()).collect();
    if shard.shared.replication.status.is_active() {
        // What it shows of replication is to be as of now.
        shard.ask_replication(c, Then::Info(wanted));
    } else {
        let later = shard.transactions.reply_later(c);
        shard.answer_info(wanted, c.output.reply.protocol(), later);
    }
    Ok(Flow::Later)
}

impl Shard {
    pub(in crate::shard) fn answer_info(&mut self, wanted: Vec<Vec<u8>>, protocol: Protocol, later: Later) {
        // What the gauges say may be a tenth of a second old.
        self.ask_all(PublishGauges, move |shard, _| {
            let wanted: Vec<&[u8]> = wanted.iter().map(Vec::as_slice).collect();
            let text = info::text(&shard.shared, &shard.turn.config, clock::unix_us(), &wanted);
            let mut reply = Reply::new(protocol);
            reply.verbatim("txt", &text);
            shard.complete(later, reply);
        });
    }
}
