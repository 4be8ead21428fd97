//! Which records an inventory makes: plain functions from hosts to names.
//!
//! A host `h` in zone `z`, region `r`, product `p`, with role `x`:
//! - `h.z.p.private` A and AAAA; the PTR of its addresses points here
//! - `h.r.p.private`, `h.p.private` CNAME to it, while one host alone has the name in that scope
//! - `h.z.p.public` A with the public address
//! - `x.z.p.private`, `x.r.p.private`, `x.p.private` A and AAAA while it runs
//! - `_x._tcp.…` SRV in the same scopes if the role has a port
//!
//! The product-wide names of roles with scope "nearest" are not made here but in [`crate::make`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use inventory::{Host, Role, Scope, State};

use crate::{
    config::Config,
    name::Name,
    rr::{Rdata, Rr, rtype},
    service::Identity,
};

/// Roles that are "nearest" without being defined so: what every instance asks of its own region's appliance.
pub const NEAREST_ROLES: [&str; 3] = ["ns1", "ldap", "log"];

/// What an operator sets that shapes the records.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Region of this appliance, for "nearest".
    pub region: String,
    /// Product whose zones exist even without hosts, and whose `ns1` serves the reverse zones.
    pub product: String,
    /// Time to live of generated records, in seconds.
    pub ttl: u32,
    /// Time to live of negative answers, in seconds.
    pub negative_ttl: u32,
    /// Addresses under which this appliance answers, for `ns1`, `ldap` and `log` while no host has that role.
    pub own_addresses: Vec<IpAddr>,
}

impl Settings {
    /// From the configuration and the addresses that were bound.
    pub(crate) fn new(config: &Config, identity: &Identity, addresses: &[SocketAddr]) -> Self {
        Self {
            region: identity.region.clone(),
            product: identity.product.clone(),
            ttl: config.ttl,
            negative_ttl: config.negative_ttl,
            own_addresses: addresses.iter().map(SocketAddr::ip).filter(is_reachable).collect(),
        }
    }
}

/// Joins labels to a name. Inventory labels have at most 63 octets, and at most five stand together;
/// what a longer one has too much is left out, so that the name is a name whatever was stored.
pub(crate) fn join(labels: &[&str]) -> Name {
    let mut wire = Vec::with_capacity(64);
    for label in labels {
        let label = &label.as_bytes()[..label.len().min(63)];
        wire.push(label.len() as u8); // at most 63
        wire.extend_from_slice(label);
    }
    wire.push(0);
    Name::from_wire(&wire)
}

/// `h.z.p.private`.
pub fn own_name(host: &Host) -> Name {
    join(&[&host.key.name, &host.key.zone, &host.key.product, "private"])
}

/// Name of a role in a scope: product-wide without `scope`, else a zone or a region.
pub(crate) fn role_name(role: &str, scope: Option<&str>, product: &str) -> Name {
    match scope {
        Some(scope) => join(&[role, scope, product, "private"]),
        None => join(&[role, product, "private"]),
    }
}

/// `_x._tcp` in a scope; `None` for a role whose label has no octet left for the `_`.
pub(crate) fn service_name(role: &str, proto: &str, scope: Option<&str>, product: &str) -> Option<Name> {
    let (role, proto) = (format!("_{role}"), format!("_{proto}"));
    if role.len() > 63 {
        return None;
    }
    Some(match scope {
        Some(scope) => join(&[&role, &proto, scope, product, "private"]),
        None => join(&[&role, &proto, product, "private"]),
    })
}

/// Whether the product-wide name of a role answers with the members of the own region.
pub(crate) fn is_nearest(role: &str, definition: Option<&Role>) -> bool {
    NEAREST_ROLES.contains(&role) || definition.is_some_and(|role| role.scope == Scope::Nearest)
}

/// RDATA of an address and the type that goes with it.
pub(crate) fn address_data(address: IpAddr) -> (u16, Rdata) {
    match address {
        IpAddr::V4(v4) => (rtype::A, v4.octets().into()),
        IpAddr::V6(v6) => (rtype::AAAA, v6.octets().into()),
    }
}

/// Addresses inside the private network.
fn private_addresses(host: &Host) -> impl Iterator<Item = IpAddr> {
    [Some(IpAddr::V4(host.private_ip)), host.ipv6.map(IpAddr::V6)].into_iter().flatten()
}

/// All records that a host makes by itself, without short names and product-wide nearest ones.
pub fn host_records(host: &Host, state: &State, settings: &Settings) -> Vec<Rr> {
    let mut out = Vec::new();
    if !host.is_named() {
        return out;
    }
    let own = own_name(host);
    for address in private_addresses(host) {
        let (rtype, rdata) = address_data(address);
        out.push(Rr { owner: own.clone(), rtype, ttl: settings.ttl, rdata });
        let owner = reverse_name(address);
        out.push(Rr { owner, rtype: rtype::PTR, ttl: settings.ttl, rdata: Rdata::from(&*own) });
    }
    if let Some(public) = host.public_ip {
        let owner = join(&[&host.key.name, &host.key.zone, &host.key.product, "public"]);
        let (rtype, rdata) = address_data(public.into());
        out.push(Rr { owner, rtype, ttl: settings.ttl, rdata });
    }
    if host.is_serving() {
        for role in &host.roles {
            role_records(host, role, state.role(role).map(|role| &**role), settings, &own, &mut out);
        }
    }
    out
}

