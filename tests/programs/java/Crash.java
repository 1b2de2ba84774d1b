import java.lang.reflect.Field;

/** Crashes in the thread "poker", some calls deep: in Java code if it is compiled, else in the JVM. */
public class Crash {
    static sun.misc.Unsafe memory;

    static long poke(int depth, long address) {
        if (depth == 0) {
            return memory.getLong(address);
        }
        return poke(depth - 1, address) + 1;
    }

    public static void main(String[] arguments) throws Exception {
        Field field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        memory = (sun.misc.Unsafe) field.get(null);
        long good = memory.allocateMemory(64);
        for (int i = 0; i < 30_000; i++) {
            poke(3, good);
        }
        int depth = Integer.parseInt(arguments[0]);
        Thread thread = new Thread("poker") {
            @Override
            public void run() {
                poke(depth, 8);
            }
        };
        thread.start();
        thread.join();
    }
}
