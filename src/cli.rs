//! The command line: one file a verb. Results go to standard output, logs to standard error.

mod check;
mod discover;
mod fetch;
mod history;
mod list;
mod renew;
mod run;
mod service;
mod show;
mod status;
mod survey;
mod sync;
mod verify;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::apart::Apart;
use crate::config::Config;
use crate::network;
use crate::platform;
use crate::problem::{Problem, printable};
use crate::telemetry::{self, Format, Level};

/// Sees to it that renewed TLS certificates are served, and tells the portal.
#[derive(Debug, Parser)]
#[command(
    name = "certhook",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 all is well; 1 something is not; 2 the command line or the configuration is wrong."
)]
struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", env = "CERTHOOK_CONFIG", default_value_os_t = platform::default_config(), hide_env_values = true)]
    config: PathBuf,
    /// How much is logged.
    #[arg(long, global = true, value_enum, value_name = "LEVEL")]
    log_level: Option<Level>,
    /// How log lines look; under systemd they go to the journal with their fields unless this is said.
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<Format>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the agent in the foreground (what the service starts).
    Run,
    /// One pass now: inspect, reload, verify, report. For hooks and cron.
    ///
    /// A running agent is asked for it; without one this command does it itself.
    Sync(sync::Arguments),
    /// Name every problem of the configuration and the host, each with its remedy.
    Check(check::Arguments),
    /// Print what the servers have as configuration.
    Discover(discover::Arguments),
    /// One line a site: its certificate, whether it is served and reported, what is wrong.
    Status(status::Arguments),
    /// Have the portal schedule the renewals that are due in the whole subscription.
    Renew(renew::Arguments),
    /// What happened, oldest first.
    History(history::Arguments),
    /// Shake hands now: the certificates on disk against those on the wire.
    Verify(verify::Arguments),
    /// The portal's certificates beside what this host has (one request).
    List(list::Arguments),
    /// Download what the portal has and this host lacks, in the layout of the portal's own client.
    ///
    /// A set is put in place only when it is whole and the portal's; a failure leaves the old one as it was.
    Fetch(fetch::Arguments),
    /// Make or remove the Windows service, or protect a password for it; elsewhere the package brings a service.
    Service(service::Arguments),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All is well.
    Well,
    /// Something is not.
    Unwell,
    /// The configuration is wrong.
    Wrong,
}

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Unwell => 1,
            Self::Wrong => 2,
        }
    }
}

impl From<bool> for Outcome {
    fn from(well: bool) -> Self {
        if well { Self::Well } else { Self::Unwell }
    }
}

/// The command line as `--help` tells it, for the manual and the completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|word| word == NETWORK) {
        return speak_to_the_network();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way too, with their own code.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    platform::forbid_core_dumps();
    // Before there is a second thread: each has a set of its own.
    platform::keep_capabilities_from_programs();
    platform::use_one_heap();
    match arguments.verb {
        // Before anything is logged: a service has another place for it.
        Verb::Run => platform::as_service(|| obey(arguments)),
        _ => ExitCode::from(obey(arguments)),
    }
}

/// Does what the command line says, to the exit code.
fn obey(arguments: Arguments) -> u8 {
    let quiet = if matches!(arguments.verb, Verb::Run) { Level::Info } else { Level::Error };
    telemetry::begin(arguments.log_level.unwrap_or(quiet), arguments.log_format);
    if let Verb::Service(options) = &arguments.verb {
        return service::run(&arguments.config, options).code();
    }
    let looks_only = matches!(arguments.verb, Verb::Discover(_) | Verb::Verify(_));
    let config = match Config::load(&arguments.config) {
        Err(mistakes)
            if looks_only && (is_none_yet(&arguments.config) || mistakes.say_nothing_is_configured()) =>
        {
            Ok(Config::of_this_host())
        }
        config => config,
    };
    let outcome = match config {
        Ok(config) => perform(arguments.verb, config),
        Err(mistakes) => match arguments.verb {
            Verb::Check(options) => check::mistaken(&options, &mistakes),
            Verb::Sync(options) if options.is_a_hint() && mistakes.say_nothing_is_configured() => {
                Outcome::Well
            }
            Verb::Run if mistakes.say_nothing_is_configured() => run::without_configuration(&mistakes),
            Verb::Status(options) if status::may_ask_outward(&arguments.config) => {
                in_runtime(async { status::outward(&options).await })
            }
            _ => {
                complain(&mistakes.to_string());
                Outcome::Wrong
            }
        },
    };
    outcome.code()
}

