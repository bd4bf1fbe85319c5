//! Walking, sampling and checking grids.

use indexmap::IndexMap;
use proptest::prelude::*;

use super::{Axis, Grid, MAX_RAW_POINTS, Points, Random};
use crate::problem::Problem;
use crate::template::Template;

fn template() -> Template {
    let text = r#"
name = "three"
where = "a < b"
[params]
a = { default = 1, min = 1, max = 100 }
b = { default = 50, min = 1, max = 100 }
c = { default = 0.5, min = 0.0, max = 1.0 }
[long]
enter = "sma(close, a) > c"
exit = "sma(close, b) < c"
"#;
    Template::from_toml(text).unwrap()
}

fn grid<const N: usize>(axes: [(&str, Axis); N]) -> Grid {
    Grid::new(&template(), axes.into_iter().map(|(name, axis)| (name.to_owned(), axis)).collect())
}

fn range(from: f64, to: f64, step: f64) -> Axis {
    Axis::Range { from, to, step }
}

fn list(values: &[f64]) -> Axis {
    Axis::List(values.to_vec())
}

fn points(grid: &Grid) -> Points {
    grid.points(&template()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn walked(points: &Points, cursor: u64, already: u64) -> Vec<(u64, Vec<f64>)> {
    let mut walk = points.walk(cursor, already);
    let mut found = Vec::new();
    while let Some((cursor, values)) = walk.next_point() {
        found.push((cursor, values.to_vec()));
    }
    found
}

fn values(axis: &Axis) -> Vec<f64> {
    (0..axis.len()).map(|index| axis.value(index)).collect()
}

fn problems(grid: &Grid) -> Vec<Problem> {
    grid.points(&template()).expect_err("a grid with something wrong")
}

#[test]
fn ranges_include_their_end() {
    assert_eq!(values(&range(5.0, 20.0, 5.0)), [5.0, 10.0, 15.0, 20.0]);
    assert_eq!(values(&range(5.0, 19.0, 5.0)), [5.0, 10.0, 15.0]);
    assert_eq!(values(&range(5.0, 5.0, 1.0)), [5.0]);
    let tenths = values(&range(0.1, 0.5, 0.1));
    assert_eq!(tenths.len(), 5);
    assert_eq!(tenths[4], 0.5);
    assert_eq!(range(0.0, 1.0, 0.05).len(), 21);
    assert_eq!(range(0.7, 0.9, 0.1).len(), 3);
}

#[test]
fn the_last_axis_varies_fastest_and_where_leaves_points_out() {
    let grid = grid([("c", list(&[0.25, 0.75])), ("a", list(&[2.0, 4.0])), ("b", list(&[3.0, 5.0]))]);
    let points = points(&grid);
    let expected: [(u64, [f64; 3]); 6] = [
        (0, [2.0, 3.0, 0.25]),
        (1, [2.0, 3.0, 0.75]),
        (2, [2.0, 5.0, 0.25]),
        (3, [2.0, 5.0, 0.75]),
        (6, [4.0, 5.0, 0.25]),
        (7, [4.0, 5.0, 0.75]),
    ];
    assert_eq!(walked(&points, 0, 0), expected.map(|(cursor, values)| (cursor, values.to_vec())));
    assert_eq!((points.raw_points(), points.count(), points.is_empty()), (8, 6, false));
}

#[test]
fn parameters_without_an_axis_keep_their_default() {
    let grid = grid([("a", range(1.0, 3.0, 1.0))]);
    assert_eq!(grid.axes.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(walked(&points(&grid), 0, 0)[2], (2, vec![3.0, 50.0, 0.5]));
}

#[test]
fn both_conditions_count() {
    let grid = grid([("a", range(1.0, 10.0, 1.0)), ("b", range(1.0, 10.0, 1.0))]);
    assert_eq!(points(&grid).count(), 45);
    assert_eq!(points(&grid.clone().with_where(Some("a * 2 <= b".to_owned()))).count(), 25);
    let nothing = points(&grid.with_where(Some("a > b".to_owned())));
    assert!(nothing.is_empty());
    assert_eq!(nothing.count(), 0);
}

#[test]
fn samples_are_distinct_points_and_depend_on_the_seed_alone() {
    let all = grid([("a", range(1.0, 30.0, 1.0)), ("b", range(1.0, 30.0, 1.0))]);
    let sample = |count, seed| walked(&points(&all.clone().with_random(Some(Random { count, seed }))), 0, 0);
    let values = |points: Vec<(u64, Vec<f64>)>| points.into_iter().map(|(_, values)| values).collect::<Vec<_>>();

    let hundred = values(sample(100, 7));
    assert_eq!(hundred.len(), 100);
    assert_eq!(values(sample(100, 7)), hundred);
    assert_ne!(values(sample(100, 8)), hundred);
    assert_eq!(values(sample(50, 7)), hundred[..50], "a smaller sample is the start of a larger one");
    assert!(hundred.iter().all(|values| values[0] < values[1]));

    let key = |values: &Vec<f64>| (values[0] as u64, values[1] as u64);
    let mut everything = values(sample(1_000_000, 7));
    everything.sort_by_key(key);
    assert_eq!(everything, values(walked(&points(&all), 0, 0)), "a sample of more than there is takes each point once");
}

#[test]
fn grids_survive_json() {
    let grid = grid([("a", range(1.0, 30.0, 1.0)), ("b", list(&[40.0, 50.0]))])
        .with_where(Some("a * 2 < b".to_owned()))
        .with_random(Some(Random { count: 3, seed: u64::MAX }));
    let json = serde_json::to_string(&grid).unwrap();
    let expected = r#"{"axes":{"a":{"range":{"from":1.0,"to":30.0,"step":1.0}},"b":{"list":[40.0,50.0]},"c":{"value":0.5}},"where":"a * 2 < b","random":{"count":3,"seed":18446744073709551615}}"#;
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Grid>(&json).unwrap(), grid);
}

#[test]
fn axes_are_read_from_specs() {
    let read = |json: &str| Axis::from_document(&serde_json::from_str(json).unwrap());
    assert_eq!(read("10"), Ok(Axis::Value(10.0)));
    assert_eq!(read("[1, 2.5]"), Ok(list(&[1.0, 2.5])));
    assert_eq!(read(r#"{"from": 5, "to": 50, "step": 5}"#), Ok(range(5.0, 50.0, 5.0)));
    assert!(read(r#"{"from": 5, "too": 50, "step": 5}"#).unwrap_err().contains("did you mean \"to\"?"));
    assert!(read(r#"{"from": 5, "to": 50}"#).unwrap_err().contains("step is missing"));
    assert!(read(r#"["5"]"#).unwrap_err().contains("each value must be a number"));
    assert!(read("\"5\"").unwrap_err().contains("an axis is a number"));
}

#[test]
fn problems_name_the_parameter_and_the_value() {
    let whole_range = |step: f64| range(1.0, 10.0, step);
    for (axis, expected) in [
        (Axis::Value(0.0), "0 is outside the parameter's bounds, 1 to 100"),
        (Axis::Value(f64::NAN), "NaN is outside the parameter's bounds"),
        (Axis::Value(2.5), "2.5 is not a whole number, which this parameter needs"),
        (list(&[]), "the list has no values"),
        (list(&[3.0, 5.0, 3.0, 3.0]), "the list has 3 more than once"),
        (list(&[3.0, 101.0]), "101 is outside"),
        (whole_range(0.0), "the range from 1 to 10 by 0 needs a step above 0"),
        (whole_range(-1.0), "needs a step above 0"),
        (whole_range(0.5), "the step 0.5 is not a whole number"),
        (range(10.0, 1.0, 1.0), "is empty: from is above to"),
        (range(1.0, f64::INFINITY, 1.0), "needs finite numbers"),
        (range(1.0, 10.0, 1e-17), "has a step too small to tell its values apart"),
        (range(90.0, 110.0, 5.0), "110 is outside"),
        (range(-5.0, 10.0, 5.0), "-5 is outside"),
        (range(1.5, 10.5, 1.0), "1.5 is not a whole number"),
    ] {
        let found = problems(&grid([("a", axis.clone())]));
        assert!(
            found.iter().any(|problem| problem.at == "a" && problem.message.contains(expected)),
            "{axis:?}: {found:?}"
        );
    }
}

#[test]
fn all_problems_of_a_grid_are_reported_at_once() {
    let grid = grid([("a", Axis::Value(0.0)), ("d", Axis::Value(0.0)), ("c", list(&[]))])
        .with_where(Some("a < e".to_owned()))
        .with_random(Some(Random { count: 0, seed: 0 }));
    let places: Vec<String> = problems(&grid).into_iter().map(|problem| problem.at).collect();
    assert_eq!(places, ["d", "a", "c", "random", "where"]);
    let mut missing = grid.clone();
    missing.axes = IndexMap::new();
    assert_eq!(problems(&missing)[0].message, "the grid has no axis for this parameter");
}

#[test]
fn a_grid_too_large_is_refused_without_walking_it() {
    let huge = grid([("c", range(0.0, 1.0, 1e-12))]);
    assert_eq!(huge.raw_points(), 1_000_000_000_001);
    assert!(problems(&huge)[0].message.contains("1000000000001 points before `where`, at most 1000000000"));
    let largest = grid([("c", range(0.0, 1.0, 1.0 / (MAX_RAW_POINTS - 1) as f64))]);
    assert_eq!(points(&largest).raw_points(), MAX_RAW_POINTS);
    let beyond_u64 = grid([("c", range(0.0, 1.0, 1e-300)), ("a", range(1.0, 100.0, 1e-12))]);
    assert!(!problems(&beyond_u64).is_empty());
}

#[test]
fn a_template_without_parameters_has_one_point() {
    let text = "name = \"plain\"\n[long]\nenter = \"close > open\"\nexit = \"close < open\"";
    let template = Template::from_toml(text).unwrap();
    let points = Grid::new(&template, IndexMap::new()).points(&template).unwrap();
    assert_eq!(walked(&points, 0, 0), [(0, vec![])]);
    assert_eq!(points.count(), 1);
}

proptest! {
    #[test]
    fn a_walk_from_a_cursor_is_the_rest_of_the_whole_walk(
        a in 1..12_u32, b in 1..12_u32, c in 1..5_u32, at in 0..700_u64, random in prop::option::of((1..200_u64, any::<u64>()))
    ) {
        let axis = |count: u32| range(1.0, f64::from(count), 1.0);
        let c: Vec<f64> = (0..c).map(|index| f64::from(index) / 10.0).collect();
        let grid = grid([("a", axis(a)), ("b", axis(b)), ("c", list(&c))])
            .with_random(random.map(|(count, seed)| Random { count, seed }));
        let points = points(&grid);
        let whole = walked(&points, 0, 0);
        prop_assert_eq!(points.count(), whole.len() as u64);
        prop_assert_eq!(points.is_empty(), whole.is_empty());
        let before = whole.iter().filter(|(cursor, _)| *cursor < at).count();
        prop_assert_eq!(&walked(&points, at, before as u64)[..], &whole[before..]);
    }
}

#[test]
fn a_walk_goes_on_where_another_stopped() {
    let points = points(&grid([("a", range(1.0, 20.0, 1.0)), ("b", range(1.0, 20.0, 1.0))]));
    let mut first = points.walk(0, 0);
    let mut seen = Vec::new();
    for _ in 0..77 {
        let (cursor, values) = first.next_point().unwrap();
        seen.push((cursor, values.to_vec()));
    }
    seen.extend(walked(&points, first.cursor(), 77));
    assert_eq!(seen, walked(&points, 0, 0));
}
