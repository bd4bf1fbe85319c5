//! The backtest engine of jetsweep: bars, indicators, templates, simulation, metrics
