//! A payload of readings seen as bytes: a JSON array of objects that can be cut between two objects
//! and nowhere else. Needed where a broker takes less than the configuration allows, and to find the
//! one reading that a broker will not take.
//!
//! The cuts depend on the payload and the bound alone, so that what is sent twice is the same bytes.

use std::ops::Range;

use bytes::Bytes;

/// Where the objects of the array lie in `payload`; empty where it is not an array of objects.
fn objects(payload: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut depth = 0_u32;
    let mut start = 0;
    let mut is_text = false;
    let mut is_escaped = false;
    for (position, byte) in payload.iter().enumerate() {
        if is_text {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => is_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => is_text = true,
            b'[' | b'{' => {
                if depth == 1 {
                    start = position;
                }
                depth += 1;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 1 {
                    found.push(start..position + 1);
                }
            }
            _ => {}
        }
    }
    if payload.first() == Some(&b'[') && depth == 0 {
        found
    } else {
        Vec::new()
    }
}

/// How many objects the array holds; 0 where it is not an array of objects.
pub fn count(payload: &[u8]) -> usize {
    objects(payload).len()
}

/// Two arrays of half the objects each; none where there are fewer than two.
pub fn halve(payload: &[u8]) -> Option<(Bytes, Bytes)> {
    let objects = objects(payload);
    if objects.len() < 2 {
        return None;
    }
    let (left, right) = objects.split_at(objects.len() / 2);
    Some((join(payload, left), join(payload, right)))
}

/// Arrays of at most `bound` bytes, in order, each as full as it can be. A single object that is
/// larger makes an array of its own. None where the payload cannot be cut.
pub fn split(payload: &[u8], bound: usize) -> Option<Vec<Bytes>> {
    let objects = objects(payload);
    if objects.len() < 2 {
        return None;
    }
    let mut parts = Vec::new();
    let mut first = 0;
    let mut size = 2;
    for (index, object) in objects.iter().enumerate() {
        let grown = size + object.len() + usize::from(index > first);
        if grown > bound && index > first {
            parts.push(join(payload, objects.get(first..index).unwrap_or_default()));
            first = index;
            size = 2 + object.len();
        } else {
            size = grown;
        }
    }
    parts.push(join(payload, objects.get(first..).unwrap_or_default()));
    Some(parts)
}

fn join(payload: &[u8], objects: &[Range<usize>]) -> Bytes {
    let mut array = Vec::with_capacity(objects.iter().map(|object| object.len() + 1).sum::<usize>() + 1);
    array.push(b'[');
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            array.push(b',');
        }
        array.extend_from_slice(payload.get(object.clone()).unwrap_or_default());
    }
    array.push(b']');
    Bytes::from(array)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brackets_and_quotes_inside_text_cut_nothing() {
        let payload = br#"[{"a":"}],[{\"\\"},{"b":[{"c":1}]},{"d":{}}]"#;
        let (left, right) = halve(payload).expect("three objects");
        assert_eq!(&left[..], br#"[{"a":"}],[{\"\\"}]"#);
        assert_eq!(&right[..], br#"[{"b":[{"c":1}]},{"d":{}}]"#);
    }

    #[test]
    fn what_is_not_an_array_of_two_objects_is_left_whole() {
        for payload in [&b"[{\"a\":1}]"[..], b"{\"a\":1}", b"[]", b"", b"[{\"a\":1},{"] {
            assert_eq!(halve(payload), None, "{}", String::from_utf8_lossy(payload));
            assert_eq!(split(payload, 4), None);
        }
    }

    proptest! {
        #[test]
        fn parts_hold_the_same_objects_in_order_within_the_bound(
            texts in proptest::collection::vec("[ -~]{0,40}", 2..30),
            bound in 10_usize..400,
        ) {
            let values: Vec<serde_json::Value> =
                texts.iter().map(|text| serde_json::json!({ "Text_msg": text })).collect();
            let payload = serde_json::to_vec(&values).expect("JSON");
            let parts = split(&payload, bound).expect("at least two objects");
            let mut joined: Vec<serde_json::Value> = Vec::new();
            for part in &parts {
                let objects: Vec<serde_json::Value> = serde_json::from_slice(part).expect("JSON");
                prop_assert!(part.len() <= bound || objects.len() == 1);
                joined.extend(objects);
            }
            prop_assert_eq!(joined, values);
        }
    }
}
