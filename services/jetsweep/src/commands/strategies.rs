//! `jetsweep strategies`: the templates that come with it.

use std::io::{self, Write};

use jetsweep_engine::problem::did_you_mean;
use jetsweep_engine::template::{self, Template};

use crate::app::App;
use crate::cli::StrategiesArgs;
use crate::commands::Answer;
use crate::failure::Failure;
use crate::output::{Align, Look, Report, Table};

pub(crate) fn execute(args: StrategiesArgs, _app: &App) -> Answer {
    let Some(name) = args.name else { return Ok(Box::new(All(template::builtins()))) };
    match (template::builtin(&name), template::builtin_source(&name)) {
        (Some(template), Some(source)) => Ok(Box::new(One { template, source })),
        _ => Err(unknown(&name)),
    }
}

fn unknown(name: &str) -> Failure {
    let hint = did_you_mean(name, template::builtin_names());
    let cause = format!("there is no built-in strategy {name:?}{hint}");
    let names = template::builtin_names().collect::<Vec<_>>().join(", ");
    Failure::bad_input(format!("show strategy {name}"), cause).hint(format!("there are {names}"))
}

/// All built-in templates.
struct All(Vec<Template>);

impl Report for All {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let mut table = Table::new(
            look,
            [("strategy", Align::Left), ("parameters and defaults", Align::Left), ("what it does", Align::Left)],
        );
        for template in &self.0 {
            table.row([template.name(), &defaults(template), template.description()]);
        }
        writeln!(out, "{table}")?;
        writeln!(out, "`jetsweep strategies NAME` shows one in full; copy it to make your own.")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.0)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|template| writeln!(out, "{}", template.name()))
    }
}

fn defaults(template: &Template) -> String {
    let default = |(name, parameter): (&String, &template::Parameter)| format!("{name}={}", parameter.default);
    template.params().iter().map(default).collect::<Vec<_>>().join(" ")
}

/// One template, as the file it is.
struct One {
    template: Template,
    source: &'static str,
}

impl Report for One {
    fn human(&self, out: &mut dyn Write, _look: Look) -> io::Result<()> {
        write!(out, "{}", self.source)
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.template)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{}", self.source)
    }
}
