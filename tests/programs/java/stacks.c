/* Native methods of Stacks.java. Built without frame pointers: callers are found by CFI alone. */
#include <jni.h>
#include <unistd.h>

JNIEXPORT void JNICALL Java_Stacks_bounce(JNIEnv *env, jclass owner, jint depth)
{
    volatile char room[64 + 16 * 3];
    jmethodID back = (*env)->GetStaticMethodID(env, owner, "rebound", "(I)V");
    room[depth & 63] = 1;
    (*env)->CallStaticVoidMethod(env, owner, back, depth - 1);
    room[depth & 63]++;
}

JNIEXPORT void JNICALL Java_Stacks_nap(JNIEnv *env, jclass owner)
{
    for (;;)
        pause();
}
