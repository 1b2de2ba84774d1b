/* What the scenarios of the zoo share: see zoo.c. */
#ifndef ZOO_H
#define ZOO_H

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A function that is a frame of its own whatever the optimisation: neither inlined nor cloned,
   and (with -fno-optimize-sibling-calls) never jumped out of. None of them is static: the PDB
   files of GNU ld name public functions alone. */
#define FRAME __attribute__((noipa))

struct work;
typedef int (*scenario_function)(struct work *);
typedef LPTHREAD_START_ROUTINE thread_function;

struct work {
    const char *name;
    scenario_function bottom; /* what the last frame of `recurse` calls */
    int depth;                /* frames of `recurse` */
    int nesting;              /* callbacks inside callbacks, where the scenario has them */
    int level;                /* callbacks entered so far */
    int suspend;              /* to be suspended when everything is in its place */
    volatile LONG placed;     /* the thread has only its last call to make */
    DWORD windows_id;
    long linux_id;
    HANDLE thread;
};

extern HANDLE forever;   /* an event that nobody sets */
extern HANDLE line_read; /* set when nothing more is read or said */

int recurse(struct work *work, int depth); /* `depth` frames, then the scenario's function */
void enter(struct work *work);             /* by a thread that begins to work for a scenario */
void place(struct work *work);             /* by a thread about to make its last call */
int park(struct work *work);               /* place and wait for ever */
struct work *current(void);                /* the scenario that this thread works for */
DWORD hold(DWORD result);                  /* after a call, so that it is not the last thing done */

int wait_event_leaf(struct work *), sleep_leaf(struct work *), critsec_leaf(struct work *);
int critsec_owner_leaf(struct work *), spin_leaf(struct work *), apc_leaf(struct work *);
int unix_call_leaf(struct work *), load_library_leaf(struct work *);
int message_loop_leaf(struct work *), wndproc_leaf(struct work *), qsort_leaf(struct work *);
int timer_leaf(struct work *);
int abort_leaf(struct work *), null_deref_leaf(struct work *), raise_leaf(struct work *);
int vectored_leaf(struct work *), seh_leaf(struct work *);
int first_chance_leaf(struct work *), second_chance_leaf(struct work *);
int cpp_destructor_leaf(struct work *), cpp_catch_leaf(struct work *);

void critsec_prepare(void), faults_prepare(void);

#ifdef __cplusplus
}
#endif

#endif
