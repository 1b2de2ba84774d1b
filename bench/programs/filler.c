/* 2,048 functions that nobody calls: most programs have thousands, and tools differ in what it
   costs them to find one among many. */
#define F(n) __attribute__((used, noinline)) static int filler_##n(int x) { return x * 3 + 1##n; }
#define F4(n) F(n##0) F(n##1) F(n##2) F(n##3)
#define F16(n) F4(n##0) F4(n##1) F4(n##2) F4(n##3)
#define F64(n) F16(n##0) F16(n##1) F16(n##2) F16(n##3)
#define F256(n) F64(n##0) F64(n##1) F64(n##2) F64(n##3)
#define F1024(n) F256(n##0) F256(n##1) F256(n##2) F256(n##3)
F1024(0)
F1024(1)
