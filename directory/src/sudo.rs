//! Grants of sudo as sudoRole entries (sudoers.ldap(5)), for sudo's own LDAP support and for SSSD.
//!
//! A grant with `sudo` becomes `cn=NAME,ou=sudoers,BASE`. Our decision says that a `!pattern` keeps its subjects out
//! whatever else admits them; sudo takes the matching role with the highest sudoOrder. So every deny becomes a role of
//! its own, `cn=deny-NAME`, with `sudoCommand: !ALL` and an order above all others.
//!
//! Each role has two renderings. For a host that is known by its certificate it is exact: the role is there if it
//! means that host, with `sudoHost: ALL`. For everybody else patterns become names that sudo compares with the host's
//! own: a pattern without zone the glob of a short name, others `GLOB.ZONE.PRODUCT.private` for every zone that there is,
//! roles, groups and tags the hosts that have them. Where that would be more than [`NAMES_MAX`] names, a role that
//! admits is left out and one that denies means all hosts, so that nothing is ever widened.
//!
//! The roles are made from the state on the first sudo search after a change, at the cost of what changed, and are kept.

mod hosts;

use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use imbl::OrdMap;
use inventory::{
    Grant, Host, State,
    change::{ChangeSet, Row},
    entry::{Attribute, DIRECTORY, Entry, EntryId, Value},
    pattern::Pattern,
    position::Position,
};

use crate::{dn::Dn, tree::Node};
use hosts::{Shown, Zones};

/// Most names that the patterns of one role become.
pub const NAMES_MAX: usize = 256;
/// The order of roles that admit; those that deny stand above.
const ORDER_ADMIT: &str = "100";
const ORDER_DENY: &str = "1000000";

/// What a role is made of.
#[derive(Debug, Clone)]
struct Made {
    name: CompactString,
    users: Vec<CompactString>,
    commands: Vec<CompactString>,
    order: &'static str,
    until: Option<u64>,
    why: Option<CompactString>,
    /// Patterns that mean the hosts, and those that take away from them.
    on: Vec<Pattern>,
    off: Vec<Pattern>,
}

/// A role in both renderings.
#[derive(Debug, Clone)]
struct Role {
    made: Arc<Made>,
    /// For a host that it means.
    exact: Arc<Node>,
    /// For everybody else; none if it cannot be said without widening.
    general: Option<Arc<Node>>,
}

/// Where a role comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Grant(CompactString),
    Denial(CompactString),
    Entry(EntryId),
}

/// All sudoRole entries of one state.
#[derive(Debug, Clone)]
pub struct SudoRoles {
    position: Position,
    base: Dn,
    container: Arc<Node>,
    roles: OrdMap<From, Role>,
    zones: Zones,
}

impl SudoRoles {
    /// The roles of a state below `ou=sudoers,BASE`. `usn` is the entryUSN that they get.
    ///
    /// # Errors
    /// If the base is no DN.
    pub fn build(state: &State, base: &Dn, usn: u64) -> Result<Self, crate::dn::BadDn> {
        let container = container(base, usn)?;
        let mut zones = Zones::default();
        state.hosts().for_each(|host| zones.count(host, 1));
        let base = container.dn.clone();
        let mut roles = Self { position: state.position(), base, container, roles: OrdMap::new(), zones };
        for grant in state.grants() {
            roles.put_grant(grant, state, usn);
        }
        for entry in state.entries() {
            roles.put_entry(entry, state, usn);
        }
        Ok(roles)
    }

    /// The roles of `state`, from these and what changed. Made afresh when the state no longer remembers the changes.
    pub fn advance(&self, state: &State, usn: u64) -> Self {
        let to = state.position();
        let sets = (to.epoch == self.position.epoch && to.cluster_id == self.position.cluster_id)
            .then(|| state.changes_since(self.position.serial))
            .flatten();
        match sets {
            Some(sets) => self.changed(state, &sets, usn),
            None => {
                let parent = self.base.parent();
                parent.and_then(|base| Self::build(state, &base, usn).ok()).unwrap_or_else(|| self.clone())
            }
        }
    }

    /// The position that the roles are of.
    pub fn position(&self) -> Position {
        self.position
    }

    /// `ou=sudoers,BASE`.
    pub fn container(&self) -> &Arc<Node> {
        &self.container
    }

    /// The roles that somebody sees at a time: of a host those that mean it, else all.
    pub fn nodes<'a>(&'a self, host: Option<&'a Host>, now_s: u64) -> impl Iterator<Item = &'a Arc<Node>> {
        let live = self.roles.values().filter(move |role| role.made.until.is_none_or(|until| now_s < until));
        live.filter_map(move |role| match host {
            None => role.general.as_ref(),
            Some(host) => role.made.means(host).then_some(&role.exact),
        })
    }

