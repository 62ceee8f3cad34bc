// threads.hpp - a parallel_for of C++11's threads, started once
//
//     thread_pool pool(4);                    // this thread and three more
//     desc.tasks = 16 * pool.threads();
//     desc.parallel_for = thread_pool::run;
//     desc.user = &pool;
//
// Where the system starts fewer threads than asked for, threads() says how many there are. The pool
// must outlive the contexts that work on it, and serves one of them at a time.
#ifndef THREADS_HPP
#define THREADS_HPP

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

class thread_pool {
public:
    explicit thread_pool(int threads)
        : shares(threads < 1 ? 1 : static_cast<std::size_t>(threads))
    {
        workers.reserve(shares.size() - 1);
        try {
            for (std::size_t i = 1; i < shares.size(); i++)
                workers.emplace_back([this, i] { work(i); });
        } catch (const std::exception &) {
        }
    }

    ~thread_pool()
    {
        start(nullptr, nullptr, 0);
        for (std::thread &worker : workers) worker.join();
    }

    thread_pool(const thread_pool &) = delete;
    thread_pool &operator=(const thread_pool &) = delete;

    int threads() const { return static_cast<int>(workers.size()) + 1; }

    static void run(void *user, swin_task task, void *arg, int count)
    {
        thread_pool &self = *static_cast<thread_pool *>(user);
        self.start(task, arg, count);
        self.take(0);
        std::unique_lock<std::mutex> lock(self.mutex);
        self.done.wait(lock, [&self] { return !self.busy; });
    }

private:
    // Consecutive tasks that a thread takes first; whoever has none left helps the others.
    struct share {
        std::atomic<int> next{0};
        int end = 0;
    };

    void start(swin_task new_task, void *new_arg, int count)
    {
        std::lock_guard<std::mutex> lock(mutex);
        task = new_task;
        arg = new_arg;
        const std::size_t n = shares.size(), all = static_cast<std::size_t>(count);
        for (std::size_t i = 0; i < n; i++) {
            shares[i].next = static_cast<int>(all * i / n);
            shares[i].end = static_cast<int>(all * (i + 1) / n);
        }
        busy = workers.size();
        rounds++;
        begin.notify_all();
    }

    void take(std::size_t first)
    {
        for (std::size_t i = 0; i < shares.size(); i++) {
            share &s = shares[(first + i) % shares.size()];
            for (int index; (index = s.next++) < s.end;) task(arg, index);
        }
    }

    void work(std::size_t self)
    {
        for (unsigned seen = 0;; seen++) {
            std::unique_lock<std::mutex> lock(mutex);
            begin.wait(lock, [this, seen] { return rounds != seen; });
            if (!task) return;
            lock.unlock();
            take(self);
            lock.lock();
            if (!--busy) done.notify_one();
        }
    }

    std::vector<share> shares;
    std::vector<std::thread> workers;
    std::mutex mutex;
    std::condition_variable begin, done;
    swin_task task = nullptr;
    void *arg = nullptr;
    std::size_t busy = 0;       // workers that may still take tasks
    unsigned rounds = 0;
};

#endif
