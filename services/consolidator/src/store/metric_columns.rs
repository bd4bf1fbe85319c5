//! Columns of metrics, which three tables have.

use std::sync::Arc;

use duckdb::arrow::array::{ArrayRef, Float64Builder, Int64Builder};
use indexmap::IndexMap;
use jetsweep_engine::metrics::{Kind, Metric};

/// Counts above this are not whole numbers any more when held as a double.
const LARGEST_COUNT: f64 = 9_007_199_254_740_992.0;

/// Values by metric name, as events have them.
pub(super) type Values = IndexMap<String, Vec<Option<f64>>>;

/// A column of one metric.
#[derive(Debug)]
enum MetricColumn {
    Count(Int64Builder),
    Number(Float64Builder),
}

/// A column for every metric, in the tables' order.
#[derive(Debug)]
pub(super) struct MetricColumns {
    columns: Vec<MetricColumn>,
}

impl Default for MetricColumns {
    fn default() -> Self {
        let column = |metric: &Metric| match metric.kind() {
            Kind::Count => MetricColumn::Count(Int64Builder::new()),
            Kind::Ratio | Kind::Money => MetricColumn::Number(Float64Builder::new()),
        };
        Self { columns: Metric::ALL.iter().map(column).collect() }
    }
}

impl MetricColumns {
    /// Adds a row for each of `rows`: the values at that index, or none that is defined.
    pub(super) fn push(&mut self, values: &Values, rows: impl Iterator<Item = Option<usize>> + Clone) {
        for (metric, column) in Metric::ALL.iter().zip(&mut self.columns) {
            let values = values.get(metric.name());
            for row in rows.clone() {
                let value = values.zip(row).and_then(|(values, row)| values[row]);
                column.push(value.filter(|value| value.is_finite()));
            }
        }
    }

    /// The columns; no rows remain.
    pub(super) fn finish(&mut self) -> impl Iterator<Item = ArrayRef> + '_ {
        self.columns.iter_mut().map(|column| -> ArrayRef {
            match column {
                MetricColumn::Count(column) => Arc::new(column.finish()),
                MetricColumn::Number(column) => Arc::new(column.finish()),
            }
        })
    }
}

impl MetricColumn {
    fn push(&mut self, value: Option<f64>) {
        match self {
            Self::Count(column) => column.append_option(value.map(|count| count as i64)),
            Self::Number(column) => column.append_option(value),
        }
    }
}

/// Counts are stored as whole numbers: a value that is none would be changed silently.
pub(super) fn check_counts(values: &Values) -> Result<(), String> {
    for metric in Metric::ALL.iter().filter(|metric| metric.kind() == Kind::Count) {
        let Some(values) = values.get(metric.name()) else { continue };
        let is_count = |value: &f64| value.fract() == 0.0 && value.abs() <= LARGEST_COUNT;
        if let Some(value) = values.iter().flatten().find(|value| !is_count(value)) {
            return Err(format!("{} of a run is {value}, which is no count", metric.name()));
        }
    }
    Ok(())
}
