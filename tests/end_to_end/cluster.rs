//! A server, and planner, workers and consolidator as processes of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream;
use futures::StreamExt;
use jetsweep_shared::events::BatchStatus;
use jetsweep_tests::{Done, Jetsweep, NatsServer, Running, Signal, answers, jetsweep, poisoned_worker};

use crate::support::{State, status, text};

/// How long a batch may take. Far more than it does, and less than a wait has.
const PATIENCE: Duration = Duration::from_secs(50);

/// The services of a test, each under a name. All of them are killed when dropped.
pub(crate) struct Cluster {
    pub(crate) server: NatsServer,
    pub(crate) state: State,
    services: BTreeMap<String, Running>,
    settings: Vec<(&'static str, String)>,
}

impl Cluster {
    /// A server without any service. `settings` are variables for each of them.
    pub(crate) async fn new(settings: &[(&'static str, &str)]) -> Self {
        Self::at(NatsServer::start().await, settings)
    }

    /// The same at a server that is there.
    pub(crate) fn at(server: NatsServer, settings: &[(&'static str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| (*name, value.to_string())).collect();
        Self { server, state: State::new(), services: BTreeMap::new(), settings }
    }

    /// Planner, worker and consolidator, ready to answer.
    pub(crate) async fn start() -> Self {
        let mut cluster = Self::new(&[]).await;
        for role in ["planner", "worker", "consolidator"] {
            cluster.serve(role, role);
        }
        cluster.answers("planner").await;
        cluster.answers("consolidator").await;
        cluster
    }

    /// Starts a service of this role, as `name`.
    pub(crate) fn serve(&mut self, name: &str, role: &str) {
        self.serve_at(name, role, &self.server.url());
    }

    /// Starts a service of this role, as `name`, that reaches the server by this way.
    pub(crate) fn serve_at(&mut self, name: &str, role: &str, url: &str) {
        let state = self.state.path();
        self.start_service(name, jetsweep([role, "--nats", url, "--state", text(&state)]));
    }

    /// Starts a service of this role, as `name`, with variables of its own.
    #[allow(dead_code, reason = "for the end-to-end tests; the faults share this file")]
    pub(crate) fn serve_with(&mut self, name: &str, role: &str, variables: &[(&str, &str)]) {
        let (url, state) = (self.server.url(), self.state.path());
        let service = jetsweep([role, "--nats", &url, "--state", text(&state)]);
        let set = |service: Jetsweep, (name, value): &(&str, &str)| service.env(name, value);
        self.start_service(name, variables.iter().fold(service, set));
    }

    /// Starts a worker some of whose jobs misbehave, as `poison` says: `3=panic,7=abort` names shards and what they do.
    #[allow(dead_code, reason = "for the faults, which share this file")]
    pub(crate) fn serve_poisoned(&mut self, name: &str, url: &str, poison: &str) {
        let worker = Jetsweep::of(&poisoned_worker(), [""; 0])
            .env("JETSWEEP_NATS__URL", url)
            .env("JETSWEEP_STATE_DIR", self.state.path())
            .env("JETSWEEP_TEST_POISON", poison);
        self.start_service(name, worker);
    }

    /// Gives services started from now on one more variable.
    #[allow(dead_code, reason = "for end-to-end tests, which share this file")]
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.settings.push((name, value.to_owned()));
    }

    fn start_service(&mut self, name: &str, mut service: Jetsweep) {
        for (name, value) in &self.settings {
            service = service.env(name, value);
        }
        let before = self.services.insert(name.to_owned(), service.start());
        assert!(before.is_none(), "{name} runs already");
    }

    /// A running service.
    pub(crate) fn service(&self, name: &str) -> &Running {
        self.services.get(name).unwrap_or_else(|| panic!("no service {name} was started"))
    }

    /// Waits until a service of this role answers.
    pub(crate) async fn answers(&self, role: &str) {
        answers(&self.server.connect().await, role).await;
    }

    /// Kills a service as a crash would.
    pub(crate) async fn kill(&mut self, name: &str) -> Done {
        self.take(name).kill().await
    }

    /// Asks a service to end, and waits until it has.
    pub(crate) async fn stop(&mut self, name: &str) -> Done {
        let service = self.take(name);
        service.signal(Signal::TERM);
        service.ended().await
    }

    /// Waits until a service ends by itself.
    #[allow(dead_code, reason = "for the faults, which share this file")]
    pub(crate) async fn ended(&mut self, name: &str) -> Done {
        self.take(name).ended().await
    }

    fn take(&mut self, name: &str) -> Running {
        self.services.remove(name).unwrap_or_else(|| panic!("no service {name} was started"))
    }

    /// The status of a batch once it has ended.
    pub(crate) async fn ends(&self, batch: &str) -> BatchStatus {
        self.reaches(batch, "end", |status| status.state.is_terminal()).await
    }

    /// The status of a batch as it is now.
    #[allow(dead_code, reason = "for the faults, which share this file")]
    pub(crate) async fn now(&self, batch: &str) -> BatchStatus {
        self.reaches(batch, "have a status", |_| true).await
    }

    /// The status of a batch once it fits, which completes "the batch should".
    pub(crate) async fn reaches(
        &self,
        batch: &str,
        what: &str,
        mut fits: impl FnMut(&BatchStatus) -> bool,
    ) -> BatchStatus {
        let client = self.server.connect().await;
        let mut latest = None;
        let fitting = status(&client, batch, |status| {
            latest = Some(status.clone());
            fits(status)
        });
        if let Ok(fitting) = tokio::time::timeout(PATIENCE, fitting).await {
            return fitting;
        }
        let context = jetstream::new(client);
        let mut streams = context.streams();
        let mut queues = Vec::new();
        while let Some(Ok(stream)) = streams.next().await {
            let stream = context.get_stream(stream.config.name).await.expect("a stream");
            queues.push(format!("{:?}", stream.cached_info()));
            let consumers: Vec<_> = stream.consumers().map(|consumer| format!("{consumer:?}")).collect().await;
            queues.extend(consumers);
        }
        let (queues, logs) = (queues.join("\n"), self.logs());
        panic!("{batch} should {what}, in vain after {PATIENCE:?}: {latest:?}\n{queues}\n{logs}");
    }

    /// What every service said so far, for when a test fails.
    pub(crate) fn logs(&self) -> String {
        let logs = self.services.iter().map(|(name, service)| format!("--- {name}\n{}", service.stderr()));
        logs.collect::<Vec<_>>().join("\n")
    }

    /// A command to these services.
    pub(crate) fn jetsweep(&self, args: &[&str]) -> Jetsweep {
        let url = self.server.url();
        jetsweep(args.iter().copied().chain(["--nats", url.as_str()]))
    }
}
