//! Rows as the API shows and takes them.
//!
//! A host is shown with its tags as an object. What comes in has the same shape; it goes through
//! the reader of inventory files, so API, files and imports know one set of rules and one wording.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use axum::http::StatusCode;
use compact_str::CompactString;
use inventory::{
    Host, HostKey, HostState, Outcome, Position, Row,
    import::{self, Format},
    source::{self, Defaults, Fault},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::error::ApiError;

/// Source of rows that were made through the API.
pub(crate) const SOURCE: &str = "api";

/// A host as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostView {
    /// Host label.
    pub name: CompactString,
    /// Availability zone label.
    pub zone: CompactString,
    /// Product label.
    pub product: CompactString,
    /// Region label.
    pub region: CompactString,
    /// Address inside the private network.
    pub private_ip: Ipv4Addr,
    /// Address seen from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<Ipv4Addr>,
    /// IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Role labels.
    pub roles: Vec<CompactString>,
    /// Group labels.
    pub groups: Vec<CompactString>,
    /// Tags.
    pub tags: BTreeMap<CompactString, CompactString>,
    /// Where it is in its life.
    pub state: HostState,
    /// Who defines it.
    pub source: CompactString,
}

impl From<&Host> for HostView {
    fn from(host: &Host) -> Self {
        Self {
            name: host.key.name.clone(),
            zone: host.key.zone.clone(),
            product: host.key.product.clone(),
            region: host.region.clone(),
            private_ip: host.private_ip,
            public_ip: host.public_ip,
            ipv6: host.ipv6,
            roles: host.roles.to_vec(),
            groups: host.groups.to_vec(),
            tags: host.tags.iter().cloned().collect(),
            state: host.state,
            source: host.source.clone(),
        }
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub(crate) enum Written {
    /// It is on disk and is being served.
    Applied {
        /// The position that it led to.
        position: Position,
        /// How many rows changed.
        changed: usize,
    },
    /// Everything was so already.
    Unchanged {
        /// The position.
        position: Position,
    },
    /// It waits for `gatehouse accept`.
    Held {
        /// Its number.
        id: u64,
        /// Why it is held.
        reasons: Vec<String>,
        /// What to do.
        remedy: String,
    },
}

impl From<Outcome> for Written {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Applied { position, changed } => Self::Applied { position, changed },
            Outcome::Unchanged { position } => Self::Unchanged { position },
            Outcome::Held { id, reasons } => Self::Held { id, reasons, remedy: remedy(id) },
        }
    }
}

/// What to do about a held change.
pub(crate) fn remedy(id: u64) -> String {
    format!("`gatehouse accept {id}` serves it, `gatehouse accept --discard {id}` throws it away")
}

/// Reads `name.zone` or `name.zone.product`.
pub(crate) fn host_key(text: &str, product: Option<&CompactString>) -> Result<HostKey, ApiError> {
    let mut parts = text.split('.');
    let (name, zone, given) = (parts.next(), parts.next(), parts.next());
    let (Some(name), Some(zone), None) = (name, zone, parts.next()) else {
        return Err(ApiError::bad(format!("{text:?} is no host; write NAME.ZONE or NAME.ZONE.PRODUCT")));
    };
    let Some(product) = given.or(product.map(CompactString::as_str)) else {
        return Err(ApiError::bad(format!("{text:?} names no product, and the node has no [inventory] product")));
    };
    let label = |what: &str, label: &str| {
        let bad = |why| ApiError::bad(format!("the {what} {label:?} of {text:?} is no DNS label: {why}"));
        inventory::label::label(label).map_err(bad)
    };
    Ok(HostKey { product: label("product", product)?, name: label("name", name)?, zone: label("zone", zone)? })
}

/// Takes the reason for a change out of a body.
pub(crate) fn take_why(body: &mut Value) -> Option<String> {
    match body.as_object_mut()?.remove("why")? {
        Value::String(why) => Some(why),
        _ => None,
    }
}

/// Reads rows of `kind` (`hosts`, `roles`, `records`) by the rules of inventory files.
pub(crate) fn rows(kind: &str, items: Vec<Value>, product: Option<&CompactString>) -> Result<Vec<Row>, ApiError> {
    let items = items.into_iter().map(without_source).collect::<Vec<_>>();
    let text = json!({ kind: items }).to_string();
    let rows = import::parse(Format::Json, &text, "request", &defaults(product)?).map_err(in_body)?;
    Ok(rows.into_iter().map(|row| with_source(row, SOURCE)).collect())
}

