//! The MLflow bridge against a real MLflow server: what is there, once, equal to the database to the bit; and with
//! kills and faults on the way.
//!
//! `scripts/setup-mlflow` installs the server, `scripts/test-mlflow` runs these alone; the variable `MLFLOW` names another
//! server program.

mod faults;
mod figures;
mod kills;
mod proxy;
mod quickstart;
mod retries;
mod server;
mod services;
