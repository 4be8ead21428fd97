//! Changes that would make names contradict each other, each as a sentence that names both parties.
//!
//! The inventory itself sees to unique hosts, addresses and records. Here is what needs the rules by
//! which names are made: a short name against a role, a region or another host's own name, a static record against a made
//! name, CNAMEs beside other data (RFC 1034 section 3.6.2), data that cannot be read, owners that lie
//! in no zone of ours. Cost: O(changed), but for the
//! rare records that [`index`] serves.

mod index;
mod made;
mod records;

use std::{collections::BTreeSet, sync::Arc};

use inventory::{ChangeSet, Host, HostKey, Role, Row, State};

use crate::generate::NEAREST_ROLES;
use index::Index;
use made::Made;
use records::Records;

/// Sentences given at most; a file with thousands of faults is read by nobody.
const SENTENCES_MAX: usize = 50;

/// What speaks against a change, given the state that it would lead to; empty when nothing does.
/// `default_product` is the product whose zones exist even without hosts.
pub fn conflicts(after: &State, set: &ChangeSet, default_product: &str) -> Vec<String> {
    let mut out = Vec::new();
    let index = Index::new(after);
    let records = Records::new(after, &index, default_product);
    let mut made = Made::new(after, default_product);
    let mut owners = BTreeSet::new();
    records.check_removals(set, &mut out);
    for row in set.rows.iter().filter_map(|change| change.new.as_ref()) {
        if out.len() >= SENTENCES_MAX {
            break;
        }
        match row {
            Row::Host(host) if host.is_named() => {
                check_host(after, host, &mut out);
                made.check_host(host, &mut out);
            }
            Row::Record(record) => {
                records.check(record, &mut out);
                if owners.insert(&record.key.name) {
                    records.check_owner(&record.key.name, &mut out);
                }
            }
            Row::Role(role) => {
                check_role(after, role, &mut out);
                made.check_role(role, &mut out);
            }
            Row::Host(_) | Row::Grant(_) | Row::Entry(_) | Row::Cookie(_) => {}
        }
    }
    // One fault is seen from both sides when both rows are new.
    let mut seen = BTreeSet::new();
    out.retain(|sentence| seen.insert(sentence.clone()));
    out.truncate(SENTENCES_MAX);
    out
}

fn check_host(after: &State, host: &Arc<Host>, out: &mut Vec<String>) {
    let (product, name) = (&host.key.product, &host.key.name);
    let short = host.short();
    if NEAREST_ROLES.contains(&name.as_str()) {
        out.push(format!(
            "host {short}: the name {name}.{product}.private belongs to the role {name:?} of every product; rename the host"
        ));
    } else if after.role_members(product, name) > 0 || after.role(name).is_some() {
        let carried_by = after.hosts().find(|other| other.roles.contains(name)).map(|other| other.short());
        let role = carried_by.map_or_else(|| format!("role {name}"), |other| format!("role {name} of host {other}"));
        out.push(format!("host {short} and {role} would both be {name}.{product}.private; rename one of them"));
    }
    for role in &host.roles {
        if let Some(other) = after.hosts_named(product, role).find(|other| other.is_named()) {
            out.push(format!(
                "role {role} of host {short} and host {} would both be {role}.{product}.private; rename one of them",
                other.short()
            ));
        }
    }
    let is_region = |label: &str| after.product(product).is_some_and(|tally| tally.regions.contains_key(label));
    if is_region(name) {
        out.push(format!("host {short}: {name} is also a region of product {product}; rename the host"));
    }
    let key = HostKey { zone: host.region.clone(), ..host.key.clone() };
    if let Some(own) = after.host(&key) {
        check_scopes(own, host, out);
    }
    if is_region(&host.key.zone) {
        after.hosts_named(product, name).for_each(|other| check_scopes(host, other, out));
    }
}

/// A host's own name against the short name that another host of the same name has in its region. While several share
/// that short name it does not exist, but it would come to exist without a further check. In a zone that is its own
/// region the own name counts among them.
fn check_scopes(own: &Host, short: &Host, out: &mut Vec<String>) {
    let zone = &own.key.zone;
    if short.region == *zone && own.region != *zone && own.is_named() && short.is_named() {
        out.push(format!(
            "host {} by its zone and host {} by its region would both be {}.{zone}.{}.private; rename one of them",
            own.short(),
            short.short(),
            own.key.name,
            own.key.product
        ));
    }
}

fn check_role(after: &State, role: &Arc<Role>, out: &mut Vec<String>) {
    for (product, _) in after.products() {
        if let Some(host) = after.hosts_named(product, &role.name).find(|host| host.is_named()) {
            out.push(format!(
                "role {} from {} and host {} would both be {}.{product}.private; rename one of them",
                role.name,
                role.source,
                host.short(),
                role.name
            ));
        }
    }
}
