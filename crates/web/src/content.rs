//! What an answer is: its type, its letters.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// How far into a page its own word about its letters is looked for, in bytes (as browsers do).
const PRESCAN_BYTES: usize = 1_024;

/// What a page is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// HTML, which becomes Markdown.
    Html,
    /// Markdown, as it came.
    Markdown,
    /// Plain text, as it came.
    Text,
    /// JSON, as it came.
    Json,
    /// XML, as it came.
    Xml,
}

impl Format {
    /// The name of what is handed on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Html | Self::Markdown => "markdown",
            Self::Text => "text",
            Self::Json => "json",
            Self::Xml => "xml",
        }
    }
}

/// Reads `Content-Type`: what it is, and what its letters are said to be. The error says what it is instead.
pub(crate) fn read_type(header: Option<&str>) -> Result<(Format, Option<&str>), String> {
    let Some(header) = header else { return Err("of no type that it names".to_owned()) };
    let mut parts = header.split(';');
    let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']))
    });
    let format = match kind.as_str() {
        "text/html" | "application/xhtml+xml" => Format::Html,
        "text/markdown" | "text/x-markdown" => Format::Markdown,
        "text/plain" => Format::Text,
        "application/json" | "text/json" => Format::Json,
        "application/xml" | "text/xml" => Format::Xml,
        "application/pdf" => return Err("a PDF, which is not read here".to_owned()),
        kind if kind.starts_with("application/") && kind.ends_with("+json") => Format::Json,
        kind if kind.starts_with("application/") && kind.ends_with("+xml") => Format::Xml,
        kind => {
            let clean = |c: &char| c.is_ascii_alphanumeric() || "/+-._".contains(*c);
            let shown: String = kind.chars().filter(clean).take(60).collect();
            return Err(format!("of type {shown}"));
        }
    };
    Ok((format, charset))
}

/// The text, by what is said outside, what it begins with, what it says itself, and what it can be, in this order.
/// `None` where it is no text.
pub(crate) fn decode(bytes: &[u8], format: Format, charset: Option<&str>) -> Option<String> {
    let said = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    let begins = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let inside = || (format == Format::Html).then(|| prescan(bytes)).flatten();
    let encoding = begins.or(said).or_else(inside).unwrap_or_else(|| match is_utf8(bytes) {
        true => UTF_8,
        // What the web calls Latin-1.
        false if format == Format::Html || format == Format::Text => WINDOWS_1252,
        false => UTF_8,
    });
    let (text, _, _) = encoding.decode(bytes);
    if text.contains('\0') {
        return None;
    }
    let is_kept = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
    Some(text.replace("\r\n", "\n").replace('\r', "\n").chars().filter(is_kept).collect())
}

/// Whether it is UTF-8, but for a letter that was cut in half at its end, where there are others beyond ASCII.
fn is_utf8(bytes: &[u8]) -> bool {
    let Err(error) = std::str::from_utf8(bytes) else { return true };
    let sound = bytes.get(..error.valid_up_to()).unwrap_or_default();
    error.error_len().is_none() && !sound.is_ascii()
}

/// `charset=` in the beginning of a page. What cannot be is not believed: UTF-16 would not have been read so far.
fn prescan(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(bytes.get(..PRESCAN_BYTES.min(bytes.len()))?);
    let head = head.to_ascii_lowercase();
    let (_, after) = head.split_once("<meta")?;
    let (_, rest) = after.split_once("charset")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let end = rest.find(['"', '\'', '>', ' ', ';', '/']).unwrap_or(rest.len());
    let encoding = Encoding::for_label(rest.get(..end)?.as_bytes())?;
    encoding.is_ascii_compatible().then_some(encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_or_named() {
        for (header, format) in [
            ("text/html; charset=utf-8", Format::Html),
            ("APPLICATION/XHTML+XML", Format::Html),
            ("text/plain", Format::Text),
            ("text/markdown", Format::Markdown),
            ("application/ld+json", Format::Json),
            ("application/rss+xml;x=y", Format::Xml),
        ] {
            assert_eq!(read_type(Some(header)).map(|(format, _)| format), Ok(format), "{header}");
        }
        for (header, named) in [
            (Some("application/pdf"), "a PDF"),
            (Some("image/svg+xml"), "image/svg+xml"),
            (Some("application/octet-stream"), "octet-stream"),
            (Some("text/javascript"), "javascript"),
            (Some("a\u{1b}[2J/<b>"), "of type a2j/b"),
            (None, "no type"),
        ] {
            let told = read_type(header).unwrap_err();
            assert!(told.contains(named), "{told}");
        }
    }

    #[test]
    fn letters_are_read_as_they_are_meant() {
        let html = |bytes: &[u8], charset| decode(bytes, Format::Html, charset).unwrap();
        assert_eq!(html(b"caf\xe9", Some("iso-8859-1")), "café");
        assert_eq!(html("café".as_bytes(), None), "café");
        assert_eq!(html(b"caf\xe9", None), "café");
        assert_eq!(
            html(b"<meta charset=\"windows-1251\">\xcf", None),
            "<meta charset=\"windows-1251\">П"
        );
        assert_eq!(html(b"\xef\xbb\xbfx\xc3\xa9", Some("latin1")), "xé");
        assert_eq!(html(b"\xff\xfea\0b\0", None), "ab");
        assert_eq!(html(b"\x83e\x83X", Some("shift_jis")), "テス");
        // What is read differently inside and outside would hide text from one of both.
        assert_eq!(html(b"+ADw-script+AD4-", Some("utf-7")), "+ADw-script+AD4-");
        assert_eq!(decode(b"a\0b", Format::Text, None), None);
        assert_eq!(decode(b"a\r\nb\x1b[2Jc", Format::Text, None).unwrap(), "a\nb[2Jc");
        // A letter that was cut in half at the end does not make it another script.
        assert_eq!(decode(b"\xc3\xa9 caf\xc3", Format::Text, None).unwrap(), "é caf\u{fffd}");
    }
}
