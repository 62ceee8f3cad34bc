/* common.h - what the example programs share: files, a clock, a thread pool, .npy arrays, pictures

   Include it before anything else; it includes swin.h. Where COMMON_FOLDERS is defined it lists
   folders (dirent.h); where COMMON_PICTURES is, its last part reads and writes pictures through stb
   (Debian: libstb-dev). */
#ifndef COMMON_H
#define COMMON_H

#define _POSIX_C_SOURCE 200809L     /* pthread, clock_gettime, isatty behind -std=c99 */
#define _DEFAULT_SOURCE             /* madvise */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                 /* sched_getaffinity */
#endif

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <fcntl.h>
#include <io.h>
#include <windows.h>
#define isatty _isatty
#define fileno _fileno
#else
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif
#ifdef __linux__
#include <sys/syscall.h>
#endif

#ifdef COMMON_FOLDERS
#include <dirent.h>
#endif

#include "../swin.h"

/* -------------------------------------------------------------------------- */
/* files: whole files in memory; functions return 0 or an errno               */

/* Files are read, not mapped: whatever another program does to them later, cuts or overwrites them
   in place, a model whose checksum was right stays right. */
typedef struct file_bytes {
    unsigned char *data;        /* aligned to 64, never NULL after a successful load */
    size_t size;
} file_bytes;

/* What is read of a pipe or a device at most; more is EFBIG. Regular files know their size. */
#define STREAM_MAX ((size_t)512 << 20)

/* The sentence for an errno of file_load. */
static inline const char *load_error(int number)
{
    return number != EFBIG ? strerror(number) :
           "more than the 512 MiB that are read of a pipe or device: make a file of it";
}

static inline void binary_stream(FILE *f)
{
#ifdef _WIN32
    _setmode(_fileno(f), _O_BINARY);
#else
    (void)f;
#endif
}

/* To be called first in main: a standard stream that is closed must not become the next file that
   is opened, and writing into a broken pipe is an error like any other. */
static inline void prepare_streams(void)
{
#ifndef _WIN32
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd) _exit(2);
    signal(SIGPIPE, SIG_IGN);
#endif
}

/* `size` bytes aligned to 64, to be freed with free; NULL: none could be had. */
static inline void *bytes_new(size_t size)
{
#ifdef _WIN32
    return malloc(size);
#else
    void *memory;
    return posix_memalign(&memory, 64, size) ? NULL : memory;
#endif
}

/* Makes room for twice as many bytes. */
static inline int bytes_grow(file_bytes *b, size_t *room)
{
    unsigned char *larger = *room > SIZE_MAX / 2 ? NULL : (unsigned char *)bytes_new(2 * *room);
    if (larger) memcpy(larger, b->data, b->size);
    free(b->data);
    b->data = larger;
    *room *= 2;
    return larger ? 0 : ENOMEM;
}

/* Reads to the end, at most `most` bytes. expected: about how many they are. */
static inline int read_stream(FILE *f, file_bytes *b, size_t expected, size_t most)
{
    size_t room = expected + 1, more;       /* one: to see the end without growing */
    int why = 0;
    b->size = 0;
    b->data = (unsigned char *)bytes_new(room);
    if (!b->data) return ENOMEM;
    while (!why && (more = fread(b->data + b->size, 1, room - b->size, f)) > 0) {
        b->size += more;
        if (b->size > most) why = EFBIG;
        else if (b->size == room) why = bytes_grow(b, &room);
    }
    if (!why && ferror(f)) why = errno ? errno : EIO;
    if (!why) return 0;
    free(b->data);
    b->data = NULL;
    return why;
}

static inline int read_open_file(FILE *f, file_bytes *b)
{
    struct stat s;
    if (fstat(fileno(f), &s)) return errno;
    if ((s.st_mode & S_IFMT) == S_IFDIR) return EISDIR;
    int regular = (s.st_mode & S_IFMT) == S_IFREG && s.st_size > 0;
    if (regular && (unsigned long long)s.st_size > SIZE_MAX / 4) return EFBIG;
    size_t size = regular ? (size_t)s.st_size : 0;
    return read_stream(f, b, size ? size : 1 << 16, size > STREAM_MAX ? size : STREAM_MAX);
}

/* Reads a whole file, which is opened once: it may be a pipe. "-" is standard input. */
static inline int file_load(const char *path, file_bytes *b)
{
    memset(b, 0, sizeof *b);
    errno = 0;
    if (!strcmp(path, "-")) {
        binary_stream(stdin);
        return read_open_file(stdin, b);
    }
    FILE *f = fopen(path, "rb");
    if (!f) return errno;
    int why = read_open_file(f, b);
    fclose(f);
    return why;
}

