//! A project for one server, made in the first minute: somebody names a program or an address, and has a proxy in front
//! of it. Nothing of it is classified but what a profile knows, so every other tool writes what nobody can take back,
//! and a person is asked.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use connect::McpSystem;
use kernel::Digest;
use openapi::name::name_of;

use super::{Wanted, draft, known_names, look, profile::Profile};
use crate::app::{
    config::{Config, FILE, Overrides, mcp::ProxyMode},
    host,
    problem::{Kind, Problem},
};

/// Longest first line of a script that is looked at for who runs it, in bytes.
const SHEBANG_BYTES: u64 = 256;

/// Programs that fetch what they run from a registry each time.
const FETCHERS: [&str; 6] = ["npx", "uvx", "bunx", "pipx", "dlx", "docker"];

/// Most projects beside a new one that are looked at for names.
const BESIDE_MAX: usize = 100;

/// What somebody named.
#[derive(Clone, Debug)]
pub struct First {
    /// The connector's name; absent = made from the server.
    pub name: Option<String>,
    /// A program and its arguments, or one address.
    pub server: Vec<String>,
    /// What the program may read beside what it is installed in.
    pub read: Vec<PathBuf>,
    /// What it may write beside the folders among its arguments.
    pub write: Vec<PathBuf>,
    /// The folder of the project; absent = one of the user's.
    pub folder: Option<PathBuf>,
    /// What is done with what policy thinks of a call.
    pub mode: Option<ProxyMode>,
    /// Packs whose operations the server's tools may be taken for, beside those of the projects next to this one.
    pub known: Vec<PathBuf>,
}

/// A project that is there.
#[derive(Clone, Debug)]
pub struct Project {
    /// Its configuration.
    pub config: PathBuf,
    /// What a person should know, line by line.
    pub told: Vec<String>,
}

/// The project of a server: the one that is there, or a new one.
///
/// # Errors
/// A server that cannot be looked at, a folder that holds something else.
pub async fn project(first: &First) -> Result<Project, Problem> {
    let name = first.name.clone().unwrap_or_else(|| named(&first.server));
    crate::app::imports::check_name(&name)?;
    let folder = match &first.folder {
        Some(folder) => absolute(folder)?,
        None => default_folder(&name, first),
    };
    let config = folder.join(FILE);
    if config.is_file() {
        return there(first, config);
    }
    if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let detail = "the folder is not empty and no project of a proxy";
        return Err(Problem::new(Kind::Conflict, "folder-there", detail)
            .at(folder.display().to_string())
            .next("name another one with --project"));
    }
    let was_there = folder.exists();
    host::make_private_dir(&folder).map_err(|error| unwritten(&folder, error))?;
    let made = make(first, &name, &folder).await;
    if made.is_err() && !was_there {
        // Half a project would be taken for a whole one the next time.
        drop(fs::remove_dir_all(&folder));
    }
    made
}

/// One that was made before.
fn there(first: &First, config: PathBuf) -> Result<Project, Problem> {
    let overrides = Overrides { config: Some(config.clone()), ..Overrides::default() };
    let now = Config::load(&overrides, Path::new("."))?.mcp.proxy_mode;
    if let Some(mode) = first.mode.filter(|mode| *mode != now) {
        let detail = format!(
            "this project's proxy_mode is `{}`, and --mode says `{}`",
            now.word(),
            mode.word()
        );
        return Err(Problem::usage("mode-differs", detail)
            .at(config.display().to_string())
            .next("change `proxy_mode` under [mcp] there, or leave --mode out"));
    }
    let told = vec![format!("the project is {}, mode {}", config.display(), now.word())];
    Ok(Project { config, told })
}

