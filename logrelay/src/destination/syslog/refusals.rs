//! Messages of the chunk that were refused, and how often.
//!
//! Limits: [`REMEMBERED`] messages; when there are more, one of them is forgotten, and must be refused as often again
//! before it is given up. A crash forgets all.

use std::collections::HashMap;

/// Messages that are remembered at most.
const REMEMBERED: usize = 256;

/// How often messages were refused.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<u64, u32>);

impl Refusals {
    /// The message with this key was refused.
    pub(super) fn note(&mut self, key: u64) {
        if self.0.len() >= REMEMBERED
            && !self.0.contains_key(&key)
            && let Some(other) = self.0.keys().next().copied()
        {
            self.0.remove(&other);
        }
        *self.0.entry(key).or_default() += 1;
    }

    /// Whether the message was refused so often; its `key` is asked for only if any message was.
    pub(super) fn reached(&self, times: u32, key: impl FnOnce() -> u64) -> bool {
        !self.0.is_empty() && self.0.get(&key()).is_some_and(|refused| *refused >= times)
    }

    /// The chunk is done.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_are_remembered_and_not_too_many() {
        let mut refusals = Refusals::default();
        assert!(!refusals.reached(0, || panic!("nobody was refused")));
        for key in [5, 6, 5] {
            refusals.note(key);
        }
        assert!(refusals.reached(2, || 5) && !refusals.reached(2, || 6) && refusals.reached(1, || 6));
        (0..1000).for_each(|key| refusals.note(key));
        assert!(refusals.0.len() == REMEMBERED && refusals.reached(1, || 999));
        refusals.clear();
        assert!(!refusals.reached(1, || 999));
    }
}