static inline void file_free(file_bytes *b)
{
    free(b->data);
}

static inline int write_stream(FILE *f, const void *data, size_t size)
{
    errno = 0;
    return fwrite(data, 1, size, f) == size && !fflush(f) ? 0 : errno ? errno : EIO;
}

static inline int is_separator(char c)
{
#ifdef _WIN32
    if (c == '\\' || c == ':') return 1;
#endif
    return c == '/';
}

/* What follows the last separator. */
static inline const char *base_name(const char *path)
{
    const char *base = path;
    for (const char *p = path; *p; p++)
        if (is_separator(*p)) base = p + 1;
    return base;
}

/* The temporary file that is being written, "" where none is: a signal that ends the program
   removes it. */
static char file_temporary[4096];

#ifdef _WIN32
static inline FILE *temporary_open(const char *path)
{
    (void)path;
    int fd = _open(file_temporary, _O_CREAT | _O_EXCL | _O_WRONLY | _O_BINARY, 0666);
    return fd < 0 ? NULL : _fdopen(fd, "wb");
}

static inline int temporary_rename(const char *path)
{
    return MoveFileExA(file_temporary, path, MOVEFILE_REPLACE_EXISTING) ? 0 : EACCES;
}

static inline void temporary_guard(int on) { (void)on; }
#else
/* With the permissions of `path`, where there is such a file. */
static inline FILE *temporary_open(const char *path)
{
    struct stat s;
    int fd = open(file_temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0) return NULL;
    if (!stat(path, &s)) (void)!fchmod(fd, s.st_mode & 07777);
    return fdopen(fd, "wb");
}

static inline int temporary_rename(const char *path)
{
    return rename(file_temporary, path) ? errno : 0;
}

static inline void temporary_interrupted(int number)
{
    unlink(file_temporary);
    signal(number, SIG_DFL);
    raise(number);
}

/* Whoever ignores a signal (nohup) goes on ignoring it. */
static inline void temporary_guard(int on)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction before;
        if (sigaction(numbers[i], NULL, &before) || before.sa_handler == SIG_IGN) continue;
        signal(numbers[i], on ? temporary_interrupted : SIG_DFL);
    }
}
#endif

/* A new file in the directory of `path`, under a name that no other program and no earlier attempt
   has; NULL: see errno. */
static inline FILE *temporary_new(const char *path)
{
    static unsigned attempts;
    int directory = (int)(base_name(path) - path);
    FILE *f = NULL;
    for (int i = 0; i < 100 && !f; i++) {
        unsigned long long mix = ((unsigned long long)time(NULL) << 20) + attempts++;
#ifdef _WIN32
        mix += (unsigned long long)GetCurrentProcessId() << 40;
#else
        mix += (unsigned long long)getpid() << 40;
#endif
        errno = ENAMETOOLONG;
        if (snprintf(file_temporary, sizeof file_temporary, "%.*s.%llx.part", directory, path, mix)
            >= (int)sizeof file_temporary)
            break;
        temporary_guard(1);
        f = temporary_open(path);
        if (!f && errno != EEXIST) break;
    }
    if (!f) temporary_guard(0);
    return f;
}

/* Writes a regular file whole or not at all: under a temporary name that becomes `path`. */
static inline int file_replace(const char *path, const void *data, size_t size)
{
    FILE *f = temporary_new(path);
    if (!f) return errno;
    int why = write_stream(f, data, size);
    if (fclose(f) && !why) why = errno;
    if (!why) why = temporary_rename(path);
    if (why) remove(file_temporary);
    temporary_guard(0);
    return why;
}

static inline int write_in_place(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f) return errno;
    int why = write_stream(f, data, size);
    if (fclose(f) && !why) why = errno;
    return why;
}

/* Writes a file: a regular one whole or not at all, where a link leads; a device or a pipe in
   place. "-" is standard output. */
static inline int file_save(const char *path, const void *data, size_t size)
{
    struct stat s;
    if (!strcmp(path, "-")) {
        binary_stream(stdout);
        return write_stream(stdout, data, size);
    }
    if (stat(path, &s)) return file_replace(path, data, size);
    if ((s.st_mode & S_IFMT) == S_IFDIR) return EISDIR;
    if ((s.st_mode & S_IFMT) != S_IFREG) return write_in_place(path, data, size);
#ifdef _WIN32
    return file_replace(path, data, size);
#else
    if (access(path, W_OK)) return errno;
    char *real = realpath(path, NULL);
    int why = real ? file_replace(real, data, size) : errno;
    free(real);
    return why;
#endif
}

