//! The configuration: one TOML file, one section for each part.
//!
//! A section that is absent switches its part off; only `[node]` is needed. Unknown keys and
//! sections are errors that name the key and its line. Relative paths are relative to the folder
//! of the file. [`load`] finds what is wrong; [`review`](review::review) finds what is unwise.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use compact_str::CompactString;
use serde::{Deserialize, de::DeserializeOwned};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::args;

pub(crate) mod problem;
pub(crate) mod review;

use problem::{Problem, Source};

/// Sections of this version.
const SECTIONS: [&str; 6] = ["node", "inventory", "dns", "directory", "logrelay", "admin"];
/// Sections of other versions.
const SECTIONS_ABSENT: [&str; 2] = ["sync", "backup"];
/// Largest configuration file, in octets.
const FILE_MAX: u64 = 1 << 20;

/// What an operator sets.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The file.
    pub file: PathBuf,
    /// `[node]`
    pub node: Node,
    /// `[inventory]`
    pub inventory: Option<Inventory>,
    /// `[dns]`; absent: no names are served.
    pub dns: Option<dns::config::Config>,
    /// `[directory]`; absent: nobody is let in.
    pub directory: Option<directory::config::Config>,
    /// `[logrelay]`; absent: no logs are taken.
    pub logrelay: Option<logrelay::config::Config>,
    /// `[admin]`; absent: the control socket in its default place, and no HTTP.
    pub admin: Admin,
}

/// `[node]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    /// Name of this appliance, one label; shown in logs, metrics and `id.server`.
    pub name: CompactString,
    /// Region in which it stands, one label; roles with `scope = "nearest"` prefer it.
    pub region: CompactString,
    /// Folder of the store.
    pub data_dir: PathBuf,
    /// User that the node becomes when it is started as root.
    #[serde(default = "user")]
    pub user: String,
}

/// `[inventory]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inventory {
    /// Product of hosts that name none, one label.
    pub product: CompactString,
    /// Folder of `*.toml`, watched.
    pub path: Option<PathBuf>,
    /// Seconds between full reads of the folder, besides those that a change of a file causes.
    #[serde(default = "reread_s")]
    pub reread_s: u64,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    /// Address of the HTTP API with metrics and health; absent: none.
    pub listen: Option<SocketAddr>,
    /// Unix socket of the command line.
    #[serde(default = "socket")]
    pub socket: PathBuf,
    /// File with the token that writing through HTTP needs; absent: HTTP only reads.
    pub token_file: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: None, socket: socket(), token_file: None }
    }
}

impl Config {
    /// Product of hosts that name none.
    pub(crate) fn product(&self) -> Option<&CompactString> {
        self.inventory.as_ref().map(|i| &i.product)
    }
}

fn user() -> String {
    "gatehouse".into()
}

fn reread_s() -> u64 {
    60
}

fn socket() -> PathBuf {
    args::SOCKET_DEFAULT.into()
}

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it, section by section.
pub(crate) fn load(file: &Path) -> Result<Config, Vec<Problem>> {
    let read = || {
        let size = std::fs::metadata(file)?.len();
        if size > FILE_MAX {
            return Err(std::io::Error::other(format!("it has {size} octets, more than {FILE_MAX}")));
        }
        std::fs::read_to_string(file)
    };
    let text = read().map_err(|e| vec![Problem::error(file, None, format!("cannot be read: {e}"))])?;
    parse(file, &text)
}

