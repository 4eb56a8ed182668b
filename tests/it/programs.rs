//! Every outside program that a test or a script starts is in `tests/programs`, with the Debian package that it
//! comes in: a machine that has a program already would hide that nobody installs it.
//!
//! How they are found. In Rust, by `Command::new("NAME")`, also where `Command` is imported under another name;
//! what is started by anything but a literal, or by a program that starts another
//! (`stdbuf`, `env`), has to be told in [`NOT_LITERAL`]. In the scripts, by the words that
//! stand where the shell expects a command, those after `sudo`, `exec` and the like included. Not looked into are
//! here-documents, quoted scripts (`sh -c '…'`) and what is started inside a container or a chroot.
//! `tests/fresh` shows the rest, by running on a Debian that has nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// `Command::new` of something that is no literal, or starts another program: the file, the argument, and which
/// programs that is.
const NOT_LITERAL: [(&str, &str, &[&str]); 19] = [
    // Programs of this source, by their path.
    ("tests/it/terminal.rs", "file)", &[]),
    ("tests/it/command_line.rs", "&copy", &[]),
    // The command that the warning of an open folder names.
    ("capture/src/queue/own_files.rs", "\"sh\"", &["sh", "chmod"]),
    ("tests/it/private.rs", "\"sh\"", &["sh"]),
    ("tests/it/private.rs", "program)", &[]),
    // The README's commands for a backup.
    (
        "tests/it/restore.rs",
        "\"sh\"",
        &["sh", "cp", "mkdir", "mv", "rm", "tar"],
    ),
    ("tests/demo/stage.rs", "std::env::current_exe()", &[]),
    ("tests/it/demo.rs", "env!(\"CARGO_BIN_EXE_demo\")", &[]),
    (
        "publisher/tests/mosquitto.rs",
        "\"stdbuf\"",
        &["stdbuf", "mosquitto_sub"],
    ),
    ("tests/src/programs.rs", "std::env::var_os(\"CARGO\")", &["cargo"]),
    ("tests/src/programs.rs", "program", &[]),
    ("tests/src/broker/mosquitto.rs", "program()", &["mosquitto"]),
    ("tests/it/source.rs", "cargo", &["cargo"]),
    ("tests/it/broker.rs", "namespace[0]", &["unshare", "getent", "sh"]),
    (
        "tests/it/containers.rs",
        "words.next()",
        &["docker", "docker-compose"],
    ),
    ("tests/it/containers.rs", "\"sh\"", &["sh", "mosquitto"]),
    ("tests/it/hostile_client.rs", "std::env::current_exe()", &[]),
    ("tests/power/workload.rs", "std::env::current_exe()", &[]),
    (
        "tests/benchmarks/src/measure/growth.rs",
        "std::env::current_exe()",
        &[],
    ),
];

/// Programs that start what their arguments name.
const STARTERS: [&str; 11] = [
    "bash", "chroot", "env", "nice", "nsenter", "setpriv", "sh", "stdbuf", "sudo", "timeout", "unshare",
];