    /// Grants that everybody but their own hosts is not told of, because their hosts are too many to name.
    pub fn left_out(&self) -> usize {
        self.roles.values().filter(|role| role.general.is_none()).count()
    }

    fn changed(&self, state: &State, sets: &[Arc<ChangeSet>], usn: u64) -> Self {
        let mut next = self.clone();
        next.position = state.position();
        let mut hosts = Vec::new();
        for change in sets.iter().flat_map(|set| &set.rows) {
            match (&change.old, &change.new) {
                (Some(Row::Grant(old)), None) => next.drop_grant(&old.name),
                (_, Some(Row::Grant(new))) => next.put_grant(new, state, usn),
                (Some(Row::Entry(old)), None) => drop(next.roles.remove(&From::Entry(old.id))),
                (_, Some(Row::Entry(new))) => next.put_entry(new, state, usn),
                (old, new) => {
                    for (row, change) in [(old, -1), (new, 1)] {
                        if let Some(Row::Host(host)) = row {
                            next.zones.count(host, change);
                            hosts.push(host.clone());
                        }
                    }
                }
            }
        }
        let zones_changed = next.zones != self.zones;
        next.follow_hosts(state, &hosts, zones_changed, usn);
        next
    }

    /// Renders roles anew whose hosts changed.
    fn follow_hosts(&mut self, state: &State, hosts: &[Arc<Host>], zones_changed: bool, usn: u64) {
        let concerned = |role: &&Role| {
            let mut patterns = role.made.on.iter().chain(&role.made.off);
            patterns.any(|pattern| {
                (zones_changed && hosts::names_zones(pattern))
                    || (hosts::lists_hosts(pattern) && hosts.iter().any(|host| pattern.matches(host)))
            })
        };
        let made: Vec<_> = self
            .roles
            .iter()
            .filter(|(_, role)| concerned(role))
            .map(|(from, role)| (from.clone(), role.made.clone()))
            .collect();
        for (from, made) in made {
            self.put(from, made, state, usn);
        }
    }

    fn drop_grant(&mut self, name: &CompactString) {
        self.roles.remove(&From::Grant(name.clone()));
        self.roles.remove(&From::Denial(name.clone()));
    }

    fn put_grant(&mut self, grant: &Grant, state: &State, usn: u64) {
        self.drop_grant(&grant.name);
        let (on, off, complete) = split(grant.on.iter().map(CompactString::as_str));
        let users: Vec<CompactString> = grant.who.iter().map(|who| subject(who)).collect();
        let why = Some(grant.why.clone());
        let concerns_sudo = grant.services.is_empty() || grant.services.iter().any(|service| service == "sudo");
        if concerns_sudo && !off.is_empty() {
            let denial = Made {
                name: format_compact!("deny-{}", grant.name),
                users: users.clone(),
                commands: vec!["!ALL".into()],
                order: ORDER_DENY,
                until: grant.until,
                why: why.clone(),
                on: off.clone(),
                off: Vec::new(),
            };
            self.put(From::Denial(grant.name.clone()), Arc::new(denial), state, usn);
        }
        // A pattern that cannot be read might have denied: then nothing of the grant admits.
        let Some(commands) = grant.sudo.as_deref().filter(|_| complete && !on.is_empty()) else { return };
        let commands = if commands.is_empty() { vec!["ALL".into()] } else { commands.to_vec() };
        let (name, until) = (grant.name.clone(), grant.until);
        let role = Made { name, users, commands, order: ORDER_ADMIT, until, why, on, off };
        self.put(From::Grant(grant.name.clone()), Arc::new(role), state, usn);
    }

    /// `host` values of people and groups that deny.
    fn put_entry(&mut self, entry: &Entry, state: &State, usn: u64) {
        self.roles.remove(&From::Entry(entry.id));
        if !entry.texts("host").any(|value| value.trim_start().starts_with('!')) {
            return;
        }
        let (_, off, _) = split(entry.texts("host"));
        let people = entry.texts("uid").map(CompactString::new);
        let is_group = entry.values("uid").is_empty();
        let groups = entry.texts("cn").filter(|_| is_group).map(|name| format_compact!("%{name}"));
        let users: Vec<CompactString> = people.chain(groups).collect();
        let (Some(first), false) = (users.first(), off.is_empty()) else { return };
        let name = format_compact!("deny-host-of-{}", first.trim_start_matches('%'));
        let commands = vec!["!ALL".into()];
        let (order, why) = (ORDER_DENY, Some("a host value of the entry denies".into()));
        let role = Made { name, users, commands, order, until: None, why, on: off, off: Vec::new() };
        self.put(From::Entry(entry.id), Arc::new(role), state, usn);
    }

