//! The phases of a barrier: an instant at which no transaction over shards is half done, and what is done then. Without I/O: `next` says
//! what is to be done, `answered` takes what came of it. What the work is, and what the coordinator does in between, is the shard's.
//!
//! ```text
//!   coordinator   Here ----> Each ------------------------------> Here, with the answers of all shards ----> ...
//!                             | work             ^ answer
//!   every shard               +--- does it ------+    all at once, in several turns if need be, or one after the other
//! ```

use std::collections::VecDeque;

/// What happens while no transaction over shards is half done.
pub enum Phase<Work, Here, Decide> {
    /// Every shard does this, all at the same time.
    Each(Work),
    /// One shard after the other does this, and goes on as soon as it is done. The last phase, if there is one like it.
    InTurn(Work),
    /// The coordinator does this.
    Here(Here),
    /// The coordinator decides what follows. The last phase, if there is one like it.
    Decide(Decide),
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next<Work, Answer, Here, Decide> {
    Each(Work),
    /// One shard does this; with `is_last` nothing comes after it there.
    At {
        shard: usize,
        work: Work,
        is_last: bool,
    },
    /// With the answers of the phase before.
    Here(Here, Vec<Answer>),
    Decide(Decide, Vec<Answer>),
}

pub struct Barrier<Work, Answer, Here, Decide> {
    phases: VecDeque<Phase<Work, Here, Decide>>,
    /// Whose turn is next in a phase that goes from shard to shard.
    turn: usize,
    /// Of the phase in progress, or the last one.
    answers: Vec<Answer>,
}

impl<Work: Clone, Answer: Default, Here, Decide> Barrier<Work, Answer, Here, Decide> {
    pub fn new(phases: impl IntoIterator<Item = Phase<Work, Here, Decide>>) -> Self {
        Barrier { phases: phases.into_iter().collect(), turn: 0, answers: Vec::new() }
    }

    /// All answers that were asked for are there. `None`: it is over.
    pub fn next(&mut self, shards: usize) -> Option<Next<Work, Answer, Here, Decide>> {
        Some(match self.phases.pop_front()? {
            Phase::Each(work) => Next::Each(work),
            Phase::Here(here) => Next::Here(here, std::mem::take(&mut self.answers)),
            Phase::Decide(decide) => Next::Decide(decide, std::mem::take(&mut self.answers)),
            Phase::InTurn(work) => {
                let shard = self.turn;
                self.turn += 1;
                let is_last = self.phases.is_empty();
                if self.turn < shards {
                    self.phases.push_front(Phase::InTurn(work.clone()));
                }
                Next::At { shard, work, is_last }
            }
        })
    }

    /// What was decided.
    pub fn go_on_with(&mut self, phases: impl IntoIterator<Item = Phase<Work, Here, Decide>>) {
        self.phases.extend(phases);
    }

    /// A shard has done its work.
    pub fn answered(&mut self, from: usize, shards: usize, answer: Answer) {
        self.answers.resize_with(shards, Default::default);
        if let Some(place) = self.answers.get_mut(from) {
            *place = answer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Test = Barrier<char, u32, char, char>;

    #[test]
    fn answers_of_all_shards_come_to_the_phase_behind_them_in_their_order() {
        let mut barrier: Test = Barrier::new([Phase::Each('w'), Phase::Here('h'), Phase::Here('i')]);
        assert!(matches!(barrier.next(2), Some(Next::Each('w'))));
        barrier.answered(1, 2, 11);
        barrier.answered(0, 2, 10);
        assert!(matches!(barrier.next(2), Some(Next::Here('h', answers)) if answers == [10, 11]));
        assert!(matches!(barrier.next(2), Some(Next::Here('i', answers)) if answers.is_empty()));
        assert!(barrier.next(2).is_none());
    }

    #[test]
    fn one_shard_after_the_other_and_the_last_phase_is_known() {
        let mut barrier: Test = Barrier::new([Phase::Decide('d')]);
        assert!(matches!(barrier.next(2), Some(Next::Decide('d', _))));
        barrier.go_on_with([Phase::InTurn('w')]);
        assert!(matches!(barrier.next(2), Some(Next::At { shard: 0, work: 'w', is_last: true })));
        assert!(matches!(barrier.next(2), Some(Next::At { shard: 1, work: 'w', is_last: true })));
        assert!(barrier.next(2).is_none());
    }
}
