//! One module a command. A command returns what it has to say; it never prints its answer.

mod backtest;
mod bench;
mod cancel;
mod config;
mod data;
mod dead;
mod delete;
mod doctor;
mod export;
mod health;
mod lookahead;
mod mlflow;
mod pause;
mod query;
mod rebuild;
mod replay;
mod retry;
mod roles;
pub(crate) mod run;
pub(crate) mod run_job;
mod status;
mod strategies;
mod submit;
mod summary;
mod validate;
mod watch;

use crate::app::App;
use crate::cli::{Command, ConsolidatorCommand};
use crate::failure::{Failure, OrFail};
use crate::output::Report;

/// What a command comes to.
pub(crate) type Answer = Result<Box<dyn Report>, Failure>;

/// Does what the command line asks.
pub(crate) fn execute(command: Command, app: &App) -> Answer {
    match command {
        Command::Backtest(args) => wait_for(backtest::execute(*args, app)),
        Command::Strategies(args) => strategies::execute(args, app),
        Command::Validate(args) => wait_for(validate::execute(args, app)),
        Command::Lookahead(args) => wait_for(lookahead::execute(*args, app)),
        Command::Config(_) => config::execute(app),
        Command::RunJob { order } => run_job::execute(&order),
        Command::Run(args) => wait_for(run::execute(*args, app)),
        Command::Submit(args) => wait_for(submit::execute(*args, app)),
        Command::Status(args) => wait_for(status::execute(args, app)),
        Command::Watch(args) => wait_for(watch::execute(args, app)),
        Command::Cancel(args) => wait_for(cancel::execute(args, app)),
        Command::Pause(args) => wait_for(pause::pause(args, app)),
        Command::Resume(args) => wait_for(pause::resume(args, app)),
        Command::Retry(args) => wait_for(retry::execute(args, app)),
        Command::Delete(args) => wait_for(delete::execute(args, app)),
        Command::Prune(args) => wait_for(delete::prune(args, app)),
        Command::Dead(args) => wait_for(dead::execute(args.command, app)),
        Command::Replay(args) => wait_for(replay::execute(args, app)),
        Command::Data(args) => wait_for(data::execute(args.command, app)),
        Command::Query(args) => wait_for(query::execute(args, app)),
        Command::Export(args) => wait_for(export::execute(args, app)),
        Command::Summary(args) => wait_for(summary::execute(args, app)),
        Command::Planner(_) => wait_for(roles::planner(app)),
        Command::Worker(_) => wait_for(roles::worker(app)),
        Command::Consolidator(args) => match args.command {
            Some(ConsolidatorCommand::Rebuild(_)) => wait_for(rebuild::execute(app)),
            None => wait_for(roles::consolidator(app)),
        },
        Command::MlflowBridge(_) => wait_for(roles::mlflow_bridge(app)),
        Command::Mlflow(args) => wait_for(mlflow::execute(args, app)),
        Command::Doctor(_) => wait_for(doctor::execute(app)),
        Command::Health(args) => wait_for(health::execute(args, app)),
        Command::Bench(args) => bench::execute(&args, app),
    }
}

/// Runs a command that talks to others on a runtime of its own.
fn wait_for(command: impl Future<Output = Answer>) -> Answer {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .or_broken(|| "start the threads of the async runtime")?;
    let answer = runtime.block_on(command);
    // Nothing that is worth waiting for is left: a command that has an answer has stopped what it started.
    runtime.shutdown_background();
    answer
}
