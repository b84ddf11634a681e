use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::Error,
    hash::Hash,
    limits::{READ_BYTES, READ_BYTES_MAX},
    place::Place,
    root::{Root, size},
};

/// Which part of a file to read. `bytes` is the most that is returned, at most [`READ_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Range {
    /// From a byte on, the first one being 0.
    Bytes {
        /// Where to begin.
        from: u64,
        /// Most bytes to return.
        bytes: u64,
    },
    /// Whole lines, the first one being 1. A line ends with its line feed.
    Lines {
        /// Where to begin.
        from: u64,
        /// Most lines to return.
        lines: u64,
        /// Most bytes to return: a line that goes beyond is cut.
        bytes: u64,
    },
}

impl Default for Range {
    fn default() -> Self {
        Self::Bytes { from: 0, bytes: READ_BYTES }
    }
}

/// Part of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it says.
    pub content: Content,
    /// Where it begins, in bytes from 0.
    pub from: u64,
    /// Size of the whole file in bytes.
    pub size: u64,
    /// Hash of the whole file, of which `content` was read at the same time. Absent where the file is larger than
    /// [`Limits::file_bytes`](crate::Limits::file_bytes).
    pub hash: Option<Hash>,
    /// Where to go on; absent at the end of the file.
    pub next: Option<Next>,
}

/// What part of a file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// UTF-8 without zero bytes.
    Text(String),
    /// Anything else, as base64.
    Binary(String),
}

/// Where the rest of a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// In bytes from 0.
    pub byte: u64,
    /// In lines from 1, where lines were asked for and none was cut.
    pub line: Option<u64>,
}

impl Root {
    /// Reads part of a file. Links inside of the root are followed.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`], [`Error::Kind`] for what is no regular file, [`Error::Outside`] or [`Error::Link`] for links
    /// that lead out or round, and [`Error::TooLarge`] for lines of a file above the limit.
    pub fn read(&self, path: &str, range: Range) -> Result<Part, Error> {
        self.read_within(path, range, usize::MAX)
    }

    /// The same, where the content takes at most so many bytes as JSON: one that is longer is cut, and `next` says where.
    /// The file is read once.
    ///
    /// # Errors
    ///
    /// As [`Root::read`].
    pub fn read_within(&self, path: &str, range: Range, json_bytes: usize) -> Result<Part, Error> {
        let place = Place::below(path)?;
        let (mut file, stat) = self.open_file(place)?;
        let most = self.limits().file_bytes;
        if size(&stat) > most {
            return match range {
                Range::Bytes { from, bytes } => large(path, &mut file, (from, bytes), json_bytes),
                Range::Lines { .. } => Err(Error::TooLarge {
                    path: path.to_owned(),
                    what: "a file in bytes, read by lines,",
                    size: size(&stat),
                    most,
                }),
            };
        }
        let mut cut = Cut::new(range, json_bytes);
        let mut hasher = Sha256::new();
        let total = stream(path, &mut file, most, |bytes| {
            hasher.update(bytes);
            cut.take(bytes);
        })?;
        Ok(cut.part(total, Some(Hash::finish(hasher))))
    }
}

impl Root {
    /// Reads a whole file, of at most [`Limits::file_bytes`](crate::Limits::file_bytes).
    ///
    /// # Errors
    ///
    /// As [`Root::read`], and [`Error::TooLarge`] for a larger one.
    pub fn whole(&self, path: &str) -> Result<Vec<u8>, Error> {
        let (mut file, _) = self.open_file(Place::below(path)?)?;
        let mut bytes = Vec::new();
        let most = self.limits().file_bytes;
        stream(path, &mut file, most, |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }
}

/// Passes a whole file on piece by piece; how many bytes it had. More than `most` is an error.
pub(crate) fn stream(
    path: &str,
    file: &mut File,
    most: u64,
    mut each: impl FnMut(&[u8]),
) -> Result<u64, Error> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0_u64;
    loop {
        let got = match file.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::std(path, "reading the file")(error)),
        };
        total += got as u64;
        if total > most {
            let what = "a file in bytes";
            return Err(Error::TooLarge { path: path.to_owned(), what, size: total, most });
        }
        each(buffer.get(..got).unwrap_or_default());
    }
}

/// The hash of a whole file.
pub(crate) fn hash(path: &str, file: &mut File, most: u64) -> Result<Hash, Error> {
    let mut hasher = Sha256::new();
    stream(path, file, most, |bytes| hasher.update(bytes))?;
    Ok(Hash::finish(hasher))
}

/// A whole file.
pub(crate) fn whole(path: &str, file: &mut File, most: u64) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    stream(path, file, most, |bytes| content.extend_from_slice(bytes))?;
    Ok(content)
}

