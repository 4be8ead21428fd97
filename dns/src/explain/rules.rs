//! From a record back to the rule that made it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use inventory::{Host, HostKey, Role, RowKey};

use super::{World, labels};
use crate::{
    generate::{NEAREST_ROLES, is_nearest, join, own_name, reverse_name, role_name, service_name},
    rr::{Rr, rtype},
    statics,
};

/// Octets of an SRV record before its target (RFC 2782).
const SRV_HEAD: usize = 6;

/// A rule in words and the rows that it was applied to.
type Ruled = (String, Vec<RowKey>);

/// The rule that made a record.
pub(super) fn rule(world: World<'_>, rr: &Rr) -> Ruled {
    let made = static_record(world, rr).or_else(|| match rr.rtype {
        rtype::A | rtype::AAAA => address(world, rr),
        rtype::CNAME => short_name(world, rr),
        rtype::PTR => reverse(world, rr),
        rtype::SRV => service(world, rr),
        rtype::SOA => Some(("start of the zone; its serial follows the inventory".into(), Vec::new())),
        rtype::NS => Some(("name server of every zone made from hosts".into(), Vec::new())),
        _ => None,
    });
    made.unwrap_or_else(|| ("made from rows that have just changed; ask again".into(), Vec::new()))
}

fn static_record(world: World<'_>, rr: &Rr) -> Option<Ruled> {
    let owner = rr.owner.to_string();
    let owner = owner.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(&owner);
    let is_it = |read: &Rr| match rr.rtype {
        // The zone counts its serial on from the one in the record.
        rtype::SOA => read.rtype == rtype::SOA,
        _ => read.rtype == rr.rtype && read.rdata == rr.rdata,
    };
    let mut records = world.state.records_at(owner);
    let record = records.find(|record| statics::read(record, world.settings.ttl).is_ok_and(|read| is_it(&read)))?;
    let rule = match rr.rtype {
        rtype::SOA => "static record; the serial goes on from it",
        _ => "static record",
    };
    Some((rule.into(), vec![RowKey::Record(record.key.clone())]))
}

fn address(world: World<'_>, rr: &Rr) -> Option<Ruled> {
    let address = match rr.rtype {
        rtype::A => IpAddr::from(<[u8; 4]>::try_from(&*rr.rdata).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(&*rr.rdata).ok()?),
    };
    let of_host = world.state.host_at(address).and_then(|host| address_of_host(world, host, rr));
    of_host.or_else(|| {
        let parts = labels(&rr.owner);
        let [role, product, _] = &parts[..] else { return None };
        let is_ours = NEAREST_ROLES.contains(&role.as_str()) && world.settings.own_addresses.contains(&address);
        let rule = format!("this appliance, because no host of product {product} has the role {role}");
        is_ours.then_some((rule, Vec::new()))
    })
}

fn address_of_host(world: World<'_>, host: &Host, rr: &Rr) -> Option<Ruled> {
    let row = || vec![RowKey::Host(host.key.clone())];
    if own_name(host) == rr.owner {
        return Some(("own name of the host".into(), row()));
    }
    if join(&[&host.key.name, &host.key.zone, &host.key.product, "public"]) == rr.owner {
        return Some(("public name of the host".into(), row()));
    }
    let scopes = scopes(host);
    host.roles.iter().filter(|_| host.is_serving()).find_map(|role| {
        let scope = scopes.into_iter().find(|scope| role_name(role, *scope, &host.key.product) == rr.owner)?;
        let definition = world.state.role(role).map(|role| &**role);
        Some(match scope {
            None if is_nearest(role, definition) => (nearest(world, host, role), with_definition(row(), definition)),
            _ => (format!("member of role {role} in {}", place(host, scope)), row()),
        })
    })
}

/// Where a host's role names stand: its zone, its region, its product.
fn scopes(host: &Host) -> [Option<&str>; 3] {
    [Some(&host.key.zone), Some(&host.region), None]
}

/// A scope in words.
fn place(host: &Host, scope: Option<&str>) -> String {
    match scope {
        Some(scope) if scope == host.region => format!("region {scope}"),
        Some(scope) => format!("zone {scope}"),
        None => format!("product {}", host.key.product),
    }
}

fn nearest(world: World<'_>, host: &Host, role: &str) -> String {
    let region = &world.settings.region;
    match host.region == *region {
        true => format!("nearest {role}: members in the own region {region}"),
        false => format!("nearest {role}: all members, because none is in the own region {region}"),
    }
}

fn with_definition(mut rows: Vec<RowKey>, definition: Option<&Role>) -> Vec<RowKey> {
    rows.extend(definition.map(|role| RowKey::Role(role.name.clone())));
    rows
}

/// The host whose own name this is.
fn host_named<'a>(world: World<'a>, own: &[u8]) -> Option<&'a Host> {
    let parts = labels(own);
    let [name, zone, product, _] = &parts[..] else { return None };
    let key = HostKey { product: product.into(), name: name.into(), zone: zone.into() };
    world.state.host(&key).map(|host| &**host).filter(|host| *own == *own_name(host))
}

fn short_name(world: World<'_>, rr: &Rr) -> Option<Ruled> {
    let host = host_named(world, &rr.rdata)?;
    let (name, product) = (&host.key.name, &host.key.product);
    let scope = [Some(host.region.as_str()), None].into_iter().find(|s| role_name(name, *s, product) == rr.owner)?;
    let scope = scope.map_or_else(|| format!("product {product}"), str::to_owned);
    Some((format!("short name: the only host called {name} in {scope}"), vec![RowKey::Host(host.key.clone())]))
}

fn reverse(world: World<'_>, rr: &Rr) -> Option<Ruled> {
    let host = host_named(world, &rr.rdata)?;
    let address = host.addresses().find(|address| reverse_name(*address) == rr.owner)?;
    Some((format!("reverse name of {address}"), vec![RowKey::Host(host.key.clone())]))
}

fn service(world: World<'_>, rr: &Rr) -> Option<Ruled> {
    let host = host_named(world, rr.rdata.get(SRV_HEAD..)?)?;
    let product = &host.key.product;
    let role = host.roles.iter().find(|role| labels(&rr.owner).first() == Some(&format!("_{role}")))?;
    let definition = world.state.role(role)?;
    let port = definition.port?;
    let scope = scopes(host)
        .into_iter()
        .find(|scope| service_name(role, &definition.proto, *scope, product).as_ref() == Some(&rr.owner))?;
    let rule = match scope {
        None if is_nearest(role, Some(definition)) => {
            format!("service of role {role} (port {port}), {}", nearest(world, host, role))
        }
        _ => format!("service of role {role} (port {port}) in {}", place(host, scope)),
    };
    Some((rule, with_definition(vec![RowKey::Host(host.key.clone())], Some(definition))))
}

/// The address whose reverse name this is.
pub(super) fn address_of_reverse(name: &[u8]) -> Option<IpAddr> {
    let parts = labels(name);
    let (last, rest) = parts.split_last_chunk::<2>().map(|(rest, last)| (last, rest))?;
    let address = match (last[0].as_str(), last[1].as_str(), rest.len()) {
        ("in-addr", "arpa", 4) => {
            let octets: Vec<&str> = rest.iter().rev().map(String::as_str).collect();
            octets.join(".").parse::<Ipv4Addr>().ok()?.into()
        }
        ("ip6", "arpa", 32) => {
            let digits: String = rest.iter().rev().filter(|label| label.len() == 1).map(String::as_str).collect();
            (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten().map(Ipv6Addr::from)?.into()
        }
        _ => return None,
    };
    Some(address)
}
