//! One role: what it is made of, and its two entries.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use inventory::{
    Host, State,
    entry::{Attribute, DIRECTORY, Entry, EntryId, Value},
    pattern::Pattern,
};

use super::{
    Key, Origin,
    hosts::{self, HostNames, Shown},
    people::{Finder, Found},
};
use crate::{
    dn::Dn,
    policy::{is_group, is_person},
    tree::Tree,
};

/// The order of roles that admit; those that deny stand above.
const ORDER_ADMIT: &str = "100";
const ORDER_DENY: &str = "1000000";

/// What a role is to be made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    name: CompactString,
    who: Who,
    /// What it allows; none if it denies everything.
    commands: Option<Vec<CompactString>>,
    until: Option<u64>,
    why: CompactString,
    /// Patterns that mean the hosts, and those that take away from them.
    on: Vec<Pattern>,
    off: Vec<Pattern>,
}

/// Whom a role is for.
#[derive(Debug, Clone)]
enum Who {
    /// Subjects of a grant.
    Subjects(Box<[CompactString]>),
    /// A person or a group.
    Entry(Arc<Entry>),
}

/// A role in both renderings.
#[derive(Debug, Clone)]
pub(super) struct Role {
    plan: Arc<Plan>,
    /// For a host that it means; none if it names nobody.
    pub(super) exact: Option<Arc<Entry>>,
    /// For everybody else; none if it has no hosts, or if it cannot be said without widening.
    pub(super) general: Option<Arc<Entry>>,
    /// Whether it admits, and its hosts are too many to name.
    pub(super) is_left_out: bool,
    /// Whether it denies, and does not name everybody whom it means.
    pub(super) is_unsaid: bool,
    /// First second at which everybody may be told of it, as no incomplete denial holds on its hosts any more.
    pub(super) withheld_until: u64,
    pub(super) keys: Box<[Key]>,
    id: EntryId,
}

/// Whether an entry has `host` values that deny, and somebody whom they mean.
pub(super) fn denies(entry: &Entry) -> bool {
    let somebody = (is_person(entry) && entry.text("uid").is_some()) || (is_group(entry) && entry.text("cn").is_some());
    somebody && entry.texts("host").any(|value| value.trim_start().starts_with('!'))
}

impl Plan {
    /// The plan of a role, if there is to be one.
    pub(super) fn of(origin: &Origin, state: &State) -> Option<Self> {
        match origin {
            Origin::Grant(name) => {
                let grant = state.grant(name)?;
                let (on, off, complete) = split(grant.on.iter().map(CompactString::as_str));
                // A pattern that cannot be read might have denied: then nothing of the grant admits.
                let commands = grant.sudo.as_deref().filter(|_| complete && !on.is_empty())?;
                let commands = if commands.is_empty() { vec!["ALL".into()] } else { commands.to_vec() };
                let (who, why) = (Who::Subjects(grant.who.clone()), grant.why.clone());
                Some(Self { name: name.clone(), who, commands: Some(commands), until: grant.until, why, on, off })
            }
            Origin::Denial(name) => {
                let grant = state.grant(name)?;
                let (_, on, _) = split(grant.on.iter().map(CompactString::as_str));
                // As the policy has it: a denial is for sudo if its grant is for all services or gives sudo.
                if on.is_empty() || !(grant.services.is_empty() || grant.sudo.is_some()) {
                    return None;
                }
                let (who, why) = (Who::Subjects(grant.who.clone()), grant.why.clone());
                let (name, off) = (format_compact!("deny:{name}"), Vec::new());
                Some(Self { name, who, commands: None, until: grant.until, why, on, off })
            }
            Origin::Entry(id) => {
                let entry = state.entry(*id).filter(|entry| denies(entry))?;
                let (_, on, _) = split(entry.texts("host"));
                if on.is_empty() {
                    return None;
                }
                let (name, why) = (format_compact!("deny-host:{id}"), "a host value of the entry denies".into());
                let (who, off) = (Who::Entry(entry.clone()), Vec::new());
                Some(Self { name, who, commands: None, until: None, why, on, off })
            }
        }
    }

    /// All its patterns.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.on.iter().chain(&self.off)
    }

    fn people(&self, tree: &Tree) -> Found {
        let mut finder = Finder::new(tree, self.commands.is_none());
        match &self.who {
            Who::Subjects(who) => who.iter().for_each(|who| finder.subject(who)),
            // The entry's own members are looked up in the tree, so the finder must not outlive it.
            Who::Entry(entry) => return entry_people(finder, tree, entry),
        }
        finder.found()
    }

    /// The values of sudoHost for everybody; none if there are none to be said, and whether that widens nothing.
    fn hosts(&self, names: &HostNames) -> (Option<Vec<CompactString>>, bool) {
        match (names.shown(&self.on), names.shown(&self.off)) {
            (Shown::TooMany, _) if self.commands.is_none() => (Some(vec!["ALL".into()]), false),
            (Shown::TooMany, _) | (_, Shown::TooMany) => (None, true),
            (Shown::Names(on), _) if on.is_empty() => (None, false),
            (Shown::Names(on), Shown::Names(off)) => {
                (Some(on.into_iter().chain(off.iter().map(|name| format_compact!("!{name}"))).collect()), false)
            }
        }
    }
}

