//! Who gains and who loses which hosts between two policies: what a change would do, before it is applied.
//!
//! Only what may differ is decided twice: for people whose rules changed, the hosts that a changed pattern means; for
//! everybody, the hosts that changed. Tables that the two policies share are recognised as such, so it is cheapest when one
//! was advanced from the other. The work is limited, and the result says whether all of it was done.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    ops::ControlFlow,
    sync::Arc,
};

use compact_str::CompactString;
use inventory::{Host, HostKey};
use serde::Serialize;

use super::{
    Access,
    decide::Asked,
    decision::{Reason, Rule},
    index::Probe,
    names::in_full,
    rules::{Held, Rules, Wanted, deciding},
};

/// Most work that is done for one comparison: one unit for a host that is held against changed patterns, and
/// [`PAIR_COST`] for a person and a host that are decided about.
pub const EFFORT_MAX: u64 = 100_000_000;
/// What one pair of decisions costs.
const PAIR_COST: u64 = 80;
/// Most groups of people that are shown as gaining, and as losing.
const MOVES_MAX: usize = 50;
/// Most names of people, and of hosts, that are shown of one group.
const NAMES_MAX: usize = 20;

/// What differs between two policies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Those who gain, the largest groups first.
    pub gains: Vec<Moved>,
    /// Those who lose.
    pub losses: Vec<Moved>,
    /// How many login names gain or lose anything.
    pub people: usize,
    /// How many groups are not shown.
    pub left_off: usize,
    /// How many login names were not compared, because the work would have been too much.
    pub not_compared: usize,
}

/// People who gain, or lose, the same hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// Login names, some of them.
    pub people: Vec<CompactString>,
    /// How many people.
    pub people_count: usize,
    /// Name, zone and product of hosts, some of them.
    pub hosts: Vec<CompactString>,
    /// How many hosts.
    pub host_count: usize,
    /// The reason and the rule for the first of them on the first host: of the policy after, and when that has no
    /// rule, what admitted before.
    pub why: String,
}

/// One host on both sides.
type Sides<'a> = [Option<&'a Arc<Host>>; 2];
/// What holds for a person on one side; the reason if they may go nowhere.
type Standing<'a> = Result<Vec<&'a Rules>, Reason>;

struct Comparison<'a> {
    hosts: Vec<Sides<'a>>,
    /// Hosts that changed, by their place in the list.
    changed: Vec<u32>,
    /// Whether two tables are the same, by their addresses.
    same: HashMap<(usize, usize), bool>,
    /// Hosts that some changed tables mean, by the addresses of the tables.
    meant: HashMap<Vec<usize>, Arc<[u32]>>,
    effort: u64,
    service: &'a str,
    now_s: u64,
}

/// Groups of people by the hosts that they gain or lose.
type Groups = HashMap<Vec<u32>, Moved>;

impl Access {
    /// Compares this policy with one `after` it.
    pub fn diff(&self, after: &Self, service: &str, now_s: u64) -> Diff {
        let mut comparison = Comparison::of(self, after, deciding(service), now_s);
        let (mut gains, mut losses, mut diff) = (Groups::new(), Groups::new(), Diff::default());
        for Alike { standings, names } in alike(self, after, now_s) {
            if comparison.effort > EFFORT_MAX {
                diff.not_compared += names.len();
                continue;
            }
            let moved = comparison.moves(&standings);
            diff.people += if moved.iter().any(|(hosts, _)| !hosts.is_empty()) { names.len() } else { 0 };
            for (groups, (hosts, why)) in [&mut gains, &mut losses].into_iter().zip(moved) {
                if !hosts.is_empty() {
                    comparison.file(groups, &names, hosts, why);
                }
            }
        }
        diff.left_off = gains.len().saturating_sub(MOVES_MAX) + losses.len().saturating_sub(MOVES_MAX);
        diff.gains = largest(gains);
        diff.losses = largest(losses);
        diff
    }

    fn standing(&self, name: &str, now_s: u64) -> Standing<'_> {
        let person = self.person(name)?;
        match self.barrier(person, now_s) {
            Some((reason, _)) => Err(reason),
            None => Ok(self.rules_of(person, &self.groups_of(person)).collect()),
        }
    }
}

/// People for whom exactly the same tables hold on both sides: what moves for one moves for all.
struct Alike<'a> {
    standings: [Standing<'a>; 2],
    names: Vec<&'a CompactString>,
}

