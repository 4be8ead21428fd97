//! The output of `aws ec2 describe-instances`, one page or several one after the other.
//!
//! The tags `Name`, `role` or `roles`, and `product` say what AWS does not know; all other tags become
//! tags. An instance without `Name` is called by its id. Terminated instances, which have no addresses
//! any more, are left out: they leave the inventory by `--sync`. Faults name the instance id.

use std::{borrow::Cow, collections::HashSet};

use serde::Deserialize;

use super::{json::syntax, split_list};
use crate::{
    change::{Row, RowKey},
    source::{Entry, Field, Item, Kind, Located, Page, Value, quoted, read},
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    /// There when this page is not the last one.
    next_token: Option<String>,
    reservations: Option<Vec<Reservation>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reservation {
    #[serde(default)]
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    instance_id: String,
    private_ip_address: Option<String>,
    public_ip_address: Option<String>,
    ipv6_address: Option<String>,
    #[serde(default)]
    network_interfaces: Vec<Interface>,
    placement: Option<Placement>,
    state: Option<InstanceState>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    #[serde(default)]
    ipv6_addresses: Vec<Ipv6Address>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipv6Address {
    ipv6_address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Placement {
    availability_zone: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InstanceState {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    key: String,
    #[serde(default)]
    value: String,
}

/// Reads EC2 output onto a page whose marks are lines.
pub(super) fn read_ec2(mut page: Page<'_>, text: &str) {
    let mut pages = 0;
    let mut next = None;
    for answer in serde_json::Deserializer::from_str(text).into_iter::<Answer>() {
        let answer = match answer {
            Ok(answer) => answer,
            Err(cause) => return syntax(&mut page, &cause),
        };
        pages += 1;
        next = answer.next_token.filter(|token| !token.is_empty());
        let Some(reservations) = answer.reservations else {
            page.fault(0, "Reservations", "missing; give the output of aws ec2 describe-instances --output json");
            continue;
        };
        for instance in reservations.into_iter().flat_map(|reservation| reservation.instances) {
            read_instance(&mut page, instance);
        }
    }
    if next.is_some() {
        // With --sync the hosts of the missing pages would be removed.
        let text = "the last page names a next one that is missing; give all pages one after the other, \
                    or leave --max-items and --no-paginate away";
        page.fault(0, "NextToken", text);
    }
    if pages == 0 {
        page.fault(0, "", "this is empty; give the output of aws ec2 describe-instances --output json");
    }
}

fn read_instance(page: &mut Page<'_>, instance: Instance) {
    let id = quoted(&instance.instance_id);
    let id = id.trim_matches('"');
    let state = match instance.state.as_ref().map(|state| &*state.name) {
        Some("pending" | "running") => "running",
        Some("stopping" | "stopped") => "stopped",
        Some("shutting-down" | "terminated") if instance.private_ip_address.is_none() => return,
        Some("shutting-down" | "terminated") => "terminated",
        other => {
            let text = format!("{} is no state of an instance", quoted(other.unwrap_or_default()));
            return page.fault(0, &format!("{id} State.Name"), text);
        }
    };
    let text = |text: String| Value::Text(Cow::Owned(text));
    let optional = |given: Option<String>| given.filter(|given| !given.is_empty()).map_or(Value::Nothing, text);
    let (mut name, mut product, mut roles, mut tags) = (None, None, Vec::new(), Vec::new());
    for Tag { key, value } in instance.tags {
        match &*key {
            "Name" => name = Some(value),
            "product" => product = Some(value),
            "role" | "roles" => {
                roles.extend(split_list(&value).map(|role| Item { at: 0, value: text(role.to_owned()) }))
            }
            _ => tags.push(Field { key: Cow::Owned(key), at: 0, value: text(value) }),
        }
    }
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| instance.instance_id.clone());
    let on_interface = || {
        let all = instance.network_interfaces.into_iter().flat_map(|interface| interface.ipv6_addresses);
        all.map(|address| address.ipv6_address).next()
    };
    let field = |key: &'static str, value| Field { key: Cow::Borrowed(key), at: 0, value };
    let fields = vec![
        field("name", text(name)),
        field("zone", optional(instance.placement.and_then(|placement| placement.availability_zone))),
        field("private_ip", optional(instance.private_ip_address)),
        field("public_ip", optional(instance.public_ip_address)),
        field("ipv6", optional(instance.ipv6_address.or_else(on_interface))),
        field("product", optional(product)),
        field("roles", Value::List(roles)),
        field("tags", Value::Table(tags)),
        field("state", text(state.to_owned())),
    ];
    read(page, Kind::Host, Entry { at: 0, label: Some(id.into()), fields });
}

/// Leaves out instances that are going away when another has their name already, as after a replacement.
pub(super) fn drop_replaced(rows: &mut Vec<Located>) {
    let named = |located: &Located| matches!(&located.row, Row::Host(host) if host.is_named());
    let mut taken: HashSet<RowKey> = rows.iter().filter(|row| named(row)).map(|row| row.row.key()).collect();
    rows.retain(|located| named(located) || taken.insert(located.row.key()));
}
