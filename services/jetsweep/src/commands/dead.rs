//! `jetsweep dead`: jobs and messages that were given up on.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures::StreamExt;
use jetsweep_shared::disguise;
use jetsweep_shared::events::headers;
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{DeadJob, Names, ResultSubject};
use jiff::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::batches;
use crate::cli::DeadCommand;
use crate::commands::{Answer, retry};
use crate::failure::{Failure, OrFail};
use crate::output::number::grouped;
use crate::output::{Align, Look, Report, Table};
use crate::services::Services;
use crate::source::Results;

/// Longest wait for the next of the messages that are there.
const SILENCE: Duration = Duration::from_secs(10);

/// Headers that told the server what to do with a message; they mean nothing when it is published again.
const SERVER_HEADERS: &str = "Nats-";

pub(crate) async fn execute(command: DeadCommand, app: &App) -> Answer {
    match command {
        DeadCommand::List { batch, .. } => {
            const DOING: &str = "list what was given up on";
            let batch = batch.map(|batch| batches::id(&batch, DOING)).transpose()?;
            let dead = Dead::open(app, DOING).await?;
            Ok(Box::new(Letters(dead.all(batch.as_ref()).await?)))
        }
        DeadCommand::Show { number, .. } => {
            let dead = Dead::open(app, "show what was given up on").await?;
            Ok(Box::new(Whole(dead.letter(number).await?)))
        }
        DeadCommand::Retry { numbers, .. } => Dead::open(app, "retry what was given up on").await?.retry(numbers).await,
        DeadCommand::Drop { numbers, all, .. } => {
            let dead = Dead::open(app, "remove what was given up on").await?;
            dead.remove(numbers, all).await
        }
    }
}

/// The stream of what was given up on.
struct Dead {
    services: Services,
    stream: Stream,
    doing: &'static str,
}

/// A message given up on.
#[derive(Debug, Clone, Serialize)]
struct Letter {
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<BatchId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u32>,
    code: String,
    error: String,
    /// Subject it first had, as whoever gave up on it says.
    origin: String,
    /// Subject it is kept under.
    #[serde(skip)]
    subject: String,
    given_up_at: Timestamp,
    bytes: usize,
    #[serde(skip)]
    headers: HeaderMap,
    #[serde(skip)]
    payload: Bytes,
}

impl Dead {
    async fn open(app: &App, doing: &'static str) -> Result<Self, Failure> {
        let services = Services::need(app, doing).await?;
        let stream = services.bus.jetstream.get_stream(services.bus.names.dead_stream()).await.or_broken(|| doing)?;
        Ok(Self { services, stream, doing })
    }

    fn names(&self) -> &Names {
        &self.services.bus.names
    }

    /// All letters, or those of a batch, oldest first.
    async fn all(&self, batch: Option<&BatchId>) -> Result<Vec<Letter>, Failure> {
        let doing = self.doing;
        let config = pull::OrderedConfig {
            filter_subject: batch.map(|batch| self.names().dead_of_batch(batch)).unwrap_or_default(),
            deliver_policy: DeliverPolicy::All,
            ..Default::default()
        };
        let consumer = self.stream.create_consumer(config).await.or_broken(|| doing)?;
        let mut left = consumer.cached_info().num_pending;
        let mut messages = consumer.messages().await.or_broken(|| doing)?;
        let mut letters = Vec::new();
        while left > 0 {
            let next = tokio::time::timeout(SILENCE, messages.next()).await;
            let Ok(Some(message)) = next else {
                let cause = anyhow::anyhow!("the server fell silent after {} messages", letters.len());
                return Err(Failure::broken(doing, cause));
            };
            let message = message.or_broken(|| doing)?;
            let (number, at) = {
                let info = message.info().map_err(|error| Failure::broken(doing, anyhow::anyhow!(error)))?;
                left = info.pending;
                (info.stream_sequence, info.published)
            };
            let (message, _) = message.split();
            let headers = message.headers.unwrap_or_default();
            letters.push(self.read(number, &message.subject, headers, message.payload, at.unix_timestamp_nanos()));
        }
        Ok(letters)
    }

    /// One letter.
    async fn letter(&self, number: u64) -> Result<Letter, Failure> {
        use async_nats::jetstream::stream::RawMessageErrorKind;
        match self.stream.get_raw_message(number).await {
            Ok(message) => {
                let at = message.time.unix_timestamp_nanos();
                Ok(self.read(message.sequence, &message.subject, message.headers, message.payload, at))
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                Err(Failure::bad_input(self.doing, format!("there is no message {number}"))
                    .hint("`jetsweep dead list` shows those there are"))
            }
            Err(error) => Err(Failure::broken(self.doing, error)),
        }
    }