/// The login names of both sides, in order, those that are alike together. A name is compared and not an entry: an
/// entry that was deleted and added again has another id.
fn alike<'a>(before: &'a Access, after: &'a Access, now_s: u64) -> Vec<Alike<'a>> {
    let names: BTreeSet<&CompactString> = before.uids.keys().chain(after.uids.keys()).collect();
    let (mut all, mut places) = (Vec::new(), HashMap::new());
    for name in names {
        let standings = [before.standing(name, now_s), after.standing(name, now_s)];
        let marks = |standing: &Standing<'_>| match standing {
            Ok(tables) => (None, tables.iter().map(|rules| rules.address()).collect::<Vec<_>>()),
            Err(reason) => (Some(*reason), Vec::new()),
        };
        let place = *places.entry([marks(&standings[0]), marks(&standings[1])]).or_insert_with(|| {
            all.push(Alike { standings, names: Vec::new() });
            all.len() - 1
        });
        if let Some(Alike { names, .. }) = all.get_mut(place) {
            names.push(name);
        }
    }
    all
}

fn largest(groups: Groups) -> Vec<Moved> {
    let mut list: Vec<Moved> = groups.into_values().collect();
    let size = |moved: &Moved| moved.people_count * moved.host_count;
    list.sort_by(|a, b| size(b).cmp(&size(a)).then_with(|| a.people.cmp(&b.people)));
    list.truncate(MOVES_MAX);
    list
}

