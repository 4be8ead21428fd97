//! The life of a node: bind, drop privileges, open the store, serve, drain.
//!
//! The order is strict. Everything that may fail for want of rights happens first; nothing is
//! started before privileges are gone; names are answered from the last state on disk before any
//! source is asked; sources come last. A crash at any point leaves what the store has promised.

use std::{
    os::unix::fs::DirBuilderExt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use inventory::{ChangeSet, Keeper, Opened, State, source::Defaults};
use prometheus_client::registry::Registry;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{
        self, App, Gate,
        counts::Counts,
        peer::Token,
        serve::{Listener, serve as serve_http},
    },
    clock,
    config::{Config, problem::Problem, review::review},
    exit::{Exit, Failure},
    logging::LogLevel,
    logins::Logins,
    logs::Logs,
    metrics,
    names::{self, Names},
    status::Facts,
};

pub(crate) mod bind;
pub(crate) mod privileges;
mod progress;
mod signals;
pub(crate) mod sources;
pub(crate) mod task;

use bind::Bound;
use privileges::Rights;
use sources::{Folder, Sources};
use task::Ended;

/// Version of the program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long tasks may take to finish once the node stops; the API's own grace is within it.
const DRAIN: Duration = Duration::from_secs(10);

/// How a node is started.
pub(crate) struct Start {
    /// What the operator set.
    pub config: Config,
    /// The log's level.
    pub log: LogLevel,
    /// Whether root becomes `[node] user`.
    pub drop_privileges: bool,
    /// Whether a backup was put back into the data folder, so that the epoch must grow.
    pub restored: bool,
    /// Called once names are answered and every source has come to something.
    pub ready: Box<dyn FnOnce() + Send>,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// Why it could not start, or which of its parts ended.
pub(crate) fn run(start: Start) -> Result<(), Failure> {
    let found = review(&start.config);
    let errors: Vec<String> = found.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    if !errors.is_empty() {
        return Err(Failure::new(Exit::Config, "the configuration is wrong").with_details(errors));
    }
    found.iter().for_each(|warning: &Problem| tracing::warn!("{warning}"));
    let token = Token::read(start.config.admin.token_file.clone()).map_err(|e| Failure::new(Exit::Config, e))?;
    let data_dir = &start.config.node.data_dir;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(data_dir)
        .map_err(|e| Failure::new(Exit::CantCreate, format!("data_dir {} cannot be made: {e}", data_dir.display())))?;
    privileges::raise_open_files();
    let bound = bind::bind(&start.config)?;
    if start.drop_privileges {
        drop_privileges(&start.config)?;
    }
    // Instead of the threads that happen to free or take memory.
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::warn!(%error, "free memory goes back to the system late: its thread cannot be started");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("gatehouse")
        .on_thread_start(dns::service::answer_first)
        .build()
        .map_err(|e| Failure::new(Exit::Os, format!("threads cannot be started: {e}")))?;
    let socket = start.config.admin.socket.clone();
    let result = runtime.block_on(live(start, bound, Arc::new(token)));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // A socket file that nobody answers on would only confuse.
    let _ = std::fs::remove_file(socket);
    result
}

fn drop_privileges(config: &Config) -> Result<(), Failure> {
    let socket_folder = config.admin.socket.parent().filter(|folder| is_ours(folder));
    let folders: Vec<_> = [Some(config.node.data_dir.as_path()), socket_folder].into_iter().flatten().collect();
    match privileges::drop_privileges(&config.node.user, &folders)? {
        Rights::Unchanged => {}
        Rights::Became(user) => tracing::info!("root became {user}; CAP_NET_BIND_SERVICE is all that is left"),
        Rights::StillRoot(user) => tracing::warn!(
            "still root, without its capabilities, because user {user} does not exist; \
             `useradd --system {user}` and restart, or set [node] user"
        ),
    }
    Ok(())
}

/// A folder of the system, such as /run or /tmp, is never handed to anybody.
fn is_ours(folder: &std::path::Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().contains("gatehouse"))
}

