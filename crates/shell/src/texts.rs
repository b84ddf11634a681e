//! Small languages within arguments: scripts of `sed` and `awk`, as far as they surely only print.

/// Whether a script of `sed` does nothing but print and change what it prints.
pub(crate) fn sed_only_prints(script: &str) -> bool {
    script.split([';', '\n']).all(|command| sed_command(command.trim()))
}

fn sed_command(command: &str) -> bool {
    let rest = address(command);
    let rest = rest.strip_prefix(',').map_or(rest, address);
    let rest = rest.trim_start().trim_start_matches('!').trim_start();
    let Some(letter) = rest.chars().next() else { return command.is_empty() };
    if let Some(body) = rest.strip_prefix('s') {
        let Some(mark) = body.chars().next().filter(char::is_ascii_punctuation) else {
            return false;
        };
        // With three marks there is one way to read it; escapes and brackets could hide another.
        let parts: Vec<&str> = body.split(mark).collect();
        let [_, _, _, flags] = parts.as_slice() else { return false };
        let hidden = mark == '\\' || body.contains('[') || body.contains(&format!("\\{mark}"));
        return !hidden && flags.chars().all(|c| "gpiI0123456789".contains(c));
    }
    rest.chars().count() == 1 && "pdq=PDlhHgGxnN".contains(letter)
}

/// What follows a number, a `$`, or a plain pattern between slashes.
fn address(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('$') {
        return rest;
    }
    if let Some(pattern) = text.strip_prefix('/') {
        let Some((inside, rest)) = pattern.split_once('/') else { return text };
        let plain = !inside.contains(['\\', '[']);
        return if plain { rest } else { text };
    }
    text.trim_start_matches(|c: char| c.is_ascii_digit())
}

/// Whether a program of `awk` does nothing but print.
pub(crate) fn awk_only_prints(program: &str) -> bool {
    let words = ["system", "getline", "close", "@", "extension", "fflush", "printf -v"];
    !program.contains(['|', '>', '<', '\\', '`'])
        && !words.iter().any(|word| program.contains(word))
}
