//! What the program reads and writes, as something asynchronous.

use std::io::{Read as _, Write as _};

use tokio::io::{DuplexStream, split};

/// Standard input as something asynchronous, by a thread that copies it.
pub(crate) struct Stdin;

impl Stdin {
    pub(crate) fn open() -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (_, mut into) = split(far);
        let handle = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 1 << 14];
            let mut input = std::io::stdin().lock();
            while let Ok(read) = input.read(&mut buffer) {
                let bytes = buffer.get(..read).unwrap_or_default();
                let wrote = handle.block_on(tokio::io::AsyncWriteExt::write_all(&mut into, bytes));
                if read == 0 || wrote.is_err() {
                    break;
                }
            }
        });
        near
    }
}

/// Standard output, the same way.
pub(crate) struct Stdout;

impl Stdout {
    pub(crate) fn open() -> DuplexStream {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (mut from, _) = split(far);
        let handle = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 1 << 14];
            let mut output = std::io::stdout().lock();
            while let Ok(read) =
                handle.block_on(tokio::io::AsyncReadExt::read(&mut from, &mut buffer))
            {
                if read == 0 || output.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
                    break;
                }
                output.flush().unwrap();
            }
        });
        near
    }
}
