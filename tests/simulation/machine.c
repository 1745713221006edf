#include "machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/random.h"

/* No header of the service's sees these: they stand behind macros. */
#include "seams.h"
#undef malloc
#undef calloc
#undef realloc
#undef free

unsigned machine_findings;
char machine_wrong[24];
bool machine_redis_failed;

/* --- memory --- */

#if defined(__SANITIZE_ADDRESS__)

/* Each piece is the system's, so that the sanitizer sees a use after free; a list of all. */
typedef struct piece {
    struct piece *next, *previous;
    size_t size;
    size_t pad;
} piece_t;
static piece_t pieces = {&pieces, &pieces, 0, 0};

void *sim_malloc(size_t size)
{
    piece_t *piece = malloc(sizeof(*piece) + size);
    if (piece == NULL)
        abort();
    *piece = (piece_t){pieces.next, &pieces, size, 0};
    piece->next->previous = pieces.next = piece;
    return piece + 1;
}

static size_t size_of(void *memory)
{
    return ((piece_t *)memory - 1)->size;
}

void sim_free(void *memory)
{
    if (memory == NULL)
        return;
    piece_t *piece = (piece_t *)memory - 1;
    piece->previous->next = piece->next;
    piece->next->previous = piece->previous;
    free(piece);
}

static void forget_pieces(void)
{
    while (pieces.next != &pieces)
        sim_free(pieces.next + 1);
}

#else

/* Powers of two out of large blocks, which are kept; the history's end sets them back. */
#define BLOCK_BYTES (8u << 20)
#define CLASSES 32
typedef union piece {
    union piece *next;
    struct {
        uint32_t class;
        uint32_t pad;
        uint64_t size;
    } head;
} piece_t;
typedef struct block {
    struct block *next;
    uint64_t pad;
    char bytes[];
} block_t;
static block_t *blocks, *block;
static size_t used = BLOCK_BYTES;
static piece_t *free_pieces[CLASSES];

static void next_block(void)
{
    block_t *next = block == NULL ? blocks : block->next;
    if (next == NULL) {
        if ((next = malloc(sizeof(*next) + BLOCK_BYTES)) == NULL)
            abort();
        next->next = NULL;
        if (block == NULL)
            blocks = next;
        else
            block->next = next;
    }
    block = next;
    used = 0;
}

void *sim_malloc(size_t size)
{
    unsigned class = size <= 16 ? 4 : 64 - (unsigned)__builtin_clzll(size - 1);
    size_t bytes = ((size_t)1 << class) + sizeof(piece_t);
    if (bytes > BLOCK_BYTES)
        abort();
    piece_t *piece = free_pieces[class];
    if (piece != NULL) {
        free_pieces[class] = *(piece_t **)(piece + 1);
    } else {
        if (used + bytes > BLOCK_BYTES)
            next_block();
        piece = (piece_t *)(block->bytes + used);
        used += bytes;
    }
    piece->head.class = class;
    piece->head.size = size;
    return piece + 1;
}

static size_t size_of(void *memory)
{
    return ((piece_t *)memory - 1)->head.size;
}

void sim_free(void *memory)
{
    if (memory == NULL)
        return;
    piece_t *piece = (piece_t *)memory - 1;
    *(piece_t **)memory = free_pieces[piece->head.class];
    free_pieces[piece->head.class] = piece;
}

static void forget_pieces(void)
{
    memset(free_pieces, 0, sizeof(free_pieces));
    block = NULL;
    used = BLOCK_BYTES;
}

#endif

void *sim_calloc(size_t count, size_t size)
{
    void *memory = sim_malloc(count * size);
    memset(memory, 0, count * size);
    return memory;
}

void *sim_realloc(void *memory, size_t size)
{
    void *other = sim_malloc(size);
    if (memory != NULL) {
        size_t old = size_of(memory);
        memcpy(other, memory, old < size ? old : size);
        sim_free(memory);
    }
    return other;
}

char *sim_strdup(const char *text)
{
    return world_copy(text, strlen(text));
}

void *world_alloc(size_t size)
{
    return sim_malloc(size);
}

void *world_alloc_zero(size_t size)
{
    return sim_calloc(1, size);
}

void *world_copy(const void *bytes, size_t n)
{
    void *copy = sim_malloc(n + 1);
    if (n != 0)
        memcpy(copy, bytes, n);
    ((char *)copy)[n] = '\0';
    return copy;
}

/* --- clocks --- */

static int64_t skew_ms[WORLD_OWNERS_MAX];

void machine_set_skew(unsigned node, int64_t ms)
{
    skew_ms[node] = ms;
}

#undef clock_gettime
int sim_clock_gettime(clockid_t id, struct timespec *out)
{
    uint64_t us = world_now_us() + UINT64_C(1000000000); /* the machines have been up for a while */
    if (id == CLOCK_REALTIME)
        us = world_now_us() + (WORLD_EPOCH_MS + (uint64_t)skew_ms[world_owner().node]) * 1000;
    out->tv_sec = (time_t)(us / 1000000);
    out->tv_nsec = (long)(us % 1000000) * 1000;
    return 0;
}

/* --- threads --- */

