//! A pipeline whose requests run on several shards: how its replies leave.

mod support;

use support::{eventually, info, name_on, Client, Server};

/// GETs of keys of the shards in turn, `first` beginning.
fn gets(first: usize, shards: usize) -> Vec<Vec<String>> {
    (0..16).map(|i| vec!["GET".to_owned(), name_on((first + i) % shards, shards, i)]).collect()
}

fn sends_of(client: &mut Client, pipeline: &[Vec<String>]) -> u64 {
    let before = info(client, "total_writes_processed");
    let replies = client.pipeline(pipeline);
    assert!(replies.iter().all(|reply| reply.is_null()), "{replies:?}");
    // The answer to the first question is a send, too.
    info(client, "total_writes_processed") - before - 1
}

#[test]
fn the_replies_of_a_pipeline_leave_together() {
    for shards in [1, 2, 3] {
        let server = Server::with_shards(shards);
        let mut client = server.client();
        for first in 0..shards {
            let pipeline = gets(first, shards);
            // A shard that has to wait for its core sends what there is.
            let is_one = (0..100).any(|_| sends_of(&mut client, &pipeline) == 1);
            assert!(is_one, "{shards} shards, the first key on {first}: never one send");
        }
    }
}

#[test]
fn what_is_there_does_not_wait_for_a_shard_that_takes_long() {
    let server = Server::with_shards(2);
    let (mut client, mut other) = (server.client(), server.client());
    for first in 0..2 {
        let (quick, slow) = (name_on(first, 2, 1), name_on(1 - first, 2, 1));
        let mut pipeline = Client::encode(&["SET", &quick, "x"]);
        pipeline.extend(Client::encode(&["EVAL", "while true do end", "1", &slow]));
        client.send_raw(&pipeline);
        // Whichever shard serves the client: this comes while the second request runs.
        assert!(client.receive().is_ok(), "the first key on {first}");
        assert!(eventually(|| other.call(&["SCRIPT", "KILL"]).is_ok()));
        assert!(client.receive().is_error(), "the script was ended");
    }
}
