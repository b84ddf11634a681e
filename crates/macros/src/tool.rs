//! `#[tool]`: a function with typed arguments becomes an operation.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, FnArg, ItemFn, Pat, PatType, Result, ReturnType, Safety, Type, spanned::Spanned as _,
};

use crate::{
    docs,
    keys::{Call, Keys},
};

const KNOWN: &[&str] = &[
    "effect",
    "undo",
    "retry",
    "egress",
    "critical",
    "trust",
    "confidentiality",
    "timeout_ms",
    "name",
];

/// What the keys say.
struct Says {
    name: String,
    is_read: bool,
    undo: Option<Call>,
    is_keyed: bool,
    egress: bool,
    critical: Option<Vec<Ident>>,
    is_verified: bool,
    confidentiality: Option<usize>,
    timeout_ms: Option<u32>,
}

/// One argument.
enum Argument {
    /// Told to the model.
    Told { name: Ident, ty: Box<Type>, description: String },
    /// `&Context`.
    Context,
}

/// Levels of confidentiality, by what the key calls them and by their names in Rust.
const LEVELS: [(&str, &str); 4] = [
    ("public", "Public"),
    ("internal", "Internal"),
    ("confidential", "Confidential"),
    ("secret", "Secret"),
];

pub(crate) fn expand(keys: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let whole = item.clone();
    let Ok(mut function) = syn::parse2::<ItemFn>(item) else {
        let usage = "`#[tool]` goes on a function: `async fn name(argument: Type) -> Type`";
        return Err(Error::new_spanned(whole, usage));
    };
    let description = docs::text(&function.attrs);
    let ident = function.sig.ident.clone();
    if description.is_empty() {
        let message = format!(
            "a model must be told what `{ident}` is for: write a doc comment (`/// …`) above it"
        );
        return Err(Error::new(ident.span(), message));
    }
    check_signature(&function)?;
    let mut arguments = Vec::new();
    for input in &mut function.sig.inputs {
        arguments.push(argument(input)?);
    }
    let says = says(Keys::parse("tool", KNOWN, keys)?, &ident, &arguments)?;
    let tool = made(&function, &says, &description, &arguments);
    let visibility = &function.vis;
    let name = says.name;
    let about = format!("The tool `{name}`, for `Tool::of`.");
    Ok(quote! {
        #function

        #[doc = #about]
        #[allow(non_camel_case_types, reason = "named as its function")]
        #[derive(Debug)]
        #visibility struct #ident {}

        #tool
    })
}

fn check_signature(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    let refuse = |span: Span, message: &str| Err(Error::new(span, message));
    if let Some(first) = signature.generics.params.first() {
        return refuse(first.span(), "a tool has no type parameters: its schema is one type's");
    }
    if let Safety::Unsafe(word) = &signature.safety {
        return refuse(word.span(), "a tool is a safe function");
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi.span(), "a tool is a plain Rust function");
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && matches!(**ty, Type::Reference(_) | Type::ImplTrait(_) | Type::Never(_))
    {
        return refuse(ty.span(), "a tool returns an owned value with a name, such as `String`");
    }
    Ok(())
}

/// Reads an argument, and takes its doc comment away from the function, where none may stand.
fn argument(input: &mut FnArg) -> Result<Argument> {
    let typed = match input {
        FnArg::Typed(typed) => typed,
        FnArg::Receiver(receiver) => {
            let message = "a tool is a free function: it has no `self`";
            return Err(Error::new(receiver.span(), message));
        }
    };
    let PatType { attrs, pat, ty, .. } = typed;
    if let Type::Reference(reference) = &**ty {
        return match last_segment(&reference.elem).is_some_and(|last| last == "Context") {
            true => Ok(Argument::Context),
            false => {
                let message = "a tool takes owned values, such as `String` instead of `&str`; only \
                               `&Context` is a reference";
                Err(Error::new(ty.span(), message))
            }
        };
    }
    if let Type::ImplTrait(_) = &**ty {
        return Err(Error::new(ty.span(), "a tool's argument has a type with a name"));
    }
    let Pat::Ident(name) = &**pat else {
        let message = "give the argument a name: the model is told it";
        return Err(Error::new(pat.span(), message));
    };
    let name = name.ident.clone();
    if let Some(other) = attrs.iter().find(|attribute| !docs::is_doc(attribute)) {
        let message =
            "only a doc comment stands above a tool's argument; `Option<T>` may be left out";
        return Err(Error::new(other.span(), message));
    }
    let description = docs::text(&std::mem::take(attrs));
    Ok(Argument::Told { name, ty: ty.clone(), description })
}

fn says(mut keys: Keys, ident: &Ident, arguments: &[Argument]) -> Result<Says> {
    let name = keys.take_text("name")?;
    let is_read = keys.take_choice("effect", &["read", "write"])? == Some(0);
    let undo = keys.take_call("undo")?;
    if let Some(undo) = undo.as_ref().filter(|_| is_read) {
        let message = "a read has nothing to take back: leave `undo` out";
        return Err(Error::new(undo.name.span(), message));
    }
    let critical = keys.take_names("critical")?;
    let is_argument = |name: &Ident| {
        arguments
            .iter()
            .any(|one| matches!(one, Argument::Told { name: known, .. } if known == name))
    };
    if let Some(stranger) = critical.iter().flatten().find(|name| !is_argument(name)) {
        let message = format!("`{ident}` has no argument `{stranger}`");
        return Err(Error::new(stranger.span(), message));
    }
    let levels = LEVELS.map(|(word, _)| word);
    let said = Says {
        name: name.map_or_else(|| plain(ident), |name| name.value()),
        is_read,
        undo,
        is_keyed: keys.take_choice("retry", &["never", "keyed"])? == Some(1),
        egress: keys.take_flag("egress")?.unwrap_or(true),
        critical,
        is_verified: keys.take_choice("trust", &["untrusted", "verified"])? == Some(1),
        confidentiality: keys.take_choice("confidentiality", &levels)?,
        timeout_ms: keys.take_number("timeout_ms")?,
    };
    Ok(said)
}

