//! Headers that an operator gives in one secret.

/// Headers as OpenTelemetry's own variable has them: `name=value`, several of them by commas. The header that is none is the error, by its
/// place: its value may be a secret.
pub fn header_list(text: &str) -> Result<Vec<(String, String)>, String> {
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    entries
        .enumerate()
        .map(|(place, entry)| {
            let (name, value) = entry.split_once('=').unwrap_or_default();
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            let sound = !name.is_empty()
                && name.bytes().all(token)
                && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
            match sound {
                true => Ok((name, value.to_owned())),
                false => Err(format!("its header {} is not name=value", place + 1)),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            header_list("Authorization=Bearer abc=, x-team = jobs"),
            Ok(vec![
                pair("authorization", "Bearer abc="),
                pair("x-team", "jobs")
            ])
        );
        assert_eq!(header_list(""), Ok(Vec::new()));
        let refused = header_list("a=1, SECRET");
        assert_eq!(refused, Err("its header 2 is not name=value".to_owned()));
        assert!(header_list("a b=1").is_err() && header_list("a=\u{7}").is_err());
    }
}