/// Reads the text of a configuration file.
///
/// # Errors
/// As for [`load`].
pub(crate) fn parse(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let source = Source { file, text };
    let table = DeTable::parse(text).map_err(|e| vec![source.toml("", &e)])?.into_inner();
    let mut sections = Sections { source: &source, table, problems: Vec::new() };
    sections.refuse_strangers();
    let mut node: Option<Node> = sections.take("node");
    let mut inventory: Option<Inventory> = sections.take("inventory");
    let dns: Option<dns::config::Config> = sections.take("dns");
    let directory: Option<directory::config::Config> = sections.take("directory");
    let logrelay: Option<logrelay::config::Config> = sections.take("logrelay");
    let admin: Option<Admin> = sections.take("admin");
    let mut problems = sections.problems;
    if node.is_none() && problems.is_empty() {
        let text = "has no section [node]; add it with name, region and data_dir";
        problems.push(Problem::error(file, None, text.into()));
    }
    let labels = node.iter_mut().flat_map(|n| [("node", "name", &mut n.name), ("node", "region", &mut n.region)]);
    for (section, key, label) in labels.chain(inventory.iter_mut().map(|i| ("inventory", "product", &mut i.product))) {
        match inventory::label::label(label) {
            // In lower case, as in every row: names are compared octet by octet.
            Ok(lower) => *label = lower,
            Err(why) => {
                let text = format!("{key} = {:?} in [{section}] is no DNS label: {why}", label.as_str());
                problems.push(Problem::error(file, source.line_of_key(section, key), text));
            }
        }
    }
    match node {
        Some(node) if problems.is_empty() => {
            let (file, admin) = (file.into(), admin.unwrap_or_default());
            Ok(anchored(Config { file, node, inventory, dns, directory, logrelay, admin }))
        }
        _ => Err(problems),
    }
}

/// The top level of the file while its sections are taken out.
struct Sections<'a> {
    source: &'a Source<'a>,
    table: DeTable<'a>,
    problems: Vec<Problem>,
}

impl Sections<'_> {
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Option<T> {
        let value: Spanned<DeValue<'_>> = self.table.remove(name)?;
        match T::deserialize(toml::de::ValueDeserializer::from(value)) {
            Ok(section) => Some(section),
            Err(e) => {
                self.problems.push(self.source.toml(name, &e));
                None
            }
        }
    }

    fn refuse_strangers(&mut self) {
        for (key, value) in &self.table {
            let name = key.get_ref().as_ref();
            let text = if SECTIONS.contains(&name) {
                continue;
            } else if SECTIONS_ABSENT.contains(&name) {
                format!("[{name}] configures a part that this version does not have; remove the section")
            } else if value.get_ref().is_table() {
                problem::unknown("section", &format!("[{name}]"), None, name, SECTIONS.iter().copied())
            } else {
                format!("unknown key `{name}` outside of a section; sections are {}", SECTIONS.join(", "))
            };
            let line = self.source.line_at(key.span().start);
            self.problems.push(Problem::error(self.source.file, Some(line), text));
        }
    }
}

