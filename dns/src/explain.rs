//! Why a name answers as it does: which host, rule and row made each record, and why others are not there.
//!
//! The records are those that are served; for each of them the rules of [`crate::generate`] and
//! [`crate::make`] are gone through backwards. Nothing here is on an answer's path. Cost: a few
//! lookups, and for names that may be role names one walk over the hosts. What is listed is bounded
//! by [`RECORDS_MAX`], [`PLACES_MAX`] and [`notes::HOSTS_MAX`]; what is left out is counted.

use inventory::{RowKey, State};
use serde::{Deserialize, Serialize};

use crate::{
    find::{Found, find},
    generate::{Settings, reverse_name},
    name::{self, BadName, Name, first_label, parent},
    node::{APEX, Node},
    rr::{Rr, rtype},
    service::Service,
    table::Hashed,
    text,
    zones::{Zone, Zones},
};

mod notes;
mod rules;
#[cfg(test)]
mod tests;

/// Records listed for one name.
pub const RECORDS_MAX: usize = 12;
/// Names of a CNAME or DNAME chain that are followed.
const PLACES_MAX: usize = 12;

/// All that is known about a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The name in full, with the trailing dot.
    pub name: String,
    /// The zone that answers; none if the name is not ours.
    pub zone: Option<Authority>,
    /// The name itself, then the names that its CNAME or DNAME leads to, one after the other.
    pub places: Vec<Place>,
    /// What is not there, and why.
    pub notes: Vec<Note>,
}

/// The zone that answers for a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its highest name.
    pub apex: String,
    /// Serial of its SOA record.
    pub serial: u32,
    /// Whether its names are made from hosts; otherwise all records are static.
    pub generated: bool,
}

/// One name and what stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The name, with the trailing dot.
    pub name: String,
    /// What decides about it.
    pub outcome: Outcome,
    /// The records that answer, at most [`RECORDS_MAX`].
    pub records: Vec<Made>,
    /// Further records.
    pub more: usize,
}

/// What decides about a name (RFC 1034 section 4.3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Outcome {
    /// Records stand at the name.
    Exists,
    /// Nothing stands at the name, but names exist below it: NODATA for every type.
    EmptyNonTerminal,
    /// A wildcard answers in its place (RFC 4592).
    Wildcard {
        /// The wildcard.
        owner: String,
    },
    /// The name is or lies below a delegation: answers refer to other servers.
    Delegation {
        /// Where the NS records stand.
        at: String,
    },
    /// The name lies below a DNAME, which answers with another name (RFC 6672).
    Dname {
        /// Where the DNAME stands.
        at: String,
    },
    /// The name does not exist: NXDOMAIN.
    NoName,
    /// The name lies in no zone of ours.
    NotOurs,
}

/// A record and what made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Type mnemonic.
    #[serde(rename = "type")]
    pub rtype: String,
    /// Time to live in seconds.
    pub ttl: u32,
    /// Data in presentation form.
    pub data: String,
    /// The rule, in words.
    pub rule: String,
    /// The rows to which the rule was applied.
    pub rows: Vec<RowKey>,
}

/// A sentence about what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The sentence.
    pub text: String,
    /// The rows that it speaks of.
    pub rows: Vec<RowKey>,
}

/// What explanations are made from. `zones` were made from `state`, or from one shortly before.
#[derive(Clone, Copy)]
struct World<'a> {
    state: &'a State,
    zones: &'a Zones,
    settings: &'a Settings,
}

/// Explains a name.
pub fn explain(state: &State, zones: &Zones, settings: &Settings, name: &Name) -> Explanation {
    let world = World { state, zones, settings };
    let mut places = Vec::new();
    let mut next = Some(name.clone());
    while let Some(name) = next.filter(|_| places.len() < PLACES_MAX) {
        let (place, target) = world.place(&name);
        places.push(place);
        next = target;
    }
    let zone = zones.zone_for(name).map(|zone| Authority {
        apex: zone.apex.to_string(),
        serial: zone.soa.serial,
        generated: zone.generated,
    });
    Explanation { name: name.to_string(), zone, notes: notes::notes(world, name, &places), places }
}

