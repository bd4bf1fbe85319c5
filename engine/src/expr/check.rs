//! Types: from a syntax tree to a program, or to everything that is wrong with it.

use crate::indicators::{self, ArgumentKind, Indicator};
use crate::problem::did_you_mean;

use super::error::{ExprError, Span};
use super::lexer::Operator;
use super::parser::{Kind, Node, NodeIndex};
use super::program::{BinaryOp, Call, Comparison, Condition, ConditionIndex, Program, UnaryOp, Value, ValueIndex};
use super::{FUNCTIONS, KEYWORDS, Parameter, Series};

/// What an expression can refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) parameters: &'a [Parameter],
    /// Whether there are bars: a rule sees them, a `where` filter does not.
    pub(super) bars: bool,
}

/// Types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Type {
    Whole,
    Number,
    Column,
}

impl Type {
    fn description(self) -> &'static str {
        match self {
            Type::Whole => "a whole number",
            Type::Number => "a number",
            Type::Column => "a column",
        }
    }
}

/// What a node of the syntax tree turned out to be.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Value(ValueIndex, Type),
    /// A condition, as "is true" and as "is false".
    Condition(ConditionIndex, ConditionIndex),
    /// Something wrong, which has been reported.
    Invalid,
}

/// Checks a syntax tree.
///
/// # Errors
/// Everything wrong with it, in the order of the expression.
pub(super) fn check(source: &str, syntax: &[Node], scope: Scope<'_>) -> Result<Program, Vec<ExprError>> {
    let mut checker = Checker {
        source,
        syntax,
        scope,
        meanings: Vec::with_capacity(syntax.len()),
        values: Vec::new(),
        conditions: Vec::new(),
        errors: Vec::new(),
    };
    for node in syntax {
        let meaning = checker.node(node);
        checker.meanings.push(meaning);
    }
    checker.finish()
}

struct Checker<'a> {
    source: &'a str,
    syntax: &'a [Node],
    scope: Scope<'a>,
    meanings: Vec<Meaning>,
    values: Vec<Value>,
    conditions: Vec<Condition>,
    errors: Vec<ExprError>,
}

