//! The whole system as its users meet it: the real binary, a real nats-server, real kills.

mod topology;
