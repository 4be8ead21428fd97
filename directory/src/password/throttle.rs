//! How fast somebody may guess: a growing delay per (user, source), and a limit on failures per source.
//!
//! Nobody is ever locked: a delay ends at [`DELAY_MAX`], and it concerns one source. Attempts that run at the same time
//! count before they are judged once there was a failure, so that opening many connections gains nothing. The limit of a
//! source does not concern who lately came in from there: one guesser behind a gateway must not shut out all others. All
//! tables are bounded; when one is full, of some taken at random the one that has failed least is forgotten.

use std::{
    hash::{BuildHasher, Hash},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use indexmap::IndexMap;

/// Failures before the first delay.
const FREE: u32 = 3;
/// The first delay, in milliseconds; it doubles with every failure.
const DELAY_MS: u64 = 250;
/// The longest delay, in milliseconds.
const DELAY_MAX_MS: u64 = 30_000;
/// A delay up to this is waited for, in milliseconds; an attempt that would wait longer is refused unjudged.
const WAIT_MAX_MS: u64 = 2000;
/// Milliseconds without a failure after which all is forgotten.
const FORGET_MS: u64 = 15 * 60 * 1000;
/// Attempts of one user from one source at the same time while none has failed: a VPN gateway after a restart.
const AT_ONCE: u32 = 64;
/// Failures of one source that are taken at once, and how many are forgiven per second.
const SOURCE_BURST: i64 = 120;
const SOURCE_PER_S: i64 = 2;
/// (user, source) pairs that are remembered.
pub(super) const USERS_MAX: usize = 16_384;
/// Sources that are remembered.
pub(super) const SOURCES_MAX: usize = 8192;
/// (user, source) pairs that came in lately and are remembered, and for how many milliseconds: a working day.
pub(super) const WELCOME_MAX: usize = 16_384;
const WELCOME_MS: u64 = 12 * 3600 * 1000;
/// How many are compared when one has to be forgotten.
const SAMPLE: usize = 16;

/// Who tries: a digest of the DN.
type User = [u8; 16];

/// What an attempt may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Be judged after a delay, often none. It must be settled.
    After(Duration),
    /// Be refused unjudged: too many failures.
    Refused,
    /// Be told to come again: too many attempts at the same time.
    Crowded,
}

/// How an admitted attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The password was right.
    Right,
    /// It was wrong, or whoever asked did not wait for the answer.
    Wrong,
    /// Nobody could judge.
    Unjudged,
}

#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    failures: u32,
    running: u32,
    /// Earliest time of the next judgement, in milliseconds.
    free_at: u64,
    seen: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Source {
    failures: i64,
    /// Milliseconds up to which failures are forgiven.
    since: u64,
}

impl Source {
    fn settle(&mut self, now: u64) {
        let seconds = now.saturating_sub(self.since) / 1000;
        let forgiven = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(SOURCE_PER_S);
        self.failures = self.failures.saturating_sub(forgiven).max(0);
        self.since += seconds * 1000;
    }
}

/// The tables. Time is in milliseconds on any clock that does not go back.
#[derive(Default)]
pub(super) struct Throttle {
    users: IndexMap<(User, IpAddr), Attempts>,
    sources: IndexMap<IpAddr, Source>,
    /// When a pair came in last.
    welcome: IndexMap<(User, IpAddr), u64>,
    /// How often a victim was chosen.
    choices: u64,
    /// Entries forgotten because a table was full.
    pub(super) forgotten: u64,
}

/// An IPv6 host owns a /64 at least.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn key(user: &str) -> User {
    let mut out = [0; 16];
    blake3::Hasher::new().update(user.as_bytes()).finalize_xof().fill(&mut out);
    out
}

fn delay_ms(failures: u32) -> u64 {
    match failures.checked_sub(FREE) {
        None => 0,
        Some(more) => DELAY_MS.saturating_mul(1 << more.min(32)).min(DELAY_MAX_MS),
    }
}

/// Makes room for one more: what `over` says is over goes, else the one of a sample that has failed least. The sample is
/// taken where nobody can foresee: the table's own hasher has a secret key. Gives how many went that were not over.
fn room<K: Hash + Eq + Copy, V>(
    table: &mut IndexMap<K, V>,
    max: usize,
    choices: &mut u64,
    over: impl Fn(&V) -> bool,
    weight: impl Fn(&V) -> u64,
) -> u64 {
    if table.len() < max {
        return 0;
    }
    *choices += 1;
    let place = |at: usize| table.hasher().hash_one((*choices, at)) % table.len() as u64;
    let sample = (0..SAMPLE).filter_map(|at| table.get_index(usize::try_from(place(at)).ok()?));
    let sample: Vec<(K, bool, u64)> = sample.map(|(k, v)| (*k, over(v), weight(v))).collect();
    let mut gone = false;
    for (key, ..) in sample.iter().filter(|(_, over, _)| *over) {
        gone |= table.swap_remove(key).is_some();
    }
    if !gone && let Some((key, ..)) = sample.iter().min_by_key(|(.., weight)| *weight) {
        table.swap_remove(key);
        return 1;
    }
    0
}

