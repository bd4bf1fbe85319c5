//! Runs of a batch are made, each once, and found again.

use std::collections::{BTreeSet, HashMap};

use jetsweep_shared::events::Begin;
use jetsweep_shared::ids::Symbol;

use super::{Context, Home, LogError, Logged};
use crate::client::{Attempts, CallError, FoundRun, NewRun, Tag};
use crate::names::{self, tag};

/// Creates a run in an experiment, exactly one: when the answer is lost it is looked for before it is created again.
pub(super) async fn create(
    context: &Context,
    home: &Home,
    new_run: impl Fn(String) -> NewRun,
    job_id: &str,
) -> Result<FoundRun, LogError> {
    let Context { mlflow, experiments, .. } = context;
    let mut attempts = Attempts::new();
    let mut is_refused = false;
    loop {
        let experiment = experiments.ensure(&home.name, &home.tags).await?;
        match mlflow.create_run(&new_run(experiment.clone())).await {
            Ok(created) => return Ok(created),
            Err(CallError::Ambiguous { words, retry_after }) => {
                tracing::debug!(job_id, words, "it is unknown whether a run was created, looking for it");
                let may_try = attempts.another(mlflow, retry_after).await;
                let found = mlflow.runs_with_tag(&[experiment], tag::JOB_ID, job_id).await?;
                if let Some(found) = found.into_iter().next() {
                    return Ok(found);
                }
                if !may_try {
                    return Err(LogError::NotNow(words));
                }
            }
            // Somebody may have deleted the experiment since it was seen.
            Err(CallError::Refused { .. }) if !is_refused => {
                is_refused = true;
                experiments.forget(&home.name);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) async fn create_batch_run(context: &Context, begin: &Begin) -> Result<FoundRun, LogError> {
    let home = Home { name: context.config.batches_experiment.clone(), tags: batches_tags() };
    let job_id = names::batch_job_id(&begin.batch_id);
    create(context, &home, |experiment| new_batch_run(begin, experiment), &job_id).await
}

/// Tags of the experiment of batch runs.
pub(crate) fn batches_tags() -> Vec<Tag> {
    vec![Tag::new("jetsweep", "batches"), Tag::new(tag::NOTE, "Sweeps, a run each, by jetsweep.")]
}

/// The batch runs of a batch: one, or more if a create that was given up came true after all.
pub(super) async fn find_batch_runs(context: &Context, begin: &Begin) -> Result<Vec<FoundRun>, LogError> {
    let experiments = context.experiments.find(&BTreeSet::from([context.config.batches_experiment.clone()])).await?;
    let job_id = names::batch_job_id(&begin.batch_id);
    Ok(context.mlflow.runs_with_tag(&experiments, tag::JOB_ID, &job_id).await?)
}

/// All runs of a batch but its batch run.
pub(super) async fn find_runs(context: &Context, begin: &Begin) -> Result<Vec<FoundRun>, LogError> {
    let Begin { spec, batch_id, .. } = begin;
    let asset_class = names::asset_class(spec);
    let name =
        |symbol: &str, strategy: &str| names::experiment(&context.config.experiment, asset_class, symbol, strategy);
    let names_of = |symbol: &'_ Symbol| {
        let strategies = spec.strategies.iter();
        strategies.map(|strategy| name(symbol.as_str(), &strategy.name)).collect::<Vec<_>>()
    };
    let experiments = context.experiments.find(&spec.symbols.iter().flat_map(names_of).collect()).await?;
    let found = context.mlflow.runs_with_tag(&experiments, tag::BATCH_ID, batch_id.as_str()).await?;
    Ok(found.into_iter().filter(|run| run.tag(tag::RUN).is_some()).collect())
}

/// One run of each number, of the last generation and complete if there is such a one; and the ids of the others.
pub(super) fn one_of_each(runs: Vec<FoundRun>) -> (HashMap<u64, Logged>, Vec<String>) {
    let mut kept: HashMap<u64, Logged> = HashMap::new();
    let mut doubles = Vec::new();
    let worth = |run: &Logged| (run.generation, run.is_complete);
    for run in &runs {
        let Some(number) = run.tag(tag::RUN).and_then(|number| number.parse().ok()) else { continue };
        let logged = Logged::from(run);
        match kept.get(&number) {
            Some(other) if worth(other) >= worth(&logged) => doubles.push(logged.run_id),
            _ => doubles.extend(kept.insert(number, logged).map(|other| other.run_id)),
        }
    }
    (kept, doubles)
}

fn new_batch_run(begin: &Begin, experiment: String) -> NewRun {
    let spec = &begin.spec;
    let note = format!(
        "Batch `{}` of the sweep **{}**: {} runs. It is running; its tables and charts come when it is complete.",
        begin.batch_id, spec.name, begin.total_runs
    );
    NewRun {
        experiment_id: experiment,
        run_name: begin.batch_id.to_string(),
        start_time: begin.created_at.as_millisecond(),
        tags: vec![
            Tag::new(tag::JOB_ID, names::batch_job_id(&begin.batch_id)),
            Tag::new(tag::BATCH_ID, begin.batch_id.as_str()),
            Tag::new("sweep", &spec.name),
            Tag::new("spec_digest", &begin.spec_digest),
            Tag::new("planner_version", &begin.planner_version),
            Tag::new("priority", begin.priority.as_str()),
            Tag::new("mlflow.source.name", "jetsweep"),
            Tag::new("mlflow.source.type", "JOB"),
            Tag::new("runs_filter", format!("tags.batch_id = '{}'", begin.batch_id)),
            Tag::new(tag::NOTE, note),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, run: u64, generation: u32, status: &str) -> FoundRun {
        let tags = vec![Tag::new(tag::RUN, run.to_string()), Tag::new(tag::GENERATION, generation.to_string())];
        FoundRun {
            run_id: id.to_owned(),
            experiment_id: "1".to_owned(),
            status: status.to_owned(),
            artifact_uri: String::new(),
            tags,
        }
    }

    #[test]
    fn of_two_runs_of_a_number_the_later_or_complete_one_stays() {
        let runs = vec![
            found("a", 1, 0, "RUNNING"),
            found("b", 1, 0, "FINISHED"),
            found("c", 1, 0, "FAILED"),
            found("d", 2, 0, "FINISHED"),
            found("e", 2, 1, "RUNNING"),
            found("f", 3, 0, "FAILED"),
        ];
        let (kept, doubles) = one_of_each(runs);
        let kept_of = |run| kept.get(&run).map(|run: &Logged| (run.run_id.as_str(), run.is_complete, run.has_failed));
        assert_eq!(kept_of(1), Some(("b", true, false)));
        assert_eq!(kept_of(2), Some(("e", false, false)));
        assert_eq!(kept_of(3), Some(("f", true, true)));
        assert_eq!(doubles, ["a", "c", "d"]);
    }
}
