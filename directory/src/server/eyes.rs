//! What a host is shown that sees only what concerns it.
//!
//! Containers, automount and NIS maps, netgroups, the people who may come in there by any service, and groups that such
//! a person is in, be it by another group. Other members are left out of the group, the people of netgroups likewise,
//! and so is what names other people or other hosts: owners, managers, authors, the hosts of a person. Everything else
//! does not exist for the host. Filters are asked about what is shown and nothing else, so that no filter tells what is
//! hidden, not even by what it does not find.
//!
//! Judging many members takes turns with other connections. Whom a host may see is remembered for a few hosts and for a
//! short time ([`Known`]), since hosts ask again and again; a grant that ends is noticed at the end of that time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use inventory::{
    Host, HostKey, Position,
    entry::{Attribute, EntryId, Value},
};
use ipnet::IpNet;

use crate::{
    dn::Dn,
    filter::attribute::{Id, base_of},
    policy::{Reason, SERVICE_DEFAULT},
    tree::Node,
    view::View,
};

/// Members that are judged before others have their turn.
const TURN: usize = 256;
/// Levels of groups in groups that are followed.
const NESTING_MAX: usize = 16;
/// Hosts whose people are remembered; the one asked for longest ago gives way.
const HOSTS_MAX: usize = 16;
/// People remembered per host.
const PEOPLE_MAX: usize = 1 << 16;
/// Seconds for which they are remembered.
const KNOWN_S: u64 = 30;

/// Whether people may come in at a host.
type Judged = Arc<Mutex<HashMap<EntryId, bool>>>;

/// Whom hosts may see, for all connections.
#[derive(Default)]
pub(super) struct Known(Mutex<VecDeque<(HostKey, Position, u64, Judged)>>);

impl Known {
    fn of(&self, host: &Host, position: Position, now_s: u64) -> Judged {
        let slice = now_s / KNOWN_S;
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = hosts.iter().position(|(key, ..)| *key == host.key).and_then(|at| hosts.remove(at));
        let found = found.filter(|(_, at, time, _)| *at == position && *time == slice);
        let judged = found.map(|(.., judged)| judged).unwrap_or_default();
        while hosts.len() >= HOSTS_MAX {
            hosts.pop_front();
        }
        hosts.push_back((host.key.clone(), position, slice, judged.clone()));
        judged
    }
}

/// What is shown of an entry.
pub(super) enum Shown {
    No,
    Whole,
    /// The entry without what is not to be seen of it.
    Part(Arc<Node>),
}

/// Looks at entries for one host.
pub(super) struct Eyes<'a> {
    view: &'a View,
    host: &'a Host,
    now_s: u64,
    judged: Judged,
    /// Whether groups have anybody in them whom the host may see.
    reached: HashMap<EntryId, bool>,
    /// Members judged.
    effort: usize,
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
/// Attributes that name people who have nothing to do with the host.
static OF_OTHERS: LazyLock<[Id; 7]> = LazyLock::new(|| {
    ["owner", "manager", "roleOccupant", "seeAlso", "secretary", "creatorsName", "modifiersName"].map(Id::of)
});
/// Which other hosts a person comes in at.
static HOST: LazyLock<Id> = LazyLock::new(|| Id::of("host"));
static MEMBER_UID: LazyLock<Id> = LazyLock::new(|| Id::of("memberUid"));
static MEMBERS: LazyLock<[Id; 2]> = LazyLock::new(|| ["member", "uniqueMember"].map(Id::of));
static TRIPLE: LazyLock<Id> = LazyLock::new(|| Id::of("nisNetgroupTriple"));

/// How a value names a member.
#[derive(Clone, Copy)]
enum Naming {
    Uid,
    Dn,
    Triple,
}

fn naming(id: Id) -> Option<Naming> {
    match id {
        id if id == *MEMBER_UID => Some(Naming::Uid),
        id if MEMBERS.contains(&id) => Some(Naming::Dn),
        id if id == *TRIPLE => Some(Naming::Triple),
        _ => None,
    }
}

/// What a value names.
enum Member {
    Seen,
    Hidden,
    Group(Arc<Node>),
}

fn is_one_of(node: &Node, classes: &[&str]) -> bool {
    classes.iter().any(|class| node.entry.is_a(class))
}

/// An entry without attributes.
fn without(node: &Arc<Node>, is_hidden: impl Fn(Id) -> bool) -> Shown {
    if !node.attributes().any(|(id, _)| is_hidden(id)) {
        return Shown::Whole;
    }
    let attributes = node.entry.attributes.iter().filter(|Attribute(name, _)| !is_hidden(Id::of(base_of(name))));
    node.with_attributes(attributes.cloned().collect()).map_or(Shown::No, |part| Shown::Part(Arc::new(part)))
}

impl<'a> Eyes<'a> {
    pub(super) fn new(known: &Known, view: &'a View, host: &'a Host, now_s: u64) -> Self {
        let judged = known.of(host, view.position(), now_s);
        Self { view, host, now_s, judged, reached: HashMap::new(), effort: 0 }
    }

    /// Members judged since this was last asked.
    pub(super) fn take_effort(&mut self) -> usize {
        std::mem::take(&mut self.effort)
    }