/* Which file a path leads to, whatever it is called there: two are the same where all is equal. Of
   a file that is still to be made: its directory, and its name there. */
typedef struct file_id {
    unsigned long long device, node;
    const char *name;           /* in the path; "" of a file that is there */
} file_id;

#ifdef _WIN32
static inline int file_numbers(const char *path, file_id *id, int *regular)
{
    BY_HANDLE_FILE_INFORMATION info;
    HANDLE f = CreateFileA(path, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                           OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (f == INVALID_HANDLE_VALUE) return 0;
    int ok = GetFileInformationByHandle(f, &info);
    *regular = ok && !(info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY);
    id->device = info.dwVolumeSerialNumber;
    id->node = (unsigned long long)info.nFileIndexHigh << 32 | info.nFileIndexLow;
    CloseHandle(f);
    return ok;
}
#else
static inline int file_numbers(const char *path, file_id *id, int *regular)
{
    struct stat s;
    if (strcmp(path, "-") ? stat(path, &s) : fstat(0, &s)) return 0;
    *regular = S_ISREG(s.st_mode);
    id->device = (unsigned long long)s.st_dev;
    id->node = (unsigned long long)s.st_ino;
    return 1;
}
#endif

/* 0 where the path leads to no regular file and to none that could be made. "-" is what standard
   input is read from. */
static inline int file_identify(const char *path, file_id *id)
{
    int regular;
    const char *base = base_name(path);
    id->name = "";
    if (file_numbers(path, id, &regular)) return regular;
    char *directory = (char *)malloc((size_t)(base - path) + 3);
    if (!directory) return 0;
    sprintf(directory, "%.*s.", (int)(base - path), path);
    int known = file_numbers(directory, id, &regular);
    free(directory);
    id->name = base;
    return known;
}

static inline int compare_files(const file_id *a, const file_id *b)
{
    if (a->device != b->device) return a->device < b->device ? -1 : 1;
    if (a->node != b->node) return a->node < b->node ? -1 : 1;
    return strcmp(a->name, b->name);
}

static inline int is_directory(const char *path)
{
    struct stat s;
    return !stat(path, &s) && (s.st_mode & S_IFMT) == S_IFDIR;
}

static inline int make_directory(const char *path)
{
#ifdef _WIN32
    int failed = !CreateDirectoryA(path, NULL);
#else
    int failed = mkdir(path, 0777);
#endif
    return failed && !is_directory(path) ? (errno ? errno : EIO) : 0;
}

#ifdef COMMON_FOLDERS
static inline int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline void folder_free(char **files, int count)
{
    for (int i = 0; i < count; i++) free(files[i]);
    free(files);
}

/* The paths of a folder's files, but hidden ones, by name; folder_free them. */
static inline int folder_list(const char *path, char ***files, int *count)
{
    size_t room = 0;
    DIR *folder = opendir(path);
    *files = NULL;
    *count = 0;
    if (!folder) return errno;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        if ((size_t)*count == room) {
            room = 2 * room + 64;
            char **more = (char **)realloc(*files, room * sizeof *more);
            if (!more) break;
            *files = more;
        }
        size_t size = strlen(path) + strlen(entry->d_name) + 2;
        char *file = (char *)malloc(size);
        if (!file) break;
        snprintf(file, size, "%s/%s", path, entry->d_name);
        if (is_directory(file)) free(file);
        else (*files)[(*count)++] = file;
    }
    closedir(folder);
    if (*count) qsort(*files, (size_t)*count, sizeof **files, compare_names);
    return 0;
}
#endif

/* -------------------------------------------------------------------------- */
/* the clock, and a progress bar that only a terminal gets                    */

static inline double seconds(void)      /* monotonic */
{
#ifdef _WIN32
    LARGE_INTEGER now, frequency;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&frequency);
    return (double)now.QuadPart / (double)frequency.QuadPart;
#else
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
}

static inline int on_terminal(void) { return isatty(fileno(stderr)); }

static inline void progress_show(int done, int count)
{
    static const char bar[] = "########################################";
    int width = (int)sizeof bar - 1, filled = count ? (int)((double)done / count * width) : 0;
    if (on_terminal()) fprintf(stderr, "\r[%-*.*s] %d/%d", width, filled, bar, done, count);
}

static inline void progress_clear(void)
{
    if (on_terminal()) fprintf(stderr, "\r%70s\r", "");
}