/// The configuration with every path relative to the folder of the file made independent of the current folder.
fn anchored(mut config: Config) -> Config {
    let file = std::path::absolute(&config.file).unwrap_or_else(|_| config.file.clone());
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let anchor = |path: &mut PathBuf| *path = folder.join(&*path);
    anchor(&mut config.node.data_dir);
    anchor(&mut config.admin.socket);
    config.admin.token_file.as_mut().map(anchor);
    config.inventory.as_mut().and_then(|i| i.path.as_mut()).map(anchor);
    if let Some(dns) = &mut config.dns {
        let files = [&mut dns.tls_cert, &mut dns.tls_key, &mut dns.cookie_secret_file, &mut dns.query_log];
        files.into_iter().flatten().for_each(anchor);
        dns.key.iter_mut().map(|k| &mut k.secret_file).for_each(anchor);
    }
    if let Some(logrelay) = &mut config.logrelay {
        logrelay.anchor(&folder);
    }
    if let Some(directory) = &mut config.directory {
        let files = [&mut directory.ldif, &mut directory.tls_cert, &mut directory.tls_key, &mut directory.client_ca];
        files.into_iter().flatten().for_each(anchor);
        let upstream = directory.upstream.iter_mut();
        upstream.flat_map(|u| [&mut u.bind_password_file, &mut u.ca_file]).flatten().for_each(anchor);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "[node]\nname = \"gw1\"\nregion = \"us-east-1\"\ndata_dir = \"data\"\n";

    fn problems(text: &str) -> Vec<String> {
        let found = parse(Path::new("/etc/gatehouse/gatehouse.toml"), text).unwrap_err();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_node_is_needed() {
        let config = parse(Path::new("/etc/gatehouse/gatehouse.toml"), MINIMAL).unwrap();
        assert!(config.dns.is_none() && config.inventory.is_none());
        assert_eq!(config.node.data_dir, Path::new("/etc/gatehouse/data"));
        assert_eq!(config.admin.socket, Path::new("/run/gatehouse/control.sock"));
        assert_eq!(config.node.user, "gatehouse");
    }

    #[test]
    fn paths_do_not_depend_on_the_current_folder() {
        let config = parse(Path::new("gatehouse.toml"), MINIMAL).unwrap();
        assert_eq!(config.node.data_dir, std::env::current_dir().unwrap().join("data"));
    }

    #[test]
    fn unknown_keys_name_line_section_and_remedy() {
        let text = format!("{MINIMAL}\n[dns]\nlisten = [\"127.0.0.1:53\"]\nlisten_tsl = []\n");
        assert_eq!(
            problems(&text),
            ["gatehouse.toml:8: unknown key `listen_tsl` in [dns]; did you mean `listen_tls`?"]
        );
        let text = format!("{MINIMAL}colour = 1\n");
        assert_eq!(
            problems(&text),
            ["gatehouse.toml:5: unknown key `colour` in [node]; keys are name, region, data_dir, user"]
        );
        let text = format!("{MINIMAL}[[dns.key]]\nname = \"k\"\nsecret = \"x\"\n");
        assert_eq!(problems(&text), ["gatehouse.toml:7: unknown key `secret` in [dns]; did you mean `secret_file`?"]);
    }

    #[test]
    fn every_section_is_judged() {
        let text = "[node]\nname = \"gw1\"\nregion = 7\ndata_dir = \"d\"\n[admim]\n[dns]\nlisten = [\"here\"]\n";
        assert_eq!(
            problems(text),
            [
                "gatehouse.toml:5: unknown section [admim]; did you mean [admin]?",
                "gatehouse.toml:3: region in [node]: invalid type: integer `7`, expected a string",
                "gatehouse.toml:7: listen in [dns]: invalid socket address syntax",
            ]
        );
    }

    #[test]
    fn parts_of_other_versions_are_not_ignored() {
        assert_eq!(
            problems(&format!("{MINIMAL}[sync]\nrole = \"primary\"\n")),
            ["gatehouse.toml:5: [sync] configures a part that this version does not have; remove the section"]
        );
    }

    #[test]
    fn missing_things_are_named() {
        assert_eq!(
            problems("[dns]\nlisten = []\n"),
            ["gatehouse.toml: has no section [node]; add it with name, region and data_dir"]
        );
        assert_eq!(
            problems("[node]\nname = \"a\"\nregion = \"b\"\n"),
            ["gatehouse.toml:1: [node]: missing field `data_dir`"]
        );
        assert_eq!(
            problems("name = \"a\"\n"),
            [
                "gatehouse.toml:1: unknown key `name` outside of a section; sections are node, inventory, dns, directory, logrelay, admin"
            ]
        );
    }

    #[test]
    fn names_are_labels() {
        let text = MINIMAL.replace("gw1", "gw_1");
        assert_eq!(
            problems(&text),
            ["gatehouse.toml:2: name = \"gw_1\" in [node] is no DNS label: \
             it holds '_'; a label is made of letters, digits and hyphens"]
        );
    }

    #[test]
    fn labels_are_kept_in_lower_case() {
        let text = format!("{MINIMAL}[inventory]\nproduct = \"ACME\"\n")
            .replace("us-east-1", "US-East-1")
            .replace("gw1", "GW1");
        let config = parse(Path::new("gatehouse.toml"), &text).unwrap();
        assert_eq!(config.product().unwrap(), "acme");
        assert_eq!((config.node.name.as_str(), config.node.region.as_str()), ("gw1", "us-east-1"));
    }

    #[test]
    fn broken_toml_has_a_line() {
        let found = problems("[node]\nname = \"gw1\n");
        assert!(found[0].starts_with("gatehouse.toml:2: "), "{found:?}");
    }

    #[test]
    fn every_shipped_configuration_loads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> = files.filter(|f| f.extension().is_some_and(|e| e == "toml")).collect();
        assert!(!files.is_empty());
        for file in files {
            let config = load(&file).unwrap();
            let errors: Vec<_> = review::review(&config).into_iter().filter(Problem::is_error).collect();
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}
