// Two threads that wait for a mutex of Rust's library, which main holds.

use std::sync::Mutex;
use std::thread;
static LOCK: Mutex<u32> = Mutex::new(0);
fn main() {
    let _held = LOCK.lock().unwrap();
    for _ in 0..2 { thread::spawn(|| { let _mine = LOCK.lock().unwrap(); }); }
    println!("ready");
    loop { thread::park(); }
}
