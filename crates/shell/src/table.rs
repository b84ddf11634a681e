//! What programs do, by name, and what their options make of it.

use std::collections::BTreeSet;

use crate::{
    options::{Options, has, operands, unsure},
    reading::Effect::{
        self, Deletes, Network, Privilege, Reads, RunsCode, Settings, Unknown, Writes,
    },
    syntax::tree::Word,
    texts::{awk_only_prints, sed_only_prints},
};

/// Programs that do the same whatever they are told.
const ALWAYS: [(&[Effect], &str); 17] = [
    (
        &[],
        ": true false echo sleep seq yes basename dirname expr factor tty nproc arch cal numfmt \
           exit return break continue shift wait times jobs fg bg disown history help caller ulimit",
    ),
    (
        &[Reads],
        "cat ls dir vdir head tail wc cut tr comm join paste nl od hexdump strings tac rev \
                fold fmt expand unexpand column sha1sum sha224sum sha256sum sha384sum sha512sum \
                md5sum b2sum cksum sum diff diff3 cmp grep egrep fgrep jq stat readlink realpath \
                pwd cd pushd popd dirs id whoami groups who users logname uname uptime free vmstat \
                lscpu lsblk lsof df du ps pgrep pstree pidof printenv locale getent which whereis type \
                pathchk namei base64 base32 basenc zcat bzcat xzcat zstdcat zgrep tsort ptx \
                tokei nm size objdump readelf getconf md5 shasum cloc",
    ),
    (
        &[Writes],
        "cp ln mkdir mkfifo mknod touch install truncate chmod chown chgrp chattr setfacl \
                 setfattr split csplit tee patch mktemp gzip gunzip bzip2 bunzip2 xz unxz zstd unzstd \
                 lz4 zip 7z cpio ar mkisofs rename dos2unix unix2dos fallocate sync",
    ),
    (&[Writes, Deletes], "mv"),
    (&[Deletes], "rm rmdir unlink shred"),
    (&[Network], "ping ping6 traceroute tracepath dig nslookup host whois"),
    (&[Writes, Network], "wget aria2c scp sftp ftp lftp tftp"),
    (&[RunsCode, Network], "ssh telnet nc ncat netcat socat mosh"),
    (
        &[Writes, RunsCode],
        "make gmake cmake ninja meson cargo rustc gcc g++ cc c++ clang clang++ ld \
                           javac mvn gradle ant bazel buck tsc webpack vite jest pytest tox nox mypy \
                           ruff black isort eslint prettier rustfmt gofmt rustup pre-commit",
    ),
    (
        &[Writes, Network, RunsCode],
        "npm npx pnpm yarn bun bunx pip pip3 pipx uv uvx poetry conda gem bundle \
                                    composer go deno apt apt-get aptitude dpkg yum dnf apk pacman \
                                    brew snap flatpak nix rsync svn hg gh glab git-lfs",
    ),
    (
        &[RunsCode],
        "python python2 python3 pypy pypy3 perl ruby node nodejs php lua luajit tclsh wish \
                   Rscript R julia java kotlin scala swift ghc runghc ocaml erl elixir iex osascript \
                   pwsh powershell expect m4 dc ed ex vi vim nvim view emacs nano pico less more man \
                   info most gdb lldb sqlite3 psql mysql redis-cli mongo screen tmux at batch source .",
    ),
    (
        &[Settings],
        "umask kill killall pkill crontab systemctl service sysctl hostnamectl timedatectl \
                   localectl stty reset renice update-alternatives passwd chsh useradd usermod userdel \
                   groupadd adduser deluser ipcrm swapon swapoff ldconfig",
    ),
    (
        &[Privilege, Unknown],
        "su sudoedit visudo pkexec runuser setpriv unshare nsenter bwrap firejail machinectl \
                             capsh",
    ),
    (
        &[Privilege],
        "mount umount insmod rmmod modprobe losetup cryptsetup iptables nft ip ifconfig \
                    route mkfs fdisk parted setcap reboot shutdown halt poweroff",
    ),
    (
        &[Privilege, RunsCode, Network],
        "docker podman nerdctl kubectl helm lxc virsh qemu-img vagrant terraform \
                                       ansible ansible-playbook aws gcloud az",
    ),
    (
        &[RunsCode, Unknown],
        "strace ltrace perf valgrind parallel script flock unbuffer rlwrap entr \
                            inotifywait start-stop-daemon systemd-run dbus-run-session proot fakeroot \
                            let enable bind complete compgen mapfile readarray shopt coproc fc",
    ),
    (&[Settings, Unknown], "suspend logout"),
];

/// What some options add to a program that otherwise does only this.
struct Row {
    name: &'static str,
    base: &'static [Effect],
    more: &'static [(Options, Effect)],
    /// From the how-many-th operand on files are written.
    output_at: usize,
}

