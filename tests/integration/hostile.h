/*
 * What the suites of attacks share: an item on sale, what the service held before the attack, and
 * the bounds that hold in it and after it. One suite a program; main thread.
 */
#ifndef HOLDFAST_INTEGRATION_HOSTILE_H
#define HOLDFAST_INTEGRATION_HOSTILE_H

#include <signal.h>

#include "harness/attack.h"
#include "harness/suite.h"

/* As each suite sets it. */
#define IDLE_MS 2000
#define HOSTILE_SETTINGS "http.idle_timeout_ms=2000", "mysql.pool_threads=4"
/* From the end of a time-out until the service, perhaps a slow one, has acted upon it. */
#define SLACK_MS 30000
/* Of a process under a sanitizer; what is tried would take a multiple if it were not bounded. */
#define RSS_GROWTH_KB_MAX (400 * 1024)
/* Threads of the pool connect when they first have to: 2 shards, 4 threads, 3 connections. */
#define DESCRIPTORS_MORE_MAX (24 + 8)

static const char *sku;
static attack_gauge_t before;

/* AddressSanitizer keeps freed memory: little of it, so that growth can be seen. Before the run. */
static inline void keep_little_freed_memory(void)
{
    setenv("ASAN_OPTIONS", "detect_leaks=1:quarantine_size_mb=8", 1);
}

/* Every loop and thread has done something when the service is measured. */
static inline void measure(const char *buyers)
{
    for (int i = 0; i < 20; ++i) {
        web_answer_t warm = sale_buy(stack, sku, test_text("%s-%d", buyers, i), 1, NULL);
        EXPECT_STATUS(warm, 201);
    }
    WAIT_UNTIL(attack_metric(stack, "purchases_in_flight") == 0);
    before = attack_gauge(stack->pid);
}

static inline void put_on_sale(void)
{
    sku = strdup(sale_item(stack, "hostile", "\"total\":1000000,\"strategy\":\"lua\""));
    measure("warm");
}

static inline void expect_memory_bounded(void)
{
    attack_gauge_t now = attack_gauge(stack->pid);
    print_message("    descriptors %u, then %u; resident %ld MB, then %ld MB\n", before.descriptors,
                  now.descriptors, before.rss_kb / 1024, now.rss_kb / 1024);
    EXPECT(now.rss_kb < before.rss_kb + RSS_GROWTH_KB_MAX, "resident: %ld kB, before %ld kB",
           now.rss_kb, before.rss_kb);
}

static inline void expect_all_as_before(void)
{
    EXPECT_DESCRIPTORS_BACK(stack->pid, before, DESCRIPTORS_MORE_MAX);
    expect_memory_bounded();
}

static inline void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; ++i)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Within the time-out of an idle connection; -1 is one that was closed already. */
static inline void expect_all_closed(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; ++i)
        EXPECT(fds[i] < 0 || attack_is_closed(fds[i], IDLE_MS + SLACK_MS),
               "connection %zu is still open", i);
}

/* What attackers hold does not keep the process from its end. */
static inline void expect_a_clean_end(const int *fds, size_t count)
{
    process_signal(stack->pid, SIGTERM);
    WAIT_UNTIL(process_is_gone(stack->pid));
    close_all(fds, count);
}

#endif
