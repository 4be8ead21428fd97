//! Names that several hosts have a part in: short names, and the product-wide names of nearest roles.

use std::{collections::BTreeSet, sync::Arc};

use compact_str::CompactString;
use inventory::{Host, State};

use super::{Maker, Scopes};
use crate::{
    edit::Editor,
    generate::{NEAREST_ROLES, address_data, own_name, role_name, service_name},
    name::Name,
    node::RrSet,
    rr::{Rdata, Rr, rtype},
    statics,
};

/// What stands at a short name: a CNAME while exactly one host has the name in the scope.
pub(super) struct ShortName {
    owner: Name,
    target: Option<Name>,
    /// Static records take precedence, if there are some.
    is_static: bool,
}

fn short_name<'a>(state: &State, owner: Name, mut hosts: impl Iterator<Item = &'a Arc<Host>>) -> ShortName {
    let target = match (hosts.next(), hosts.next()) {
        // In a zone that is its own region the host's own name is the short one.
        (Some(host), None) => Some(own_name(host)).filter(|own| *own != owner),
        _ => None,
    };
    // `conflicts` keeps static records away from short names. One may have come after the host had gone, both in
    // what is being followed at once: then the host's CNAME goes and the record stays.
    let is_static = state.records_at(owner.to_string().trim_end_matches('.')).next().is_some();
    ShortName { owner, target, is_static }
}

impl Maker {
    pub(super) fn set_short_names(&self, editor: &mut Editor, state: &State, touched: &Scopes) {
        self.short_names(state, touched).for_each(|short| self.set_short_name(editor, state, short));
    }

    /// The short names of hosts, in their regions and in their products.
    pub(super) fn short_names(&self, state: &State, touched: &Scopes) -> impl Iterator<Item = ShortName> {
        touched.iter().flat_map(move |(product, name, region)| {
            let in_product = || state.hosts_named(product, name).filter(|host| host.is_named());
            let in_region = in_product().filter(|host| host.region == *region);
            [
                short_name(state, role_name(name, Some(region), product), in_region),
                short_name(state, role_name(name, None, product), in_product()),
            ]
        })
    }

    pub(super) fn set_short_name(&self, editor: &mut Editor, state: &State, short: ShortName) {
        let ShortName { owner, target, is_static } = short;
        let wanted = target.filter(|_| !is_static).map(|target| {
            let mut set = RrSet::new(rtype::CNAME, self.settings.ttl);
            set.insert(Rdata::from(&*target));
            set
        });
        if !is_static || !self.set_static(editor, state, &owner, &[rtype::CNAME]) {
            editor.replace(&owner, rtype::CNAME, wanted);
        }
    }

    /// Product-wide names of nearest roles: static addresses if there are any, else the members in the own region
    /// while there are any, else all others.
    pub(super) fn set_nearest(
        &self,
        editor: &mut Editor,
        state: &State,
        touched: &BTreeSet<(CompactString, CompactString)>,
    ) {
        const ADDRESSES: [u16; 2] = [rtype::A, rtype::AAAA];
        for (product, role) in touched {
            let owner_of = |scope: Option<&str>| role_name(role, scope, product);
            if !self.set_static(editor, state, &owner_of(None), &ADDRESSES) {
                let mut found = false;
                for rtype in ADDRESSES {
                    found |= self.set_nearest_type(editor, state, product, rtype, &owner_of);
                }
                if !found && NEAREST_ROLES.contains(&role.as_str()) && self.has_product(state, product) {
                    for address in &self.settings.own_addresses {
                        let (rtype, rdata) = address_data(*address);
                        editor.add(&owner_of(None), rtype, self.settings.ttl, rdata);
                    }
                }
            }
            let proto = state.role(role).filter(|role| role.port.is_some()).map(|role| role.proto.as_str());
            let Some(proto) = proto.filter(|proto| service_name(role, proto, None, product).is_some()) else {
                continue;
            };
            let owner_of = |scope: Option<&str>| service_name(role, proto, scope, product).unwrap_or_else(Name::root);
            if !self.set_static(editor, state, &owner_of(None), &[rtype::SRV]) {
                self.set_nearest_type(editor, state, product, rtype::SRV, &owner_of);
            }
        }
    }

    /// Makes the sets of these types at a name what the static records say; false when there are none.
    fn set_static(&self, editor: &mut Editor, state: &State, owner: &Name, types: &[u16]) -> bool {
        let records = state.records_at(owner.to_string().trim_end_matches('.'));
        let read = |record: &Arc<_>| statics::read(record, self.settings.ttl).ok();
        let found: Vec<Rr> = records.filter_map(read).filter(|rr| types.contains(&rr.rtype)).collect();
        for rtype in types.iter().filter(|_| !found.is_empty()) {
            let mut wanted: Option<RrSet> = None;
            for rr in found.iter().filter(|rr| rr.rtype == *rtype) {
                wanted.get_or_insert_with(|| RrSet::new(*rtype, rr.ttl)).insert(rr.rdata.clone());
            }
            editor.replace(owner, *rtype, wanted);
        }
        !found.is_empty()
    }

    fn set_nearest_type(
        &self,
        editor: &mut Editor,
        state: &State,
        product: &str,
        rtype: u16,
        owner_of: &dyn Fn(Option<&str>) -> Name,
    ) -> bool {
        let wanted = editor.set(&owner_of(Some(&self.settings.region)), rtype).or_else(|| {
            let regions = state.product(product)?.regions.keys();
            let mut all: Option<RrSet> = None;
            for set in regions.filter_map(|region| editor.set(&owner_of(Some(region)), rtype)) {
                let into = all.get_or_insert_with(|| RrSet::new(rtype, set.ttl));
                for rdata in set.iter() {
                    into.insert(rdata.clone());
                }
            }
            all
        });
        let found = wanted.is_some();
        editor.replace(&owner_of(None), rtype, wanted);
        found
    }
}