/// Everything that happens inside the runtime.
async fn live(start: Start, bound: Bound, token: Arc<Token>) -> Result<(), Failure> {
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (gate, counts): (Gate, _) = (Arc::new(OnceLock::new()), Arc::new(Counts::default()));
    let mut signals =
        signals::Signals::new().map_err(|e| Failure::new(Exit::Os, format!("signals cannot be caught: {e}")))?;
    serve_api(&mut tasks, &gate, &counts, bound.control, bound.http, &shutdown)
        .map_err(|e| Failure::new(Exit::Os, format!("the API cannot be served: {e}")))?;
    let config = Arc::new(start.config);
    let opening = format!("opening the store in {}", config.node.data_dir.display());
    let opened = progress::shown(opening, open(&config, start.restored)).await?;
    let keeper = opened.keeper.clone();
    let unfilled = keeper.state().position().serial == 0;
    let names = match bound.names {
        Some(bound) => Some(bound.start(settings(&config), keeper.subscribe(), shutdown.clone(), &mut tasks)?),
        None => None,
    };
    let logins = match bound.logins {
        Some(bound) => Some(bound.start(&config.node.data_dir, &keeper, &shutdown, &mut tasks)?),
        None => None,
    };
    let logs = match bound.logs {
        Some(bound) => Some(start_logs(bound, &config, &keeper, &shutdown, &mut tasks).await?),
        None => None,
    };
    task::spawn(&mut tasks, "store", writer_lives(keeper.subscribe(), shutdown.clone()));
    let reload = Arc::new(Notify::new());
    let sources = Arc::new(Sources::default());
    let parts = Parts { sources, counts, log: start.log, token, unfilled, shutdown: shutdown.clone() };
    let app = assemble(&config, opened, (names, logins, logs), parts);
    follow_folder(&mut tasks, &config, &app, reload.clone(), &shutdown);
    let _ = gate.set(app.clone());
    let position = keeper.state().position();
    tracing::info!(epoch = position.epoch, serial = position.serial, "serving");
    signals::tell(&[sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status("serving")]);
    let (sources, ready) = (app.sources.clone(), start.ready);
    tokio::spawn(async move {
        progress::shown("reading the inventory for the first time".into(), sources.settled()).await;
        ready();
    });

    let ended = signals.until_end(&mut tasks, &app, || again(&app, &reload)).await;
    tracing::info!("stopping");
    signals::tell(&[sd_notify::NotifyState::Stopping, sd_notify::NotifyState::Status("draining")]);
    shutdown.cancel();
    drain(tasks).await;
    if let Some(logins) = &app.logins {
        logins.settle_decisions().await;
    }
    if tokio::time::timeout(DRAIN, keeper.close()).await.is_err() {
        tracing::warn!("the store was not closed within {} s; what was acknowledged is on disk", DRAIN.as_secs());
    }
    ended
}

/// Opens the store on a thread of its own: it may have much to read.
async fn open(config: &Arc<Config>, restored: bool) -> Result<Opened, Failure> {
    let dir = config.node.data_dir.clone();
    let product = config.product().cloned().unwrap_or_default();
    let review = move |_: &State, after: &State, set: &ChangeSet| names::review(&product, after, set);
    let open = if restored { Keeper::open_restored } else { Keeper::open };
    let open = tokio::task::spawn_blocking(move || open(&dir, Arc::new(review)));
    let opened = open.await.map_err(|e| Failure::new(Exit::Software, format!("opening the store failed: {e}")))?;
    let opened = opened.map_err(|e| Failure::new(Exit::Io, format!("the store cannot be opened: {e}")))?;
    if let Some(recovered) = &opened.recovered {
        tracing::warn!("the store has recovered: {recovered}");
    }
    Ok(opened)
}

/// Ends when the writer of the store is gone, for then nothing could be changed any more.
async fn writer_lives(mut states: watch::Receiver<Arc<State>>, shutdown: CancellationToken) -> Result<(), String> {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = states.changed() => changed.map_err(|_| "its writer has ended".to_owned())?,
        }
    }
}

fn settings(config: &Config) -> names::Settings {
    names::Settings {
        node: config.node.name.to_string(),
        region: config.node.region.to_string(),
        product: config.product().map(ToString::to_string),
        version: VERSION,
    }
}

