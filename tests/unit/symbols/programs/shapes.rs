// Generic functions, trait methods and closures under both of Rust's manglings.
use std::fmt::Debug;

trait Shape {
    fn area(&self) -> u64;
}

struct Square<T>(T);

impl<T: Debug> Shape for Square<T> {
    #[inline(never)]
    fn area(&self) -> u64 {
        let measure = |x: &T| format!("{:?}", x).len() as u64;
        measure(&self.0)
    }
}

#[inline(never)]
fn describe<A: Debug, B: Debug>(pairs: &[(A, B)]) -> usize {
    pairs.iter().map(|(a, b)| format!("{:?}{:?}", a, b).len()).sum()
}

fn main() {
    let shapes: Vec<Box<dyn Shape>> = vec![Box::new(Square(1u8)), Box::new(Square("x"))];
    let total: u64 = shapes.iter().map(|s| s.area()).sum();
    println!("{} {}", total, describe(&[("a", Some(1)), ("b", None)]));
}
