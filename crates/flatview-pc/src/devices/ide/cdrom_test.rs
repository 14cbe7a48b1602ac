//! A CD-ROM drive, as a guest sees it through its ports.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use super::IdeDrive;
use super::bench::{BAR4, Bench, numbered};
use crate::devices::block::BlockBackend;

const BASE: u64 = 0x170;

fn bench() -> Bench {
    Bench::new([None, None, Some(IdeDrive::Cdrom(Some(numbered(402)))), None])
}

/// Sends a packet and takes what comes, by PIO with at most `limit` bytes a block. The sense key if it fails.
fn packet(bench: &Bench, limit: u16, bytes: &[u8]) -> Result<Vec<u8>, u8> {
    bench.interrupts(1);
    bench.output(BASE + 1, 0_u8);
    let [low, high] = limit.to_le_bytes();
    bench.task(BASE, &[0, 0, low, high, 0xa0, 0xa0]);
    assert_eq!(
        (bench.status(BASE), bench.input::<u8>(BASE + 2)),
        (0x58, 1),
        "it waits for a command"
    );
    assert_eq!(bench.interrupts(1), (false, 0));
    send(bench, bytes);
    let mut data = Vec::new();
    loop {
        assert_eq!(bench.interrupts(1), (true, 1));
        let status = bench.status(BASE);
        let reason: u8 = bench.input(BASE + 2);
        if status & 0x08 == 0 {
            assert_eq!(reason, 3, "status phase");
            let error = bench.error(BASE);
            return if status & 1 != 0 {
                Err(error >> 4)
            } else {
                Ok(data)
            };
        }
        assert_eq!(reason, 2, "data for the host");
        let len = usize::from(bench.input::<u8>(BASE + 4)) | usize::from(bench.input::<u8>(BASE + 5)) << 8;
        let words = bench.read_words(BASE, len.div_ceil(2));
        data.extend(&words[..len]);
    }
}

fn send(bench: &Bench, bytes: &[u8]) {
    let mut padded = bytes.to_vec();
    padded.resize(12, 0);
    for word in padded.chunks(2) {
        bench.output(BASE, u16::from_le_bytes([word[0], word[1]]));
    }
}

fn sense(bench: &Bench) -> [u8; 3] {
    let reply = packet(bench, 0xfffe, &[0x03, 0, 0, 0, 18]).unwrap();
    [reply[2], reply[12], reply[13]]
}

#[test]
fn it_says_what_it_is() {
    let bench = bench();
    bench.task(BASE, &[0, 0, 0, 0, 0xa0, 0xec]);
    assert_eq!((bench.status(BASE), bench.error(BASE)), (0x41, 0x04));
    assert_eq!([4, 5].map(|port| bench.input::<u8>(BASE + port)), [0x14, 0xeb]);
    bench.output(BASE + 7, 0xa1_u8);
    let words = bench.read_words(BASE, 256);
    assert_eq!(
        (&words[..2], &words[54..62]),
        (&[0xc0, 0x85][..], &b"LFTAIVWE"[..])
    );
    assert_eq!(bench.status(BASE), 0x50);
    let inquiry = packet(&bench, 0xfffe, &[0x12, 0, 0, 0, 36]).unwrap();
    assert_eq!(
        (&inquiry[..4], &inquiry[8..24]),
        (&[5, 0x80, 0, 0x21][..], &b"FLATVIEWDVD-ROM "[..])
    );
    assert_eq!(
        packet(&bench, 0xfffe, &[0x12, 0, 0, 0, 5]).unwrap().len(),
        5,
        "no more than wanted"
    );
    bench.output(BASE + 7, 0x08_u8);
    assert_eq!((bench.status(BASE), bench.error(BASE)), (0, 1), "reset");
}

#[test]
fn blocks_are_read_in_pieces_of_the_byte_count() {
    let bench = bench();
    // 402 sectors are 100 blocks and a half.
    assert_eq!(packet(&bench, 8, &[0x25]).unwrap(), [0, 0, 0, 100, 0, 0, 8, 0]);
    let mut wanted = vec![0; 2048 * 3];
    numbered(402)
        .read_at(2048 * 98, &mut wanted[..2048 * 2 + 1024])
        .unwrap();
    for limit in [0, 2048, 2047, 512, 0xffff, 6000] {
        let read = packet(&bench, limit, &[0x28, 0, 0, 0, 0, 98, 0, 0, 3]).unwrap();
        assert_eq!(read, wanted, "{limit}");
        let read = packet(&bench, limit, &[0xa8, 0, 0, 0, 0, 98, 0, 0, 0, 3]).unwrap();
        assert_eq!(read, wanted, "{limit}");
    }
    assert_eq!(packet(&bench, 2048, &[0x28, 0, 0, 0, 0, 98, 0, 0, 0]), Ok(vec![]));
    assert_eq!(packet(&bench, 2048, &[0x28, 0, 0, 0, 0, 99, 0, 0, 3]), Err(5));
    assert_eq!(sense(&bench), [5, 0x21, 0]);
    assert_eq!(sense(&bench), [0, 0, 0], "told once");
    assert_eq!(
        packet(&bench, 2048, &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff]),
        Err(5)
    );
}