fn role_records(
    host: &Host,
    role: &str,
    definition: Option<&Role>,
    settings: &Settings,
    own: &Name,
    out: &mut Vec<Rr>,
) {
    let ttl = definition.and_then(|role| role.ttl).unwrap_or(settings.ttl);
    let product = &host.key.product;
    let product_wide = (!is_nearest(role, definition)).then_some(None);
    // A zone that ends in no letter is its own region: one name, not two.
    let region = (host.region != host.key.zone).then_some(Some(host.region.as_str()));
    for scope in [Some(Some(host.key.zone.as_str())), region, product_wide].into_iter().flatten() {
        let owner = role_name(role, scope, product);
        for address in private_addresses(host) {
            let (rtype, rdata) = address_data(address);
            out.push(Rr { owner: owner.clone(), rtype, ttl, rdata });
        }
        let service = definition.and_then(|role| Some((role.port?, role.proto.as_str())));
        if let Some((port, proto)) = service
            && let Some(owner) = service_name(role, proto, scope, product)
        {
            out.push(Rr { owner, rtype: rtype::SRV, ttl, rdata: service_data(port, own) });
        }
    }
}

/// SRV data (RFC 2782): equal priority and weight for all members.
fn service_data(port: u16, target: &Name) -> Rdata {
    const PRIORITY: u16 = 0;
    const WEIGHT: u16 = 10;
    let mut rdata = Vec::with_capacity(6 + target.len());
    for number in [PRIORITY, WEIGHT, port] {
        rdata.extend_from_slice(&number.to_be_bytes());
    }
    rdata.extend_from_slice(target);
    rdata.into()
}

/// Owner of the PTR of an address (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse_name(address: IpAddr) -> Name {
    match address {
        IpAddr::V4(v4) => reverse_v4(&v4.octets()),
        IpAddr::V6(v6) => reverse_v6(v6, 32),
    }
}

fn reverse_v4(octets: &[u8]) -> Name {
    let labels: Vec<String> = octets.iter().rev().map(u8::to_string).collect();
    let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    labels.extend(["in-addr", "arpa"]);
    join(&labels)
}

fn reverse_v6(address: Ipv6Addr, nibbles: usize) -> Name {
    let digits: Vec<String> =
        address.octets().iter().flat_map(|byte| [format!("{:x}", byte >> 4), format!("{:x}", byte & 15)]).collect();
    let mut labels: Vec<&str> = digits[..nibbles].iter().rev().map(String::as_str).collect();
    labels.extend(["ip6", "arpa"]);
    join(&labels)
}

/// Apex of the reverse zone that holds an address: the private networks of RFC 1918 as RFC 6303
/// cuts them, `d.f.ip6.arpa` for unique local addresses, else the /24 or /48 around the address.
pub fn reverse_zone(address: IpAddr) -> Name {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [10, ..] => reverse_v4(&[10]),
            [172, second @ 16..=31, ..] => reverse_v4(&[172, second]),
            [192, 168, ..] => reverse_v4(&[192, 168]),
            [a, b, c, _] => reverse_v4(&[a, b, c]),
        },
        IpAddr::V6(v6) if v6.octets()[0] == 0xfd => reverse_v6(v6, 2),
        IpAddr::V6(v6) => reverse_v6(v6, 12),
    }
}

/// Reverse zones of private address space: ours even where the inventory has no host, so that
/// questions about it never leave the network (RFC 6303).
pub fn private_reverse_zones() -> Vec<Name> {
    let mut zones = vec![reverse_v4(&[10]), reverse_v4(&[192, 168])];
    zones.extend((16..=31).map(|second| reverse_v4(&[172, second])));
    zones.push(reverse_zone(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0))));
    zones
}

/// The addresses of a host for which PTR records are made.
pub(crate) fn reverse_zones_of(host: &Host) -> impl Iterator<Item = Name> {
    private_addresses(host).map(reverse_zone)
}

/// Whether an address is one that a client elsewhere could use to reach us.
fn is_reachable(address: &IpAddr) -> bool {
    !(address.is_unspecified() || *address == IpAddr::V4(Ipv4Addr::BROADCAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_and_zones() {
        let v4: IpAddr = "10.2.3.4".parse().unwrap();
        assert_eq!(reverse_name(v4).to_string(), "4.3.2.10.in-addr.arpa.");
        assert_eq!(reverse_zone(v4).to_string(), "10.in-addr.arpa.");
        assert_eq!(reverse_zone("172.20.1.1".parse().unwrap()).to_string(), "20.172.in-addr.arpa.");
        assert_eq!(reverse_zone("100.64.1.1".parse().unwrap()).to_string(), "1.64.100.in-addr.arpa.");
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert!(reverse_name(v6).to_string().starts_with("1.0.0.0."));
        assert_eq!(reverse_name(v6).to_string().matches('.').count(), 34);
        assert_eq!(reverse_zone(v6).to_string(), "d.f.ip6.arpa.");
    }
}