const fn option(short: &'static str, long: &'static [&'static str]) -> Options {
    Options { short, long }
}

const NEVER: usize = usize::MAX;

/// Programs whose options decide.
const BY_OPTION: [Row; 13] = [
    Row {
        name: "sort",
        base: &[Reads],
        more: &[
            (option("oT", &["output", "temporary-directory"]), Writes),
            (option("", &["compress-program"]), RunsCode),
        ],
        output_at: NEVER,
    },
    Row { name: "uniq", base: &[Reads], more: &[], output_at: 2 },
    Row { name: "xxd", base: &[Reads], more: &[(option("r", &["revert"]), Writes)], output_at: 2 },
    Row {
        name: "tree",
        base: &[Reads],
        more: &[(option("oR", &["output"]), Writes)],
        output_at: NEVER,
    },
    Row {
        name: "date",
        base: &[Reads],
        more: &[(option("s", &["set"]), Settings)],
        output_at: NEVER,
    },
    Row {
        name: "file",
        base: &[Reads],
        more: &[(option("C", &["compile"]), Writes), (option("z", &["uncompress"]), RunsCode)],
        output_at: NEVER,
    },
    Row {
        name: "rg",
        base: &[Reads],
        more: &[(option("z", &["pre", "search-zip", "hostname-bin"]), RunsCode)],
        output_at: NEVER,
    },
    Row {
        name: "fd",
        base: &[Reads],
        more: &[(option("xX", &["exec", "exec-batch"]), Unknown)],
        output_at: NEVER,
    },
    Row {
        name: "yq",
        base: &[Reads],
        more: &[(option("is", &["inplace", "split-exp"]), Writes)],
        output_at: NEVER,
    },
    Row {
        name: "iconv",
        base: &[Reads],
        more: &[(option("o", &["output"]), Writes)],
        output_at: NEVER,
    },
    Row { name: "bc", base: &[Reads], more: &[], output_at: NEVER },
    Row {
        name: "curl",
        base: &[Network],
        more: &[
            (
                option(
                    "oOJcDT",
                    &[
                        "output",
                        "remote-name",
                        "remote-name-all",
                        "remote-header-name",
                        "cookie-jar",
                        "dump-header",
                        "upload-file",
                        "output-dir",
                        "trace",
                        "trace-ascii",
                        "stderr",
                        "hsts",
                        "alt-svc",
                        "etag-save",
                        "libcurl",
                    ],
                ),
                Writes,
            ),
            (option("K", &["config"]), RunsCode),
        ],
        output_at: NEVER,
    },
    Row { name: "unzip", base: &[Writes], more: &[], output_at: NEVER },
];

/// What a program may do with these words; `None` where nobody knows the program.
pub(crate) fn effects(name: &str, words: &[Word]) -> Option<BTreeSet<Effect>> {
    if let [only] = words
        && matches!(only.fixed(), Some("--version"))
        && is_known(name)
    {
        return Some(BTreeSet::from([Reads]));
    }
    if let Some(row) = BY_OPTION.iter().find(|row| row.name == name) {
        return Some(by_option(row, words));
    }
    match name {
        "sed" | "gsed" => Some(sed(words)),
        "awk" | "gawk" | "mawk" | "nawk" => Some(awk(words)),
        "git" => Some(git(words)),
        "tar" | "bsdtar" => Some(tar(words)),
        "dd" => Some(dd(words)),
        "hostname" | "domainname" => Some(one_or(words, Settings)),
        _ => always(name),
    }
}

fn always(name: &str) -> Option<BTreeSet<Effect>> {
    let row = ALWAYS.iter().find(|(_, names)| names.split(' ').any(|known| known == name));
    row.map(|(effects, _)| effects.iter().copied().collect())
}

fn is_known(name: &str) -> bool {
    always(name).is_some() || BY_OPTION.iter().any(|row| row.name == name) || name == "git"
}

fn by_option(row: &Row, words: &[Word]) -> BTreeSet<Effect> {
    let mut effects: BTreeSet<Effect> = row.base.iter().copied().collect();
    for (options, effect) in row.more {
        if has(words, options) {
            effects.insert(*effect);
        }
    }
    if !row.more.is_empty() && unsure(words) {
        effects.insert(Unknown);
    }
    if row.output_at != NEVER {
        // A word that may become several could be one more file.
        let several = words.iter().any(|word| word.splits || (!word.whole && !word.quoted));
        if several || operands(words).count() >= row.output_at {
            effects.insert(Writes);
        }
    }
    effects
}

fn one_or(words: &[Word], otherwise: Effect) -> BTreeSet<Effect> {
    BTreeSet::from([if words.is_empty() { Reads } else { otherwise }])
}

/// The script of `sed` and `awk` is the first word that is no option.
fn script(words: &[Word]) -> Option<&str> {
    operands(words).next().and_then(Word::fixed)
}

fn sed(words: &[Word]) -> BTreeSet<Effect> {
    let mut effects = BTreeSet::from([Reads]);
    if has(words, &Options { short: "i", long: &["in-place"] }) {
        effects.insert(Writes);
    }
    if has(words, &Options { short: "f", long: &["file"] }) {
        effects.insert(RunsCode);
    }
    let plain = |word: &Word| {
        let options = [
            "-n",
            "-E",
            "-r",
            "-s",
            "-z",
            "-u",
            "-nE",
            "-En",
            "-nr",
            "--quiet",
            "--silent",
            "--posix",
            "--sandbox",
        ];
        !word.known.starts_with('-')
            || options.contains(&word.known.as_str())
            || word.known.starts_with("-i")
            || word.known.starts_with("--in-place")
    };
    if unsure(words) {
        effects.insert(Unknown);
    }
    // With `-e` every part would have to be looked at.
    if !words.iter().all(plain) || !script(words).is_some_and(sed_only_prints) {
        effects.insert(RunsCode);
    }
    effects
}

fn awk(words: &[Word]) -> BTreeSet<Effect> {
    let mut effects = BTreeSet::from([Reads]);
    let plain = |word: &Word| {
        !word.known.starts_with('-') || (word.known.starts_with("-F") && word.known.len() > 2)
    };
    let printing = words.iter().all(plain) && script(words).is_some_and(awk_only_prints);
    if unsure(words) {
        effects.insert(Unknown);
    }
    if !printing {
        effects.extend([Writes, RunsCode]);
    }
    effects
}

/// Whatever git is asked, it runs what the repository's settings name: hooks, monitors, filters, pagers.
fn git(words: &[Word]) -> BTreeSet<Effect> {
    let mut effects = BTreeSet::from([RunsCode]);
    let verb = words.iter().map(|word| word.known.as_str()).find(|word| !word.starts_with('-'));
    let looks = [
        "status",
        "log",
        "diff",
        "show",
        "blame",
        "rev-parse",
        "ls-files",
        "ls-tree",
        "cat-file",
        "grep",
        "describe",
        "shortlog",
        "reflog",
        "merge-base",
        "rev-list",
        "name-rev",
        "for-each-ref",
        "count-objects",
        "var",
        "version",
        "help",
    ];
    let network = [
        "push",
        "pull",
        "fetch",
        "clone",
        "ls-remote",
        "remote",
        "submodule",
        "send-email",
        "request-pull",
        "lfs",
    ];
    let more: &[Effect] = match verb {
        Some(verb) if looks.contains(&verb) => &[Reads],
        Some(verb) if network.contains(&verb) => &[Writes, Network],
        Some("config") => &[Writes, Settings],
        Some("clean" | "rm" | "reset" | "checkout" | "restore" | "switch" | "stash") => {
            &[Writes, Deletes]
        }
        _ => &[Writes],
    };
    effects.extend(more);
    // Settings on the command line, and output to files.
    let risky = Options {
        short: "cO",
        long: &[
            "exec-path",
            "config-env",
            "output",
            "open-files-in-pager",
            "ext-diff",
            "upload-pack",
            "receive-pack",
        ],
    };
    if has(words, &risky) {
        effects.extend([Writes, Settings]);
    }
    if unsure(words) {
        effects.insert(Unknown);
    }
    effects
}

fn tar(words: &[Word]) -> BTreeSet<Effect> {
    let mut effects = BTreeSet::new();
    let first = words.first().map(|word| word.known.as_str()).unwrap_or_default();
    let lists = first.trim_start_matches('-').contains('t')
        && !first.starts_with("--")
        && !first.contains(['x', 'c', 'r', 'u', 'A']);
    effects.insert(if lists || first == "--list" { Reads } else { Writes });
    let runs = Options {
        short: "IF",
        long: &[
            "to-command",
            "checkpoint-action",
            "use-compress-program",
            "info-script",
            "new-volume-script",
            "rsh-command",
            "rmt-command",
        ],
    };
    if has(words, &runs) || first.contains(['I', 'F']) {
        effects.insert(RunsCode);
    }
    let changes = Options {
        short: "xcruA",
        long: &[
            "extract",
            "get",
            "create",
            "append",
            "update",
            "delete",
            "concatenate",
            "remove-files",
            "index-file",
        ],
    };
    if has(words, &changes) {
        effects.insert(Writes);
    }
    // `host:file` is fetched from there.
    if words.iter().any(|word| word.known.contains(':')) {
        effects.extend([Network, RunsCode]);
    }
    if unsure(words) {
        effects.insert(Unknown);
    }
    effects
}

fn dd(words: &[Word]) -> BTreeSet<Effect> {
    let mut effects = BTreeSet::from([Reads]);
    if words.iter().any(|word| word.known.starts_with("of=")) {
        effects.insert(Writes);
    }
    if words.iter().any(|word| !word.whole && (word.splits || !word.known.contains('='))) {
        effects.insert(Unknown);
    }
    effects
}
