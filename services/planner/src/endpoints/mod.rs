//! The service endpoints `planner.submit`, `.validate`, `.retry` and `.delete`, which `nats micro ls` shows.

mod finished;
mod reply;
mod submit;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::service::endpoint::Endpoint;
use async_nats::service::{Request, Service, ServiceExt};
use futures::StreamExt;
use futures::future::join_all;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::disguise::is_request;

use crate::error::PlannerError;
use crate::planner::{Planner, VERSION};

/// Requests of one endpoint answered at the same time. Each holds a document of at most 1 MiB.
const AT_ONCE: usize = 16;

/// How long requests being answered at a shutdown may take. They are answered within milliseconds, but for a spec
/// with a huge grid: whoever asked asks again.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Role of the planner in subjects, and its name as a service.
const ROLE: &str = "planner";

/// The open endpoints.
pub(crate) struct Endpoints {
    service: Service,
    each: Vec<(Question, Endpoint)>,
}

impl Endpoints {
    /// Registers the service. Several planners share the requests.
    pub(crate) async fn open(bus: &Bus) -> Result<Self, PlannerError> {
        let failed = |error: async_nats::Error| PlannerError::Endpoints(error.to_string());
        let service = bus
            .client
            .service_builder()
            .description("Checks sweep specs and accepts them as batches")
            .start(ROLE, VERSION)
            .await
            .map_err(failed)?;
        let mut each = Vec::new();
        for question in Question::ALL {
            let name = question.name();
            let endpoint =
                service.endpoint_builder().name(name).add(bus.names.endpoint(ROLE, name)).await.map_err(failed)?;
            each.push((question, endpoint));
        }
        Ok(Self { service, each })
    }

    /// Answers requests until the planner shuts down.
    pub(crate) async fn serve(self, planner: &Arc<Planner>) {
        let serving =
            join_all(self.each.into_iter().map(|(question, requests)| answer_each(planner, question, requests)));
        let closing = async {
            planner.shutdown.cancelled().await;
            tokio::time::sleep(CLOSING_TIME).await;
        };
        tokio::select! {
            _ = serving => {}
            () = closing => {}
        }
        if let Err(error) = self.service.stop().await {
            tracing::debug!(%error, "the service was not stopped in order");
        }
    }
}

/// What an endpoint is asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    Submit,
    Validate,
    Retry,
    Delete,
}

impl Question {
    const ALL: [Self; 4] = [Self::Submit, Self::Validate, Self::Retry, Self::Delete];

    /// The endpoint's name.
    fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Validate => "validate",
            Self::Retry => "retry",
            Self::Delete => "delete",
        }
    }
}

/// Answers requests as they come, several at a time, until the planner shuts down; then those that it has.
async fn answer_each(planner: &Arc<Planner>, question: Question, requests: Endpoint) {
    let requests = requests.take_until(planner.shutdown.clone().cancelled_owned());
    requests.for_each_concurrent(AT_ONCE, |request| answer(planner.clone(), question, request)).await;
}

async fn answer(planner: Arc<Planner>, question: Question, request: Request) {
    if !is_request(&request.message, &planner.bus.names.endpoint(ROLE, question.name())) {
        return;
    }
    let metrics = &planner.metrics;
    match question {
        Question::Submit => metrics.submits.inc(),
        Question::Validate => metrics.validates.inc(),
        Question::Retry => metrics.retries.inc(),
        Question::Delete => metrics.deletes.inc(),
    };
    let answered = match question {
        Question::Submit => submit::answer(&planner, &request.message).await.map(|reply| reply::json(&reply)),
        Question::Validate => validate::answer(&planner, &request.message).await.map(|reply| reply::json(&reply)),
        Question::Retry => finished::retry(&planner, &request.message).await.map(|reply| reply::json(&reply)),
        Question::Delete => finished::delete(&planner, &request.message).await.map(|reply| reply::json(&reply)),
    };
    // Errors too are answered as successes, with the headers of an error: an error of the service API has no body, and
    // ours tells all problems of a spec.
    let (headers, body) = match answered {
        Ok(body) => (HeaderMap::new(), body),
        Err(rejection) => {
            metrics.rejected_requests.inc();
            rejection.into_message()
        }
    };
    if let Err(error) = request.respond_with_headers(Ok(body), headers).await {
        tracing::debug!(subject = %request.message.subject, %error, "an answer was not sent");
    }
}
