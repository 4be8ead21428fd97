//! `client.toml`: whom an instance asks, how long, and where it keeps answers.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use directory::ask::client::{APPLIANCES_MAX, Appliance};
use serde::Deserialize;
use toml::Spanned;

use crate::config::problem::{Problem, Source};

/// Largest file, in octets.
const FILE_MAX: u64 = 64 * 1024;
/// Longest deadline: sshd gives a login 120 s, and asks for keys several times in it.
const DEADLINE_MS_MAX: u64 = 30_000;

/// `client.toml`. Relative paths are relative to its folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Appliances, nearest first: `10.0.0.2:636`.
    appliances: Spanned<Vec<String>>,
    /// Roots that the appliances' certificates must lead to, PEM.
    pub ca: PathBuf,
    /// This host's certificate, PEM; without it the appliance knows the host by its address, if it is told to.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// What the appliances' certificates name, when it is not the address or name in `appliances`.
    pub server_name: Option<String>,
    /// Milliseconds for everything together.
    #[serde(default = "deadline_ms")]
    deadline_ms: Spanned<u64>,
    /// Milliseconds without an answer after which the next appliance is asked too.
    #[serde(default = "hedge_ms")]
    pub hedge_ms: u64,
    /// Folder for the last good answers.
    #[serde(default = "cache_dir")]
    pub cache_dir: PathBuf,
    /// Hours for which an answer may be used while no appliance answers; 0: not at all. What the answer says of itself
    /// may be shorter.
    #[serde(default = "cache_max_age_h")]
    pub cache_max_age_h: u64,
    /// Socket of the system's log.
    #[serde(default = "syslog")]
    pub syslog: PathBuf,
}

fn deadline_ms() -> Spanned<u64> {
    Spanned::new(0..0, 2000)
}

fn hedge_ms() -> u64 {
    200
}

fn cache_dir() -> PathBuf {
    "/var/cache/gatehouse".into()
}

fn cache_max_age_h() -> u64 {
    168
}

fn syslog() -> PathBuf {
    super::syslog::SOCKET.into()
}

impl Settings {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong, with the line and the remedy.
    pub(super) fn load(file: &Path) -> Result<Self, Problem> {
        let unreadable = |e: std::io::Error| {
            let text = format!("cannot be read: {e}; `gatehouse client-config client` prints one");
            Problem::error(file, None, text)
        };
        if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_MAX {
            return Err(Problem::error(file, None, format!("has more than {FILE_MAX} octets")));
        }
        Self::parse(file, &std::fs::read_to_string(file).map_err(unreadable)?)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, Problem> {
        let source = Source { file, text };
        let mut settings: Self = toml::from_str(text).map_err(|e| source.toml("", &e))?;
        let at = |offset: usize, text: String| Problem::error(file, Some(source.line_at(offset)), text);
        let start = settings.appliances.span().start;
        let named = settings.appliances.get_ref();
        if named.is_empty() || named.len() > APPLIANCES_MAX {
            return Err(at(start, format!("appliances names {}; give 1 to {APPLIANCES_MAX}", named.len())));
        }
        for name in named {
            name.parse::<Appliance>().map_err(|e| at(start, format!("appliances: {e}")))?;
        }
        if !(1..=DEADLINE_MS_MAX).contains(settings.deadline_ms.get_ref()) {
            let text = format!("deadline_ms is {}; give 1 to {DEADLINE_MS_MAX}", settings.deadline_ms.get_ref());
            return Err(at(settings.deadline_ms.span().start, text));
        }
        if settings.cert.is_some() != settings.key.is_some() {
            return Err(Problem::error(file, None, "cert and key go together; give both or none".into()));
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let paths = [Some(&mut settings.ca), settings.cert.as_mut(), settings.key.as_mut()];
        paths.into_iter().flatten().for_each(|path| *path = folder.join(&*path));
        settings.cache_dir = folder.join(&settings.cache_dir);
        settings.syslog = folder.join(&settings.syslog);
        Ok(settings)
    }

    /// The appliances, nearest first.
    pub(super) fn appliances(&self) -> Vec<Appliance> {
        self.appliances.get_ref().iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Time for everything together.
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_millis(*self.deadline_ms.get_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/etc/gatehouse/client.toml";

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new(FILE), text).map_err(|problem| problem.to_string())
    }

    fn fault(text: &str) -> String {
        parse(text).unwrap_err()
    }

    #[test]
    fn two_keys_are_enough() {
        let settings = parse("appliances = [\"10.0.0.2:636\", \"10.0.1.2\"]\nca = \"ca.pem\"\n").unwrap();
        let names: Vec<_> = settings.appliances().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["10.0.0.2:636", "10.0.1.2:636"]);
        assert_eq!(settings.ca, Path::new("/etc/gatehouse/ca.pem"));
        assert_eq!(settings.deadline(), Duration::from_secs(2));
        assert_eq!((settings.hedge_ms, settings.cache_max_age_h), (200, 168));
        assert_eq!(settings.cache_dir, Path::new("/var/cache/gatehouse"));
        assert_eq!(settings.syslog, Path::new("/dev/log"));
    }

    #[test]
    fn what_is_wrong_has_a_line_and_a_remedy() {
        let good = "appliances = [\"10.0.0.2\"]\nca = \"ca.pem\"\n";
        assert_eq!(
            fault(&format!("{good}hegde_ms = 5\n")),
            "client.toml:3: unknown key `hegde_ms`; did you mean `hedge_ms`?"
        );
        assert_eq!(
            fault("ca = \"ca.pem\"\nappliances = [\"gate house\"]\n"),
            "client.toml:2: appliances: \"gate house\" is no appliance; write 10.0.0.2:636 or ldap.acme.private:636"
        );
        assert_eq!(fault("ca = \"ca.pem\"\nappliances = []\n"), "client.toml:2: appliances names 0; give 1 to 16");
        assert_eq!(fault(&format!("{good}deadline_ms = 0\n")), "client.toml:3: deadline_ms is 0; give 1 to 30000");
        assert_eq!(
            fault(&format!("{good}cert = \"host.pem\"\n")),
            "client.toml: cert and key go together; give both or none"
        );
        assert!(fault("appliances = [\"10.0.0.2\"]\n").contains("missing field `ca`"));
        assert!(fault("appliances = [\n").starts_with("client.toml:"));
    }
}
