#include "metrics/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define BUCKETS 14

/* Upper bounds of the buckets: microseconds, and counts. */
static const uint64_t SECONDS_bounds[BUCKETS] = {250,    500,     1000,    2500,   5000,
                                                 10000,  25000,   50000,   100000, 250000,
                                                 500000, 1000000, 2500000, 5000000};
static const uint64_t COUNTS_bounds[BUCKETS] = {1,  2,   4,   8,   16,  32,   64,
                                                96, 128, 192, 256, 512, 1024, 4096};

/* The statuses that Holdfast returns; the last entry stands for all others. */
static const int statuses[] = {200, 201, 202, 204, 400, 401, 403, 404,
                               405, 409, 413, 415, 422, 429, 503, 0};
#define STATUSES (sizeof(statuses) / sizeof(statuses[0]))

typedef struct {
    _Atomic uint64_t buckets[BUCKETS + 1];
    _Atomic uint64_t sum;
} distribution_t;

_Atomic int64_t metric_values[METRIC_COUNT];
_Atomic int64_t metric_strategy_values[METRIC_BY_STRATEGY_COUNT][STRATEGY_COUNT];
static distribution_t histograms[HISTOGRAM_COUNT];
static distribution_t request_times[ROUTE_COUNT];
static _Atomic uint64_t requests[ROUTE_COUNT][STATUSES];

static const struct {
    const char *type, *name, *help;
} plain[METRIC_COUNT] = {
#define X(type_, name_, help_) {#type_, #name_, help_},
    METRICS_PLAIN(X)
#undef X
};
static const struct {
    const char *name, *help;
} by_strategy[METRIC_BY_STRATEGY_COUNT] = {
#define X(name_, help_) {#name_, help_},
    METRICS_BY_STRATEGY(X)
#undef X
};
static const struct {
    const char *name, *help;
    const uint64_t *bounds;
    double unit;
} histogram_info[HISTOGRAM_COUNT] = {
#define SECONDS_unit 1e6
#define COUNTS_unit 1.0
#define X(name_, help_, kind_) {#name_, help_, kind_##_bounds, kind_##_unit},
    METRICS_HISTOGRAMS(X)
#undef X
};
static const char *const route_names[ROUTE_COUNT] = {
#define X(name_) #name_,
    ROUTE_TABLE(X)
#undef X
};

static void observe(distribution_t *d, const uint64_t *bounds, uint64_t value)
{
    unsigned i = 0;
    while (i < BUCKETS && value > bounds[i])
        ++i;
    atomic_fetch_add_explicit(&d->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&d->sum, value, memory_order_relaxed);
}

void metric_observe(histogram_t histogram, uint64_t value)
{
    observe(&histograms[histogram], histogram_info[histogram].bounds, value);
}

void metric_request(route_t route, int status, uint64_t micros)
{
    unsigned i = 0;
    while (i + 1 < STATUSES && statuses[i] != status)
        ++i;
    atomic_fetch_add_explicit(&requests[route][i], 1, memory_order_relaxed);
    observe(&request_times[route], SECONDS_bounds, micros);
}

static void head(FILE *out, const char *name, const char *help, const char *type)
{
    fprintf(out, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, type);
}

static void render_distribution(FILE *out, const char *name, const char *label, distribution_t *d,
                                const uint64_t *bounds, double unit)
{
    uint64_t count = 0;
    const char *comma = label[0] == '\0' ? "" : ",";
    for (unsigned i = 0; i < BUCKETS; ++i) {
        count += d->buckets[i];
        fprintf(out, "holdfast_%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, label, comma,
                (double)bounds[i] / unit, count);
    }
    count += d->buckets[BUCKETS];
    fprintf(out, "holdfast_%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, label, comma, count);
    fprintf(out, "holdfast_%s_sum{%s} %.9g\n", name, label, (double)d->sum / unit);
    fprintf(out, "holdfast_%s_count{%s} %" PRIu64 "\n", name, label, count);
}

static void render_requests(FILE *out)
{
    head(out, "http_requests_total", "Answers by route and status", "counter");
    for (unsigned r = 0; r < ROUTE_COUNT; ++r)
        for (unsigned s = 0; s < STATUSES; ++s)
            if (requests[r][s] != 0)
                fprintf(out,
                        "holdfast_http_requests_total{route=\"%s\",status=\"%d\"} %" PRIu64 "\n",
                        route_names[r], statuses[s], requests[r][s]);
    head(out, "http_request_seconds", "Time from a request's arrival to its answer", "histogram");
    for (unsigned r = 0; r < ROUTE_COUNT; ++r) {
        char label[64];
        snprintf(label, sizeof(label), "route=\"%s\"", route_names[r]);
        render_distribution(out, "http_request_seconds", label, &request_times[r], SECONDS_bounds,
                            SECONDS_unit);
    }
}

static void render_plain(FILE *out)
{
    for (unsigned i = 0; i < METRIC_COUNT; ++i) {
        head(out, plain[i].name, plain[i].help, plain[i].type);
        fprintf(out, "holdfast_%s %" PRId64 "\n", plain[i].name, metric_values[i]);
    }
    for (unsigned i = 0; i < METRIC_BY_STRATEGY_COUNT; ++i) {
        head(out, by_strategy[i].name, by_strategy[i].help, "counter");
        for (unsigned s = 0; s < STRATEGY_COUNT; ++s)
            fprintf(out, "holdfast_%s{strategy=\"%s\"} %" PRId64 "\n", by_strategy[i].name,
                    strategy_name((strategy_id_t)s), metric_strategy_values[i][s]);
    }
}

/* The log has its own counters, because it is in a layer below the metrics. */
static void render_log(FILE *out)
{
    const struct {
        const char *name, *help;
        uint64_t value;
    } counters[] = {
        {"log_lines_held_back_total", "Log lines not written: more than one a second of a kind",
         log_lines_held_back()},
        {"log_lines_dropped_total", "Log lines not written: the reader of the log is too slow",
         log_lines_dropped()},
    };
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); ++i) {
        head(out, counters[i].name, counters[i].help, "counter");
        fprintf(out, "holdfast_%s %" PRIu64 "\n", counters[i].name, counters[i].value);
    }
}

char *metrics_render(const metric_sample_t *samples, unsigned samples_count)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = alloc_check(open_memstream(&text, &size));
    render_plain(out);
    render_log(out);
    for (unsigned i = 0; i < samples_count; ++i) {
        if (i == 0 || strcmp(samples[i].name, samples[i - 1].name) != 0)
            head(out, samples[i].name, samples[i].help, samples[i].type);
        if (samples[i].label == NULL)
            fprintf(out, "holdfast_%s %" PRId64 "\n", samples[i].name, samples[i].value);
        else
            fprintf(out, "holdfast_%s{%s=\"%s\"} %" PRId64 "\n", samples[i].name, samples[i].label,
                    samples[i].label_value, samples[i].value);
    }
    render_requests(out);
    for (unsigned i = 0; i < HISTOGRAM_COUNT; ++i) {
        head(out, histogram_info[i].name, histogram_info[i].help, "histogram");
        render_distribution(out, histogram_info[i].name, "", &histograms[i],
                            histogram_info[i].bounds, histogram_info[i].unit);
    }
    fclose(out);
    return text;
}