#[test]
fn every_outside_program_that_the_tests_start_is_in_the_list() {
    let listed = listed();
    let mut missing = Vec::new();
    let mut found = BTreeSet::new();
    let mut told = BTreeSet::new();
    for folder in ["shared", "capture", "publisher", "tests"] {
        for file in files(&root().join(folder)) {
            if file.extension().is_none_or(|extension| extension != "rs")
                || file.ends_with("tests/it/programs.rs")
            {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            let file = file.strip_prefix(root()).unwrap().display().to_string();
            for argument in started_in_rust(&text) {
                let literal = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
                let literal = literal.map(|path| path.rsplit('/').next().unwrap_or_default());
                let programs: Vec<String> = match literal.filter(|name| !STARTERS.contains(name)) {
                    Some(name) => vec![name.to_owned()],
                    None => {
                        let row = NOT_LITERAL
                            .iter()
                            .position(|(place, begin, _)| *place == file && argument.starts_with(begin));
                        let row = row.unwrap_or_else(|| {
                            let line = argument.lines().next().unwrap_or_default();
                            panic!("{file} starts `{line}`: NOT_LITERAL does not say which programs that is")
                        });
                        told.insert(row);
                        NOT_LITERAL[row].2.iter().map(|name| (*name).to_owned()).collect()
                    }
                };
                for program in programs {
                    if !listed.contains(&program) {
                        missing.push(format!("{program} ({file})"));
                    }
                    found.insert(program);
                }
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "not in tests/programs");
    assert_eq!(
        told.len(),
        NOT_LITERAL.len(),
        "a row of NOT_LITERAL is of nothing that there is"
    );
    for known in ["mosquitto", "strace", "openssl", "mkfs.ext4", "valgrind"] {
        assert!(found.contains(known), "the search does not find {known}");
    }
}

#[test]
fn every_outside_program_that_the_scripts_start_is_in_the_list() {
    let listed = listed();
    let mut missing = Vec::new();
    let mut found = BTreeSet::new();
    let mut scripts = 0;
    for file in files(&root().join("tests"))
        .into_iter()
        .chain(files(&root().join(".ci")))
    {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let first = text.lines().next().unwrap_or_default();
        if !(first.starts_with("#!") && first.ends_with("sh") || first.starts_with("# Sourced by scripts")) {
            continue;
        }
        scripts += 1;
        let sourced = match text.contains("source tests/interruptible") {
            true => fs::read_to_string(root().join("tests/interruptible")).unwrap(),
            false => String::new(),
        };
        let functions: BTreeSet<&str> = text
            .lines()
            .chain(sourced.lines())
            .filter_map(|line| line.trim_start().split_once("() {").map(|(name, _)| name))
            .collect();
        for program in started_in_shell(&text) {
            let is_ours = functions.contains(program.as_str()) || BUILT_IN.contains(&program.as_str());
            if !is_ours && !listed.contains(&program) {
                missing.push(format!(
                    "{program} ({})",
                    file.strip_prefix(root()).unwrap().display()
                ));
            }
            found.insert(program);
        }
    }
    assert!(scripts >= 9, "only {scripts} scripts were found");
    assert_eq!(missing, Vec::<String>::new(), "not in tests/programs");
    for known in ["debootstrap", "docker", "cargo", "mktemp", "unshare"] {
        assert!(found.contains(known), "the search does not find {known}");
    }
}

#[test]
fn the_search_finds_a_program_wherever_one_can_stand() {
    let rust = "use std::process::{Command as Program, Stdio};\nProgram::new(\"a\"); Command::new(\n \"/sbin/b\")\n\
                // Command::new(\"not\")\nclap::Command::new(\"x\"); let _ = run(Command::new(c()).arg(1));";
    let started: Vec<String> = started_in_rust(rust)
        .iter()
        .map(|argument| argument.chars().take(8).collect())
        .collect();
    assert_eq!(started, ["\"a\"); Co", "\"/sbin/b", "c()).arg"]);

    let shell = "a one | b || ! c && d; if e; then f; fi # not\n\
                 X=1 Y=\"$(g 'no;t')\" h not\n\
                 list=(not not)\n\
                 while read -r x; do i; done < <(j | k)\n\
                 case \"$x\" in\n  not | not) l ;;\n  *) m not ;;\nesac\n\
                 cat <<END | n\nnot; not\nEND\n\
                 \"${become[@]}\" o not\n\"$variable\" not\n\
                 ((not > 1)) || [[ $x == not || not ]]\n\
                 sudo -E p; exec env Z=1 q; timeout 3 r\nlong \\\n  not\n\
                 for s in not not; do t \"$(u \"$(v)\")\"; done\n(w); { y; }\n";
    let started: Vec<String> = started_in_shell(shell)
        .into_iter()
        .filter(|word| word.len() == 1 && word != "!")
        .collect();
    let wanted: Vec<String> = "abcdefghijklmnopqrtuvwy".chars().map(String::from).collect();
    let (mut sorted, mut expected) = (started, wanted);
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected);
    assert!(!started_in_shell(shell).contains(&"not".to_owned()));
}

/// Every program of the list.
fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(root().join("tests/programs")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .flat_map(|line| {
            let mut words = line.split_whitespace().skip(2).peekable();
            assert!(words.peek().is_some(), "tests/programs: no program in {line:?}");
            words.map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// What follows each `Command::new(` of the code.
fn started_in_rust(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| match line.trim_start().starts_with("//") {
            true => "\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    let mut names = vec!["Command".to_owned()];
    for (_, behind) in code
        .match_indices("Command as ")
        .map(|(at, found)| code[at..].split_at(found.len()))
    {
        names.push(
            behind
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect(),
        );
    }
    let mut started = Vec::new();
    for name in names {
        let call = format!("{name}::new(");
        for (at, _) in code.match_indices(&call) {
            let before = &code[..at];
            let is_another = before.ends_with("clap::")
                || before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                || (code.contains("use clap::Command") && !before.ends_with("process::"));
            if !is_another {
                started.push((at, code[at + call.len()..].trim_start().to_owned()));
            }
        }
    }
    started.sort();
    started.into_iter().map(|(_, argument)| argument).collect()
}

/// The words of a shell script that stand where a command is expected, without those that hold a variable or a
/// slash.
fn started_in_shell(text: &str) -> Vec<String> {
    let mut reader = Shell {
        rest: text.chars().collect(),
        at: 0,
        here: Vec::new(),
        started: Vec::new(),
    };
    reader.commands(None);
    reader.started
}

/// So much of the shell's grammar as it takes to tell commands from their arguments.
struct Shell {
    rest: Vec<char>,
    at: usize,
    /// Ends of here-documents that begin after this line.
    here: Vec<String>,
    started: Vec<String>,
}

impl Shell {
    /// Reads commands up to the closing parenthesis, or the end.
    fn commands(&mut self, closing: Option<char>) {
        let mut is_command = true;
        // Of each `case` that is open: whether a pattern comes next.
        let mut cases: Vec<bool> = Vec::new();
        while let Some(next) = self.peek() {
            if cases.last() == Some(&true) && !next.is_whitespace() && next != '#' {
                if self.rest[self.at..].starts_with(&['e', 's', 'a', 'c']) {
                    cases.pop();
                } else {
                    while self.peek().is_some_and(|c| c != ')') {
                        self.word();
                        self.at += usize::from(self.peek().is_some_and(|c| c != ')'));
                    }
                    if let Some(pattern) = cases.last_mut() {
                        *pattern = false;
                    }
                    self.at += 1;
                    is_command = true;
                    continue;
                }
            }
            match next {
                c if Some(c) == closing => {
                    self.at += 1;
                    return;
                }
                '\n' => {
                    self.at += 1;
                    is_command = true;
                    self.skip_here_documents();
                }
                c if c.is_whitespace() => self.at += 1,
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                ';' | '&' | '|' => {
                    self.at += 1;
                    if next == ';' && self.peek() == Some(';') {
                        self.at += 1;
                        if let Some(pattern) = cases.last_mut() {
                            *pattern = true;
                        }
                    }
                    is_command = true;
                }
                '(' if self.rest.get(self.at + 1) == Some(&'(') => self.balanced('(', ')'),
                '(' => {
                    self.at += 1;
                    self.commands(Some(')'));
                    is_command = true;
                }
                ')' => self.at += 1,
                '<' | '>' => is_command = self.redirection(is_command),
                _ => {
                    let word = self.word();
                    if is_command && word == "[[" {
                        self.skip_test();
                    }
                    let is_next = is_command && self.is_followed_by_a_command(&word);
                    if word == "in" && self.is_in_of_case(&cases) {
                        if let Some(pattern) = cases.last_mut() {
                            *pattern = true;
                        }
                    }
                    if is_command && word == "case" {
                        cases.push(false);
                    }
                    if is_command && !is_next && !word.contains(['$', '/', '"', '\'']) {
                        self.started.push(word);
                    }
                    is_command = is_next;
                }
            }
        }
    }

    /// Whether this `in`, which was just read, belongs to `case WORD in` and not to `for NAME in`.
    fn is_in_of_case(&self, cases: &[bool]) -> bool {
        let line: String = self.rest[..self.at].iter().collect();
        let line = line.rsplit(['\n', ';']).next().unwrap_or_default();
        !cases.is_empty() && line.split_whitespace().any(|word| word == "case")
    }

    /// Whether after this word, which stands where a command is expected, one is expected still.
    fn is_followed_by_a_command(&mut self, word: &str) -> bool {
        let name: String = word
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let behind = &word[name.len()..];
        let is_assignment = !name.is_empty() && (behind.starts_with('=') || behind.starts_with("+="));
        if is_assignment && word.ends_with('=') && self.peek() == Some('(') {
            // An array: its words are no commands.
            self.at += 1;
            while self.peek().is_some_and(|c| c != ')') {
                self.word();
                self.at += usize::from(self.peek().is_some_and(|c| c != ')'));
            }
            self.at += 1;
            return true;
        }
        let is_prefix = PREFIXES.contains(&word) || word.starts_with("\"${") && word.ends_with("[@]}\"");
        if PREFIXES.contains(&word) && !KEYWORDS.contains(&word) {
            self.started.push(word.to_owned());
            self.skip_options();
        }
        is_assignment || is_prefix
    }

    /// What is between `[[` and `]]`.
    fn skip_test(&mut self) {
        while self.peek().is_some() && self.word() != "]]" {
            self.at += 1;
        }
    }

    /// Options and numbers of `sudo`, `timeout` and the like.
    fn skip_options(&mut self) {
        loop {
            while self.peek() == Some(' ') {
                self.at += 1;
            }
            match self.peek() {
                Some(c) if c == '-' || c.is_ascii_digit() => drop(self.word()),
                _ => return,
            }
        }
    }

    /// `<`, `>`, `>&2`, `<<END`, `<<<word`, `<(…)` with the word that follows.
    fn redirection(&mut self, is_command: bool) -> bool {
        let begin = self.at;
        while self.peek().is_some_and(|c| "<>&-".contains(c)) {
            self.at += 1;
        }
        let sign: String = self.rest[begin..self.at].iter().collect();
        if self.peek() == Some('(') {
            self.at += 1;
            self.commands(Some(')'));
            return is_command;
        }
        while self.peek() == Some(' ') {
            self.at += 1;
        }
        // `< <(…)`: read as commands by the next round.
        if self.peek() == Some('<') {
            return is_command;
        }
        let word = self.word();
        if sign == "<<" || sign == "<<-" {
            self.here.push(word.trim_matches(['\'', '"']).to_owned());
        }
        is_command
    }

    fn skip_here_documents(&mut self) {
        for end in std::mem::take(&mut self.here) {
            loop {
                let line: String = self.rest[self.at..].iter().take_while(|c| **c != '\n').collect();
                if self.at >= self.rest.len() {
                    return;
                }
                self.at = (self.at + line.chars().count() + 1).min(self.rest.len());
                if line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
    }

    /// A word, with what is quoted in it; commands substituted in it are read as commands.
    fn word(&mut self) -> String {
        let begin = self.at;
        while let Some(c) = self.peek() {
            match c {
                '\\' => self.at += 2,
                '\'' => {
                    self.at += 1;
                    while self.peek().is_some_and(|c| c != '\'') {
                        self.at += 1;
                    }
                    self.at += 1;
                }
                '"' => self.quoted(),
                '$' => self.expansion(),
                c if c.is_whitespace() || ";&|()<>".contains(c) => break,
                _ => self.at += 1,
            }
        }
        self.at = self.at.min(self.rest.len());
        self.rest[begin..self.at].iter().collect()
    }

    fn quoted(&mut self) {
        self.at += 1;
        while let Some(c) = self.peek() {
            match c {
                '"' => {
                    self.at += 1;
                    return;
                }
                '\\' => self.at += 2,
                '$' => self.expansion(),
                _ => self.at += 1,
            }
        }
    }

    /// `$name`, `${…}`, `$((…))` or `$(commands)`.
    fn expansion(&mut self) {
        self.at += 1;
        match (self.peek(), self.rest.get(self.at + 1)) {
            (Some('('), Some('(')) => self.balanced('(', ')'),
            (Some('('), _) => {
                self.at += 1;
                self.commands(Some(')'));
            }
            (Some('{'), _) => self.balanced('{', '}'),
            _ => {}
        }
    }

    fn balanced(&mut self, open: char, close: char) {
        let mut depth = 0;
        while let Some(c) = self.peek() {
            self.at += 1;
            depth += i32::from(c == open) - i32::from(c == close);
            if depth == 0 {
                return;
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }
}

/// Words of the shell after which a command follows.
const KEYWORDS: [&str; 11] = [
    "if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "}",
];
/// These and programs that start what follows them.
const PREFIXES: [&str; 20] = [
    "if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "}", "exec", "env", "sudo",
    "timeout", "setpriv", "nice", "command", "builtin", "run",
];
/// What the shell does itself, and its other keywords.
const BUILT_IN: [&str; 36] = [
    "[", "[[", ":", "((", "break", "builtin", "case", "cd", "command", "continue", "declare", "done", "echo",
    "esac", "exec", "exit", "export", "fi", "for", "kill", "local", "printf", "read", "return", "set",
    "shift", "shopt", "source", "trap", "type", "umask", "unset", "wait", "sudo", "mapfile", "run",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All files below a folder, but for what is built there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            files.push(path);
        } else if !path.ends_with("target") {
            files.extend(self::files(&path));
        }
    }
    files
}
