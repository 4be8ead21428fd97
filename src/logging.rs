//! Logs on standard error: lines for people or JSON objects, with a level that changes while running.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt};

use crate::args::LogFormat;

/// Longest filter text that is accepted at run time, in octets.
const FILTER_MAX: usize = 1024;

/// The handle that changes the level while running.
#[derive(Clone)]
pub(crate) struct LogLevel {
    handle: reload::Handle<EnvFilter, Registry>,
    text: Arc<Mutex<String>>,
}

/// Starts logging. Called once, before anything is logged.
///
/// # Errors
/// A sentence when `level` is no level or filter.
pub(crate) fn start(format: LogFormat, level: &str) -> Result<LogLevel, String> {
    let (subscriber, level) = subscriber(format, level)?;
    subscriber.try_init().map_err(|e| format!("the log cannot be started: {e}"))?;
    Ok(level)
}

/// What writes the log, and the handle of its level; the handle works as long as the writer lives.
pub(crate) fn subscriber(
    format: LogFormat,
    level: &str,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogLevel), String> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    // The journal stamps every line itself.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let out = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let out = match format {
        LogFormat::Json => out.json().flatten_event(true).boxed(),
        LogFormat::Human if journal => out.without_time().with_ansi(false).boxed(),
        LogFormat::Human => out.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
    };
    let level = LogLevel { handle, text: Arc::new(Mutex::new(level.to_owned())) };
    Ok((tracing_subscriber::registry().with(filter).with(out), level))
}

impl LogLevel {
    /// Changes the level or filter.
    ///
    /// # Errors
    /// A sentence when `level` is no level or filter.
    pub(crate) fn set(&self, level: &str) -> Result<(), String> {
        let filter = parse(level)?;
        self.handle.reload(filter).map_err(|e| format!("the log level cannot be changed: {e}"))?;
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = level.to_owned();
        Ok(())
    }

    /// The level or filter in force.
    pub(crate) fn current(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The LDAP codec, as the log names it.
const CODEC: &str = "ldap3_proto";

fn parse(level: &str) -> Result<EnvFilter, String> {
    const KNOWN: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    // A bare word that is no level would be taken for the name of a module and silence everything else.
    let bare = level.chars().all(|c| c.is_ascii_alphanumeric());
    if level.len() > FILTER_MAX || (bare && !KNOWN.contains(&level.to_ascii_lowercase().as_str())) {
        return Err(format!("{level:?} is no log level; use {}, or a filter like dns=debug,info", KNOWN.join(", ")));
    }
    // The codec reports every malformed message of a client as an error of its own; those are counted instead.
    let quiet = if level.contains(CODEC) { level.to_owned() } else { format!("{CODEC}=off,{level}") };
    EnvFilter::builder().parse(quiet).map_err(|e| format!("{level:?} is no log filter: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters() {
        assert!(parse("info").is_ok());
        assert!(parse("dns=debug,info").is_ok());
        assert_eq!(
            parse("loud").unwrap_err(),
            "\"loud\" is no log level; use off, error, warn, info, debug, trace, or a filter like dns=debug,info"
        );
        assert!(parse("").is_err());
        assert!(parse("dns=loud").is_err());
    }

    #[test]
    fn the_level_changes_while_running() {
        let (_subscriber, log) = subscriber(LogFormat::Human, "warn").unwrap();
        assert_eq!(log.current(), "warn");
        log.set("debug").unwrap();
        assert!(log.set("loud").is_err());
        assert_eq!(log.current(), "debug");
    }
}
