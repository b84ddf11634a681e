//! Server-sent events, put together from fragments that may be cut at any byte.

use crate::error::Error;

/// Longest event, in bytes: the last event of a Responses stream holds the whole answer.
pub(crate) const EVENT_MAX_BYTES: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The `event` field; empty where there is none.
    pub(crate) name: String,
    /// The `data` lines, joined.
    pub(crate) data: String,
}

/// Takes fragments in, gives events out. After the WHATWG's event-stream grammar: lines end with LF, CR
/// or CR LF; a line that begins with a colon is a comment; fields we do not know are passed over.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

impl Events {
    /// Takes a fragment in and hands every event that it completes to `each`.
    pub(crate) fn feed(
        &mut self,
        fragment: &[u8],
        mut each: impl FnMut(&Event) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut rest = fragment;
        while let Some(first) = rest.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (text, ending) = rest.split_at(end.unwrap_or(rest.len()));
            self.line.extend_from_slice(text);
            if self.line.len().saturating_add(self.event.data.len()) > EVENT_MAX_BYTES {
                return Err(Error::TooLarge(format!(
                    "an event of more than {EVENT_MAX_BYTES} bytes"
                )));
            }
            let Some(byte) = ending.first() else { break };
            self.after_cr = *byte == b'\r';
            rest = ending.get(1..).unwrap_or_default();
            self.end_line(&mut each)?;
        }
        Ok(())
    }

    fn end_line(
        &mut self,
        each: &mut impl FnMut(&Event) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let bytes = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| Error::garbage("a stream that is not UTF-8"))?;
        let text = if self.begun { text } else { text.trim_start_matches('\u{feff}') };
        self.begun = true;
        if text.is_empty() {
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                each(&event)?;
            }
        } else {
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.event.name),
                "data" => {
                    if std::mem::replace(&mut self.has_data, true) {
                        self.event.data.push('\n');
                    }
                    self.event.data.push_str(value);
                }
                _ => {}
            }
        }
        self.line = bytes;
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\r\n\r\nevent: a\r\ndata: one\r\ndata: zw\u{f6}lf\r\n\r\ndata:two\nid: 7\n\nretry: 3\n\ndata\rdata: x\r\rdata: unfinished";

    fn events(fragments: &[&[u8]]) -> Vec<(String, String)> {
        let (mut parser, mut seen) = (Events::default(), Vec::new());
        for fragment in fragments {
            let mut take = |event: &Event| {
                seen.push((event.name.clone(), event.data.clone()));
                Ok(())
            };
            parser.feed(fragment, &mut take).unwrap();
        }
        seen
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let owned = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let whole = events(&[STREAM.as_bytes()]);
        assert_eq!(whole, [owned("a", "one\nzw\u{f6}lf"), owned("", "two"), owned("", "\nx")]);
        for at in 0..=STREAM.len() {
            let (left, right) = STREAM.as_bytes().split_at(at);
            assert_eq!(events(&[left, right]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(events(&bytes), whole);
    }

    #[test]
    fn an_event_has_a_limit_and_must_be_text() {
        let mut parser = Events::default();
        let chunk = vec![b'x'; EVENT_MAX_BYTES];
        assert!(parser.feed(&chunk, |_| Ok(())).is_ok());
        assert!(matches!(parser.feed(b"xx", |_| Ok(())), Err(Error::TooLarge(_))));
        assert!(matches!(Events::default().feed(b"\xff\n", |_| Ok(())), Err(Error::Garbage(_))));
    }
}
