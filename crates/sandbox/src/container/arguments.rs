//! From a profile to what an engine is told.

use std::{ffi::OsString, fs, os::unix::fs::FileTypeExt, path::Path};

use rustix::process::{getegid, geteuid};

use super::Engine;
use crate::{
    Tier,
    error::{Error, Feature},
    local::Command,
    paths::{Access, Rules, resolve},
    profile::{Paths, Profile, System},
};

/// Where the proxy's socket appears.
const PROXY: &str = "/run/harness/proxy.sock";

/// Where engines are reached: whoever gets hold of one has the host.
const SOCKETS: [&str; 6] = [
    "/run/docker.sock",
    "/run/podman",
    "/run/containerd",
    "/run/crio",
    "/var/run/docker.sock",
    "/var/run/podman",
];

/// What engines call their sockets, wherever those lie.
const NAMES: [&str; 4] = ["docker.sock", "podman.sock", "containerd.sock", "crio.sock"];

/// What every container is told, whatever the profile is.
const ALWAYS: [&str; 13] = [
    "--pull=never",
    "--interactive",
    "--network=none",
    "--read-only",
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--ipc=private",
    "--cgroupns=private",
    "--hostname=sandbox",
    "--restart=no",
    "--log-driver=none",
    "--no-healthcheck",
    "--ulimit=core=0:0",
];

/// What podman does unless it is told not to.
const PODMAN: [&str; 4] =
    ["--userns=keep-id", "--http-proxy=false", "--read-only-tmpfs=false", "--unsetenv-all"];

/// The processors that one container may use at a time.
const CPUS: &str = "--cpus=2";

/// What `create` is told behind the name and the labels.
pub(super) fn create(
    engine: Engine,
    image: &str,
    profile: &Profile,
    command: &Command,
) -> Result<Vec<OsString>, Error> {
    profile.check()?;
    check(profile)?;
    let mut words: Vec<OsString> = ALWAYS.map(OsString::from).into();
    if engine == Engine::Podman {
        words.extend(PODMAN.map(OsString::from));
    }
    let limits = &profile.limits;
    let (memory, scratch) = (limits.memory_bytes, limits.scratch_bytes);
    words.extend(
        [
            CPUS.to_owned(),
            format!("--user={}:{}", geteuid().as_raw(), getegid().as_raw()),
            format!("--memory={memory}"),
            // Both together: none of it in swap.
            format!("--memory-swap={memory}"),
            format!("--pids-limit={}", limits.processes),
            format!("--ulimit=nofile={0}:{0}", limits.open_files),
            format!("--ulimit=fsize={0}:{0}", limits.file_bytes),
            format!("--ulimit=cpu={0}:{0}", limits.cpu_seconds),
            format!("--shm-size={scratch}"),
            format!("--tmpfs=/tmp:rw,nosuid,nodev,size={scratch},mode=1777"),
        ]
        .map(OsString::from),
    );
    words.extend(mounts(profile)?.into_iter().map(OsString::from));
    let folder = profile.folder.as_deref().unwrap_or(Path::new("/tmp"));
    words.push(format!("--workdir={}", text("folder", folder)?).into());
    words.extend(variables(profile).into_iter().map(OsString::from));
    let mut program = OsString::from("--entrypoint=");
    program.push(&command.program);
    words.push(program);
    words.push(image.into());
    words.extend(command.arguments.iter().cloned());
    Ok(words)
}

/// What this tier cannot hold is refused.
fn check(profile: &Profile) -> Result<(), Error> {
    if profile.mounts.workspace.is_some() {
        let why = "this tier has no workspaces; name a restored snapshot or the folder of a job in `paths.write`";
        return Err(Error::lacking(Feature::Overlay, why));
    }
    if profile.proxy_port.is_some() {
        let why =
            "nobody in a container passes a port on to the proxy; its socket is in `HARNESS_PROXY`";
        return Err(Error::lacking(Feature::ProxySocket, why));
    }
    if profile.serve_port.is_some() {
        let why = "nobody in a container passes connections on; use the isolated tier";
        return Err(Error::lacking(Feature::ServePort, why));
    }
    if profile.run_as.is_some() {
        let why = "a rootless engine has the caller's account and no other";
        return Err(Error::lacking(Feature::RunAs, why));
    }
    Ok(())
}

