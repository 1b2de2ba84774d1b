import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.Semaphore;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantLock;

/** Two threads that want each other's monitors, two with each other's locks, and one more. */
public class Locked {
    static final Object[] monitors = {new Object(), new StringBuilder()};
    static final Lock[] locks = {new ReentrantLock(), new ReentrantLock(true)};
    static final Semaphore none = new Semaphore(0);
    static final CyclicBarrier[] pairs = {new CyclicBarrier(2), new CyclicBarrier(2)};

    static void meet(int pair) {
        try {
            pairs[pair].await();
        } catch (Exception problem) {
            throw new Error(problem);
        }
    }

    static void enter(int own) {
        synchronized (monitors[own]) {
            meet(0);
            synchronized (monitors[1 - own]) {
                throw new Error();
            }
        }
    }

    static void lock(int own) {
        locks[own].lock();
        meet(1);
        locks[1 - own].lock();
    }

    public static void main(String[] arguments) throws Exception {
        Thread[] threads = {
            new Thread(() -> enter(0), "enter 0"), new Thread(() -> enter(1), "enter 1"),
            new Thread(() -> lock(0), "lock 0"), new Thread(() -> lock(1), "lock 1"),
            new Thread(() -> none.acquireUninterruptibly(), "none"),
        };
        for (Thread each : threads) {
            each.setDaemon(true);
            each.start();
        }
        for (int calm = 0; calm < 20; Thread.sleep(5)) {
            calm++;
            for (Thread each : threads)
                if (each.getState() == Thread.State.RUNNABLE || pairs[0].getNumberWaiting() > 0
                        || pairs[1].getNumberWaiting() > 0)
                    calm = 0;
        }
        System.out.println("ready");
        System.out.flush();
        Thread.sleep(1000000);
    }
}
