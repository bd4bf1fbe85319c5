//! Commands that need no results: `strategies`, `validate`.

use crate::program::{jetsweep, masked};

#[test]
fn strategies_are_listed_and_shown_as_the_files_they_are() {
    let list = jetsweep(&["strategies"]).ended(0);
    assert!(list.contains(" sma_cross ") && list.contains(" fast=10 slow=30 "), "{list}");
    let names = jetsweep(&["strategies", "--output", "quiet"]).ended(0);
    assert!(names.starts_with("sma_cross\nema_cross\n"), "{names}");
    let source = jetsweep_engine::template::builtin_source("sma_cross").unwrap();
    assert_eq!(jetsweep(&["strategies", "sma_cross"]).ended(0), source);
    insta::assert_json_snapshot!(jetsweep(&["strategies", "sma_cross", "--output", "json"]).json());
    let refused = jetsweep(&["strategies", "sma_crss"]).refused(2);
    assert!(refused.contains("there is no built-in strategy \"sma_crss\" (did you mean \"sma_cross\"?)"), "{refused}");
}

#[test]
fn a_valid_spec_says_what_it_would_run() {
    let told = jetsweep(&["validate", "examples/quickstart.toml"]).ended(0);
    assert!(told.starts_with("quickstart: ok: 459 runs over 9 symbols, "), "{told}");
    let json = jetsweep(&["validate", "examples/quickstart.toml", "--no-data", "--output", "json"]).json();
    insta::assert_json_snapshot!(masked(json, &["/spec_digest", "/shards"]));
}

#[test]
fn all_problems_of_a_spec_are_told_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("spec.toml");
    let text = "name = \"x\"\n[data]\nform = 2005-01-01\nsource = \"data/sample/{symbol}.csv\"\n[universe]\n\
                symbols = [\"AAPL\", \"BRK/B\"]\n[[strategy]]\ntemplate = \"sma_cross\"\nslow = 501\n\
                [[strategy]]\n[strategy.template]\nname = \"mine\"\n\
                long = { enter = \"smaa(close, 3) > 1\", exit = \"close\" }\n";
    std::fs::write(&spec, text).unwrap();
    let path = spec.to_str().unwrap();
    let refused = jetsweep(&["validate", path]).refused(2).replace(path, "spec.toml");
    insta::assert_snapshot!(refused);
}

#[test]
fn missing_and_bad_data_is_told_unless_it_is_not_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let bars = std::fs::read_to_string(jetsweep_tests::sample_data().join("SPY.csv")).unwrap();
    std::fs::write(folder.path().join("GOOD.csv"), &bars).unwrap();
    let header = bars.lines().next().unwrap();
    std::fs::write(folder.path().join("BAD.csv"), format!("{header}\n2020-01-02,1,1,2,1,0\n")).unwrap();
    let spec = folder.path().join("spec.toml");
    let text = "[data]\nsource = \"{symbol}.csv\"\n[universe]\nsymbols = [\"GOOD\", \"BAD\", \"MISSING\"]\n\
                [[strategy]]\ntemplate = \"sma_cross\"\n";
    std::fs::write(&spec, text).unwrap();
    let (path, data) = (spec.to_str().unwrap(), folder.path().to_str().unwrap());

    let refused = jetsweep(&["validate", path, "--data", data]).refused(2);
    insta::assert_snapshot!(refused.replace(data, "DATA"));
    assert_eq!(jetsweep(&["validate", path, "--no-data", "--output", "quiet"]).ended(0), "3\n");
}