#[test]
fn blocks_are_read_by_dma() {
    let bench = bench();
    bench.output(BASE + 1, 1_u8);
    bench.task(BASE, &[0, 0, 0, 0, 0xa0, 0xa0]);
    send(&bench, &[0x28, 0, 0, 0, 0, 1, 0, 0, 50]);
    assert_eq!((bench.status(BASE), bench.interrupts(1)), (0x58, (false, 0)));
    bench.start_dma(1, 0x1000, &[(0x2_0000, 0x9000), (0x4_0000, 0), (0x3_0000, 0)]);
    assert_eq!((bench.dma_status(1), bench.interrupts(1)), (0x05, (true, 1)));
    assert_eq!((bench.status(BASE), bench.input::<u8>(BASE + 2)), (0x50, 3));
    let mut wanted = vec![0; 2048 * 50];
    numbered(402).read_at(2048, &mut wanted).unwrap();
    let read = [
        bench.ram_read(0x2_0000, 0x9000),
        bench.ram_read(0x4_0000, 0x1_0000),
    ]
    .concat();
    assert_eq!(read, wanted[..0x1_9000]);
    bench.output(BAR4 + 8, 0_u8);
}

#[test]
fn there_is_one_track() {
    let bench = bench();
    let toc = |bytes: &[u8]| packet(&bench, 0xfffe, bytes).unwrap();
    assert_eq!(
        toc(&[0x43, 0, 0, 0, 0, 0, 0, 1, 0]),
        [
            0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x16, 0xaa, 0, 0, 0, 0, 101
        ]
    );
    let lead_out = toc(&[0x43, 2, 0, 0, 0, 0, 0xaa, 1, 0]);
    assert_eq!(
        lead_out,
        [0, 10, 1, 1, 0, 0x16, 0xaa, 0, 0, 0, 3, 26],
        "101 + 150 frames"
    );
    assert_eq!(toc(&[0x43, 0, 1, 0, 0, 0, 0, 1, 0]).len(), 12);
    assert_eq!(toc(&[0x43, 0, 2, 0, 0, 0, 0, 1, 0]).len(), 4 + 4 * 11);
    assert_eq!(
        toc(&[0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0x40]),
        [0, 10, 1, 1],
        "the format in the last byte"
    );
    assert_eq!(packet(&bench, 0xfffe, &[0x43, 0, 0, 0, 0, 0, 2, 1, 0]), Err(5));
    assert_eq!(packet(&bench, 0xfffe, &[0x43, 0, 5, 0, 0, 0, 0, 1, 0]), Err(5));
    assert_eq!(
        toc(&[0x51, 0, 0, 0, 0, 0, 0, 1, 0])[..7],
        [0, 32, 0x0e, 1, 1, 1, 1]
    );
}

#[test]
fn pages_and_features_have_the_lengths_they_say() {
    let bench = bench();
    for page in [0x01, 0x2a, 0x3f, 0x6a] {
        let reply = packet(&bench, 0xfffe, &[0x5a, 0, page, 0, 0, 0, 0, 1, 0]).unwrap();
        assert_eq!(usize::from(reply[1]) + 2, reply.len(), "{page:#x}");
        let mut at = 8;
        while at < reply.len() {
            at += 2 + usize::from(reply[at + 1]);
        }
        assert_eq!(at, reply.len(), "{page:#x}");
    }
    assert_eq!(
        packet(&bench, 0xfffe, &[0x5a, 0, 0xea, 0, 0, 0, 0, 1, 0]),
        Err(5),
        "saved pages"
    );
    assert_eq!(packet(&bench, 0xfffe, &[0x5a, 0, 0x0d, 0, 0, 0, 0, 1, 0]), Err(5));
    let reply = packet(&bench, 0xfffe, &[0x46, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!((usize::from(reply[3]) + 4, reply[7]), (reply.len(), 8));
    let mut features = Vec::new();
    let mut at = 8;
    while at < reply.len() {
        features.push(reply[at + 1]);
        at += 4 + usize::from(reply[at + 3]);
    }
    assert_eq!((at, features), (reply.len(), vec![0, 1, 3]));
    let one = packet(&bench, 0xfffe, &[0x46, 2, 0, 3, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!((one.len(), one[9]), (16, 3));
    assert_eq!(
        packet(&bench, 0xfffe, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]).unwrap(),
        [0; 8]
    );
    assert_eq!(packet(&bench, 0xfffe, &[0xff]), Err(5));
    assert_eq!(sense(&bench), [5, 0x20, 0]);
}

#[test]
fn a_tray_opens_unless_it_is_locked_and_events_are_told_once() {
    let bench = bench();
    let event = || packet(&bench, 0xfffe, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]).unwrap()[4..6].to_vec();
    assert_eq!(event(), [0, 2]);
    packet(&bench, 0xfffe, &[0x1e, 0, 0, 0, 1]).unwrap();
    assert_eq!(packet(&bench, 0xfffe, &[0x1b, 0, 0, 0, 2]), Err(5));
    assert_eq!(sense(&bench), [5, 0x53, 2]);
    packet(&bench, 0xfffe, &[0x1e, 0, 0, 0, 0]).unwrap();
    packet(&bench, 0xfffe, &[0x1b, 0, 0, 0, 2]).unwrap();
    assert_eq!((event(), event()), (vec![3, 1], vec![0, 1]));
    assert_eq!(packet(&bench, 0xfffe, &[0x00]), Err(2));
    assert_eq!(sense(&bench), [2, 0x3a, 2]);
    packet(&bench, 0xfffe, &[0x1b, 0, 0, 0, 3]).unwrap();
    assert_eq!(event(), [2, 2]);
    assert_eq!(
        packet(&bench, 0xfffe, &[0x00]),
        Err(6),
        "the medium may have changed"
    );
    assert_eq!(packet(&bench, 0xfffe, &[0x00]), Ok(vec![]));
    let empty = Bench::new([None, None, Some(IdeDrive::Cdrom(None)), None]);
    assert_eq!(packet(&empty, 0xfffe, &[0x25]), Err(2));
    assert_eq!(sense(&empty), [2, 0x3a, 1]);
}
