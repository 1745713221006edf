#include "record.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define EXACT_BITS 7
#define SUB_BITS 6

static unsigned bucket_of(uint64_t us)
{
    if (us < 1u << EXACT_BITS)
        return (unsigned)us;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(us);
    unsigned sub = (unsigned)(us >> (exponent - SUB_BITS)) & ((1u << SUB_BITS) - 1);
    unsigned bucket = (1u << EXACT_BITS) + ((exponent - EXACT_BITS) << SUB_BITS) + sub;
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The largest value that falls into the bucket. */
static uint64_t bucket_top(unsigned bucket)
{
    if (bucket < 1u << EXACT_BITS)
        return bucket;
    unsigned exponent = ((bucket - (1u << EXACT_BITS)) >> SUB_BITS) + EXACT_BITS;
    uint64_t sub = bucket & ((1u << SUB_BITS) - 1);
    return (((1u << SUB_BITS) + sub + 1) << (exponent - SUB_BITS)) - 1;
}

void histogram_add(histogram_t *histogram, uint64_t us)
{
    histogram->buckets[bucket_of(us)]++;
}

static unsigned second_of(uint64_t us)
{
    return us < (uint64_t)SECONDS_MAX * 1000000 ? (unsigned)(us / 1000000) : SECONDS_MAX - 1;
}

void record_offered(record_t *record, uint64_t due_us)
{
    ++record->attempts;
    record->offered[second_of(due_us)]++;
}

static kind_t *find_kind(record_t *record, const char *name)
{
    for (unsigned i = 0; i < record->kinds_count; ++i)
        if (strcmp(record->kinds[i]->name, name) == 0)
            return record->kinds[i];
    if (record->kinds_count == KINDS_MAX - 1)
        name = "other";
    if (record->kinds_count == KINDS_MAX)
        return record->kinds[KINDS_MAX - 1];
    kind_t *kind = calloc(1, sizeof(*kind));
    assert(kind != NULL);
    snprintf(kind->name, sizeof(kind->name), "%s", name);
    return record->kinds[record->kinds_count++] = kind;
}

void record_ended(record_t *record, const char *name, uint64_t due_us, uint64_t sent_us,
                  uint64_t now_us)
{
    kind_t *kind = find_kind(record, name);
    ++kind->count;
    kind->per_second[second_of(now_us)]++;
    histogram_add(&kind->latency, now_us - due_us);
    if (sent_us != NOT_SENT)
        histogram_add(&kind->service, now_us - sent_us);
}

/* [[top_us, count], ...] of the buckets that hold any. */
static void write_histogram(const histogram_t *histogram, FILE *out)
{
    const char *comma = "";
    fputc('[', out);
    for (unsigned i = 0; i < BUCKETS; ++i) {
        if (histogram->buckets[i] == 0)
            continue;
        fprintf(out, "%s[%" PRIu64 ",%" PRIu64 "]", comma, bucket_top(i), histogram->buckets[i]);
        comma = ",";
    }
    fputc(']', out);
}

static void write_seconds(const uint32_t *counts, unsigned seconds, FILE *out)
{
    fputc('[', out);
    for (unsigned i = 0; i < seconds; ++i)
        fprintf(out, "%s%" PRIu32, i == 0 ? "" : ",", counts[i]);
    fputc(']', out);
}

void record_write(const record_t *record, FILE *out)
{
    unsigned seconds = second_of((uint64_t)(record->seconds * 1e6)) + 1;
    fprintf(out,
            "{\"seconds\":%.6f,\"cpu_s\":%.3f,\"attempts\":%" PRIu64 ",\"buyers\":%" PRIu64
            ",\"retries\":%" PRIu64 ",\"repeats\":%" PRIu64 ",\"gave_up\":%" PRIu64
            ",\"connections_lost\":%" PRIu64 ",\"lateness_us\":",
            record->seconds, record->cpu_s, record->attempts, record->buyers, record->retries,
            record->repeats, record->gave_up, record->connections_lost);
    write_histogram(&record->lateness, out);
    fputs(",\"offered\":", out);
    write_seconds(record->offered, seconds, out);
    fputs(",\"kinds\":{", out);
    for (unsigned i = 0; i < record->kinds_count; ++i) {
        const kind_t *kind = record->kinds[i];
        fprintf(out, "%s\"%s\":{\"count\":%" PRIu64 ",\"latency_us\":", i == 0 ? "" : ",",
                kind->name, kind->count);
        write_histogram(&kind->latency, out);
        fputs(",\"service_us\":", out);
        write_histogram(&kind->service, out);
        fputs(",\"per_second\":", out);
        write_seconds(kind->per_second, seconds, out);
        fputc('}', out);
    }
    fputs("}}\n", out);
}

void record_progress(const record_t *record, double seconds)
{
    fprintf(stderr, "progress %.1f %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", seconds,
            record->attempts, record->answered, record->orders);
}

void record_end(record_t *record, double seconds)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    record->cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                    (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    record->seconds = seconds;
}
