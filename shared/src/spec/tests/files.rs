//! Specs that name other files, and the short form.

use std::path::Path;

use jetsweep_engine::grid::Axis;

use crate::spec::{LoadedSpec, ShortSpec, SpecReport, load, read, split_source};

const TEMPLATE: &str = "name = \"above\"\n[params]\nn = { default = 3, min = 1, max = 9 }\n[long]\n\
                        enter = \"close > sma(close, n)\"\nexit = \"close < sma(close, n)\"\n";
const SPEC: &str = "[data]\nsource = \"{symbol}.csv\"\n[universe]\nsymbols_file = \"lists/symbols.csv\"\n\
                    [[strategy]]\ntemplate = \"own/above.toml\"\nn = [2, 3]\n";

/// A folder with the files given.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

/// A report with the folder's path, which is another one each time, left out.
fn shown(report: SpecReport, folder: &Path) -> String {
    report.to_string().replace(&format!("{}/", folder.display()), "")
}

#[test]
fn files_are_put_in() {
    let symbols = "\u{feff}# liquid ones\nSymbol,Name\nAAPL,Apple\n\n\"SPY\",\"S&P, 500\"\nBRK.B # class B\n";
    let folder = folder(&[("spec.toml", SPEC), ("own/above.toml", TEMPLATE), ("lists/symbols.csv", symbols)]);
    let LoadedSpec { document, resolved } = load(&folder.path().join("spec.toml")).unwrap();
    assert_eq!(resolved.symbols.iter().map(|symbol| symbol.as_str()).collect::<Vec<_>>(), ["AAPL", "SPY", "BRK.B"]);
    assert_eq!(resolved.strategies[0].name, "above");
    // What is submitted needs no file, and comes to the same.
    let submitted = read(&document.to_json()).unwrap().resolve().unwrap();
    assert_eq!(submitted.digest(), resolved.digest());
}

