//! Message headers that jetsweep sets or reads.

/// Batch id, on a request to the submit endpoint.
pub const BATCH: &str = "Jetsweep-Batch";
/// Priority of a batch (`high`, `normal`, `low`), on a submitted spec.
pub const PRIORITY: &str = "Jetsweep-Priority";
/// Stable word for why a message was given up on, on a message in DEAD.
pub const ERROR_CODE: &str = "Jetsweep-Error-Code";
/// Why a message was given up on, in words, on a message in DEAD.
pub const ERROR: &str = "Jetsweep-Error";
/// Subject a message in DEAD first had.
pub const ORIGIN: &str = "Jetsweep-Origin";
/// Set to `1` on a query whose answer may come in several messages; the last one has an empty payload.
pub const STREAM: &str = "Jetsweep-Stream";
/// Number of the message within an answer in several messages, from 0.
pub const PART: &str = "Jetsweep-Part";
/// The span a message was sent in, in the notation of W3C trace context, on any message of a batch that is traced.
pub const TRACEPARENT: &str = "traceparent";
/// What tracing systems add to [`TRACEPARENT`].
pub const TRACESTATE: &str = "tracestate";