    /// What the host is shown of an entry.
    pub(super) async fn look(&mut self, node: &Arc<Node>) -> Shown {
        if node.is_person() {
            let is_hidden = |id| id == *HOST || OF_OTHERS.contains(&id);
            return if self.admits(node) { without(node, is_hidden) } else { Shown::No };
        }
        if is_one_of(node, &GROUPS) {
            return if self.reaches(node).await { self.cut(node).await } else { Shown::No };
        }
        if is_one_of(node, &["nisNetgroup"]) {
            return self.cut(node).await;
        }
        let is_open = if is_one_of(node, &["sudoRole"]) { self.is_named(node) } else { is_one_of(node, &OPEN) };
        if is_open { without(node, |id| OF_OTHERS.contains(&id)) } else { Shown::No }
    }

    /// Whether somebody may come in, by whatever service.
    fn admits(&self, node: &Node) -> bool {
        let id = node.entry.id;
        let judged = || self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = judged().get(&id) {
            return *known;
        }
        let decision = self.view.access.decide_entry(id, self.host, SERVICE_DEFAULT, self.now_s);
        let is_seen = matches!(decision.reason, Reason::Granted | Reason::ServiceNotGranted);
        let mut judged = judged();
        if judged.len() < PEOPLE_MAX {
            judged.insert(id, is_seen);
        }
        is_seen
    }

    /// Counts a member that is judged, and lets others have their turn now and then.
    async fn work(&mut self) {
        self.effort += 1;
        if self.effort.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
    }

    /// A group or netgroup with those members that the host may see.
    async fn cut(&mut self, node: &Arc<Node>) -> Shown {
        let mut attributes = Vec::with_capacity(node.entry.attributes.len());
        for Attribute(name, values) in &node.entry.attributes {
            let id = Id::of(base_of(name));
            if OF_OTHERS.contains(&id) {
                continue;
            }
            let Some(naming) = naming(id) else {
                attributes.push(Attribute(name.clone(), values.clone()));
                continue;
            };
            let mut seen = Vec::new();
            for value in values {
                let is_seen = match self.member(value, naming) {
                    Member::Seen => true,
                    Member::Hidden => false,
                    Member::Group(group) => self.reaches(&group).await,
                };
                self.work().await;
                if is_seen {
                    seen.push(value.clone());
                }
            }
            if !seen.is_empty() {
                attributes.push(Attribute(name.clone(), seen.into()));
            }
        }
        node.with_attributes(attributes.into()).map_or(Shown::No, |part| Shown::Part(Arc::new(part)))
    }

    fn member(&self, value: &Value, naming: Naming) -> Member {
        let Some(text) = value.text() else { return Member::Hidden };
        let tree = &self.view.tree;
        let uid = match naming {
            Naming::Uid => text,
            Naming::Triple => match text.split(',').nth(1).map(str::trim) {
                None | Some("" | "-") => return Member::Seen,
                Some(uid) => uid,
            },
            Naming::Dn => {
                // A uniqueMember may carry a UID behind a hash sign (RFC 4517 section 3.3.21).
                let name = text.rsplit_once("#'").map_or(text, |(name, _)| name);
                return match Dn::parse(name).ok().and_then(|dn| tree.by_dn(&dn)) {
                    Some(node) if node.is_person() && self.admits(node) => Member::Seen,
                    Some(node) if !node.is_person() && is_one_of(node, &GROUPS) => Member::Group(node.clone()),
                    _ => Member::Hidden,
                };
            }
        };
        let is_seen = tree.find("uid", uid).any(|node| node.is_person() && self.admits(node));
        if is_seen { Member::Seen } else { Member::Hidden }
    }

    /// Whether somebody whom the host may see is in a group, be it by other groups, or has it as their own.
    async fn reaches(&mut self, group: &Arc<Node>) -> bool {
        if let Some(known) = self.reached.get(&group.entry.id) {
            return *known;
        }
        let mut met = HashSet::from([group.entry.id]);
        let mut open = vec![(group.clone(), 0)];
        let mut is_whole = true;
        while let Some((node, depth)) = open.pop() {
            if self.has_seen_member(&node, depth, &mut open, &mut met).await {
                self.reached.insert(group.entry.id, true);
                return true;
            }
            is_whole &= depth < NESTING_MAX;
        }
        if is_whole {
            self.reached.extend(met.into_iter().map(|id| (id, false)));
        }
        self.reached.insert(group.entry.id, false);
        false
    }

    /// Whether somebody whom the host may see is in a group directly; else its groups are put on the list.
    async fn has_seen_member(
        &mut self,
        group: &Arc<Node>,
        depth: usize,
        open: &mut Vec<(Arc<Node>, usize)>,
        met: &mut HashSet<EntryId>,
    ) -> bool {
        let view = self.view;
        for Attribute(name, values) in &group.entry.attributes {
            let Some(naming) = naming(Id::of(base_of(name))) else { continue };
            for value in values {
                self.work().await;
                match self.member(value, naming) {
                    Member::Seen => return true,
                    Member::Hidden => {}
                    Member::Group(inner) => {
                        if depth < NESTING_MAX && met.insert(inner.entry.id) {
                            open.push((inner, depth + 1));
                        }
                    }
                }
            }
        }
        let Some(number) = group.entry.text("gidNumber") else { return false };
        for node in view.tree.find("gidNumber", number) {
            self.work().await;
            if node.is_person() && self.admits(node) {
                return true;
            }
        }
        false
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
