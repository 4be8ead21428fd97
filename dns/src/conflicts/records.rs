//! New static records: whether they can be read, what stands beside, above and below them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use inventory::{ChangeSet, Host, Record, Row, State};

use super::{
    index::{Index, reverse_apex, reverse_range, text},
    made::{displaces, is_cutting},
};
use crate::{
    generate::{NEAREST_ROLES, own_name, private_reverse_zones, reverse_zone, reverse_zones_of},
    name::{Name, is_within, parent},
    rr::{Rdata, rtype},
    statics,
    transfer::out::is_newer,
    zone::Soa,
};

/// Everything that a review of static records looks at.
pub(super) struct Records<'a> {
    after: &'a State,
    index: &'a Index<'a>,
    default_product: &'a str,
}

impl<'a> Records<'a> {
    pub(super) fn new(after: &'a State, index: &'a Index<'a>, default_product: &'a str) -> Self {
        Self { after, index, default_product }
    }

    /// One record that is new or changed.
    pub(super) fn check(&self, record: &Arc<Record>, out: &mut Vec<String>) {
        let shown = show(record);
        let rr = match statics::read(record, 0) {
            Ok(rr) => rr,
            Err(bad) => return out.push(format!("{shown}: {bad}")),
        };
        let name = text(&rr.owner);
        if record.key.name.contains('\\') && *record.key.name != *name {
            return out.push(format!("{shown}: the name has needless escapes; write it {name}"));
        }
        if rr.rtype != rtype::SOA && !self.in_a_zone(&rr.owner) {
            out.push(format!(
                "{shown}: the name lies in none of our zones; use a name below PRODUCT.private or PRODUCT.public, or make a zone of it with a SOA record"
            ));
        }
        self.check_above(&rr.owner, &shown, out);
        let labels: Vec<&str> = name.split('.').collect();
        let party = match self.made_at(&labels) {
            Some((made, party)) if displaces(rr.rtype, made) => Some(party),
            _ if is_cutting(rr.rtype) => self.made_below(&rr.owner, &labels, rr.rtype),
            _ => None,
        };
        if let Some(party) = party {
            out.push(format!(
                "{shown} from {} stands where {party}; remove the record or rename the other",
                record.source
            ));
        }
        if rr.rtype == rtype::DNAME
            && let Some(below) = self.index.records_within(&rr.owner).find(|other| *other.key.name != *name)
        {
            out.push(format!(
                "{shown} from {} hides {} from {}; names below a DNAME have no data (RFC 6672 section 2.4), so remove one of them",
                record.source,
                show(below),
                below.source
            ));
        }
    }

    /// All static records of one name together: what stands alone, and one TTL for each set (RFC 2181 section 5.2).
    pub(super) fn check_owner(&self, name: &str, out: &mut Vec<String>) {
        let mut sets: BTreeMap<u16, (&Record, BTreeSet<Rdata>)> = BTreeMap::new();
        let (mut cname, mut other) = (None, None);
        for record in self.after.records_at(name) {
            let Ok(rr) = statics::read(record, 0) else { continue };
            match rr.rtype {
                rtype::CNAME if cname.is_none() => cname = Some(record),
                _ => other = Some(record),
            }
            let (first, data) = sets.entry(rr.rtype).or_insert_with(|| (&**record, BTreeSet::new()));
            let both = || format!("{} from {} and {} from {}", show(first), first.source, show(record), record.source);
            if !data.insert(rr.rdata) {
                out.push(format!("{} say the same; remove one of them", both()));
            } else if data.len() > 1 && rr.rtype == rtype::SOA {
                out.push(format!("{}: {name} has two SOA records; a zone has one, remove the other", both()));
            } else if data.len() > 1 && rr.rtype == rtype::DNAME {
                out.push(format!("{}: a name has one DNAME (RFC 6672 section 2.4); remove one of them", both()));
            } else if first.ttl != record.ttl {
                let ttl = |record: &Record| record.ttl.map_or_else(|| "the general one".into(), |ttl| ttl.to_string());
                out.push(format!(
                    "{} have different TTLs, {} and {}; records of one name and type share theirs (RFC 2181 section 5.2), so change them together",
                    both(),
                    ttl(first),
                    ttl(record)
                ));
            }
        }
        if let (Some(cname), Some(other)) = (cname, other) {
            out.push(format!(
                "{} from {} stands beside {} from {}; a CNAME stands alone, remove one of them",
                show(cname),
                cname.source,
                show(other),
                other.source
            ));
        }
    }

    /// Zones of their own whose SOA goes, and hosts after which a generated zone is gone.
    pub(super) fn check_removals(&self, set: &ChangeSet, out: &mut Vec<String>) {
        let mut seen = BTreeSet::new();
        for change in &set.rows {
            match &change.old {
                Some(Row::Record(old)) if old.key.rtype == "SOA" => self.check_soa(old, out),
                Some(Row::Host(old)) if old.is_named() && self.after.record_count() > 0 => {
                    for apex in self.gone_with(old, &mut seen) {
                        self.check_left(&apex, &format!("without host {} the zone {apex} is gone", old.short()), out);
                    }
                }
                _ => {}
            }
        }
    }

