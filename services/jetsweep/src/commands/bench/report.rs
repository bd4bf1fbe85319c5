//! What was measured.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::end_to_end::EndToEnd;
use super::workload::Workload;
use crate::output::number::{bytes, duration, grouped};
use crate::output::{Align, Look, Report, Table};

/// The pairs of one workload.
#[derive(Debug)]
pub(super) struct Measured {
    name: &'static str,
    description: &'static str,
    /// Seconds of the engine alone.
    pub(super) alone: Vec<f64>,
    pub(super) end_to_end: Vec<EndToEnd>,
}

impl Measured {
    pub(super) fn new(workload: &Workload) -> Self {
        let Workload { name, description, .. } = workload;
        Self { name, description, alone: Vec::new(), end_to_end: Vec::new() }
    }
}

/// All workloads. The JSON is documented in `docs/json.md`.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct BenchReport {
    slots: usize,
    symbols: usize,
    workloads: Vec<Row>,
}

/// The medians of one workload. Times are in seconds.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    name: &'static str,
    description: &'static str,
    runs: u64,
    pairs: usize,
    /// Reading bars and computing every run in a plain loop.
    engine_seconds: f64,
    /// From submitting the spec to the last committed row.
    end_to_end_seconds: f64,
    /// The median of `end_to_end_seconds / engine_seconds` over the pairs.
    ratio: f64,
    engine_runs_per_second: f64,
    runs_per_second: f64,
    /// All of `jetsweep run`.
    wall_seconds: f64,
    stages: StageMedians,
    /// The most of all pairs: jetsweep and nats-server together.
    peak_memory_bytes: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct StageMedians {
    prepare: f64,
    start: f64,
    run: f64,
    finish: f64,
    /// Added up over the slots.
    load: f64,
    /// Added up over the slots.
    compute: f64,
}

impl BenchReport {
    pub(super) fn new(slots: usize, symbols: usize, measured: Vec<Measured>) -> Self {
        Self { slots, symbols, workloads: measured.iter().map(Row::new).collect() }
    }
}

impl Row {
    fn new(measured: &Measured) -> Self {
        let Measured { name, description, alone, end_to_end } = measured;
        let runs = end_to_end.first().map_or(0, |first| first.total);
        let of = |value: fn(&EndToEnd) -> f64| median(end_to_end.iter().map(value));
        let engine_seconds = median(alone.iter().copied());
        let end_to_end_seconds = of(|one| one.stages.run);
        Self {
            name,
            description,
            runs,
            pairs: alone.len(),
            engine_seconds,
            end_to_end_seconds,
            ratio: median(alone.iter().zip(end_to_end).map(|(alone, both)| both.stages.run / alone)),
            engine_runs_per_second: runs as f64 / engine_seconds,
            runs_per_second: runs as f64 / end_to_end_seconds,
            wall_seconds: of(|one| one.wall_seconds),
            stages: StageMedians {
                prepare: of(|one| one.stages.prepare),
                start: of(|one| one.stages.start),
                run: end_to_end_seconds,
                finish: of(|one| one.stages.finish),
                load: of(|one| one.worker.load),
                compute: of(|one| one.worker.compute),
            },
            peak_memory_bytes: end_to_end.iter().map(|one| one.peak_memory_bytes).max().unwrap_or(0),
        }
    }
}

/// The middle value; the mean of the two middle ones of an even number. 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle.wrapping_sub(1)), values.get(middle)) {
        (Some(low), Some(high)) if values.len().is_multiple_of(2) => (low + high) / 2.0,
        (_, Some(high)) => *high,
        _ => 0.0,
    }
}

impl Report for BenchReport {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let columns = [
            ("", Align::Left),
            ("runs", Align::Right),
            ("engine alone", Align::Right),
            ("end to end", Align::Right),
            ("ratio", Align::Right),
            ("runs/s", Align::Right),
            ("peak memory", Align::Right),
        ];
        let time = |seconds: f64| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let mut table = Table::new(look, columns);
        for row in &self.workloads {
            table.row([
                row.name.to_owned(),
                grouped(row.runs),
                time(row.engine_seconds),
                time(row.end_to_end_seconds),
                format!("{:.2}", row.ratio),
                grouped(row.runs_per_second as u64),
                bytes(row.peak_memory_bytes),
            ]);
        }
        writeln!(out, "{table}")?;
        writeln!(out)?;
        for Row { name, description, pairs, wall_seconds, stages, .. } in &self.workloads {
            let StageMedians { prepare, start, run, finish, load, compute } = stages;
            writeln!(out, "{name}: {description}, medians of {pairs} pairs")?;
            let [prepare, start, run, finish] = [prepare, start, run, finish].map(|seconds| time(*seconds));
            let stages = format!("prepare {prepare}, start {start}, run {run}, finish {finish}");
            writeln!(out, "  wall time {} ({stages})", time(*wall_seconds))?;
            writeln!(out, "  worker time: compute {}, load {} over {} slots", time(*compute), time(*load), self.slots)?;
        }
        writeln!(out)?;
        writeln!(out, "engine alone: reading bars and computing every run in a plain loop on {} threads", self.slots)?;
        writeln!(out, "end to end: from submitting the spec to the last row committed to DuckDB")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.workloads
            .iter()
            .try_for_each(|row| writeln!(out, "{}\t{:.0}\t{:.3}", row.name, row.runs_per_second, row.ratio))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
