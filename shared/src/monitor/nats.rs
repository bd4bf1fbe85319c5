//! The connection to NATS: whether it is there, and what went over it.

use std::sync::atomic::Ordering;

use async_nats::Client;
use async_nats::connection::State;

use super::Numbers;

/// Whether the connection is there.
pub(super) fn check(client: &Client) -> Result<(), String> {
    match client.connection_state() {
        State::Connected => Ok(()),
        State::Pending => Err("not connected yet".to_owned()),
        State::Disconnected => Err("the connection is lost and is being made again".to_owned()),
    }
}

/// A connection's metrics.
pub(super) fn numbers(client: &Client) -> Vec<Numbers> {
    let statistics = client.statistics();
    let counter = |name, help, value: u64| Numbers::counter(name, help).is(value);
    vec![
        Numbers::gauge("jetsweep_nats_connected", "1 while connected to NATS").is(check(client).is_ok()),
        counter(
            "jetsweep_nats_connects",
            "Connections made to NATS, the first one included",
            statistics.connects.load(Ordering::Relaxed),
        ),
        counter(
            "jetsweep_nats_received_messages",
            "Messages received from NATS",
            statistics.in_messages.load(Ordering::Relaxed),
        ),
        counter(
            "jetsweep_nats_received_bytes",
            "Payload received from NATS",
            statistics.in_bytes.load(Ordering::Relaxed),
        ),
        counter(
            "jetsweep_nats_sent_messages",
            "Messages sent to NATS",
            statistics.out_messages.load(Ordering::Relaxed),
        ),
        counter("jetsweep_nats_sent_bytes", "Payload sent to NATS", statistics.out_bytes.load(Ordering::Relaxed)),
    ]
}
