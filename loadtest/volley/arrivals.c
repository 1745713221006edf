#include "arrivals.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double random_next(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0; /* 2^53 */
}

bool arrivals_read(arrivals_t *arrivals, FILE *in, uint64_t seed)
{
    char line[128], rest;
    *arrivals = (arrivals_t){.random = seed};
    while (fgets(line, sizeof(line), in) != NULL) {
        segment_t segment;
        if (arrivals->count == SEGMENTS_MAX ||
            sscanf(line, "%lf %lf %lf %c", &segment.seconds, &segment.rate_begin, &segment.rate_end,
                   &rest) != 3 ||
            !(segment.seconds > 0 && segment.rate_begin >= 0 && segment.rate_end >= 0))
            return false;
        arrivals->segments[arrivals->count++] = segment;
    }
    return arrivals->count > 0;
}

/* How long after `into_s` of the segment its rate has brought `arrivals`; past its end if never. */
static double seconds_to(const segment_t *segment, double into_s, double arrivals)
{
    double slope = (segment->rate_end - segment->rate_begin) / segment->seconds;
    double rate = segment->rate_begin + slope * into_s;
    double root = rate * rate + 2 * slope * arrivals;
    if (root < 0)
        return INFINITY;
    double sum = rate + sqrt(root);
    return sum > 0 ? 2 * arrivals / sum
                   : INFINITY; /* the quadratic, in the form that never cancels */
}

uint64_t arrivals_next(arrivals_t *arrivals)
{
    double wanted = -log(1 - random_next(&arrivals->random));
    while (arrivals->at < arrivals->count) {
        const segment_t *segment = &arrivals->segments[arrivals->at];
        double left_s = segment->seconds - arrivals->into_s;
        double step_s = seconds_to(segment, arrivals->into_s, wanted);
        if (step_s < left_s) {
            arrivals->into_s += step_s;
            return (uint64_t)((arrivals->began_s + arrivals->into_s) * 1e6);
        }
        double slope = (segment->rate_end - segment->rate_begin) / segment->seconds;
        double rate = segment->rate_begin + slope * arrivals->into_s;
        wanted = fmax(0, wanted - (rate + segment->rate_end) / 2 * left_s);
        arrivals->began_s += segment->seconds;
        arrivals->into_s = 0;
        ++arrivals->at;
    }
    return NEVER;
}

static void *grown(void *items, unsigned room, size_t size)
{
    void *more = realloc(items, room * size);
    assert(more != NULL);
    return more;
}

static void swap(attempt_t *a, attempt_t *b)
{
    attempt_t kept = *a;
    *a = *b;
    *b = kept;
}

void heap_push(heap_t *heap, attempt_t attempt)
{
    if (heap->count == heap->room) {
        heap->room = heap->room == 0 ? 1024 : 2 * heap->room;
        heap->items = grown(heap->items, heap->room, sizeof(attempt));
    }
    unsigned i = heap->count++;
    heap->items[i] = attempt;
    for (; i > 0 && heap->items[i].due_us < heap->items[(i - 1) / 2].due_us; i = (i - 1) / 2)
        swap(&heap->items[i], &heap->items[(i - 1) / 2]);
}

attempt_t heap_pop(heap_t *heap)
{
    assert(heap->count > 0);
    attempt_t first = heap->items[0];
    heap->items[0] = heap->items[--heap->count];
    for (unsigned i = 0, child; (child = 2 * i + 1) < heap->count; i = child) {
        if (child + 1 < heap->count && heap->items[child + 1].due_us < heap->items[child].due_us)
            ++child;
        if (heap->items[i].due_us <= heap->items[child].due_us)
            break;
        swap(&heap->items[i], &heap->items[child]);
    }
    return first;
}

uint64_t heap_due(const heap_t *heap)
{
    return heap->count == 0 ? NEVER : heap->items[0].due_us;
}

void queue_push(queue_t *queue, attempt_t attempt)
{
    if (queue->count == queue->room) {
        unsigned old = queue->room;
        queue->room = old == 0 ? 1024 : 2 * old;
        queue->items = grown(queue->items, queue->room, sizeof(attempt));
        /* What had wrapped around now stands behind the former end. */
        memcpy(queue->items + old, queue->items, queue->first * sizeof(attempt));
    }
    queue->items[(queue->first + queue->count++) & (queue->room - 1)] = attempt;
}

attempt_t queue_pop(queue_t *queue)
{
    assert(queue->count > 0);
    attempt_t attempt = queue->items[queue->first];
    queue->first = (queue->first + 1) & (queue->room - 1);
    queue->count--;
    return attempt;
}