    fn put(&mut self, from: From, made: Arc<Made>, state: &State, usn: u64) {
        let names = |patterns: &[Pattern]| hosts::shown(patterns, state, &self.zones);
        let all = || vec![CompactString::const_new("ALL")];
        let denies = made.order == ORDER_DENY;
        let general = match (names(&made.on), names(&made.off)) {
            (Shown::TooMany, _) if denies => Some(all()),
            (Shown::Names(on), Shown::Names(off)) if !on.is_empty() => {
                Some(on.into_iter().chain(off.iter().map(|name| format_compact!("!{name}"))).collect())
            }
            _ => None,
        };
        let render = |hosts: &[CompactString]| self.render(&made, hosts, usn);
        let Some(exact) = render(&all()) else { return };
        let general = general.and_then(|hosts| render(&hosts));
        self.roles.insert(from, Role { made, exact, general });
    }

    fn render(&self, made: &Made, hosts: &[CompactString], usn: u64) -> Option<Arc<Node>> {
        let dn = format!("cn={},{}", escaped(&made.name), self.container.entry.dn);
        let mut attributes = vec![
            attribute("objectClass", ["top", "sudoRole"]),
            attribute("cn", [made.name.as_str()]),
            attribute("sudoUser", made.users.iter().map(CompactString::as_str)),
            attribute("sudoHost", hosts.iter().map(CompactString::as_str)),
            attribute("sudoCommand", made.commands.iter().map(CompactString::as_str)),
            attribute("sudoOrder", [made.order]),
        ];
        if let Some(until) = made.until.and_then(generalized_time) {
            attributes.push(attribute("sudoNotAfter", [until.as_str()]));
        }
        if let Some(why) = made.why.as_deref().filter(|why| !why.is_empty()) {
            attributes.push(attribute("description", [why]));
        }
        node(dn, attributes, usn).ok()
    }
}

impl Made {
    fn means(&self, host: &Host) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(host));
        any(&self.on) && !any(&self.off)
    }
}

/// Patterns that admit, patterns that deny, and whether all could be read.
fn split<'a>(texts: impl Iterator<Item = &'a str>) -> (Vec<Pattern>, Vec<Pattern>, bool) {
    let (mut on, mut off, mut complete) = (Vec::new(), Vec::new(), true);
    for text in texts {
        match Pattern::parse(text) {
            Ok(pattern) if pattern.denies => off.push(pattern),
            Ok(pattern) => on.push(pattern),
            Err(_) => complete &= !text.trim_start().starts_with('!'),
        }
    }
    (on, off, complete)
}

fn subject(who: &str) -> CompactString {
    match who.strip_prefix('@') {
        Some(group) => format_compact!("%{group}"),
        None => who.into(),
    }
}

fn container(base: &Dn, usn: u64) -> Result<Arc<Node>, crate::dn::BadDn> {
    let dn = if base.is_root() { "ou=sudoers".to_owned() } else { format!("ou=sudoers,{base}") };
    let attributes = vec![
        attribute("objectClass", ["top", "organizationalUnit"]),
        attribute("ou", ["sudoers"]),
        attribute("description", ["Grants of sudo, rendered by gatehouse"]),
    ];
    node(dn, attributes, usn)
}

fn node(dn: String, attributes: Vec<Attribute>, usn: u64) -> Result<Arc<Node>, crate::dn::BadDn> {
    let mut id = [0; 16];
    id.copy_from_slice(blake3::hash(dn.as_bytes()).as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
    let entry = Entry { id: EntryId(id), dn: dn.into(), attributes: attributes.into(), source: DIRECTORY.into() };
    Node::new(Arc::new(entry), usn).map(Arc::new)
}

fn attribute<'a>(name: &'static str, values: impl IntoIterator<Item = &'a str>) -> Attribute {
    Attribute(CompactString::const_new(name), values.into_iter().map(Value::from).collect())
}

/// A value in a DN (RFC 4514 section 2.4), everything doubtful in hexadecimal.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(char::from(byte));
        } else {
            out += &format!("\\{byte:02x}");
        }
    }
    out
}

fn generalized_time(at_s: u64) -> Option<String> {
    let time = jiff::Timestamp::from_second(i64::try_from(at_s).ok()?).ok()?;
    Some(time.strftime("%Y%m%d%H%M%SZ").to_string())
}

#[cfg(test)]
mod tests;
