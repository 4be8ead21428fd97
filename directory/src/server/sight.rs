//! Who a client is, and what it therefore sees.
//!
//! The certificate of a host counts as soon as TLS is there, with or without SASL EXTERNAL, because it has been proved
//! either way. A person who has bound on top of it sees what a bound person sees.
//!
//! A host that sees only what concerns it is shown containers, automount and NIS maps, the people who may come in
//! there by any service, and groups that have at least one such member; the other members are left out of the group,
//! for filters as well. Everything else does not exist for it.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use inventory::{
    Host,
    entry::{Attribute, Entry, EntryId, Value},
};
use ipnet::IpNet;

use crate::{
    config::Views,
    dn::Dn,
    policy::{Reason, SERVICE_DEFAULT},
    tree::Node,
    view::View,
};

/// Who has bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Anonymous,
    /// Somebody with a password. The entry must still be there.
    Person(EntryId),
    /// A host, by SASL EXTERNAL.
    Host,
}

/// What a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// The rootDSE and the subschema.
    Nothing,
    /// Everything but secrets.
    Everything,
    /// What concerns a host.
    Of(Arc<Host>),
}

impl Who {
    /// What a client sees. `host` tells which host it is; `is_trusted` that its network needs no bind.
    pub(super) fn sight(
        &self,
        view: &View,
        views: Views,
        host: impl FnOnce() -> Option<Arc<Host>>,
        is_trusted: bool,
    ) -> Sight {
        if let Self::Person(id) = self
            && view.tree.by_id(*id).is_some()
        {
            return Sight::Everything;
        }
        match (host(), views) {
            (Some(host), Views::Host) => Sight::Of(host),
            (Some(_), Views::All) => Sight::Everything,
            (None, _) if is_trusted => Sight::Everything,
            (None, _) => Sight::Nothing,
        }
    }
}

/// What is shown of an entry.
pub(super) enum Shown {
    No,
    Whole,
    /// The entry without what is not to be seen of it.
    Part(Arc<Node>),
}

/// Looks at entries for one host, and remembers whom it has judged.
pub(super) struct Eyes<'a> {
    view: &'a View,
    host: &'a Host,
    now_s: u64,
    judged: HashMap<EntryId, bool>,
}

/// Classes that only give a directory its shape, and maps that every host mounts by.
const OPEN: [&str; 12] = [
    "organizationalUnit",
    "organization",
    "domain",
    "dcObject",
    "locality",
    "country",
    "container",
    "nsContainer",
    "automountMap",
    "automount",
    "nisMap",
    "nisObject",
];
const GROUPS: [&str; 6] =
    ["posixGroup", "groupOfNames", "groupOfUniqueNames", "groupOfMembers", "groupOfEntries", "group"];

impl<'a> Eyes<'a> {
    pub(super) fn new(view: &'a View, host: &'a Host, now_s: u64) -> Self {
        Self { view, host, now_s, judged: HashMap::new() }
    }

    /// What the host is shown of an entry.
    pub(super) fn look(&mut self, node: &Arc<Node>) -> Shown {
        if node.is_person() {
            return if self.admits(node) { Shown::Whole } else { Shown::No };
        }
        let is_one_of = |classes: &[&str]| classes.iter().any(|class| node.entry.is_a(class));
        if is_one_of(&GROUPS) {
            return self.group(node).map_or(Shown::No, Shown::Part);
        }
        if is_one_of(&["sudoRole"]) {
            return if self.is_named(node) { Shown::Whole } else { Shown::No };
        }
        if is_one_of(&OPEN) { Shown::Whole } else { Shown::No }
    }

    /// Whether somebody may come in, by whatever service.
    fn admits(&mut self, node: &Node) -> bool {
        let (access, host, now_s) = (&self.view.access, self.host, self.now_s);
        *self.judged.entry(node.entry.id).or_insert_with(|| {
            let decision = access.decide_entry(node.entry.id, host, SERVICE_DEFAULT, now_s);
            matches!(decision.reason, Reason::Granted | Reason::ServiceNotGranted)
        })
    }

    /// A group with those members that the host may see; none if it has none of them and is nobody's own group.
    fn group(&mut self, node: &Node) -> Option<Arc<Node>> {
        let mut has_member = false;
        let mut attributes = Vec::with_capacity(node.entry.attributes.len());
        for Attribute(name, values) in &node.entry.attributes {
            let kind =
                ["memberUid", "member", "uniqueMember"].iter().position(|known| name.eq_ignore_ascii_case(known));
            let Some(kind) = kind else {
                attributes.push(Attribute(name.clone(), values.clone()));
                continue;
            };
            let is_seen = |value: &&Value| value.text().is_some_and(|text| self.sees_member(text, kind == 0));
            let seen: Box<[Value]> = values.iter().filter(is_seen).cloned().collect();
            if !seen.is_empty() {
                has_member = true;
                attributes.push(Attribute(name.clone(), seen));
            }
        }
        if !has_member && !self.is_primary(node) {
            return None;
        }
        let entry = Entry { attributes: attributes.into(), ..Entry::clone(&node.entry) };
        Node::new(Arc::new(entry), node.usn).ok().map(Arc::new)
    }

    fn sees_member(&mut self, text: &str, is_uid: bool) -> bool {
        let view = self.view;
        if is_uid {
            return view.tree.find("uid", text).any(|node| node.is_person() && self.admits(node));
        }
        // A uniqueMember may carry a UID behind a hash sign (RFC 4517 section 3.3.21).
        let name = text.rsplit_once("#'").map_or(text, |(name, _)| name);
        let node = Dn::parse(name).ok().and_then(|dn| view.tree.by_dn(&dn));
        // A group in a group is judged where it is looked at itself.
        node.is_some_and(|node| if node.is_person() { self.admits(node) } else { true })
    }

    /// Whether somebody whom the host may see has the group as their own.
    fn is_primary(&mut self, node: &Node) -> bool {
        let view = self.view;
        let Some(number) = node.entry.text("gidNumber") else { return false };
        view.tree.find("gidNumber", number).any(|node| node.is_person() && self.admits(node))
    }

    /// Whether a sudoRole of the source is for this host, as far as it tells. One without sudoHost holds options for
    /// all (`cn=defaults`, sudoers.ldap(5)). What only sudo itself can tell (netgroups, globs) is shown.
    fn is_named(&self, node: &Node) -> bool {
        let mut hosts = node.entry.texts("sudoHost").peekable();
        hosts.peek().is_none() || hosts.any(|value| self.is_meant(value.trim()))
    }

    fn is_meant(&self, value: &str) -> bool {
        let host = self.host;
        let [v4, public] = [Some(host.private_ip), host.public_ip].map(|address| address.map(IpAddr::V4));
        let addresses = || [v4, public, host.ipv6.map(IpAddr::V6)].into_iter().flatten();
        if let Some(network) = network(value) {
            return addresses().any(|address| network.contains(&address));
        }
        value.eq_ignore_ascii_case("ALL")
            || value.eq_ignore_ascii_case(&host.key.name)
            || value.contains(['*', '?', '[', '+', '/'])
            || self.view.access.host(value).is_ok_and(|named| named.key == host.key)
    }
}

/// The network of an address, of `address/length` or of `address/mask`.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.into());
    }
    if let Ok(network) = text.parse() {
        return Some(network);
    }
    let (address, mask) = text.split_once('/')?;
    IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()
}
