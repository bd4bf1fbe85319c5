//! Specs that are not fine, and the reports on them in full.

use crate::spec::document::MAX_SPEC_BYTES;
use crate::spec::{SpecError, SpecReport, read};

/// The parts of a spec that is fine, for tests that break another part.
const DATA: &str = "[data]\nsource = \"{symbol}.csv\"\n";
const UNIVERSE: &str = "[universe]\nsymbols = [\"AAPL\", \"SPY\"]\n";
const STRATEGY: &str = "[[strategy]]\ntemplate = \"sma_cross\"\n";

fn report(text: impl AsRef<[u8]>) -> String {
    let document = match read(text.as_ref()) {
        Err(error) => return SpecReport::unreadable("spec.toml", &error).to_string(),
        Ok(document) => document.named("spec.toml"),
    };
    match document.resolve() {
        Ok(spec) => panic!("the spec is fine: {spec:?}"),
        Err(problems) => SpecReport::new(&document, problems).to_string(),
    }
}

/// The report on a spec of which only the strategies are broken; its line 5 is their first.
fn strategies(text: &str) -> String {
    report(format!("{DATA}{UNIVERSE}{text}"))
}

#[test]
fn nothing_written() {
    insta::assert_snapshot!(report(""), @r#"
    spec.toml: 3 problems
      universe: is missing: write [universe] with symbols = ["AAPL", "SPY"] or symbols_file = "universe.csv"
      data: is missing: write [data] with source = "daily/{symbol}.csv", a path under the data folder
      strategy: is missing: a sweep needs at least one [[strategy]] with template = "sma_cross"
    "#);
    insta::assert_snapshot!(report("{\"data\": {}, \"universe\": {}, \"strategy\": []}"), @r#"
    spec.toml: 3 problems
      universe.symbols: is missing: write [universe] with symbols = ["AAPL", "SPY"] or symbols_file = "universe.csv"
      data.source: is missing: write source = "daily/{symbol}.csv", a path under the data folder
      strategy: is empty: a sweep needs at least one [[strategy]] with template = "sma_cross"
    "#);
}

#[test]
fn unknown_keys_at_every_level() {
    let spec = "nme = \"x\"\nvalidation = { holdout = \"20%\", purg = 5 }\n[data]\nsource = \"{symbol}.csv\"\nstart = 2005-01-01\n\
                [universe]\nsymbol = [\"A\"]\nsymbols = [\"A\"]\n[execution]\ncomission = 0.001\n\
                [[strategy]]\ntemplate = \"sma_cross\"\nfst = 10\ndirection = \"both\"\n\
                slow = { form = 10, to = 20 }\n";
    insta::assert_snapshot!(report(spec), @r#"
    spec.toml: 9 problems
      spec.toml:1: nme: unknown key (did you mean "name"?)
      spec.toml:2: validation.purg: unknown key (did you mean "purge"?)
      spec.toml:5: data.start: unknown key; the keys here are source, from, to
      spec.toml:7: universe.symbol: unknown key (did you mean "symbols"?)
      spec.toml:10: execution.comission: unknown key (did you mean "commission"?)
      spec.toml:13: strategy[0].fst: unknown key (did you mean "fast"?); the parameters of sma_cross are fast, slow
      spec.toml:14: strategy[0].direction: unknown key; the parameters of sma_cross are fast, slow
      spec.toml:15: strategy[0].slow.form: unknown key (did you mean "from"?)
      spec.toml:15: strategy[0].slow: the range lacks from: write { from = 5, to = 50, step = 5 }
    "#);
}

#[test]
fn directions_without_rules() {
    let both = format!(
        "{DATA}{UNIVERSE}[execution]\ndirection = \"both\"\n{STRATEGY}[[strategy]]\ntemplate = \"buy_and_hold\"\n"
    );
    insta::assert_snapshot!(report(both), @r#"
    spec.toml: 1 problem
      spec.toml:6: execution.direction: needs [short] rules, which buy_and_hold (strategy[1]) does not have: leave the strategy out, or give it a template that has them
    "#);
}

#[test]
fn validation_that_says_nothing_or_too_much() {
    let validation = |text: &str| report(format!("{DATA}{UNIVERSE}{STRATEGY}[validation]\n{text}"));
    insta::assert_snapshot!(validation("purge = 5"), @r#"
    spec.toml: 1 problem
      spec.toml:7: validation: has no windows: write holdout = "20%" or walk_forward = { train = "3y", test = "1y" }
    "#);
    insta::assert_snapshot!(validation("holdout = \"20%\"\nwalk_forward = { train = \"3y\", test = \"1y\" }"), @r#"
    spec.toml: 1 problem
      spec.toml:9: validation.walk_forward: stands beside holdout: keep one of them
    "#);
    insta::assert_snapshot!(validation("holdout = 0.2"), @r#"
    spec.toml: 1 problem
      spec.toml:8: validation.holdout: must be a share, a length or a date, as in "20%", is the number 0.2
    "#);
    insta::assert_snapshot!(validation("holdout = \"a fifth\"\npurge = -1"), @r#"
    spec.toml: 2 problems
      spec.toml:8: validation.holdout: "a fifth" is no share ("20%"), length ("3y", "18mo", "26w", "90d" or "500bars") or date (2020-01-31)
      spec.toml:9: validation.purge: must be a whole number, is the number -1
    "#);
    insta::assert_snapshot!(validation("holdout = \"100%\""), @r#"
    spec.toml: 1 problem
      spec.toml:8: validation.holdout: must be above 0% and below 100%, is 100%
    "#);
    insta::assert_snapshot!(validation("walk_forward = { train = \"3 years\", tets = \"1y\" }"), @r#"
    spec.toml: 3 problems
      spec.toml:8: validation.walk_forward.tets: unknown key (did you mean "test"?)
      spec.toml:8: validation.walk_forward.test: is missing, as in { train = "3y", test = "1y" }
      spec.toml:8: validation.walk_forward.train: "3 years" is no length ("3y", "18mo", "26w", "90d" or "500bars")
    "#);
    insta::assert_snapshot!(validation("purge = 500\nwalk_forward = { train = \"500bars\", test = \"1y\" }"), @r#"
    spec.toml: 2 problems
      spec.toml:8: validation.purge: 500 bars leave nothing of train, 500bars
      spec.toml:9: validation.walk_forward.test: is 1y while train is 500bars: count all in bars, or none
    "#);
    insta::assert_snapshot!(validation("walk_forward = { train = \"0y\", test = \"99999999999d\" }"), @r#"
    spec.toml: 2 problems
      spec.toml:8: validation.walk_forward.train: "0y" is no length: the number must be 1 to 1000000
      spec.toml:8: validation.walk_forward.test: "99999999999d" is no length ("3y", "18mo", "26w", "90d" or "500bars")
    "#);
}

#[test]
fn wrong_types() {
    let spec = "name = 5\npriority = \"urgent\"\n[data]\nsource = [\"a\"]\nfrom = 2005\nto = \"2005-02-30\"\n\
                [universe]\nsymbols = \"AAPL\"\n[execution]\ncash = \"lots\"\ncommission = \"0.1%\"\nfill = \"nextopen\"\nend = true\nslippage = nan\n\
                [[strategy]]\ntemplate = 7\nwhere = 1\nrandom = 2.5\nname = \"a b\"\n";
    insta::assert_snapshot!(report(spec), @r#"
    spec.toml: 15 problems
      spec.toml:1: name: must be text, is the number 5
      spec.toml:2: priority: must be "high" or "normal" or "low", is "urgent"
      spec.toml:4: data.source: must be a path in quotes, is a list
      spec.toml:5: data.from: must be a date, as in 2005-01-31, is the number 2005
      spec.toml:6: data.to: must be a date, as in 2005-01-31, is "2005-02-30"
      spec.toml:8: universe.symbols: must be a list, as in ["AAPL", "SPY"], is the text "AAPL"
      spec.toml:10: execution.cash: must be a number, is the text "lots"
      spec.toml:11: execution.commission: must be a number, is the text "0.1%"
      spec.toml:12: execution.fill: must be "next_open" or "close", is "nextopen" (did you mean "next_open"?)
      spec.toml:13: execution.end: must be "mark" or "liquidate", is true
      spec.toml:14: execution.slippage: must be a number, is the number NaN
      spec.toml:16: strategy[0].template: must be the name of a template or a table with one, is the number 7
      spec.toml:17: strategy[0].where: must be a condition in quotes, as in "fast < slow", is the number 1
      spec.toml:18: strategy[0].random: must be a whole number of at least 1, is the number 2.5
      spec.toml:19: strategy[0].name: "a b" is not a name of a strategy (1 to 64 letters, digits, '-', '_', '.')
    "#);
}

#[test]
fn unknown_strategy() {
    insta::assert_snapshot!(strategies("[[strategy]]\ntemplate = \"sma_crss\"\n[[strategy]]\ntemplate = \"my/own.toml\"\n[[strategy]]\nfast = 3\n"), @r#"
    spec.toml: 3 problems
      spec.toml:6: strategy[0].template: "sma_crss" is not a built-in template (did you mean "sma_cross"?): those are sma_cross, ema_cross, triple_sma, sma_trend, adx_trend, trend_pullback, rsi_reversion, bollinger_reversion, zscore_reversion, stochastic_reversion, williams_r_reversion, cci_reversion, mfi_reversion, donchian_breakout, bollinger_breakout, atr_channel_breakout, volume_breakout, macd_cross, roc_momentum, skip_month_momentum, calm_momentum, volatility_squeeze, volatility_stop, low_volatility, buy_and_hold; one of your own is named by its file, as in "my.toml"
      spec.toml:8: strategy[1].template: names the file "my/own.toml", which is not part of the document: submit it with `jetsweep submit`, which puts the template in, or write it as [strategy.template]
      spec.toml:9: strategy[2].template: is missing: name a built-in template (sma_cross, ema_cross, triple_sma, sma_trend, adx_trend, trend_pullback, rsi_reversion, bollinger_reversion, zscore_reversion, stochastic_reversion, williams_r_reversion, cci_reversion, mfi_reversion, donchian_breakout, bollinger_breakout, atr_channel_breakout, volume_breakout, macd_cross, roc_momentum, skip_month_momentum, calm_momentum, volatility_squeeze, volatility_stop, low_volatility, buy_and_hold)
    "#);
}

#[test]
fn parameters_out_of_bounds() {
    let spec = "[[strategy]]\ntemplate = \"sma_cross\"\nfast = 1\nslow = [50, 501, 50]\n\
                [[strategy]]\nname = \"b\"\ntemplate = \"sma_cross\"\nfast = { from = 10, to = 5 }\nslow = { from = 100, to = 600, step = 0.5 }\n\
                [[strategy]]\nname = \"c\"\ntemplate = \"bollinger_reversion\"\nk = { from = 1, to = 2 }\nperiod = [10, \"20\", []]\n\
                [[strategy]]\nname = \"d\"\ntemplate = \"bollinger_reversion\"\nk = []\nperiod = { from = 5 }\n";
    insta::assert_snapshot!(strategies(spec), @r#"
    spec.toml: 10 problems
      spec.toml:7: strategy[0].fast: 1 is outside the parameter's bounds, 2 to 500
      spec.toml:8: strategy[0].slow: 501 is outside the parameter's bounds, 2 to 500
      spec.toml:8: strategy[0].slow: the list has 50 more than once
      spec.toml:12: strategy[1].fast: the range from 10 to 5 by 1 is empty: from is above to
      spec.toml:13: strategy[1].slow: 600 is outside the parameter's bounds, 2 to 500
      spec.toml:13: strategy[1].slow: the step 0.5 is not a whole number, but the parameter's values are
      spec.toml:17: strategy[2].k: the range needs a step, as the parameter takes more than whole numbers
      spec.toml:18: strategy[2].period[1]: must be a number, is the text "20"
      spec.toml:18: strategy[2].period[2]: must be a number, is a list
      spec.toml:23: strategy[3].period: the range lacks to: write { from = 5, to = 50, step = 5 }
    "#);
}

#[test]
fn type_error_in_a_rule() {
    let spec = "[[strategy]]\n[strategy.template]\nname = \"mine\"\nparams = { n = { default = 3, min = 1, max = 9 } }\n\
                [strategy.template.long]\nenter = \"sma(close, n) + (close > 3)\"\nexit = \"close < sma(close, q)\"\n";
    insta::assert_snapshot!(strategies(spec), @r#"
    spec.toml: 2 problems
      spec.toml:10: strategy[0].template.long.enter: "+" takes numbers and columns, but this is a condition (column 18)
          sma(close, n) + (close > 3)
                           ^^^^^^^^^
      spec.toml:11: strategy[0].template.long.exit: unknown name "q" (column 20)
          close < sma(close, q)
                             ^
    "#);
}

#[test]
fn empty_universe() {
    insta::assert_snapshot!(report(format!("{DATA}[universe]\nsymbols = []\n{STRATEGY}")), @r"
    spec.toml: 1 problem
      spec.toml:4: universe.symbols: is empty: a sweep needs at least one symbol
    ");
}

#[test]
fn symbols_that_are_none() {
    let universe = "[universe]\nsymbols = [\n  \"AAPL\",\n  \"BRK/B\",\n  \"AAPL\",\n  7,\n  \"..\",\n]\n";
    insta::assert_snapshot!(report(format!("{DATA}{universe}{STRATEGY}")), @r#"
    spec.toml: 4 problems
      spec.toml:6: universe.symbols[1]: "BRK/B" is not a symbol (1 to 64 letters, digits, '.', '-', '_'; no '.' first, last or doubled)
      spec.toml:7: universe.symbols[2]: AAPL stands here twice, first as symbols[0]
      spec.toml:8: universe.symbols[3]: must be a symbol in quotes, is the number 7
      spec.toml:9: universe.symbols[4]: ".." is not a symbol (1 to 64 letters, digits, '.', '-', '_'; no '.' first, last or doubled)
    "#);
    insta::assert_snapshot!(report(format!("{DATA}[universe]\nsymbols = [\"A\"]\nsymbols_file = \"a.csv\"\n{STRATEGY}")), @r"
    spec.toml: 1 problem
      spec.toml:5: universe.symbols_file: stands beside symbols: keep one of them
    ");
    insta::assert_snapshot!(report(format!("{DATA}[universe]\nsymbols_file = \"a.csv\"\n{STRATEGY}")), @r#"
    spec.toml: 1 problem
      spec.toml:4: universe.symbols_file: names the file "a.csv", which is not part of the document: submit it with `jetsweep submit`, which puts the symbols in, or write symbols = [...]
    "#);
    let many = (0..10_001).map(|i| format!("\"S{i}\"")).collect::<Vec<_>>().join(",");
    insta::assert_snapshot!(report(format!("{DATA}[universe]\nsymbols = [{many}]\n{STRATEGY}")), @r"
    spec.toml: 1 problem
      spec.toml:4: universe.symbols: has 10001 symbols, at most 10000 are allowed: split the sweep
    ");
}

#[test]
fn empty_grid_after_where() {
    let spec = "[[strategy]]\ntemplate = \"sma_cross\"\nfast = { from = 10, to = 20 }\nslow = [25, 29]\nwhere = \"fast * 3 <= slow\"\n\
                [[strategy]]\nname = \"b\"\ntemplate = \"sma_cross\"\nfast = 50\n";
    insta::assert_snapshot!(strategies(spec), @r#"
    spec.toml: 2 problems
      spec.toml:9: strategy[0].where: no parameter set is left: of 22, none satisfies the template's "fast < slow" and "fast * 3 <= slow"; widen the axes
      spec.toml:10: strategy[1]: no parameter set is left: of 1, none satisfies the template's "fast < slow"; widen the axes
    "#);
}

#[test]
fn raw_grid_of_10_to_the_12() {
    let spec = "[[strategy]]\n[strategy.template]\nname = \"big\"\n[strategy.template.params]\n\
                a = { default = 1, min = 1, max = 10_000 }\nb = { default = 1, min = 1, max = 10_000 }\n\
                c = { default = 1, min = 1, max = 10_000 }\n[strategy.template.long]\nenter = \"close > a * b\"\nexit = \"close < c\"\n\
                [[strategy]]\ntemplate = \"sma_cross\"\nname = \"b\"\nwhere = \"fast <\"\n";
    let spec = spec.replace(
        "[[strategy]]\n[strategy.template]",
        "[[strategy]]\na = { from = 1, to = 10_000 }\nb = { from = 1, to = 10_000 }\nc = { from = 1, to = 10_000 }\n[strategy.template]",
    );
    insta::assert_snapshot!(strategies(&spec), @r"
    spec.toml: 2 problems
      spec.toml:5: strategy[0]: the grid has 1000000000000 points before `where`, at most 1000000000 can be walked: use fewer or coarser axes
      spec.toml:21: strategy[1].where: the expression ends where a value should follow (column 7)
          fast <
                ^
    ");
}

#[test]
fn a_spec_of_50_megabytes() {
    // Not even UTF-8: the size is looked at before anything else.
    let spec = vec![0xff; 50_000_000];
    insta::assert_snapshot!(report(&spec), @r"
    spec.toml: 1 problem
      has 50000000 bytes; a sweep spec has at most 1048576 (1 MiB): write long lists of values as ranges { from, to, step }, and split the universe into several sweeps
    ");
    assert!(matches!(read(&vec![b'#'; MAX_SPEC_BYTES + 1]), Err(SpecError::TooLarge { .. })));
    assert!(read(&vec![b'#'; MAX_SPEC_BYTES]).is_ok());
}

#[test]
fn not_utf_8() {
    insta::assert_snapshot!(report(b"name = \"x\"\n[data]\nsource = \"caf\xe9/{symbol}.csv\"\n"), @r"
    spec.toml: 1 problem
      spec.toml:3: not UTF-8: byte 31 is part of no character; save the file as UTF-8
    ");
}

#[test]
fn not_toml_and_not_json() {
    insta::assert_snapshot!(report("name = \"x\"\n[data\nsource = 1\n"), @r"
    spec.toml: 1 problem
      spec.toml:2: not valid TOML: column 6: unclosed table, expected `]`
    ");
    insta::assert_snapshot!(report("name = \"x\"\nname = \"y\"\n"), @r"
    spec.toml: 1 problem
      spec.toml:2: not valid TOML: column 1: duplicate key
    ");
    insta::assert_snapshot!(report("  {\"name\": \"x\",\n \"name\": \"y\"}"), @r#"
    spec.toml: 1 problem
      spec.toml:2: not valid JSON: column 7: duplicate key "name"
    "#);
    insta::assert_snapshot!(report("[1, 2]"), @r"
    spec.toml: 1 problem
      spec.toml:1: not valid TOML: column 3: unclosed table, expected `]`
    ");
    let deep = "[".repeat(100_000);
    assert!(read(format!("a = {deep}").as_bytes()).is_err());
    assert!(read(format!("{{\"a\": {deep}").as_bytes()).is_err());
}

#[test]
fn sources_that_are_read_by_nobody() {
    let source = |source: &str| report(format!("[data]\nsource = \"{source}\"\n{UNIVERSE}{STRATEGY}"));
    insta::assert_snapshot!(source("/etc/{symbol}"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "/etc/{symbol}" is absolute: name a path under the data folder, and the folder itself with `--data` or the worker's data.root
    "#);
    insta::assert_snapshot!(source("a/../../{symbol}.csv"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "a/../../{symbol}.csv" leaves the data folder with "..": name a path under it
    "#);
    insta::assert_snapshot!(source("ftp://host/{symbol}.csv"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "ftp://host/{symbol}.csv" is read by nobody: bars come from paths under the data folder, store://, https://, http:// and s3://, not ftp://
    "#);
    insta::assert_snapshot!(source("store://daily/../{symbol}.csv"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "store://daily/../{symbol}.csv" is no name of an object: it contains ".."
    "#);
    insta::assert_snapshot!(source("https://u:p@host/{symbol}.csv"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "https://u:p@host/{symbol}.csv" is no address that is read: it has a user in it: a spec is no place for passwords
    "#);
    insta::assert_snapshot!(source("daily/{symbol}.parquet"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "daily/{symbol}.parquet": this version reads CSV files, not Parquet: convert the bars to CSV
    "#);
    insta::assert_snapshot!(source("daily/all.csv"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "daily/all.csv" is one file for 2 symbols: put {symbol} where the symbol stands, as in "daily/{symbol}.csv"
    "#);
    insta::assert_snapshot!(source("daily/{sym}.csv"), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "daily/{sym}.csv" has braces of which nothing is known: only {symbol} is replaced
    "#);
    insta::assert_snapshot!(source(""), @r#"
    spec.toml: 1 problem
      spec.toml:2: data.source: "" is not a path (1 to 512 bytes without control characters)
    "#);
}

#[test]
fn dates_the_wrong_way_round() {
    let data = "[data]\nsource = \"{symbol}.csv\"\nfrom = 2020-01-01\nto = 2019-12-31\n";
    insta::assert_snapshot!(report(format!("{data}{UNIVERSE}{STRATEGY}")), @r"
    spec.toml: 1 problem
      spec.toml:3: data.from: 2020-01-01 is after data.to, 2019-12-31: no date is left
    ");
}

#[test]
fn execution_rules_that_cannot_be() {
    let execution = "[execution]\ncash = 0\ncommission = 1.5\nslippage = -0.1\nbars_per_year = 0\n";
    insta::assert_snapshot!(report(format!("{DATA}{UNIVERSE}{execution}{STRATEGY}")), @r"
    spec.toml: 4 problems
      spec.toml:6: execution.cash: must be above 0, is 0
      spec.toml:7: execution.commission: must be a fraction from 0 to below 1 (0.001 is 0.1%), is 1.5
      spec.toml:8: execution.slippage: must be a fraction from 0 to below 1 (0.001 is 0.1%), is -0.1
      spec.toml:9: execution.bars_per_year: must be above 0, is 0
    ");
}

#[test]
fn strategies_told_apart() {
    insta::assert_snapshot!(strategies(&STRATEGY.repeat(2)), @r#"
    spec.toml: 1 problem
      spec.toml:7: strategy[1]: is called "sma_cross" as strategy[0] is: give one of them a name = "..."
    "#);
    insta::assert_snapshot!(strategies("[strategy]\ntemplate = \"sma_cross\"\nfst = 3\n"), @r#"
    spec.toml: 2 problems
      spec.toml:5: strategy: is a table, must be a list of tables: write [[strategy]], with two brackets
      spec.toml:7: strategy.fst: unknown key (did you mean "fast"?); the parameters of sma_cross are fast, slow
    "#);
    insta::assert_snapshot!(strategies("[[strategy]]\ntemplate = \"sma_cross\"\nseed = 3\nrandom = 0\n"), @r"
    spec.toml: 1 problem
      spec.toml:8: strategy[0].random: must be a whole number of at least 1, is the number 0
    ");
}

#[test]
fn messages_stay_short_whatever_the_document_holds() {
    let long = "x".repeat(300_000);
    let spec = format!(
        "{long} = 1\n[data]\nsource = \"{long}\"\nfrom = \"{long}\"\n[universe]\nsymbols = [\"{long}\"]\n[[strategy]]\ntemplate = \"{long}\"\n"
    );
    let spec = spec.replace(&long, &long[..200_000]);
    assert!(report(spec).len() < 5_000);
    let bad = (0..5_000).map(|_| "\"/\"").collect::<Vec<_>>().join(",");
    let report = report(format!("{DATA}[universe]\nsymbols = [{bad}]\n{STRATEGY}"));
    assert!(report.len() < 20_000 && report.ends_with("and 4900 more problems"), "{report}");
}

#[test]
fn strategies_too_large_for_a_job() {
    let values = (2..20_000).map(|i| format!("{}", 2.0 + f64::from(i) / 10_000.0)).collect::<Vec<_>>().join(",");
    insta::assert_snapshot!(strategies(&format!("[[strategy]]\ntemplate = \"bollinger_reversion\"\nk = [{values}]\n")), @r"
    spec.toml: 1 problem
      spec.toml:5: strategy[0]: has 178586 bytes with its template and axes, at most 49152 fit into a job: write long lists of values as ranges, or split the strategy
    ");
}