impl<'a> Comparison<'a> {
    fn of(before: &'a Access, after: &'a Access, service: &'a str, now_s: u64) -> Self {
        let mut all: BTreeMap<&HostKey, Sides<'a>> = BTreeMap::new();
        before.state.hosts().for_each(|host| all.entry(&host.key).or_default()[0] = Some(host));
        after.state.hosts().for_each(|host| all.entry(&host.key).or_default()[1] = Some(host));
        let hosts: Vec<Sides<'a>> = all.into_values().collect();
        let is_same = |sides: &Sides<'_>| match sides {
            [Some(a), Some(b)] => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        };
        let changed = (0..).zip(&hosts).filter(|(_, sides)| !is_same(sides)).map(|(at, _)| at).collect();
        let effort = hosts.len() as u64;
        Self { hosts, changed, same: HashMap::new(), meant: HashMap::new(), effort, service, now_s }
    }

    /// The hosts that a person gains and those that they lose, each with the reason for the first.
    fn moves(&mut self, standings: &[Standing<'a>; 2]) -> [(Vec<u32>, String); 2] {
        let candidates = self.candidates(standings);
        let mut moved: [(Vec<u32>, String); 2] = Default::default();
        for at in candidates {
            self.effort += PAIR_COST;
            let Some(sides) = self.hosts.get(at as usize) else { continue };
            let [before, after] = [0, 1].map(|side| self.judge(&standings[side], sides[side]));
            let granted = [before.0 == Reason::Granted, after.0 == Reason::Granted];
            let (hosts, why) = match granted {
                [false, true] => &mut moved[0],
                [true, false] => &mut moved[1],
                _ => continue,
            };
            if hosts.is_empty() {
                *why = match (&after.1, &before.1) {
                    (Some(rule), _) => format!("{}: {rule}", after.0),
                    (None, Some(rule)) => format!("{}; before: {rule}", after.0),
                    (None, None) => after.0.to_string(),
                };
            }
            hosts.push(at);
        }
        moved
    }

    fn judge(&self, standing: &Standing<'a>, host: Option<&Arc<Host>>) -> (Reason, Option<Rule>) {
        let Some(host) = host else { return (Reason::UnknownHost, None) };
        if !host.is_named() {
            return (Reason::HostGone, None);
        }
        match standing {
            Err(reason) => (*reason, None),
            Ok(rules) => {
                let (reason, held) = Asked { rules, probe: Probe::of(host), now_s: self.now_s }.judge(self.service);
                (reason, held.map(Rule::of))
            }
        }
    }

    /// The hosts for which a person's two standings may differ, in order.
    fn candidates(&mut self, standings: &[Standing<'a>; 2]) -> Vec<u32> {
        let (mut old, mut new) = match standings {
            [Err(_), Err(_)] => return Vec::new(),
            [Ok(old), Err(_)] => (old.clone(), Vec::new()),
            [Err(_), Ok(new)] => (Vec::new(), new.clone()),
            [Ok(old), Ok(new)] => (old.clone(), new.clone()),
        };
        old.retain(|table| match new.iter().position(|other| self.is_same(table, other)) {
            Some(at) => {
                new.swap_remove(at);
                false
            }
            None => true,
        });
        let mut hosts = if old.is_empty() && new.is_empty() { Vec::new() } else { self.meant(&old, &new).to_vec() };
        hosts.extend(&self.changed);
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    fn is_same(&mut self, a: &Rules, b: &Rules) -> bool {
        let addresses = (a.address(), b.address());
        if addresses.0 == addresses.1 {
            return true;
        }
        *self.same.entry(addresses).or_insert_with(|| a.len() == b.len() && a.iter().eq(b.iter()))
    }

    /// The hosts that are meant by a pattern of only one side.
    fn meant(&mut self, old: &[&Rules], new: &[&Rules]) -> Arc<[u32]> {
        let divided = [old, new].map(|side| side.iter().map(|rules| rules.address()));
        let [old_key, new_key] = divided;
        let key: Vec<usize> = old_key.chain([0]).chain(new_key).collect();
        if let Some(hosts) = self.meant.get(&key) {
            return hosts.clone();
        }
        let mut counts: HashMap<&Arc<Held>, i32> = HashMap::new();
        new.iter().flat_map(|rules| rules.iter()).for_each(|held| *counts.entry(held).or_default() += 1);
        old.iter().flat_map(|rules| rules.iter()).for_each(|held| *counts.entry(held).or_default() -= 1);
        // A table tells patterns of one grant apart by pattern and time only: what a changed grant was and what it is
        // go into two.
        let mut odd = [Rules::default(), Rules::default()];
        for (held, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            odd[usize::from(count > 0)].add(held.clone());
        }
        let is_meant = |host: &Host| {
            let probe = Probe::of(host);
            let wanted = [Wanted::AdmittingAtAll, Wanted::Denying(self.service)];
            let means =
                |rules: &Rules, wanted| rules.matching(&probe, wanted, &mut |_| ControlFlow::Break(())).is_break();
            odd.iter().any(|rules| wanted.into_iter().any(|wanted| means(rules, wanted)))
        };
        let of_either = |sides: &Sides<'_>| sides.iter().flatten().any(|host| is_meant(host));
        let hosts: Arc<[u32]> =
            (0..).zip(&self.hosts).filter(|(_, sides)| of_either(sides)).map(|(at, _)| at).collect();
        self.effort += self.hosts.len() as u64;
        self.meant.insert(key, hosts.clone());
        hosts
    }

    fn file(&self, groups: &mut Groups, names: &[&CompactString], hosts: Vec<u32>, why: String) {
        let named = |at: &u32| self.hosts.get(*at as usize).and_then(|sides| sides[1].or(sides[0]));
        let moved = groups.entry(hosts).or_insert_with_key(|hosts| Moved {
            people: Vec::new(),
            people_count: 0,
            hosts: hosts.iter().take(NAMES_MAX).filter_map(named).map(|host| in_full(host)).collect(),
            host_count: hosts.len(),
            why,
        });
        moved.people_count += names.len();
        let room = NAMES_MAX - moved.people.len();
        moved.people.extend(names.iter().take(room).copied().cloned());
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.people == 0 && self.not_compared == 0 {
            return writeln!(f, "nobody gains or loses access");
        }
        writeln!(f, "{} people gain or lose access", self.people)?;
        for (word, moves) in [("gain", &self.gains), ("lose", &self.losses)] {
            for Moved { people, people_count, hosts, host_count, why } in moves {
                let some = |names: &[CompactString], count: usize| {
                    let more = if count > names.len() { ", …" } else { "" };
                    format!("{}{more}", names.join(", ").escape_debug())
                };
                let (who, whence) = (some(people, *people_count), some(hosts, *host_count));
                writeln!(f, "  {people_count} ({who}) {word} {host_count} hosts ({whence}): {why}")?;
            }
        }
        if self.left_off > 0 {
            writeln!(f, "  and {} groups of people more", self.left_off)?;
        }
        if self.not_compared > 0 {
            writeln!(
                f,
                "{} people were not compared: the change concerns too many hosts of too many",
                self.not_compared
            )?;
        }
        Ok(())
    }
}
