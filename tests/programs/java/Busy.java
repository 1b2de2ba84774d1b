/**
 * Threads that never wait: they call methods of all kinds, recursively, in an order that an unwinder
 * can be asked about: run, then go of A, B and C, then leaf and tiny. Says "ready" when all are warm.
 */
public class Busy {
    static volatile long sink;
    static volatile int rounds;

    interface Step {
        long go(int depth, long value);
    }

    static class A implements Step {
        public long go(int depth, long value) {
            return depth <= 0 ? leaf(value) : steps[depth % 3].go(depth - 1, value * 3 + depth) + 1;
        }
    }

    static class B implements Step {
        public synchronized long go(int depth, long value) {
            if (depth <= 0) {
                return leaf(value);
            }
            int[] made = new int[depth & 7];
            return steps[depth % 3].go(depth - 1, value + made.length) ^ 7;
        }
    }

    static class C implements Step {
        public long go(int depth, long value) {
            long sum = 0;
            for (int i = 0; i < 2 && depth > 0; i++) {
                sum += steps[depth % 3].go(depth - 2 - i, value + i);
            }
            return sum + tiny(sum);
        }
    }

    static final Step[] steps = {new A(), new B(), new C()};

    static long tiny(long value) {
        return value * 31 ^ (value >>> 7);
    }

    static long leaf(long value) {
        long sum = value;
        for (int i = 0; i < 3; i++) {
            sum = tiny(sum) + i;
        }
        sink = sum;
        byte[] bytes = new byte[40];
        System.arraycopy(bytes, 3, bytes, 9, (int) (value & 7));
        return sum + bytes[10];
    }

    public static void main(String[] arguments) throws Exception {
        for (int number = 0; number < Integer.parseInt(arguments[0]); number++) {
            Thread thread = new Thread("busy-" + number) {
                @Override
                public void run() {
                    for (int i = 0;; i++) {
                        sink += steps[i % 3].go(12, i);
                        rounds++;
                    }
                }
            };
            thread.setDaemon(true);
            thread.start();
        }
        int warm = Integer.parseInt(arguments[1]);
        while (rounds < warm) {
            Thread.sleep(5);
        }
        System.out.println("ready");
        System.in.read();
        System.exit(0);
    }
}
