import java.lang.reflect.Method;

/**
 * A thread that goes through code of all kinds, over and over: interpreted, compiled, reached by
 * adapters between the two, by a table of methods, by reflection through C++. What is compiled is
 * said on the command line. When all is warm, after as many rounds as the first argument says, it
 * starts the threads of Stacks, with the other arguments.
 */
public class Mixed {
    static volatile long sink;
    static volatile int rounds;
    static Method mirror;

    static abstract class Shape {
        abstract long draw(int depth, long value) throws Exception;
    }

    static class Round extends Shape {
        synchronized long draw(int depth, long value) throws Exception {
            return depth <= 0 ? tiny(value) : interpreted(depth - 1, value ^ 5) + depth;
        }
    }

    static class Square extends Shape {
        long draw(int depth, long value) throws Exception {
            return depth <= 0 ? tiny(value) : (Long) mirror.invoke(null, depth - 1, value) + 1;
        }
    }

    static class Flat extends Shape {
        long draw(int depth, long value) throws Exception {
            byte[] bytes = new byte[24];
            System.arraycopy(bytes, 1, bytes, 5, (int) (value & 7));
            return compiled(depth - 1, value, bytes[6]) * 3;
        }
    }

    static final Shape[] shapes = {new Round(), new Square(), new Flat()};

    static long tiny(long value) {
        return value * 31 ^ (value >>> 7);
    }

    static long interpreted(int depth, long value) throws Exception {
        return depth <= 0 ? tiny(value) : interpretedToo(value + depth, depth - 1) - 1;
    }

    static long interpretedToo(long value, int depth) throws Exception {
        return compiled(depth, value, 1.5) + 2;
    }

    static long compiled(int depth, long value, double scale) throws Exception {
        if (depth <= 0) {
            return tiny(value);
        }
        long below = shapes[depth % 3].draw(depth - 1, value + 1);
        return below + (long) (scale * value) + depth;
    }

    public static Long mirrored(Integer depth, Long value) throws Exception {
        return depth <= 0 ? tiny(value) : compiled(depth, value, 2);
    }

    public static void main(String[] arguments) throws Exception {
        mirror = Mixed.class.getMethod("mirrored", Integer.class, Long.class);
        Thread thread = new Thread("mixed") {
            @Override
            public void run() {
                try {
                    for (int i = 0;; i++) {
                        sink += compiled(6 + i % 7, i, 0.5);
                        rounds++;
                    }
                } catch (Exception e) {
                    throw new RuntimeException(e);
                }
            }
        };
        thread.setDaemon(true);
        thread.start();
        while (rounds < Integer.parseInt(arguments[0])) {
            Thread.sleep(5);
        }
        Stacks.main(java.util.Arrays.copyOfRange(arguments, 1, arguments.length));
    }
}