#[test]
fn problems_in_files_are_told_where_they_are() {
    let symbols = "symbol\nAAPL\nBRK/B\n";
    let template = TEMPLATE.replace("< sma(close, n)", "< sma(close, q)");
    let spec = SPEC.replace("n = [2, 3]", "n = 10");
    let folder = folder(&[("spec.toml", &spec), ("own/above.toml", &template), ("lists/symbols.csv", symbols)]);
    let report = load(&folder.path().join("spec.toml")).unwrap_err();
    insta::assert_snapshot!(shown(report, folder.path()), @r#"
    spec.toml: 2 problems
      lists/symbols.csv:3: "BRK/B" is not a symbol (1 to 64 letters, digits, '.', '-', '_'; no '.' first, last or doubled)
      own/above.toml:6: long.exit: unknown name "q" (column 20)
          close < sma(close, q)
                             ^
    "#);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = folder(&[("spec.toml", &format!("nme = 1\n{SPEC}")), ("lists/symbols.csv", &"x\n".repeat(600_000))]);
    let report = load(&folder.path().join("spec.toml")).unwrap_err();
    insta::assert_snapshot!(shown(report, folder.path()), @r#"
    spec.toml: 3 problems
      spec.toml:1: nme: unknown key (did you mean "name"?)
      spec.toml:5: universe.symbols_file: the file "lists/symbols.csv" has 1200000 bytes, at most 1048576 are allowed
      spec.toml:7: strategy[0].template: the file "own/above.toml" cannot be read: No such file or directory (os error 2)
    "#);
    let report = load(&folder.path().join("none.toml")).unwrap_err();
    insta::assert_snapshot!(shown(report, folder.path()), @r"
    none.toml: 1 problem
      cannot be read: No such file or directory (os error 2)
    ");
    std::fs::write(folder.path().join("large.toml"), vec![b'#'; 2_000_000]).unwrap();
    let report = load(&folder.path().join("large.toml")).unwrap_err();
    insta::assert_snapshot!(shown(report, folder.path()), @r"
    large.toml: 1 problem
      has 2000000 bytes; a sweep spec has at most 1048576 (1 MiB): write long lists of values as ranges { from, to, step }, and split the universe into several sweeps
    ");
}

#[test]
fn the_examples_are_fine() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    for name in ["quickstart.toml", "large.toml"] {
        load(&examples.join(name)).unwrap_or_else(|report| panic!("{report}"));
    }
}

fn short(strategies: &[&str], params: &[&str]) -> ShortSpec {
    let texts = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect();
    ShortSpec {
        symbols: texts(&["AAPL", "SPY"]),
        strategies: texts(strategies),
        source: "dir/{symbol}.csv".to_owned(),
        execution: vec![("commission".to_owned(), "0.001".to_owned())],
        params: texts(params),
        ..ShortSpec::default()
    }
}

#[test]
fn the_short_form_is_the_same_document() {
    let folder = folder(&[("above.toml", TEMPLATE)]);
    let params = ["fast=5:15:5", "slow=50,100", "n=4", "period=7:9"];
    let spec = short(&["sma_cross", "rsi_reversion", "above.toml"], &params).load(folder.path()).unwrap().resolved;
    assert_eq!(spec.execution.commission, 0.001);
    let axis = |strategy: usize, name: &str| spec.strategies[strategy].grid.axes[name].clone();
    assert_eq!(axis(0, "fast"), Axis::Range { from: 5.0, to: 15.0, step: 5.0 });
    assert_eq!(axis(0, "slow"), Axis::List(vec![50.0, 100.0]));
    assert_eq!(axis(1, "period"), Axis::Range { from: 7.0, to: 9.0, step: 1.0 });
    assert_eq!(axis(2, "n"), Axis::Value(4.0));
    let defaults = short(&["sma_cross"], &[]).load(folder.path()).unwrap().resolved;
    assert_eq!(defaults.strategies[0].grid.raw_points(), 1);
}

#[test]
fn flags_that_do_not_fit() {
    let report = |spec: ShortSpec| spec.load(Path::new("")).unwrap_err().to_string();
    insta::assert_snapshot!(report(short(&["sma_cross", "ema_cross"], &["fst=3", "slow"])), @r#"
    the command line: 2 problems
      -p: "fst=3": no strategy named here has a parameter "fst" (did you mean "fast"?); they have fast, slow
      -p: "slow" is not a parameter with its values (name=10, name=10,20,30 or name=5:50:5)
    "#);
    insta::assert_snapshot!(report(short(&["sma_cros"], &["fast=3"])), @r#"
    the command line: 1 problem
      --strategies: "sma_cros" is not a built-in template (did you mean "sma_cross"?): those are sma_cross, ema_cross, triple_sma, sma_trend, adx_trend, trend_pullback, rsi_reversion, bollinger_reversion, zscore_reversion, stochastic_reversion, williams_r_reversion, cci_reversion, mfi_reversion, donchian_breakout, bollinger_breakout, atr_channel_breakout, volume_breakout, macd_cross, roc_momentum, skip_month_momentum, calm_momentum, volatility_squeeze, volatility_stop, low_volatility, buy_and_hold; one of your own is named by its file, as in "my.toml"
    "#);
    insta::assert_snapshot!(report(short(&["sma_cross"], &["fast=ten", "slow=1:2:3:4"])), @r#"
    the command line: 2 problems
      -p fast: must be a number, a list of numbers or a range { from = 5, to = 50, step = 5 }, is the text "ten"
      -p slow: must be a number, a list of numbers or a range { from = 5, to = 50, step = 5 }, is the text "1:2:3:4"
    "#);
    insta::assert_snapshot!(report(ShortSpec::default()), @r#"
    the command line: 3 problems
      --symbols: is empty: a sweep needs at least one symbol
      --data: "" is not a path (1 to 512 bytes without control characters)
      --strategies: is empty: a sweep needs at least one [[strategy]] with template = "sma_cross"
    "#);
}

#[test]
fn absolute_data_paths_are_split() {
    let split = |data: &str| {
        let (folder, source) = split_source(data);
        (folder.map(|folder| folder.display().to_string()), source)
    };
    assert_eq!(split("daily/{symbol}.csv"), (None, "daily/{symbol}.csv".into()));
    assert_eq!(split("/bars/daily/{symbol}.csv"), (Some("/bars/daily".into()), "{symbol}.csv".into()));
    assert_eq!(split("/bars/{symbol}/1d.csv"), (Some("/bars".into()), "{symbol}/1d.csv".into()));
    assert_eq!(split("/{symbol}.csv"), (Some("/".into()), "{symbol}.csv".into()));
    assert_eq!(split("../bars/{symbol}.csv"), (Some("../bars".into()), "{symbol}.csv".into()));
    assert_eq!(split("/bars/spy.csv"), (Some("/bars".into()), "spy.csv".into()));
}
