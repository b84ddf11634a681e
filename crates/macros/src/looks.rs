//! `#[sensor]` and `#[hook]`: functions that look at a result or at a call and say something.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Error, FnArg, ItemFn, Result, ReturnType, Type, spanned::Spanned as _};

use crate::keys::Keys;

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Sensor,
    Hook,
}

impl Sort {
    fn usage(self) -> &'static str {
        match self {
            Self::Sensor => "`#[sensor]` goes on a function: `fn name(result: &Value) -> Signal`",
            Self::Hook => "`#[hook]` goes on a function: `fn name(call: &Call<'_>) -> Verdict`",
        }
    }
}

pub(crate) fn expand(sort: Sort, keys: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let Ok(function) = syn::parse2::<ItemFn>(item.clone()) else {
        return Err(Error::new_spanned(item, sort.usage()));
    };
    check_signature(sort, &function)?;
    let attribute = if sort == Sort::Sensor { "sensor" } else { "hook" };
    let mut keys = Keys::parse(attribute, &["tool", "name"], keys)?;
    let ident = &function.sig.ident;
    let plain = || ident.to_string().trim_start_matches("r#").to_owned();
    let name = keys.take_text("name")?.map_or_else(plain, |name| name.value());
    let tool = keys.take_text("tool")?;
    let span = function.sig.inputs.span();
    let registered = match (sort, tool) {
        (Sort::Sensor, Some(tool)) => quote_spanned! {span=>
            ::embed::Registered::Sensor(|| ::embed::Sensor::new(#name, #tool, #ident))
        },
        (Sort::Sensor, None) => {
            let message = "a sensor looks at one tool: write `#[sensor(tool = \"…\")]`";
            return Err(Error::new(ident.span(), message));
        }
        (Sort::Hook, Some(tool)) => quote_spanned! {span=>
            ::embed::Registered::Hook(|| ::embed::Hook::new(#name, #ident).on(#tool))
        },
        (Sort::Hook, None) => quote_spanned! {span=>
            ::embed::Registered::Hook(|| ::embed::Hook::new(#name, #ident))
        },
    };
    Ok(quote! {
        #function

        const _: () = {
            ::embed::private::inventory::submit! { #registered }
        };
    })
}

fn check_signature(sort: Sort, function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if let Some(word) = &signature.asyncness {
        let message = "it looks and waits for nothing: leave `async` out";
        return Err(Error::new(word.span(), message));
    }
    let inputs: Vec<&FnArg> = signature.inputs.iter().collect();
    let takes_one = match inputs.as_slice() {
        [FnArg::Typed(one)] => matches!(*one.ty, Type::Reference(_)),
        _ => false,
    };
    if !takes_one || matches!(signature.output, ReturnType::Default) {
        return Err(Error::new_spanned(signature, sort.usage()));
    }
    Ok(())
}
