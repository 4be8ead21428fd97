//! `gatehouse quickstart`: a sample world on this machine, without configuration and without root.
//!
//! Configuration, inventory and store lie in one folder: a temporary one that is removed at the
//! end, or the one of --dir, which is kept and used again with whatever was changed in it. The node
//! is an ordinary node; only the rights of root are neither needed nor dropped.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use crate::{
    args::Quickstart,
    config::{self, review::SOCKET_PATH_MAX},
    exit::{Exit, Failure},
    logging::LogLevel,
    node::{self, Start},
};

/// The sample world: product acme in three regions.
const ACME: &str = include_str!("quickstart/acme.toml");
/// Its people: about 20, with groups and keys.
const PEOPLE: &str = include_str!("quickstart/people.ldif");
/// DNS is on the base and this.
const PORT_DNS: u16 = 53;
/// HTTP is on the base and this.
const PORT_HTTP: u16 = 80;

/// LDAP is on the base and this.
const PORT_LDAP: u16 = 389;
const PORT_SYSLOG: u16 = 514;
/// A line to explain, as a shell takes it.
const LINE: &str = "'<11>Nov 20 17:05:05 db01 mysqld: full'";

/// Runs the sample world until it is told to stop.
///
/// # Errors
/// Why it could not start; a taken port comes with the way to choose others.
pub(crate) fn run(args: &Quickstart, log: LogLevel) -> Result<(), Failure> {
    let cannot = |path: &Path, e: &std::io::Error| {
        Failure::new(Exit::CantCreate, format!("{} cannot be made: {e}", path.display()))
    };
    // Removed when this function ends.
    let temporary = match args.dir {
        None => Some(tempfile::Builder::new().prefix("gatehouse-").tempdir()),
        Some(_) => None,
    };
    let temporary = temporary.transpose().map_err(|e| cannot(&std::env::temp_dir(), &e))?;
    let dir = match (&args.dir, &temporary) {
        (Some(dir), _) => std::path::absolute(dir).map_err(|e| cannot(dir, &e))?,
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => std::env::temp_dir(),
    };
    let world = World { dir, base: args.port_base };
    world.is_free()?;
    world.write().map_err(|e| cannot(&world.dir, &e))?;
    let length = world.socket().as_os_str().len();
    if length > SOCKET_PATH_MAX {
        let text = format!("the folder's path is too long for a control socket: {length} octets of {SOCKET_PATH_MAX}");
        return Err(Failure::new(Exit::Usage, format!("{text}; choose a shorter one with --dir")));
    }
    let config = config::load(&world.config()).map_err(|problems| {
        let details = problems.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Config, "the quickstart's own configuration is wrong").with_details(details)
    })?;
    let program = std::env::current_exe().unwrap_or_else(|_| "gatehouse".into());
    let banner = world.banner(&program, args.dir.is_some());
    let ready = Box::new(move || println!("{banner}"));
    node::run(Start { config, log, drop_privileges: false, restored: false, ready })
        .map_err(|failure| other_ports(failure, args.port_base))
}

fn other_ports(mut failure: Failure, base: u16) -> Failure {
    if failure.exit == Exit::Os && failure.sentence.contains("in use") {
        let other = if base < 50_000 { base + 10_000 } else { base - 10_000 };
        failure.sentence.push_str(&format!("; choose other ports with --port-base {other}"));
    }
    failure
}

/// Where everything is.
struct World {
    dir: PathBuf,
    base: u16,
}

