//! Grants of sudo as sudoRole entries (sudoers.ldap(5)), for sudo's own LDAP support and for SSSD.
//!
//! A grant with `sudo` becomes `cn=NAME,ou=sudoers,BASE`. Our decision says that a `!pattern` keeps its subjects out
//! whatever else admits them; sudo takes the matching role with the highest sudoOrder. So every deny becomes a role of
//! its own with `sudoCommand: !ALL` and an order above all others: `cn=deny:NAME` of a grant, `cn=deny-host:UUID` of the
//! `host` values of an entry. Neither can be the name of a grant.
//!
//! Each role has two renderings. For a host that is known by its certificate it is exact: the role is there if it
//! means that host, with `sudoHost: ALL`. For everybody else patterns become names that sudo compares with the host's
//! own (`hosts`). Where that would be more than [`NAMES_MAX`] names, a role that admits is left out and one that denies
//! means all hosts, so that nothing is ever widened. Whom a role names is told in `people`: where a denial cannot name
//! everybody whom it means, the grants on its hosts are left out as long as it holds.
//!
//! If the directory has an entry `ou=sudoers,BASE` of its own, it is served instead of ours, with our roles below it
//! among its own; a role whose name is taken there becomes `cn=gatehouse:NAME`.
//!
//! The roles are part of the [`View`](crate::view::View) and are advanced with it at the cost of what changed: each
//! role remembers what it was made of ([`Key`]). Lookups search them as a tree of their own, by the same indexes.

mod hosts;
mod people;
mod render;

use std::{collections::BTreeSet, sync::Arc};

use compact_str::CompactString;
use imbl::{HashMap, OrdMap, OrdSet};
use inventory::{
    Host, State,
    change::{ChangeSet, Row, RowChange},
    entry::{Entry, EntryId},
    pattern::Hosts,
    position::Position,
};

use crate::{
    dn::Dn,
    tree::{Node, Scope, Tree},
};
use hosts::{HostNames, Touched};
use render::{Plan, Role, entry_of_container};

/// Most names that the patterns of one role become.
pub const NAMES_MAX: usize = 256;
/// Most people whom a role names because they are members of its groups.
pub const MEMBERS_MAX: usize = 256;

/// Where a role comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// What a grant gives.
    Grant(CompactString),
    /// Whom a grant denies.
    Denial(CompactString),
    /// Denials among the `host` values of an entry.
    Entry(EntryId),
}

impl Origin {
    const FIRST: Self = Self::Grant(CompactString::const_new(""));
}

/// What a role was made of; it is made anew when one of these changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Entries with a uid, folded.
    Uid(CompactString),
    /// Entries with a cn, folded.
    Cn(CompactString),
    /// Entries with a gidNumber.
    Gid(u32),
    /// The entry of a name.
    Dn(Dn),
    /// Hosts that a pattern lists.
    Listed(Hosts),
    /// Zones that a pattern means. The last variant: all of them are one range.
    Zoned(Hosts),
}

/// All sudoRole entries of one state.
#[derive(Clone)]
pub struct SudoRoles {
    position: Position,
    base: Dn,
    container: Dn,
    /// Whether the directory has an entry of the container's name.
    is_container_theirs: bool,
    roles: OrdMap<Origin, Arc<Role>>,
    by_id: HashMap<EntryId, Origin>,
    /// As hosts see them that are known by certificates.
    exact: Tree,
    /// As everybody else does.
    general: Tree,
    names: HostNames,
    made_of: OrdSet<(Key, Origin)>,
    /// Denials that do not name everybody whom they mean.
    unsaid: OrdMap<Origin, Arc<Role>>,
}

impl SudoRoles {
    /// The roles of a state and its tree below `ou=sudoers,BASE`.
    pub fn build(state: &State, tree: &Tree, base: &Dn) -> Self {
        let container = entry_of_container(base);
        let mut roles = Self {
            position: state.position(),
            base: base.clone(),
            container: Dn::parse(&container.dn).unwrap_or_else(|_| base.clone()),
            is_container_theirs: false,
            roles: OrdMap::new(),
            by_id: HashMap::new(),
            exact: Tree::default(),
            general: Tree::default(),
            names: HostNames::default(),
            made_of: OrdSet::new(),
            unsaid: OrdMap::new(),
        };
        roles.exact.set(None, Some(&container), tree.last_usn());
        roles.general.set(None, Some(&container), tree.last_usn());
        let mut touched = Touched::default();
        state.hosts().for_each(|host| roles.names.change(None, Some(host), &mut touched));
        let mut dirty = BTreeSet::new();
        state.grants().for_each(|grant| dirty.extend(of_grant(&grant.name)));
        dirty.extend(state.entries().filter(|entry| render::denies(entry)).map(|entry| Origin::Entry(entry.id)));
        roles.renew(&dirty, BTreeSet::new(), state, tree);
        roles
    }

