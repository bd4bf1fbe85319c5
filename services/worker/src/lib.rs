//! Runs jobs and publishes their results
