//! From the paths of a profile to rules in order: canonical, each once, narrower ones last.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Tier,
    error::Error,
    profile::{Paths, System},
};

/// What every program needs that is linked to libraries, where it exists.
const LIBRARIES: [&str; 19] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];

/// What may be done below a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Access {
    None,
    Read,
    Write,
}

/// A canonical path and what may be done below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
}

/// Rules ordered so that what is around comes before what is inside, and the other names of their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) rules: Vec<Rule>,
    /// A path as it was named → the canonical path it leads to.
    pub(crate) aliases: BTreeMap<PathBuf, PathBuf>,
}

impl Rules {
    /// Resolves every path on this machine, now. What a later change makes of them is not followed.
    pub(crate) fn compile(paths: &Paths, tier: Tier) -> Result<Self, Error> {
        let mut found = BTreeMap::new();
        let mut aliases = BTreeMap::new();
        let mut add = |path: &Path, real: PathBuf, access: Access| {
            if real != path {
                aliases.insert(path.to_owned(), real.clone());
            }
            let kept = found.entry(real).or_insert(access);
            *kept = access.min(*kept);
        };
        if paths.system == System::Libraries {
            for path in LIBRARIES.map(Path::new) {
                if let Ok(real) = fs::canonicalize(path) {
                    add(path, real, Access::Read);
                }
            }
        }
        let named = [
            ("paths.read", &paths.read, Access::Read),
            ("paths.write", &paths.write, Access::Write),
            ("paths.none", &paths.none, Access::None),
        ];
        for (field, list, access) in named {
            for path in list {
                add(path, resolve(field, path)?, access);
            }
        }
        // Sorted by path, so what is around stands before what is inside.
        let mut rules: Vec<Rule> = Vec::new();
        for (path, access) in found {
            let around = rules.iter().rev().find(|rule| path.starts_with(&rule.path));
            match around {
                None if access == Access::None => continue,
                Some(around) if around.access == access => continue,
                Some(around) if access < around.access && tier == Tier::Restricted => {
                    return Err(Error::Inexpressible {
                        inner: path,
                        outer: around.path.clone(),
                        tier: tier.name(),
                    });
                }
                _ => rules.push(Rule { path, access }),
            }
        }
        Ok(Self { rules, aliases })
    }
}

/// The canonical path of one that must exist.
pub(crate) fn resolve(field: &str, path: &Path) -> Result<PathBuf, Error> {
    let real = fs::canonicalize(path).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => error.to_string(),
        };
        Error::profile(field, format!("{} {why}", path.display()))
    })?;
    if real == Path::new("/") {
        return Err(Error::profile(field, "`/` is everything; name what is needed"));
    }
    if real.to_str().is_none() {
        return Err(Error::profile(field, "a path that is no UTF-8"));
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(paths: Paths, tier: Tier) -> Result<Vec<(PathBuf, Access)>, Error> {
        let rules = Rules::compile(&paths, tier)?.rules;
        Ok(rules.into_iter().map(|rule| (rule.path, rule.access)).collect())
    }

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/b/c")).unwrap();
        let root = folder.path().canonicalize().unwrap();
        (folder, root)
    }

    fn paths(read: &[&PathBuf], write: &[&PathBuf], none: &[&PathBuf]) -> Paths {
        let owned = |list: &[&PathBuf]| list.iter().map(|path| (*path).clone()).collect();
        Paths { system: System::Nothing, read: owned(read), write: owned(write), none: owned(none) }
    }

    #[test]
    fn of_two_for_one_path_the_narrower_wins() {
        let (_folder, root) = tree();
        let a = root.join("a");
        let both = paths(&[&a], &[&a], &[]);
        assert_eq!(compile(both, Tier::Restricted).unwrap(), [(a.clone(), Access::Read)]);
        let closed = paths(&[], &[&a], &[&a]);
        assert!(compile(closed, Tier::Restricted).unwrap().is_empty());
    }

    #[test]
    fn the_most_specific_path_wins_where_the_tier_can_hold_it() {
        let (_folder, root) = tree();
        let (a, b, c) = (root.join("a"), root.join("a/b"), root.join("a/b/c"));
        let widening = paths(&[&a], &[&b], &[]);
        for tier in [Tier::Restricted, Tier::Isolated] {
            let rules = compile(widening.clone(), tier).unwrap();
            assert_eq!(rules, [(a.clone(), Access::Read), (b.clone(), Access::Write)]);
        }
        let narrowing = paths(&[], &[&a], &[&c]);
        let refused = compile(narrowing.clone(), Tier::Restricted).unwrap_err();
        assert_eq!(refused.code(), "sandbox.inexpressible");
        assert!(refused.to_string().contains(&c.display().to_string()), "{refused}");
        let rules = compile(narrowing, Tier::Isolated).unwrap();
        assert_eq!(rules, [(a, Access::Write), (c, Access::None)]);
    }

    #[test]
    fn other_names_of_a_path_do_not_hide_what_is_closed() {
        let (_folder, root) = tree();
        let link = root.join("link");
        std::os::unix::fs::symlink(root.join("a/b"), &link).unwrap();
        let sly = paths(&[], &[&root.join("a")], &[&link]);
        assert!(compile(sly.clone(), Tier::Restricted).is_err());
        let rules = Rules::compile(&sly, Tier::Isolated).unwrap();
        assert_eq!(rules.rules.last().unwrap().path, root.join("a/b"));
        assert_eq!(rules.aliases[&link], root.join("a/b"));
    }

    #[test]
    fn what_does_not_exist_is_refused_by_name() {
        let (_folder, root) = tree();
        let error = compile(paths(&[&root.join("x")], &[], &[]), Tier::Isolated).unwrap_err();
        assert!(error.to_string().contains("paths.read"), "{error}");
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
}
