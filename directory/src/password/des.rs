//! The traditional crypt(3): 25 times DES over a block of zeros, with the salt's bits exchanged in the expansion.
//!
//! Verified only when `weak_schemes` names `crypt-des`. No crate that is kept up offers it. It works on single bits
//! after the tables of FIPS 46-3: slow for an attacker, and about a millisecond for us.

/// The alphabet of crypt(3).
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The value of a character of crypt(3)'s alphabet.
pub(super) fn value_of(octet: u8) -> Option<u8> {
    ALPHABET.iter().position(|known| *known == octet).and_then(|at| u8::try_from(at).ok())
}

/// Appends `characters` of a value, its lowest six bits first.
pub(super) fn encode(mut value: u32, characters: usize, out: &mut Vec<u8>) {
    for _ in 0..characters {
        out.extend(ALPHABET.get(value as usize & 63));
        value >>= 6;
    }
}

const IP: [u8; 64] = [
    58, 50, 42, 34, 26, 18, 10, 2, 60, 52, 44, 36, 28, 20, 12, 4, 62, 54, 46, 38, 30, 22, 14, 6, 64, 56, 48, 40, 32,
    24, 16, 8, 57, 49, 41, 33, 25, 17, 9, 1, 59, 51, 43, 35, 27, 19, 11, 3, 61, 53, 45, 37, 29, 21, 13, 5, 63, 55, 47,
    39, 31, 23, 15, 7,
];
const FP: [u8; 64] = [
    40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31, 38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45, 13, 53, 21,
    61, 29, 36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27, 34, 2, 42, 10, 50, 18, 58, 26, 33, 1, 41, 9,
    49, 17, 57, 25,
];
const E: [u8; 48] = [
    32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17, 16, 17, 18, 19, 20, 21, 20, 21,
    22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1,
];
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6, 22, 11, 4,
    25,
];
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44, 36, 63, 55,
    47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20, 12, 4,
];
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37, 47, 55, 30,
    40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
const SHIFTS: [u8; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
const S: [[u8; 64]; 8] = [
    [
        14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5, 3, 8, 4,
        1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14, 10, 0, 6, 13,
    ],
    [
        15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9, 11, 5, 0,
        14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12, 0, 5, 14, 9,
    ],
    [
        10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11, 15, 1, 13,
        6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3, 11, 5, 2, 12,
    ],
    [
        7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10, 14, 9, 10,
        6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11, 12, 7, 2, 14,
    ],
    [
        2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9, 8, 6, 4,
        2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9, 10, 4, 5, 3,
    ],
    [
        12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11, 3, 8, 9,
        14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7, 6, 0, 8, 13,
    ],
    [
        4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15, 8, 6, 1,
        4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15, 14, 2, 3, 12,
    ],
    [
        13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14, 9, 2, 7,
        11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0, 3, 5, 6, 11,
    ],
];

/// The bits of `from` (of `width`, first bit highest) in the order of a table.
fn permute(from: u64, width: u32, table: &[u8]) -> u64 {
    table.iter().fold(0, |out, bit| out << 1 | (from >> (width - u32::from(*bit)) & 1))
}

fn rotate(half: u64, by: u8) -> u64 {
    (half << by | half >> (28 - by)) & 0x0fff_ffff
}

fn round_keys(key: u64) -> [u64; 16] {
    let chosen = permute(key, 64, &PC1);
    let (mut c, mut d) = (chosen >> 28, chosen & 0x0fff_ffff);
    SHIFTS.map(|by| {
        (c, d) = (rotate(c, by), rotate(d, by));
        permute(c << 28 | d, 56, &PC2)
    })
}

/// DES' function f, with the bits of the salt exchanged between the halves of the expansion.
fn mix(right: u64, key: u64, salt: u64) -> u64 {
    let expanded = permute(right, 32, &E);
    let swap = (expanded >> 24 ^ expanded) & salt;
    let input = expanded ^ swap ^ swap << 24 ^ key;
    let mut output = 0;
    for (at, table) in S.iter().enumerate() {
        let six = input >> (42 - 6 * at) & 63;
        let index = (six & 32) | (six & 1) << 4 | six >> 1 & 15;
        output = output << 4 | table.get(index as usize).copied().map_or(0, u64::from);
    }
    permute(output, 32, &P)
}

/// crypt(3) with the salt in the first two characters of `setting`. `None` if they are no salt.
pub(super) fn crypt(password: &[u8], setting: &[u8]) -> Option<Vec<u8>> {
    let (&first, &second) = (setting.first()?, setting.get(1)?);
    let bits = u64::from(value_of(first)?) | u64::from(value_of(second)?) << 6;
    // The lowest bit of the salt concerns the first bit of the expansion.
    let salt = (0..12).fold(0u64, |out, bit| out | (bits >> bit & 1) << (23 - bit));
    let mut key = [0u8; 8];
    for (to, octet) in key.iter_mut().zip(password.iter().take_while(|octet| **octet != 0)) {
        *to = octet << 1;
    }
    let keys = round_keys(u64::from_be_bytes(key));
    let mut block = 0u64;
    for _ in 0..25 {
        let start = permute(block, 64, &IP);
        let (mut left, mut right) = (start >> 32, start & 0xffff_ffff);
        for key in keys {
            (left, right) = (right, left ^ mix(right, key, salt));
        }
        block = permute(right << 32 | left, 64, &FP);
    }
    let mut out = vec![first, second];
    // Eleven characters, each six bits from the top; the last has two bits of padding.
    for at in 0..11u32 {
        let six = if at < 10 { block >> (58 - 6 * at) & 63 } else { block << 2 & 63 };
        out.extend(ALPHABET.get(six as usize));
    }
    Some(out)
}
