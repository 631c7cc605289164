//! The published vectors of what this module is built from: BLAKE3, RFC 8439, RFC 9106.

use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, KeyInit, Nonce};

use crate::base::id::{from_hex, to_hex};

/// The BLAKE3 project's `test_vectors.json`: input length, hash, keyed hash, derived key; first 32 bytes of each.
const BLAKE3: [(usize, &str, &str, &str); 3] = [
    (
        0,
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
        "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
        "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
    ),
    (
        1,
        "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
        "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
        "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
    ),
    (
        1024,
        "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
        "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
        "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706",
    ),
];

#[test]
fn blake3_gives_its_published_vectors() {
    let key = b"whats the Elvish word for friend";
    for (length, hash, keyed, derived) in BLAKE3 {
        let input: Vec<u8> = (0..=250).cycle().take(length).collect();
        assert_eq!(blake3::hash(&input).to_hex().as_str(), hash);
        assert_eq!(blake3::keyed_hash(key, &input).to_hex().as_str(), keyed);
        let context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
        assert_eq!(to_hex(&blake3::derive_key(context, &input)), derived);
    }
}

#[test]
fn chacha20_poly1305_gives_the_vector_of_rfc_8439_section_2_8_2() {
    let key: [u8; 32] =
        from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f").expect("hexadecimal");
    let nonce: [u8; 12] = from_hex("070000004041424344454647").expect("hexadecimal");
    let additional: [u8; 12] = from_hex("50515253c0c1c2c3c4c5c6c7").expect("hexadecimal");
    let plaintext: &[u8] = b"Ladies and Gentlemen of the class of '99: \
If I could offer you only one tip for the future, sunscreen would be it.";
    let sealed = ChaCha20Poly1305::new(&Key::from(key))
        .encrypt(&Nonce::from(nonce), Payload { msg: plaintext, aad: &additional })
        .expect("sealed");
    let expected = concat!(
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6",
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36",
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc",
        "3ff4def08e4b7a9de576d26586cec64b6116",
        "1ae10b594f09e26a7e902ecbd0600691",
    );
    assert_eq!(to_hex(&sealed), expected);
}

#[test]
fn argon2id_gives_the_vector_of_rfc_9106_section_5_3() {
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .output_len(32)
        .data(AssociatedData::new(&[4; 12]).expect("short"))
        .build()
        .expect("parameters");
    let mut tag = [0; 32];
    Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params)
        .expect("a short secret")
        .hash_password_into(&[1; 32], &[2; 16], &mut tag)
        .expect("a tag");
    assert_eq!(to_hex(&tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
}
