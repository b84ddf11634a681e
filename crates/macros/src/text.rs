//! `#[skill]` and `#[guide]`: text that an agent is told or may load.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, Ident, Item, Result, Type};

use crate::{docs, keys::Keys};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Skill,
    Guide,
}

pub(crate) fn expand(sort: Sort, keys: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let attribute = match sort {
        Sort::Skill => "skill",
        Sort::Guide => "guide",
    };
    let usage = format!(
        "`#[{attribute}]` goes on text: `const NAME: &str = \"…\";` or `fn name() -> String`"
    );
    let parsed = syn::parse2::<Item>(item.clone());
    let (ident, attributes, text) = match &parsed {
        Ok(Item::Const(text)) if is_text(&text.ty) => {
            let ident = &text.ident;
            (ident, &text.attrs, quote!(#ident))
        }
        Ok(Item::Fn(text)) if text.sig.inputs.is_empty() && text.sig.asyncness.is_none() => {
            let ident = &text.sig.ident;
            (ident, &text.attrs, quote!(#ident()))
        }
        _ => return Err(Error::new_spanned(item, usage)),
    };
    let registered = match sort {
        Sort::Skill => skill(keys, ident, (docs::text(attributes), text))?,
        Sort::Guide => guide(keys, ident, text)?,
    };
    Ok(quote! {
        #item

        const _: () = {
            ::embed::private::inventory::submit! { #registered }
        };
    })
}

fn is_text(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else { return false };
    matches!(&*reference.elem, Type::Path(path) if path.path.is_ident("str"))
}

fn name_of(ident: &Ident, keys: &mut Keys) -> Result<String> {
    let name = keys.take_text("name")?;
    let plain = || ident.to_string().trim_start_matches("r#").to_lowercase();
    Ok(name.map_or_else(plain, |name| name.value()))
}

fn skill(
    keys: TokenStream,
    ident: &Ident,
    (description, text): (String, TokenStream),
) -> Result<TokenStream> {
    let name = name_of(ident, &mut Keys::parse("skill", &["name"], keys)?)?;
    if description.is_empty() {
        let message = format!(
            "a model must be told when to load `{ident}`: write a doc comment (`/// …`) above it"
        );
        return Err(Error::new(ident.span(), message));
    }
    Ok(quote! {
        ::embed::Registered::Skill(|| ::embed::private::skill(#name, #description, #text))
    })
}

fn guide(keys: TokenStream, ident: &Ident, text: TokenStream) -> Result<TokenStream> {
    let mut keys = Keys::parse("guide", &["name", "task", "files"], keys)?;
    let name = name_of(ident, &mut keys)?;
    let scope = match (keys.take_texts("task")?, keys.take_texts("files")?) {
        (None, None) => quote!(Always),
        (Some(words), None) => quote!(Task { any: ::std::vec![#(#words.into()),*] }),
        (None, Some(files)) => quote!(Files { any: ::std::vec![#(#files.into()),*] }),
        (Some(_), Some(files)) => {
            let span = files.first().map_or_else(|| ident.span(), |file| file.span());
            return Err(Error::new(span, "a guide applies by `task` or by `files`, not by both"));
        }
    };
    Ok(quote! {
        ::embed::Registered::Guide(|| {
            ::embed::private::guide(#name, ::embed::private::GuideScope::#scope, #text)
        })
    })
}