/// Nobody wrote a configuration: what only looks asks whichever server there is.
fn is_none_yet(path: &Path) -> bool {
    path == platform::default_config()
        && path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

fn perform(verb: Verb, config: Config) -> Outcome {
    in_runtime(async {
        match verb {
            Verb::Run => run::run(config).await,
            Verb::Sync(options) => sync::run(config, &options).await,
            Verb::Check(options) => check::run(&config, &options).await,
            Verb::Discover(options) => discover::run(&config, &options).await,
            Verb::Status(options) => status::run(&config, &options).await,
            Verb::Renew(options) => renew::run(&config, &options).await,
            Verb::History(options) => history::run(&config, &options),
            Verb::Verify(options) => verify::run(&config, &options).await,
            Verb::List(options) => list::run(&config, &options).await,
            Verb::Fetch(options) => fetch::run(&config, &options).await,
            // It needs no configuration, and was done without.
            Verb::Service(options) => Ok(service::run(&config.path, &options)),
        }
    })
}

/// The first word of the second process's command line: no verb, since no person types it.
const NETWORK: &str = "network";

/// The options of the second process.
#[derive(Debug, Parser)]
struct NetworkArguments {
    #[arg(long, value_enum, default_value_t = Level::Error)]
    log_level: Level,
    #[arg(long, value_enum)]
    log_format: Option<Format>,
}

fn speak_to_the_network() -> ExitCode {
    platform::forbid_core_dumps();
    platform::use_one_heap();
    let arguments = NetworkArguments::parse_from(std::env::args_os().skip(1));
    telemetry::begin(arguments.log_level, arguments.log_format);
    match network::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            complain(&problem.to_string());
            ExitCode::FAILURE
        }
    }
}

/// The process that speaks to the network for this one. The agent always has one. A command has one where it has rights
/// that its user has not, as in a unit; by hand, as root, it does all itself.
fn second_process(is_agent: bool) -> std::result::Result<Option<Apart>, Problem> {
    if !is_agent && !platform::has_lent_rights() {
        return Ok(None);
    }
    let arguments: Vec<String> = std::iter::once(NETWORK.to_owned()).chain(telemetry::arguments()).collect();
    Apart::start(&arguments)
}

/// Threads for what waits for a disk, a lock or another program. None of these can use up all: 4 looks at files and 16
/// that hang (daemon/hanging.rs), 8 lookups of names (probe/connect.rs), one thread each for notes, records, what
/// follows a record, and pruning, 3 of metrics and alerts, and up to 4 for each server. What is beyond that, such as
/// files that just changed, waits for a thread.
const MOST_BLOCKING_THREADS: usize = 64;

fn in_runtime(work: impl Future<Output = Result>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(MOST_BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("the runtime cannot be started: {error}"));
            return Outcome::Unwell;
        }
    };
    let outcome = runtime.block_on(work);
    // A file read that hangs on a dead network file system must not keep the process.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|problem| {
        complain(&problem.to_string());
        Outcome::Unwell
    })
}

/// What a verb comes to.
type Result = std::result::Result<Outcome, Problem>;

/// Prints a result. Whoever reads may stop reading (`| head`).
fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn say_json(value: &impl serde::Serialize) {
    // Only maps with odd keys cannot become JSON, and there are none.
    say(&serde_json::to_string(value).unwrap_or_default());
}

/// Prints errors that end the command, a line each, tame whatever they repeat.
fn complain(text: &str) {
    for line in text.lines() {
        let _ = writeln!(std::io::stderr().lock(), "certhook: {}", printable(line, 2000));
    }
}
