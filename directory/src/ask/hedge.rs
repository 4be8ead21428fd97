//! Which appliance is asked when: a decision without clock or network.
//!
//! The first is asked at once, the next after each pause without an answer, or as soon as one under way has failed. The
//! first answer wins; nothing is asked twice; after the deadline there is nothing left to do.

use std::time::Duration;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask this one (its number in the configuration, or as it was [added](Hedge::add)), then decide again.
    Ask(usize),
    /// Wait for an answer or a failure, at most until this long after the beginning; then decide again.
    WaitUntil(Duration),
    /// Nobody will answer in time.
    GiveUp,
}

/// The questions of one command.
#[derive(Debug)]
pub struct Hedge {
    order: Vec<usize>,
    asked: usize,
    failed: usize,
    /// When the next appliance is asked though nothing has failed.
    next: Duration,
    pause: Duration,
    deadline: Duration,
}

impl Hedge {
    /// For `appliances` in the order of preference; `preferred` goes first. `pause` between questions, `deadline` for all,
    /// both since the beginning.
    pub fn new(appliances: usize, preferred: Option<usize>, pause: Duration, deadline: Duration) -> Self {
        let preferred = preferred.filter(|one| *one < appliances);
        let others = (0..appliances).filter(|one| Some(*one) != preferred);
        let order = preferred.into_iter().chain(others).collect();
        Self { order, asked: 0, failed: 0, next: Duration::ZERO, pause, deadline }
    }

    /// One more that can be asked, after all others: another address of one that was asked.
    pub fn add(&mut self, one: usize) {
        self.order.push(one);
    }

    /// What to do `now`, counted from the beginning.
    pub fn step(&mut self, now: Duration) -> Step {
        let under_way = self.asked > self.failed;
        if now >= self.deadline {
            return Step::GiveUp;
        }
        match self.order.get(self.asked) {
            Some(appliance) if !under_way || now >= self.next => {
                self.asked += 1;
                self.next = now + self.pause;
                Step::Ask(*appliance)
            }
            None if !under_way => Step::GiveUp,
            _ => Step::WaitUntil(self.quiet_until()),
        }
    }

    /// Until when, since the beginning, nobody else is to be asked, if nothing fails.
    pub fn quiet_until(&self) -> Duration {
        match self.order.get(self.asked) {
            Some(_) => self.next.min(self.deadline),
            None => self.deadline,
        }
    }

    /// One that was asked has failed at `now`: the next one need not wait.
    pub fn failed(&mut self, now: Duration) {
        self.failed += 1;
        self.next = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn hedge(appliances: usize, preferred: Option<usize>) -> Hedge {
        Hedge::new(appliances, preferred, ms(200), ms(2000))
    }

    #[test]
    fn silence_brings_the_next_one_in() {
        let mut hedge = hedge(3, None);
        assert_eq!(hedge.step(ms(1)), Step::Ask(0));
        assert_eq!((hedge.step(ms(1)), hedge.quiet_until()), (Step::WaitUntil(ms(201)), ms(201)));
        assert_eq!(hedge.step(ms(201)), Step::Ask(1));
        assert_eq!(hedge.step(ms(300)), Step::WaitUntil(ms(401)));
        assert_eq!(hedge.step(ms(450)), Step::Ask(2));
        assert_eq!((hedge.step(ms(450)), hedge.quiet_until()), (Step::WaitUntil(ms(2000)), ms(2000)));
        assert_eq!(hedge.step(ms(2000)), Step::GiveUp);
    }

    #[test]
    fn a_failure_brings_the_next_one_in_at_once() {
        let mut hedge = hedge(2, None);
        assert_eq!(hedge.step(ms(0)), Step::Ask(0));
        hedge.failed(ms(3));
        assert_eq!(hedge.step(ms(3)), Step::Ask(1));
        hedge.failed(ms(4));
        assert_eq!(hedge.step(ms(4)), Step::GiveUp, "both have failed: no reason to wait for the deadline");
    }

    #[test]
    fn another_address_is_asked_after_the_other_appliances() {
        let mut hedge = hedge(2, None);
        assert_eq!(hedge.step(ms(0)), Step::Ask(0));
        hedge.add(2);
        assert_eq!(hedge.step(ms(200)), Step::Ask(1));
        hedge.failed(ms(210));
        assert_eq!(hedge.step(ms(210)), Step::Ask(2));
        assert_eq!(hedge.step(ms(210)), Step::WaitUntil(ms(2000)));
    }

    #[test]
    fn the_preferred_one_goes_first_and_is_asked_once() {
        let mut hedge = hedge(3, Some(1));
        let mut order = Vec::new();
        while let Step::Ask(one) = hedge.step(ms(0)) {
            order.push(one);
            hedge.failed(ms(0));
        }
        assert_eq!(order, [1, 0, 2]);
    }

    #[test]
    fn a_preference_for_one_that_was_removed_counts_for_nothing() {
        assert_eq!(hedge(1, Some(4)).step(ms(0)), Step::Ask(0));
    }

    #[test]
    fn nobody_to_ask() {
        assert_eq!(hedge(0, None).step(ms(0)), Step::GiveUp);
    }

    #[test]
    fn a_pause_beyond_the_deadline_does_not_outlive_it() {
        let mut hedge = Hedge::new(2, None, ms(500), ms(100));
        assert_eq!(hedge.step(ms(0)), Step::Ask(0));
        assert_eq!(hedge.step(ms(0)), Step::WaitUntil(ms(100)));
    }
}
