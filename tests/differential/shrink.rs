//! Leaves out what a difference does not need: steps in ever smaller parts, then words of what is left.

use super::generate::Step;

const ATTEMPTS_MAX: usize = 1_200;
/// Shorter commands are left as they are.
const WORDS_MIN: usize = 4;

/// The shortest sequence found for which `differs` still says yes.
pub fn shrink(steps: Vec<Step>, mut differs: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let mut attempts = 0;
    let mut bounded = |steps: &[Step]| {
        attempts += 1;
        attempts <= ATTEMPTS_MAX && differs(steps)
    };
    let mut steps = fewer(steps, |steps| bounded(steps));
    for at in 0..steps.len() {
        for command in 0..steps[at].commands.len() {
            let args = steps[at].commands[command].clone();
            if args.len() < WORDS_MIN {
                continue;
            }
            let mut with = |rest: &[Vec<u8>]| {
                let mut changed = steps.clone();
                changed[at].commands[command].truncate(2);
                changed[at].commands[command].extend_from_slice(rest);
                bounded(&changed)
            };
            let rest = fewer(args[2..].to_vec(), &mut with);
            steps[at].commands[command].truncate(2);
            steps[at].commands[command].extend(rest);
        }
    }
    steps
}

fn fewer<T: Clone>(mut all: Vec<T>, mut differs: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut part = all.len().div_ceil(2);
    while part > 0 {
        let before = all.len();
        let mut at = 0;
        while at < all.len() {
            let mut without = all.clone();
            without.drain(at..(at + part).min(all.len()));
            if differs(&without) {
                all = without;
            } else {
                at += part;
            }
        }
        let again = part == 1 && all.len() < before;
        part = if again { 1 } else { part / 2 };
    }
    all
}
