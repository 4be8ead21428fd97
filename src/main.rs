//! gatehouse: names for every instance of a region. This crate is wiring only: the command line,
//! configuration, start and drain of the node, control socket and HTTP API. What is decided is
//! decided in `inventory`, `dns` and `directory`.

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

mod api;
mod args;
mod cli;
mod clock;
mod config;
mod exit;
mod instance;
mod logging;
mod logins;
mod logs;
mod metrics;
mod names;
mod node;
mod quickstart;
mod status;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Logins wait for these two: nothing is set up for them, not even the definition of the other commands.
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(args) = args::Keys::at_login(&words) {
        return instance::keys(&args);
    }
    if let Some(args) = args::AccessCheck::at_login(&words) {
        return instance::check(&args);
    }
    let args = args::Args::try_parse_from(words).unwrap_or_else(|e| {
        // clap prints to the right stream; sysexits(3) wants 64 for wrong usage.
        let _ = e.print();
        std::process::exit(if e.use_stderr() { exit::Exit::Usage as i32 } else { 0 });
    });
    // What the short way did not take is no less a decision.
    match &args.command {
        args::Command::Keys(args) => return instance::keys(args),
        args::Command::Access(args::AccessCommand::Check(args)) => return instance::check(args),
        _ => {}
    }
    match cli::run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Without a sentence the output has said it already.
            if !failure.sentence.is_empty() {
                eprintln!("gatehouse: {failure}");
            }
            failure.exit.into()
        }
    }
}