impl Checker<'_> {
    fn finish(mut self) -> Result<Program, Vec<ExprError>> {
        let root = self.meanings.len() - 1;
        match self.meanings[root] {
            Meaning::Condition(truth, _) if self.errors.is_empty() => {
                return Ok(Program::new(self.values, &self.conditions, truth));
            }
            Meaning::Value(_, kind) => {
                let kind = kind.description();
                let message = format!("this must be a condition, but is {kind}: compare it, as in \"... > 0\"");
                self.error(self.syntax[root].span.clone(), message);
            }
            Meaning::Condition(..) | Meaning::Invalid => {}
        }
        self.errors.sort_by_key(|error| error.span.start);
        Err(self.errors)
    }

    fn error(&mut self, span: Span, message: impl Into<String>) -> Meaning {
        self.errors.push(ExprError::new(span, message));
        Meaning::Invalid
    }

    fn value(&mut self, value: Value, kind: Type) -> Meaning {
        self.values.push(value);
        Meaning::Value(self.values.len() - 1, kind)
    }

    fn condition(&mut self, condition: Condition) -> ConditionIndex {
        self.conditions.push(condition);
        self.conditions.len() - 1
    }

    fn node(&mut self, node: &Node) -> Meaning {
        match &node.kind {
            Kind::Number { value, whole } => {
                self.value(Value::Number(*value), if *whole { Type::Whole } else { Type::Number })
            }
            Kind::Name(name) => self.name(name, &node.span),
            Kind::Negate(inner) => self.unary(UnaryOp::Negate, *inner, "\"-\""),
            Kind::Not(inner) => match self.operand_condition(*inner, "\"not\"") {
                Some((truth, falsity)) => Meaning::Condition(falsity, truth),
                None => Meaning::Invalid,
            },
            Kind::Binary(operator, left, right) => self.binary(*operator, *left, *right),
            Kind::Call { name, arguments } => self.call(name, arguments, &node.span),
        }
    }

    fn name(&mut self, name: &str, span: &Span) -> Meaning {
        if let Some(index) = self.scope.parameters.iter().position(|parameter| parameter.name == name) {
            let kind = if self.scope.parameters[index].whole { Type::Whole } else { Type::Number };
            return self.value(Value::Parameter(index), kind);
        }
        if let Some(series) = Series::from_name(name) {
            if !self.scope.bars {
                return self.no_bars(name, span);
            }
            return self.value(Value::Series(series), Type::Column);
        }
        if let Some(signature) = signature(name) {
            return self.error(span.clone(), format!("\"{name}\" is a function: write {signature}"));
        }
        let message = format!("unknown name \"{name}\"{}", self.suggestion(name));
        self.error(span.clone(), message)
    }

    fn no_bars(&mut self, name: &str, span: &Span) -> Meaning {
        let message =
            format!("\"{name}\" needs bars, but `where` is decided before there are any: it sees parameters only");
        self.error(span.clone(), message)
    }

    fn suggestion(&self, name: &str) -> String {
        let parameters = self.scope.parameters.iter().map(|parameter| parameter.name.as_str());
        let series = Series::ALL.iter().map(|(name, _)| *name).filter(|_| self.scope.bars);
        let indicators = indicators::ALL.iter().map(|indicator| indicator.name).filter(|_| self.scope.bars);
        let functions = FUNCTIONS.iter().map(|(name, _)| *name);
        did_you_mean(name, parameters.chain(series).chain(functions).chain(indicators).chain(KEYWORDS))
    }

    /// A number or column, or nothing if it is a condition (now reported) or invalid.
    fn operand_value(&mut self, node: NodeIndex, of: &str) -> Option<(ValueIndex, Type)> {
        match self.meanings[node] {
            Meaning::Value(value, kind) => Some((value, kind)),
            Meaning::Condition(..) => {
                let message = format!("{of} takes numbers and columns, but this is a condition");
                self.error(self.syntax[node].span.clone(), message);
                None
            }
            Meaning::Invalid => None,
        }
    }

    /// A condition, or nothing if it is a value (now reported) or invalid.
    fn operand_condition(&mut self, node: NodeIndex, of: &str) -> Option<(ConditionIndex, ConditionIndex)> {
        match self.meanings[node] {
            Meaning::Condition(truth, falsity) => Some((truth, falsity)),
            Meaning::Value(_, kind) => {
                let message = format!("{of} takes conditions, but this is {}", kind.description());
                self.error(self.syntax[node].span.clone(), message);
                None
            }
            Meaning::Invalid => None,
        }
    }

    fn unary(&mut self, op: UnaryOp, inner: NodeIndex, of: &str) -> Meaning {
        let Some((inner, kind)) = self.operand_value(inner, of) else { return Meaning::Invalid };
        let kind = if op == UnaryOp::Log { kind.max(Type::Number) } else { kind };
        self.value(Value::Unary(op, inner), kind)
    }

    fn binary(&mut self, operator: Operator, left: NodeIndex, right: NodeIndex) -> Meaning {
        match operator {
            Operator::Plus => self.arithmetic(BinaryOp::Add, left, right, "\"+\""),
            Operator::Minus => self.arithmetic(BinaryOp::Subtract, left, right, "\"-\""),
            Operator::Times => self.arithmetic(BinaryOp::Multiply, left, right, "\"*\""),
            Operator::Divide => self.arithmetic(BinaryOp::Divide, left, right, "\"/\""),
            Operator::And => self.join(left, right, "\"and\"", Condition::And, Condition::Or),
            Operator::Or => self.join(left, right, "\"or\"", Condition::Or, Condition::And),
            Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual
            | Operator::Equal
            | Operator::NotEqual => self.comparison(operator, left, right),
            Operator::Not => unreachable!("the parser makes no binary node of \"not\""),
        }
    }

    fn two_values(&mut self, left: NodeIndex, right: NodeIndex, of: &str) -> Option<[(ValueIndex, Type); 2]> {
        let left = self.operand_value(left, of);
        let right = self.operand_value(right, of);
        Some([left?, right?])
    }

    fn arithmetic(&mut self, op: BinaryOp, left: NodeIndex, right: NodeIndex, of: &str) -> Meaning {
        let Some([(left, left_type), (right, right_type)]) = self.two_values(left, right, of) else {
            return Meaning::Invalid;
        };
        let widest = left_type.max(right_type);
        let kind = if op == BinaryOp::Divide { widest.max(Type::Number) } else { widest };
        self.value(Value::Binary(op, left, right), kind)
    }

    /// `and` and `or`, by de Morgan: what makes the joined condition false is the other join of what makes its parts
    /// false.
    fn join(
        &mut self,
        left: NodeIndex,
        right: NodeIndex,
        of: &str,
        truth: fn(ConditionIndex, ConditionIndex) -> Condition,
        falsity: fn(ConditionIndex, ConditionIndex) -> Condition,
    ) -> Meaning {
        let left = self.operand_condition(left, of);
        let right = self.operand_condition(right, of);
        let (Some((left_truth, left_falsity)), Some((right_truth, right_falsity))) = (left, right) else {
            return Meaning::Invalid;
        };
        let truth = self.condition(truth(left_truth, right_truth));
        let falsity = self.condition(falsity(left_falsity, right_falsity));
        Meaning::Condition(truth, falsity)
    }

    fn comparison(&mut self, operator: Operator, left: NodeIndex, right: NodeIndex) -> Meaning {
        let Some([(a, _), (b, _)]) = self.two_values(left, right, "a comparison") else { return Meaning::Invalid };
        let (truth, falsity) = match operator {
            Operator::Less => (Condition::Compare(Comparison::Less, a, b), greater_equal(a, b)),
            Operator::LessEqual => (Condition::Compare(Comparison::LessEqual, a, b), greater(a, b)),
            Operator::Greater => (greater(a, b), Condition::Compare(Comparison::LessEqual, a, b)),
            Operator::GreaterEqual => (greater_equal(a, b), Condition::Compare(Comparison::Less, a, b)),
            Operator::Equal => {
                (Condition::Compare(Comparison::Equal, a, b), Condition::Compare(Comparison::Differs, a, b))
            }
            _ => (Condition::Compare(Comparison::Differs, a, b), Condition::Compare(Comparison::Equal, a, b)),
        };
        let truth = self.condition(truth);
        let falsity = self.condition(falsity);
        Meaning::Condition(truth, falsity)
    }

    fn call(&mut self, name: &str, arguments: &[NodeIndex], span: &Span) -> Meaning {
        let Some(signature) = signature(name) else { return self.unknown_function(name, span) };
        let indicator = indicators::find(name);
        if indicator.is_some() && !self.scope.bars {
            return self.no_bars(name, span);
        }
        let wanted = indicator.map_or_else(|| function_arity(name), |indicator| indicator.arguments.len());
        if arguments.len() != wanted {
            let plural = if wanted == 1 { "" } else { "s" };
            let message = format!("{signature} has {wanted} argument{plural}, but {} are given here", arguments.len());
            return self.error(span.clone(), message);
        }
        if let Some(indicator) = indicator {
            return self.indicator(indicator, arguments, span);
        }
        match (name, arguments) {
            ("abs", &[x]) => self.unary(UnaryOp::Abs, x, "abs"),
            ("log", &[x]) => self.unary(UnaryOp::Log, x, "log"),
            ("min", &[a, b]) => self.arithmetic(BinaryOp::Min, a, b, "min"),
            ("max", &[a, b]) => self.arithmetic(BinaryOp::Max, a, b, "max"),
            ("crosses_above", &[a, b]) => self.crosses(name, a, b, span),
            // b crosses above a exactly where a crosses below b: `a[t-1] >= b[t-1] and a[t] < b[t]`.
            ("crosses_below", &[a, b]) => self.crosses(name, b, a, span),
            _ => unreachable!("every function has its arity in FUNCTIONS"),
        }
    }

    fn unknown_function(&mut self, name: &str, span: &Span) -> Meaning {
        let at = span.start..span.start + name.len();
        let is_name = Series::from_name(name).is_some() || self.scope.parameters.iter().any(|known| known.name == name);
        if is_name {
            return self
                .error(at, format!("\"{name}\" is not a function; for the value n bars ago write lag({name}, n)"));
        }
        let message = format!("unknown function \"{name}\"{}", self.suggestion(name));
        self.error(at, message)
    }

    /// `a[t-1] <= b[t-1] and a[t] > b[t]`.
    fn crosses(&mut self, name: &str, above: NodeIndex, below: NodeIndex, span: &Span) -> Meaning {
        if !self.scope.bars {
            return self.no_bars(name, span);
        }
        let Some([(a, a_type), (b, b_type)]) = self.two_values(above, below, name) else { return Meaning::Invalid };
        if a_type.max(b_type) != Type::Column {
            return self.error(span.clone(), format!("two numbers never cross: give {name} at least one column"));
        }
        let at_most = self.condition(Condition::Compare(Comparison::LessEqual, a, b));
        let greater = self.condition(greater(a, b));
        let was_at_most = self.condition(Condition::Previous(at_most));
        let was_greater = self.condition(Condition::Previous(greater));
        let truth = self.condition(Condition::And(was_at_most, greater));
        let falsity = self.condition(Condition::Or(was_greater, at_most));
        Meaning::Condition(truth, falsity)
    }

    fn indicator(&mut self, indicator: &'static Indicator, arguments: &[NodeIndex], span: &Span) -> Meaning {
        let mut values = Vec::with_capacity(arguments.len());
        for (argument, &node) in indicator.arguments.iter().zip(arguments) {
            let (wanted, fits): (&str, fn(Type) -> bool) = match argument.kind {
                ArgumentKind::Column => ("a column", |kind| kind == Type::Column),
                ArgumentKind::Number => ("a number", |kind| kind != Type::Column),
                ArgumentKind::Whole { .. } => ("a whole number", |kind| kind == Type::Whole),
            };
            let found = match self.meanings[node] {
                Meaning::Value(value, kind) if fits(kind) => {
                    values.push(value);
                    continue;
                }
                Meaning::Value(_, kind) => kind.description(),
                Meaning::Condition(..) => "a condition",
                Meaning::Invalid => continue,
            };
            let hint = if wanted == "a whole number" && found == "a number" {
                " (a parameter is whole when its default and bounds are written without \".\")"
            } else {
                ""
            };
            let message = format!("{}: {} must be {wanted}, but this is {found}{hint}", indicator.name, argument.name);
            self.error(self.syntax[node].span.clone(), message);
        }
        if values.len() != arguments.len() {
            return Meaning::Invalid;
        }
        let text = self.source[span.clone()].to_owned();
        self.value(Value::Call(Call { indicator, arguments: values, text }), Type::Column)
    }
}

/// `a > b`.
fn greater(a: ValueIndex, b: ValueIndex) -> Condition {
    Condition::Compare(Comparison::Less, b, a)
}

/// `a >= b`.
fn greater_equal(a: ValueIndex, b: ValueIndex) -> Condition {
    Condition::Compare(Comparison::LessEqual, b, a)
}

/// How a function is called, if there is one of that name.
fn signature(name: &str) -> Option<String> {
    if let Some(indicator) = indicators::find(name) {
        return Some(indicator.signature());
    }
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(name, arguments)| format!("{name}({arguments})"))
}

fn function_arity(name: &str) -> usize {
    let arguments = FUNCTIONS.iter().find(|(known, _)| *known == name).map_or("", |(_, arguments)| arguments);
    arguments.split(',').count()
}
