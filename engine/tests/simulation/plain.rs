//! A plain simulation which goes bar by bar and follows the definitions to the letter.

use jetsweep_engine::bars::Bars;
use jetsweep_engine::execution::{AtrDistance, Direction, EndPolicy, Execution, Fill, Size};
use jetsweep_engine::simulation::{ExitReason, Side, Trade};

/// Where a rule is true, one value a bar.
pub(crate) type Bits = Vec<bool>;

/// Rules to enter and to exit of both sides: long, short.
#[derive(Debug, Clone)]
pub(crate) struct Bools {
    pub(crate) enter: [Bits; 2],
    pub(crate) exit: [Bits; 2],
}

/// Everything the plain simulation gives.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    pub(crate) trades: Vec<Trade>,
    pub(crate) equity: Vec<f64>,
    /// Bars that count as held.
    pub(crate) held: usize,
    pub(crate) skipped: usize,
    pub(crate) ambiguous: usize,
}

struct Holding {
    side: Side,
    bar: usize,
    /// Whether it was entered at the open of its bar.
    at_open: bool,
    price: f64,
    shares: f64,
    fee: f64,
    borrowed: f64,
    /// Distances of stop, target and trailing stop by average true ranges.
    distances: [Option<f64>; 3],
    best: f64,
}

#[derive(Clone, Copy)]
struct Order {
    exit: bool,
    enter: Option<(Side, usize)>,
}

struct State<'a> {
    bars: &'a Bars,
    rules: &'a Execution,
    bools: &'a Bools,
    atr: [Option<Vec<f64>>; 3],
    cash: f64,
    holding: Option<Holding>,
    out: Plain,
}

fn sign(side: Side) -> f64 {
    if side == Side::Long { 1.0 } else { -1.0 }
}

/// Wilder's average true range, from its definition.
fn average_true_range(bars: &Bars, period: usize) -> Vec<f64> {
    let (high, low, close) = (bars.high(), bars.low(), bars.close());
    let mut out = vec![f64::NAN; bars.len()];
    let range = |t: usize| (high[t] - low[t]).max((high[t] - close[t - 1]).abs()).max((low[t] - close[t - 1]).abs());
    if period >= bars.len() {
        return out;
    }
    let n = period as f64;
    out[period] = (1..=period).map(range).fold(0.0, |a, b| a + b) / n;
    for t in period + 1..bars.len() {
        out[t] = (out[t - 1] * (n - 1.0) + range(t)) / n;
    }
    out
}

