//! The attributes of the facade `embed`: they make tools, skills, guides, sensors and hooks of Rust items
//! and register them, so that name, description and JSON Schema cannot drift from the code.
//!
//! It must not know: any crate of ours (its expansions name `::embed`), what a tool does. Wrong use is a
//! compile error at the place that is wrong, in words that say what to write instead.
//!
//! Start with `tool.rs`; `keys.rs` reads what stands in the parentheses, `docs.rs` what stands above.

mod docs;
mod keys;
mod looks;
mod text;
mod tool;

use proc_macro::TokenStream;

/// Makes a tool of a function: `async fn` or `fn`, with typed arguments, returning `T` or `Result<T, E>`.
///
/// Its doc comment is what the model is told, the doc comments of its arguments stand in the JSON Schema.
/// An argument of type `&Context` is not told to the model: it knows run and effect key. An argument of
/// type `Trusted<T>` is not taken from anything that an untrusted input shaped.
///
/// Keys, each of which takes its strictest value where it is absent:
///
/// | key | says | absent |
/// | --- | --- | --- |
/// | `effect = "read"` or `"write"` | whether the world differs afterwards | `write` |
/// | `undo(tool, argument = "/output/id")` | which tool takes it back, with what | cannot be taken back |
/// | `retry = "never"` or `"keyed"` | whether an unknown outcome may be tried again under its key | `never` |
/// | `egress = true` or `false` | whether anything leaves to a place nobody declared | `true` |
/// | `critical(argument, …)` | which arguments decide what happens | all |
/// | `trust = "untrusted"` or `"verified"` | whether a system of record vouches for the result | `untrusted` |
/// | `confidentiality = "public"`, `"internal"`, `"confidential"` or `"secret"` | how far the result may travel | `secret` |
/// | `timeout_ms = 10_000` | how long a call may take | 10 seconds |
/// | `name = "other"` | what the model calls it | the function's name |
#[proc_macro_attribute]
pub fn tool(keys: TokenStream, item: TokenStream) -> TokenStream {
    expand(tool::expand(keys.into(), item.into()))
}

/// Makes a skill of a `const …: &str` or of a function without arguments: instructions that an agent loads
/// when it wants them. Its doc comment says what it is for. Key: `name`.
#[proc_macro_attribute]
pub fn skill(keys: TokenStream, item: TokenStream) -> TokenStream {
    expand(text::expand(text::Sort::Skill, keys.into(), item.into()))
}

/// Makes a guide of a `const …: &str` or of a function without arguments: text that an agent is told where
/// it helps. Keys: `task("word", …)` or `files("*.rs", …)` say when, absent = always; `name`.
#[proc_macro_attribute]
pub fn guide(keys: TokenStream, item: TokenStream) -> TokenStream {
    expand(text::expand(text::Sort::Guide, keys.into(), item.into()))
}

/// Makes a sensor of a `fn(&Value) -> Signal`: it looks at what a tool returned, and what it says goes to
/// the model with the result. Keys: `tool` (needed), `name`.
#[proc_macro_attribute]
pub fn sensor(keys: TokenStream, item: TokenStream) -> TokenStream {
    expand(looks::expand(looks::Sort::Sensor, keys.into(), item.into()))
}

/// Makes a hook of a `fn(&Call<'_>) -> Verdict`: it looks at calls before they are made and may only narrow.
/// An error or a panic denies. Keys: `tool` (absent = every tool), `name`.
#[proc_macro_attribute]
pub fn hook(keys: TokenStream, item: TokenStream) -> TokenStream {
    expand(looks::expand(looks::Sort::Hook, keys.into(), item.into()))
}

fn expand(expanded: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}