async fn make(first: &First, name: &str, folder: &Path) -> Result<Project, Problem> {
    let system = system_of(first)?;
    let (config, mode) = (folder.join(FILE), first.mode.unwrap_or_default());
    let person = person();
    let declared = draft::declared(name, &system);
    let text = |packs: &str| {
        format!(
            "# A proxy in front of `{name}`. Made by `harness mcp proxy`; yours to change.\n\
             store = \".harness\"\npacks = [{packs}]\nme = \"{person}\"\n\n\
             [people.{person}]\nroles = [\"requester\", \"operator\", \"approver\", \"admin\"]\n\n\
             [policy]\noperator = [\"operator.cedar\"]\n\n\
             [mcp]\nproxy = [\"{name}\"]\nproxy_mode = \"{}\"\n\n{declared}",
            mode.word()
        )
    };
    write(&folder.join("operator.cedar"), POLICY)?;
    write(&config, &text(""))?;
    let overrides = Overrides { config: Some(config.clone()), ..Overrides::default() };
    let read = Config::load(&overrides, folder)?;
    let listing = look(&read, name, system.clone()).await?;
    let profile = Profile::by_words(&first.server);
    let pack = folder.join("pack");
    let connectors = pack.join("connectors");
    fs::create_dir_all(&connectors).map_err(|error| unwritten(&connectors, error))?;
    let wanted = Wanted {
        name: name.to_owned(),
        server: first.server.clone(),
        read: Vec::new(),
        folder: connectors.clone(),
        profile,
        passed_on: true,
        is_unread: true,
    };
    let known = known_names(&[&first.known[..], &beside(folder)].concat(), name);
    let drafted = draft::draft(&listing, &wanted, &system, &known)?;
    write(&pack.join("pack.yaml"), &manifest(name, &drafted))?;
    write(&connectors.join(format!("{name}.yaml")), &drafted.text)?;
    write(&config, &text("\"pack\""))?;
    let told = drafted.first_words(&config, mode);
    Ok(Project { config, told })
}

/// Packs of the projects that lie next to this one: the same clients are offered their tools.
fn beside(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.parent().and_then(|parent| fs::read_dir(parent).ok());
    let folders = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let projects = folders.filter(|other| other != folder && other.join(FILE).is_file());
    projects.take(BESIDE_MAX).map(|project| project.join("pack")).collect()
}

/// What the operator of the project permits: everything that the rules everybody inherits do not ask about.
const POLICY: &str = r#"@id("proxy.passes")
@reason("The clients of this proxy may use the tools of its server; what changes something, a person decides.")
permit (principal, action, resource);
"#;

fn manifest(name: &str, drafted: &draft::Drafted) -> String {
    let asks: Vec<String> =
        drafted.names().iter().map(|operation| format!("{name}.{operation}")).collect();
    format!(
        "schema: harness.pack/v1\nname: {name}\nversion: 0.1.0\nowner: {}\n\
         description: The tools of an MCP server, for the clients of the proxy in front of it.\n\
         harness: \">=0.1\"\nasks:\n  operations: [{}]\n  secrets: []\n  egress: [{}]\n\
         roles: [approver]\nconstants: {{}}\n",
        person(),
        asks.join(", "),
        if drafted.has_egress() { format!("\"system:{name}\"") } else { String::new() },
    )
}

/// The server as the operator declares it: the program sees what it is installed in and the folders among its arguments.
fn system_of(first: &First) -> Result<McpSystem, Problem> {
    if let [url] = first.server.as_slice()
        && (url.starts_with("http://") || url.starts_with("https://"))
    {
        return Ok(McpSystem::at(url.clone()));
    }
    let mut run = first.server.clone();
    let word = run.first().cloned().unwrap_or_default();
    let base = Path::new(&word).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if FETCHERS.contains(&base) {
        let detail = format!("`{base}` fetches what it runs from the network at each start");
        return Err(Problem::usage("not-installed", detail)
            .next("install the server, such as with `npm install` or `pip install`, and name its own program"));
    }
    let program = found(&word)?;
    if let Some(first) = run.first_mut() {
        *first = program.display().to_string();
    }
    let mut system = McpSystem::of_program(run.clone());
    let paths = &mut system.profile.paths;
    let mut read = installed(&program);
    for argument in run.iter().skip(1).map(Path::new).filter(|path| path.is_absolute()) {
        if argument.is_dir() {
            paths.write.push(argument.to_owned());
        } else if argument.is_file() {
            read.extend(installed(argument));
        }
    }
    for path in &first.read {
        read.push(absolute(path)?);
    }
    for path in &first.write {
        paths.write.push(absolute(path)?);
    }
    read.sort();
    read.dedup();
    paths.read = read;
    Ok(system)
}