    /// The roles of `state` and its tree, to which `sets` lead from these. If the sets do not join the two, the roles
    /// are built afresh.
    pub fn advance(&self, state: &State, tree: &Tree, sets: &[Arc<ChangeSet>]) -> Self {
        let (from, to) = (self.position, state.position());
        let wanted = (from.serial + 1..=to.serial).map(|serial| (from.epoch, serial));
        let joins = sets.iter().map(|set| (set.epoch, set.serial)).eq(wanted);
        if !joins || from.epoch != to.epoch || to.serial < from.serial || from.cluster_id != to.cluster_id {
            return Self::build(state, tree, &self.base);
        }
        let mut next = self.clone();
        next.position = to;
        let (mut dirty, mut touched) = (BTreeSet::new(), Touched::default());
        for change in sets.iter().flat_map(|set| &set.rows) {
            next.note(change, &mut dirty, &mut touched);
        }
        for pattern in &touched.lists {
            next.add_makers(Key::Listed(pattern.clone()), &mut dirty);
        }
        if !touched.zones.is_empty() {
            let first = Hosts::Named { name: CompactString::const_new(""), place: None, product: None };
            for (key, origin) in next.made_of.range((Key::Zoned(first), Origin::FIRST)..) {
                let Key::Zoned(pattern) = key else { continue };
                if touched.zones.iter().any(|zone| hosts::is_meant(pattern, zone)) {
                    dirty.insert(origin.clone());
                }
            }
        }
        next.renew(&dirty, touched.starved, state, tree);
        next
    }

    /// The base that the container is below.
    pub fn base(&self) -> &Dn {
        &self.base
    }

    /// The position that the roles are of.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether a search could find roles or their container.
    pub fn is_reached(&self, base: &Dn, scope: Scope) -> bool {
        let is_above = match scope {
            Scope::Base => false,
            Scope::One => self.base == *base,
            Scope::Subtree | Scope::Children => self.container.is_within(base),
        };
        is_above || base.is_within(&self.container)
    }

    /// All roles and their container, as a host with a certificate sees them or as everybody else does. Not all of them
    /// are for everybody: see [`sees`](Self::sees).
    pub fn tree(&self, is_host: bool) -> &Tree {
        if is_host { &self.exact } else { &self.general }
    }

    /// A USN since which no role has changed as everybody but hosts sees it, time left aside.
    pub fn changed_usn(&self) -> u64 {
        self.general.changed_usn()
    }

    /// Whether somebody is shown an entry of [`tree`](Self::tree) at a time: a host the roles that mean it, and nobody
    /// what is over.
    pub fn sees(&self, node: &Node, host: Option<&Host>, now_s: u64) -> bool {
        let Some(origin) = self.by_id.get(&node.entry.id) else { return !self.is_container_theirs };
        let Some(role) = self.roles.get(origin).filter(|role| role.is_live(now_s)) else { return false };
        match host {
            None => role.denies() || now_s >= role.withheld_until,
            Some(host) => {
                let is_unsaid = || self.unsaid.values().any(|denial| denial.is_live(now_s) && denial.means(host));
                role.means(host) && (role.denies() || !is_unsaid())
            }
        }
    }

    /// The entry with a name, if somebody is shown it.
    pub fn by_dn(&self, dn: &Dn, host: Option<&Host>, now_s: u64) -> Option<&Arc<Node>> {
        if !dn.is_within(&self.container) {
            return None;
        }
        self.tree(host.is_some()).by_dn(dn).filter(|node| self.sees(node, host, now_s))
    }

    /// Grants that not everybody is told of: their hosts are too many to name, or somebody is denied there who cannot be
    /// named (then even their own hosts are not told).
    pub fn left_out(&self) -> usize {
        self.roles.values().filter(|role| role.is_left_out || role.withheld_until > 0).count()
    }
}

/// How roles follow changes.
impl SudoRoles {
    fn note(&mut self, RowChange { old, new }: &RowChange, dirty: &mut BTreeSet<Origin>, touched: &mut Touched) {
        for row in [old, new].into_iter().flatten() {
            match row {
                Row::Grant(grant) => dirty.extend(of_grant(&grant.name)),
                Row::Entry(entry) if render::denies(entry) => drop(dirty.insert(Origin::Entry(entry.id))),
                _ => {}
            }
        }
        let [before, after] =
            [old, new].map(|row| if let Some(Row::Entry(entry)) = row { Some(&**entry) } else { None });
        if people::differs(before, after) {
            for key in [before, after].into_iter().flatten().flat_map(people::keys_of) {
                self.add_makers(key, dirty);
            }
        }
        let [before, after] = [old, new].map(|row| if let Some(Row::Host(host)) = row { Some(&**host) } else { None });
        self.names.change(before, after, touched);
    }

