//! From the command line to the exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use jetsweep_shared::config::{Config, Origin, Sources};
use jetsweep_shared::telemetry::{self, Traces};

use crate::cli::{Cli, Command, VERSION};
use crate::commands::{self, Answer};
use crate::exit::Exit;
use crate::failure::{Failure, OrFail};
use crate::output::{self, Format};
use crate::progress::Stderr;

/// What commands need to know beside their own arguments.
#[derive(Debug)]
pub(crate) struct App {
    /// The configuration in force.
    pub(crate) config: Config,
    /// How the answer will be written, for commands that also show progress.
    pub(crate) format: Format,
}

/// What is logged by commands that have an answer; the answer says the rest.
const QUIET_LOG: &str = "warn";

/// Runs the program with these arguments.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error, &args).into(),
    };
    let format = cli.global.output;
    let mut traces = None;
    let answer = execute(cli, &mut traces).and_then(|report| {
        output::print(report.as_ref(), format).or_broken(|| "write to standard output")?;
        Ok(report.exit())
    });
    let exit = answer.unwrap_or_else(|failure| {
        tell(&failure, format);
        failure.exit
    });
    // Nobody waits for an answer meanwhile.
    if let Some(traces) = traces {
        traces.stop();
    }
    exit.into()
}

/// Does what the command line asks, and puts what traces it, if it is traced, into `traces`, to be stopped afterwards.
fn execute(cli: Cli, traces: &mut Option<Traces>) -> Answer {
    // A worker's child: its parent hands it all it needs, and its configuration may not be ours.
    if let Command::RunJob { order } = &cli.command {
        return commands::run_job::execute(order);
    }
    let mut overrides = cli.command.overrides();
    cli.global.set(&mut overrides);
    let sources = Sources::of_process(cli.global.config.clone(), overrides);
    let config = Config::load(&sources).or_bad_input(|| "read the configuration")?;

    let mut log = config.log.clone();
    if !cli.command.serves() && config.origin("log.filter") == Origin::Default {
        log.filter = QUIET_LOG.to_owned();
    }
    if let Some(role) = cli.command.traced_as() {
        *traces = Traces::start(&config, role, VERSION).or_broken(|| "set up traces")?;
    }
    telemetry::init_to(&log, traces.as_ref(), || Stderr).or_bad_input(|| "set up logs")?;

    let app = App { config, format: cli.global.output };
    commands::execute(cli.command, &app)
}

/// Says what is wrong with the arguments, or what was asked for with `--help` and `--version`.
fn refuse_arguments(error: &clap::Error, args: &[OsString]) -> Exit {
    if !error.use_stderr() {
        // Nobody is left to be told when the help cannot be written.
        let _ = error.print();
        return Exit::Done;
    }
    if wants_json(args) {
        let text = error.render().to_string();
        let message = text.trim().trim_start_matches("error: ").to_owned();
        tell(&Failure::bad_input("read the arguments", message), Format::Json);
    } else {
        let _ = error.print();
    }
    Exit::BadInput
}

/// Whether arguments that do not parse still ask for JSON.
fn wants_json(args: &[OsString]) -> bool {
    let follows = args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json");
    follows || args.iter().any(|arg| arg == "--output=json")
}

fn tell(failure: &Failure, format: Format) {
    use std::io::Write;
    let report = match format {
        Format::Json => failure.to_json(),
        Format::Table | Format::Quiet => failure.to_text(),
    };
    // The exit code still tells when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{report}");
}