/* -------------------------------------------------------------------------- */
/* a thread pool: pool_run is the parallel_for of a swin_desc                 */

#ifdef _WIN32
typedef HANDLE pool_thread;
typedef CRITICAL_SECTION pool_lock;
typedef CONDITION_VARIABLE pool_signal;
#define POOL_LOCK(l)        EnterCriticalSection(l)
#define POOL_TRY(l)         TryEnterCriticalSection(l)
#define POOL_UNLOCK(l)      LeaveCriticalSection(l)
#define POOL_WAIT(s, l)     SleepConditionVariableCS(s, l, INFINITE)
#define POOL_WAKE(s)        WakeAllConditionVariable(s)
#define POOL_ENTRY          static DWORD WINAPI
#define POOL_EXIT           0
#else
typedef pthread_t pool_thread;
typedef pthread_mutex_t pool_lock;
typedef pthread_cond_t pool_signal;
#define POOL_LOCK(l)        pthread_mutex_lock(l)
#define POOL_TRY(l)         (!pthread_mutex_trylock(l))
#define POOL_UNLOCK(l)      pthread_mutex_unlock(l)
#define POOL_WAIT(s, l)     pthread_cond_wait(s, l)
#define POOL_WAKE(s)        pthread_cond_broadcast(s)
#define POOL_ENTRY          static inline void *
#define POOL_EXIT           NULL
#endif

/* Waiting: some turns of a loop first, as the next step of a network follows within microseconds
   and waking a sleeper takes longer, then asleep. */
enum { POOL_TURNS = 6000 };

static inline void pool_pause(void)
{
#if defined(__GNUC__) || defined(__clang__)
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
#endif
}

static inline int pool_get(const int *flag)
{
#if defined(__GNUC__) || defined(__clang__)
    return __atomic_load_n(flag, __ATOMIC_RELAXED);
#else
    return *(const volatile int *)flag;
#endif
}

static inline void pool_set(int *flag, int value)           /* with the lock held */
{
#if defined(__GNUC__) || defined(__clang__)
    __atomic_store_n(flag, value, __ATOMIC_RELAXED);
#else
    *(volatile int *)flag = value;
#endif
}

static inline void pool_watch(const int *flag, int value)   /* returns when *flag is another */
{
    for (int i = 0; i < POOL_TURNS && pool_get(flag) == value; i++) pool_pause();
}

static inline void pool_enter(pool_lock *l)                 /* held for moments only */
{
    for (int i = 0; i < POOL_TURNS; i++) {
        if (POOL_TRY(l)) return;
        pool_pause();
    }
    POOL_LOCK(l);
}

/* A thread's share of a round: tasks next ... end - 1. Neighbouring tasks work on neighbouring
   rows, step after step of a network: a thread finds in its own cache what it wrote before. */
typedef struct pool_member {
    struct pool *pool;
    pool_thread thread;
    int next, end;
} pool_member;

/* Members take task indices under one lock; whoever calls pool_run is the first of them. */
typedef struct pool {
    pool_lock lock;
    pool_signal work, done;
    swin_task task;
    void *arg;
    int quit;
    int rounds;                 /* calls of pool_run so far, modulo 2^30 */
    int busy;                   /* are tasks of this round unfinished? */
    int unfinished;
    int workers;                /* members besides the caller */
    pool_member *members;
} pool;

#ifdef __linux__
/* The number of processors that a control group's quota is worth, rounded up; 0: no limit. v2 says
   "quota period" or "max period" in one file, v1 has a file for each. */
static inline int quota_of(const char *path, const char *period_path)
{
    long long quota = 0, period = 0;
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    int read = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (read == 1 && (f = fopen(period_path, "r")) != NULL) {
        if (fscanf(f, "%lld", &period) != 1) period = 0;
        fclose(f);
    }
    if (read < 1 || quota <= 0 || period <= 0) return 0;
    long long count = quota / period + (quota % period > 0);
    return count < INT_MAX ? (int)count : INT_MAX;
}

/* The least quota of a control group and those above it, 0: none. mount: where the hierarchy lies.
   In a container the group's path may be that of the machine: then only its end is there. */
