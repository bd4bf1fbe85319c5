//! The sources, their order, and what is said about what does not fit.

use std::path::PathBuf;

use super::*;
use crate::spec::tree::Node;

fn sources(env: &[(&str, &str)]) -> Sources {
    let env = env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Sources { env, ..Sources::default() }
}

/// A folder with a configuration file in it, which lives as long as the folder is held.
fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn later_sources_win_and_are_named() {
    let (_folder, path) =
        file("state_dir = \"a\"\n[nats]\nurl = \"nats://u:p@file\"\n[worker]\nslots = 3\nname = \"w\"\n");
    let mut sources = sources(&[
        ("JETSWEEP_WORKER__SLOTS", "4"),
        ("JETSWEEP_WORKER__NAME", "007"),
        ("JETSWEEP_NATS__USER", "quant"),
        ("JETSWEEP_NATS__PASSWORD", "0123"),
        ("JETSWEEP_TEST_FAIL_AT", "ack"),
        ("PATH", "/bin"),
    ]);
    sources.file = Some(path.clone());
    sources.overrides.set("worker.slots", "--slots", 5).set_if_given("state_dir", "--state", None::<String>);
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.worker.slots, config.worker.name.as_str()), (5, "007"));
    assert_eq!(config.nats.password.as_ref().unwrap().expose(), "0123");
    assert_eq!(config.database(), PathBuf::from("a/results.duckdb"));

    let explained = |key: &str| {
        let explained = config.explain().into_iter().find(|line| line.key == key).unwrap();
        (explained.value.unwrap_or_default(), explained.origin.to_string())
    };
    assert_eq!(explained("worker.slots"), ("5".into(), "--slots".into()));
    assert_eq!(explained("worker.name"), ("007".into(), "JETSWEEP_WORKER__NAME".into()));
    assert_eq!(explained("nats.url"), ("nats://(hidden)@file".into(), format!("{}:3", path.display())));
    assert_eq!(explained("nats.password"), ("(hidden)".into(), "JETSWEEP_NATS__PASSWORD".into()));
    assert_eq!(explained("planner.queue_depth"), ("2000".into(), "default".into()));
    assert_eq!(explained("planner.shard_runs"), (String::new(), "default".into()));
    assert_eq!(explained("consolidator.database"), ("a/results.duckdb".into(), "default".into()));
    assert!(!format!("{config:?}").contains("0123"));
}

#[test]
fn mlflows_own_variables_are_heard_and_ours_win() {
    let mut all = sources(&[
        ("MLFLOW_TRACKING_URI", "https://u:p@mlflow:5000"),
        ("MLFLOW_TRACKING_TOKEN", "t0ken"),
        ("MLFLOW_TRACKING_PASSWORD", ""),
        ("MLFLOW_EXPERIMENT_NAME", "not ours"),
    ]);
    let config = Config::load(&all).unwrap();
    assert_eq!(config.mlflow.token.as_ref().unwrap().expose(), "t0ken");
    let explained = config.explain();
    let url = explained.iter().find(|line| line.key == "mlflow.url").unwrap();
    assert_eq!(url.value.as_deref(), Some("https://(hidden)@mlflow:5000"));
    assert_eq!(url.origin.to_string(), "MLFLOW_TRACKING_URI");
    assert!(!format!("{explained:?}{:?}", config.mlflow.token).contains("t0ken"));

    all.env.push(("JETSWEEP_MLFLOW__URL".to_owned(), "http://other".to_owned()));
    assert_eq!(Config::load(&all).unwrap().mlflow.url.as_deref(), Some("http://other"));
}

#[test]
fn opentelemetrys_own_variables_are_heard_and_ours_win() {
    let all = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318/otlp/"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces/spans"),
        ("JETSWEEP_TRACES__ENDPOINT", "http://ours:4318"),
    ];
    let explained = |env: &[(&str, &str)]| {
        let config = Config::load(&sources(env)).unwrap();
        let endpoint = config.explain().into_iter().find(|line| line.key == "traces.endpoint").unwrap();
        (config.traces.url(), endpoint.value.unwrap_or_default(), endpoint.origin.to_string())
    };
    let told = |url: &str, value: &str, origin: &str| (Some(url.to_owned()), value.to_owned(), origin.to_owned());
    let url = "https://collector:4318/otlp/v1/traces";
    assert_eq!(explained(&all[..1]), told(url, url, "OTEL_EXPORTER_OTLP_ENDPOINT"));
    let of_traces = told("http://traces/spans", "http://traces/spans", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    assert_eq!(explained(&all[..2]), of_traces);
    let ours = told("http://ours:4318/v1/traces", "http://ours:4318", "JETSWEEP_TRACES__ENDPOINT");
    assert_eq!(explained(&all), ours);
    assert_eq!(explained(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), (None, String::new(), "default".to_owned()));

    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), ("JETSWEEP_TRACES__SAMPLE", "1.5")];
    let error = Config::load(&sources(&env)).unwrap_err().to_string();
    assert!(error.ends_with("\n  JETSWEEP_TRACES__SAMPLE: must be from 0 to 1, is 1.5"), "{error}");
    let error = Config::load(&sources(&env[..1])).unwrap_err().to_string();
    assert!(error.contains("\n  OTEL_EXPORTER_OTLP_ENDPOINT: \"collector:4317/v1/traces\" is no address"), "{error}");
}

