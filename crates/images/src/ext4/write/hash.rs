//! The hash that an indexed folder is sorted by: "half MD4" over unsigned characters.
//!
//! The source: fs/ext4/hash.c. Two groups of eight words of MD4's input (RFC 1320) go through a third of its steps.

/// The number of this hash in a folder's index (DX_HASH_HALF_MD4); the superblock's flags say that characters are unsigned.
pub(super) const VERSION: u8 = 1;

/// The larger of the two hash values that mark the end of a folder to readdir(2).
const END: u32 = 0x7fff_ffff << 1;

/// Major and minor hash of a name. The major one's lowest bit is 0.
pub(super) fn half_md4(name: &[u8], seed: [u32; 4]) -> (u32, u32) {
    let mut state = seed;
    for chunk in name.chunks(32) {
        // A chunk's padding is made of the length of all that is left, this chunk included.
        let left = name.len() - (chunk.as_ptr() as usize - name.as_ptr() as usize);
        transform(&mut state, &words(chunk, left));
    }
    let major = state[1] & !1;
    (if major == END { END - 2 } else { major }, state[2])
}

/// Eight words of characters, the first ones in the upper bytes; padded with the length.
fn words(chunk: &[u8], length: usize) -> [u32; 8] {
    #[expect(clippy::cast_possible_truncation, reason = "a name has at most 255 bytes")]
    let length = u32::from(length as u8);
    let pad = length * 0x0101_0101;
    let mut words = [pad; 8];
    for (word, bytes) in words.iter_mut().zip(chunk.chunks(4)) {
        *word = bytes
            .iter()
            .fold(pad, |word, byte| (word << 8) + u32::from(*byte));
    }
    words
}

/// A function of three words, a constant, the order of the words, and by how much sums are rotated.
type Round<'a> = (&'a dyn Fn(u32, u32, u32) -> u32, u32, [usize; 8], [u32; 4]);

fn transform(state: &mut [u32; 4], words: &[u32; 8]) {
    let [mut a, mut b, mut c, mut d] = *state;
    let choose = |x: u32, y: u32, z: u32| z ^ (x & (y ^ z));
    let most = |x: u32, y: u32, z: u32| (x & y).wrapping_add((x ^ y) & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    let rounds: [Round<'_>; 3] = [
        (&choose, 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (&most, 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (&parity, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    for (mix, constant, order, shifts) in rounds {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a
                .wrapping_add(mix(b, c, d))
                .wrapping_add(words[word])
                .wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (state, value) in state.iter_mut().zip([a, b, c, d]) {
        *state = state.wrapping_add(value);
    }
}