static inline int group_quota(const char *mount, const char *group)
{
    static const char *const names[][2] = {
        { "cpu.max", "" }, { "cpu.cfs_quota_us", "cpu.cfs_period_us" }
    };
    char path[4096], file[4200], period[4200];
    int least = 0;
    size_t top = strlen(mount);
    if (snprintf(path, sizeof path, "%s%s", mount, group) >= (int)sizeof path) return 0;
    for (char *end = path + strlen(path); end; end = strrchr(path + top, '/')) {
        *end = 0;
        for (int i = 0; i < 2; i++) {
            snprintf(file, sizeof file, "%s/%s", path, names[i][0]);
            snprintf(period, sizeof period, "%s/%s", path, names[i][1]);
            int count = quota_of(file, period);
            if (count && (!least || count < least)) least = count;
        }
    }
    return least;
}

/* The same of the groups that a /proc/self/cgroup lists, in lines "number:controllers:group": v1's
   hierarchies are mounted under their controllers' names, v2's, which has none, at `mounts` itself
   or beside v1's. */
static inline int groups_quota(const char *list, const char *mounts)
{
    char line[4096], mount[8192];
    int least = 0;
    FILE *f = fopen(list, "r");
    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':'), *group = NULL;
        if (controllers) group = strchr(++controllers, ':');
        if (!group) continue;
        *group++ = 0;
        group[strcspn(group, "\n")] = 0;
        for (int i = 0; i < 2; i++) {
            snprintf(mount, sizeof mount, "%s/%s", mounts, i ? "unified" : controllers);
            int count = i && *controllers ? 0 : group_quota(mount, group);
            if (count && (!least || count < least)) least = count;
        }
    }
    if (f) fclose(f);
    return least;
}
#endif

/* The processors that this process is allowed to run on. */
static inline int allowed_processors(void)
{
#ifdef _WIN32
    DWORD_PTR mine, all;
    SYSTEM_INFO info;
    int count = 0;
    GetSystemInfo(&info);
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mine, &all)) mine = 0;
    for (; mine; mine &= mine - 1) count++;
    return count ? count : (int)info.dwNumberOfProcessors;
#else
#ifdef __linux__
    static cpu_set_t sets[16];          /* 16384 processors */
    if (!sched_getaffinity(0, sizeof sets, sets)) return CPU_COUNT_S(sizeof sets, sets);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
#endif
}

enum { THREADS_MAX = 1024 };

/* The threads that are worth starting: processors that this process may use, and no more than the
   quota of a control group (a container's, a service's) is worth. */
static inline int processor_count(void)
{
    int count = allowed_processors(), quota = 0;
#ifdef __linux__
    quota = groups_quota("/proc/self/cgroup", "/sys/fs/cgroup");
#endif
    if (quota && quota < count) count = quota;
    return count < 1 ? 1 : count > THREADS_MAX ? THREADS_MAX : count;
}

/* A task for the member, or -1: the first of its share, then the last of the longest one. */
static inline int pool_next(pool_member *m)                 /* with the lock held */
{
    pool *p = m->pool;
    pool_member *most = m;
    if (m->next < m->end) return m->next++;
    for (int i = 0; i <= p->workers; i++)
        if (p->members[i].end - p->members[i].next > most->end - most->next) most = &p->members[i];
    return most->next < most->end ? --most->end : -1;
}

static inline void pool_take_tasks(pool_member *m)          /* with the lock held */
{
    pool *p = m->pool;
    for (int index; (index = pool_next(m)) >= 0;) {
        POOL_UNLOCK(&p->lock);
        p->task(p->arg, index);
        pool_enter(&p->lock);
        if (!--p->unfinished) {
            pool_set(&p->busy, 0);
            POOL_WAKE(&p->done);
        }
    }
}

POOL_ENTRY pool_worker(void *user)
{
    pool_member *m = (pool_member *)user;
    pool *p = m->pool;
    pool_enter(&p->lock);
    while (!p->quit) {
        pool_take_tasks(m);
        int seen = p->rounds;
        POOL_UNLOCK(&p->lock);
        pool_watch(&p->rounds, seen);
        pool_enter(&p->lock);
        while (!p->quit && p->rounds == seen) POOL_WAIT(&p->work, &p->lock);
    }
    POOL_UNLOCK(&p->lock);
    return POOL_EXIT;
}

static inline void pool_run(void *user, swin_task task, void *arg, int count)
{
    pool *p = (pool *)user;
    int members = p->workers + 1;
    if (members == 1) {
        for (int i = 0; i < count; i++) task(arg, i);
        return;
    }
    pool_enter(&p->lock);
    p->task = task;
    p->arg = arg;
    for (int i = 0; i < members; i++) {
        p->members[i].next = (int)((long long)count * i / members);
        p->members[i].end = (int)((long long)count * (i + 1) / members);
    }
    p->unfinished = count;
    pool_set(&p->busy, count > 0);
    pool_set(&p->rounds, (p->rounds + 1) & 0x3fffffff);
    POOL_WAKE(&p->work);
    pool_take_tasks(&p->members[0]);
    if (p->unfinished) {
        POOL_UNLOCK(&p->lock);
        pool_watch(&p->busy, 1);
        pool_enter(&p->lock);
        while (p->unfinished) POOL_WAIT(&p->done, &p->lock);
    }
    POOL_UNLOCK(&p->lock);
}

