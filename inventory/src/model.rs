//! What an inventory is made of: hosts, roles, static records and grants.
//!
//! The values here are checked values: names are labels in lower case, addresses are in their
//! family, lists are sorted and without repetition. Sources build them (`source`, `import`), the
//! store keeps each as one JSON row, and that JSON, with absent fields left out, is also the
//! canonical encoding from which the state hash is computed. Fields may be added, never renamed.

use std::net::{Ipv4Addr, Ipv6Addr};

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// Where a host is in its life. Only running hosts answer under role names; terminated ones have no names at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// In service.
    #[default]
    Running,
    /// Leaving service: keeps its own names, has left its role names.
    Draining,
    /// Not running, will come back: keeps its own names.
    Stopped,
    /// Gone; kept for the record only.
    Terminated,
}

impl HostState {
    /// The word used in files, on the command line and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Terminated => "terminated",
        }
    }
}

/// What makes a host unique: its name within an availability zone of a product.
/// The order (product, name, zone) puts hosts that share a short name side by side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostKey {
    /// Product label.
    pub product: CompactString,
    /// Host label.
    pub name: CompactString,
    /// Availability zone label.
    pub zone: CompactString,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Name, zone and product.
    #[serde(flatten)]
    pub key: HostKey,
    /// Region label; by default the zone without its trailing letter.
    pub region: CompactString,
    /// Address inside the private network.
    pub private_ip: Ipv4Addr,
    /// Address seen from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<Ipv4Addr>,
    /// IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Role labels, sorted.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub roles: Box<[CompactString]>,
    /// Group labels, sorted; used by access patterns.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub groups: Box<[CompactString]>,
    /// Free key and value pairs, sorted by key; used by access patterns and log filters.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub tags: Box<[(CompactString, CompactString)]>,
    /// Where it is in its life.
    #[serde(default, skip_serializing_if = "is_default")]
    pub state: HostState,
    /// Who defines it: `api`, `import:ec2`, `file:hosts.toml`. Only that source changes it.
    pub source: CompactString,
}

/// How far a role name reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The product-wide name answers with all running members.
    #[default]
    All,
    /// The product-wide name answers with the members of the answering appliance's region while it has one.
    Nearest,
}

/// What is known of a role beyond the hosts that carry it. A role needs no definition to have names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Role label.
    pub name: CompactString,
    /// Port of its service; with a port the role has SRV records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Transport of its service for the SRV name: `tcp` or `udp`.
    #[serde(default = "tcp", skip_serializing_if = "is_tcp")]
    pub proto: CompactString,
    /// Reach of the product-wide name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scope: Scope,
    /// Time to live of its names in seconds, if not the general one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// Who defines it, as for [`Host::source`].
    pub source: CompactString,
}

/// What makes a static record unique.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    /// Owner name in full, lower case, without the trailing dot.
    pub name: CompactString,
    /// Type mnemonic in upper case: `A`, `MX`, `TYPE65280`.
    #[serde(rename = "type")]
    pub rtype: CompactString,
    /// RDATA in presentation form (RFC 1035 section 5.1), names in full.
    pub data: CompactString,
}

/// One static record. A `SOA` record makes its owner the apex of a zone of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Owner, type and data.
    #[serde(flatten)]
    pub key: RecordKey,
    /// Time to live in seconds, if not the general one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// Who defines it, as for [`Host::source`].
    pub source: CompactString,
}

/// A standing permission, or with a `!pattern` a standing refusal: who may use what, where, until when, and why.
/// A grant is whole or absent; a changed one is a new value under the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Label that `gatehouse revoke` and explanations name it by.
    pub name: CompactString,
    /// Users, and groups written `@group`; sorted, at least one.
    pub who: Box<[CompactString]>,
    /// Where: [`Pattern`](crate::pattern::Pattern)s in text, in the order given, at least one.
    pub on: Box<[CompactString]>,
    /// PAM services (`sshd`, `login`); sorted; none means every service but sudo, which `sudo` decides.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub services: Box<[CompactString]>,
    /// Commands that sudo may run there, in the order given; an empty list means all, absent means no sudo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<Box<[CompactString]>>,
    /// First second at which it no longer holds, seconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Who gave it.
    pub by: CompactString,
    /// Why it was given.
    pub why: CompactString,
    /// Who defines it, as for [`Host::source`].
    pub source: CompactString,
}

fn is_empty<T>(list: &[T]) -> bool {
    list.is_empty()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn tcp() -> CompactString {
    CompactString::const_new("tcp")
}

fn is_tcp(proto: &CompactString) -> bool {
    proto == "tcp"
}

impl Host {
    /// Whether the host has names of its own.
    pub fn is_named(&self) -> bool {
        self.state != HostState::Terminated
    }

    /// Whether the host answers under its role names.
    pub fn is_serving(&self) -> bool {
        self.state == HostState::Running
    }

    /// `name.zone` for people; the product is left out.
    pub fn short(&self) -> String {
        format!("{}.{}", self.key.name, self.key.zone)
    }
}