async fn start_logs(
    bound: crate::logs::Bound,
    config: &Config,
    keeper: &Keeper,
    shutdown: &CancellationToken,
    tasks: &mut JoinSet<Ended>,
) -> Result<Logs, Failure> {
    let product = config.product().map(|product| product.as_str());
    bound.start(&config.node.name, product, &config.node.data_dir, keeper, shutdown, tasks).await
}

fn serve_api(
    tasks: &mut JoinSet<Ended>,
    gate: &Gate,
    counts: &Arc<Counts>,
    control: std::os::unix::net::UnixListener,
    http: Option<std::net::TcpListener>,
    shutdown: &CancellationToken,
) -> std::io::Result<()> {
    let router = api::router(gate.clone(), counts.clone());
    let control = Listener::Unix(tokio::net::UnixListener::from_std(control)?);
    task::spawn(tasks, "control socket", serve_http(control, router.clone(), counts.clone(), shutdown.clone()));
    if let Some(http) = http {
        let http = Listener::Tcp(tokio::net::TcpListener::from_std(http)?);
        task::spawn(tasks, "http", serve_http(http, router, counts.clone(), shutdown.clone()));
    }
    Ok(())
}

/// What the API shares that is there before the store is open.
struct Parts {
    sources: Arc<Sources>,
    counts: Arc<Counts>,
    log: LogLevel,
    token: Arc<Token>,
    unfilled: bool,
    shutdown: CancellationToken,
}

fn assemble(
    config: &Config,
    opened: Opened,
    (names, logins, logs): (Option<Names>, Option<Logins>, Option<Logs>),
    parts: Parts,
) -> Arc<App> {
    let facts = Facts {
        node: config.node.name.to_string(),
        region: config.node.region.to_string(),
        version: VERSION.into(),
        pid: std::process::id(),
        started_ms: clock::now_ms(),
        recovered: opened.recovered,
    };
    let keeper = opened.keeper;
    let Parts { sources, counts, log, token, unfilled, shutdown } = parts;
    let mut registry = Registry::default();
    metrics::register(&mut registry, &facts, keeper.clone(), sources.clone(), counts.clone());
    if let Some(names) = &names {
        names.register(&mut registry);
    }
    if let Some(logins) = &logins {
        logins.register(&mut registry);
    }
    if let Some(logs) = &logs {
        logs.register(&mut registry);
    }
    let product = config.product().cloned();
    Arc::new(App {
        config_file: config.file.clone(),
        facts,
        product,
        keeper,
        names,
        logins,
        logs,
        sources,
        log,
        unfilled: unfilled.into(),
        token,
        counts,
        metrics: registry,
        shutdown,
    })
}

fn follow_folder(
    tasks: &mut JoinSet<Ended>,
    config: &Config,
    app: &Arc<App>,
    reload: Arc<Notify>,
    shutdown: &CancellationToken,
) {
    let Some(inventory) = &config.inventory else { return };
    let Some(path) = inventory.path.clone() else { return };
    let defaults = Defaults { product: inventory.product.clone() };
    let index = app.sources.add(format!("folder {}", path.display()));
    let folder = Folder { index, path, defaults, every: Duration::from_secs(inventory.reread_s), reload };
    let follow = sources::follow(folder, app.keeper.clone(), app.sources.clone(), shutdown.clone());
    task::spawn(tasks, "inventory folder", follow);
}

/// SIGHUP: everything that is read from files is read again.
fn again(app: &App, reload: &Notify) {
    reload.notify_one();
    if let Err(e) = app.token.reload() {
        tracing::error!("the former token stays in force: {e}");
    }
    if let Some(names) = &app.names {
        names.reload();
    }
    if let Some(logins) = &app.logins {
        logins.reload();
    }
    if let Some(logs) = &app.logs {
        logs.reload(&app.config_file);
    }
}

/// Waits for the tasks to finish, as long as the grace period lasts.
async fn drain(mut tasks: JoinSet<Ended>) {
    let finish = async {
        while let Some(ended) = tasks.join_next().await {
            if !matches!(&ended, Ok(Ended { result: Ok(()), .. })) {
                tracing::warn!("while stopping: {}", task::failure(ended));
            }
        }
    };
    if tokio::time::timeout(DRAIN, finish).await.is_err() {
        tracing::warn!("not everything was finished within {} s", DRAIN.as_secs());
    }
}
