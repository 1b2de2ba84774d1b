import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.concurrent.locks.LockSupport;

/**
 * What JDK 22 has beyond 17: a virtual thread that runs after it has slept, and the thread "sorter"
 * that calls C's qsort, which calls Java. Says "ready" when both are where they stay.
 */
public class Virtual {
    static volatile boolean spinning;
    static volatile boolean comparing;
    static volatile boolean stay;
    static volatile long sink;

    static long down(int depth) {
        if (depth > 0) {
            return down(depth - 1) + 1;
        }
        spinning = true;
        while (spinning) {
            sink++;
        }
        return 0;
    }

    static int compare(MemorySegment left, MemorySegment right) {
        if (stay) {
            comparing = true;
            LockSupport.park();
        }
        return left.get(ValueLayout.JAVA_INT, 0) - right.get(ValueLayout.JAVA_INT, 0);
    }

    static void sort() throws Throwable {
        var pointer = ValueLayout.ADDRESS.withTargetLayout(ValueLayout.JAVA_INT);
        Linker linker = Linker.nativeLinker();
        MethodHandle qsort = linker.downcallHandle(
            linker.defaultLookup().find("qsort").get(),
            FunctionDescriptor.ofVoid(
                ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG,
                ValueLayout.ADDRESS));
        MethodHandle compare = MethodHandles.lookup().findStatic(
            Virtual.class, "compare",
            MethodType.methodType(int.class, MemorySegment.class, MemorySegment.class));
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment stub = linker.upcallStub(
                compare, FunctionDescriptor.of(ValueLayout.JAVA_INT, pointer, pointer), arena);
            MemorySegment numbers = arena.allocateFrom(ValueLayout.JAVA_INT, 5, 3, 9, 1);
            qsort.invokeExact(numbers, 4L, 4L, stub);
            stay = true;
            qsort.invokeExact(numbers, 4L, 4L, stub);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Thread.ofVirtual().start(() -> {
            try {
                Thread.sleep(20);
            } catch (InterruptedException e) {
                throw new RuntimeException(e);
            }
            down(6);
        });
        Thread thread = new Thread("sorter") {
            @Override
            public void run() {
                try {
                    sort();
                } catch (Throwable e) {
                    throw new RuntimeException(e);
                }
            }
        };
        thread.start();
        while (!spinning || !comparing || thread.getState() != Thread.State.WAITING) {
            Thread.sleep(1);
        }
        System.out.println("ready");
        System.in.read();
        System.exit(0);
    }
}