/// What inventory files take for granted; 403 on a node without an inventory of its own.
pub(crate) fn defaults(product: Option<&CompactString>) -> Result<Defaults, ApiError> {
    let product = product.cloned().ok_or_else(|| {
        let text = "this node has no [inventory]; add the section with `product` to let it take hosts and records";
        ApiError::new(StatusCode::FORBIDDEN, text)
    })?;
    Ok(Defaults { product })
}

/// 400 with one line for each fault: file, line, key and sentence.
pub(crate) fn faulty(faults: Vec<Fault>) -> ApiError {
    refusal(source::count(&faults), faults.iter().map(ToString::to_string).collect())
}

/// 400 for faults of a body, which has keys but no file and no lines that a person has seen.
fn in_body(faults: Vec<Fault>) -> ApiError {
    let shown = |fault: &Fault| match fault.key.is_empty() {
        true => fault.text.clone(),
        false => format!("{}: {}", fault.key, fault.text),
    };
    refusal(source::count(&faults), faults.iter().map(shown).collect())
}

fn refusal(count: usize, details: Vec<String>) -> ApiError {
    match &details[..] {
        [one] => ApiError::bad(format!("{one}; nothing was changed")),
        _ => ApiError::bad(format!("{count} things are wrong; nothing was changed")).with_details(details),
    }
}

/// The source is ours to say.
fn without_source(mut item: Value) -> Value {
    item.as_object_mut().map(|fields| fields.remove("source"));
    item
}

/// The same row, defined by `source`.
pub(crate) fn with_source(row: Row, source: &str) -> Row {
    let source = CompactString::from(source);
    match row {
        Row::Host(host) => Row::Host(Host { source, ..Host::clone(&host) }.into()),
        Row::Role(role) => Row::Role(inventory::Role { source, ..inventory::Role::clone(&role) }.into()),
        Row::Record(record) => Row::Record(inventory::Record { source, ..inventory::Record::clone(&record) }.into()),
        Row::Grant(grant) => Row::Grant(inventory::Grant { source, ..inventory::Grant::clone(&grant) }.into()),
        Row::Entry(_) | Row::Cookie(_) => row,
    }
}

/// Applies a merge patch (RFC 7396) of one level: null takes a field away, lists and tags are replaced.
pub(crate) fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (field, value) in patch {
        match value {
            Value::Null => drop(target.remove(&field)),
            value => drop(target.insert(field, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_with_or_without_product() {
        let acme = CompactString::new("acme");
        let key = host_key("Web01.us-east-1a", Some(&acme)).unwrap();
        assert_eq!((&*key.name, &*key.zone, &*key.product), ("web01", "us-east-1a", "acme"));
        assert_eq!(host_key("web01.us-east-1a.other", Some(&acme)).unwrap().product, "other");
        let error = |text, product| host_key(text, product).unwrap_err().body.error;
        assert_eq!(error("web01", Some(&acme)), "\"web01\" is no host; write NAME.ZONE or NAME.ZONE.PRODUCT");
        assert!(error("a.b.c.d", Some(&acme)).contains("is no host"));
        assert!(error("web01.us-east-1a", None).contains("names no product"));
        assert!(error("web_1.us-east-1a", Some(&acme)).contains("the name \"web_1\""));
    }

    #[test]
    fn a_single_fault_keeps_its_place_and_key() {
        let fault = || Fault { file: "a.csv".into(), line: Some(3), key: "zone".into(), text: "missing".into() };
        assert_eq!(faulty(vec![fault()]).body.error, "a.csv:3: zone: missing; nothing was changed");
        assert_eq!(in_body(vec![fault()]).body.error, "zone: missing; nothing was changed");
        let two = faulty(vec![fault(), fault()]).body;
        assert_eq!((two.error.as_str(), two.details.len()), ("2 things are wrong; nothing was changed", 2));
    }

    #[test]
    fn patches_replace_and_take_away() {
        let Value::Object(mut target) = json!({"a": 1, "b": [1], "c": 2}) else { panic!() };
        let Value::Object(patch) = json!({"b": [2], "c": null, "d": 4}) else { panic!() };
        merge(&mut target, patch);
        assert_eq!(Value::Object(target), json!({"a": 1, "b": [2], "d": 4}));
    }

    #[test]
    fn the_reason_leaves_the_body() {
        let mut body = json!({"name": "a", "why": "because"});
        assert_eq!(take_why(&mut body).as_deref(), Some("because"));
        assert_eq!(body, json!({"name": "a"}));
    }
}
