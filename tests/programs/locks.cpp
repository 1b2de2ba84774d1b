// Two threads, each with a mutex of C++'s library that the other one wants.

#include <pthread.h>

#include <cstdio>
#include <mutex>
#include <thread>

namespace app {
std::mutex first, second;
pthread_barrier_t both;

void one()
{
    std::lock_guard<std::mutex> held(first);
    pthread_barrier_wait(&both);
    std::unique_lock<std::mutex> wanted(second);
}

void two()
{
    std::scoped_lock held(second);
    pthread_barrier_wait(&both);
    first.lock();
}
}  // namespace app

int main()
{
    pthread_barrier_init(&app::both, nullptr, 2);
    std::thread a(app::one), b(app::two);
    std::puts("ready");
    std::fflush(stdout);
    a.join();
}
