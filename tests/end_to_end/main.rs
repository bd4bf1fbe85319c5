//! The whole system as its users meet it: the real binary, a real nats-server, real kills.

mod addresses;
mod bucket;
mod cancel;
mod client;
mod cluster;
mod data;
mod disguises;
mod doctor;
mod interrupt;
mod kills;
mod kills_of_services;
mod monitoring;
mod quickstart;
mod receiver;
mod refusals;
mod ruin;
mod secured;
mod security;
mod sql;
mod support;
mod topology;
mod traces;
mod versions;
mod web;
mod windows;
