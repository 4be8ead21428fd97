//! Changes that would make names contradict each other, each as a sentence that names both parties.
//!
//! The inventory itself sees to unique hosts, addresses and records. Here is what needs the rules by
//! which names are made: a short name against a role or a region, a static record against a made
//! name, CNAMEs beside other data (RFC 1034 section 3.6.2), data that cannot be read, owners that lie
//! in no zone of ours. Cost: O(changed).

use std::sync::Arc;

use inventory::{ChangeSet, Host, Record, Role, Row, State};

use crate::{
    generate::NEAREST_ROLES,
    name::{Name, is_within},
    rr::rtype,
    statics,
};

/// Sentences given at most; a file with thousands of faults is read by nobody.
const SENTENCES_MAX: usize = 50;

/// What speaks against a change, given the state that it would lead to; empty when nothing does.
/// `default_product` is the product whose zones exist even without hosts.
pub fn conflicts(after: &State, set: &ChangeSet, default_product: &str) -> Vec<String> {
    let mut out = Vec::new();
    for row in set.rows.iter().filter_map(|change| change.new.as_ref()) {
        match row {
            Row::Host(host) if host.is_named() => check_host(after, host, &mut out),
            Row::Record(record) => check_record(after, record, default_product, &mut out),
            Row::Role(role) => check_role(after, role, &mut out),
            Row::Host(_) => {}
        }
        if out.len() >= SENTENCES_MAX {
            break;
        }
    }
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
    if after.product(product).is_some_and(|tally| tally.regions.contains_key(name)) {
        out.push(format!("host {short}: {name} is also a region of product {product}; rename the host"));
    }
    let mut scopes = vec![None, Some(&host.region)];
    scopes.dedup();
    for scope in scopes {
        let owner = match scope {
            Some(scope) => format!("{name}.{scope}.{product}.private"),
            None => format!("{name}.{product}.private"),
        };
        if let Some(record) = after.records_at(&owner).next() {
            out.push(format!(
                "host {short} would have the short name {owner}, where the static record {} {} from {} stands; remove one of them",
                record.key.rtype, record.key.data, record.source
            ));
        }
    }
    let own = format!("{name}.{}.{product}.private", host.key.zone);
    if let Some(record) = after.records_at(&own).find(|record| record.key.rtype == "CNAME") {
        out.push(format!(
            "host {short} has its address at {own}, where the static record CNAME {} from {} stands; a CNAME stands alone",
            record.key.data, record.source
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

fn check_record(after: &State, record: &Arc<Record>, default_product: &str, out: &mut Vec<String>) {
    let key = &record.key;
    let shown = format!("record {} {} {}", key.name, key.rtype, key.data);
    let rr = match statics::read(record, 0) {
        Ok(rr) => rr,
        Err(bad) => return out.push(format!("{shown}: {bad}")),
    };
    if rr.rtype == rtype::SOA {
        if after.records_at(&key.name).filter(|other| other.key.rtype == "SOA").count() > 1 {
            out.push(format!("{shown}: {} has two SOA records; a zone has one", key.name));
        }
        return;
    }
    if !in_a_zone(after, &rr.owner, default_product) {
        out.push(format!(
            "{shown}: the name lies in none of our zones; use a name below PRODUCT.private or PRODUCT.public, or make a zone of it with a SOA record"
        ));
    }
    let others = || after.records_at(&key.name).filter(|other| other.key != *key);
    if rr.rtype == rtype::CNAME {
        if let Some(other) = others().next() {
            out.push(format!(
                "{shown} from {} stands beside {} {} from {}; a CNAME stands alone",
                record.source, other.key.rtype, other.key.data, other.source
            ));
        }
    } else if let Some(cname) = others().find(|other| other.key.rtype == "CNAME") {
        out.push(format!(
            "{shown} from {} stands beside CNAME {} from {}; a CNAME stands alone",
            record.source, cname.key.data, cname.source
        ));
    }
    check_made_names(after, record, &shown, rr.rtype, out);
}

/// A static record against the names that hosts and roles make.
fn check_made_names(after: &State, record: &Record, shown: &str, rtype: u16, out: &mut Vec<String>) {
    let labels: Vec<&str> = record.key.name.split('.').collect();
    let (name, scope, product) = match labels[..] {
        [name, product, "private"] => (name, None, product),
        [name, scope, product, "private"] => (name, Some(scope), product),
        _ => return,
    };
    let host = after
        .hosts_named(product, name)
        .filter(|host| host.is_named())
        .find(|host| scope.is_none_or(|scope| host.key.zone == scope || host.region == scope));
    if let Some(host) = host {
        let is_own_name = scope.is_some_and(|scope| host.key.zone == scope);
        let may_stand =
            is_own_name && !matches!(rtype, rtype::CNAME | rtype::A | rtype::AAAA | rtype::NS | rtype::DNAME);
        if !may_stand {
            out.push(format!(
                "{shown} from {} stands where host {} has its name {}; remove the record or rename the host",
                record.source,
                host.short(),
                record.key.name
            ));
        }
    }
    if matches!(rtype, rtype::A | rtype::AAAA | rtype::CNAME) && after.role_members(product, name) > 0 {
        out.push(format!(
            "{shown} from {} stands where the members of role {name} answer; remove the record or rename the role",
            record.source
        ));
    }
}

fn in_a_zone(after: &State, owner: &Name, default_product: &str) -> bool {
    let text = owner.to_string();
    let labels: Vec<&str> = text.trim_end_matches('.').split('.').collect();
    if let [.., product, "private" | "public"] = labels[..]
        && (product == default_product || after.product(product).is_some())
    {
        return true;
    }
    if crate::generate::private_reverse_zones().iter().any(|apex| is_within(owner, apex)) {
        return true;
    }
    // Longer suffixes first: the static zones around the name.
    (0..labels.len()).any(|skip| after.records_at(&labels[skip..].join(".")).any(|other| other.key.rtype == "SOA"))
}
