//! Losses of directory entries: whole classes, attributes, and the groups that grants with sudo are for.
//!
//! An entry that is replaced by another with its DN is not lost: an upstream that was restored gives new entryUUIDs.
//! Nothing else makes up for an entry that goes, however many come.

use std::collections::{BTreeMap, BTreeSet};

use compact_str::CompactString;

use super::{ALL_OF_CLASS_MIN, REMOVED_ALWAYS, Reason, is_too_much};
use crate::{
    change::{ChangeSet, Row},
    entry::Entry,
    state::{Carried, State, carried},
};

/// Classes of entries that are groups, as grants mean them.
const GROUP_CLASSES: &[&str] = &["posixGroup", "groupOfNames", "groupOfUniqueNames", "groupOfMembers"];

/// The reasons for which a change of entries should be held.
pub(super) fn reasons(before: &State, after: &State, set: &ChangeSet) -> Vec<Reason> {
    let successors = Successors::new(set);
    let mut reasons = of_classes(before, &successors, set);
    reasons.extend(of_admins(after, &successors, set));
    reasons
}

/// Entries that are removed, by class; and attributes that go from entries that stay. Attributes of removed entries say
/// nothing new. An entry stays if another with its DN takes its place, under a new entryUUID. A class of one or two
/// entries may be emptied: small classes come and go by hand.
fn of_classes(before: &State, successors: &Successors<'_>, set: &ChangeSet) -> Vec<Reason> {
    let mut classes: BTreeMap<Carried, u64> = BTreeMap::new();
    let mut attributes: BTreeMap<Carried, u64> = BTreeMap::new();
    for (old, new) in successors.of(set) {
        let (lost, stays) = match new {
            Some(new) => (&carried(old) - &carried(new), true),
            None => (carried(old), false),
        };
        for what in lost {
            match &what {
                Carried::Class(_) => *classes.entry(what).or_default() += 1,
                Carried::Attribute(_) if stays => *attributes.entry(what).or_default() += 1,
                Carried::Attribute(_) => {}
            }
        }
    }
    let lost = classes.into_iter().chain(attributes).map(|(what, gone)| (before.carried(&what), what, gone));
    let large = lost.filter(|(all, _, gone)| {
        (*gone > REMOVED_ALWAYS && is_too_much(*gone, *all)) || (gone == all && *all >= ALL_OF_CLASS_MIN)
    });
    let told = large.map(|(all, what, gone)| match what {
        Carried::Class(class) => Reason::Entries { class, gone, all },
        Carried::Attribute(attribute) => Reason::Attribute { attribute, gone, all },
    });
    told.collect()
}

/// Groups that grants with sudo name and that are there no more, under no entry. Nobody's place is taken by them, so a
/// single one says that all who could mend things are gone.
fn of_admins(after: &State, successors: &Successors<'_>, set: &ChangeSet) -> Vec<Reason> {
    let mut lost: BTreeSet<CompactString> = BTreeSet::new();
    for (old, new) in successors.of(set) {
        let kept = new.map(group_names).unwrap_or_default();
        lost.extend(group_names(old).into_iter().filter(|name| !kept.contains(name)));
    }
    // The grants and the entries are walked only when a group goes, and the entries only when it is one that matters.
    if lost.is_empty() {
        return Vec::new();
    }
    let mut named: BTreeMap<CompactString, &CompactString> = BTreeMap::new();
    for grant in after.grants().filter(|grant| grant.sudo.is_some()) {
        let groups = grant.who.iter().filter_map(|who| who.strip_prefix('@')).map(folded);
        for group in groups.filter(|group| lost.contains(group)) {
            named.entry(group).or_insert(&grant.name);
        }
    }
    if !named.is_empty() {
        for name in after.entries().flat_map(|entry| group_names(entry)) {
            named.remove(&name);
        }
    }
    named.into_iter().map(|(group, grant)| Reason::Admins { group, grant: grant.clone() }).collect()
}

/// The names of an entry that is a group; none of any other.
fn group_names(entry: &Entry) -> Vec<CompactString> {
    if !GROUP_CLASSES.iter().any(|class| entry.is_a(class)) {
        return Vec::new();
    }
    entry.texts("cn").map(folded).collect()
}

fn folded(name: &str) -> CompactString {
    name.trim().to_lowercase().into()
}

/// Entries that are new in a change set, by DN: each takes the place of one with the same DN that goes.
struct Successors<'a>(BTreeMap<String, &'a Entry>);

impl<'a> Successors<'a> {
    fn new(set: &'a ChangeSet) -> Self {
        let added =
            set.rows.iter().filter(|change| change.old.is_none()).filter_map(|change| entry(change.new.as_ref()));
        Self(added.map(|entry| (comparable(&entry.dn), entry)).collect())
    }

    /// The entries that a change set changes or removes, each with what stands in its place.
    fn of(&self, set: &'a ChangeSet) -> impl Iterator<Item = (&'a Entry, Option<&'a Entry>)> {
        set.rows.iter().filter_map(|change| {
            let old = entry(change.old.as_ref())?;
            let new = entry(change.new.as_ref());
            let by_dn = || if self.0.is_empty() { None } else { self.0.get(&comparable(&old.dn)).copied() };
            Some((old, new.or_else(by_dn)))
        })
    }
}

