/* An editor for Windows that hangs: its window waits for a thread that counts words.
 *
 * That thread has crashed, and waits in turn, in the program's own crash handler. A paragraph
 * was never filled in. No C runtime is linked, so that the debug information is this file's.
 */
#include <windows.h>

struct paragraph {
    const char *text;
    const struct paragraph *next;
};

static HANDLE counted, report_sent;
static volatile LONG result;

__attribute__((noinline)) static int count_words(const struct paragraph *paragraph)
{
    int count = 1;
    for (const char *at = paragraph->text; *at; at++)
        count += *at == ' ';
    return paragraph->next ? count + count_words(paragraph->next) : count;
}

static DWORD WINAPI count_in_background(void *unused)
{
    struct paragraph third = {NULL, NULL}, second = {"ipsum", &third};
    struct paragraph first = {"lorem dolor", &second};
    result = count_words(&first);
    SetEvent(counted);
    return unused != NULL;
}

static LONG WINAPI crash_handler(EXCEPTION_POINTERS *exception)
{
    DWORD written;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), "crashed\n", 8, &written, NULL);
    WaitForSingleObject(report_sent, INFINITE);
    return exception->ExceptionRecord->NumberParameters ? EXCEPTION_EXECUTE_HANDLER : 0;
}

__attribute__((noinline)) static LRESULT show_word_count(HWND window)
{
    CloseHandle(CreateThread(NULL, 0, count_in_background, NULL, 0, NULL));
    WaitForSingleObject(counted, INFINITE);
    return SetWindowTextA(window, result > 1 ? "words" : "word") ? 0 : -1;
}

static LRESULT CALLBACK window_procedure(HWND window, UINT message, WPARAM w, LPARAM l)
{
    if (message == WM_CREATE)
        return show_word_count(window) + (result < 0);
    return DefWindowProcA(window, message, w, l);
}

__attribute__((noinline)) static int open_document(const char *title)
{
    WNDCLASSA class = {.lpfnWndProc = window_procedure, .lpszClassName = "document"};
    RegisterClassA(&class);
    HWND window = CreateWindowExA(0, "document", title, 0, 0, 0, 1, 1, HWND_MESSAGE, 0, 0, NULL);
    return window == NULL;
}

int start(void)
{
    counted = CreateEventA(NULL, FALSE, FALSE, NULL);
    report_sent = CreateEventA(NULL, FALSE, FALSE, NULL);
    SetUnhandledExceptionFilter(crash_handler);
    ExitProcess(open_document("letter.txt"));
}