    /// The generated zones that are gone after the removal of a host. Outside of private address space, where a
    /// host makes its reverse zone, all static records are compared once for each such zone.
    fn gone_with(&self, host: &Host, seen: &mut BTreeSet<String>) -> Vec<String> {
        let mut gone = Vec::new();
        if !self.is_product(&host.key.product) {
            gone.extend(["private", "public"].map(|top| format!("{}.{top}", host.key.product)));
        }
        for apex in reverse_zones_of(host).filter(|apex| !private_reverse_zones().contains(apex)) {
            let apex = text(&apex);
            if seen.insert(apex.clone()) && self.after.records().any(|record| record.key.name.ends_with(&*apex)) {
                let labels: Vec<&str> = apex.split('.').collect();
                let is_made = reverse_range(&labels).is_some_and(|range| self.index.host_within(range).is_some());
                gone.extend((!is_made).then_some(apex));
            }
        }
        gone
    }

    /// A SOA that was removed or replaced. A zone that was removed earlier may come back with any serial:
    /// nobody remembers then which one it was served with.
    fn check_soa(&self, old: &Record, out: &mut Vec<String>) {
        let apex = &old.key.name;
        let Some(new) = self.after.records_at(apex).find(|record| record.key.rtype == "SOA") else {
            return self.check_left(apex, &format!("without {} the zone {apex} is gone", show(old)), out);
        };
        let serial = |record: &Record| {
            let rr = statics::read(record, 0).ok()?;
            Some(Soa::from_rdata(0, &rr.rdata)?.serial)
        };
        if let (Some(was), Some(is)) = (serial(old), serial(new))
            && was != is
            && !is_newer(is, was)
        {
            out.push(format!(
                "{} from {} would take the serial of {apex} back, from {was} of {} to {is}, and secondaries would keep what they have (RFC 1982); use a serial after {was}",
                show(new),
                new.source,
                show(old)
            ));
        }
    }

    /// Records that would be left in a zone that is gone.
    fn check_left(&self, apex: &str, why: &str, out: &mut Vec<String>) {
        let Ok(zone) = Name::parse(apex) else { return };
        let in_it = |record: &&Arc<Record>| {
            let Ok(owner) = Name::parse(&record.key.name) else { return false };
            !ancestors(&owner).take_while(|name| **name != *zone).any(|name| self.has_soa(&name))
        };
        let mut left = self.index.records_within(&zone).filter(in_it);
        if let Some(first) = left.next() {
            let sentence = format!(
                "{why}, but static records of it remain: {} from {} is one of {}; remove them first or together with it",
                show(first),
                first.source,
                left.count() + 1
            );
            if !out.contains(&sentence) {
                out.push(sentence);
            }
        }
    }

    /// A name below a static DNAME has no data of its own.
    fn check_above(&self, owner: &Name, shown: &str, out: &mut Vec<String>) {
        for above in ancestors(owner).skip(1) {
            if let Some(dname) = self.after.records_at(&text(&above)).find(|record| record.key.rtype == "DNAME") {
                return out.push(format!(
                    "{shown} lies below {} from {}; names below a DNAME have no data (RFC 6672 section 2.4), so remove one of them",
                    show(dname),
                    dname.source
                ));
            }
        }
    }

    /// What hosts and roles make at a name: a type, and who makes it in words.
    fn made_at(&self, labels: &[&str]) -> Option<(u16, String)> {
        if let Some((low, high)) = reverse_range(labels) {
            let host = self.after.host_at(low).filter(|host| low == high && has_pointer(host, low))?;
            return Some((rtype::PTR, format!("host {} has the PTR of its address {low}", host.short())));
        }
        let (name, scope, product) = match *labels {
            [name, zone, product, "public"] => {
                let host = self.named(product, name).find(|host| host.key.zone == zone && host.public_ip.is_some())?;
                return Some((rtype::A, format!("host {} has its public name", host.short())));
            }
            [service, proto, product, "private"] if service.starts_with('_') => {
                return self.service_at(service, proto, product);
            }
            [service, proto, _, product, "private"] => return self.service_at(service, proto, product),
            [name, product, "private"] => (name, None, product),
            [name, scope, product, "private"] => (name, Some(scope), product),
            _ => return None,
        };
        if let Some(host) = self.named(product, name).find(|host| scope == Some(host.key.zone.as_str())) {
            return Some((rtype::A, format!("host {} has its name {}", host.short(), text(&own_name(host)))));
        }
        if let Some(host) = self.named(product, name).find(|host| scope.is_none_or(|scope| host.region == scope)) {
            return Some((rtype::CNAME, format!("host {} has its short name", host.short())));
        }
        if scope.is_none() && NEAREST_ROLES.contains(&name) && self.is_product(product) {
            // Static addresses win there; only what cuts is in the way.
            return Some((rtype::ANY, format!("the role {name} of product {product} has its name")));
        }
        (self.after.role_members(product, name) > 0)
            .then(|| (rtype::A, format!("the members of role {name} of product {product} answer")))
    }

