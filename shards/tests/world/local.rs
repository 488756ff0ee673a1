//! The world of a socket file: as that of TCP, but nobody has an address.

use std::marker::PhantomData;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use highper_shards::driver::Options;
use highper_shards::socket::{Address, ListenOptions, Listener};
use highper_shards::{Limits, Shard};

use super::kernel::{self, KernelDriver};
use super::{Probe, Read, World};

pub struct Local<D> {
    pub path: PathBuf,
    driver: PhantomData<D>,
}

impl<D: KernelDriver> World for Local<D> {
    type Driver = D;
    type Client = UnixStream;

    fn build(options: &Options, limits: Limits, logic: Probe) -> (Self, Shard<D, Probe>) {
        let path = scratch();
        let listener = Listener::open(&Address::Unix(path.clone()), 1, &ListenOptions::default()).unwrap();
        let shard = kernel::shard(options, limits, logic, &listener);
        (Self { path, driver: PhantomData }, shard)
    }

    fn connect(&mut self) -> UnixStream {
        let client = UnixStream::connect(&self.path).unwrap();
        client.set_nonblocking(true).unwrap();
        client
    }

    fn write(&mut self, client: &mut UnixStream, bytes: &[u8]) -> usize {
        kernel::write(client, bytes)
    }

    fn read(&mut self, client: &mut UnixStream, len: usize) -> Read {
        kernel::read(client, len)
    }

    fn shutdown(&mut self, client: &mut UnixStream) {
        client.shutdown(Shutdown::Write).unwrap();
    }

    /// Nothing breaks a socket of a file but a peer that leaves without reading what it was sent.
    fn reset(&mut self, client: UnixStream) {
        drop(client);
    }

    fn turn(&mut self, shard: &mut Shard<D, Probe>) {
        shard.turn(Some(Duration::from_millis(1))).unwrap();
    }
}

impl<D> Drop for Local<D> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A path of its own for every world of every process.
fn scratch() -> PathBuf {
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let number = WORLDS.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("highper-world-{}-{number}", std::process::id()))
}
