//! `syslog` and its keys, read and checked.

use std::time::Duration;

use wire::{tls::TlsError, upstream::TlsUpstream};

use super::target::Target;
use crate::config::{Destination, ToFile, ToSyslog};

/// Receivers of a destination at most.
const TARGETS_MAX: usize = 16;
/// Largest window that may be set: so many records are in memory at most.
const WINDOW_MAX: usize = 100_000;

/// How messages are told apart on a stream (RFC 6587).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A newline after each.
    Lines,
    /// The number of octets before each.
    Octets,
}

/// What a syslog destination was told.
#[derive(Debug)]
pub(super) struct Options {
    /// Name of the destination.
    pub(super) name: String,
    pub(super) targets: Vec<Target>,
    /// The framing, if one was set.
    pub(super) framing: Option<Framing>,
    /// The window, if one was set.
    pub(super) window: Option<usize>,
    pub(super) timeout: Duration,
    /// Microseconds after which a receiver that failed, or the first one, is tried again.
    pub(super) reopen_us: i64,
    keys: ToSyslog,
}

impl Options {
    /// Reads the keys of `config`.
    ///
    /// # Errors
    /// Sentences, one for each thing that is wrong.
    pub(super) fn read(config: &Destination) -> Result<Self, Vec<String>> {
        let mut wrong = Vec::new();
        let keys = &config.to_syslog;
        if config.to_file != ToFile::default() {
            wrong.push("it sends to receivers, but has keys of files (mode, rotate_bytes ...); remove them".into());
        }
        let targets: Vec<_> = config
            .syslog
            .iter()
            .filter_map(|text| Target::parse(text).map_err(|error| wrong.push(error)).ok())
            .collect();
        if targets.len() > TARGETS_MAX {
            wrong.push(format!("syslog names {} receivers, but at most {TARGETS_MAX} are tried", targets.len()));
        }
        let framing = match keys.framing.as_deref() {
            None => None,
            Some("lines") => Some(Framing::Lines),
            Some("octets") => Some(Framing::Octets),
            Some(other) => {
                wrong.push(format!("framing = {other:?} is not known; it is \"lines\" or \"octets\""));
                None
            }
        };
        let mut unused = |key: &str, set: bool, used: bool, only: &str| {
            if set && !used {
                wrong.push(format!("{key} is set, but only {only} receivers have use of it; remove it"));
            }
        };
        let any = |is: fn(&Target) -> bool| targets.iter().any(is);
        let tls = any(|target| target.transport.is_tls());
        unused("framing", keys.framing.is_some(), any(|target| target.transport.is_stream()), "tcp:// and tls://");
        unused("window", keys.window.is_some(), any(|target| target.transport.is_relp()), "relp:// and relp+tls://");
        for (key, set) in [
            ("ca_file", keys.ca_file.is_some()),
            ("client_cert", keys.client_cert.is_some()),
            ("client_key", keys.client_key.is_some()),
        ] {
            unused(key, set, tls, "tls:// and relp+tls://");
        }
        if keys.client_cert.is_some() != keys.client_key.is_some() {
            wrong.push("client_cert and client_key go together, but only one is set; set both or none".into());
        }
        if keys.window.is_some_and(|window| window == 0 || window > WINDOW_MAX) {
            wrong.push(format!("window must be 1 to {WINDOW_MAX}; leave it out for the default"));
        }
        let seconds = |set: Option<u64>, default: u64| set.unwrap_or(default).clamp(1, 86_400);
        for (key, set) in [("timeout_s", keys.timeout_s), ("reopen_s", keys.reopen_s)] {
            if set.is_some_and(|set| !(1..=86_400).contains(&set)) {
                wrong.push(format!("{key} must be 1 to 86400 seconds; leave it out for the default"));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.iter().map(|what| format!("destination {}: {what}.", config.name)).collect());
        }
        Ok(Self {
            name: config.name.clone(),
            targets,
            framing,
            window: keys.window,
            timeout: Duration::from_secs(seconds(keys.timeout_s, 30)),
            reopen_us: seconds(keys.reopen_s, 60).cast_signed() * 1_000_000,
            keys: keys.clone(),
        })
    }

    /// Reads the certificates, if a receiver needs them.
    pub(super) fn tls(&self) -> Result<Option<TlsUpstream>, TlsError> {
        if !self.targets.iter().any(|target| target.transport.is_tls()) {
            return Ok(None);
        }
        let roots = self.keys.ca_file.as_deref();
        match (&self.keys.client_cert, &self.keys.client_key) {
            (Some(certificate), Some(key)) => TlsUpstream::load_with_identity(roots, certificate, key).map(Some),
            _ => TlsUpstream::load(roots).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Options, String> {
        let config: Destination = toml::from_str(&format!("name = \"c\"\n{text}")).unwrap();
        Options::read(&config).map_err(|all| all.join(" "))
    }

    #[test]
    fn what_is_wrong_is_said_with_the_remedy() {
        for (text, said) in [
            ("syslog = \"tcp://a\"", "names no port"),
            ("syslog = \"tcp://a:1\"\nmode = \"0600\"", "keys of files"),
            ("syslog = \"tcp://a:1\"\nframing = \"x\"", "\"lines\" or \"octets\""),
            ("syslog = \"udp://a:1\"\nframing = \"lines\"", "only tcp:// and tls:// receivers"),
            ("syslog = \"tcp://a:1\"\nwindow = 5", "only relp:// and relp+tls://"),
            ("syslog = \"tcp://a:1\"\nca_file = \"/x\"", "only tls:// and relp+tls://"),
            ("syslog = \"tls://a:1\"\nclient_cert = \"/x\"", "set both or none"),
            ("syslog = \"relp://a:1\"\nwindow = 0", "window must be 1 to"),
            ("syslog = \"relp://a:1\"\ntimeout_s = 0", "timeout_s must be 1 to 86400"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said) && error.starts_with("destination c: "), "{text}: {error}");
        }
        let options = read("syslog = [\"tls://a:1\", \"udp://b:2\"]\nframing = \"octets\"").unwrap();
        assert_eq!((options.targets.len(), options.framing), (2, Some(Framing::Octets)));
        assert_eq!((options.timeout.as_secs(), options.reopen_us), (30, 60_000_000));
    }
}