    fn service_at(&self, service: &str, proto: &str, product: &str) -> Option<(u16, String)> {
        let (name, proto) = (service.strip_prefix('_')?, proto.strip_prefix('_')?);
        let role = self.after.role(name).filter(|role| role.port.is_some() && role.proto == proto)?;
        (self.after.role_members(product, name) > 0)
            .then(|| (rtype::SRV, format!("the role {name} from {} has its SRV records", role.source)))
    }

    /// What hosts and roles make below a name, or the zone that they make there.
    fn made_below(&self, owner: &Name, labels: &[&str], rtype: u16) -> Option<String> {
        // A CNAME hides only what stands beside it, and at an apex a SOA and NS do.
        let hides_below = rtype != rtype::CNAME;
        if let Some(range) = reverse_range(labels) {
            let is_apex = private_reverse_zones().contains(owner);
            if is_apex {
                return Some("a reverse zone for private addresses is generated, with a SOA and NS of its own".into());
            }
            let (address, host) = self.index.host_within(range)?;
            let apex = reverse_zone(address);
            let is_above = apex != *owner && is_within(&apex, owner);
            let hides = if apex == *owner {
                true
            } else if is_above {
                rtype == rtype::DNAME
            } else {
                hides_below
            };
            return hides.then(|| {
                format!(
                    "host {} has the PTR of its address {address} in the zone {}",
                    host.short(),
                    reverse_apex(address)
                )
            });
        }
        match *labels {
            ["arpa" | "private" | "public"] if rtype == rtype::DNAME => Some("zones are generated below".into()),
            [product, "private" | "public"] if self.is_product(product) => {
                Some(format!("the zone of product {product} is generated, with a SOA and NS of its own"))
            }
            [proto, product, "private"] | [proto, _, product, "private"] if hides_below && proto.starts_with('_') => {
                let serves = |name: &str| self.after.role_members(product, name) > 0;
                let of = |role: &str| proto.strip_prefix('_') == Some(role);
                let role =
                    self.after.roles().find(|role| role.port.is_some() && of(&role.proto) && serves(&role.name))?;
                Some(format!("the SRV records of role {} from {} lie below", role.name, role.source))
            }
            [scope, product, "private" | "public"] if hides_below => {
                let host = self.index.host_in(product, scope)?;
                Some(format!("host {} of product {product} has names below", host.short()))
            }
            _ => None,
        }
    }

    fn named(&self, product: &str, name: &str) -> impl Iterator<Item = &'a Arc<Host>> {
        self.after.hosts_named(product, name).filter(|host| host.is_named())
    }

    fn is_product(&self, product: &str) -> bool {
        product == self.default_product || self.after.product(product).is_some()
    }

    fn has_soa(&self, name: &Name) -> bool {
        self.after.records_at(&text(name)).any(|record| record.key.rtype == "SOA")
    }

    fn in_a_zone(&self, owner: &Name) -> bool {
        let name = text(owner);
        let labels: Vec<&str> = name.split('.').collect();
        if let [.., product, "private" | "public"] = labels[..]
            && self.is_product(product)
        {
            return true;
        }
        if private_reverse_zones().iter().any(|apex| is_within(owner, apex))
            || ancestors(owner).any(|name| self.has_soa(&name))
        {
            return true;
        }
        // Reverse zones that a host's address makes: a /24, or a /48 of IPv6.
        let zone = match labels[..] {
            [.., _, _, _, "in-addr", _] => &labels[labels.len() - 5..],
            [.., "ip6", _] if labels.len() >= 14 => &labels[labels.len() - 14..],
            _ => return false,
        };
        reverse_range(zone).is_some_and(|range| self.index.host_within(range).is_some())
    }
}

/// Whether a PTR is made for this address of a host: not for the public one.
fn has_pointer(host: &Host, address: std::net::IpAddr) -> bool {
    host.is_named() && (address == host.private_ip || host.ipv6.is_some_and(|v6| address == v6))
}

/// A name, its parent and so on, without the root.
fn ancestors(name: &Name) -> impl Iterator<Item = Name> {
    let next = |name: &Name| parent(name).filter(|above| above.len() > 1).map(Name::from_wire);
    std::iter::successors((name.len() > 1).then(|| name.clone()), next)
}

fn show(record: &Record) -> String {
    format!("record {} {} {}", record.key.name, record.key.rtype, record.key.data)
}
