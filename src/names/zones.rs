//! Zone files on the command line: importing one as static records, serving one alone.

use std::path::Path;

use dns::{
    config::Config,
    name::Name,
    service::{Identity, Service},
    text,
    zonefile::{self, ZoneFile},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    args::{DnsImportZone, DnsServeZone},
    exit::{Exit, Failure},
    node::{VERSION, privileges::raise_open_files},
};

/// The largest zone file that is read, in octets.
const FILE_OCTETS_MAX: u64 = 1 << 30;

fn read(file: &Path, origin: Option<&str>) -> Result<ZoneFile, Failure> {
    let shown = file.display().to_string();
    let is_stdin = shown == "-";
    let text = if is_stdin { std::io::read_to_string(std::io::stdin()) } else { read_file(file) };
    let text = text.map_err(|e| Failure::new(Exit::NoInput, format!("{shown} cannot be read: {e}")))?;
    let origin = origin
        .map(Name::parse)
        .transpose()
        .map_err(|e| Failure::new(Exit::Usage, format!("--origin is no domain name: {e}")))?;
    let folder = if is_stdin { None } else { file.parent() };
    let parsed = zonefile::parse(&text, &shown, origin.as_ref(), folder).map_err(|faults| {
        let details = faults.iter().map(ToString::to_string).collect();
        Failure::new(Exit::Data, format!("{shown} is not a sound zone file")).with_details(details)
    })?;
    for warning in &parsed.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(parsed)
}

fn read_file(file: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(file)?.len();
    if length > FILE_OCTETS_MAX {
        return Err(std::io::Error::other(format!("it has {length} octets, more than {FILE_OCTETS_MAX}")));
    }
    std::fs::read_to_string(file)
}

fn plain(name: &[u8]) -> String {
    let shown = dns::name::display(name);
    shown.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(&shown).to_owned()
}

/// The records of a zone file as POST /v1/records takes them (`name`, `type`, `data`, `ttl`), with the
/// source that they are filed under (`zone:corp.example`).
///
/// # Errors
/// The faults of the file.
pub(crate) fn zone_records(args: &DnsImportZone) -> Result<(String, Vec<serde_json::Value>), Failure> {
    let zone = read(&args.file, args.origin.as_deref())?;
    let soa = zone.soa.rr(&zone.origin);
    let records = std::iter::once(&soa).chain(&zone.records).map(|rr| {
        serde_json::json!({
            "name": plain(&rr.owner),
            "type": text::type_name(rr.rtype),
            "data": text::show_rdata(rr.rtype, &rr.rdata),
            "ttl": rr.ttl,
        })
    });
    Ok((format!("zone:{}", plain(&zone.origin)), records.collect()))
}

/// `gatehouse dns serve-zone`: answers from one file until SIGTERM or SIGINT.
///
/// # Errors
/// What is wrong with the file, or which address cannot be had.
pub(crate) fn serve_zone(args: &DnsServeZone) -> Result<(), Failure> {
    let zone = read(&args.file, args.origin.as_deref())?;
    let config = Config { udp_workers: args.workers.into(), ..Config::on(args.listen.clone()) };
    let (origin, serial, count) = (zone.origin.clone(), zone.soa.serial, zone.records.len());
    raise_open_files();
    let bound = super::bind(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Os, format!("threads cannot be started: {e}")))?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let identity = Identity {
            node: "serve-zone".into(),
            region: String::new(),
            product: String::new(),
            version: format!("gatehouse {VERSION}"),
        };
        let addresses = bound.udp.addresses.clone();
        let service = Service::start_zone(bound.udp, &config, &identity, zone)
            .map_err(|e| Failure::new(Exit::Os, e.to_string()))?;
        let names = super::serve_streams(&config, service, addresses.clone(), bound.streams, &shutdown, &mut tasks)?;
        println!("serving {origin} serial {serial}, {count} records, on {addresses:?} over UDP and TCP");
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|e| Failure::new(Exit::Os, format!("signals cannot be caught: {e}")))?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        names.0.service.stop();
        shutdown.cancel();
        while tasks.join_next().await.is_some() {}
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_the_last_dot() {
        assert_eq!(plain(&Name::parse("a.b.").unwrap()), "a.b");
        assert_eq!(plain(&Name::root()), ".");
    }
}