/* Starts threads - 1 workers, or as many as can be had: `p->workers + 1` threads will work. */
static inline void pool_start(pool *p, int threads)
{
    memset(p, 0, sizeof *p);
    p->members = (pool_member *)calloc((size_t)threads, sizeof *p->members);
#ifdef _WIN32
    InitializeCriticalSection(&p->lock);
    InitializeConditionVariable(&p->work);
    InitializeConditionVariable(&p->done);
#else
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
#endif
    POOL_LOCK(&p->lock);
    for (int i = 0; p->members && i < threads; i++) {
        pool_member *m = &p->members[i];
        m->pool = p;
        if (i == 0) continue;
#ifdef _WIN32
        if (!(m->thread = CreateThread(NULL, 0, pool_worker, m, 0, NULL))) break;
#else
        if (pthread_create(&m->thread, NULL, pool_worker, m)) break;
#endif
        p->workers++;
    }
    POOL_UNLOCK(&p->lock);
}

static inline void pool_stop(pool *p)
{
    POOL_LOCK(&p->lock);
    p->quit = 1;
    POOL_WAKE(&p->work);
    POOL_UNLOCK(&p->lock);
    for (int i = 1; i <= p->workers; i++) {
#ifdef _WIN32
        WaitForSingleObject(p->members[i].thread, INFINITE);
        CloseHandle(p->members[i].thread);
#else
        pthread_join(p->members[i].thread, NULL);
#endif
    }
    free(p->members);
}

/* Lets contexts made with `d` work on the pool. Cores are not equally fast: with 16 pieces a thread
   none waits long for another at a step's end, and the workspace hardly grows. */
static inline void pool_serve(pool *p, swin_desc *d)
{
    if (!p->workers) return;
    d->tasks = 16 * (p->workers + 1);
    d->parallel_for = pool_run;
    d->user = p;
}

/* -------------------------------------------------------------------------- */
/* memory for a workspace                                                     */

/* `size` bytes to be freed with free, or NULL. Linux is asked for huge pages: a large model's maps
   then touch a few dozen pages where there were thousands. */
static inline void *workspace_new(size_t size)
{
#ifdef MADV_HUGEPAGE
    void *memory;
    if (posix_memalign(&memory, 2u << 20, size)) return NULL;
    madvise(memory, size, MADV_HUGEPAGE);
    return memory;
#else
    return malloc(size);
#endif
}

/* -------------------------------------------------------------------------- */
/* command lines                                                              */

/* Reads `count` whole numbers in [low, high] with `separator` between them; 0 where the text is
   anything else. Digits only: no signs, no spaces. */
static inline int numbers(const char *text, char separator, int count, int low, int high,
                          int *values)
{
    for (int i = 0; i < count; i++) {
        char *end;
        if (*text < '0' || *text > '9') return 0;
        errno = 0;
        long n = strtol(text, &end, 10);
        if (errno || n < low || n > high || *end != (i + 1 < count ? separator : 0)) return 0;
        values[i] = (int)n;
        text = end + 1;
    }
    return 1;
}

/* A whole number in [low, high], or low - 1. */
static inline int number(const char *text, int low, int high)
{
    int n;
    return numbers(text, 0, 1, low, high, &n) ? n : low - 1;
}

/* The two numbers of HxW, each from 1 to SWIN_MAX_SIDE; 0 where it is not that. */
static inline int size_of(const char *text, int *height, int *width)
{
    int sides[2];
    if (!numbers(text, 'x', 2, 1, SWIN_MAX_SIDE, sides)) return 0;
    *height = sides[0];
    *width = sides[1];
    return 1;
}

/* A decimal number in [low, high], such as 0.75 or 5e-1, that ends at *end; 0 where it is not that:
   no sign, no space, not hexadecimal. */
static inline int decimal(const char *text, double low, double high, double *value, char **end)
{
    *value = strtod(text, end);
    if (!*text || !strchr("0123456789.", *text) || text[1] == 'x' || text[1] == 'X') return 0;
    return *end != text && *value >= low && *value <= high;
}

