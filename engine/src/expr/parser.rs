//! From tokens to a syntax tree: recursive descent, with operators parsed by binding strength.

use super::error::{ExprError, Span};
use super::lexer::{self, Operator, Token};
use super::{MAX_NESTING, MAX_NODES};

/// Index of a node in its [`Syntax`].
pub(super) type NodeIndex = usize;

/// What a node of the syntax tree is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Number { value: f64, whole: bool },
    Name(String),
    Negate(NodeIndex),
    Not(NodeIndex),
    Binary(Operator, NodeIndex, NodeIndex),
    Call { name: String, arguments: Vec<NodeIndex> },
}

/// A node and the bytes of the expression it came from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

/// A syntax tree, children before their parents: later stages are loops over it, not recursions. The root is last.
pub(super) type Syntax = Vec<Node>;

/// Parses a whole expression.
///
/// # Errors
/// The first thing that does not fit the grammar or its limits.
pub(super) fn parse(source: &str) -> Result<Syntax, ExprError> {
    let mut parser = Parser { tokens: lexer::tokens(source)?, next: 0, nodes: Vec::new() };
    parser.expression(Strength::Or, 0)?;
    match parser.peek() {
        Token::End => Ok(parser.nodes),
        Token::Close => Err(ExprError::new(parser.span(), "this \")\" closes nothing")),
        _ => Err(ExprError::new(parser.span(), "expected an operator or the end here")),
    }
}

/// How strongly an operator binds, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Prefix,
}

impl Strength {
    fn of_binary(operator: Operator) -> Option<Strength> {
        match operator {
            Operator::Or => Some(Strength::Or),
            Operator::And => Some(Strength::And),
            Operator::Less
            | Operator::LessEqual
            | Operator::Greater
            | Operator::GreaterEqual
            | Operator::Equal
            | Operator::NotEqual => Some(Strength::Comparison),
            Operator::Plus | Operator::Minus => Some(Strength::Sum),
            Operator::Times | Operator::Divide => Some(Strength::Product),
            Operator::Not => None,
        }
    }

    /// The least strength of an operator within the right operand, so that equals group to the left.
    fn above(self) -> Strength {
        match self {
            Strength::Or => Strength::And,
            Strength::And => Strength::Not,
            Strength::Not => Strength::Comparison,
            Strength::Comparison => Strength::Sum,
            Strength::Sum => Strength::Product,
            Strength::Product | Strength::Prefix => Strength::Prefix,
        }
    }
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    next: usize,
    nodes: Syntax,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn span(&self) -> Span {
        self.tokens[self.next].1.clone()
    }

    /// Steps over a token. The last one, [`Token::End`], is never stepped over.
    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    fn push(&mut self, kind: Kind, span: Span) -> Result<NodeIndex, ExprError> {
        if self.nodes.len() == MAX_NODES {
            let message = format!("an expression has at most {MAX_NODES} numbers, names, operators and calls");
            return Err(ExprError::new(span, message));
        }
        self.nodes.push(Node { kind, span });
        Ok(self.nodes.len() - 1)
    }

    fn span_of(&self, node: NodeIndex) -> Span {
        self.nodes[node].span.clone()
    }

    /// An operand followed by all operators which bind at least as strongly as `least`.
    fn expression(&mut self, least: Strength, nesting: usize) -> Result<NodeIndex, ExprError> {
        let mut left = self.operand(nesting)?;
        let mut compared = false;
        while let Token::Operator(operator) = *self.peek() {
            let Some(strength) = Strength::of_binary(operator).filter(|strength| *strength >= least) else {
                break;
            };
            if strength == Strength::Comparison && compared {
                let message = "comparisons do not chain: write \"a < b and b < c\"";
                return Err(ExprError::new(self.span(), message));
            }
            compared = strength == Strength::Comparison;
            self.advance();
            let right = self.expression(strength.above(), nesting)?;
            let span = self.span_of(left).start..self.span_of(right).end;
            left = self.push(Kind::Binary(operator, left, right), span)?;
        }
        Ok(left)
    }

    fn operand(&mut self, nesting: usize) -> Result<NodeIndex, ExprError> {
        let span = self.span();
        if nesting == MAX_NESTING {
            return Err(ExprError::new(span, format!("an expression nests at most {MAX_NESTING} levels deep")));
        }
        let token = self.peek().clone();
        match token {
            Token::Number { value, whole } => {
                self.advance();
                self.push(Kind::Number { value, whole }, span)
            }
            Token::Name(name) => {
                self.advance();
                if *self.peek() == Token::Open {
                    self.call(name, span, nesting)
                } else {
                    self.push(Kind::Name(name), span)
                }
            }
            Token::Operator(Operator::Minus) => {
                self.advance();
                let inner = self.expression(Strength::Prefix, nesting + 1)?;
                let span = span.start..self.span_of(inner).end;
                self.push(Kind::Negate(inner), span)
            }
            Token::Operator(Operator::Not) => {
                self.advance();
                let inner = self.expression(Strength::Not.above(), nesting + 1)?;
                let span = span.start..self.span_of(inner).end;
                self.push(Kind::Not(inner), span)
            }
            Token::Open => {
                self.advance();
                let inner = self.expression(Strength::Or, nesting + 1)?;
                self.close(&span)?;
                Ok(inner)
            }
            Token::End => Err(ExprError::new(span, "the expression ends where a value should follow")),
            Token::Operator(_) | Token::Close | Token::Comma => {
                Err(ExprError::new(span, "expected a value here: a number, a name, a call or \"(\""))
            }
        }
    }

    /// The arguments of `name(...)`, from its opening parenthesis on.
    fn call(&mut self, name: String, start: Span, nesting: usize) -> Result<NodeIndex, ExprError> {
        let opened = self.span();
        self.advance();
        let mut arguments = Vec::new();
        if *self.peek() != Token::Close {
            arguments.push(self.expression(Strength::Or, nesting + 1)?);
            while *self.peek() == Token::Comma {
                self.advance();
                arguments.push(self.expression(Strength::Or, nesting + 1)?);
            }
        }
        let end = self.close(&opened)?;
        self.push(Kind::Call { name, arguments }, start.start..end)
    }

    /// Steps over the parenthesis which closes `opened`, and says where it ends.
    fn close(&mut self, opened: &Span) -> Result<usize, ExprError> {
        let span = self.span();
        match self.peek() {
            Token::Close => {
                self.advance();
                Ok(span.end)
            }
            Token::End => Err(ExprError::new(opened.clone(), "this \"(\" is never closed")),
            _ => Err(ExprError::new(span, "expected an operator, \",\" or \")\" here")),
        }
    }
}
