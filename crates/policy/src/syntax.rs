//! Walking Cedar's public syntax tree, and finding words in the text (the tree has no positions).

use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp, Var};

/// An attribute path from a variable, such as `context.args.amount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path<'e> {
    pub(crate) var: Var,
    pub(crate) attrs: Vec<&'e str>,
}

impl Path<'_> {
    /// Whether it is a path into `context` that begins so.
    pub(crate) fn is_in_context(&self, start: &[&str]) -> bool {
        self.var == Var::Context && self.attrs.starts_with(start)
    }

    /// `args.amount`, `principal`, …
    pub(crate) fn shown(&self) -> String {
        match self.var {
            Var::Context => self.attrs.join("."),
            Var::Principal => "principal".to_owned(),
            Var::Action => "action".to_owned(),
            Var::Resource => "resource".to_owned(),
        }
    }
}

/// What a walk meets.
#[derive(Debug)]
pub(crate) enum Seen<'e> {
    /// A longest path that is read.
    Path(Path<'e>),
    /// A path whose presence is asked.
    Has(Path<'e>),
    /// Anything else.
    Node(&'e Expr),
}

/// The path an expression is, if it is one.
pub(crate) fn path(expr: &Expr) -> Option<Path<'_>> {
    match expr {
        Expr::Var(var) => Some(Path { var: var.clone(), attrs: Vec::new() }),
        Expr::GetAttr { expr, attr } => {
            let mut path = path(expr)?;
            path.attrs.push(attr.as_str());
            Some(path)
        }
        _ => None,
    }
}

/// A path into the context as the attributes below `context`.
pub(crate) fn context_path(expr: &Expr) -> Option<Vec<&str>> {
    path(expr).filter(|path| path.var == Var::Context).map(|path| path.attrs)
}

/// Visits an expression in source order.
pub(crate) fn walk<'e>(expr: &'e Expr, visit: &mut dyn FnMut(Seen<'e>)) {
    if let Some(path) = path(expr) {
        return visit(Seen::Path(path));
    }
    if let Expr::HasAttr { expr: inner, attrs } = expr
        && let Some(mut path) = path(inner)
    {
        path.attrs.extend(attrs.iter().map(|attr| attr.as_str()));
        return visit(Seen::Has(path));
    }
    visit(Seen::Node(expr));
    for child in children(expr) {
        walk(child, visit);
    }
}

fn children(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => vec![expr],
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => {
            std::iter::once(&**expr).chain(in_expr.as_deref()).collect()
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(items) => items.iter().map(|item| &**item).collect(),
        Expr::Record(fields) => fields.values().map(|field| &**field).collect(),
        _ => Vec::new(),
    }
}

/// Whether it mentions evidence, or the context as a whole, which holds it.
pub(crate) fn mentions_evidence(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |seen| {
        if let Seen::Path(path) | Seen::Has(path) = seen {
            let whole = path.var == Var::Context && path.attrs.is_empty();
            found |= whole || path.is_in_context(&["evidence"]);
        }
    });
    found
}

/// Whether evaluating it could fail although it is well typed: arithmetic overflows.
pub(crate) fn may_overflow(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |seen| {
        found |= matches!(
            seen,
            Seen::Node(
                Expr::BinaryOp { op: BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul, .. }
                    | Expr::UnaryOp { op: UnaryOp::Neg, .. }
            )
        );
    });
    found
}

/// The expression of a clause.
pub(crate) fn body(clause: &Clause) -> &Arc<Expr> {
    match clause {
        Clause::When(expr) | Clause::Unless(expr) => expr,
    }
}

/// The operands of a chain of `&&` or `||`.
pub(crate) fn operands<'e>(expr: &'e Expr, chain: BinaryOp, into: &mut Vec<&'e Expr>) {
    match expr {
        Expr::BinaryOp { op, left, right } if *op == chain => {
            operands(left, chain, into);
            operands(right, chain, into);
        }
        _ => into.push(expr),
    }
}

/// The string an expression is.
pub(crate) fn string(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(Literal::String(text)) => Some(text.as_str()),
        _ => None,
    }
}

/// The integer an expression is.
pub(crate) fn integer(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(Literal::Long(number)) => Some(*number),
        _ => None,
    }
}

/// The strings of a set literal that holds nothing else.
pub(crate) fn strings(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Set(items) => items.iter().map(|item| string(item)).collect(),
        _ => None,
    }
}

/// A word of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub(crate) text: &'t str,
    pub(crate) at: usize,
    pub(crate) quoted: bool,
}

/// Words, strings (without quotes) and punctuation, with their offsets; comments are left out.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((at, first)) = rest.next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        if first == '/' && rest.peek().is_some_and(|(_, c)| *c == '/') {
            while rest.next_if(|(_, c)| *c != '\n').is_some() {}
        } else if first == '"' {
            let (mut end, mut escaped) = (at + 1, false);
            for (index, c) in rest.by_ref() {
                end = index;
                if c == '"' && !escaped {
                    break;
                }
                escaped = c == '\\' && !escaped;
            }
            let inner = text.get(at + 1..end).unwrap_or_default();
            found.push(Token { text: inner, at, quoted: true });
        } else if is_word(first) {
            let mut end = at + first.len_utf8();
            while let Some((index, c)) = rest.next_if(|(_, c)| is_word(*c)) {
                end = index + c.len_utf8();
            }
            found.push(Token { text: text.get(at..end).unwrap_or_default(), at, quoted: false });
        } else if !first.is_whitespace() {
            let end = at + first.len_utf8();
            found.push(Token { text: text.get(at..end).unwrap_or_default(), at, quoted: false });
        }
    }
    found
}

/// How many words of a text can make its tree deeper.
pub(crate) fn nesting_tokens(text: &str) -> usize {
    const DEEPER: [&str; 12] = ["&", "|", "+", "-", "*", "!", "(", "[", "{", ".", "if", "has"];
    let tokens = tokens(text);
    tokens.iter().filter(|token| !token.quoted && DEEPER.contains(&token.text)).count()
}

/// Offset of the `nth` (from 0) use of an attribute: after a dot, a bracket or `has`.
pub(crate) fn find_attribute(text: &str, attribute: &str, nth: usize) -> Option<usize> {
    let tokens = tokens(text);
    let pairs = tokens.iter().zip(tokens.iter().skip(1));
    let uses = pairs.filter(|(before, token)| {
        token.text == attribute && !before.quoted && matches!(before.text, "." | "[" | "has")
    });
    uses.map(|(_, token)| token.at).nth(nth)
}

/// Offset of the first word or string that reads so.
pub(crate) fn find_word(text: &str, word: &str) -> Option<usize> {
    tokens(text).iter().find(|token| token.text == word).map(|token| token.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_outside_comments_and_inside_quotes() {
        let text = "// evidence\nunless { context.evidence.x > 1 && context has \"evidence\" }";
        assert_eq!(find_attribute(text, "evidence", 0), Some(text.find(".evidence").unwrap() + 1));
        assert_eq!(find_attribute(text, "evidence", 1), Some(text.find("\"evidence").unwrap()));
        assert_eq!(find_attribute(text, "evidence", 2), None);
        assert_eq!(find_word("a \"x\\\"y\" b", "b"), Some(9));
    }
}
