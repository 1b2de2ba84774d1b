/**
 * A thread waits below compiled code, which is then given up: a class that is loaded breaks what the
 * compiler took for granted. Says "ready" when the code was replaced under the thread.
 */
public class Stale {
    static final Object monitor = new Object();
    static volatile boolean waiting;
    static volatile long sink;

    static class Base {
        long value(int depth) throws Exception {
            if (depth == 0 && waiting) {
                synchronized (monitor) {
                    monitor.wait();
                }
            }
            return depth;
        }
    }

    /** Loaded while the thread waits: from then on `value` has two implementations. */
    static class Other extends Base {
        @Override
        long value(int depth) {
            return 3;
        }
    }

    static Base made = new Base();

    static long down(int depth, long kept) throws Exception {
        long below = depth == 0 ? made.value(0) : down(depth - 1, kept * 31 + 1);
        return below + kept + made.value(1);
    }

    public static void main(String[] arguments) throws Exception {
        int depth = Integer.parseInt(arguments[0]);
        for (int i = 0; i < 40_000; i++) {
            sink += down(5, i);
        }
        waiting = true;
        Thread thread = new Thread("stale") {
            @Override
            public void run() {
                try {
                    sink += down(depth, 1);
                } catch (Exception e) {
                    throw new RuntimeException(e);
                }
            }
        };
        thread.setDaemon(true);
        thread.start();
        while (thread.getState() != Thread.State.WAITING) {
            Thread.sleep(1);
        }
        if (arguments.length > 1) {
            made = new Other();
            sink += made.value(1);
        }
        Thread.sleep(50);
        System.out.println("thread stale");
        for (StackTraceElement element : thread.getStackTrace()) {
            System.out.println("at " + element.getClassName() + "." + element.getMethodName() + " "
                + element.getFileName() + " " + element.getLineNumber());
        }
        System.out.println("ready");
        System.in.read();
        System.exit(0);
    }
}
