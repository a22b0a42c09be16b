//! What INFO calls instantaneous: the mean over the last samples of how fast a counter rose.

/// Samples kept; one is taken every cron run.
const SAMPLES: usize = 16;

/// One counter's rate.
#[derive(Debug, Default)]
pub struct Rate {
    samples: [u64; SAMPLES],
    next: usize,
    /// The counter and what it was measured against, when the last sample was taken.
    last: Option<(u64, u64)>,
}

impl Rate {
    /// Notes the counter's `value` at `base`; the sample is how much `value` rose for each `scale` that `base` did.
    pub fn sample(&mut self, value: u64, base: u64, scale: u64) {
        if let Some((last_value, last_base)) = self.last {
            // A counter that was reset has no rate.
            let (rose, passed) = (value.saturating_sub(last_value), base.saturating_sub(last_base));
            self.samples[self.next] = rose.saturating_mul(scale).checked_div(passed).unwrap_or(0);
            self.next = (self.next + 1) % SAMPLES;
        }
        self.last = Some((value, base));
    }

    pub fn mean(&self) -> u64 {
        self.samples.iter().sum::<u64>() / SAMPLES as u64
    }
}

/// The rates that INFO stats shows.
#[derive(Debug, Default)]
pub struct Rates {
    pub commands: Rate,
    pub bytes_in: Rate,
    pub bytes_out: Rate,
    pub loop_turns: Rate,
    /// Microseconds of a turn.
    pub turn_us: Rate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_the_last_samples() {
        let mut rate = Rate::default();
        for tick in 0..=SAMPLES as u64 {
            rate.sample(tick * 50, 7_000 + tick * 100, 1000);
        }
        assert_eq!(rate.mean(), 500);
        // Half of the samples without a change.
        for tick in 1..=SAMPLES as u64 / 2 {
            rate.sample(SAMPLES as u64 * 50, 7_000 + (SAMPLES as u64 + tick) * 100, 1000);
        }
        assert_eq!(rate.mean(), 250);
    }

    #[test]
    fn a_counter_set_back_to_zero_makes_no_spike() {
        let mut rate = Rate::default();
        rate.sample(1_000_000, 1, 1000);
        rate.sample(0, 101, 1000);
        assert_eq!(rate.mean(), 0);
        rate.sample(5, 101, 1000);
        assert_eq!(rate.mean(), 0, "no time has passed");
    }
}
