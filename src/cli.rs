//! The commands: thin clients of the node's API over its control socket, and the few that need no node.

use std::io::IsTerminal;

use crate::{
    args::{AccessCommand, Command, DnsCommand, LogArgs},
    exit::{Exit, Failure},
    instance,
    logging::{self, LogLevel},
    node::{self, Start},
    quickstart,
};

mod access;
mod check;
mod client;
mod compare;
mod grants;
mod hosts;
mod live;
mod logs;
mod records;
pub(crate) mod table;
mod upload;

/// Runs a command to its end.
///
/// # Errors
/// What it could not do, with the exit code.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => {
            let log = start_log(&args.log)?;
            let config = check::load(&args.config)?;
            let restored = args.restored;
            node::run(Start { config, log, drop_privileges: true, restored, ready: Box::new(|| ()) })
        }
        Command::Quickstart(args) => {
            let log = start_log(&args.log)?;
            quickstart::run(&args, log)
        }
        Command::Check(args) => check::run(&args),
        Command::ClientConfig(args) => print(&instance::snippets::text(&check::load(&args.config)?, &args)?),
        Command::Dns(DnsCommand::ServeZone(args)) => crate::names::serve_zone(&args),
        other => block_on(ask(other)),
    }
}

/// The commands that talk to a node.
async fn ask(command: Command) -> Result<(), Failure> {
    match command {
        Command::Status(args) => live::status(&args).await,
        Command::Host(command) => hosts::run(command).await,
        Command::Grant(args) => grants::add(&args).await,
        Command::Revoke(args) => grants::revoke(&args).await,
        Command::Grants(args) => grants::list(&args).await,
        Command::Record(command) => records::run(command).await,
        Command::Dns(command) => live::dns(command).await,
        Command::Accept(args) => live::accept(&args).await,
        Command::LogLevel(args) => live::log_level(&args).await,
        Command::Logs(command) => logs::run(command).await,
        Command::Serve(_) | Command::Quickstart(_) | Command::Check(_) | Command::ClientConfig(_) => Ok(()),
        Command::Access(AccessCommand::Explain(args)) => access::explain(&args).await,
        Command::Access(AccessCommand::Who(args)) => access::who(&args).await,
        Command::Access(AccessCommand::Where(args)) => access::places(&args).await,
        Command::Access(AccessCommand::Diff(args)) => access::diff(&args).await,
        Command::Access(AccessCommand::Lint(args)) => access::lint(&args).await,
        Command::Access(AccessCommand::Log(args)) => access::log(&args).await,
        Command::Keys(_) | Command::Access(AccessCommand::Check(_)) => Ok(()),
    }
}

fn start_log(args: &LogArgs) -> Result<LogLevel, Failure> {
    logging::start(args.log_format, &args.log_level).map_err(|e| Failure::new(Exit::Usage, e))
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| Failure::new(Exit::Os, format!("the runtime cannot be started: {e}")))?.block_on(work)
}

/// Prints a line; a reader that has gone away (`| head`) ends the program quietly.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::new(Exit::Io, format!("the output cannot be written: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    print(&text.map_err(|e| Failure::new(Exit::Software, format!("the answer cannot be printed: {e}")))?)
}

/// Whether a person looks at the progress.
fn watched() -> bool {
    std::io::stderr().is_terminal()
}