/// The program of a name, as the shell finds it.
fn found(word: &str) -> Result<PathBuf, Problem> {
    let missing = || {
        Problem::new(Kind::NotFound, "no-such-program", format!("there is no program `{word}`"))
            .next("name the server's program by its path")
    };
    if word.contains('/') {
        let path = absolute(Path::new(word))?;
        return path.is_file().then_some(path).ok_or_else(missing);
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&paths).map(|folder| folder.join(word));
    candidates.find(|path| path.is_file()).ok_or_else(missing)
}

/// What a program or script needs to read: its installation, and that of whoever runs it.
fn installed(file: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for path in [file.to_owned(), fs::canonicalize(file).unwrap_or_else(|_| file.to_owned())] {
        all.extend(root_of(&path));
    }
    if let Some(interpreter) = interpreter(file).filter(|path| path.is_file()) {
        for path in [interpreter.clone(), fs::canonicalize(&interpreter).unwrap_or(interpreter)] {
            all.extend(root_of(&path));
        }
    }
    all
}

/// The folder that something is installed in, or the file alone; nothing where the system's own part shows it anyway.
fn root_of(path: &Path) -> Option<PathBuf> {
    if ["/usr/bin", "/usr/lib", "/bin", "/lib"].iter().any(|system| path.starts_with(system)) {
        return None;
    }
    let parts: Vec<_> = path.ancestors().collect();
    let modules = parts.iter().rev().find(|part| part.ends_with("node_modules"));
    if let Some(modules) = modules {
        return Some(modules.to_path_buf());
    }
    let folder = path.parent()?;
    let prefix = folder.parent().filter(|_| folder.ends_with("bin"));
    // Of a Python, or of an environment of one.
    let prefix =
        prefix.filter(|prefix| prefix.join("pyvenv.cfg").is_file() || prefix.join("lib").is_dir());
    match prefix {
        Some(prefix) if prefix.components().count() > 2 => Some(prefix.to_owned()),
        _ => Some(path.to_owned()),
    }
}

/// Who runs a script, where its first line says so by a path.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    fs::File::open(file).ok()?.take(SHEBANG_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.strip_prefix("#!")?.lines().next()?.trim();
    let path = PathBuf::from(line.split_whitespace().next()?);
    path.is_absolute().then_some(path)
}

/// A name for a connector, from what was named.
fn named(server: &[String]) -> String {
    if let Some(name) = Profile::by_words(server).map(|profile| profile.name()) {
        return name.to_owned();
    }
    let word = match server {
        [url] if url.contains("://") => url
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split(['/', ':']).next())
            .unwrap_or_default(),
        words => words.first().map(String::as_str).unwrap_or_default(),
    };
    let base = word.rsplit('/').next().unwrap_or_default();
    let base = base.split('.').next().unwrap_or_default();
    let name = name_of(base);
    if name.is_empty() { "server".to_owned() } else { name }
}

fn default_folder(name: &str, first: &First) -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    let base = data.or(home).unwrap_or_else(std::env::temp_dir).join("harness").join("proxy");
    let mut parts: Vec<&[u8]> = first.server.iter().map(|word| word.as_bytes()).collect();
    let paths: Vec<String> =
        first.read.iter().chain(&first.write).map(|path| path.display().to_string()).collect();
    parts.extend(paths.iter().map(|path| path.as_bytes()));
    let mark = Digest::of_parts("harness/proxy-project/v1", &parts).hex();
    base.join(format!("{name}-{}", mark.get(..8).unwrap_or_default()))
}

/// Whoever sits here, by a name that a configuration can hold.
fn person() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    let name: String =
        user.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_lowercase();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name } else { "me".to_owned() }
}

fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path).map_err(|error| {
        Problem::usage("no-such-path", error.to_string())
            .at(path.display().to_string())
            .next("name a file or folder that is there")
    })
}

fn write(path: &Path, text: &str) -> Result<(), Problem> {
    fs::write(path, text).map_err(|error| unwritten(path, error))
}

fn unwritten(path: &Path, error: impl std::fmt::Display) -> Problem {
    Problem::usage("not-written", format!("it cannot be written: {error}"))
        .at(path.display().to_string())
        .next("check that the folder is there and that this user may write in it")
}