    /// Adds the roles that were made of something.
    fn add_makers(&self, key: Key, dirty: &mut BTreeSet<Origin>) {
        let from = (key, Origin::FIRST);
        let same = self.made_of.range(from.clone()..).take_while(|(key, _)| *key == from.0);
        dirty.extend(same.map(|(_, origin)| origin.clone()));
    }

    /// Makes roles anew from the state. `starved` are patterns whose hosts became few enough to be named.
    fn renew(&mut self, dirty: &BTreeSet<Origin>, starved: BTreeSet<Hosts>, state: &State, tree: &Tree) {
        self.is_container_theirs = tree.by_dn(&self.container).is_some();
        let plans: Vec<_> = dirty.iter().map(|origin| (origin, Plan::of(origin, state))).collect();
        let patterns = plans.iter().filter_map(|(_, plan)| plan.as_ref()).flat_map(Plan::patterns);
        let is_new = |hosts: &&Hosts| hosts::lists_hosts(hosts) && !self.names.lists(hosts);
        let wanted = patterns.map(|pattern| &pattern.hosts).filter(is_new).cloned().chain(starved).collect();
        self.names.fill(state, wanted);
        let (mut unsaid_changed, mut left) = (false, BTreeSet::new());
        for (origin, plan) in plans {
            let role = plan.map(|plan| Role::new(plan, &self.container, &self.names, tree));
            unsaid_changed |= self.put(origin, role, tree.last_usn(), &mut left);
        }
        if unsaid_changed {
            let origins: Vec<_> = self.roles.keys().cloned().collect();
            origins.iter().for_each(|origin| self.withhold(origin));
        } else if !self.unsaid.is_empty() {
            dirty.iter().for_each(|origin| self.withhold(origin));
        }
        for hosts in left {
            let mut makers = BTreeSet::new();
            self.add_makers(Key::Listed(hosts.clone()), &mut makers);
            if makers.is_empty() {
                self.names.forget(&hosts);
            }
        }
    }

    /// Puts a role in place of that which was there. Returns whether one of them leaves something unsaid. `left` gets
    /// the patterns that the former role listed.
    fn put(&mut self, origin: &Origin, role: Option<Role>, usn: u64, left: &mut BTreeSet<Hosts>) -> bool {
        let old = self.roles.remove(origin);
        let new = role.map(Arc::new);
        if let Some(role) = &old {
            for key in &role.keys {
                self.made_of.remove(&(key.clone(), origin.clone()));
                if let Key::Listed(hosts) = key {
                    left.insert(hosts.clone());
                }
            }
            self.by_id.remove(&role.id());
        }
        let [before, after] = [&old, &new].map(|role| role.as_deref());
        let entry = |role: Option<&Role>, of: fn(&Role) -> Option<Arc<Entry>>| role.and_then(of);
        let (exact, general) = (|role: &Role| role.exact.clone(), |role: &Role| role.general.clone());
        self.exact.set(entry(before, exact).as_ref(), entry(after, exact).as_ref(), usn);
        self.general.set(entry(before, general).as_ref(), entry(after, general).as_ref(), usn);
        let was_unsaid = self.unsaid.remove(origin).is_some();
        let is_unsaid = after.is_some_and(|role| role.is_unsaid);
        if let Some(role) = new {
            for key in &role.keys {
                self.made_of.insert((key.clone(), origin.clone()));
            }
            self.by_id.insert(role.id(), origin.clone());
            if is_unsaid {
                self.unsaid.insert(origin.clone(), role.clone());
            }
            self.roles.insert(origin.clone(), role);
        }
        was_unsaid || is_unsaid
    }

    /// Finds until when a role that admits is withheld.
    fn withhold(&mut self, origin: &Origin) {
        let Some(role) = self.roles.get(origin).filter(|role| !role.denies()) else { return };
        let overlapping = self.unsaid.values().filter(|denial| denial.may_meet(role));
        let until = overlapping.map(|denial| denial.until().unwrap_or(u64::MAX)).max().unwrap_or(0);
        if until != role.withheld_until {
            let mut role = Role::clone(role);
            role.withheld_until = until;
            self.roles.insert(origin.clone(), Arc::new(role));
        }
    }
}

fn of_grant(name: &CompactString) -> [Origin; 2] {
    [Origin::Grant(name.clone()), Origin::Denial(name.clone())]
}

#[cfg(test)]
mod tests;