impl Throttle {
    /// Whether an attempt may be judged, and when.
    pub(super) fn admit(&mut self, user: &str, source: IpAddr, now: u64) -> Admission {
        let source = network(source);
        let key = (key(user), source);
        let is_welcome = self.is_welcome(&key, now);
        if let Some(known) = self.sources.get_mut(&source) {
            known.settle(now);
            if known.failures >= SOURCE_BURST && !is_welcome {
                return Admission::Refused;
            }
        }
        if !self.users.contains_key(&key) {
            let over = |a: &Attempts| a.running == 0 && now.saturating_sub(a.seen) > FORGET_MS;
            let weight = |a: &Attempts| u64::from(a.failures) << 32 | u64::from(a.running);
            self.forgotten += room(&mut self.users, USERS_MAX, &mut self.choices, over, weight);
        }
        let attempts = self.users.entry(key).or_default();
        if now.saturating_sub(attempts.seen) > FORGET_MS {
            attempts.failures = 0;
        }
        attempts.seen = now;
        if attempts.failures == 0 {
            if attempts.running >= AT_ONCE {
                return Admission::Crowded;
            }
            attempts.running += 1;
            return Admission::After(Duration::ZERO);
        }
        let wait = attempts.free_at.saturating_sub(now);
        if wait > WAIT_MAX_MS {
            return Admission::Refused;
        }
        attempts.running += 1;
        attempts.free_at = now + wait + delay_ms(attempts.failures.saturating_add(attempts.running));
        Admission::After(Duration::from_millis(wait))
    }

    /// Takes note of the end of an admitted attempt.
    pub(super) fn settle(&mut self, user: &str, source: IpAddr, outcome: Outcome, now: u64) {
        let source = network(source);
        let key = (key(user), source);
        if outcome == Outcome::Wrong {
            if !self.sources.contains_key(&source) {
                let over = |s: &Source| s.failures <= 0;
                let weight = |s: &Source| s.failures.unsigned_abs();
                self.forgotten += room(&mut self.sources, SOURCES_MAX, &mut self.choices, over, weight);
            }
            let known = self.sources.entry(source).or_insert(Source { failures: 0, since: now });
            known.settle(now);
            known.failures += 1;
        }
        if outcome == Outcome::Right {
            self.welcomes(key, now);
        }
        let Some(attempts) = self.users.get_mut(&key) else { return };
        attempts.running = attempts.running.saturating_sub(1);
        match outcome {
            Outcome::Right => (attempts.failures, attempts.free_at) = (0, 0),
            Outcome::Wrong => {
                attempts.failures = attempts.failures.saturating_add(1);
                attempts.free_at = attempts.free_at.max(now + delay_ms(attempts.failures));
            }
            Outcome::Unjudged => {}
        }
        if attempts.running == 0 && attempts.failures == 0 {
            self.users.swap_remove(&key);
        }
    }

    /// Whether a pair came in lately.
    fn is_welcome(&self, key: &(User, IpAddr), now: u64) -> bool {
        self.welcome.get(key).is_some_and(|at| now.saturating_sub(*at) <= WELCOME_MS)
    }

