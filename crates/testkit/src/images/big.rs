//! Debian and 100,000 files more, 1 GiB together: many small files, some larger, of text that packs as text does.
//!
//! Always the same bytes: sizes and contents come from a generator with a fixed start.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::making::Making;

const FILES: u32 = 100_000;

/// Files are cut from this many bytes of text, far more than a packer's window.
const TEXT: usize = 32 << 20;

pub(super) fn big(making: Making) -> Result<PathBuf> {
    let path = making.path("files.tar");
    let file = File::create(&path).context("cannot make files.tar")?;
    let mut tar = BufWriter::with_capacity(1 << 20, file);
    files(&mut tar).context("cannot write files.tar")?;
    tar.into_inner().context("cannot write files.tar")?;
    making.add_tar(&path)?;
    making.done()
}

fn files(tar: &mut impl Write) -> std::io::Result<()> {
    let mut dice = Dice(0x5eed_0f1b_1b00_0001);
    let text = text(&mut dice);
    entry(tar, "srv/", b'5', &[])?;
    for number in 0..FILES {
        if number % 100 == 0 {
            entry(tar, &format!("srv/{:03}/", number / 100), b'5', &[])?;
        }
        let size = size(&mut dice);
        let start = dice.below(text.len() - size);
        let name = format!("srv/{:03}/{number:06}.txt", number / 100);
        entry(tar, &name, b'0', &text[start..start + size])?;
    }
    tar.write_all(&[0; 1024])
}

/// Sizes as they are on real disks: each power of two is as likely as the next, from 64 bytes to 64 KiB.
fn size(dice: &mut Dice) -> usize {
    let limit = 128 << dice.below(10);
    limit / 2 + dice.below(limit / 2)
}

/// Words in no order, some numbers among them.
fn text(dice: &mut Dice) -> Vec<u8> {
    let words: Vec<String> = (0..4096)
        .map(|_| {
            let length = 2 + dice.below(9);
            (0..length)
                .map(|_| char::from(b"etaoinshrdlucmfwypvbgkqjxz"[dice.below(26).min(dice.below(26))]))
                .collect()
        })
        .collect();
    let mut text = Vec::with_capacity(TEXT + 64);
    while text.len() < TEXT {
        // The smaller of two numbers: some words are much more frequent than others.
        let word = dice.below(words.len()).min(dice.below(words.len()));
        text.extend_from_slice(words[word].as_bytes());
        match dice.below(12) {
            0 => text.push(b'\n'),
            1 => text.extend_from_slice(format!(" {} ", dice.below(1 << 30)).as_bytes()),
            _ => text.push(b' '),
        }
    }
    text
}

/// One member of a POSIX ustar archive (pax(1), "ustar Interchange Format").
fn entry(tar: &mut impl Write, name: &str, kind: u8, data: &[u8]) -> std::io::Result<()> {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, if kind == b'5' { "0000755" } else { "0000644" });
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{:011o}", data.len()));
    put(136, &format!("{:011o}", 1_767_225_600));
    put(148, "        ");
    put(257, "ustar\x0000");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.write_all(&header)?;
    tar.write_all(data)?;
    let rest = data.len().next_multiple_of(512) - data.len();
    tar.write_all(&[0; 512][..rest])
}

/// Marsaglia's xorshift64.
struct Dice(u64);

impl Dice {
    /// A number below `limit`, which is small against 2^64.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or_default()
    }
}
