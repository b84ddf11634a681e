//! What this program was built from: every crate that was locked when it was, as CycloneDX 1.6.
//!
//! The lock is in the program itself, so that what is told is of this build and needs neither a network nor the sources.
//! A lock says more than what is linked: it names crates of other systems and of tests, too.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kernel::Digest;
use kernel::id::hex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::{Kind, Problem};

const LOCK: &str = include_str!("../../../../Cargo.lock");

/// The crate that is this program.
const ROOT: &str = "harness";

#[derive(Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Package {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }

    fn component(&self, of: &str) -> Value {
        let mut component = json!({
            "type": of, "bom-ref": self.purl(), "name": self.name, "version": self.version,
            "purl": self.purl(),
        });
        if let (Some(checksum), Some(fields)) = (&self.checksum, component.as_object_mut()) {
            fields.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
        }
        if let (Some(source), Some(fields)) = (&self.source, component.as_object_mut()) {
            let place = source.split_once('+').map_or(source.as_str(), |(_, place)| place);
            let reference = json!([{ "type": "distribution", "url": place }]);
            fields.insert("externalReferences".to_owned(), reference);
        }
        component
    }
}

/// The bill of materials of this build: the same for the same build, so without a time.
///
/// # Errors
/// When the lock that was built in is none.
pub fn sbom() -> Result<Value, Problem> {
    let broken = |what: String| {
        Problem::new(
            Kind::Unexpected,
            "sbom",
            format!("the lock of this build cannot be read: {what}"),
        )
        .next("build it again from a whole tree")
    };
    let lock: Lock = toml::from_str(LOCK).map_err(|error| broken(error.message().to_owned()))?;
    let mut named: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in &lock.package {
        named.entry(&package.name).or_default().push(package);
    }
    let find = |told: &str| -> Option<&Package> {
        let (name, version) = told.split_once(' ').map_or((told, None), |(n, v)| (n, Some(v)));
        let version = version.map(|version| version.split(' ').next().unwrap_or(version));
        let fits = |package: &&&Package| version.is_none_or(|version| package.version == version);
        named.get(name)?.iter().find(fits).copied()
    };
    let root = find(ROOT).ok_or_else(|| broken(format!("there is no `{ROOT}` in it")))?;
    let (mut reached, mut ahead) = (BTreeMap::new(), VecDeque::from([root]));
    while let Some(package) = ahead.pop_front() {
        let needs: BTreeSet<String> =
            package.dependencies.iter().filter_map(|told| find(told)).map(Package::purl).collect();
        if reached.insert(package.purl(), (package, needs)).is_none() {
            ahead.extend(package.dependencies.iter().filter_map(|told| find(told)));
        }
    }
    let components: Vec<Value> = reached
        .values()
        .filter(|(package, _)| package.name != ROOT)
        .map(|(package, _)| package.component("library"))
        .collect();
    let dependencies: Vec<Value> = reached
        .iter()
        .map(|(purl, (_, needs))| json!({ "ref": purl, "dependsOn": needs }))
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid_of(LOCK)),
        "version": 1,
        "metadata": {
            "component": root.component("application"),
            "properties": [{ "name": "harness:source", "value": "Cargo.lock of the build" }],
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// A number of its own for each lock, in the form of a UUID of version 8.
fn uuid_of(text: &str) -> String {
    let digest = Digest::of_parts("harness/sbom/v1", &[text.as_bytes()]);
    let mut bytes: Vec<u8> = digest.0.iter().take(16).copied().collect();
    if let Some(byte) = bytes.get_mut(6) {
        *byte = (*byte & 0x0f) | 0x80;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = (*byte & 0x3f) | 0x80;
    }
    let text = hex(&bytes);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}