    /// Takes note that a pair came in. Who is forgotten for it is under the limit of its source again, so it counts not as
    /// a guesser who was forgotten.
    fn welcomes(&mut self, key: (User, IpAddr), now: u64) {
        if !self.welcome.contains_key(&key) {
            let over = |at: &u64| now.saturating_sub(*at) > WELCOME_MS;
            room(&mut self.welcome, WELCOME_MAX, &mut self.choices, over, |at| *at);
        }
        self.welcome.insert(key, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> IpAddr {
        "10.0.0.7".parse().unwrap()
    }

    /// Fails once, at the earliest time from `now` on; gives the time of the judgement.
    fn fail(throttle: &mut Throttle, now: u64) -> u64 {
        for at in (now..).step_by(50) {
            if let Admission::After(wait) = throttle.admit("ada", home(), at) {
                let at = at + wait.as_millis() as u64;
                throttle.settle("ada", home(), Outcome::Wrong, at);
                return at;
            }
        }
        unreachable!()
    }

    #[test]
    fn the_delay_doubles_after_three_failures_and_ends_at_half_a_minute() {
        let mut throttle = Throttle::default();
        let mut now = 0;
        let delays: Vec<u64> = (0..14)
            .map(|_| {
                let at = fail(&mut throttle, now);
                (at - std::mem::replace(&mut now, at)) / 250
            })
            .collect();
        assert_eq!(delays[..3], [0, 0, 0]);
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]), "{delays:?}");
        assert!(delays[13] * 250 >= DELAY_MAX_MS && delays[13] * 250 <= DELAY_MAX_MS + 1000, "{delays:?}");
    }

    #[test]
    fn a_success_clears_and_another_source_or_user_is_not_concerned() {
        let mut throttle = Throttle::default();
        let now = (0..12).fold(0, |now, _| fail(&mut throttle, now));
        assert_eq!(throttle.admit("ada", home(), now), Admission::Refused);
        assert_eq!(throttle.admit("ada", "10.0.0.8".parse().unwrap(), now), Admission::After(Duration::ZERO));
        assert_eq!(throttle.admit("grace", home(), now), Admission::After(Duration::ZERO));
        let later = now + DELAY_MAX_MS;
        assert!(matches!(throttle.admit("ada", home(), later), Admission::After(_)));
        throttle.settle("ada", home(), Outcome::Right, later);
        assert_eq!(throttle.admit("ada", home(), later), Admission::After(Duration::ZERO));
    }

    #[test]
    fn attempts_at_the_same_time_gain_nothing_after_a_failure() {
        let mut throttle = Throttle::default();
        fail(&mut throttle, 0);
        let judged = (0..500).filter(|_| throttle.admit("ada", home(), 1) != Admission::Refused).count();
        assert!(judged <= 8, "{judged}");
    }

    #[test]
    fn many_right_logins_of_one_user_at_the_same_time_are_no_guessing() {
        let mut throttle = Throttle::default();
        for _ in 0..AT_ONCE {
            assert_eq!(throttle.admit("vpn", home(), 0), Admission::After(Duration::ZERO));
        }
        assert_eq!(throttle.admit("vpn", home(), 0), Admission::Crowded);
        for _ in 0..AT_ONCE {
            throttle.settle("vpn", home(), Outcome::Right, 1);
        }
        assert_eq!(throttle.admit("vpn", home(), 1), Admission::After(Duration::ZERO));
    }

    #[test]
    fn a_source_that_tries_many_names_is_held_back_and_forgiven() {
        let mut throttle = Throttle::default();
        let mut judged = 0;
        for at in 0..1000 {
            let user = format!("user{at}");
            if let Admission::After(_) = throttle.admit(&user, home(), 0) {
                throttle.settle(&user, home(), Outcome::Wrong, 0);
                judged += 1;
            }
        }
        assert_eq!(judged, SOURCE_BURST);
        assert!(matches!(throttle.admit("grace", "10.0.0.9".parse().unwrap(), 0), Admission::After(_)));
        assert_eq!(throttle.admit("grace", home(), 999), Admission::Refused);
        assert!(matches!(throttle.admit("grace", home(), 2000), Admission::After(_)));
    }

    #[test]
    fn one_guesser_behind_a_gateway_does_not_shut_out_who_came_in_from_there() {
        let mut throttle = Throttle::default();
        assert!(matches!(throttle.admit("grace", home(), 0), Admission::After(_)));
        throttle.settle("grace", home(), Outcome::Right, 0);
        for at in 0..1000 {
            let user = format!("user{at}");
            if let Admission::After(_) = throttle.admit(&user, home(), 1) {
                throttle.settle(&user, home(), Outcome::Wrong, 1);
            }
        }
        assert_eq!(throttle.admit("ada", home(), 1), Admission::Refused);
        assert_eq!(throttle.admit("grace", home(), 1), Admission::After(Duration::ZERO));
        // Who guesses that person's password from there is slowed down all the same.
        throttle.settle("grace", home(), Outcome::Wrong, 1);
        let judged = (0..500)
            .filter(|_| match throttle.admit("grace", home(), 1) {
                Admission::After(_) => {
                    throttle.settle("grace", home(), Outcome::Wrong, 1);
                    true
                }
                _ => false,
            })
            .count();
        assert!(judged <= 8, "{judged}");
        // And it is forgotten.
        let late = 2 + WELCOME_MS;
        let key = (key("grace"), home());
        assert!(throttle.is_welcome(&key, WELCOME_MS) && !throttle.is_welcome(&key, late));
    }

    #[test]
    fn who_came_in_is_remembered_within_bounds() {
        let mut throttle = Throttle::default();
        for at in 0..2 * WELCOME_MAX as u64 {
            throttle.settle(&format!("user{at}"), home(), Outcome::Right, at);
        }
        assert!(throttle.welcome.len() <= WELCOME_MAX, "{}", throttle.welcome.len());
        assert!(throttle.is_welcome(&(key(&format!("user{}", 2 * WELCOME_MAX - 1)), home()), 2 * WELCOME_MAX as u64));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        let mut throttle = Throttle::default();
        for at in 0..20u128 {
            let source = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | at));
            if let Admission::After(_) = throttle.admit("ada", source, 0) {
                throttle.settle("ada", source, Outcome::Wrong, 0);
            }
        }
        assert_eq!(throttle.users.len(), 1);
        assert_eq!(throttle.admit("ada", "2001:db8::ffff".parse().unwrap(), 0), Admission::Refused);
    }

    #[test]
    fn the_tables_are_bounded_and_the_worst_are_kept() {
        let mut throttle = Throttle::default();
        let now = (0..12).fold(0, |now, _| fail(&mut throttle, now));
        for at in 0..100_000u32 {
            let source = IpAddr::V4((0x0b00_0000 + at).into());
            throttle.admit("x", source, now);
            throttle.settle("x", source, Outcome::Wrong, now);
        }
        assert!(throttle.users.len() <= USERS_MAX && throttle.sources.len() <= SOURCES_MAX);
        assert!(throttle.forgotten > 0);
        assert_eq!(throttle.admit("ada", home(), now), Admission::Refused);
    }
}
