//! The one policy of runs that the proxy lets pass: it permits everything, says that the operator's setting does so, and
//! is pinned, recorded and receipted as every policy is. Nobody's approval is part of it.

use std::sync::OnceLock;

use kernel::{Digest, catalogue::Catalogue};
use policy::{Bundle, Layer, Source};

/// The rules.
const TEXT: &str = r#"@id("mcp.proxy-lets-pass")
@reason("The operator lets every call of the proxy pass (mcp.proxy_mode); nobody was asked.")
permit (principal, action, resource);
"#;

/// Its files.
pub(super) fn sources() -> Vec<Source> {
    vec![Source {
        layer: Layer::Operator,
        name: "mcp-proxy.cedar".to_owned(),
        text: TEXT.to_owned(),
    }]
}

/// The policy over the operations of a catalogue.
///
/// # Errors
/// What is wrong with the catalogue.
pub(super) fn bundle(catalogue: &Catalogue) -> Result<Bundle, String> {
    let loaded = Bundle::load(catalogue, &sources());
    loaded.map(|loaded| loaded.bundle).map_err(super::first_problem)
}

/// The digest by which runs pin it. It is over the rules alone.
pub(super) fn digest() -> Digest {
    static DIGEST: OnceLock<Digest> = OnceLock::new();
    *DIGEST.get_or_init(|| {
        bundle(&Catalogue::default()).map(|bundle| bundle.digest()).unwrap_or_default()
    })
}

/// Whether this is it.
pub(super) fn is_of(bundle: &Bundle) -> bool {
    bundle.digest() == digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest by which a run is recognised is one that no other policy can have.
    #[test]
    fn it_loads_and_has_a_digest_of_its_own() {
        assert!(bundle(&Catalogue::default()).is_ok());
        assert_ne!(digest(), Digest::default());
    }
}
