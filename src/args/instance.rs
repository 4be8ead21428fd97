//! The commands for instances: `keys`, `access check`, `client-config`.

use std::{net::IpAddr, path::PathBuf};

use clap::{Args as ClapArgs, ValueEnum};

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

/// `gatehouse client-config`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Prints what goes into the files of an instance of this installation; comments say which file and what else to do.

Examples:
  gatehouse client-config sshd
  gatehouse client-config nslcd --config gatehouse.toml
  gatehouse client-config resolv --appliance 10.0.0.2 --appliance 10.0.1.2
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
}