fn mounts(profile: &Profile) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    // The system is that of the image.
    let paths = Paths { system: System::Nothing, ..profile.paths.clone() };
    for rule in Rules::compile(&paths, Tier::Isolated)?.rules {
        let how = match rule.access {
            Access::Read => ",readonly",
            Access::Write => "",
            Access::None => {
                let outer = rule.path.parent().unwrap_or(Path::new("/")).to_owned();
                let tier = Tier::Container.name();
                return Err(Error::Inexpressible { inner: rule.path, outer, tier });
            }
        };
        let field = "paths.read or paths.write";
        words.push(bind(field, &rule.path, &rule.path, how)?);
    }
    for mount in &profile.mounts.read {
        let from = resolve("mounts.read.from", &mount.from)?;
        words.push(bind("mounts.read", &from, &mount.at, ",readonly")?);
    }
    for tmpfs in &profile.mounts.tmpfs {
        let at = text("mounts.tmpfs.at", &tmpfs.at)?;
        words.push(format!("--tmpfs={at}:rw,nosuid,nodev,size={},mode=1777", tmpfs.bytes));
    }
    if let Some(proxy) = &profile.proxy {
        let (from, to) = (resolve("proxy", proxy)?, Path::new(PROXY));
        if is_of_engine(&from) {
            return Err(of_engine("proxy", &from));
        }
        let (from, to) = (text("proxy", &from)?, text("proxy", to)?);
        words.push(format!("--mount=type=bind,source={from},target={to},readonly"));
    }
    Ok(words)
}

fn bind(field: &str, from: &Path, to: &Path, how: &str) -> Result<String, Error> {
    let kind = fs::symlink_metadata(from).map_err(Error::file("looking at", from))?.file_type();
    if is_of_engine(from) || kind.is_socket() {
        return Err(of_engine(field, from));
    }
    let (from, to) = (text(field, from)?, text(field, to)?);
    Ok(format!("--mount=type=bind,source={from},target={to}{how}"))
}

fn of_engine(field: &str, path: &Path) -> Error {
    let problem =
        format!("{} is, or holds, a socket; one of an engine would be the host", path.display());
    Error::profile(field, problem)
}

/// Whether a path is an engine's socket, or a folder that holds one.
fn is_of_engine(path: &Path) -> bool {
    let named = path.file_name().is_some_and(|name| NAMES.iter().any(|socket| name == *socket));
    let holds = NAMES.iter().any(|name| path.join(name).exists());
    named || holds || SOCKETS.map(Path::new).iter().any(|socket| socket.starts_with(path))
}

/// A path as a part of an argument, where a comma or a colon would begin another part.
fn text<'a>(field: &str, path: &'a Path) -> Result<&'a str, Error> {
    let found = path.to_str().filter(|text| !text.contains([',', ':', '"', '\n']));
    found.ok_or_else(|| {
        let problem =
            format!("{} has a comma, a colon, a quote or a line break in it", path.display());
        Error::profile(field, problem)
    })
}

fn variables(profile: &Profile) -> Vec<String> {
    let mut words: Vec<String> =
        profile.environment.iter().map(|(name, value)| format!("--env={name}={value}")).collect();
    if !profile.environment.contains_key("TMPDIR") {
        words.push("--env=TMPDIR=/tmp".to_owned());
    }
    if profile.proxy.is_some() {
        words.push(format!("--env=HARNESS_PROXY={PROXY}"));
    }
    words
}

#[cfg(test)]
mod tests;