    fn read(&self, number: u64, subject: &str, headers: HeaderMap, payload: Bytes, at_nanos: i128) -> Letter {
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        let job = self.names().parse_dead_job(subject);
        let (batch_id, generation, shard) = match job {
            Some(DeadJob { batch, generation, shard }) => (Some(batch), Some(generation), Some(shard)),
            None => (self.names().parse_plan(&header(headers::ORIGIN)).map(|plan| plan.batch), None, None),
        };
        Letter {
            number,
            batch_id,
            generation,
            shard,
            code: header(headers::ERROR_CODE),
            error: header(headers::ERROR),
            origin: header(headers::ORIGIN),
            subject: subject.to_owned(),
            given_up_at: Timestamp::from_nanosecond(at_nanos).unwrap_or_default(),
            bytes: payload.len(),
            headers,
            payload,
        }
    }

    /// Retries jobs batch by batch; publishes what else there is where it first was. What was taken is removed.
    async fn retry(&self, numbers: Vec<u64>) -> Answer {
        let mut of_batches: BTreeMap<BatchId, Vec<Letter>> = BTreeMap::new();
        let mut others = Vec::new();
        for number in numbers {
            let letter = self.letter(number).await?;
            match (&letter.batch_id, letter.shard) {
                (Some(batch), Some(_)) => of_batches.entry(batch.clone()).or_default().push(letter),
                _ => others.push(letter),
            }
        }
        for letter in &others {
            may_be_published_again(self.names(), letter).map_err(|cause| {
                let number = letter.number;
                Failure::bad_input(self.doing, format!("message {number} cannot be put back: {cause}")).hint(format!(
                    "look at it with `jetsweep dead show {number}`; `jetsweep dead drop {number}` removes it"
                ))
            })?;
        }
        let mut done = Vec::new();
        for (batch, letters) in of_batches {
            let sql = dead_runs_sql(&batch, &letters);
            let runs = retry::ranges(&Results::of(&self.services), &sql, self.doing).await?;
            // Nothing is left to retry of what a later generation has run since.
            if !runs.is_empty() {
                retry::ask(&self.services, &batch, runs, self.doing).await?;
            }
            for letter in letters {
                self.delete(letter.number).await?;
                done.push(letter.number);
            }
        }
        for letter in others {
            self.publish_again(&letter).await?;
            self.delete(letter.number).await?;
            done.push(letter.number);
        }
        Ok(Box::new(Handled { numbers: done, how: "retried" }))
    }

    async fn publish_again(&self, letter: &Letter) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        for (name, values) in letter.headers.iter() {
            let text = name.to_string();
            let is_kept = !text.starts_with(SERVER_HEADERS)
                && ![headers::ERROR, headers::ERROR_CODE, headers::ORIGIN].contains(&text.as_str());
            if is_kept {
                values.iter().for_each(|value| headers.append(name.clone(), value.clone()));
            }
        }
        let published = self.services.bus.publish_with_headers(&letter.origin, headers, letter.payload.clone()).await;
        published.map(drop).or_broken(|| self.doing)
    }

    async fn remove(&self, numbers: Vec<u64>, all: bool) -> Answer {
        if all {
            let letters = self.all(None).await?;
            self.stream.purge().await.or_broken(|| self.doing)?;
            let numbers = letters.into_iter().map(|letter| letter.number).collect();
            return Ok(Box::new(Handled { numbers, how: "removed" }));
        }
        for number in &numbers {
            self.letter(*number).await?;
            self.delete(*number).await?;
        }
        Ok(Box::new(Handled { numbers, how: "removed" }))
    }

    async fn delete(&self, number: u64) -> Result<(), Failure> {
        self.stream.delete_message(number).await.map(drop).or_broken(|| self.doing)
    }
}

/// Whether a letter that is of no job may go back to where it says it was, which is done with an operator's permissions.
/// Workers write letters, too, and one that is taken over may say anything in them: what is put back is a plan, as the planner
/// keeps it, or a result, which workers may publish anyway.
///
/// # Errors
///
/// In words, if it may not.
fn may_be_published_again(names: &Names, letter: &Letter) -> Result<(), String> {
    let Letter { origin, subject, .. } = letter;
    if disguise::is_answer(Some(&letter.headers)) {
        return Err(disguise::REFUSED.to_owned());
    }
    if names.parse_plan(origin).is_some_and(|plan| *subject == names.dead_plan(&plan.batch)) {
        return Ok(());
    }
    let is_of_results = names.parse_dead_message(subject).is_some_and(|(stream, _)| stream == names.results_stream());
    match names.parse_result(origin) {
        Some(ResultSubject::Shard { .. }) if is_of_results => Ok(()),
        Some(ResultSubject::Event { event, .. }) => {
            Err(format!("it says that it was at {origin}, and `{event}` is an event that services alone may publish"))
        }
        _ => Err(format!("it says that it was at {origin:?}, which does not agree with where it is kept, {subject}")),
    }
}

