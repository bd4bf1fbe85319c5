//! Walking a grid.

use crate::expr::Filter;

use super::permutation::Permutation;
use super::{Axis, Random};

/// A checked grid, ready to walk.
#[derive(Debug, Clone)]
pub struct Points {
    axes: Vec<Axis>,
    /// Number of values of each axis.
    lens: Vec<u64>,
    filters: Vec<Filter>,
    raw_points: u64,
    sample: Option<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    order: Permutation,
    count: u64,
}

impl Points {
    /// Of axes in the template's order, at most [`super::MAX_RAW_POINTS`] points together.
    pub(super) fn new(axes: Vec<Axis>, filters: Vec<Filter>, random: Option<Random>) -> Self {
        let lens: Vec<u64> = axes.iter().map(Axis::len).collect();
        let raw_points = lens.iter().product();
        let sample =
            random.map(|random| Sample { order: Permutation::new(raw_points, random.seed), count: random.count });
        Self { axes, lens, filters, raw_points, sample }
    }

    /// Points of the raw grid, before `where` and sampling; cursors are below it.
    pub fn raw_points(&self) -> u64 {
        self.raw_points
    }

    /// Number of points a walk from the start yields. Without `where` it is known at once; with one it takes a walk
    /// over the raw grid, some 30 ns a point.
    pub fn count(&self) -> u64 {
        let limit = self.sample.as_ref().map_or(u64::MAX, |sample| sample.count);
        if self.filters.is_empty() {
            return self.raw_points.min(limit);
        }
        let mut walk = self.walk(0, 0);
        let mut count = 0;
        while walk.next_point().is_some() {
            count += 1;
        }
        count
    }

    /// Whether `where` leaves no point at all. Takes a walk to the first one.
    pub fn is_empty(&self) -> bool {
        self.walk(0, 0).next_point().is_none()
    }

    /// Walks the points at raw cursors from `cursor` on. `already` is the number of points before that cursor, which
    /// matters to a sample only: it ends after [`Random::count`] points in all.
    pub fn walk(&self, cursor: u64, already: u64) -> Walk<'_> {
        let left = self.sample.as_ref().map_or(u64::MAX, |sample| sample.count.saturating_sub(already));
        let mut walk = Walk {
            points: self,
            filters: self.filters.clone(),
            indices: vec![0; self.axes.len()],
            values: vec![0.0; self.axes.len()],
            cursor,
            moved: true,
            left,
        };
        if self.sample.is_none() && cursor < self.raw_points {
            walk.load(cursor);
        }
        walk
    }
}

/// A walk over the points of a grid which satisfy `where`, with nothing stored a point.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    points: &'a Points,
    filters: Vec<Filter>,
    /// Index and value on each axis.
    indices: Vec<u64>,
    values: Vec<f64>,
    /// The first raw cursor not looked at yet.
    cursor: u64,
    /// Whether indices and values are already those of the cursor; otherwise they are those of the one before.
    moved: bool,
    /// Points a sample may still yield.
    left: u64,
}

impl Walk<'_> {
    /// The raw cursor from which another walk goes on where this one is now.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// The next point: its raw cursor, and its values in the order of the template's parameters.
    pub fn next_point(&mut self) -> Option<(u64, &[f64])> {
        if self.left == 0 {
            return None;
        }
        while self.cursor < self.points.raw_points {
            let cursor = self.cursor;
            match &self.points.sample {
                Some(sample) => self.load(sample.order.apply(cursor)),
                None if self.moved => {}
                None => self.step(),
            }
            self.moved = false;
            self.cursor += 1;
            let values = &self.values;
            if self.filters.iter_mut().all(|filter| filter.holds(values)) {
                self.left -= 1;
                return Some((cursor, &self.values));
            }
        }
        None
    }

    /// Moves to the next raw point: the last axis by one, and each axis that ran out carries into the one before it.
    fn step(&mut self) {
        for axis in (0..self.indices.len()).rev() {
            let next = self.indices[axis] + 1;
            let ran_out = next == self.points.lens[axis];
            self.indices[axis] = if ran_out { 0 } else { next };
            self.values[axis] = self.points.axes[axis].value(self.indices[axis]);
            if !ran_out {
                return;
            }
        }
    }

    /// Moves to the raw point at `position`.
    fn load(&mut self, position: u64) {
        let mut rest = position;
        for axis in (0..self.indices.len()).rev() {
            let len = self.points.lens[axis];
            self.indices[axis] = rest % len;
            self.values[axis] = self.points.axes[axis].value(self.indices[axis]);
            rest /= len;
        }
    }
}
