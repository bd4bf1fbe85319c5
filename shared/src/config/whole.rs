//! What a configuration is checked for once its sources are put together, and the secrets read that it names files of.

use jetsweep_engine::problem::Problem;

use super::load::{Origin, read_text};
use super::secret::Secret;
use super::settings::Config;
use crate::subjects::Names;

impl Config {
    /// What no key can tell alone.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, message: String| {
            problems.push(Problem::new(self.origin(key).place(key), message));
        };
        if let Err(error) = Names::new(&self.nats.namespace) {
            let message = error.to_string();
            problem("nats.namespace", message.trim_start_matches("nats.namespace: ").to_owned());
        }
        let prefix = self.nats.api_prefix.as_str();
        if prefix.split('.').any(|token| token.is_empty() || token.contains([' ', '*', '>'])) {
            problem(
                "nats.api_prefix",
                format!("{prefix:?} is no subject: write $JS.API, or what your account imports it as"),
            );
        }
        let has_password = self.nats.password.is_some() || self.nats.password_file.is_some();
        match &self.nats.user {
            Some(_) if !has_password => {
                problem("nats.user", "needs nats.password or nats.password_file too".to_owned())
            }
            None if self.nats.password.is_some() => problem("nats.password", "needs nats.user too".to_owned()),
            None if has_password => problem("nats.password_file", "needs nats.user too".to_owned()),
            _ => {}
        }
        match (&self.nats.tls_certificate, &self.nats.tls_key) {
            (Some(_), None) => problem("nats.tls_certificate", "needs nats.tls_key too".to_owned()),
            (None, Some(_)) => problem("nats.tls_key", "needs nats.tls_certificate too".to_owned()),
            _ => {}
        }
        if let (Some(listen), None) = (&self.http.listen, self.http.address()) {
            problem(
                "http.listen",
                format!("{listen:?} is neither a port (9464) nor an address with one (0.0.0.0:9464)"),
            );
        }
        if self.nats.user.is_some() && self.nats.credentials.is_some() {
            problem(
                "nats.credentials",
                "nats.credentials and nats.user cannot both be used to sign in; set one of them".to_owned(),
            );
        }
        let sections = [self.data.problems(), self.mlflow.problems(), self.traces.problems()];
        for (key, message) in sections.into_iter().flatten() {
            problem(key, message);
        }
        problems
    }

    /// Fills in the secrets that the configuration names files of.
    pub(super) fn read_secrets(&mut self, problems: &mut Vec<Problem>) {
        let (nats, http) = (&mut self.nats, &mut self.http);
        let secrets = [
            ("nats.password", &nats.password_file, &mut nats.password),
            ("http.token", &http.token_file, &mut http.token),
        ];
        for (key, file, secret) in secrets {
            let Some(file) = file else { continue };
            let file_key = format!("{key}_file");
            let origin = self.origins.get(&file_key).cloned().unwrap_or(Origin::Default);
            let mut problem = |message: String| problems.push(Problem::new(origin.place(&file_key), message));
            if secret.is_some() {
                problem(format!("{file_key} and {key} cannot both be set"));
                continue;
            }
            match read_text(file) {
                Err(error) => problem(format!("failed to read {}: {error}", file.display())),
                Ok(text) if text.trim().is_empty() => problem(format!("{} is empty", file.display())),
                Ok(text) => {
                    *secret = Some(Secret::new(text.trim()));
                    self.origins.insert(key.to_owned(), origin);
                }
            }
        }
    }
}
