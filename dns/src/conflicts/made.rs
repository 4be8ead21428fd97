//! What hosts and roles make, against the static records that are there.
//!
//! Beside a made name static records of other types may stand, but nothing that takes the name out
//! of service: no CNAME, DNAME, NS or SOA there, and no NS, DNAME or SOA between it and the apex of
//! its zone. `ns1`, `ldap` and `log` of a product are an exception: static addresses win there.

use std::{collections::BTreeSet, sync::Arc};

use inventory::{Host, Record, Role, State};

use super::{
    SENTENCES_MAX,
    index::{reverse_apex, text},
};
use crate::{
    generate::{NEAREST_ROLES, Settings, host_records, is_nearest, role_name, service_name},
    name::{Name, parent},
    rr::rtype,
    text::type_number,
};

/// Labels of roles have one octet less than others, because `_` stands before them in SRV names.
const ROLE_LABEL_MAX: usize = 62;

/// Whether a static record of `rtype` takes the place of generated records of type `made` at one owner.
pub(super) fn displaces(rtype: u16, made: u16) -> bool {
    match made {
        // A CNAME stands alone (RFC 1034 section 3.6.2).
        rtype::CNAME => true,
        rtype::A | rtype::AAAA => is_cutting(rtype) || matches!(rtype, rtype::A | rtype::AAAA),
        made => is_cutting(rtype) || rtype == made,
    }
}

/// Types that hide every other datum at their owner, or put it into another zone.
pub(super) fn is_cutting(rtype: u16) -> bool {
    matches!(rtype, rtype::CNAME | rtype::DNAME | rtype::NS | rtype::SOA)
}

/// Checks the names that changed hosts and roles make, each name once.
pub(super) struct Made<'a> {
    after: &'a State,
    settings: Settings,
    owners: BTreeSet<(Name, u16)>,
    above: BTreeSet<String>,
}

impl<'a> Made<'a> {
    pub(super) fn new(after: &'a State, default_product: &str) -> Self {
        // Only owners and types are looked at; they depend on none of the other settings.
        let settings = Settings {
            region: String::new(),
            product: default_product.into(),
            ttl: 0,
            negative_ttl: 0,
            own_addresses: Vec::new(),
        };
        Self { after, settings, owners: BTreeSet::new(), above: BTreeSet::new() }
    }

    /// Everything that a host makes.
    pub(super) fn check_host(&mut self, host: &Arc<Host>, out: &mut Vec<String>) {
        let short = host.short();
        for role in host.roles.iter().filter(|role| role.len() > ROLE_LABEL_MAX) {
            out.push(format!(
                "role {role} of host {short} has {} octets, but {ROLE_LABEL_MAX} are the most, because of the _ before it in SRV names; shorten it",
                role.len()
            ));
        }
        if self.after.record_count() == 0 {
            return;
        }
        let (product, name) = (&host.key.product, &host.key.name);
        for rr in host_records(host, self.after, &self.settings) {
            let apex = match rr.rtype {
                rtype::PTR => host_addresses(host).find_map(|address| {
                    (crate::generate::reverse_name(address) == rr.owner).then(|| reverse_apex(address))
                }),
                _ => None,
            };
            self.check_owner(host, &rr.owner, rr.rtype, apex, out);
        }
        // In a zone that is its own region the host's own name is the short one.
        let region = (host.region != host.key.zone).then_some(Some(host.region.as_str()));
        for scope in [Some(None), region].into_iter().flatten() {
            self.check_owner(host, &role_name(name, scope, product), rtype::CNAME, None, out);
        }
        if host.is_serving() {
            self.check_nearest(host, out);
        }
        for (above, place) in [(format!("{product}.public"), Place::Apex), ("public".into(), Place::Above)] {
            if self.above.insert(above.clone()) {
                self.check_above(host, &format!("{product}.public"), &above, place, out);
            }
        }
        for role in NEAREST_ROLES {
            // Of a type that no static record has: only what cuts is in the way.
            self.check_owner(host, &role_name(role, None, product), rtype::ANY, None, out);
        }
    }

