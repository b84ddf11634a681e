//! Who made a pack: a signature over its content by a publisher whom the operator trusts.
//!
//! `pack.sig` stands beside `pack.yaml`. It signs name, version and the digest of every other file, so a
//! changed file leaves no valid signature, and a valid one cannot be moved to another pack.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ::receipts::key::{PublicKey, Signer};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kernel::{canon, port::Sign};
use pack::{Pack, SIGNATURE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{
    config::Config,
    host,
    problem::{Kind, Problem},
    shelf,
};

/// The file, as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    schema: String,
    /// The signer's key id.
    key: String,
    /// Ed25519 in base64.
    signature: String,
}

/// Its schema.
const SCHEMA: &str = "harness.pack-signature/v1";

/// What is signed.
#[derive(Serialize)]
struct Signed<'a> {
    schema: &'a str,
    name: &'a str,
    version: &'a str,
    content: kernel::Digest,
}

/// Whose signatures are trusted, and whether a pack needs one.
#[derive(Clone, Debug, Default)]
pub struct Publishers {
    trusted: BTreeMap<String, PublicKey>,
    needed: Needed,
}

/// Whether packs without a trusted signature are put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Needed {
    /// They are; what is shown says so.
    #[default]
    No,
    /// They are refused.
    Yes,
}

impl Publishers {
    /// Those that the configuration names.
    ///
    /// # Errors
    /// A key that is none, by its publisher's name.
    pub fn of(config: &Config) -> Result<Self, Problem> {
        let mut trusted = BTreeMap::new();
        for (name, place) in &config.publishers {
            let refuse = |problem: String| {
                Problem::usage("publisher-key", format!("publishers.{name}: {problem}"))
                    .next("write `file:PATH` of the public key that `harness pack sign` printed")
            };
            let text = match place.strip_prefix("file:") {
                Some(path) => {
                    std::fs::read_to_string(path).map_err(|e| refuse(format!("{path}: {e}")))?
                }
                None => place.clone(),
            };
            let key = PublicKey::parse(&text).map_err(|e| refuse(e.to_string()))?;
            trusted.insert(name.clone(), key);
        }
        Ok(Self { trusted, needed: config.signed_packs })
    }

    /// Who signed a pack, in words; a signature that does not hold is never put in force.
    ///
    /// # Errors
    /// A signature that does not fit the files, or none where one is needed.
    pub fn check(&self, pack: &Pack) -> Result<String, Problem> {
        let name = &pack.manifest.name;
        let refuse = |code, detail: String, next: &str| {
            Problem::new(Kind::VerificationFailed, code, detail).next(next.to_owned())
        };
        let Some(text) = &pack.signature else {
            return match self.needed {
                Needed::No => Ok("unsigned".to_owned()),
                Needed::Yes => Err(refuse(
                    "pack-unsigned",
                    format!("pack `{name}` is not signed, and signed_packs says that it must be"),
                    "have its publisher sign it with `harness pack sign`",
                )),
            };
        };
        let broken = |why: String| {
            refuse(
                "pack-signature",
                format!("the signature of pack `{name}` {why}"),
                "fetch the pack from its publisher again; do not install this one",
            )
        };
        let written: Written =
            serde_json::from_str(text).map_err(|e| broken(format!("cannot be read: {e}")))?;
        if written.schema != SCHEMA {
            return Err(broken(format!("is not of schema {SCHEMA}")));
        }
        let signer = self.trusted.iter().find(|(_, key)| key.id() == written.key);
        let Some((publisher, key)) = signer else {
            let short: String = written.key.chars().take(12).collect();
            return match self.needed {
                Needed::No => Ok(format!("signed by {short}, whom nobody declared")),
                Needed::Yes => Err(refuse(
                    "pack-publisher",
                    format!("pack `{name}` is signed by {short}, whom nobody declared"),
                    "declare the publisher's public key under [publishers], if it is trusted",
                )),
            };
        };
        let signature = STANDARD.decode(&written.signature).ok();
        let signature = signature.and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let holds = signature.is_some_and(|signature| {
            statement(pack).is_ok_and(|bytes| key.check(&bytes, &signature).is_ok())
        });
        if holds {
            Ok(format!("signed by {publisher}"))
        } else {
            Err(broken("does not fit its files: they were changed after it was signed".to_owned()))
        }
    }
}

fn statement(pack: &Pack) -> Result<Vec<u8>, canon::Error> {
    canon::bytes(&Signed {
        schema: SCHEMA,
        name: &pack.manifest.name,
        version: &pack.manifest.version,
        content: pack.content,
    })
}

/// What was signed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PackSigned {
    /// The pack.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The file that was written.
    pub file: String,
    /// Id of the key that signed.
    pub key: String,
    /// The public key, for `[publishers]` of whoever installs it.
    pub public_key: String,
}

/// Signs a folder: needs no store. Makes the key where its file does not exist.
///
/// # Errors
/// What is wrong with the pack or the key, or a file that cannot be written.
pub fn sign(folder: &Path, key: &str) -> Result<PackSigned, Problem> {
    let mut files = shelf::read_folder(folder)?;
    files.remove(SIGNATURE);
    let pack = Pack::load(files).map_err(|problems| shelf::pack_problems(folder, &problems))?.pack;
    let signer: Signer = host::signing_key(key)?;
    let bytes = statement(&pack)
        .map_err(|e| Problem::usage("pack-signature", e.to_string()).next("correct the pack"))?;
    let written = Written {
        schema: SCHEMA.to_owned(),
        key: signer.key_id(),
        signature: STANDARD.encode(signer.sign(&bytes)),
    };
    let path: PathBuf = folder.join(SIGNATURE);
    let text = serde_json::to_string_pretty(&written).unwrap_or_default() + "\n";
    let refuse = |e: std::io::Error| {
        Problem::usage("file-unwritable", format!("cannot write {}: {e}", path.display()))
            .next("name a folder that can be written")
    };
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).map_err(refuse)?;
    std::fs::rename(&draft, &path).map_err(refuse)?;
    Ok(PackSigned {
        name: pack.manifest.name,
        version: pack.manifest.version,
        file: path.display().to_string(),
        key: written.key,
        public_key: signer.public().to_string(),
    })
}
