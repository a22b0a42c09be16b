//! Which snapshots may be under way together.
//!
//! What writes to the data set's own files is one at a time, as in Redis. A stream disturbs neither those nor a stream of another kind.
//!
//! | asked for, while there is | BGSAVE, SAVE | a rewrite | PIPESAVE | DUMPSAVE, SYNC | full syncs |
//! | --- | --- | --- | --- | --- | --- |
//! | BGSAVE | in progress | another | begins | begins | begins |
//! | SAVE | in progress | in progress | begins | begins | begins |
//! | BGREWRITEAOF | another | in progress | begins | begins | begins |
//! | PIPESAVE | begins | begins | in progress | begins | begins |
//! | DUMPSAVE, SYNC | begins | begins | begins | in progress | begins |
//! | a full sync | begins | begins | begins | begins | begins |

use super::Purpose;

/// Why a snapshot cannot begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// One like it is in progress.
    InProgress,
    /// Another one, which it would disturb.
    Another,
}

/// Whether a snapshot may begin beside `running`; a rewrite of the logs counts from its first step to its last.
pub fn admit(asked: Purpose, running: impl IntoIterator<Item = Purpose>) -> Result<(), Refusal> {
    use Purpose::{Background, Dump, Foreground, FullSync, Pipe, Rewrite};
    let refusals = running.into_iter().map(|running| match (asked, running) {
        (FullSync, _) => Ok(()),
        (Pipe, Pipe) | (Dump, Dump) => Err(Refusal::InProgress),
        (Pipe | Dump, _) | (_, Pipe | Dump | FullSync) => Ok(()),
        (Foreground, Background | Foreground | Rewrite) | (Background, Background | Foreground) => {
            Err(Refusal::InProgress)
        }
        (Background, Rewrite) => Err(Refusal::Another),
        (Rewrite, Rewrite) => Err(Refusal::InProgress),
        (Rewrite, Background | Foreground) => Err(Refusal::Another),
    });
    // That one like it is in progress says more.
    refusals
        .reduce(|a, b| match (a, b) {
            (Err(Refusal::InProgress), _) | (_, Ok(())) => a,
            _ => b,
        })
        .unwrap_or(Ok(()))
}