impl World {
    fn config(&self) -> PathBuf {
        self.dir.join("gatehouse.toml")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    fn inventory(&self) -> PathBuf {
        self.dir.join("inventory/acme.toml")
    }

    fn people(&self) -> PathBuf {
        self.dir.join("people.ldif")
    }

    /// Whether no node runs in the folder; otherwise its configuration must stay as it is.
    fn is_free(&self) -> Result<(), Failure> {
        match UnixStream::connect(self.socket()) {
            Ok(_) => {
                let text = format!("gatehouse is already running in {}; choose another --dir", self.dir.display());
                Err(Failure::new(Exit::Usage, text))
            }
            Err(_) => Ok(()),
        }
    }

    /// Writes the configuration anew, for the ports may be others; an inventory and people that are there are left alone.
    fn write(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(self.dir.join("inventory"))?;
        std::fs::write(self.config(), self.config_text())?;
        for (file, text) in [(self.inventory(), ACME), (self.people(), PEOPLE)] {
            if !file.exists() {
                std::fs::write(file, text)?;
            }
        }
        Ok(())
    }

    fn config_text(&self) -> String {
        let (dns, http, ldap) = (self.base + PORT_DNS, self.base + PORT_HTTP, self.base + PORT_LDAP);
        let syslog = self.base + PORT_SYSLOG;
        format!(
            "# Written by `gatehouse quickstart`; deploy/gatehouse.toml explains every key.\n\
             [node]\nname = \"quickstart\"\nregion = \"us-east-1\"\ndata_dir = \"data\"\n\n\
             [inventory]\nproduct = \"acme\"\npath = \"inventory\"\n\n\
             [dns]\nlisten = [\"127.0.0.1:{dns}\"]\n\n\
             [directory]\nlisten = [\"127.0.0.1:{ldap}\"]\nbase = \"dc=acme,dc=private\"\n\
             allow_anonymous = [\"127.0.0.0/8\"]\nldif = \"people.ldif\"\n\n\
             [[logrelay.source]]\nname = \"net\"\nlisten = [\"udp://127.0.0.1:{syslog}\", \"tcp://127.0.0.1:{syslog}\"]\n\n\
             [[logrelay.destination]]\nname = \"files\"\nfile = \"logs/${{HOST}}/${{PROGRAM}}.log\"\n\n\
             [[logrelay.route]]\nto = [\"files\"]\n\n\
             [admin]\nlisten = \"127.0.0.1:{http}\"\nsocket = \"control.sock\"\n"
        )
    }

    /// What to try; each line can be pasted into another terminal as it is.
    fn banner(&self, program: &Path, kept: bool) -> String {
        let (dns, http, ldap) = (self.base + PORT_DNS, self.base + PORT_HTTP, self.base + PORT_LDAP);
        let syslog = self.base + PORT_SYSLOG;
        let gatehouse = quoted(&program.to_string_lossy());
        let socket = quoted(&self.socket().to_string_lossy());
        let file = quoted(&self.inventory().to_string_lossy());
        let end = if kept { "and keeps" } else { "and removes" };
        let dir = self.dir.display();
        format!(
            "\nThe names of the sample product acme are answered on 127.0.0.1:{dns}. Try, in another terminal:\n\n  \
             dig @127.0.0.1 -p {dns} +short web01.us-east-1a.acme.private\n  \
             dig @127.0.0.1 -p {dns} +short mysql.acme.private\n  \
             dig @127.0.0.1 -p {dns} +short _mysql._tcp.us-east-1.acme.private SRV\n  \
             dig @127.0.0.1 -p {dns} +short -x 10.1.0.11\n  \
             {gatehouse} dns explain cache01.acme.private --socket {socket}\n  \
             {gatehouse} host add demo01.us-east-1a --private-ip 10.1.0.200 --role web --why 'a try' --socket {socket}\n  \
             dig @127.0.0.1 -p {dns} +short demo01.acme.private\n  \
             {gatehouse} host history demo01.us-east-1a --socket {socket}\n  \
             {gatehouse} access explain alan db01.us-east-1a --socket {socket}\n  \
             {gatehouse} grant tim --on app01.us-east-1a --why 'a try' --socket {socket}\n  \
             {gatehouse} access who app01.us-east-1a --socket {socket}\n  \
             ldapsearch -LLL -x -H ldap://127.0.0.1:{ldap} -b dc=acme,dc=private \
             '(&(objectClass=posixAccount)(gatehouseAccess=app01.us-east-1a))' cn\n  \
             logger --server 127.0.0.1 --port {syslog} --tcp --tag demo 'a line for the relay'\n  \
             {gatehouse} logs grep relay --socket {socket}\n  \
             {gatehouse} logs explain --from 10.1.0.31 {LINE} --socket {socket}\n  \
             {gatehouse} status --socket {socket}\n  \
             curl -s 'http://127.0.0.1:{http}/v1/hosts?role=mysql'\n\n\
             Change {file} and save it: the change is served about a second later.\n\
             Ctrl-C ends it {end} {dir}.\n"
        )
    }
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':');
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use inventory::source::{Defaults, read_folder};

