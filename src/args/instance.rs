//! The commands for instances: `keys`, `access check`, `client-config`.

use std::{ffi::OsString, net::IpAddr, path::PathBuf};

use clap::{Args as ClapArgs, Command, FromArgMatches, ValueEnum};

use super::CONFIG_DEFAULT;

/// Where an instance's configuration is when nobody says otherwise.
pub(crate) const CLIENT_DEFAULT: &str = "/etc/gatehouse/client.toml";

/// `gatehouse keys`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
For sshd's AuthorizedKeysCommand, on an instance. `gatehouse client-config sshd` prints the lines for sshd_config. The
appliances of client.toml are asked; when none answers, the last good answer on disk holds for its time. Every decision
is one line in the system's log, facility authpriv.

Exit code 0: decided, with the keys on standard output, or none when the answer is no; 69: nobody could decide;
78: client.toml is wrong.

Examples:
  gatehouse keys alice
  gatehouse keys alice --config ./client.toml")]
pub(crate) struct Keys {
    /// Login name
    pub user: String,
    /// Configuration of the instance
    #[arg(long, value_name = "FILE", default_value = CLIENT_DEFAULT)]
    pub config: PathBuf,
}

/// `gatehouse access check`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
For pam_exec, on an instance; without USER, the question is taken from PAM_USER, PAM_SERVICE, PAM_RHOST and PAM_TTY, and
something is printed only when the answer is no. `gatehouse client-config pam` prints the lines for /etc/pam.d.

The exit codes are PAM's own numbers: 0 allowed (PAM_SUCCESS), 6 denied (PAM_PERM_DENIED), 9 nobody could decide
(PAM_AUTHINFO_UNAVAIL), 10 not in the directory (PAM_USER_UNKNOWN). pam_exec itself takes every other code than 0 for
a failure, so local users pass by a line before it. 64 and 78 are wrong usage and a wrong client.toml.

Examples:
  gatehouse access check alice
  gatehouse access check alice --service sudo
  gatehouse access check                              # in pam_exec")]
pub(crate) struct AccessCheck {
    /// Login name [default: PAM_USER]
    pub user: Option<String>,
    /// PAM service [default: PAM_SERVICE, else sshd]
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Configuration of the instance
    #[arg(long, value_name = "FILE", default_value = CLIENT_DEFAULT)]
    pub config: PathBuf,
}

impl Keys {
    /// Reads a right `gatehouse keys ...`. sshd waits for this command, and the definition of all commands takes longer
    /// to build than this one to run. None: it is another command, or wrong; then [`Args`](super::Args) says how.
    pub(crate) fn at_login(words: &[OsString]) -> Option<Self> {
        alone(words, &["keys"])
    }
}

impl AccessCheck {
    /// Reads a right `gatehouse access check ...`, as [`Keys::at_login`] does.
    pub(crate) fn at_login(words: &[OsString]) -> Option<Self> {
        alone(words, &["access", "check"])
    }
}

/// The arguments after `path`, by the definition of that command alone.
fn alone<A: ClapArgs + FromArgMatches>(words: &[OsString], path: &[&str]) -> Option<A> {
    let (command, rest) = words.get(1..)?.split_at_checked(path.len())?;
    if !command.iter().eq(path) {
        return None;
    }
    let command = A::augment_args(Command::new("gatehouse").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(rest).ok()?).ok()
}

/// `gatehouse client-config`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Prints what goes into the files of an instance of this installation; comments say which file and what else to do.

Examples:
  gatehouse client-config sshd
  gatehouse client-config nslcd --config gatehouse.toml
  gatehouse client-config resolv --appliance 10.0.0.2 --appliance 10.0.1.2
  gatehouse client-config rsyslog --appliance 10.0.0.2 --appliance 10.0.1.2
  gatehouse client-config client | sudo tee /etc/gatehouse/client.toml")]
pub(crate) struct ClientConfig {
    /// For which program
    pub program: Program,
    /// Configuration of the appliance
    #[arg(long, value_name = "FILE", env = "GATEHOUSE_CONFIG", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// Appliances as instances reach them, nearest first [default: the addresses that the configuration listens on]
    #[arg(long, value_name = "ADDRESS")]
    pub appliance: Vec<IpAddr>,
}

/// What a snippet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Program {
    /// sshd: keys from `gatehouse keys`
    Sshd,
    /// PAM: decisions from `gatehouse access check`
    Pam,
    /// nsswitch.conf
    Nss,
    /// nslcd: accounts, passwords and decisions by LDAP
    Nslcd,
    /// sssd: the same
    Sssd,
    /// sudo: rules by LDAP
    Sudo,
    /// resolv.conf
    Resolv,
    /// client.toml, the configuration of `gatehouse keys` and `gatehouse access check`
    Client,
    /// rsyslog: everything to the appliances, by RELP
    Rsyslog,
    /// syslog-ng: everything to the appliances, with a buffer on disk
    SyslogNg,
    /// journald: everything to rsyslog
    Journald,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{
        super::{AccessCommand, Args, Command as Whole},
        *,
    };

    /// What the whole definition makes of a line, and what the short way does.
    fn both(line: &str) -> (Option<String>, Option<String>) {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let whole = Args::try_parse_from(&words).ok().and_then(|args| match args.command {
            Whole::Keys(keys) => Some(format!("{keys:?}")),
            Whole::Access(AccessCommand::Check(check)) => Some(format!("{check:?}")),
            _ => None,
        });
        let keys = Keys::at_login(&words).map(|keys| format!("{keys:?}"));
        (whole, keys.or_else(|| AccessCheck::at_login(&words).map(|check| format!("{check:?}"))))
    }

    #[test]
    fn the_short_way_reads_what_the_whole_definition_reads() {
        let right = [
            "gatehouse keys alice",
            "gatehouse keys alice --config x.toml",
            "gatehouse keys --config=x.toml -- -alice",
            "gatehouse access check",
            "gatehouse access check alice --service sudo",
            "gatehouse access check --config x.toml",
        ];
        for line in right {
            let (whole, short) = both(line);
            assert!(whole.is_some() && whole == short, "{line}: {whole:?}, {short:?}");
        }
    }

    #[test]
    fn the_short_way_leaves_everything_else_to_the_whole_definition() {
        let others = [
            "gatehouse",
            "gatehouse keys",
            "gatehouse keys alice bob",
            "gatehouse keys -h",
            "gatehouse keys alice --help",
            "gatehouse keys alice --config",
            "gatehouse keys alice --version",
            "gatehouse --version keys alice",
            "gatehouse access",
            "gatehouse access check --why x",
            "gatehouse access explain alice web01",
            "gatehouse status",
        ];
        for line in others {
            assert_eq!(both(line), (None, None), "{line}");
        }
    }
}
