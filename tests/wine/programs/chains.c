/* Calls of every kind that 32-bit Windows code makes, by functions that keep ebp for themselves.
 *
 * Each function has another calling convention, frame and number of arguments, and leaves the
 * addresses of finished calls on the stack for whoever comes next. It needs no C library: clang
 * and lld make a program with a PDB file of it where nothing of Microsoft's is installed. */

typedef unsigned int u32;
typedef void *HANDLE;
__declspec(dllimport) HANDLE __stdcall GetStdHandle(u32 which);
__declspec(dllimport) int __stdcall WriteFile(HANDLE, const void *, u32, u32 *, void *);
__declspec(dllimport) void __stdcall Sleep(u32 milliseconds);
__declspec(dllimport) void __stdcall ExitProcess(u32 code);

#define FRAME __attribute__((noinline)) int

volatile int sink;
int _fltused;

static FRAME noise(int n) {
    volatile int room[24];
    for (int i = 0; i < 24; i++)
        room[i] = n + i;
    return n > 0 ? noise(n - 1) + room[n & 15] : room[3];
}

static FRAME leaf(int n) {
    volatile char room[20];
    u32 written;
    room[n & 7] = 1;
    noise(3);
    WriteFile(GetStdHandle((u32)-11), "placed\n", 7, &written, 0);
    Sleep(0xFFFFFFFF);
    return room[n & 7];
}

FRAME __cdecl plain(int n, int a) {
    return leaf(n + a) + a;
}

FRAME __stdcall popping(int n, int a, int b, int c, int d) {
    volatile int room[60];
    room[(u32)n % 60] = a;
    noise(a & 3);
    return plain(n, a) + room[(u32)b % 60] + c + d;
}

FRAME __fastcall fast(int n, int a, int b, int c) {
    volatile int room[3];
    room[n & 1] = b;
    return popping(a, n, b, c, 17) + room[b & 1];
}

FRAME __cdecl variadic(int n, ...) {
    int sum = noise(2);
    return fast(n, sum, 3, 4) + sum;
}

FRAME __stdcall recurse(int n, int a, int b) {
    volatile int room[8];
    room[n & 7] = a;
    if (n > 0)
        return recurse(n - 1, a + b, room[n & 7]) + room[a & 7];
    return variadic(a, b, n, 1, 2, 3) + room[b & 7];
}

static int (__stdcall *volatile by_pointer)(int, int, int) = recurse;

FRAME __cdecl pointing(int n) {
    return by_pointer(n, noise(1), 5) + n;
}

FRAME __cdecl growing(int n) {
    volatile int *room = __builtin_alloca((n & 63) * 4 + 32);
    room[0] = n;
    return pointing(n) + room[0];
}

FRAME __stdcall aligning(int n, int a) {
    volatile __attribute__((aligned(32))) char room[64];
    room[n & 31] = (char)a;
    return growing(n) + room[a & 31];
}

FRAME __cdecl large(int n) {
    volatile int room[900];
    room[(u32)n % 900] = 1;
    noise(n & 3);
    return aligning(n, n + 1) + room[(u32)n % 800];
}

void start(void) {
    sink = large(7);
    ExitProcess(0);
}