#[test]
fn every_key_of_the_structs_is_in_the_table() {
    let config = serde_json::to_value(Config::default()).unwrap();
    let mut paths = Vec::new();
    for (name, value) in config.as_object().unwrap() {
        match value.as_object() {
            Some(section) => paths.extend(section.keys().map(|key| format!("{name}.{key}"))),
            None => paths.push(name.clone()),
        }
    }
    assert_eq!(paths, keys::KEYS.map(|key| key.path));
}

#[test]
fn defaults_fit_their_own_rules() {
    let explained = Config::load(&Sources::default()).unwrap().explain();
    let mut again = Sources::default();
    for line in explained.iter().filter(|line| line.value.is_some()) {
        let key = keys::find(&line.key).unwrap_or_else(|error| panic!("{error}"));
        again.overrides.set(key.path, "--default", line.value.as_ref().unwrap());
    }
    Config::load(&again).unwrap();
}

#[test]
fn all_problems_are_told_at_once() {
    let (_folder, path) = file(
        "sate_dir = \"x\"\nurl = 1\nworker = 3\n[nats]\nurls = \"x\"\npassword = 1234\n[wrker]\nslots = 3\n\
         [planner]\nqueue_depth = 0\nshard_ms = \"100\"\n[consolidator]\ndatabase = \"\"\n[log]\nformat = \"xml\"\n",
    );
    let mut sources = sources(&[("JETSWEEP_NATS_URL", "nats://x"), ("JETSWEEP_WORKER__SLOTS", "four")]);
    sources.file = Some(path.clone());
    sources.overrides.set("worker.slots", "--slots", 0);
    let error = Config::load(&sources).unwrap_err().to_string().replace(path.to_str().unwrap(), "hub.toml");
    insta::assert_snapshot!(error, @r#"
    the configuration has 13 problems
      hub.toml:1: sate_dir: is not a key of the configuration (did you mean "state_dir"?)
      hub.toml:2: url: is not a key of the configuration (did you mean "nats.url"?)
      hub.toml:3: worker: must be a table ([worker]), is the number 3
      hub.toml:5: nats.urls: is not a key of the configuration (did you mean "nats.url"?)
      hub.toml:6: nats.password: must be text in quotes
      hub.toml:7: wrker: is not a key of the configuration (did you mean "worker"?)
      hub.toml:10: planner.queue_depth: must be from 1 to 1000000 jobs, is 0
      hub.toml:11: planner.shard_ms: must be a whole number of milliseconds, is the text "100"
      hub.toml:13: consolidator.database: is empty; leave the key out for its default
      hub.toml:15: log.format: must be "auto" or "human" or "json", is the text "xml"
      JETSWEEP_NATS_URL: is not a key of the configuration (did you mean "JETSWEEP_NATS__URL"?)
      JETSWEEP_WORKER__SLOTS: must be a whole number of slots, is the text "four"
      --slots: must be from 1 to 1024 slots, is 0
    "#);
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    let env = [("JETSWEEP_NATS__NAMESPACE", "a.b"), ("JETSWEEP_NATS__USER", "u"), ("JETSWEEP_NATS__CREDENTIALS", "c")];
    let error = Config::load(&sources(&env)).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"
    the configuration has 3 problems
      JETSWEEP_NATS__NAMESPACE: "a.b" cannot prefix subjects and streams (1 to 32 lower-case letters, digits, '-', '_')
      JETSWEEP_NATS__USER: needs nats.password or nats.password_file too
      JETSWEEP_NATS__CREDENTIALS: nats.credentials and nats.user cannot both be used to sign in; set one of them
    "#);
}

#[test]
fn allowed_addresses_have_no_secrets_and_show_none() {
    let good = "https://bars.example/daily/, s3://bucket/,http://127.0.0.1:8080/";
    let config = Config::load(&sources(&[("JETSWEEP_DATA__ALLOWED_URLS", good)])).unwrap();
    assert_eq!(config.data.url_prefixes().count(), 3);
    for bad in [
        "https://user:hunter2@bars.example/daily/",
        "https://bars.example/daily/?token=hunter2",
        "https://bars.example/daily/#hunter2",
        "ftp://user:hunter2@bars.example/",
        "s3://bucket/, https://hunter2@bars.example/",
    ] {
        let error = Config::load(&sources(&[("JETSWEEP_DATA__ALLOWED_URLS", bad)])).unwrap_err().to_string();
        assert!(error.contains("1 problem\n  JETSWEEP_DATA__ALLOWED_URLS: "), "{error}");
        assert!(!error.contains("hunter2") && error.contains("bars.example"), "{error}");
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let missing = Config::load(&sources(&[("JETSWEEP_CONFIG", "/nowhere/hub.toml")])).unwrap_err().to_string();
    assert!(missing.starts_with("failed to read the configuration file /nowhere/hub.toml: No such file"), "{missing}");
    let (_folder, path) = file("[nats]\nurl = nats://x\n");
    let named = Sources { file: Some(path.clone()), ..Sources::default() };
    let syntax = Config::load(&named).unwrap_err().to_string();
    assert!(syntax.starts_with(&format!("{}:2:7: not TOML: ", path.display())), "{syntax}");
}

#[test]
fn secrets_are_read_from_files_and_never_shown() {
    let (_folder, path) = file("hunter2\n");
    let path = path.to_str().unwrap();
    let env =
        [("JETSWEEP_NATS__USER", "w"), ("JETSWEEP_NATS__PASSWORD_FILE", path), ("JETSWEEP_HTTP__TOKEN_FILE", path)];
    let config = Config::load(&sources(&env)).unwrap();
    assert_eq!(config.nats.password.as_ref().unwrap().expose(), "hunter2");
    assert_eq!(config.http.token.as_ref().unwrap().expose(), "hunter2");
    let explained = config.explain();
    let password = explained.iter().find(|line| line.key == "nats.password").unwrap();
    assert_eq!(password.value.as_deref(), Some("(hidden)"));
    assert_eq!(password.origin.to_string(), "JETSWEEP_NATS__PASSWORD_FILE");
    assert!(!format!("{config:?} {explained:?} {}", serde_json::to_string(&config).unwrap()).contains("hunter2"));

    let env = [
        ("JETSWEEP_HTTP__TOKEN", "hunter2"),
        ("JETSWEEP_HTTP__TOKEN_FILE", path),
        ("JETSWEEP_HTTP__LISTEN", "everywhere"),
        ("JETSWEEP_NATS__USER", "w"),
        ("JETSWEEP_NATS__PASSWORD_FILE", "/nowhere/password"),
        ("JETSWEEP_NATS__TLS_KEY", "key.pem"),
    ];
    let error = Config::load(&sources(&env)).unwrap_err().to_string();
    insta::assert_snapshot!(error, @r#"
    the configuration has 4 problems
      JETSWEEP_NATS__TLS_KEY: needs nats.tls_certificate too
      JETSWEEP_HTTP__LISTEN: "everywhere" is neither a port (9464) nor an address with one (0.0.0.0:9464)
      JETSWEEP_NATS__PASSWORD_FILE: failed to read /nowhere/password: No such file or directory (os error 2)
      JETSWEEP_HTTP__TOKEN_FILE: http.token_file and http.token cannot both be set
    "#);
}

/// A file of the repository.
fn repository(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a variable of a deployment is set to on the rest of its line, with the defaults of variables within.
fn set_to(rest: &str) -> Option<String> {
    let rest = rest.lines().next().unwrap_or_default();
    let value = [": ", ", value: ", "="].iter().find_map(|between| rest.strip_prefix(between))?.trim();
    if let Some((_, default)) = value.strip_prefix("${").and_then(|value| value.split_once(":-")) {
        return Some(default.trim_end_matches('}').to_owned());
    }
    Some(value.trim_end_matches(['}', '\\', ' ']).trim_matches('"').to_owned())
}

#[test]
fn deployments_set_keys_that_there_are_to_what_they_take() {
    let (mut variables, mut values) = (0, 0);
    let manifests = ["planner", "worker", "consolidator", "mlflow-bridge", "jobs/submit"];
    let kubernetes = manifests.map(|name| format!("deploy/kubernetes/{name}.yaml"));
    let docker = ["compose.yaml", "compose.tls.yaml", "Dockerfile"].map(str::to_owned);
    for file in docker.into_iter().chain(kubernetes) {
        let text = repository(&file);
        for (at, _) in text.match_indices("JETSWEEP_") {
            let end = text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len() - at);
            let word = &text[at..at + end];
            // The image's name in compose.yaml, and the commit in the Dockerfile, are of the build and not of the program.
            if matches!(word, "JETSWEEP_IMAGE" | "JETSWEEP_COMMIT" | "JETSWEEP_JOBS") {
                continue;
            }
            let path = word["JETSWEEP_".len()..].to_lowercase().replace("__", ".");
            let key = keys::find(&path).unwrap_or_else(|problem| panic!("{file}: {word} {problem}"));
            variables += 1;
            let Some(value) = set_to(&text[at + end..]) else { continue };
            let fits = key.kind.check(&Node::new(key.kind.parse(&value)));
            fits.unwrap_or_else(|problem| panic!("{file}: {word} {problem}"));
            values += 1;
        }
    }
    assert!(variables > 20 && values > 20, "only {variables} variables and {values} values were found");
}
