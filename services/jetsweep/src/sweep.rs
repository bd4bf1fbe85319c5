//! The sweep a command line asks for: a spec, or the short form without a file.

use std::io::Read;
use std::path::{Path, PathBuf};

use jetsweep_shared::spec::{
    self, LoadedSpec, MAX_SPEC_BYTES, ShortSpec, Source, SpecDocument, SpecReport, split_source,
};

use crate::app::App;
use crate::cli::SweepArgs;
use crate::failure::Failure;

/// What names standard input instead of a file.
const STDIN: &str = "-";

/// Where the bars of a symbol are when nothing says so.
const USUAL_SOURCE: &str = "{symbol}.csv";

/// A sweep, checked, and where its bars are.
#[derive(Debug)]
pub(crate) struct Sweep {
    /// The self-contained document and what it comes to.
    pub(crate) spec: LoadedSpec,
    /// Folder that its source is relative to.
    pub(crate) data_root: PathBuf,
}

/// What the sweep of a command line is called in messages: `sweep.toml`, `the sweep`.
pub(crate) fn name(args: &SweepArgs) -> String {
    args.spec.as_deref().map_or_else(|| "the sweep".to_owned(), spec_name)
}

/// What a spec is called in messages.
pub(crate) fn spec_name(path: &Path) -> String {
    if path.as_os_str() == STDIN { "the spec on standard input".to_owned() } else { path.display().to_string() }
}

/// Reads the sweep of a command line with everything it refers to, and checks it.
///
/// # Errors
///
/// Everything that is wrong with it. `doing` completes "failed to ".
pub(crate) fn load(args: &SweepArgs, app: &App, doing: &str) -> Result<Sweep, Failure> {
    let root = &app.config.data.root;
    let loaded = match &args.spec {
        Some(path) => load_spec(path, args.data.data.as_deref(), root, &args.execution.given().collect::<Vec<_>>()),
        None => load_short(args, root),
    };
    loaded.map_err(|report| Failure::spec(doing, report))
}

/// Reads a spec from a file, or from standard input (`-`), with `--data` and execution rules in place of its own.
///
/// # Errors
///
/// The report of everything that is wrong with it.
pub(crate) fn load_spec(
    path: &Path,
    data: Option<&str>,
    root: &Path,
    execution: &[(&'static str, f64)],
) -> Result<Sweep, SpecReport> {
    let (mut document, folder) = read(path)?;
    let mut data_root = root.to_owned();
    match data {
        Some(pattern) if pattern.contains("{symbol}") || !Source::is_file(pattern) => {
            let (folder, source) = split_source(pattern);
            document.set("data.source", &source);
            data_root = folder.unwrap_or(data_root);
        }
        Some(folder) => data_root = PathBuf::from(folder),
        None => {}
    }
    for (name, value) in execution {
        document.set(&format!("execution.{name}"), &value.to_string());
    }
    Ok(Sweep { spec: document.load(&folder)?, data_root })
}

fn read(path: &Path) -> Result<(SpecDocument, PathBuf), SpecReport> {
    if path.as_os_str() != STDIN {
        let read = spec::read_file(path);
        let document = read.map_err(|error| SpecReport::unreadable(&path.display().to_string(), &error))?;
        return Ok((document, path.parent().unwrap_or(Path::new("")).to_owned()));
    }
    const NAME: &str = "standard input";
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to know.
    let read = std::io::stdin().take(MAX_SPEC_BYTES as u64 + 1).read_to_end(&mut bytes);
    let document = read.map_err(spec::SpecError::from).and_then(|_| spec::read(&bytes));
    let document = document.map_err(|error| SpecReport::unreadable(NAME, &error))?;
    Ok((document.named(NAME), PathBuf::new()))
}

fn load_short(args: &SweepArgs, root: &Path) -> Result<Sweep, SpecReport> {
    let (data_root, source) = source(args.data.data.as_deref(), root);
    let execution = args.execution.given().map(|(name, value)| (name.to_owned(), value.to_string()));
    let short = ShortSpec {
        symbols: args.symbols.clone(),
        strategies: args.strategies.clone(),
        source,
        execution: execution.collect(),
        params: args.params.clone(),
        ..ShortSpec::default()
    };
    Ok(Sweep { spec: short.load(Path::new(""))?, data_root })
}

/// The folder the bars are under and the source below it, of a `--data` without a spec: a path with `{symbol}`, a
/// folder, or a file.
pub(crate) fn source(data: Option<&str>, root: &Path) -> (PathBuf, String) {
    let data = match data {
        None => USUAL_SOURCE.to_owned(),
        Some(folder) if root.join(folder).is_dir() => format!("{}/{USUAL_SOURCE}", folder.trim_end_matches('/')),
        Some(path) => path.to_owned(),
    };
    let (folder, source) = split_source(&data);
    (folder.unwrap_or_else(|| root.to_owned()), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "[data]\nsource = \"a/{symbol}.csv\"\n[universe]\nsymbols = [\"X\", \"Y\"]\n\
                        [execution]\ncash = 5\n[[strategy]]\ntemplate = \"sma_cross\"\n";

    #[test]
    fn data_is_a_pattern_a_folder_or_a_file() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("daily")).unwrap();
        let below = |data: Option<&str>| {
            let (folder, source) = source(data, root.path());
            assert_eq!(folder, root.path());
            source
        };
        assert_eq!(below(None), "{symbol}.csv");
        assert_eq!(below(Some("daily/")), "daily/{symbol}.csv");
        assert_eq!(below(Some("x/{symbol}_1h.csv")), "x/{symbol}_1h.csv");
        assert_eq!(below(Some("AAPL.csv")), "AAPL.csv");
        assert_eq!(below(Some("store://daily/{symbol}.csv")), "store://daily/{symbol}.csv");
        let elsewhere = source(Some("/bars/{symbol}/1d.csv"), root.path());
        assert_eq!(elsewhere, (PathBuf::from("/bars"), "{symbol}/1d.csv".to_owned()));
    }

    #[test]
    fn flags_take_the_place_of_what_a_spec_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spec.toml");
        std::fs::write(&path, SPEC).unwrap();
        let load = |data, execution: &[(&'static str, f64)]| load_spec(&path, data, Path::new("."), execution).unwrap();

        let Sweep { spec, data_root } = load(None, &[]);
        assert_eq!((spec.resolved.data.source.as_str(), data_root), ("a/{symbol}.csv", PathBuf::from(".")));
        assert_eq!(spec.resolved.execution.cash, 5.0);

        let Sweep { spec, data_root } = load(Some("/bars"), &[("cash", 7.0), ("commission", 0.001)]);
        assert_eq!((spec.resolved.data.source.as_str(), data_root), ("a/{symbol}.csv", PathBuf::from("/bars")));
        assert_eq!((spec.resolved.execution.cash, spec.resolved.execution.commission), (7.0, 0.001));

        let url = "https://bars.example/1d/{symbol}.csv";
        let Sweep { spec, data_root } = load(Some(url), &[]);
        assert_eq!((spec.resolved.data.source.as_str(), data_root), (url, PathBuf::from(".")));

        let Sweep { spec, data_root } = load(Some("/bars/1d/{symbol}.csv"), &[]);
        assert_eq!((spec.resolved.data.source.as_str(), data_root), ("{symbol}.csv", PathBuf::from("/bars/1d")));
    }
}
