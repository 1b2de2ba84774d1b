// A panic with panic=abort, below closures, generics and a trait object.
trait Shape {
    fn area(&self, scale: &[u32]) -> u32;
}

struct Square(u32);

impl Shape for Square {
    #[inline(never)]
    fn area(&self, scale: &[u32]) -> u32 {
        checked(scale, self.0 as usize) * self.0
    }
}

#[inline(never)]
fn checked<T: Copy>(items: &[T], index: usize) -> T {
    items[index]
}

#[inline(never)]
fn apply<F: Fn(u32) -> u32>(f: F, x: u32) -> u32 {
    f(x) + 1
}

fn main() {
    let shape: Box<dyn Shape> = Box::new(Square(std::env::args().count() as u32 + 6));
    let scale = vec![1, 2, 3];
    let total = apply(|x| shape.area(&scale) + x, 5);
    println!("{total}");
}
