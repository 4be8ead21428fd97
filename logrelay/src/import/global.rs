//! `options { ... }`: what holds where a driver says nothing; and named templates.

use std::collections::HashMap;

use super::{
    Notes,
    tree::{Call, Config, Item, Statement},
};

/// Options that have a counterpart here.
const USED: [&str; 15] = [
    "keep-hostname",
    "log-msg-size",
    "create-dirs",
    "owner",
    "group",
    "perm",
    "dir-owner",
    "dir-group",
    "dir-perm",
    "time-reopen",
    "time-reap",
    "time-zone",
    "recv-time-zone",
    "ts-format",
    "file-template",
];
/// Options that mean nothing here: names are never asked of DNS, queues and threads are our own matter, and so on.
const NEEDLESS: [&str; 30] = [
    "use-dns",
    "use-fqdn",
    "dns-cache",
    "dns-cache-size",
    "dns-cache-expire",
    "dns-cache-expire-failed",
    "dns-cache-hosts",
    "normalize-hostnames",
    "flush-lines",
    "flush-timeout",
    "log-fifo-size",
    "log-fetch-limit",
    "log-iw-size",
    "stats-freq",
    "stats-level",
    "stats-lifetime",
    "stats",
    "threaded",
    "mark-freq",
    "mark-mode",
    "mark",
    "bad-hostname",
    "check-hostname",
    "use-rcptid",
    "use-uniqid",
    "gc-busy-threshold",
    "gc-idle-threshold",
    "min-iw-size-per-reader",
    "jvm-options",
    "sync",
];

/// What holds for all drivers.
#[derive(Debug, Default)]
pub(super) struct Global {
    options: HashMap<String, String>,
    templates: HashMap<String, String>,
}

impl Global {
    /// Takes the options and the templates of a configuration.
    pub(super) fn of(config: &Config, notes: &mut Notes) -> Self {
        let mut global = Self::default();
        for call in config.options.iter().filter_map(Statement::call) {
            let value = call.first().unwrap_or_default().to_owned();
            match &*call.name {
                name if USED.contains(&name) => drop(global.options.insert(call.name.clone(), value)),
                "chain-hostnames" | "long-hostnames" if !is_yes(&value) => {}
                "frac-digits" if value == "0" => {}
                name if NEEDLESS.contains(&name) => {}
                name => notes.add(call.at, format!("the option {name}() is not translated")),
            }
        }
        for (name, (at, body)) in &config.templates {
            let text =
                body.iter().filter_map(Statement::call).find(|call| call.name == "template").and_then(Call::first);
            match text {
                Some(text) => drop(global.templates.insert(name.clone(), text.to_owned())),
                None => notes.add(*at, format!("the template {name:?} has no text that is known here")),
            }
        }
        global
    }

    /// An option of a driver, or else the one that holds for all.
    pub(super) fn option<'a>(&'a self, driver: &'a Call, name: &str) -> Option<&'a str> {
        let own = driver.calls().find(|call| call.name == name).and_then(Call::first);
        own.or_else(|| self.options.get(name).map(String::as_str))
    }

    /// The text of `template(...)`: that of the named template, or what stands there.
    pub(super) fn template(&self, call: &Call) -> Option<String> {
        let text = match call.items.first()? {
            // template(t("text")) casts; the text is what counts.
            Item::Call(cast) => cast.first()?,
            item => item.text()?,
        };
        Some(self.templates.get(text).cloned().unwrap_or_else(|| text.to_owned()))
    }

    /// The template that files have where they name none, if it is not syslog-ng's own.
    pub(super) fn file_template(&self, driver: &Call) -> Option<String> {
        if let Some(name) = self.options.get("file-template") {
            return Some(self.templates.get(name).unwrap_or(name).clone());
        }
        match self.option(driver, "ts-format")? {
            "iso" => Some("${ISODATE} ${HOST} ${MSGHDR}${MSG}\n".to_owned()),
            "full" => Some("${FULLDATE} ${HOST} ${MSGHDR}${MSG}\n".to_owned()),
            "unix" => Some("${UNIXTIME} ${HOST} ${MSGHDR}${MSG}\n".to_owned()),
            _ => None,
        }
    }
}

/// Whether a word switches something on.
pub(super) fn is_yes(word: &str) -> bool {
    matches!(&*word.to_ascii_lowercase(), "yes" | "on" | "true" | "1")
}
