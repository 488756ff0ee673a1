//! What tests of frames and outboxes share, and the promises of both.

use super::*;

fn sent(tx: &mut Tx, outbox: &mut Outbox) -> Vec<Vec<u8>> {
    let mut sends = Vec::new();
    while let Some(frame) = tx.take(outbox) {
        sends.push(frame.to_vec());
        tx.paid(outbox, frame.len());
        tx.recycle(frame);
    }
    sends
}

#[test]
fn replies_of_one_turn_go_out_in_one_send() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    for reply in ["a", "bc", "def"] {
        tx.write(&mut outbox, 1024, |out| out.extend_from_slice(reply.as_bytes())).unwrap();
    }
    assert_eq!(outbox.bytes(), 6);
    assert_eq!(sent(&mut tx, &mut outbox), [b"abcdef".to_vec()]);
    assert_eq!((outbox.bytes(), tx.queued()), (0, 0));
}

#[test]
fn a_shared_frame_is_never_written_to() {
    let (mut tx, mut one, mut two) = (Tx::new(), Outbox::new(), Outbox::new());
    let frame = tx.frame(|out| out.extend_from_slice(b"news"));
    tx.push(&mut one, frame.clone(), 1024).unwrap();
    tx.push(&mut two, frame, 1024).unwrap();
    tx.write(&mut one, 1024, |out| out.extend_from_slice(b"!")).unwrap();
    assert_eq!(sent(&mut tx, &mut one), [b"news!".to_vec()]);
    assert_eq!(sent(&mut tx, &mut two), [b"news".to_vec()]);
}

#[test]
fn nothing_written_is_nothing_sent() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    tx.write(&mut outbox, 1024, |_| {}).unwrap();
    tx.push(&mut outbox, Frame::from(Vec::new()), 1024).unwrap();
    assert_eq!(sent(&mut tx, &mut outbox), Vec::<Vec<u8>>::new());
}

#[test]
fn large_frames_are_sent_alone_and_in_order() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    let large = vec![b'x'; COPY_BYTES_MAX];
    for bytes in [b"a".to_vec(), b"b".to_vec(), large.clone(), b"c".to_vec()] {
        tx.push(&mut outbox, Frame::from(bytes), usize::MAX).unwrap();
    }
    let sends = sent(&mut tx, &mut outbox);
    assert_eq!(sends.concat(), [b"ab".to_vec(), large, b"c".to_vec()].concat());
}

#[test]
fn the_limit_refuses_the_frame_that_would_pass_it() {
    let (mut tx, mut outbox) = (Tx::new(), Outbox::new());
    let frame = |len: usize| Frame::from(vec![0; len]);
    tx.push(&mut outbox, frame(60), 100).unwrap();
    tx.push(&mut outbox, frame(40), 100).unwrap();
    assert_eq!(tx.push(&mut outbox, frame(1), 100), Err(OutboxFull));
    assert_eq!(outbox.bytes(), 100);
    assert_eq!(tx.drop_waiting(&mut outbox), 100);
    tx.push(&mut outbox, frame(5000), 100).expect("an empty outbox takes one frame of any size");
}

#[test]
fn buffers_are_recycled_once_the_last_holder_lets_go() {
    let mut tx = Tx::new();
    let frame = tx.frame(|out| out.extend_from_slice(&[1; 100]));
    let address = frame.as_ptr();
    let other = frame.clone();
    tx.recycle(frame);
    tx.recycle(other);
    let again = tx.frame(|out| out.push(2));
    assert_eq!((again.as_ptr(), again.len()), (address, 1));
}