impl State<'_> {
    fn fee(&self, shares: f64, price: f64) -> f64 {
        let rules = self.rules;
        rules.commission_min.max(shares * price * rules.commission + shares * rules.commission_per_share)
    }

    fn enter(&mut self, side: Side, decision: usize, bar: usize, price: f64, at_open: bool) {
        let rules = self.rules;
        let price = price * (1.0 + sign(side) * rules.slippage);
        let pays_for = |cash: f64| {
            let by_rate = cash / (price * (1.0 + rules.commission) + rules.commission_per_share);
            by_rate.min((cash - rules.commission_min) / price)
        };
        let most = pays_for(self.cash);
        let wanted = match rules.size {
            Size::AllIn => most,
            Size::Fraction(part) => pays_for(part * self.cash),
            Size::Cash(amount) => pays_for(amount.min(self.cash)),
            Size::Shares(shares) => shares.min(most),
        };
        let shares = if rules.whole_shares { wanted.floor() } else { wanted };
        if most.is_nan() || most <= 0.0 || shares.is_nan() || shares <= 0.0 {
            self.out.skipped += 1;
            return;
        }
        let fee = self.fee(shares, price);
        self.cash = match side {
            Side::Long if shares == most => 0.0,
            Side::Long => (self.cash - (shares * price + fee)).max(0.0),
            Side::Short => self.cash + (shares * price - fee),
        };
        let distance = |index: usize, rule: Option<AtrDistance>| {
            rule.map(|rule| rule.multiple * self.atr[index].as_ref().unwrap()[decision])
        };
        let distances = [
            distance(0, rules.stop_loss_atr),
            distance(1, rules.take_profit_atr),
            distance(2, rules.trailing_stop_atr),
        ];
        let holding = Holding { side, bar, at_open, price, shares, fee, borrowed: 0.0, distances, best: price };
        self.holding = Some(holding);
    }

    fn trade(&self, held: &Holding, bar: usize, price: f64, fee: f64, reason: ExitReason, open: bool) -> Trade {
        let gained = sign(held.side) * held.shares * (price - held.price);
        let pnl = gained - held.fee - fee - held.borrowed;
        Trade {
            side: held.side,
            entry_bar: held.bar,
            entry_price: held.price,
            exit_bar: bar,
            exit_price: price,
            size: held.shares,
            entry_fee: held.fee,
            exit_fee: fee,
            borrow_cost: held.borrowed,
            pnl,
            return_: pnl / (held.shares * held.price),
            exit_reason: reason,
            open,
        }
    }

    fn exit(&mut self, bar: usize, price: f64, reason: ExitReason) {
        let held = self.holding.take().unwrap();
        let slippage = if reason == ExitReason::Target { 0.0 } else { self.rules.slippage };
        let price = price * (1.0 - sign(held.side) * slippage);
        let value = held.shares * price;
        let mut fee = self.fee(held.shares, price);
        self.cash = match held.side {
            Side::Long => {
                fee = fee.min(value);
                self.cash + (value - fee)
            }
            Side::Short => (self.cash - (value + fee)).max(0.0),
        };
        let trade = self.trade(&held, bar, price, fee, reason, false);
        self.out.trades.push(trade);
    }

    /// The side a flat run enters by the rules at the close of bar `t`.
    fn wanted(&self, t: usize) -> Option<Side> {
        let allowed = match self.rules.direction {
            Direction::Long => [true, false],
            Direction::Short => [false, true],
            Direction::Both => [true, true],
        };
        let side = match (allowed[0] && self.bools.enter[0][t], allowed[1] && self.bools.enter[1][t]) {
            (true, false) => Side::Long,
            (false, true) => Side::Short,
            _ => return None,
        };
        self.atr.iter().flatten().all(|atr| !atr[t].is_nan()).then_some(side)
    }

    /// What is ordered at the close of bar `t` by one who holds a position.
    fn order_in_position(&self, t: usize) -> Option<Order> {
        let side = self.holding.as_ref().unwrap().side;
        let exits = self.bools.exit[usize::from(side == Side::Short)][t];
        let reverse = self.wanted(t).filter(|wanted| *wanted != side).map(|side| (side, t));
        exits.then_some(Order { exit: true, enter: reverse })
    }

    fn check_stops(&mut self, t: usize) {
        let rules = self.rules;
        let (open, high, low) = (self.bars.open()[t], self.bars.high()[t], self.bars.low()[t]);
        let Some(held) = &self.holding else { return };
        let long = held.side == Side::Long;
        let away =
            |price: f64, part: f64, up: bool| if up == long { price * (1.0 + part) } else { price * (1.0 - part) };
        let by = |price: f64, distance: f64, up: bool| if up == long { price + distance } else { price - distance };
        let stops = [
            rules.stop_loss.map(|part| away(held.price, part, false)),
            rules.trailing_stop.map(|part| away(held.best, part, false)),
            held.distances[0].map(|distance| by(held.price, distance, false)),
            held.distances[2].map(|distance| by(held.best, distance, false)),
        ];
        let targets = [
            rules.take_profit.map(|part| away(held.price, part, true)),
            held.distances[1].map(|distance| by(held.price, distance, true)),
        ];
        let highest = |levels: &[Option<f64>]| levels.iter().copied().flatten().reduce(f64::max);
        let lowest = |levels: &[Option<f64>]| levels.iter().copied().flatten().reduce(f64::min);
        let stop = if long { highest(&stops) } else { lowest(&stops) };
        let target = if long { lowest(&targets) } else { highest(&targets) };
        let stopped_by = |price: f64| stop.is_some_and(|stop| if long { price <= stop } else { price >= stop });
        let reached_by = |price: f64| target.is_some_and(|target| if long { price >= target } else { price <= target });
        let (worst, best) = if long { (low, high) } else { (high, low) };
        let held_best = held.best;
        if stopped_by(open) {
            self.exit(t, open, ExitReason::Stop);
        } else if reached_by(open) {
            self.exit(t, open, ExitReason::Target);
        } else if stopped_by(worst) {
            self.out.ambiguous += usize::from(reached_by(best));
            self.exit(t, stop.unwrap(), ExitReason::Stop);
        } else if reached_by(best) {
            self.exit(t, target.unwrap(), ExitReason::Target);
        } else if let Some(held) = &mut self.holding {
            held.best = if long { held_best.max(high) } else { held_best.min(low) };
        }
    }
}

