//! What is not at a name, and why: clashing short names, hosts that have left service, roles without members.

use std::{net::IpAddr, sync::Arc};

use inventory::{Host, Role, RowKey};

use super::{Note, Outcome, Place, World, labels, rules};
use crate::{
    generate::{NEAREST_ROLES, is_nearest, own_name},
    name::Name,
};

/// Hosts that one sentence lists at most.
pub(super) const HOSTS_MAX: usize = 8;

/// What a name of a generated zone asks for.
struct Asked<'a> {
    world: World<'a>,
    label: &'a str,
    scope: Option<&'a str>,
    product: &'a str,
}

/// Sentences about what is not there.
pub(super) fn notes(world: World<'_>, name: &Name, places: &[Place]) -> Vec<Note> {
    let Some(place) = places.first() else { return Vec::new() };
    if let Some(address) = rules::address_of_reverse(name) {
        return reverse(world, address);
    }
    let parts = labels(name);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let [.., product, side @ ("private" | "public")] = parts[..] else { return Vec::new() };
    if place.outcome == Outcome::NotOurs {
        return vec![unknown_product(world, product)];
    }
    let asked = |label, scope| Asked { world, label, scope, product };
    let mut out = Vec::new();
    match (side, &parts[..parts.len() - 2]) {
        ("public", [name, zone]) => asked(name, Some(zone)).public(place, &mut out),
        ("private", [role, proto]) if is_service(role, proto) => asked(&role[1..], None).service(&proto[1..], &mut out),
        ("private", [role, proto, scope]) if is_service(role, proto) => {
            asked(&role[1..], Some(scope)).service(&proto[1..], &mut out);
        }
        ("private", [label]) => asked(label, None).private(name, place, &mut out),
        ("private", [label, scope]) => asked(label, Some(scope)).private(name, place, &mut out),
        _ => {}
    }
    out
}

fn is_service(role: &str, proto: &str) -> bool {
    role.len() > 1 && proto.len() > 1 && role.starts_with('_') && proto.starts_with('_')
}

fn plain(text: String) -> Note {
    Note { text, rows: Vec::new() }
}

fn reverse(world: World<'_>, address: IpAddr) -> Vec<Note> {
    match world.state.host_at(address) {
        None => vec![plain(format!("no host in service has the address {address}"))],
        Some(host) if host.public_ip.map(IpAddr::V4) == Some(address) => vec![Note {
            text: format!(
                "{address} is the public address of {}; only private addresses have reverse names",
                host.short()
            ),
            rows: rows([host]),
        }],
        Some(_) => Vec::new(),
    }
}

fn unknown_product(world: World<'_>, product: &str) -> Note {
    let known: Vec<&str> = world.state.products().map(|(name, _)| name.as_str()).take(HOSTS_MAX).collect();
    let more = world.state.products().count() - known.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    match known.is_empty() {
        true => plain(format!("there is no product {product}: there are no hosts at all")),
        false => plain(format!("there is no product {product}; there are {}{more}", known.join(", "))),
    }
}

fn rows<'a>(hosts: impl IntoIterator<Item = &'a Arc<Host>>) -> Vec<RowKey> {
    hosts.into_iter().map(|host| RowKey::Host(host.key.clone())).collect()
}

/// Hosts in words, cut at [`HOSTS_MAX`], and the rows of those listed.
fn list(hosts: &[&Arc<Host>], show: fn(&Host) -> String) -> (String, Vec<RowKey>) {
    let shown = &hosts[..hosts.len().min(HOSTS_MAX)];
    let mut text = shown.iter().map(|host| show(host)).collect::<Vec<_>>().join(", ");
    if hosts.len() > HOSTS_MAX {
        text += &format!(" and {} more", hosts.len() - HOSTS_MAX);
    }
    (text, rows(shown.iter().copied()))
}

fn with_address(host: &Host) -> String {
    format!("{} ({})", host.short(), host.private_ip)
}

fn with_state(host: &Host) -> String {
    format!("{} ({})", host.short(), host.state.as_str())
}

impl<'a> Asked<'a> {
    fn hosts(&self) -> impl Iterator<Item = &'a Arc<Host>> + use<'a> {
        self.world.state.hosts_named(self.product, self.label)
    }

    fn covers(&self, host: &Host) -> bool {
        self.scope.is_none_or(|scope| host.key.zone == scope || host.region == scope)
    }

