//! What the configuration says about rates and silence, ready to be asked per host.

use std::collections::HashMap;

use super::rate::Rate;
use crate::{config::Config, labels::Labels, message};

/// Severity from which on nothing is shed, unless the role says otherwise: `err`.
const SPARE: u8 = 3;
/// What was learned is never shorter than this, microseconds.
const LEARNED_MIN_US: i64 = 60_000_000;

/// `[logrelay.role]` and `[logrelay.limits]`.
#[derive(Debug, Clone)]
pub struct Rules {
    roles: HashMap<String, RoleRules>,
    rate: u32,
    burst: u32,
    /// Interval of a host whose habit is not known; 0: it is never called silent. Microseconds, as everything here.
    pub expect_us: i64,
    /// Nobody is called silent before this, however often it speaks otherwise.
    pub silent_min_us: i64,
    /// What a host may go on sending after it was withdrawn: its last words are no fault.
    pub last_words_us: i64,
    /// Since when the relay listens: before that it heard nobody, and blames nobody for it.
    pub listening_us: i64,
}

#[derive(Debug, Clone, Default)]
struct RoleRules {
    expect_us: Option<i64>,
    rate: Option<u32>,
    spare: Option<u8>,
}

impl Rules {
    /// The rules of a configuration, for a relay that listens since `listening_us`.
    ///
    /// # Errors
    /// A sentence that names the role and the key.
    pub fn new(config: &Config, listening_us: i64) -> Result<Self, String> {
        let mut roles = HashMap::new();
        for (name, role) in &config.role {
            let spare = role.spare.as_deref().map(|word| {
                message::severity(word).ok_or_else(|| {
                    format!("[logrelay.role.{name}] spare is {word:?}, but it must be a severity such as \"err\"")
                })
            });
            let expect_us = role.expect_s.map(micros);
            roles.insert(name.clone(), RoleRules { expect_us, rate: role.rate, spare: spare.transpose()? });
        }
        Ok(Self {
            roles,
            rate: config.limits.rate,
            burst: config.limits.burst,
            expect_us: micros(config.limits.expect_s),
            silent_min_us: 10_000_000,
            last_words_us: 60_000_000,
            listening_us,
        })
    }

    fn of<'a>(&'a self, labels: Option<&'a Labels>) -> impl Iterator<Item = &'a RoleRules> {
        labels.into_iter().flat_map(|labels| labels.roles.lines()).filter_map(|role| self.roles.get(role))
    }

    /// What a host may send; none: as much as it likes. Of several roles the most generous counts.
    pub fn rate(&self, labels: Option<&Labels>) -> Option<Rate> {
        let rates = self.of(labels).filter_map(|role| role.rate);
        let per_second = rates.reduce(|a, b| if a == 0 || b == 0 { 0 } else { a.max(b) }).unwrap_or(self.rate);
        let spare = self.of(labels).filter_map(|role| role.spare).max().unwrap_or(SPARE);
        Rate::new(per_second, self.burst, spare)
    }

    /// Within what time a host is expected to log; none: it is never called silent. The shortest of its roles counts,
    /// and 0 is shortest; then three times the pause that is rarely exceeded, at least a minute; then the default.
    pub(super) fn expected_us(&self, labels: Option<&Labels>, high_us: Option<i64>) -> Option<i64> {
        let learned = high_us.map(|us| us.saturating_mul(3).max(LEARNED_MIN_US));
        let role = self.of(labels).filter_map(|role| role.expect_us).min();
        Some(role.or(learned).unwrap_or(self.expect_us)).filter(|us| *us > 0)
    }

    /// How long a host with such an interval may be quiet before it is silent.
    pub(super) fn silent_after_us(&self, expected_us: i64) -> i64 {
        expected_us.saturating_mul(3).max(self.silent_min_us)
    }
}

fn micros(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn roles_come_before_what_was_learned_and_that_before_the_default() {
        let text = "limits.rate = 5\nlimits.burst = 9\nlimits.expect_s = 100\n[role.a]\nexpect_s = 30\nrate = 20\n\
                    [role.b]\nexpect_s = 20\nrate = 10\nspare = \"warning\"\n[role.never]\nexpect_s = 0\nrate = 0\n";
        let rules = Rules::new(&config(text), 0).unwrap();
        let with = |roles: &str| Labels { roles: roles.into(), ..Labels::default() };
        let expected = |roles: &str, high| rules.expected_us(Some(&with(roles)), high).map(|us| us / 1_000_000);
        assert_eq!(expected("a\nb\nc\n", Some(1)), Some(20));
        assert_eq!((expected("a\n", None), expected("a\nnever\n", None)), (Some(30), None));
        assert_eq!((expected("c\n", None), expected("", Some(1))), (Some(100), Some(60)));
        assert_eq!(expected("", Some(i64::MAX)), Some(i64::MAX / 1_000_000));
        assert_eq!(rules.rate(None), Rate::new(5, 9, 3));
        assert_eq!(rules.rate(Some(&with("a\nb\n"))), Rate::new(20, 9, 4));
        assert_eq!(rules.rate(Some(&with("a\nnever\n"))), None);
        assert_eq!((rules.silent_after_us(1), rules.silent_after_us(60_000_000)), (10_000_000, 180_000_000));
    }

    #[test]
    fn never_and_nonsense() {
        let rules = Rules::new(&config("limits.expect_s = 0"), 0).unwrap();
        assert_eq!((rules.expected_us(None, None), rules.rate(None)), (None, None));
        assert_eq!(rules.expected_us(None, Some(1)), Some(LEARNED_MIN_US));
        let error = Rules::new(&config("role.x.spare = \"loud\""), 0).unwrap_err();
        assert_eq!(error, "[logrelay.role.x] spare is \"loud\", but it must be a severity such as \"err\"");
    }
}
