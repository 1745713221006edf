#include "world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coroutine.h"

typedef struct {
    uint64_t at;
    uint32_t order; /* random: who is first in one moment */
    owner_t owner;
    void (*run)(void *context, uint64_t number);
    void *context;
    uint64_t number;
} event_t;

#define COROUTINES_MAX 512
/* In one history; most have a thousand. */
#define EVENTS_MAX 300000

typedef struct {
    coroutine_t *stack;
    owner_t owner;
    uint32_t ticket; /* of the wait that is under way: older wakes are void */
    bool waiting, woken, alive;
    void (*run)(void *context);
    void *context;
} task_t;

static struct {
    uint64_t random;
    uint64_t now;
    event_t *heap;
    size_t count, capacity;
    uint64_t events;
    owner_t owner;
    uint16_t lives[WORLD_OWNERS_MAX];
    bool dead[WORLD_OWNERS_MAX];
    uint64_t frozen_until[WORLD_OWNERS_MAX];
    task_t tasks[COROUTINES_MAX];
    unsigned tasks_count;
    int running; /* task, or -1: the scheduler */
    char failure[512];
    bool failed;
} world = {.running = -1};

bool world_tracing;

/* --- chance: SplitMix64 --- */

uint64_t chance_u64(void)
{
    uint64_t z = world.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

unsigned chance_below(unsigned n)
{
    return (unsigned)(((chance_u64() >> 32) * n) >> 32);
}

unsigned chance_between(unsigned low, unsigned high)
{
    return low + chance_below(high - low + 1);
}

bool chance(unsigned one_in)
{
    return one_in != 0 && chance_below(one_in) == 0;
}

uint64_t chance_time_us(uint64_t low, uint64_t high)
{
    uint64_t span = high - low + 1;
    unsigned bits = 64 - (unsigned)__builtin_clzll(span | 1);
    uint64_t mask = (UINT64_C(1) << chance_between(1, bits)) - 1;
    return low + (chance_u64() & mask) % span;
}

/* --- events: a binary heap --- */

static bool before(const event_t *a, const event_t *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void push(const event_t *event)
{
    if (world.count == world.capacity) {
        world.capacity = world.capacity == 0 ? 1024 : world.capacity * 2;
        world.heap = realloc(world.heap, world.capacity * sizeof(*world.heap));
        if (world.heap == NULL)
            abort();
    }
    size_t i = world.count++;
    for (; i != 0 && before(event, &world.heap[(i - 1) / 2]); i = (i - 1) / 2)
        world.heap[i] = world.heap[(i - 1) / 2];
    world.heap[i] = *event;
}

static event_t pop(void)
{
    event_t first = world.heap[0], last = world.heap[--world.count];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < world.count; i = child) {
        if (child + 1 < world.count && before(&world.heap[child + 1], &world.heap[child]))
            ++child;
        if (!before(&world.heap[child], &last))
            break;
        world.heap[i] = world.heap[child];
    }
    world.heap[i] = last;
    return first;
}

void world_after(uint64_t delay_us, owner_t owner, void (*run)(void *, uint64_t), void *context,
                 uint64_t number)
{
    event_t event = {world.now + delay_us, (uint32_t)chance_u64(), owner, run, context, number};
    push(&event);
}

uint64_t world_now_us(void)
{
    return world.now;
}

uint64_t world_events(void)
{
    return world.events;
}

/* --- owners --- */

owner_t world_owner(void)
{
    return world.owner;
}

void world_set_owner(owner_t owner)
{
    world.owner = owner;
}

bool world_owner_lives(owner_t owner)
{
    return !world.dead[owner.node] && world.lives[owner.node] == owner.life;
}

owner_t world_begin_life(unsigned node)
{
    world.dead[node] = false;
    return (owner_t){(uint16_t)node, ++world.lives[node]};
}

void world_freeze(unsigned node, uint64_t us)
{
    TRACE("node %u is stopped for %llu us", node, (unsigned long long)us);
    world.frozen_until[node] = world.now + us;
}

bool world_is_frozen(unsigned node)
{
    return world.frozen_until[node] > world.now;
}

/* --- coroutines --- */

static void task_main(void *context)
{
    task_t *task = context;
    task->run(task->context);
    task->alive = false;
}

static void resume(unsigned number)
{
    task_t *task = &world.tasks[number];
    owner_t owner = world.owner;
    world.owner = task->owner;
    world.running = (int)number;
    coroutine_enter(task->stack);
    world.running = -1;
    world.owner = owner;
    if (!task->alive) {
        coroutine_free(task->stack);
        task->stack = NULL;
    }
}

static void on_start(void *context, uint64_t number)
{
    (void)context;
    resume((unsigned)number);
}

void world_spawn(owner_t owner, void (*run)(void *), void *context)
{
    unsigned i = 0;
    while (i < world.tasks_count && world.tasks[i].stack != NULL)
        ++i;
    if (i == COROUTINES_MAX)
        world_unknown("too many coroutines", "", 0);
    if (i == world.tasks_count)
        ++world.tasks_count;
    task_t *task = &world.tasks[i];
    uint32_t ticket = task->ticket + 1;
    *task = (task_t){.owner = owner, .ticket = ticket, .alive = true, .run = run};
    task->context = context;
    task->stack = coroutine_new(task_main, task);
    world_after(chance_below(100), owner, on_start, NULL, i);
}

bool world_in_coroutine(void)
{
    return world.running >= 0;
}

unsigned world_coroutine(void)
{
    return (unsigned)world.running;
}

static void on_wake(void *context, uint64_t number)
{
    task_t *task = &world.tasks[number & 0xffffffff];
    (void)context;
    if (task->stack == NULL || !task->waiting || task->ticket != (uint32_t)(number >> 32))
        return;
    resume((unsigned)(number & 0xffffffff));
}

static void wake_at(unsigned coroutine, uint64_t delay_us)
{
    task_t *task = &world.tasks[coroutine];
    world_after(delay_us, task->owner, on_wake, NULL, (uint64_t)task->ticket << 32 | coroutine);
}

bool world_wait(uint64_t limit_us)
{
    unsigned number = (unsigned)world.running;
    task_t *task = &world.tasks[number];
    ++task->ticket;
    task->waiting = true;
    task->woken = false;
    if (limit_us != UINT64_MAX)
        wake_at(number, limit_us);
    coroutine_leave(task->stack);
    task->waiting = false;
    ++task->ticket;
    return task->woken;
}

void world_sleep_us(uint64_t delay_us)
{
    world_wait(delay_us);
}

void world_wake(unsigned coroutine, uint64_t delay_us)
{
    task_t *task = &world.tasks[coroutine];
    if (!task->waiting || task->woken)
        return;
    task->woken = true;
    wake_at(coroutine, delay_us);
}

static void forget(task_t *task)
{
    if (task->stack != NULL)
        coroutine_free(task->stack);
    task->stack = NULL;
    task->waiting = false;
    ++task->ticket;
}

void world_kill(owner_t owner)
{
    world.dead[owner.node] = true;
    for (unsigned i = 0; i < world.tasks_count; ++i)
        if (world.tasks[i].stack != NULL && world.tasks[i].owner.node == owner.node)
            forget(&world.tasks[i]);
}

/* --- a history --- */

void world_begin(uint64_t seed)
{
    world.random = seed * UINT64_C(0xd1342543de82ef95) + 1;
    world.now = 0;
    world.events = 0;
    world.owner = (owner_t){0, 0};
    memset(world.lives, 0, sizeof(world.lives));
    memset(world.dead, 0, sizeof(world.dead));
    memset(world.frozen_until, 0, sizeof(world.frozen_until));
    for (unsigned i = 0; i < world.tasks_count; ++i)
        world.tasks[i].ticket = 0;
    world.failed = false;
}

void world_run(uint64_t until_us)
{
    while (world.count != 0 && !world.failed && world.heap[0].at <= until_us) {
        event_t event = pop();
        world.now = event.at;
        if (!world_owner_lives(event.owner))
            continue;
        if (world.frozen_until[event.owner.node] > world.now) {
            event.at = world.frozen_until[event.owner.node];
            push(&event);
            continue;
        }
        if (++world.events > EVENTS_MAX)
            world_fail("no end of events: something is tried again and again");
        world.owner = event.owner;
        event.run(event.context, event.number);
        world.owner = (owner_t){0, 0};
    }
    if (!world.failed && world.now < until_us)
        world.now = until_us;
}

void world_end(void)
{
    world.count = 0;
    for (unsigned i = 0; i < world.tasks_count; ++i)
        forget(&world.tasks[i]);
    world.tasks_count = 0;
}

/* --- words --- */

void world_trace(const char *format, ...)
{
    va_list args;
    char who[24] = "world";
    if (world.owner.node != 0)
        snprintf(who, sizeof(who), "node %u.%u", world.owner.node, world.owner.life);
    printf("%12.3f ms  %-9s ", (double)world.now / 1000, who);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

void world_fail(const char *format, ...)
{
    va_list args;
    if (world.failed)
        return;
    va_start(args, format);
    vsnprintf(world.failure, sizeof(world.failure), format, args);
    va_end(args);
    world.failed = true;
    TRACE("FAILED: %s", world.failure);
}

const char *world_failure(void)
{
    return world.failed ? world.failure : NULL;
}

void world_unknown(const char *what, const char *text, size_t n)
{
    printf("the simulation does not know this %s: %.*s\n", what, (int)n, text);
    fflush(stdout);
    abort();
}