int sim_usleep(unsigned micros)
{
    /* A machine may be slow to wake up. */
    world_sleep_us(micros + chance_time_us(1, 200));
    return 0;
}

/* Who waits for which condition. Nodes are killed whole, with all that wait for theirs. */
#define WAITERS_MAX 512
static struct {
    void *cond;
    uint16_t node, life;
} waiters[WAITERS_MAX];

void machine_forget(void)
{
    forget_pieces();
    memset(waiters, 0, sizeof(waiters));
    memset(skew_ms, 0, sizeof(skew_ms));
}

static bool wait_for(void *cond, uint64_t limit_us)
{
    unsigned self = world_coroutine();
    owner_t owner = world_owner();
    waiters[self].cond = cond;
    waiters[self].node = owner.node;
    waiters[self].life = owner.life;
    bool woken = world_wait(limit_us);
    waiters[self].cond = NULL;
    return woken;
}

int sim_cond_wait(void *cond)
{
    wait_for(cond, UINT64_MAX);
    return 0;
}

int sim_cond_timedwait(void *cond, const struct timespec *until)
{
    struct timespec now;
    sim_clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t us =
        (until->tv_sec - now.tv_sec) * INT64_C(1000000) + (until->tv_nsec - now.tv_nsec) / 1000;
    return wait_for(cond, us < 1 ? 1 : (uint64_t)us) ? 0 : ETIMEDOUT;
}

int sim_cond_signal(void *cond)
{
    owner_t owner = world_owner();
    for (unsigned i = 0; i < WAITERS_MAX; ++i)
        if (waiters[i].cond == cond && waiters[i].node == owner.node &&
            waiters[i].life == owner.life) {
            waiters[i].cond = NULL;
            world_wake(i, chance_time_us(1, 200));
            break;
        }
    return 0;
}

typedef struct {
    void *(*run)(void *);
    void *arg;
} thread_t;

static void thread_main(void *context)
{
    thread_t *thread = context;
    thread->run(thread->arg);
}

void h2o_multithread_create_thread(pthread_t *id, const pthread_attr_t *attributes,
                                   void *(*run)(void *), void *arg)
{
    thread_t *thread = world_alloc(sizeof(*thread));
    (void)attributes;
    memset(id, 0, sizeof(*id));
    *thread = (thread_t){run, arg};
    world_spawn(world_owner(), thread_main, thread);
}

/* --- base/random.h --- */

void random_bytes(void *out, size_t n)
{
    for (unsigned char *to = out; n != 0; --n)
        *to++ = (unsigned char)chance_u64();
}

uint64_t random_u64(void)
{
    return chance_u64();
}

uint32_t random_backoff(uint32_t base, uint32_t cap, unsigned attempt)
{
    uint64_t ceiling = attempt < 32 ? (uint64_t)base << attempt : UINT64_MAX;
    return 1 + chance_below(ceiling < cap ? (uint32_t)ceiling : cap);
}

/* --- base/log.h: lines become part of the trace --- */

void log_set_level(log_level_t level)
{
    (void)level;
}

bool log_enabled(log_level_t level)
{
    return world_tracing || level >= LOG_LEVEL_WARN;
}

/* Calls that are late, lost or not made leave a gate behind its row, never wrong in itself. */
static void note_finding(str_t found)
{
    if (str_eq(found, STR("not_built")))
        return;
    ++machine_findings;
    if (machine_wrong[0] == '\0' && !str_eq(found, STR("leaked")) &&
        !str_eq(found, STR("gate_back")))
        snprintf(machine_wrong, sizeof(machine_wrong), "%.*s", STR_ARG(found));
}

static void trace_line(const char *msg, va_list args)
{
    char text[512];
    size_t n = (size_t)snprintf(text, sizeof(text), "%s", msg);
    bool disagreed = strcmp(msg, "gate and MySQL disagreed") == 0;
    machine_redis_failed = machine_redis_failed || strstr(msg, "Redis") != NULL;
    for (log_field_t f; (f = va_arg(args, log_field_t)).kind != LOG_FIELD_END;) {
        if (disagreed && strcmp(f.name, "found") == 0)
            note_finding(f.str);
        if (n < sizeof(text) && f.kind == LOG_FIELD_INT)
            n += (size_t)snprintf(text + n, sizeof(text) - n, " %s=%lld", f.name, f.number);
        else if (n < sizeof(text))
            n += (size_t)snprintf(text + n, sizeof(text) - n, " %s=%.*s", f.name, STR_ARG(f.str));
    }
    TRACE("log: %s", text);
}

void log_write(log_level_t level, const char *file, int line, const char *msg, ...)
{
    va_list args;
    (void)level, (void)file, (void)line;
    va_start(args, msg);
    trace_line(msg, args);
    va_end(args);
}

/* Every line is shown: a history has few. */
void log_write_limited(log_site_t *site, log_level_t level, const char *msg, ...)
{
    va_list args;
    (void)site, (void)level;
    va_start(args, msg);
    trace_line(msg, args);
    va_end(args);
}

void log_flush(void)
{
}

uint64_t log_lines_held_back(void)
{
    return 0;
}

uint64_t log_lines_dropped(void)
{
    return 0;
}