/// An identifier without `r#`.
fn plain(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}

/// The definition and its registration.
fn made(function: &ItemFn, says: &Says, description: &str, arguments: &[Argument]) -> TokenStream {
    let ident = &function.sig.ident;
    let name = &says.name;
    let described = arguments.iter().filter_map(described);
    let (output, body) = (output(function), body(function, arguments));
    let more = more(says);
    quote! {
        const _: () = {
            impl ::embed::Define for #ident {
                fn define() -> ::embed::Tool {
                    #[allow(unused_mut, reason = "a tool may have no arguments")]
                    let mut arguments = ::embed::private::Arguments::new();
                    #(#described)*
                    let schemas = (arguments.schema(), #output);
                    ::embed::Tool::made(#name, #description, schemas, #body) #more
                }
            }

            ::embed::private::inventory::submit! {
                ::embed::Registered::Tool(<#ident as ::embed::Define>::define)
            }
        };
    }
}

/// An argument's place in the schema.
fn described(argument: &Argument) -> Option<TokenStream> {
    let Argument::Told { name, ty, description } = argument else { return None };
    let name = plain(name);
    Some(quote_spanned!(ty.span()=> arguments.argument::<#ty>(#name, #description);))
}

/// What is known about the tool, as calls on it.
fn more(says: &Says) -> TokenStream {
    let effect = if says.is_read { quote!(Read) } else { quote!(Write) };
    let retry = if says.is_keyed { quote!(Keyed) } else { quote!(Never) };
    let egress = says.egress;
    let critical = match &says.critical {
        None => quote!(All),
        Some(names) => {
            let pointers = names.iter().map(|name| format!("/{}", plain(name)));
            quote!(At(::std::vec![#(::std::string::String::from(#pointers)),*]))
        }
    };
    let mut more = quote! {
        .facts(::embed::private::Facts {
            effect: ::embed::private::Effect::#effect,
            undo: ::embed::private::Undo::None,
            retry: ::embed::private::Retry::#retry,
            egress: #egress,
            critical: ::embed::private::Critical::#critical,
        })
    };
    if let Some(Call { name, with }) = &says.undo {
        let tool = plain(name);
        let pairs = with.iter().map(|(argument, from)| {
            let argument = plain(argument);
            quote!((#argument, #from))
        });
        more.extend(quote! { .taken_back_by(#tool, &[#(#pairs),*]) });
    }
    if says.is_verified {
        more.extend(quote! { .verified() });
    }
    if let Some((_, level)) = says.confidentiality.and_then(|at| LEVELS.get(at)) {
        let level = format_ident!("{level}");
        more.extend(quote! { .confidentiality(::embed::private::Confidentiality::#level) });
    }
    if let Some(timeout_ms) = says.timeout_ms {
        more.extend(quote! { .timeout_ms(#timeout_ms) });
    }
    more
}

/// The type that is returned when it works, and whether it may fail.
fn returned(function: &ItemFn) -> (TokenStream, bool) {
    let ReturnType::Type(_, ty) = &function.sig.output else {
        return (quote!(()), false);
    };
    (quote!(#ty), last_segment(ty).is_some_and(|last| last == "Result"))
}

fn last_segment(ty: &Type) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    path.path.segments.last().map(|last| last.ident.to_string())
}

/// The schema of what it returns.
fn output(function: &ItemFn) -> TokenStream {
    let (ty, may_fail) = returned(function);
    let span = function.sig.output.span();
    match may_fail {
        true => quote_spanned!(span=> <#ty as ::embed::private::Falls>::schema()),
        false => quote_spanned!(span=> <#ty as ::embed::Output>::schema()),
    }
}

/// What it does when it is called.
fn body(function: &ItemFn, arguments: &[Argument]) -> TokenStream {
    let ident = &function.sig.ident;
    let (ty, may_fail) = returned(function);
    let span = function.sig.output.span();
    let mut passed = Vec::new();
    let mut accepted = Vec::new();
    for (at, argument) in arguments.iter().enumerate() {
        let Argument::Told { name, ty, .. } = argument else {
            passed.push(quote!(context));
            continue;
        };
        let (local, name) = (format_ident!("argument{at}"), plain(name));
        accepted.push(quote_spanned! {ty.span()=>
            let #local = context.argument::<#ty>(#name)?;
        });
        passed.push(quote!(#local));
    }
    let wait = function.sig.asyncness.map(|_| quote!(.await));
    let called = quote!(#ident(#(#passed),*) #wait);
    let value = match may_fail {
        true => quote_spanned!(span=> <#ty as ::embed::private::Falls>::into_value(answer)),
        false => quote_spanned!(span=> <#ty as ::embed::Output>::into_value(answer)),
    };
    let work = quote! {
        let _ = &context;
        #(#accepted)*
        let answer = #called;
        #value
    };
    match function.sig.asyncness {
        Some(_) => quote! {
            ::embed::Body::Async(::std::sync::Arc::new(|context: ::embed::Context| {
                ::std::boxed::Box::pin(async move {
                    let context = &context;
                    #work
                })
            }))
        },
        None => quote! {
            ::embed::Body::Blocking(::std::sync::Arc::new(|context: &::embed::Context| {
                #work
            }))
        },
    }
}
