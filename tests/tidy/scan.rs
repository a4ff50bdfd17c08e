//! Reads Rust source as far as the house rules need it.
//!
//! Comments and the insides of strings and characters are blanked out, line by line, so that a
//! rule never trips over prose. It is no parser: it finds paths, functions and their lengths.

/// The source with comments and literals blanked; line breaks stay.
pub(crate) fn code(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let (length, blank) = token(rest, code.chars().next_back());
        let (taken, after) = rest.split_at(length.max(first.len_utf8()).min(rest.len()));
        if blank {
            code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push_str(taken);
        }
        rest = after;
    }
    code
}

/// The length of the next token, and whether it is prose.
fn token(rest: &str, before: Option<char>) -> (usize, bool) {
    let in_word = before.is_some_and(is_word);
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), true);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), true);
    }
    if !in_word && let Some(length) = raw_string(rest) {
        return (length, true);
    }
    if rest.starts_with('"') {
        return (quoted(rest, '"'), true);
    }
    if rest.starts_with('\'') {
        return character(rest).map_or((1, false), |length| (length, true));
    }
    (1, false)
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// `r"…"`, `br#"…"#` and the like.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix("cr"));
    let after = after.or_else(|| rest.strip_prefix('r'))?;
    let inner = after.trim_start_matches('#');
    let hashes = after.len() - inner.len();
    let body = inner.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)? + end.len();
    Some(rest.len() - body.len() + length)
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let mut inner = rest.chars().skip(1);
    let first = inner.next()?;
    (first == '\\' || inner.next() == Some('\'')).then(|| quoted(rest, '\''))
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The part before the unit tests.
pub(crate) fn before_tests(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or(code)
}

/// Where `word` stands as a whole word, as octets from the start.
pub(crate) fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code.get(..*at).and_then(|part| part.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|part| part.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// The line of an octet, from 1.
pub(crate) fn line(code: &str, at: usize) -> usize {
    code.get(..at).unwrap_or(code).matches('\n').count() + 1
}

/// Each first name after `crate::`, or after as many `super::` as lead there from a file at
/// `depth` (a file of the crate's root has depth 1); lists in braces included.
pub(crate) fn rooms(code: &str, depth: usize) -> Vec<(usize, String)> {
    let up = format!("{}::", vec!["super"; depth].join("::"));
    let mut found = Vec::new();
    for root in ["crate::", "angarium::", up.as_str()] {
        for (at, _) in code.match_indices(root) {
            let before = code.get(..at).unwrap_or("");
            if before.ends_with(|c| is_word(c) || c == '$') || before.ends_with("super::") {
                continue;
            }
            let after = code.get(at + root.len()..).unwrap_or("");
            found.extend(heads(after).into_iter().map(|name| (line(code, at), name)));
        }
    }
    found.sort();
    found
}

/// The first names of a path, or of each path in a list in braces.
fn heads(path: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect();
    let Some(list) = path.strip_prefix('{') else { return vec![word(path)] };
    let (mut heads, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, character) in list.char_indices() {
        let ends = depth == 0 && (character == ',' || character == '}');
        if ends {
            heads.push(word(list.get(start..at).unwrap_or("")));
            start = at + 1;
        }
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads.retain(|head: &String| !head.is_empty());
    heads
}

/// The functions of a source: line, name, and how many lines each has.
pub(crate) fn functions(code: &str) -> Vec<(usize, String, usize)> {
    words(code, "fn").filter_map(|at| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<(usize, String, usize)> {
    let rest = code.get(at..)?;
    let name: String = rest.get(2..)?.trim_start().chars().take_while(|c| is_word(*c)).collect();
    if name.is_empty() {
        return None;
    }
    let mut depth = 0_usize;
    for (end, character) in rest.char_indices() {
        match character {
            ';' if depth == 0 && !in_brackets(rest.get(..end)?) => return None,
            '{' => depth += 1,
            '}' if depth == 1 => {
                let lines = rest.get(..end)?.matches('\n').count() + 1;
                return Some((line(code, at), name, lines));
            }
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// Whether a bracket is open, as in the type `[u8; 4]`.
fn in_brackets(part: &str) -> bool {
    part.matches('[').count() > part.matches(']').count()
}
