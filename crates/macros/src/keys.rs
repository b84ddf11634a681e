//! What stands in an attribute's parentheses: keys, each once, each known.

use proc_macro2::{Span, TokenStream};
use syn::{
    Error, Expr, ExprLit, Ident, Lit, LitStr, Meta, Result, Token, parse::Parser as _,
    punctuated::Punctuated, spanned::Spanned as _,
};

type Metas = Punctuated<Meta, Token![,]>;

/// The keys of one attribute. Each `take_…` removes what it reads; what is left is unknown.
pub(crate) struct Keys {
    attribute: &'static str,
    known: &'static [&'static str],
    left: Vec<Meta>,
}

impl Keys {
    /// Reads the keys of an attribute that knows these.
    pub(crate) fn parse(
        attribute: &'static str,
        known: &'static [&'static str],
        tokens: TokenStream,
    ) -> Result<Self> {
        let metas = Metas::parse_terminated.parse2(tokens)?;
        let mut left: Vec<Meta> = Vec::new();
        for meta in metas {
            let name = meta.path().get_ident().map(Ident::to_string).unwrap_or_default();
            if !known.contains(&name.as_str()) {
                let message = format!(
                    "`#[{attribute}]` has no key `{name}`; it knows {}",
                    list(known.iter().map(|key| format!("`{key}`")))
                );
                return Err(Error::new(meta.path().span(), message));
            }
            if left.iter().any(|other| other.path() == meta.path()) {
                return Err(Error::new(meta.span(), format!("`{name}` is said twice")));
            }
            left.push(meta);
        }
        Ok(Self { attribute, known, left })
    }

    fn take(&mut self, key: &str) -> Option<Meta> {
        debug_assert!(self.known.contains(&key), "{}: {key}", self.attribute);
        let at = self.left.iter().position(|meta| meta.path().is_ident(key))?;
        Some(self.left.remove(at))
    }

    /// `key = "text"`.
    pub(crate) fn take_text(&mut self, key: &str) -> Result<Option<LitStr>> {
        let Some(meta) = self.take(key) else { return Ok(None) };
        match value(&meta) {
            Some(Lit::Str(text)) => Ok(Some(text.clone())),
            _ => Err(Error::new(meta.span(), format!("write `{key} = \"…\"`"))),
        }
    }

    /// `key = "one of these"`; the index of which.
    pub(crate) fn take_choice(&mut self, key: &str, choices: &[&str]) -> Result<Option<usize>> {
        let Some(text) = self.take_text(key)? else { return Ok(None) };
        let found = choices.iter().position(|choice| *choice == text.value());
        let message = || {
            let known = list(choices.iter().map(|choice| format!("\"{choice}\"")));
            Error::new(text.span(), format!("`{key}` is {known}, not \"{}\"", text.value()))
        };
        found.map(Some).ok_or_else(message)
    }

    /// `key = true`.
    pub(crate) fn take_flag(&mut self, key: &str) -> Result<Option<bool>> {
        let Some(meta) = self.take(key) else { return Ok(None) };
        match value(&meta) {
            Some(Lit::Bool(flag)) => Ok(Some(flag.value)),
            _ => Err(Error::new(meta.span(), format!("write `{key} = true` or `{key} = false`"))),
        }
    }

    /// `key = 10_000`, at least 1.
    pub(crate) fn take_number(&mut self, key: &str) -> Result<Option<u32>> {
        let Some(meta) = self.take(key) else { return Ok(None) };
        let number = match value(&meta) {
            Some(Lit::Int(number)) => number.base10_parse::<u32>().ok().filter(|n| *n > 0),
            _ => None,
        };
        let message = || Error::new(meta.span(), format!("write `{key} = …` with a number from 1"));
        number.map(Some).ok_or_else(message)
    }

    /// `key("text", …)`, at least one.
    pub(crate) fn take_texts(&mut self, key: &str) -> Result<Option<Vec<LitStr>>> {
        let Some(meta) = self.take(key) else { return Ok(None) };
        let wrong = || Error::new(meta.span(), format!("write `{key}(\"…\", \"…\")`"));
        let Meta::List(inside) = &meta else { return Err(wrong()) };
        let parser = Punctuated::<LitStr, Token![,]>::parse_terminated;
        let texts = parser.parse2(inside.tokens.clone()).map_err(|_| wrong())?;
        if texts.is_empty() {
            return Err(wrong());
        }
        Ok(Some(texts.into_iter().collect()))
    }

    /// `key(name, …)`, at least one.
    pub(crate) fn take_names(&mut self, key: &str) -> Result<Option<Vec<Ident>>> {
        let Some(meta) = self.take(key) else { return Ok(None) };
        let wrong = || Error::new(meta.span(), format!("write `{key}(one, another)`"));
        let Meta::List(inside) = &meta else { return Err(wrong()) };
        let parser = Punctuated::<Ident, Token![,]>::parse_terminated;
        let names = parser.parse2(inside.tokens.clone()).map_err(|_| wrong())?;
        if names.is_empty() {
            return Err(wrong());
        }
        Ok(Some(names.into_iter().collect()))
    }

    /// `key(name, inner = "text", …)`.
    pub(crate) fn take_call(&mut self, key: &str) -> Result<Option<Call>> {
        let Some(meta) = self.take(key) else { return Ok(None) };
        let wrong = |span: Span| {
            let usage = format!("write `{key}(tool, argument = \"/output/id\")`");
            Error::new(span, usage)
        };
        let Meta::List(inside) = &meta else { return Err(wrong(meta.span())) };
        let metas = Metas::parse_terminated.parse2(inside.tokens.clone());
        let mut metas = metas.map_err(|_| wrong(meta.span()))?.into_iter();
        let name = match metas.next() {
            Some(Meta::Path(path)) => path.get_ident().cloned(),
            _ => None,
        };
        let name = name.ok_or_else(|| wrong(meta.span()))?;
        let mut with = Vec::new();
        for pair in metas {
            let argument = pair.path().get_ident().cloned();
            let (Some(argument), Some(Lit::Str(from))) = (argument, value(&pair)) else {
                return Err(wrong(pair.span()));
            };
            with.push((argument, from.clone()));
        }
        Ok(Some(Call { name, with }))
    }
}

