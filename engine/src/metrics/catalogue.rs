//! The metrics there are, and the values of one run.

/// What a metric counts in, which decides how it is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A plain ratio or fraction: 0.1 is 10%.
    Ratio,
    /// A whole number.
    Count,
    /// An amount in the currency of the bars.
    Money,
}

macro_rules! metrics {
    ($($variant:ident $name:literal $kind:ident $doc:literal,)+) => {
        /// Every metric a run has, in the order of columns.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Metric { $(#[doc = $doc] $variant,)+ }

        impl Metric {
            /// All metrics, in the order of columns.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant,)+];

            /// Name as in result events, DuckDB columns and JSON output.
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name,)+ }
            }

            /// What it counts in.
            pub const fn kind(self) -> Kind {
                match self { $(Metric::$variant => Kind::$kind,)+ }
            }

            /// One line that says what it is.
            pub const fn description(self) -> &'static str {
                match self { $(Metric::$variant => $doc,)+ }
            }
        }
    };
}

metrics! {
    Sharpe "sharpe" Ratio "Mean excess return a bar over its standard deviation (ddof 1), annualised.",
    SortinoRatio "sortino_ratio" Ratio "Mean excess return a bar over the downside deviation of all bars, annualised.",
    MaxDrawdown "max_drawdown" Ratio "Deepest fall of equity below its running maximum, as a fraction, at most 0.",
    WinRate "win_rate" Ratio "Winning closed trades over all closed trades.",
    ProfitFactor "profit_factor" Ratio "Net profit of winning trades over net loss of losing trades.",
    TradeCount "trade_count" Count "Closed trades.",
    AvgTradeReturn "avg_trade_return" Ratio "Arithmetic mean of the closed trades' returns.",
    TotalReturn "total_return" Ratio "Final equity over initial cash, minus 1.",
    Cagr "cagr" Ratio "Compound annual growth rate.",
    Volatility "volatility" Ratio "Standard deviation of returns (ddof 1), annualised.",
    Calmar "calmar" Ratio "Compound annual growth rate over the maximum drawdown.",
    Exposure "exposure" Ratio "Bars whose close is in a position over all bars.",
    MaxDrawdownBars "max_drawdown_bars" Count "Longest stretch of bars below the running maximum of equity.",
    BestTradeReturn "best_trade_return" Ratio "Highest return of a closed trade.",
    WorstTradeReturn "worst_trade_return" Ratio "Lowest return of a closed trade.",
    AvgWinReturn "avg_win_return" Ratio "Arithmetic mean of winning trades' returns.",
    AvgLossReturn "avg_loss_return" Ratio "Arithmetic mean of losing trades' returns.",
    Expectancy "expectancy" Money "Mean net profit of a closed trade.",
    PayoffRatio "payoff_ratio" Ratio "Mean net profit of winning trades over mean net loss of losing trades.",
    AvgBarsHeld "avg_bars_held" Ratio "Mean number of bars a closed trade was held.",
    TotalFees "total_fees" Money "All commissions paid.",
    FinalEquity "final_equity" Money "Equity at the last close.",
    OpenTrades "open_trades" Count "Trades still open after the last bar: 0 or 1.",
    SkippedEntries "skipped_entries" Count "Entries that bought nothing because cash did not reach for any share.",
    AmbiguousBars "ambiguous_bars" Count "Bars that reached both a stop and a target; the stop is taken to be first.",
    Skew "skew" Ratio "Skewness of returns, not corrected for bias.",
    Kurtosis "kurtosis" Ratio "Excess kurtosis of returns, not corrected for bias.",
    Bars "bars" Count "Bars of the run.",
    BarsPerYear "bars_per_year" Ratio "Bars a year used for annualising.",
}

impl Metric {
    /// The metric of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL.iter().copied().find(|metric| metric.name() == name)
    }
}

/// Blocks over which sums of returns are kept, with bounds `floor(k * N / BLOCKS)`.
pub const BLOCKS: usize = 16;

/// The metrics of one run. Undefined metrics (no trades, no losses, no deviation) are absent, never 0 or infinite.
///
/// Two are equal if they are so bit for bit, undefined metrics being equal to each other.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Finite, or [`f64::NAN`] where undefined.
    values: [f64; Metric::ALL.len()],
    /// Sums of returns over [`BLOCKS`] blocks of bars; NaN where undefined.
    pub block_returns: [f64; BLOCKS],
    /// Sums of squared returns over the same blocks.
    pub block_squares: [f64; BLOCKS],
}

impl Metrics {
    /// Metrics of which none is defined yet.
    pub fn undefined() -> Self {
        Self { values: [f64::NAN; Metric::ALL.len()], block_returns: [0.0; BLOCKS], block_squares: [0.0; BLOCKS] }
    }

    /// The value, or `None` where it is undefined.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        let value = self.values[metric as usize];
        value.is_finite().then_some(value)
    }

    /// Whether nothing was left: equity fell to 0 or below.
    pub fn ruined(&self) -> bool {
        self.get(Metric::FinalEquity).is_some_and(|equity| equity <= 0.0)
    }

    /// Sets a value; one that is not finite counts as undefined.
    pub fn set(&mut self, metric: Metric, value: f64) {
        self.values[metric as usize] = if value.is_finite() { value } else { f64::NAN };
    }

    /// Sets a value if there is one.
    pub(super) fn set_defined(&mut self, metric: Metric, value: Option<f64>) {
        self.set(metric, value.unwrap_or(f64::NAN));
    }

    /// Sets a count.
    pub(super) fn set_count(&mut self, metric: Metric, count: usize) {
        self.set(metric, count as f64);
    }
}

impl PartialEq for Metrics {
    fn eq(&self, other: &Self) -> bool {
        let same = |ours: &[f64], theirs: &[f64]| ours.iter().zip(theirs).all(|(a, b)| a.to_bits() == b.to_bits());
        same(&self.values, &other.values)
            && same(&self.block_returns, &other.block_returns)
            && same(&self.block_squares, &other.block_squares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        for metric in Metric::ALL {
            assert_eq!(Metric::from_name(metric.name()), Some(*metric));
            assert_eq!(Metric::ALL[*metric as usize], *metric);
        }
        assert_eq!(Metric::from_name("sharp"), None);
    }

    #[test]
    fn what_is_not_finite_is_undefined() {
        let mut metrics = Metrics::undefined();
        assert_eq!(metrics, Metrics::undefined());
        metrics.set(Metric::Sharpe, f64::INFINITY);
        assert_eq!((metrics.get(Metric::Sharpe), &metrics), (None, &Metrics::undefined()));
        metrics.set(Metric::Sharpe, 0.0);
        let mut negative = metrics.clone();
        negative.set(Metric::Sharpe, -0.0);
        assert_ne!(metrics, negative);
    }
}