    /// The scope in words.
    fn scope(&self) -> &'a str {
        self.scope.unwrap_or(self.product)
    }

    /// `web01.us-east-1b.acme.public`.
    fn public(&self, place: &Place, out: &mut Vec<Note>) {
        if place.outcome == Outcome::Exists {
            return;
        }
        match self.hosts().find(|host| Some(host.key.zone.as_str()) == self.scope) {
            Some(host) if !host.is_named() => out.push(terminated(&[host])),
            Some(host) => {
                out.push(Note { text: format!("host {} has no public address", host.short()), rows: rows([host]) })
            }
            None => self.elsewhere(out),
        }
    }

    /// A host's name or a role's.
    fn private(&self, name: &Name, place: &Place, out: &mut Vec<Note>) {
        self.host(name, place, out);
        self.role(out);
        if out.is_empty() && place.outcome == Outcome::NoName {
            let (label, scope) = (self.label, self.scope());
            out.push(plain(format!("no host is called {label} in {scope}, and no host carries a role {label}")));
        }
    }

    fn host(&self, name: &Name, place: &Place, out: &mut Vec<Note>) {
        let (here, gone): (Vec<_>, Vec<_>) = self.hosts().filter(|host| self.covers(host)).partition(|h| h.is_named());
        if here.iter().any(|host| own_name(host) == *name) {
            return;
        }
        match here[..] {
            [] if gone.is_empty() => self.elsewhere(out),
            [] => out.push(terminated(&gone)),
            [host] => {
                // The short name would be a CNAME; static records keep it away.
                let is_made = place.records.iter().any(|record| record.rows == rows([host]));
                if place.outcome == Outcome::Exists && !is_made {
                    let text = format!("static records stand where host {} would have a short name", host.short());
                    out.push(Note { text, rows: rows([host]) });
                }
            }
            _ => {
                let (listed, rows) = list(&here, with_address);
                let text = format!(
                    "{} is ambiguous in {}, so this short name does not exist; {} hosts clash: {listed}",
                    self.label,
                    self.scope(),
                    here.len()
                );
                out.push(Note { text, rows });
            }
        }
    }

    /// Hosts of that name outside the scope.
    fn elsewhere(&self, out: &mut Vec<Note>) {
        let hosts: Vec<_> = self.hosts().filter(|host| host.is_named() && !self.covers(host)).collect();
        if !hosts.is_empty() {
            let (listed, rows) = list(&hosts, with_address);
            out.push(Note {
                text: format!("there is no host {} in {}; there is {listed}", self.label, self.scope()),
                rows,
            });
        }
    }

    /// The role's members that do not answer, by one walk over the hosts.
    fn role(&self, out: &mut Vec<Note>) {
        let state = self.world.state;
        let definition = state.role(self.label).map(|role| &**role);
        let running = state.role_members(self.product, self.label);
        let is_known = definition.is_some() || running > 0 || NEAREST_ROLES.contains(&self.label);
        if !is_known && self.hosts().next().is_some() {
            return;
        }
        let carries =
            |host: &&Arc<Host>| host.key.product == self.product && host.roles.iter().any(|r| r == self.label);
        let (mut away, mut here) = (Vec::new(), 0);
        for host in state.hosts().filter(carries).filter(|host| self.covers(host)) {
            if host.is_serving() { here += 1 } else { away.push(host) }
        }
        if !away.is_empty() {
            let (listed, rows) = list(&away, with_state);
            let text = format!("not running, so not under the names of role {}: {listed}", self.label);
            out.push(Note { text, rows });
        }
        // The product-wide names that appliances stand in for are never without an answer.
        let is_ours = self.scope.is_none() && NEAREST_ROLES.contains(&self.label);
        if is_known && here == 0 && !is_ours {
            let elsewhere = match running {
                0 => String::new(),
                n => format!(" ({n} elsewhere in {})", self.product),
            };
            let text = format!("no running host in {} carries the role {}{elsewhere}", self.scope(), self.label);
            out.push(Note { text, rows: role_row(definition) });
        }
        if self.scope.is_none() && is_nearest(self.label, definition) {
            self.nearest(running, definition, out);
        }
    }

    fn nearest(&self, running: u64, definition: Option<&Role>, out: &mut Vec<Note>) {
        let region = &self.world.settings.region;
        let own = Asked { scope: Some(region), ..*self };
        let carries = |host: &&Arc<Host>| host.is_serving() && host.key.product == self.product && own.covers(host);
        let hosts = self.world.state.hosts().filter(carries);
        let near = hosts.filter(|host| host.roles.iter().any(|role| role == self.label)).count() as u64;
        if near > 0 && running > near {
            let text = format!(
                "of {running} running members only {near} in the own region {region} answer, because the role {} is nearest",
                self.label
            );
            out.push(Note { text, rows: role_row(definition) });
        }
    }

    /// `_mysql._tcp`.
    fn service(&self, proto: &str, out: &mut Vec<Note>) {
        let label = self.label;
        let definition = self.world.state.role(label).map(|role| &**role);
        match definition {
            None => {
                out.push(plain(format!("the role {label} is not defined, so it has no port and no SRV records")));
            }
            Some(role) if role.port.is_none() => {
                let text = format!("the role {label} has no port, so it has no SRV records");
                out.push(Note { text, rows: role_row(definition) });
            }
            Some(role) if role.proto != proto => {
                let text = format!("the service of role {label} is over {0}: ask for _{label}._{0}", role.proto);
                out.push(Note { text, rows: role_row(definition) });
            }
            Some(_) => self.role(out),
        }
    }
}

fn role_row(definition: Option<&Role>) -> Vec<RowKey> {
    definition.map(|role| RowKey::Role(role.name.clone())).into_iter().collect()
}

fn terminated(hosts: &[&Arc<Host>]) -> Note {
    let (listed, rows) = list(hosts, Host::short);
    let is = if hosts.len() == 1 { "is" } else { "are" };
    Note { text: format!("{listed} {is} terminated; terminated hosts have no names"), rows }
}
