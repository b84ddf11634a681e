//! Reading a statement far enough to number its parameters and to see that it is one.

/// What a statement may begin with. Everything else could leave the transaction or the database.
const VERBS: [&str; 7] = ["select", "with", "values", "insert", "update", "delete", "replace"];

/// Longest statement, in bytes.
const STATEMENT_MAX_BYTES: usize = 32 * 1024;

/// One statement with numbered parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// With `?1`.
    pub(super) sqlite: String,
    /// With `$1`.
    pub(super) postgres: String,
    /// Parameter names by number.
    pub(super) names: Vec<String>,
}

/// Numbers `:name` parameters outside of quotes and comments.
pub(super) fn parse(text: &str) -> Result<Statement, String> {
    if text.len() > STATEMENT_MAX_BYTES {
        return Err(format!("is longer than {STATEMENT_MAX_BYTES} bytes"));
    }
    let verb: String = text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    if !VERBS.contains(&verb.to_ascii_lowercase().as_str()) {
        return Err(format!("must begin with one of: {}", VERBS.join(", ")));
    }
    let mut statement =
        Statement { sqlite: String::new(), postgres: String::new(), names: Vec::new() };
    let mut rest = text.trim_end().trim_end_matches(';');
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\'' | '"' | '`' => quoted(rest, c)?,
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment(rest)?,
            '$' => dollar(rest)?,
            ';' => return Err("must be one statement; a `;` stands inside it".to_owned()),
            '?' if rest
                .get(1..2)
                .is_some_and(|next| next.starts_with(|c: char| c.is_ascii_digit())) =>
            {
                return Err("must name its parameters `:name`, not `?1`".to_owned());
            }
            ':' if rest.starts_with("::") => 2,
            ':' => {
                let taken = parameter(rest, &mut statement);
                rest = rest.get(taken..).unwrap_or_default();
                continue;
            }
            _ => c.len_utf8(),
        };
        let (piece, tail) = rest.split_at_checked(taken).ok_or("cannot be read")?;
        statement.sqlite.push_str(piece);
        statement.postgres.push_str(piece);
        rest = tail;
    }
    Ok(statement)
}

/// Numbers one parameter; how many bytes of the text it took.
fn parameter(rest: &str, statement: &mut Statement) -> usize {
    let name = rest.get(1..).unwrap_or_default();
    let length = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
    let name = name.get(..length).unwrap_or_default();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        statement.sqlite.push(':');
        statement.postgres.push(':');
        return 1;
    }
    let known = statement.names.iter().position(|other| other == name);
    let index = known.unwrap_or_else(|| {
        statement.names.push(name.to_owned());
        statement.names.len() - 1
    });
    statement.sqlite.push_str(&format!("?{}", index + 1));
    statement.postgres.push_str(&format!("${}", index + 1));
    1 + length
}

/// Bytes up to the closing quote; a doubled quote begins again, which reads the same.
fn quoted(rest: &str, quote: char) -> Result<usize, String> {
    let inside = rest.get(1..).unwrap_or_default();
    let end = inside.find(quote).ok_or_else(|| format!("a {quote} is not closed"))?;
    if inside.get(..end).is_some_and(|text| text.contains('\\')) {
        return Err(
            "holds a backslash inside quotes; databases disagree on what that means".to_owned()
        );
    }
    Ok(end + 2)
}

fn comment(rest: &str) -> Result<usize, String> {
    let inside = rest.get(2..).unwrap_or_default();
    let end = inside.find("*/").ok_or("a comment is not closed")?;
    if inside.get(..end).is_some_and(|text| text.contains("/*")) {
        return Err(
            "holds a comment inside a comment; databases disagree on what that means".to_owned()
        );
    }
    Ok(end + 4)
}

fn dollar(rest: &str) -> Result<usize, String> {
    let next = rest.chars().nth(1);
    if next.is_some_and(|c| c.is_ascii_digit()) {
        return Err("must name its parameters `:name`, not `$1`".to_owned());
    }
    Err("holds a `$`: dollar quotes are not allowed, use a parameter".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_outside_of_text() {
        let text = "select a::text, ':x', \":y\" /* :z */ from t -- :w\n where id = :id and b > :from_1 or c = :id;";
        let statement = parse(text).unwrap();
        assert_eq!(statement.names, ["id", "from_1"]);
        let numbered = "select a::text, ':x', \":y\" /* :z */ from t -- :w\n where id = $1 and b > $2 or c = $1";
        assert_eq!(statement.postgres, numbered);
        assert_eq!(statement.sqlite, numbered.replace('$', "?"));
        assert_eq!(parse("select 'it''s :x', :y").unwrap().names, ["y"]);
    }

    #[test]
    fn one_statement_that_stays_in_its_transaction() {
        for bad in [
            "select 1; drop table t",
            "commit",
            "pragma query_only = off",
            "attach database 'x' as y",
            "copy t to program 'sh'",
            "set role admin",
            "",
            "select 'open",
            "select /* open",
            "select /* /* */ :x */ 1",
            "select 'a\\' || :x || '",
            "select $1",
            "select $$ ; $$",
            "select ?1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