/// The people of an entry that the tree shows. While another entry holds its name, the entry itself is all there is.
fn entry_people<'a>(mut finder: Finder<'a>, tree: &'a Tree, entry: &'a Entry) -> Found {
    let shown = tree.by_id(entry.id).map(|node| &*node.entry);
    finder.entry(shown.unwrap_or(entry));
    finder.found()
}

impl Role {
    pub(super) fn new(plan: Plan, container: &Dn, names: &HostNames, tree: &Tree) -> Self {
        let Found { users, mut keys, is_unsaid } = plan.people(tree);
        for pattern in plan.patterns() {
            if hosts::lists_hosts(&pattern.hosts) {
                keys.insert(Key::Listed(pattern.hosts.clone()));
            } else if hosts::names_zones(&pattern.hosts) {
                keys.insert(Key::Zoned(pattern.hosts.clone()));
            }
        }
        let dn_of = |name: &str| format!("cn={},{container}", escaped(name));
        let (mut cn, mut dn) = (plan.name.clone(), dn_of(&plan.name));
        let parsed = Dn::parse(&dn).ok();
        // cn=defaults is where sudo looks for options.
        if parsed.as_ref().is_some_and(|dn| tree.by_dn(dn).is_some()) || cn.eq_ignore_ascii_case("defaults") {
            cn = format_compact!("gatehouse:{cn}");
            dn = dn_of(&cn);
        }
        keys.extend(parsed.map(Key::Dn));
        let id = id_of(&dn);
        let (said, is_left_out) = plan.hosts(names);
        let entry = |hosts: &[CompactString]| {
            let attributes = plan.attributes(&cn, users.iter().map(CompactString::as_str), hosts);
            Arc::new(Entry { id, dn: dn.as_str().into(), attributes: attributes.into(), source: DIRECTORY.into() })
        };
        let names_somebody = !users.is_empty();
        let exact = names_somebody.then(|| entry(&["ALL".into()]));
        let general = said.filter(|_| names_somebody).map(|hosts| entry(&hosts));
        let (plan, keys) = (Arc::new(plan), keys.into_iter().collect());
        Self { plan, exact, general, is_left_out, is_unsaid, withheld_until: 0, keys, id }
    }

    pub(super) fn id(&self) -> EntryId {
        self.id
    }

    pub(super) fn denies(&self) -> bool {
        self.plan.commands.is_none()
    }

    pub(super) fn until(&self) -> Option<u64> {
        self.plan.until
    }

    pub(super) fn is_live(&self, now_s: u64) -> bool {
        self.plan.until.is_none_or(|until| now_s < until)
    }

    /// Whether it holds on a host.
    pub(super) fn means(&self, host: &Host) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(host));
        host.is_named() && any(&self.plan.on) && !any(&self.plan.off)
    }

    /// Whether two roles could hold on the same host.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let meets = |one: &Pattern| other.plan.on.iter().any(|other| hosts::may_meet(&one.hosts, &other.hosts));
        self.plan.on.iter().any(meets)
    }
}

impl Plan {
    fn attributes<'a>(
        &self,
        cn: &str,
        users: impl Iterator<Item = &'a str>,
        hosts: &[CompactString],
    ) -> Vec<Attribute> {
        let deny = [CompactString::const_new("!ALL")];
        let (commands, order) = match &self.commands {
            Some(commands) => (commands.as_slice(), ORDER_ADMIT),
            None => (&deny[..], ORDER_DENY),
        };
        let mut attributes = vec![
            attribute("objectClass", ["top", "sudoRole"]),
            attribute("cn", [cn]),
            attribute("sudoUser", users),
            attribute("sudoHost", hosts.iter().map(CompactString::as_str)),
            attribute("sudoCommand", commands.iter().map(CompactString::as_str)),
            attribute("sudoOrder", [order]),
        ];
        if let Some(until) = self.until.and_then(generalized_time) {
            attributes.push(attribute("sudoNotAfter", [until.as_str()]));
        }
        if !self.why.is_empty() {
            attributes.push(attribute("description", [self.why.as_str()]));
        }
        attributes
    }
}

/// Patterns that admit, patterns that deny, and whether all denials could be read.
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

/// `ou=sudoers,BASE`.
pub(super) fn entry_of_container(base: &Dn) -> Arc<Entry> {
    let dn = if base.is_root() { "ou=sudoers".to_owned() } else { format!("ou=sudoers,{base}") };
    let attributes = vec![
        attribute("objectClass", ["top", "organizationalUnit"]),
        attribute("ou", ["sudoers"]),
        attribute("description", ["Grants of sudo, rendered by gatehouse"]),
    ];
    Arc::new(Entry { id: id_of(&dn), dn: dn.into(), attributes: attributes.into(), source: DIRECTORY.into() })
}

/// The same name has the same entryUUID on every node.
fn id_of(dn: &str) -> EntryId {
    let mut id = [0; 16];
    id.copy_from_slice(blake3::hash(dn.as_bytes()).as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
    EntryId(id)
}

pub(super) fn attribute<'a>(name: &'static str, values: impl IntoIterator<Item = &'a str>) -> Attribute {
    Attribute(CompactString::const_new(name), values.into_iter().map(Value::from).collect())
}

/// A value in a DN (RFC 4514 section 2.4), everything doubtful in hexadecimal.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':') {
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
