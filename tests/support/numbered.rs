//! Messages that carry a number: what arrives is told apart, and compared octet for octet.

/// A message of so many lines.
pub fn content(number: u64, lines: usize) -> Vec<u8> {
    let mut text = format!("Subject: {number}\r\nX-Number: {number}\r\n\r\n");
    for line in 0..lines {
        text.push_str(&format!("{number} {line} {}\r\n", "x".repeat(60)));
    }
    text.into_bytes()
}

/// The number of a message that was delivered; panics when it is not what `content` says of it.
#[track_caller]
pub fn number_of(delivered: &[u8], content: impl Fn(u64) -> Vec<u8>) -> u64 {
    let text = String::from_utf8(delivered.to_vec()).unwrap();
    let number: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("X-Number: "))
        .unwrap_or_else(|| panic!("half a message: {text}"))
        .parse()
        .unwrap();
    let whole = String::from_utf8(content(number)).unwrap();
    assert!(text.ends_with(&whole), "message {number} is not what was sent");
    number
}
