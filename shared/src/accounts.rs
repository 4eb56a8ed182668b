//! Names and numbers of users and groups, as `/etc/passwd` and `/etc/group` have them.

/// The name of a user.
pub fn user_name(uid: u32) -> Option<String> {
    name_in(&std::fs::read_to_string("/etc/passwd").ok()?, uid)
}

/// A user for a sentence, by name and number.
pub fn user(uid: u32) -> String {
    match user_name(uid) {
        Some(name) => format!("user {name} ({uid})"),
        None => format!("user {uid}"),
    }
}

/// The name of a group.
pub fn group_name(gid: u32) -> Option<String> {
    name_in(&std::fs::read_to_string("/etc/group").ok()?, gid)
}

/// The number of the user with this name.
pub fn user_id(name: &str) -> Option<u32> {
    id_in(&std::fs::read_to_string("/etc/passwd").ok()?, name)
}

fn id_in(lines: &str, name: &str) -> Option<u32> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn name_in(lines: &str, id: u32) -> Option<String> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_by_number() {
        let group = "root:x:0:\ntty:x:5:\ndialout:x:20:pi,meter\nbroken\n";
        assert_eq!(name_in(group, 20).as_deref(), Some("dialout"));
        assert_eq!(name_in(group, 21), None);
        assert_eq!(id_in(group, "dialout"), Some(20));
        assert_eq!(
            (id_in(group, "dial"), id_in(group, "broken"), id_in(group, "")),
            (None, None, None)
        );
    }
}
