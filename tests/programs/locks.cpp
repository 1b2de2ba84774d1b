// Two threads, each with a mutex of C++'s library that the other one wants. With an argument:
// what is initialised once, twice, and two threads that want to write what both read.

#include <pthread.h>

#include <cstdio>
#include <mutex>
#include <shared_mutex>
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

pthread_barrier_t pairs[3];
std::mutex locks[2];
std::once_flag flag;
std::shared_mutex read;

struct Made {
    Made()
    {
        pthread_barrier_wait(&pairs[0]);
        locks[0].lock();
    }
};

Made &made()
{
    static Made only;
    return only;
}

void make_once()
{
    std::call_once(flag, [] {
        pthread_barrier_wait(&pairs[1]);
        locks[1].lock();
    });
}

template <typename F> void with_lock(int pair, F wait)
{
    locks[pair].lock();
    pthread_barrier_wait(&pairs[pair]);
    wait();
}

void upgrade()
{
    read.lock_shared();
    pthread_barrier_wait(&pairs[2]);
    read.lock();
}

void initialise()
{
    for (auto &pair : pairs) pthread_barrier_init(&pair, nullptr, 2);
    std::thread all[] = {
        std::thread(made), std::thread([] { with_lock(0, made); }),
        std::thread(make_once), std::thread([] { with_lock(1, make_once); }),
        std::thread(upgrade), std::thread(upgrade),
    };
    std::puts("ready");
    std::fflush(stdout);
    all[0].join();
}
}  // namespace app

int main(int count, char **)
{
    if (count > 1) app::initialise();
    pthread_barrier_init(&app::both, nullptr, 2);
    std::thread a(app::one), b(app::two);
    std::puts("ready");
    std::fflush(stdout);
    a.join();
}