/// Part of a file that is too large to be hashed: only that part is read.
fn large(
    path: &str,
    file: &mut File,
    (from, bytes): (u64, u64),
    json_bytes: usize,
) -> Result<Part, Error> {
    let failed = || Error::std(path, "reading the file");
    let total = file.seek(SeekFrom::End(0)).map_err(failed())?;
    let from = from.min(total);
    file.seek(SeekFrom::Start(from)).map_err(failed())?;
    let mut cut = Cut::new(Range::Bytes { from: 0, bytes }, json_bytes);
    let mut read = Vec::new();
    file.take(bytes.min(READ_BYTES_MAX)).read_to_end(&mut read).map_err(failed())?;
    cut.take(&read);
    cut.begin = from;
    Ok(cut.part(total, None))
}

/// The part of a stream that was asked for.
struct Cut {
    range: Range,
    most: usize,
    /// How many bytes of JSON there is room for, and how many are left if this is a text.
    json: usize,
    json_left: usize,
    /// Bytes and lines that have passed before the part or in it.
    byte: u64,
    line: u64,
    begin: u64,
    kept: Vec<u8>,
    done: bool,
}

impl Cut {
    fn new(range: Range, json: usize) -> Self {
        let (Range::Bytes { bytes, .. } | Range::Lines { bytes, .. }) = range;
        let most = usize::try_from(bytes.min(READ_BYTES_MAX)).unwrap_or(usize::MAX);
        Self {
            range,
            most,
            json,
            json_left: json,
            byte: 0,
            line: 1,
            begin: 0,
            kept: Vec::new(),
            done: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.done {
            return;
        }
        match self.range {
            Range::Bytes { from, .. } => {
                let skip = from.saturating_sub(self.byte);
                let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
                self.byte += skip as u64;
                self.keep(bytes.get(skip..).unwrap_or_default());
            }
            Range::Lines { from, lines, .. } => {
                let end = from.max(1).saturating_add(lines);
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    if self.done || self.line >= end {
                        self.done = true;
                        return;
                    }
                    if self.line < from {
                        self.byte += piece.len() as u64;
                    } else {
                        self.keep(piece);
                    }
                    if !self.done && piece.ends_with(b"\n") {
                        self.line += 1;
                    }
                }
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.kept.is_empty() {
            self.begin = self.byte;
        }
        let room = self.most.saturating_sub(self.kept.len());
        let room = room.min(json_fitting(bytes, self.json_left));
        self.done |= bytes.len() > room;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        self.json_left = self.json_left.saturating_sub(json_bytes(bytes));
        self.kept.extend_from_slice(bytes);
        self.byte += bytes.len() as u64;
    }

    fn part(mut self, size: u64, hash: Option<Hash>) -> Part {
        let from =
            if self.kept.is_empty() { self.byte.max(self.begin).min(size) } else { self.begin };
        // A cut through a character leaves the whole of it to the next part.
        if from + (self.kept.len() as u64) < size {
            let whole = whole_characters(&self.kept);
            if whole > 0 {
                self.kept.truncate(whole);
            }
        }
        if is_binary(&self.kept) {
            // It goes as base64: three bytes take four.
            self.kept.truncate((self.json / 4).saturating_mul(3));
        }
        let end = from + self.kept.len() as u64;
        let next = (end < size).then(|| Next {
            byte: end,
            line: match self.range {
                Range::Lines { .. } if self.kept.last().is_none_or(|byte| *byte == b'\n') => {
                    Some(self.line)
                }
                _ => None,
            },
        });
        Part { content: content(self.kept), from, size, hash, next }
    }
}

/// How many bytes a byte of text takes as JSON.
fn json_byte(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// How many bytes these take as JSON, if they are text.
fn json_bytes(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| json_byte(*byte)).sum()
}

/// How many of these, if they are text, take at most so many bytes as JSON.
fn json_fitting(bytes: &[u8], room: usize) -> usize {
    if bytes.len() <= room / 6 || json_bytes(bytes) <= room {
        return bytes.len();
    }
    let mut taken = 0_usize;
    let fits = |byte: &&u8| {
        taken = taken.saturating_add(json_byte(**byte));
        taken <= room
    };
    bytes.iter().take_while(fits).count()
}

/// Whether this goes as base64.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.contains(&0) || std::str::from_utf8(bytes).is_err()
}

/// How many bytes at the start are whole characters, if all that is wrong is that the last one is cut.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

fn content(bytes: Vec<u8>) -> Content {
    if bytes.contains(&0) {
        return Content::Binary(STANDARD.encode(bytes));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Content::Text(text),
        Err(error) => Content::Binary(STANDARD.encode(error.into_bytes())),
    }
}
