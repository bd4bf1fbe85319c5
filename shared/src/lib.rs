//! What the services of jetsweep agree on: events, subjects, topology, config, telemetry
