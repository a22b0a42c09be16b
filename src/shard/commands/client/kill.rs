//! CLIENT KILL.

use super::{ClientType, Outcome};
use crate::acl::Users;
use crate::base::text::Text;
use crate::client::{Connection, Flag};
use crate::command::{Args, CommandError};
use crate::resp::c_text;
use crate::resp::Reply;
use crate::shard::scatter::Question;
use crate::shard::{Flow, Shard};
use crate::store::parse_integer;
use crate::text;

/// Which connections to close: those to which everything applies that is set.
#[derive(Clone, Default)]
struct Filter {
    address: Option<Vec<u8>>,
    local_address: Option<Vec<u8>>,
    client_type: Option<ClientType>,
    user: Option<Vec<u8>>,
    id: Option<i64>,
    skip_asking: bool,
}

impl Filter {
    /// By options; the old form with an address only is parsed by its caller.
    fn parse(options: Args, users: &Users) -> Result<Self, CommandError> {
        let mut filter = Filter { skip_asking: true, ..Filter::default() };
        for pair in options.chunks(2) {
            let [option, value] = pair else { return Err(CommandError::Syntax) };
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = parse_integer(value).filter(|id| *id > 0);
                    filter.id =
                        Some(id.ok_or(CommandError::other("ERR client-id should be greater than 0"))?);
                }
                b"type" => filter.client_type = Some(ClientType::by_name(value)?),
                b"addr" => filter.address = Some(value.to_vec()),
                b"laddr" => filter.local_address = Some(value.to_vec()),
                b"user" if users.get(value).is_some() => filter.user = Some(value.to_vec()),
                b"user" => {
                    return Err(CommandError::other(text!("ERR No such user '", c_text(value), "'")));
                }
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => filter.skip_asking = true,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => filter.skip_asking = false,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(filter)
    }

    fn holds(&self, shard: &Shard, c: &Connection) -> bool {
        let is = |wanted: &Option<Vec<u8>>, text: &dyn Fn() -> Text| {
            wanted.as_ref().is_none_or(|wanted| **wanted == *text())
        };
        self.id.is_none_or(|id| c.id as i64 == id)
            && self.client_type.is_none_or(|wanted| ClientType::of(c) == wanted)
            && self.user.as_ref().is_none_or(|user| **user == *c.user.name)
            && is(&self.address, &|| shard.turn.peer_text(c))
            && is(&self.local_address, &|| shard.turn.local_text(c))
    }
}

pub(super) fn kill(shard: &mut Shard, c: &mut Connection, _: &mut Reply, args: Args) -> Outcome {
    let old_form = args.len() == 3;
    let filter = if old_form {
        Filter { address: Some(args[2].to_vec()), ..Filter::default() }
    } else {
        Filter::parse(&args[2..], &shard.turn.users)?
    };
    let own = !filter.skip_asking && filter.holds(shard, c);
    let asking = c.id;
    shard.ask_all_until_all_know_for(c, KillClients { filter, asking }, move |_, answers, reply| {
        let killed = answers.iter().sum::<usize>() + usize::from(own);
        match (old_form, killed) {
            (false, _) => reply.integer(killed as i64),
            (true, 0) => reply.error("ERR No such client"),
            (true, _) => reply.ok(),
        }
    });
    if own {
        c.flags.set(Flag::CloseAfterReply);
    }
    Ok(Flow::Later)
}

/// Close those of your connections that `filter` names, but not the one that asks.
#[derive(Clone)]
pub struct KillClients {
    filter: Filter,
    asking: u64,
}

impl Question for KillClients {
    type Answer = usize;

    fn answer(self, shard: &mut Shard) -> usize {
        shard.kill_clients(&self.filter, self.asking)
    }
}

impl Shard {
    /// Closes those of this shard's connections that `filter` names, but not the one that asks. Returns how many.
    fn kill_clients(&mut self, filter: &Filter, asking: u64) -> usize {
        let mut killed = 0;
        for token in self.connections.table.tokens() {
            let Some(mut connection) = self.connections.table.take(token) else { continue };
            let is_open = !connection.flags.has(Flag::Closing);
            if is_open && connection.id != asking && filter.holds(self, &connection) {
                self.close(&mut connection);
                killed += 1;
            }
            self.finish(connection);
        }
        killed
    }
}