/// Goes through the bars one at a time, with an order pending from one to the next.
pub(crate) fn plain(bars: &Bars, bools: &Bools, rules: &Execution) -> Plain {
    let last = bars.len() - 1;
    let distances = [rules.stop_loss_atr, rules.take_profit_atr, rules.trailing_stop_atr];
    let atr = distances.map(|distance| distance.map(|distance| average_true_range(bars, distance.period as usize)));
    let mut state = State { bars, rules, bools, atr, cash: rules.cash, holding: None, out: Plain::default() };
    let bars_per_year = rules.bars_per_year.unwrap_or(bars.bars_per_year());
    let mut pending: Option<Order> = None;
    for t in 0..bars.len() {
        let (open, close) = (bars.open()[t], bars.close()[t]);

        // At the open.
        let order = pending.take();
        if order.is_some_and(|order| order.exit) {
            state.exit(t, open, ExitReason::Rule);
        } else if let (Some(held), Some(most)) = (&state.holding, rules.max_bars)
            && t == held.bar + most as usize
        {
            state.exit(t, open, ExitReason::MaxBars);
        }
        if let Some((side, decision)) = order.and_then(|order| order.enter) {
            state.enter(side, decision, t, open, true);
        }

        // Within the bar.
        if state.holding.as_ref().is_some_and(|held| held.bar < t || held.at_open) {
            state.check_stops(t);
        }

        // At the close.
        if rules.fill == Fill::Close {
            let order = match state.holding {
                Some(_) => state.order_in_position(t),
                None => state.wanted(t).map(|side| Order { exit: false, enter: Some((side, t)) }),
            };
            if order.is_some_and(|order| order.exit) {
                state.exit(t, close, ExitReason::Rule);
            }
            if let Some((side, decision)) = order.and_then(|order| order.enter)
                && t < last
            {
                state.enter(side, decision, t, close, false);
            }
        }
        state.out.held += usize::from(state.holding.is_some());
        if let Some(held) = &mut state.holding
            && held.side == Side::Short
        {
            let cost = held.shares * close * (rules.borrow_rate / bars_per_year);
            held.borrowed += cost;
            state.cash -= cost;
        }
        let equity = |state: &State<'_>| {
            state.cash + state.holding.as_ref().map_or(0.0, |held| sign(held.side) * held.shares * close)
        };
        let mut ruined = false;
        if state.holding.as_ref().is_some_and(|held| held.side == Side::Short) && equity(&state) <= 0.0 {
            state.exit(t, close, ExitReason::Ruin);
            state.cash = 0.0;
            ruined = true;
        }
        if t == last && rules.end == EndPolicy::Liquidate && state.holding.is_some() {
            state.exit(t, close, ExitReason::End);
        }
        state.out.equity.push(equity(&state));
        if t == last {
            if let Some(held) = state.holding.take() {
                let trade = state.trade(&held, t, close, 0.0, ExitReason::End, true);
                state.out.trades.push(trade);
            }
            break;
        }
        if rules.fill == Fill::NextOpen && !ruined {
            pending = match state.holding {
                Some(_) => state.order_in_position(t),
                None => state.wanted(t).map(|side| Order { exit: false, enter: Some((side, t)) }),
            };
        }
    }
    state.out
}
