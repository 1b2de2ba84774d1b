// Two threads that wait for a mutex of Rust's library, which main holds; with an argument two that
// wait for each other's.

use std::sync::{Barrier, Mutex};
use std::thread;
static LOCK: Mutex<u32> = Mutex::new(0);
static OTHER: Mutex<u32> = Mutex::new(0);
static BOTH: Barrier = Barrier::new(2);
fn take(first: &Mutex<u32>, second: &Mutex<u32>) {
    let _held = first.lock().unwrap();
    BOTH.wait();
    let _wanted = second.lock().unwrap();
}
fn main() {
    if std::env::args().count() > 1 {
        thread::spawn(|| take(&LOCK, &OTHER));
        thread::spawn(|| take(&OTHER, &LOCK));
    } else {
        std::mem::forget(LOCK.lock().unwrap());
        for _ in 0..2 { thread::spawn(|| { let _mine = LOCK.lock().unwrap(); }); }
    }
    println!("ready");
    loop { thread::park(); }
}