impl World<'_> {
    /// What stands at a name, and where a CNAME or DNAME there leads.
    fn place(self, name: &Name) -> (Place, Option<Name>) {
        let hashed = Hashed::new(name);
        let at = |skip: usize| name::display(hashed.suffix(skip));
        match find(self.zones, &hashed) {
            Found::Name(node) => {
                let outcome = match node.is_empty() && node.head().flags & APEX == 0 {
                    true => Outcome::EmptyNonTerminal,
                    false if node.name() != &**name => Outcome::Wildcard { owner: name::display(node.name()) },
                    false => Outcome::Exists,
                };
                let target = node.set(rtype::CNAME).and_then(|set| set.data().next().map(Name::from_wire));
                (self.list(name, outcome, self.records(node)), target)
            }
            Found::Cut { node, skip } => {
                (self.list(name, Outcome::Delegation { at: at(skip) }, self.records(node)), None)
            }
            Found::Dname { node, skip } => {
                let to = node.set(rtype::DNAME).and_then(|set| set.data().next());
                let prefix = &name[..name.len() - hashed.suffix(skip).len()];
                let made = to.map(|to| [prefix, to].concat()).filter(|made| made.len() <= name::NAME_MAX);
                let place = self.list(name, Outcome::Dname { at: at(skip) }, self.records(node));
                (place, made.map(|made| Name::from_wire(&made)))
            }
            Found::NoName(_) => (self.list(name, Outcome::NoName, Vec::new()), None),
            Found::Outside => (self.list(name, Outcome::NotOurs, Vec::new()), None),
        }
    }

    /// The records of a node with the SOA of an apex.
    fn records(self, node: &Node) -> Vec<Rr> {
        let zone: &Zone = self.zones.zone_of(node);
        let apex = node.head().flags & APEX != 0;
        let soa = apex.then(|| zone.soa.rr(&zone.apex));
        soa.into_iter().chain(self.zones.records_at(node.name())).collect()
    }

    fn list(self, name: &Name, outcome: Outcome, records: Vec<Rr>) -> Place {
        let more = records.len().saturating_sub(RECORDS_MAX);
        let shown = records.iter().take(RECORDS_MAX);
        let records = shown.map(|rr| self.made(rr)).collect();
        Place { name: name.to_string(), outcome, records, more }
    }

    fn made(self, rr: &Rr) -> Made {
        let (rule, rows) = rules::rule(self, rr);
        let data = text::show_rdata(rr.rtype, &rr.rdata);
        Made { rtype: text::type_name(rr.rtype).into_owned(), ttl: rr.ttl, data, rule, rows }
    }
}

impl Service {
    /// Explains what a person wrote, see [`complete`], from what is served now and the state that it was made from.
    ///
    /// # Errors
    /// The text is no domain name.
    pub fn explain(&self, state: &State, text: &str) -> Result<Explanation, BadName> {
        let zones = self.zones();
        let name = complete(state, &zones, &self.settings, text)?;
        Ok(explain(state, &zones, &self.settings, &name))
    }
}

/// The name that a person means. An address stands for its reverse name. A short form, such as
/// `web01`, `web01.us-east-1b` or `mysql.us-east-1`, is completed with `.PRODUCT.private` of the
/// default product; a name with a trailing dot, in one of our zones, or below private, public or arpa
/// is taken as it is, and so is one of several labels that names no place or host of the product.
///
/// # Errors
/// The text is no domain name.
pub fn complete(state: &State, zones: &Zones, settings: &Settings, text: &str) -> Result<Name, BadName> {
    if let Ok(address) = text.parse() {
        return Ok(reverse_name(address));
    }
    let name = Name::parse(text)?;
    let labels = labels(&name);
    let (Some(first), Some(last)) = (labels.first(), labels.last()) else { return Ok(name) };
    let is_whole = text.ends_with('.')
        || ["private", "public", "arpa"].contains(&last.as_str())
        || zones.zone_for(&name).is_some();
    let product = &settings.product;
    let is_short = || match labels.len() {
        1 => true,
        _ => {
            let region = inventory::label::region_of_zone(last);
            let regions = state.product(product).map(|tally| &tally.regions);
            regions.is_some_and(|regions| regions.contains_key(last.as_str()) || regions.contains_key(region))
                || first.starts_with('_')
                || labels.len() == 2 && state.hosts_named(product, first).next().is_some()
        }
    };
    if is_whole || !is_short() {
        return Ok(name);
    }
    Name::parse(&format!("{}.{product}.private", text.trim_end_matches('.')))
}

/// The labels of a name without the root; escapes are not needed for what they are compared with.
fn labels(name: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = name;
    while let Some(next) = parent(rest) {
        out.push(String::from_utf8_lossy(first_label(rest)).into_owned());
        rest = next;
    }
    out
}