/// A call of something by name, with arguments from texts.
pub(crate) struct Call {
    pub(crate) name: Ident,
    pub(crate) with: Vec<(Ident, LitStr)>,
}

fn value(meta: &Meta) -> Option<&Lit> {
    let Meta::NameValue(pair) = meta else { return None };
    let Expr::Lit(ExprLit { lit, .. }) = &pair.value else { return None };
    Some(lit)
}

/// Words with commas and a last `or`.
fn list(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    const KNOWN: &[&str] = &["name", "effect", "egress", "timeout_ms", "critical", "undo", "task"];

    fn keys(tokens: TokenStream) -> Result<Keys> {
        Keys::parse("tool", KNOWN, tokens)
    }

    fn refused<T>(result: Result<T>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn every_form_is_read() {
        let mut all = keys(quote! {
            name = "n", effect = "write", egress = false, timeout_ms = 5_000,
            critical(a, b), undo(cancel, id = "/output/id"), task("x"),
        })
        .unwrap();
        assert_eq!(all.take_text("name").unwrap().unwrap().value(), "n");
        assert_eq!(all.take_choice("effect", &["read", "write"]).unwrap(), Some(1));
        assert_eq!(all.take_flag("egress").unwrap(), Some(false));
        assert_eq!(all.take_number("timeout_ms").unwrap(), Some(5_000));
        assert_eq!(all.take_names("critical").unwrap().unwrap().len(), 2);
        let undo = all.take_call("undo").unwrap().unwrap();
        assert_eq!((undo.name.to_string().as_str(), undo.with.len()), ("cancel", 1));
        assert_eq!(all.take_texts("task").unwrap().unwrap().len(), 1);
        assert!(all.left.is_empty());
        let mut none = keys(quote! {}).unwrap();
        assert!(none.take_text("name").unwrap().is_none());
    }

    #[test]
    fn wrong_keys_say_what_to_write() {
        let unknown = refused(keys(quote! { efect = "read" }));
        assert!(
            unknown.starts_with("`#[tool]` has no key `efect`; it knows `name`, "),
            "{unknown}"
        );
        assert!(unknown.ends_with("`undo` or `task`"), "{unknown}");
        assert_eq!(refused(keys(quote! { name = "a", name = "b" })), "`name` is said twice");
        let choice =
            keys(quote! { effect = "reed" }).unwrap().take_choice("effect", &["read", "write"]);
        assert_eq!(refused(choice), "`effect` is \"read\" or \"write\", not \"reed\"");
        let flag = keys(quote! { egress = "no" }).unwrap().take_flag("egress");
        assert_eq!(refused(flag), "write `egress = true` or `egress = false`");
        for tokens in
            [quote! { timeout_ms = 0 }, quote! { timeout_ms = "5" }, quote! { timeout_ms }]
        {
            let number = keys(tokens).unwrap().take_number("timeout_ms");
            assert_eq!(refused(number), "write `timeout_ms = …` with a number from 1");
        }
        let undo = keys(quote! { undo = "cancel" }).unwrap().take_call("undo");
        assert_eq!(refused(undo), "write `undo(tool, argument = \"/output/id\")`");
        assert!(keys(quote! { critical() }).unwrap().take_names("critical").is_err());
        assert!(keys(quote! { task = "x" }).unwrap().take_texts("task").is_err());
    }
}
