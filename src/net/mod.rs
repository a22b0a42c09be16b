//! What Gyre asks of other servers: commands out, replies in, over connections of its own. `replies` reads replies out of bytes, wherever
//! these come from; `client` is a connection that waits, for threads beside the shards.

pub(crate) mod client;
pub(crate) mod replies;
