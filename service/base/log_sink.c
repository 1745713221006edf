#include "base/log_sink.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

static struct {
    pthread_mutex_t mutex;
    const sink_calls_t *calls;
    bool started, ending, woken;
    bool writing;          /* lines were taken out of the ring and are not yet written */
    pthread_cond_t filled; /* wakes the thread */
    pthread_cond_t empty;  /* wakes sink_flush() */
    pthread_t thread;
    /* A ring: `n` bytes from `first` on, whole lines. */
    size_t first, n;
    uint64_t dropped; /* dropped, and not yet reported */
    char bytes[SINK_BYTES];
} sink = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static _Atomic uint64_t dropped_total;

/* May block until the reader reads. */
static void write_all(const char *bytes, size_t n)
{
    for (size_t sent = 0; sent < n;) {
        ssize_t now = write(STDERR_FILENO, bytes + sent, n - sent);
        if (now < 0 && errno == EINTR)
            continue;
        if (now <= 0)
            return; /* there is no place to report that the log is gone */
        sent += (size_t)now;
    }
}

/* --- the ring; under the mutex --- */

static void ring_add(const char *bytes, size_t n)
{
    size_t at = (sink.first + sink.n) % SINK_BYTES;
    size_t part = n < SINK_BYTES - at ? n : SINK_BYTES - at;
    memcpy(sink.bytes + at, bytes, part);
    memcpy(sink.bytes, bytes + part, n - part);
    sink.n += n;
}

/* Takes as many whole lines as `out` has room for. */
static size_t ring_take(char out[SINK_LINE_BYTES_MAX])
{
    size_t n = 0, most = sink.n < SINK_LINE_BYTES_MAX ? sink.n : SINK_LINE_BYTES_MAX;
    size_t part = most < SINK_BYTES - sink.first ? most : SINK_BYTES - sink.first;
    memcpy(out, sink.bytes + sink.first, part);
    memcpy(out + part, sink.bytes, most - part);
    for (n = most; n != 0 && out[n - 1] != '\n';)
        --n;
    assert(most == 0 || n != 0); /* no line is longer than `out` */
    sink.first = (sink.first + n) % SINK_BYTES;
    sink.n -= n;
    return n;
}

/* Reports the dropped lines at their place: before all later lines. */
static void report_dropped(void)
{
    char line[SINK_LINE_BYTES_MAX];
    if (sink.dropped == 0 || sink.n > SINK_BYTES - sizeof(line))
        return;
    ring_add(line, sink.calls->report_dropped(line, sink.dropped));
    sink.dropped = 0;
}

/* --- the thread --- */

static void wait_for_lines(bool call_again)
{
    struct timespec until = clock_mono_in(SINK_SLEEP_MS);
    while (sink.n == 0 && !sink.ending && !sink.woken) {
        if (!call_again)
            pthread_cond_wait(&sink.filled, &sink.mutex);
        else if (pthread_cond_timedwait(&sink.filled, &sink.mutex, &until) == ETIMEDOUT)
            break;
    }
    sink.woken = false;
}

static void write_lines(void)
{
    char chunk[SINK_LINE_BYTES_MAX];
    while (report_dropped(), sink.n != 0) {
        size_t n = ring_take(chunk);
        sink.writing = true;
        pthread_mutex_unlock(&sink.mutex);
        write_all(chunk, n);
        pthread_mutex_lock(&sink.mutex);
        sink.writing = false;
    }
    pthread_cond_broadcast(&sink.empty);
}

static void *sink_thread(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&sink.mutex);
    while (write_lines(), !sink.ending) {
        pthread_mutex_unlock(&sink.mutex);
        bool call_again = sink.calls->before_sleep();
        pthread_mutex_lock(&sink.mutex);
        wait_for_lines(call_again);
    }
    pthread_mutex_unlock(&sink.mutex);
    return NULL;
}

void sink_start(const sink_calls_t *calls)
{
    pthread_mutex_lock(&sink.mutex);
    assert(!sink.started);
    sink.calls = calls;
    sink.ending = false;
    clock_cond_init(&sink.filled);
    clock_cond_init(&sink.empty);
    sink.started = pthread_create(&sink.thread, NULL, sink_thread, NULL) == 0;
    pthread_mutex_unlock(&sink.mutex);
}

void sink_put(const char *bytes, size_t n)
{
    assert(n <= SINK_LINE_BYTES_MAX && n != 0 && bytes[n - 1] == '\n');
    pthread_mutex_lock(&sink.mutex);
    bool started = sink.started;
    if (started && sink.dropped == 0 && n <= SINK_BYTES - sink.n) {
        ring_add(bytes, n);
        pthread_cond_signal(&sink.filled);
    } else if (started) {
        ++sink.dropped; /* no line may come before the report of the dropped ones */
        atomic_fetch_add_explicit(&dropped_total, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&sink.mutex);
    if (!started)
        write_all(bytes, n);
}

void sink_wake(void)
{
    pthread_mutex_lock(&sink.mutex);
    if (sink.started) {
        sink.woken = true;
        pthread_cond_signal(&sink.filled);
    }
    pthread_mutex_unlock(&sink.mutex);
}

/* Under the mutex. */
static bool await_empty(uint32_t ms)
{
    struct timespec until = clock_mono_in(ms);
    while (sink.started && (sink.n != 0 || sink.writing || sink.dropped != 0))
        if (pthread_cond_timedwait(&sink.empty, &sink.mutex, &until) == ETIMEDOUT)
            return false;
    return true;
}

bool sink_flush(uint32_t ms)
{
    pthread_mutex_lock(&sink.mutex);
    bool written = await_empty(ms);
    pthread_mutex_unlock(&sink.mutex);
    return written;
}

void sink_stop(uint32_t ms)
{
    pthread_mutex_lock(&sink.mutex);
    bool started = sink.started, written = await_empty(ms);
    sink.ending = true;
    if (started)
        pthread_cond_signal(&sink.filled);
    if (written)
        sink.started = false;
    pthread_mutex_unlock(&sink.mutex);
    if (!started)
        return;
    if (written)
        pthread_join(sink.thread, NULL);
    else
        pthread_detach(sink.thread); /* the thread is blocked by the reader */
}

int sink_open_file(const char *path)
{
    struct stat about;
    int error = 0;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
    if (fd < 0)
        return errno == ENXIO ? EINVAL : errno; /* ENXIO: a pipe without a reader */
    if (fstat(fd, &about) != 0)
        error = errno;
    else if (!S_ISREG(about.st_mode))
        error = EINVAL;
    else if (dup2(fd, STDERR_FILENO) < 0) /* dup2() is atomic: no line is torn, and none is lost */
        error = errno;
    close(fd);
    return error;
}

uint64_t sink_dropped(void)
{
    return atomic_load_explicit(&dropped_total, memory_order_relaxed);
}
