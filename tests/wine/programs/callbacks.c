/* Scenarios in which Windows, or the Unix side by way of it, calls the program back. */
#include "zoo.h"

#include <stdlib.h>

FRAME HWND make_window(const char *class, struct work *work)
{
    HINSTANCE module = GetModuleHandleA(NULL);
    return CreateWindowExA(0, class, "zoo", 0, 0, 0, 1, 1, HWND_MESSAGE, NULL, module, work);
}

FRAME int message_loop_leaf(struct work *work)
{
    MSG message;
    make_window("STATIC", NULL);
    place(work);
    while (GetMessageA(&message, NULL, 0, 0) > 0)
        DispatchMessageA(&message);
    return (int)hold(0);
}

FRAME LRESULT CALLBACK window_procedure(HWND window, UINT message, WPARAM w, LPARAM l)
{
    if (message == WM_CREATE) {
        struct work *work = ((CREATESTRUCTA *)l)->lpCreateParams;
        work->level += 1;
        return work->level < work->nesting ? recurse(work, work->depth) : park(work);
    }
    return (LRESULT)hold((DWORD)DefWindowProcA(window, message, w, l));
}

/* Creating a window calls its procedure with WM_CREATE, from the Unix side. */
FRAME int wndproc_leaf(struct work *work)
{
    WNDCLASSA class = {0};
    class.lpfnWndProc = window_procedure;
    class.hInstance = GetModuleHandleA(NULL);
    class.lpszClassName = "zoo";
    RegisterClassA(&class);
    return make_window("zoo", work) != NULL;
}

FRAME int qsort_compare(const void *left, const void *right)
{
    park(current());
    return *(const int *)left - *(const int *)right;
}

FRAME int qsort_leaf(struct work *work)
{
    int numbers[2] = {work->depth, 1};
    qsort(numbers, 2, sizeof *numbers, qsort_compare);
    return (int)hold((DWORD)numbers[0]);
}

FRAME void CALLBACK timer_callback(HWND window, UINT message, UINT_PTR id, DWORD time)
{
    (void)window, (void)message, (void)id;
    park(current());
    hold(time);
}

FRAME int timer_leaf(struct work *work)
{
    MSG message;
    SetTimer(NULL, 0, 1, timer_callback);
    while (GetMessageA(&message, NULL, 0, 0) > 0)
        DispatchMessageA(&message);
    return (int)hold((DWORD)work->depth);
}
