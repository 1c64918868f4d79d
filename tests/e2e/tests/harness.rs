//! The harness itself: a world starts, survives a crash, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::TcpStream;

use e2e::World;

#[test]
fn a_world_answers_crashes_comes_back_and_goes() {
    let mut world = World::builder().var("WORKER_SLOTS", 3).start().unwrap();
    let port = world.worker.port();
    assert!(world.client.healthy());
    assert!(world.standin.stats().unwrap().is_object());

    world.worker.kill();
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the port is free again"
    );
    assert!(world.worker.check().is_err());
    world.worker.restart().unwrap();
    assert_eq!(world.worker.port(), port);
    assert!(world.client.healthy());
    world.cron().unwrap();

    let standin = world.standin.url().to_owned();
    drop(world);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    let address = standin.trim_start_matches("http://");
    assert!(TcpStream::connect(address).is_err());
}
