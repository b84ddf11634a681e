//! Style and script of the pages, in the binary, under addresses that name their content: a browser keeps
//! them for ever, and another build has other addresses.

use std::sync::LazyLock;

use crate::app::value::fingerprint;

/// Characters of a content hash in an address.
const HASH_CHARS: usize = 16;

/// A file that pages need.
#[derive(Debug)]
pub struct Asset {
    /// Its name.
    pub name: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// Its content.
    pub text: &'static str,
}

/// All of them.
pub const ASSETS: [Asset; 2] = [
    Asset { name: "app.css", kind: "text/css; charset=utf-8", text: include_str!("app.css") },
    Asset {
        name: "live.js",
        kind: "text/javascript; charset=utf-8",
        text: include_str!("live.js"),
    },
];

static HASHES: LazyLock<Vec<String>> =
    LazyLock::new(|| ASSETS.iter().map(|asset| short(asset.text)).collect());

/// Enough of a text's hash to tell it from any other version.
fn short(text: &str) -> String {
    let whole = fingerprint(&serde_json::Value::String(text.to_owned()));
    whole.chars().filter(char::is_ascii_hexdigit).rev().take(HASH_CHARS).collect()
}

/// The address of an asset.
pub fn address(name: &str) -> String {
    let hashed = ASSETS.iter().zip(HASHES.iter()).find(|(asset, _)| asset.name == name);
    let hash = hashed.map(|(_, hash)| hash.as_str()).unwrap_or_default();
    format!("/assets/{hash}/{name}")
}

/// The asset at an address; none for another build's.
pub(crate) fn find(hash: &str, name: &str) -> Option<&'static Asset> {
    let mut hashed = ASSETS.iter().zip(HASHES.iter());
    hashed.find(|(asset, own)| asset.name == name && *own == hash).map(|(asset, _)| asset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_the_content() {
        for asset in &ASSETS {
            let address = address(asset.name);
            let hash = address.split('/').nth(2).unwrap();
            assert_eq!(hash.len(), 16, "{address}");
            assert!(find(hash, asset.name).is_some());
        }
        assert!(find("0000000000000000", "app.css").is_none());
    }

    /// What the policy of the pages forbids stands in no asset.
    #[test]
    fn the_script_needs_nothing_unsafe() {
        for asset in &ASSETS {
            for word in ["eval(", "new Function", "innerHTML", "@import", "http:", "https:"] {
                assert!(!asset.text.contains(word), "{}: {word}", asset.name);
            }
        }
    }
}