    use super::*;

    fn world() -> (World, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let world = World { dir: dir.path().join("it's"), base: 10_000 };
        world.write().unwrap();
        (world, dir)
    }

    #[test]
    fn the_configuration_is_fine() {
        let (world, _dir) = world();
        let config = config::load(&world.config()).unwrap();
        assert_eq!(config::review::review(&config), []);
        assert_eq!(config.dns.unwrap().listen, ["127.0.0.1:10053".parse().unwrap()]);
        assert_eq!(config.admin.listen, Some("127.0.0.1:10080".parse().unwrap()));
        assert_eq!(config.admin.socket, world.socket());
    }

    #[test]
    fn the_sample_world_is_worth_a_look() {
        let (world, _dir) = world();
        let rows = read_folder(&world.dir.join("inventory"), &Defaults { product: "acme".into() }).unwrap();
        let state = inventory::State::from_rows(1, 1, 1, rows).unwrap();
        assert!((35..=50).contains(&state.host_count()), "{}", state.host_count());
        let regions = &state.product("acme").unwrap().regions;
        assert_eq!(regions.len(), 3);
        assert!(state.hosts_named("acme", "cache01").count() > 1, "cache01 is to be ambiguous");
        assert_eq!(state.hosts_named("acme", "web01").count(), 1);
        assert!(state.roles().any(|role| role.scope == inventory::Scope::Nearest));
        assert!(state.role_members("acme", "mysql") > 2);
        assert!(state.host_at([10, 1, 0, 11].into()).is_some() && state.host_at([10, 1, 0, 200].into()).is_none());
        for rtype in ["MX", "TXT", "CNAME", "NS"] {
            assert!(state.records().any(|r| r.key.rtype == rtype), "{rtype}");
        }
        assert!(state.records().any(|r| r.key.name.starts_with("*.")));
    }

    #[test]
    fn an_inventory_that_is_there_is_left_alone() {
        let (world, _dir) = world();
        std::fs::write(world.inventory(), "# mine\n").unwrap();
        world.write().unwrap();
        assert_eq!(std::fs::read_to_string(world.inventory()).unwrap(), "# mine\n");
    }

    #[test]
    fn a_folder_in_use_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let running = std::os::unix::net::UnixListener::bind(dir.path().join("control.sock")).unwrap();
        std::fs::write(dir.path().join("gatehouse.toml"), "theirs").unwrap();
        let world = World { dir: dir.path().to_owned(), base: 10_000 };
        let failure = world.is_free().unwrap_err();
        assert!(failure.sentence.ends_with("choose another --dir"), "{failure}");
        assert_eq!(std::fs::read_to_string(world.config()).unwrap(), "theirs");
        drop(running);
        assert_eq!(world.is_free(), Ok(()));
    }

    #[test]
    fn the_printed_commands_are_ours() {
        let world = World { dir: "/tmp/gh".into(), base: 10_000 };
        let banner = world.banner(Path::new("/opt/my gatehouse"), false);
        let ours = banner.lines().filter_map(|line| line.trim().strip_prefix("'/opt/my gatehouse' "));
        let mut count = 0;
        for line in ours {
            let words = format!("gatehouse {}", line.replace("'a try'", "try").replace(LINE, "line"));
            crate::args::Args::try_parse_from(words.split(' ')).unwrap();
            count += 1;
        }
        assert_eq!(count, 9, "{banner}");
    }

    #[test]
    fn a_taken_port_comes_with_a_way_out() {
        let taken = Failure::new(Exit::Os, "cannot listen on 127.0.0.1:10080: Address in use");
        assert!(other_ports(taken, 10_000).sentence.ends_with("choose other ports with --port-base 20000"));
        let other = Failure::new(Exit::Io, "the disk is full");
        assert_eq!(other_ports(other.clone(), 10_000), other);
    }

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted("/a/b-c.d"), "/a/b-c.d");
        assert_eq!(quoted("/it's here"), r"'/it'\''s here'");
    }
}