/* A decimal number in [low, high] and nothing else. */
static inline int decimal_of(const char *text, double low, double high, double *value)
{
    char *end;
    return decimal(text, low, high, value, &end) && !*end;
}

/* Asks Linux to let this process use the registers of AMX, 8 KiB a thread, as SWIN_CPU_AVX512_AMX
   needs: once, before swin_init, and before threads are started. Returns 1 if it may use them now,
   0 where machine or system have none. */
static inline int allow_amx(void)
{
#if defined(__linux__) && defined(__x86_64__)
    const long request = 0x1023, tiles = 18;        /* ARCH_REQ_XCOMP_PERM, their data */
    return syscall(SYS_arch_prctl, request, tiles) == 0;
#else
    return 0;
#endif
}

/* The swin_cpu of a name, or -1 with a sentence in `why`. Asks for the registers of AMX where that
   is named. */
static inline int cpu_of_name(const char *name, char why[256])
{
    int length = snprintf(why, 256, "no instruction set '%.99s':", name);
    for (int i = 0; i < SWIN_CPU_COUNT; i++) {
        const char *known = swin_cpu_name((swin_cpu)i);
        length += snprintf(why + length, 256 - (size_t)length, " %s", known);
        if (strcmp(name, known)) continue;
        if (i == SWIN_CPU_AVX512_AMX) allow_amx();
        if (swin_cpu_available((swin_cpu)i)) return i;
        snprintf(why, 256, "this machine or build has no %s", name);
        return -1;
    }
    return -1;
}

/* What several programs' options take; NULL, or a sentence where the value is not good. */

static inline const char *take_fraction(const char *text, double *value)
{
    return decimal_of(text, 0, 1, value) ? NULL : "expected a number from 0 to 1";
}

static inline const char *take_longest_side(const char *text, int *pixels)
{
    *pixels = number(text, 1, SWIN_MAX_SIDE);
    return *pixels ? NULL : "expected a number of pixels from 1 to 16384";
}

static inline const char *take_threads(const char *text, int *threads)
{
    *threads = number(text, 1, THREADS_MAX);
    return *threads ? NULL : "expected a number from 1 to 1024";
}

static inline const char *take_cpu(const char *text, swin_cpu *cpu)
{
    static char why[256];
    int found = cpu_of_name(text, why);
    if (found < 0) return why;
    *cpu = (swin_cpu)found;
    return NULL;
}

/* -------------------------------------------------------------------------- */
/* JSON                                                                       */

/* Length of the UTF-8 sequence at s, 0 where there is none: neither longer than it must be, nor a
   surrogate, nor beyond U+10FFFF. */
static inline int utf8_length(const unsigned char *s)
{
    int n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 :
            s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)) return 0;
    return (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90) ? 0 : n;
}

/* Writes a string of JSON; what is no UTF-8 becomes U+FFFD. */
static inline void json_text(FILE *f, const char *text)
{
    fputc('"', f);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        int n = utf8_length(s);
        if (!n) fputs("\\ufffd", f);
        else if (*s < ' ') fprintf(f, "\\u%04x", *s);
        else if (*s == '"' || *s == '\\') fprintf(f, "\\%c", *s);
        else fwrite(s, 1, (size_t)n, f);
        s += n ? n : 1;
    }
    fputc('"', f);
}

/* -------------------------------------------------------------------------- */
/* the library's models, class maps and tensors                               */

/* Does the model tell a class for each pixel? */
static inline int gives_class_map(const swin_model *m)
{
    return m->config.classes && m->config.head.kind != SWIN_HEAD_CLASSIFIER;
}

static inline unsigned class_at(swin_map m, size_t pixel)
{
    return m.bytes == 1 ? ((const uint8_t *)m.data)[pixel] : ((const uint16_t *)m.data)[pixel];
}

static inline size_t tensor_size(swin_tensor t)
{
    return (size_t)t.channels * (size_t)t.height * (size_t)t.width;
}

/* Gathers a tensor into plain [channels][height][width]. */
static inline void tensor_copy(float *out, swin_tensor t)
{
    for (size_t c = 0; c < (size_t)t.channels; c++)
        for (size_t y = 0; y < (size_t)t.height; y++)
            for (size_t x = 0; x < (size_t)t.width; x++)
                *out++ = t.data[c * t.channel + y * t.row + x * t.pixel];
}

/* -------------------------------------------------------------------------- */
/* .npy, NumPy's file of one array, on little-endian machines                 */

typedef struct npy {
    float *data;                /* rows of the last dimension follow each other; free() it */
    size_t shape[3];
} npy;

