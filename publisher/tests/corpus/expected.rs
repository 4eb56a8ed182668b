//! The table of values that a person has read off the telegrams.

/// What must come out of one file.
pub(crate) struct File<'t> {
    /// Its name in the corpus.
    pub(crate) name: &'t str,
    /// For each telegram JSON pointers without their first slash, and the JSON there; none where the key must
    /// not be there.
    pub(crate) telegrams: Vec<Vec<(&'t str, Option<String>)>>,
    rejected: Vec<(&'t str, &'t str, &'t str)>,
}

impl File<'_> {
    /// The lines that name what is rejected.
    pub(crate) fn problems(&self) -> Vec<String> {
        let line =
            |&(position, length, reason): &_| format!("byte {position}: {length} bytes rejected: {reason}");
        self.rejected.iter().map(line).collect()
    }
}

/// All files of the table.
pub(crate) fn files() -> Vec<File<'static>> {
    let mut files: Vec<File<'static>> = Vec::new();
    for line in include_str!("expected.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line, ""));
        if word == "file" {
            files.push(File {
                name: rest,
                telegrams: Vec::new(),
                rejected: Vec::new(),
            });
            continue;
        }
        let file = files.last_mut().expect("a file comes first");
        match word {
            "telegram" => file.telegrams.push(Vec::new()),
            "telegrams" => {
                let more: usize = rest.parse().expect("a number of telegrams");
                file.telegrams.extend(std::iter::repeat_n(Vec::new(), more));
            }
            "rejected" => {
                let mut words = rest.splitn(3, ' ');
                let mut next = || words.next().expect("position, length, reason");
                file.rejected.push((next(), next(), next()));
            }
            pointer => {
                let expected = (rest != "-").then(|| {
                    let json: serde_json::Value = serde_json::from_str(rest).expect("JSON");
                    json.to_string()
                });
                file.telegrams
                    .last_mut()
                    .expect("a telegram comes first")
                    .push((pointer, expected));
            }
        }
    }
    files
}
