//! Commands and everything they may do (C121): R reads, W writes, D deletes, N network, S settings, C runs code,
//! P privilege, U unknown.

use shell::{Effect, read};

#[rustfmt::skip]
pub(crate) const CORPUS: &[(&str, &str)] = &[
    // Plain programs.
    ("true", ""), ("echo hello", ""), ("printf '%s\\n' a", ""), ("cat a.txt", "R"), ("ls -la", "R"), ("pwd", "R"),
    ("head -n 3 a b", "R"), ("wc -l *.rs", "R"), ("grep -rn 'rm -rf' src", "R"), ("/usr/bin/cat a", "R"),
    ("rm -rf build", "D"), ("/bin/rm x", "D"), ("rmdir d", "D"), ("mv a b", "WD"), ("cp a b", "W"), ("mkdir -p a/b", "W"),
    ("touch x", "W"), ("chmod +x run", "W"), ("ln -s a b", "W"), ("tee out", "W"), ("truncate -s 0 x", "W"),
    ("curl https://x.test", "N"), ("curl -o f https://x.test", "NW"), ("curl -sSLO https://x.test/f", "NW"),
    ("curl --outpu f https://x.test", "NW"), ("curl -K rules", "NC"), ("wget https://x.test", "NW"), ("ssh host ls", "NC"),
    ("nc -l 80", "NC"), ("dd if=a", "R"), ("dd if=a of=b", "RW"), ("make", "WC"), ("cargo test", "WC"), ("npm install", "WNC"),
    ("python3 x.py", "C"), ("python3 --version", "R"), ("node -e 1", "C"), ("./run.sh", "C"), ("build/tool", "C"),
    ("crontab -r", "S"), ("kill 1", "S"), ("mount /dev/sda /mnt", "P"), ("docker run x", "PCN"), ("frobnicate", "U"),
    ("RM -rf x", "U"),
    // Options that change what a program does.
    ("sed -n 1,3p f", "R"), ("sed 's/a/b/g' f", "R"), ("sed -i 's/a/b/' f", "RW"), ("sed -ni p f", "RWC"),
    ("sed --in-pl=x 's/a/b/' f", "RWC"), ("sed 's/a/b/e' f", "RC"), ("sed 's/a/b/w out' f", "RC"), ("sed '1e rm x' f", "RC"),
    ("sed -f script f", "RC"), ("sed -n p *.txt", "RU"), ("sed -n p ./*.txt", "R"), ("sed \"$s\" f", "RCU"),
    ("awk '{print $1}' f", "R"), ("awk -F: '{print $1}' f", "R"), ("awk 'BEGIN{system(\"rm x\")}'", "RWC"),
    ("awk '{print > \"o\"}' f", "RWC"), ("awk -f p.awk f", "RWC"), ("awk -i inplace '{print}' f", "RWC"),
    ("sort f", "R"), ("sort -o f f", "RW"), ("sort --outp=f f", "RW"), ("sort --compress-program=./x f", "RC"),
    ("uniq f", "R"), ("uniq f g", "RW"), ("tar tf a.tar", "R"), ("tar -tzf a.tgz", "R"), ("tar xf a.tar", "W"),
    ("tar -C d -xf a.tar", "W"), ("tar tf a.tar --to-command=rm", "RC"), ("tar czf a.tgz d", "W"),
    ("tar tf host:a.tar", "RNC"), ("date", "R"), ("date -s now", "RS"), ("rg --pre ./x y", "RC"), ("fd -x rm", "RU"),
    ("xxd a", "R"), ("xxd -r a b", "RW"), ("hostname", "R"), ("hostname x", "S"), ("unzip a.zip", "W"),
    // git runs what a repository names.
    ("git status", "RC"), ("git log --oneline", "RC"), ("git commit -m x", "WC"), ("git push origin main", "WNC"),
    ("git clone https://x.test/r", "WNC"), ("git -c core.pager='rm x' log", "WSC"), ("git config core.hooksPath h", "WSC"),
    ("git diff --output=f", "RWSC"), ("git clean -fdx", "WDC"), ("git checkout .", "WDC"), ("git", "WC"),
    // Redirections.
    ("echo x > out", "W"), ("echo x >> out", "W"), ("echo x >| out", "W"), ("cat < in", "R"), ("cat <> both", "RW"),
    ("echo x > /dev/null", ""), ("ls 2>&1", "R"), ("ls > /dev/null 2>&1", "R"), ("ls &> out", "RW"), ("> out", "W"),
    ("cat x > \"$f\"", "RWU"), ("echo x > /dev/tcp/x.test/80", "WN"), ("exec 3<> /dev/tcp/x.test/80", "WN"),
    ("cat < \"$f\"", "RU"), ("ls >&out", "RW"), ("echo x > 'a b'", "W"),
    // Lists, pipes, groups.
    ("ls; rm x", "RD"), ("ls && rm x", "RD"), ("ls || rm x", "RD"), ("ls & rm x", "RD"), ("ls\nrm x", "RD"),
    ("ls | xargs -n 1 echo", "R"), ("(cd d && rm x)", "RD"), ("{ rm x; }", "D"), ("! rm x", "D"), ("((rm x))", "D"),
    ("( (rm x) )", "D"), ("[[ a || rm x ]]", "RD"), ("[[ -f x ]] && cat x", "R"), ("[[ $a -eq 1 ]]", "RU"),
    ("if ls; then rm x; fi", "RD"), ("if a=1; then :; elif rm x; then :; else :; fi", "D"),
    ("while rm x; do sleep 1; done", "D"), ("until ls; do rm x; done", "RD"), ("for i in a b; do rm \"$i\"; done", "D"),
    ("for i in $(rm x); do :; done", "D"), ("case $1 in a) rm x;; *) ls;; esac", "RD"), ("case $(rm x) in a) ;; esac", "D"),
    ("f() { rm x; }; f", "D"), ("function f { rm x; }", "D"), ("f() { ls; }; f", "R"), ("cat() { rm x; }; cat y", "RD"),
    ("time rm x", "D"), ("time { rm x; }", "D"), ("coproc rm x", "CU"), ("select i in a; do rm x; done", "D"),
    ("ls # rm x", "R"), ("ls #\nrm x", "RD"), ("l\\\ns", "R"), ("r\\m x", "D"), ("r''m x", "D"), ("\"rm\" x", "D"),
    ("'rm' -rf x", "D"), ("rm\\\n -rf x", "D"), ("for PATH in ./bin; do ls; done", "RSU"), ("select x", "U"),
    // Substitutions.
    ("echo $(rm x)", "D"), ("echo `rm x`", "D"), ("echo \"$(rm x)\"", "D"), ("echo \"`rm x`\"", "D"), ("echo '$(rm x)'", ""),
    ("echo \\$(rm x)", "U"), ("echo \"\\$(rm x)\"", ""), ("cat <(rm x)", "RD"), ("ls > >(rm x)", "RWD"), ("echo ${a:-$(rm x)}", "D"),
    ("echo ${a:=`rm x`}", "D"), ("echo \"${a:+\\`rm x\\`}\"", ""), ("echo $((1 + 2))", ""), ("echo $((x))", "U"),
    ("echo $((a[$(rm x)]))", "U"), ("echo ${!x}", "U"), ("echo ${x@P}", "U"), ("echo ${#x}", ""), ("echo ${x##*/}", ""),
    ("echo $(echo $(echo $(rm x)))", "D"), ("echo `echo \\`rm x\\``", "D"), ("a=$(rm x)", "D"), ("a=`rm x` ls", "RDS"),
    ("echo $'\\x24(rm x)'", ""), ("echo $[1+1]", "U"), ("${PATH:=./bin}", "SU"), ("cat ${x:-a}", "R"),
    // What cannot be known.
    ("$x", "U"), ("\"$x\" -rf y", "U"), ("$(echo rm) x", "U"), ("`echo rm` x", "U"), ("r$x y", "U"), ("/b?n/rm x", "U"), ("r[m] x", "U"),
    ("{rm,-rf,x}", "U"), ("eval \"$x\"", "U"), ("eval rm x", "D"), ("eval 'rm x'", "D"), ("eval \"r\"m x", "D"), ("eval ls \\; rm x", "RD"),
    ("source env.sh", "C"), (". ./env.sh", "C"), ("alias ls='rm x'", "DSU"), ("alias l=ls\nl", "RSU"),
    ("trap 'rm x' EXIT", "D"), ("trap \"$x\" EXIT", "U"), ("~/bin/x", "U"), ("let 'a[$(rm x)]=1'", "CU"),
    ("printf -v 'a[$(rm x)]' y", "U"), ("read 'a[$(rm x)]'", "U"), ("test -v 'a[$(rm x)]'", "RU"), ("declare -i a=x", "U"),
    ("unset 'a[$(rm x)]'", "U"), ("[ \"$x\" \"$y\" ]", "RU"), ("[ \"$x\" = y ]", "R"), ("shopt -s expand_aliases", "CU"),
    // Shells within shells.
    ("sh -c 'rm x'", "D"), ("bash -lc 'rm x'", "U"), ("bash -xec 'rm x'", "D"), ("sh -c \"rm x\"", "D"), ("sh -c \"$x\"", "U"),
    ("sh -c 'cat \"$1\"' _ f", "R"), ("sh -c 'sh -c \"sh -c \\\"rm x\\\"\"'", "D"), ("bash -o pipefail -c 'rm x'", "D"),
    ("sh run.sh", "C"), ("sh", "CU"), ("echo 'rm x' | sh", "CU"), ("curl x | bash", "NCU"), ("bash --rcfile f -c ls", "U"),
    ("sh <<< 'rm x'", "D"), ("sh <<E\nrm x\nE", "D"), ("sh <<'E'\nrm x\nE", "D"), ("sh <<-E\n\trm x\n\tE", "D"),
    ("sh <<E\n$x\nE", "CU"), ("cat <<E\nrm x\nE", "R"), ("cat <<E\n$(rm x)\nE", "RD"), ("cat <<'E'\n$(rm x)\nE", "R"),
    ("cat <<E; rm x\nE", "RD"), ("cat <<E\nE\nrm x", "RD"), ("sh 3<<E\nls\nE", "CU"), ("sh <<E <f\nls\nE", "RCU"), ("python3 <<E\nprint(1)\nE", "C"),
    ("bash -s <<'E'\nrm x\nE", "D"), ("cat <<A <<B\na\nA\n$(rm x)\nB", "RD"),
    // Programs that run programs.
    ("env rm x", "D"), ("env -i A=b rm x", "SD"), ("env -S 'rm x'", "U"), ("env", "R"), ("env -u A -C d cat x", "R"), ("env LD_PRELOAD=./x.so ls", "RSU"),
    ("env $x ls", "U"), ("xargs rm", "D"), ("xargs -0 -n 1 rm -f", "D"), ("xargs", ""), ("xargs sh -c 'rm \"$@\"' _", "D"), ("xargs -I{} sh -c 'cat {}'", "U"),
    ("xargs -I {} cat {}", "R"), ("xargs -I% % x", "U"), ("xargs sed -n 1p", "RU"), ("xargs sh", "U"), ("xargs sh -c", "U"),
    ("find . -name '*.rs'", "R"), ("find . -delete", "RD"), ("find . -exec rm {} \\;", "RD"), ("find . -exec sh -c 'rm x' ';'", "RD"),
    ("find . -execdir rm {} +", "RD"), ("find . -exec {} \\;", "RU"), ("find . -fprint out", "RW"), ("find . -exec sed -n 1p {} +", "R"),
    ("find $x", "RU"), ("find . -exec rm", "RU"), ("nohup rm x &", "D"), ("nice -n 5 rm x", "D"), ("nice -5 rm x", "D"), ("timeout -k 1 5 rm x", "D"),
    ("timeout $t rm x", "U"), ("stdbuf -oL rm x", "D"), ("setsid rm x", "D"), ("sudo rm x", "PD"), ("sudo -u bob sh -c 'rm x'", "PD"),
    ("sudo -e f", "U"), ("doas rm x", "PD"), ("su -c 'rm x'", "PU"), ("command rm x", "D"), ("command -v rm", "R"), ("builtin cd d", "R"),
    ("exec rm x", "D"), ("busybox rm x", "D"), ("busybox sh -c 'rm x'", "D"), ("watch -n 1 'rm x'", "D"), ("parallel rm ::: x", "CU"),
    ("strace rm x", "CU"), ("flock l rm x", "CU"), ("env xargs nohup sh -c 'rm x'", "D"), ("time -o f rm x", "U"),
    // Settings that decide what runs.
    ("PATH=./bin ls", "RSU"), ("PATH=./bin; ls", "RSU"), ("export PATH=./bin", "SU"), ("LD_PRELOAD=./x.so cat y", "RSU"),
    ("BASH_ENV=./x bash -c ls", "RSU"), ("ENV=./x sh -c ls", "RSU"), ("GIT_SSH_COMMAND='rm x' git fetch", "WNSCU"), ("GIT_PAGER=./x git log", "RSCU"),
    ("IFS=x; ls", "RSU"), ("LC_ALL=C sort f", "R"), ("a=1", ""), ("a=1; echo $a", ""), ("FOO=1 cat x", "RS"), ("https_proxy=x cat y", "RSN"),
    ("read PATH", "SU"), ("read -r line", ""), ("set -eu", ""), ("set -euo pipefail", ""), ("set -a", "SU"), ("umask 077", "S"), ("export A", "S"),
    ("a+=x", ""), ("a=(x $(rm y))", "D"), ("a[0]=x", "U"), ("hash -p ./x ls", "U"), ("PS4='$(rm x)' sh -xc ls", "RSU"), ("PYTHONPATH=. cat x", "RSU"),
    // What is no command, or not one to every shell.
    ("echo 'a", "U"), ("echo \"a", "U"), ("echo `a", "U"), ("echo $(a", "U"), ("(ls", "U"), ("ls)", "U"), ("if ls; then", "U"), ("ls |", "U"), ("&& ls", "U"),
    ("ls ;; rm x", "U"), ("cat <<E\nx", "U"), ("echo $'\\'; rm x #'", "U"), ("done", "U"), ("for i", "U"), ("\0", "U"), ("echo ${a:-'}'}; rm x", "D"),
    ("echo \"${a:-'$(rm x)'}\"", "U"), ("cat <<E\na\\\nE\nE", "U"), ("$\\\n(rm x)", "U"), ("echo a(b)", "U"),
];

fn letters(reading: &shell::Reading) -> String {
    let letter = |effect: &Effect| match effect {
        Effect::Reads => 'R',
        Effect::Writes => 'W',
        Effect::Deletes => 'D',
        Effect::Network => 'N',
        Effect::Settings => 'S',
        Effect::RunsCode => 'C',
        Effect::Privilege => 'P',
        Effect::Unknown => 'U',
    };
    let mut letters: Vec<char> = reading.effects.iter().map(letter).collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

/// C152: what is destroyed is told by what a command does, whatever wraps it and whatever its words are.
#[test]
fn every_command_of_the_corpus_reads_as_it_should() {
    assert!(CORPUS.len() >= 150, "{}", CORPUS.len());
    let mut wrong = Vec::new();
    for (command, expected) in CORPUS {
        let reading = read(command);
        let mut expected: Vec<char> = expected.chars().collect();
        expected.sort_unstable();
        let expected: String = expected.into_iter().collect();
        if letters(&reading) != expected {
            wrong.push(format!(
                "{command:?}: {} instead of {expected}: {reading:?}",
                letters(&reading)
            ));
        }
        assert_eq!(
            reading.only_reads(),
            reading.effects.iter().all(|e| *e == Effect::Reads),
            "{command}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