/* The text of a header after `key`, e.g. "(3, 64, 64), }" for 'shape'; NULL where there is none. */
static inline const char *npy_field(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (!at) return NULL;
    at += strlen(key);
    at += strspn(at, "'\" ");
    return *at == ':' ? at + 1 + strspn(at + 1, " ") : NULL;
}

/* Reads "(a, b, c)" and gives the number of elements, 0 for any other shape. */
static inline size_t npy_shape(const char *text, size_t shape[3])
{
    size_t elements = 1;
    for (int i = 0; i < 3; i++) {
        if (*text++ != (i ? ',' : '(')) return 0;
        text += strspn(text, " ");
        if (*text < '0' || *text > '9') return 0;
        char *end;
        unsigned long long n = strtoull(text, &end, 10);
        if (!n || n > INT_MAX || elements > SIZE_MAX / sizeof(float) / n) return 0;
        shape[i] = (size_t)n;
        elements *= shape[i];
        text = end + strspn(end, " ");
    }
    if (*text == ',') text++;
    return text[strspn(text, " ")] == ')' ? elements : 0;
}

/* Takes a float32 array [a,b,c] out of a file's bytes; 0 with a sentence in `why` otherwise. */
static inline int npy_parse(npy *a, const file_bytes *b, char why[256])
{
    const unsigned char *d = b->data;
    if (b->size < 12 || memcmp(d, "\x93NUMPY", 6) || d[6] < 1 || d[6] > 3)
        return snprintf(why, 256, "not a .npy file of version 1, 2 or 3"), 0;
    size_t start = d[6] == 1 ? 10 : 12, length = d[8] | (size_t)d[9] << 8;
    if (d[6] > 1) length |= (size_t)d[10] << 16 | (size_t)d[11] << 24;
    char header[1024];
    if (length > b->size - start || length >= sizeof header)
        return snprintf(why, 256, "its header of %zu bytes does not fit", length), 0;
    memcpy(header, d + start, length);
    header[length] = 0;

    const char *descr = npy_field(header, "'descr'"), *shape = npy_field(header, "'shape'");
    const char *order = npy_field(header, "'fortran_order'");
    if (!descr || !shape || !order)
        return snprintf(why, 256, "its header lacks descr, fortran_order or shape"), 0;
    if (strncmp(descr, "'<f4'", 5))
        return snprintf(why, 256, "its numbers are %.20s... instead of '<f4' (float32)", descr), 0;
    if (strncmp(order, "False", 5))
        return snprintf(why, 256, "it is in Fortran order: save np.ascontiguousarray of it"), 0;
    size_t elements = npy_shape(shape, a->shape);
    if (!elements)
        return snprintf(why, 256, "its shape %.60s is not that of an array [3,H,W]", shape), 0;
    if ((b->size - start - length) / sizeof(float) < elements)
        return snprintf(why, 256, "it ends before its %zu numbers do", elements), 0;
    a->data = (float *)malloc(elements * sizeof(float));
    if (!a->data)
        return snprintf(why, 256, "no memory for %zu numbers", elements), 0;
    memcpy(a->data, d + start + length, elements * sizeof(float));
    return 1;
}

static inline int npy_read(npy *a, const char *path, char why[256])
{
    file_bytes b;
    int error = file_load(path, &b);
    if (error) return snprintf(why, 256, "%s", load_error(error)), 0;
    int ok = npy_parse(a, &b, why);
    file_free(&b);
    return ok;
}

/* The file of an array of `elements` things of `bytes` bytes, which go to the block + *start.
   free() the block; NULL: no memory. */
static inline unsigned char *npy_header(const char *descr, size_t bytes, const char *shape,
                                        size_t elements, size_t *start)
{
    char header[192];
    int n = snprintf(header, sizeof header,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    *start = ((size_t)n + 10 + 1 + 63) / 64 * 64;
    unsigned char *file = (unsigned char *)malloc(*start + elements * bytes);
    if (!file) return NULL;
    memset(file, ' ', *start);
    memcpy(file, "\x93NUMPY\x01\x00", 8);
    file[8] = (unsigned char)((*start - 10) & 255);
    file[9] = (unsigned char)((*start - 10) >> 8);
    memcpy(file + 10, header, (size_t)n);
    file[*start - 1] = '\n';
    return file;
}

/* -------------------------------------------------------------------------- */
/* pictures, and letters to draw on them                                      */

#ifdef COMMON_PICTURES
#include "picture.h"
#include <stb/stb_easy_font.h>
#endif

#endif /* COMMON_H */
