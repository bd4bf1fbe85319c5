//! End-to-end tests: real nats-server, real processes, real kills