/// A query for the runs of dead jobs that are dead still.
fn dead_runs_sql(batch: &BatchId, letters: &[Letter]) -> String {
    let shards = letters.iter().filter_map(|letter| Some(format!("({}, {})", letter.generation?, letter.shard?)));
    format!(
        "SELECT run FROM backtest_results r
         WHERE batch_id = '{batch}' AND status = 'dead' AND EXISTS (
             SELECT 1 FROM shards s WHERE s.batch_id = '{batch}' AND (s.generation, s.shard) IN ({})
                 AND r.run >= s.run_start AND r.run < s.run_start + s.run_count)",
        shards.collect::<Vec<_>>().join(", ")
    )
}

/// Letters in short.
struct Letters(Vec<Letter>);

impl Report for Letters {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        if self.0.is_empty() {
            return writeln!(out, "nothing was given up on");
        }
        let columns = [
            ("number", Align::Right),
            ("batch", Align::Left),
            ("shard", Align::Right),
            ("code", Align::Left),
            ("error", Align::Left),
            ("given up", Align::Left),
        ];
        let mut table = Table::new(look, columns);
        for letter in &self.0 {
            let shard = match (letter.generation, letter.shard) {
                (Some(generation), Some(shard)) => format!("{generation}.{shard}"),
                _ => "-".to_owned(),
            };
            table.row([
                letter.number.to_string(),
                letter.batch_id.as_ref().map_or("-", BatchId::as_str).to_owned(),
                shard,
                letter.code.clone(),
                letter.error.clone(),
                format!("{:.0}", letter.given_up_at),
            ]);
        }
        writeln!(out, "{table}")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.0)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|letter| writeln!(out, "{}", letter.number))
    }
}

/// A letter with its payload.
struct Whole(Letter);

#[derive(Serialize)]
struct WholeJson<'a> {
    letter: &'a Letter,
    /// As text; what is no UTF-8 is replaced.
    payload: std::borrow::Cow<'a, str>,
}

impl Report for Whole {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let letter = &self.0;
        writeln!(out, "{} {}", look.bold(&format!("message {}", letter.number)), letter.code)?;
        writeln!(out, "{}", letter.error)?;
        writeln!(out, "given up {:.0}, was {}", letter.given_up_at, letter.origin)?;
        writeln!(out, "{} bytes:\n{}", grouped(letter.bytes as u64), String::from_utf8_lossy(&letter.payload))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let payload = String::from_utf8_lossy(&self.0.payload);
        serde_json::to_writer_pretty(out, &WholeJson { letter: &self.0, payload })?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.0.payload)
    }
}

/// Letters that are gone.
#[derive(Serialize)]
struct Handled {
    numbers: Vec<u64>,
    #[serde(skip)]
    how: &'static str,
}

impl Report for Handled {
    fn human(&self, out: &mut dyn Write, _look: Look) -> io::Result<()> {
        self.numbers.iter().try_for_each(|number| writeln!(out, "message {number} {}", self.how))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.numbers.iter().try_for_each(|number| writeln!(out, "{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(subject: &str, origin: &str) -> Letter {
        Letter {
            number: 1,
            batch_id: None,
            generation: None,
            shard: None,
            code: String::new(),
            error: String::new(),
            origin: format!("jetsweep.{origin}"),
            subject: format!("jetsweep.dead.v1.{subject}"),
            given_up_at: Timestamp::UNIX_EPOCH,
            bytes: 0,
            headers: HeaderMap::new(),
            payload: Bytes::new(),
        }
    }

    #[test]
    fn a_letter_goes_back_only_to_where_letters_of_its_kind_come_from() {
        let names = Names::default();
        let may = |letter: &Letter| may_be_published_again(&names, letter);
        let of_results = "malformed.JETSWEEP_RESULTS.7";
        for (subject, origin) in
            [("b.plan", "plans.v1.b"), ("b.plan", "plans.v1.b.2"), (of_results, "results.v1.b.0.7")]
        {
            assert_eq!(may(&letter(subject, origin)), Ok(()), "{subject} {origin}");
        }
        for event in ["begin", "sealed", "cancelled", "deleted", "purged", "1.begin"] {
            let told = may(&letter(of_results, &format!("results.v1.b.{event}"))).unwrap_err();
            assert!(told.contains("services alone"), "{told}");
        }
        for (subject, origin) in [
            ("b.plan", "plans.v1.c"),
            (of_results, "plans.v1.b"),
            ("malformed.JETSWEEP_PLANS.7", "plans.v1.b"),
            ("malformed.JETSWEEP_JOBS.7", "jobs.v1.native.high.b.0.0"),
            ("malformed.JETSWEEP_JOBS.7", "results.v1.b.0.7"),
            ("b.plan", "results.v1.b.0.7"),
            (of_results, "results.v2.b.0.7"),
            (of_results, "planner.delete"),
        ] {
            let told = may(&letter(subject, origin)).unwrap_err();
            assert!(told.contains(origin) && told.contains(subject), "{told}");
        }
        let mut disguised = letter("b.plan", "plans.v1.b");
        disguised.headers.insert("Nats-Sequence", "1");
        assert_eq!(may(&disguised), Err(disguise::REFUSED.to_owned()));
    }
}
