import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Threads that wait in known places, in Java and in native code. When all do, it prints what Java
 * itself knows of each stack, then "ready", and waits for a line on its standard input.
 *
 * Arguments: the depth of recursion, and how many threads there are of each kind.
 */
public class Stacks {
    static final Object monitor = new Object();
    static final ReentrantLock lock = new ReentrantLock();
    static volatile long sink;
    static volatile boolean going = true;

    /** Recursion that no compiler flattens, with values that live over the call. */
    static long dig(int depth, long a, double b, Object c) throws Exception {
        if (depth == 0) {
            synchronized (monitor) {
                monitor.wait();
            }
            return a;
        }
        long below = odd(depth - 1, a * 31 + depth, b / 3, c);
        return below + a + (long) b + c.hashCode();
    }

    static long odd(int depth, long a, double b, Object c) throws Exception {
        return (depth & 1) == 0 ? dig(depth, a ^ 5, b + 1, c) : even(c, depth, a, b);
    }

    private static long even(Object c, int depth, long a, double b) throws Exception {
        long[] kept = {a, depth};
        long below = dig(depth, a, b, c);
        return below + kept[0] + kept[1];
    }

    /** Calls that a compiler puts in place. */
    static void outer(int depth) {
        middle(depth);
        sink++;
    }

    static void middle(int depth) {
        inner(depth);
        sink++;
    }

    static void inner(int depth) {
        if (depth > 0) {
            outer(depth - 1);
        } else {
            LockSupport.park();
        }
        sink++;
    }

    interface Shape {
        void draw(int depth) throws Exception;
    }

    static class Round implements Shape {
        public void draw(int depth) throws Exception {
            shapes[depth % 3].draw(depth - 1);
        }
    }

    static class Square implements Shape {
        public synchronized void draw(int depth) throws Exception {
            if (depth <= 0) {
                wait();
            } else {
                shapes[depth % 3].draw(depth - 1);
            }
        }
    }

    static class Flat implements Shape {
        public void draw(int depth) throws Exception {
            try {
                shapes[depth % 3].draw(depth - 1);
            } catch (IllegalStateException e) {
                sink++;
            }
        }
    }

    static final Shape[] shapes = {new Square(), new Round(), new Flat()};

    /** Called by reflection, which is code of the JVM's own making after some calls. */
    public static void mirrored(Integer depth) throws Exception {
        if (depth == 0) {
            lock.lock();
        } else {
            mirror.invoke(null, depth - 1);
        }
    }

    static Method mirror;

    /** Through C: `bounce` calls `rebound` with one less, in native code without a frame pointer. */
    static native void bounce(int depth);

    static void rebound(int depth) throws Exception {
        if (depth <= 0) {
            synchronized (monitor) {
                monitor.wait();
            }
        } else if (depth % 3 == 0) {
            sink += Warm.dig(depth % 7, 1, 2, "native");
            bounce(depth - 1);
        } else {
            bounce(depth - 1);
        }
    }

    static native void nap();

    /** A static initializer that waits: called by the JVM, not by code. */
    static class Initialised {
        static long value = started();

        static long started() {
            LockSupport.park();
            return 1;
        }
    }

    static class Worker extends Thread {
        final String kind;
        final int depth;
        final boolean natives;

        Worker(String kind, int number, int depth, boolean natives) {
            super(kind + "-" + number);
            this.kind = kind;
            this.depth = depth;
            this.natives = natives;
            setDaemon(true);
        }

        @Override
        public void run() {
            try {
                switch (kind) {
                    case "dig" -> dig(depth, 1, 2, "one");
                    case "inline" -> outer(depth / 3);
                    case "shape" -> new Round().draw(depth);
                    case "mirror" -> mirrored(Math.min(depth, 60));
                    case "init" -> sink += Initialised.value;
                    case "bounce" -> bounce(Math.min(depth, 200));
                    case "nap" -> nap();
                    default -> throw new AssertionError(kind);
                }
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        }
    }

    /** Runs the same code often, so that it is compiled, and comes back. */
    static void warm() throws Exception {
        for (int i = 0; i < 30_000; i++) {
            sink += Warm.dig(6, i, 1.5, "warm") + Warm.outer(4);
        }
    }

    public static void main(String[] arguments) throws Exception {
        int depth = Integer.parseInt(arguments[0]);
        int number = Integer.parseInt(arguments[1]);
        boolean natives = arguments.length > 2;
        if (natives) {
            System.load(arguments[2]);
        }
        mirror = Stacks.class.getMethod("mirrored", Integer.class);
        warm();
        lock.lock();
        List<Worker> workers = new ArrayList<>();
        for (String kind : List.of("dig", "inline", "shape", "mirror", "init", "bounce", "nap")) {
            if (!natives && (kind.equals("bounce") || kind.equals("nap"))) {
                continue;
            }
            for (int i = 0; i < (kind.equals("init") ? 1 : number); i++) {
                // A monitor that many hold would let only one of them in.
                if (kind.equals("shape") && i > 0) {
                    break;
                }
                workers.add(new Worker(kind, i, depth + i, natives));
            }
        }
        for (Worker each : workers) {
            each.start();
        }
        for (Worker each : workers) {
            if (each.kind.equals("nap")) {
                continue;
            }
            while (each.getState() != Thread.State.WAITING) {
                Thread.sleep(1);
            }
        }
        Thread.sleep(50);
        StringBuilder text = new StringBuilder();
        for (Map.Entry<Thread, StackTraceElement[]> each : Thread.getAllStackTraces().entrySet()) {
            if (each.getKey() instanceof Worker) {
                text.append("thread ").append(each.getKey().getName()).append('\n');
                for (StackTraceElement element : each.getValue()) {
                    text.append("at ").append(element.getClassName()).append('.')
                        .append(element.getMethodName()).append(' ')
                        .append(element.getFileName()).append(' ')
                        .append(element.getLineNumber()).append('\n');
                }
            }
        }
        System.out.print(text);
        System.out.println("ready");
        System.out.flush();
        System.in.read();
        System.exit(0);
    }

    /** What `warm` calls: the same shapes of code, which come back. */
    static class Warm {
        static long dig(int depth, long a, double b, Object c) {
            if (depth == 0) {
                return a;
            }
            long below = dig(depth - 1, a * 31 + depth, b / 3, c);
            return below + a + (long) b + c.hashCode();
        }

        static long outer(int depth) {
            return depth == 0 ? 1 : outer(depth - 1) + sink;
        }
    }
}
