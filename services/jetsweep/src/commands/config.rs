//! `jetsweep config`: the configuration in force and where each value came from.

use std::io::{self, Write};

use jetsweep_shared::config::Explained;

use crate::app::App;
use crate::commands::Answer;
use crate::output::{Align, Look, Report, Table};

/// Every value in force.
struct Values(Vec<Explained>);

pub(crate) fn execute(app: &App) -> Answer {
    Ok(Box::new(Values(app.config.explain())))
}

impl Report for Values {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let mut table = Table::new(look, [("key", Align::Left), ("value", Align::Left), ("from", Align::Left)]);
        for Explained { key, value, origin } in &self.0 {
            table.row([key.as_str(), value.as_deref().unwrap_or("-"), &origin.to_string()]);
        }
        writeln!(out, "{table}")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.0)?;
        Ok(())
    }
}