/// A DN as it is compared here: in lower case, without spaces around separators. Escapes (RFC 4514 section 2.4) are left
/// as they are written.
fn comparable(dn: &str) -> String {
    let mut out = String::with_capacity(dn.len());
    // What is escaped is not cut off, even if it is a space.
    let (mut kept, mut is_escaped, mut begins) = (0, false, true);
    for c in dn.chars().flat_map(char::to_lowercase) {
        match c {
            _ if is_escaped => {
                out.push(c);
                (kept, is_escaped) = (out.len(), false);
            }
            ' ' if begins => continue,
            ',' | ';' | '=' | '+' => {
                cut_spaces(&mut out, kept);
                out.push(c);
                begins = true;
                continue;
            }
            _ => {
                is_escaped = c == '\\';
                out.push(c);
            }
        }
        begins = false;
    }
    cut_spaces(&mut out, kept);
    out
}

fn cut_spaces(text: &mut String, kept: usize) {
    while text.len() > kept && text.ends_with(' ') {
        text.pop();
    }
}

fn entry(row: Option<&Row>) -> Option<&Entry> {
    match row {
        Some(Row::Entry(entry)) => Some(entry),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        change::{Author, RowChange},
        entry::{Attribute, DIRECTORY, EntryId},
        model::Grant,
    };

    fn entry(n: u8, dn: &str, class: &str) -> Row {
        let attribute = |name: &str, value: &str| Attribute(name.into(), [value.into()].into());
        let cn = dn.split(['=', ',']).nth(1).unwrap();
        let attributes = [attribute("objectClass", class), attribute("cn", cn)].into();
        Row::Entry(Arc::new(Entry { id: EntryId([n; 16]), dn: dn.into(), attributes, source: DIRECTORY.into() }))
    }

    fn grant(who: &str, sudo: Option<Box<[CompactString]>>) -> Row {
        Row::Grant(Arc::new(Grant {
            name: "admins".into(),
            who: [who.into()].into(),
            on: ["*".into()].into(),
            services: Box::default(),
            sudo,
            until: None,
            by: "t".into(),
            why: "t".into(),
            source: "api".into(),
        }))
    }

    fn sentences(before: &[Row], after: &[Row]) -> Vec<String> {
        let gone = before.iter().filter(|row| !after.iter().any(|other| other.key() == row.key()));
        let gone = gone.map(|row| RowChange { old: Some(row.clone()), new: None });
        let put = after.iter().map(|row| {
            let old = before.iter().find(|other| other.key() == row.key()).cloned();
            RowChange { old, new: Some(row.clone()) }
        });
        let rows = gone.chain(put).filter(|change| change.old != change.new).collect();
        let author = Author { who: "t".into(), when_ms: 0, why: String::new() };
        let [before, after] = [before, after].map(|rows| State::from_rows(1, 1, 1, rows.iter().cloned()).unwrap());
        let set = ChangeSet { epoch: 1, serial: 2, author, rows };
        reasons(&before, &after, &set).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn other_people_do_not_make_up_for_those_who_go() {
        let people = |ids: std::ops::Range<u8>, dns: &str| -> Vec<Row> {
            (0_u8..).zip(ids).map(|(n, id)| entry(id, &format!("{dns}{n},dc=acme"), "person")).collect()
        };
        let old = people(0..40, "uid=u");
        let all = "it removes all 40 directory entries of class person";
        assert_eq!(sentences(&old, &people(50..90, "uid=other")), [all]);
        assert_eq!(sentences(&old, &people(50..90, "UID = U")), [""; 0], "the same people under new ids");
        let half: Vec<Row> = old[..20].iter().cloned().chain(people(50..90, "uid=other")).collect();
        assert_eq!(
            sentences(&old, &half),
            ["it removes 20 of the 40 directory entries of class person, more than 30 %"]
        );
    }

    #[test]
    fn the_group_of_all_admins_does_not_go_unseen() {
        let group = entry(1, "cn=Ops,ou=a,dc=acme", "posixGroup");
        let sudo = || Some([].into());
        let held = ["it removes the group ops, for which grant admins gives sudo, and no other has its name"];
        let one = |grant: &Row| vec![grant.clone(), group.clone()];
        let grant_all = grant("@ops", sudo());
        assert_eq!(sentences(&one(&grant_all), std::slice::from_ref(&grant_all)), held);
        let renamed = entry(1, "cn=op,ou=a,dc=acme", "posixGroup");
        assert_eq!(sentences(&one(&grant_all), &[grant_all.clone(), renamed]), held);
        let elsewhere = entry(2, "cn=ops,ou=b,dc=acme", "groupOfNames");
        assert_eq!(sentences(&one(&grant_all), &[grant_all.clone(), elsewhere]), [""; 0]);
        assert_eq!(sentences(&one(&grant_all), &[]), [""; 0], "the grant goes as well");
        for other in [grant("@ops", None), grant("ops", sudo()), grant("@dba", sudo())] {
            assert_eq!(sentences(&one(&other), std::slice::from_ref(&other)), [""; 0]);
        }
    }

    #[test]
    fn dns_are_compared_without_case_and_spaces_around_separators() {
        assert_eq!(comparable(" UID=Ada , ou = People+l=X; dc=acme "), "uid=ada,ou=people+l=x;dc=acme");
        assert_eq!(comparable(r"cn=a\ ,dc=b"), r"cn=a\ ,dc=b");
        assert_ne!(comparable(r"cn=a\,dc=b"), comparable("cn=a,dc=b"));
        assert_ne!(comparable("cn=a b"), comparable("cn=ab"));
    }
}
