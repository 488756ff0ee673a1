//! Reading a request and writing an event into a buffer with room allocate nothing, and a refusal does not either.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use highper_wire::dialect::native::{self, Command};
use highper_wire::dialect::{ErrorCode, raw};

#[test]
fn requests_and_events_allocate_nothing() {
    let texts: [&[u8]; 8] = [
        br#"{"type":"publish","channel":"chat","data":{"text":"caf\u00e9 \"x\"","n":[1,2.5e3,null]},"id":"7f"}"#,
        br#" { "id" : 1 , "extra" : [[[{}]]] , "channel" : "chat" , "type" : "join" } "#,
        br#"{"type":"to_users","users":["ann","bob"],"data":1}"#,
        br#"{"type":"broadcast","data":"x"}"#,
        br#"{"type":"ping"}"#,
        br#"{"type":"join","channel":"two words","id":1}"#,
        br#"{"type":"nothing","id":1}"#,
        br#"{"type":"ping","#,
    ];
    let mut out = Vec::with_capacity(4096);
    let before = allocations();
    for _ in 0..100 {
        for text in texts {
            out.clear();
            answer(black_box(text), &mut out);
            assert!(!out.is_empty());
        }
    }
    assert_eq!(allocations() - before, 0);
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(black_box(Vec::<u8>::with_capacity(black_box(10))));
    assert_eq!(allocations() - before, 1);
}

fn answer(text: &[u8], out: &mut Vec<u8>) {
    let request = match native::parse(text) {
        Ok(request) => request,
        Err(refused) => return native::error(out, refused.code, refused.message, refused.id),
    };
    match request.command {
        Command::Join { channel } => native::joined(out, &channel, "e\"1", 7, request.id),
        Command::Leave { channel } => native::left(out, &channel, request.id),
        Command::Publish { channel, data } => {
            native::message(out, &channel, 123_456_789, data, "0-1f");
            raw::message(out, data);
            native::ack(out, Some(1), request.id);
        }
        Command::Broadcast { data } => native::broadcast(out, data, "0-1f"),
        Command::ToUsers { users, data } => {
            for user in users {
                native::user_message(out, data, &user);
            }
        }
        Command::Ping => {
            native::pong(out, request.id);
            native::welcome(out, "0-1f", 0, 30);
            native::gap(out, "chat", "e1", 9);
            native::closing(out, 1012, "restart", None);
            native::error(out, ErrorCode::TryAgain, "\u{1f}", request.id);
        }
    }
}

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches only a thread-local integer
// that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: `pointer` came from `System` with this layout; the caller keeps the rest.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