    /// The product-wide names of roles that are "nearest".
    fn check_nearest(&mut self, host: &Arc<Host>, out: &mut Vec<String>) {
        let product = &host.key.product;
        for role in &host.roles {
            let definition = self.after.role(role).cloned();
            if !is_nearest(role, definition.as_deref()) {
                continue;
            }
            if !NEAREST_ROLES.contains(&role.as_str()) {
                self.check_owner(host, &role_name(role, None, product), rtype::A, None, out);
            }
            let proto = definition.filter(|role| role.port.is_some()).map(|role| role.proto.clone());
            if let Some(owner) = proto.and_then(|proto| service_name(role, &proto, None, product)) {
                self.check_owner(host, &owner, rtype::SRV, None, out);
            }
        }
    }

    /// A role that was defined or changed, with all hosts that carry it.
    pub(super) fn check_role(&mut self, role: &Role, out: &mut Vec<String>) {
        if role.name.len() > ROLE_LABEL_MAX {
            out.push(format!(
                "role {} from {} has {} octets, but {ROLE_LABEL_MAX} are the most, because of the _ before it in SRV names; shorten it",
                role.name,
                role.source,
                role.name.len()
            ));
        }
        if self.after.record_count() == 0 {
            return;
        }
        for host in self.after.hosts().filter(|host| host.is_serving() && host.roles.contains(&role.name)) {
            self.check_host(host, out);
        }
    }

    fn check_owner(&mut self, host: &Host, owner: &Name, made: u16, apex: Option<String>, out: &mut Vec<String>) {
        if out.len() >= SENTENCES_MAX || !self.owners.insert((owner.clone(), made)) {
            return;
        }
        let owner_text = text(owner);
        let record = self.records_at(&owner_text).find(|(rtype, _)| displaces(*rtype, made));
        if let Some((_, record)) = record {
            out.push(format!(
                "host {} makes the name {owner_text}, where the static record {} {} from {} stands; remove the record or rename one of them",
                host.short(),
                record.key.rtype,
                record.key.data,
                record.source
            ));
        }
        let apex = apex.unwrap_or_else(|| apex_of(&owner_text).to_owned());
        let mut place = if owner_text == apex { Place::Apex } else { Place::Below };
        let mut here = parent(owner).map(Name::from_wire);
        while let Some(above) = here.filter(|name| name.len() > 1) {
            let above_text = text(&above);
            if place == Place::Apex {
                place = Place::Above;
            } else if above_text == apex {
                place = Place::Apex;
            }
            if !self.above.insert(above_text.clone()) {
                break;
            }
            self.check_above(host, &owner_text, &above_text, place, out);
            here = parent(&above).map(Name::from_wire);
        }
    }

    fn check_above(&self, host: &Host, owner: &str, above: &str, place: Place, out: &mut Vec<String>) {
        let hides = |rtype: u16| match place {
            Place::Below => matches!(rtype, rtype::NS | rtype::DNAME | rtype::SOA),
            Place::Apex => is_cutting(rtype),
            Place::Above => rtype == rtype::DNAME,
        };
        if let Some((_, record)) = self.records_at(above).find(|(rtype, _)| hides(*rtype)) {
            out.push(format!(
                "host {} makes the name {owner}, but the static record {} {} {} from {} takes {above} and all below it out of the generated zone; remove the record",
                host.short(), record.key.name, record.key.rtype, record.key.data, record.source
            ));
        }
    }

    fn records_at(&self, name: &str) -> impl Iterator<Item = (u16, &'a Arc<Record>)> + use<'a> {
        self.after.records_at(name).filter_map(|record| Some((type_number(&record.key.rtype)?, record)))
    }
}

/// Where a name is that lies above a generated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Below the apex of its zone.
    Below,
    /// At the apex.
    Apex,
    /// Above the zone.
    Above,
}

fn host_addresses(host: &Host) -> impl Iterator<Item = std::net::IpAddr> {
    [Some(host.private_ip.into()), host.ipv6.map(Into::into)].into_iter().flatten()
}

/// The last two labels: `acme.private` of `db1.us-east-1a.acme.private`.
fn apex_of(name: &str) -> &str {
    let dots = name.rmatch_indices('.').nth(1);
    dots.map_or(name, |(at, _)| &name[at + 1..])
}
