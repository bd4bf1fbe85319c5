//! Running the program.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Standard output of a command that ended with this code.
    pub(crate) fn ended(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self.stdout
    }

    /// Standard output of a command that ended well, as JSON.
    pub(crate) fn json(self) -> Value {
        let stdout = self.ended(0);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error} in {stdout}"))
    }

    /// The error of a command that ended with this code, as text.
    pub(crate) fn refused(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        assert_eq!(self.stdout, "", "stderr: {}", self.stderr);
        self.stderr
    }
}

/// JSON for a snapshot: the values at these places, which differ each time, are replaced by their place, and numbers
/// have 9 digits, as the goldens of the engine agree to.
pub(crate) fn masked(mut json: Value, places: &[&str]) -> Value {
    for place in places {
        let value = json.pointer_mut(place).unwrap_or_else(|| panic!("there is no {place}"));
        assert!(!value.is_null(), "{place} is null");
        *value = Value::from(format!("[{place}]"));
    }
    round(&mut json);
    json
}

fn round(json: &mut Value) {
    match json {
        Value::Number(number) if number.is_f64() => {
            let digits = format!("{:.8e}", number.as_f64().unwrap());
            *json = Value::from(digits.parse::<f64>().unwrap());
        }
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jetsweep"));
    command.args(args).current_dir(jetsweep_tests::repository()).stdin(Stdio::null());
    // The configuration of whoever runs the tests is not theirs.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JETSWEEP_")) {
        command.env_remove(name);
    }
    command
}

/// Runs the program in the root of the repository.
pub(crate) fn jetsweep(args: &[&str]) -> Done {
    let output = command(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A program that goes on until it is dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Starts the program in the root of the repository; its log goes to a file.
    pub(crate) fn start(args: &[&str], log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        Self(command(args).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a child that is gone, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
