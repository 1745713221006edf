/*
 * A whole drop over HTTP/2: buyers (buyers.h) who look, buy when it opens, wait for their orders
 * and confirm them, each request at the moment for which it is meant, whether or not earlier ones
 * were answered; latency counts from that moment.
 *
 * It writes one JSON object to standard output, with the record (../volley/record.h) in it; usage()
 * has its options. One thread. Each second, and at the end, a line "progress SECONDS REQUESTS
 * ANSWERED ORDERS" goes to standard error.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../volley/words.h"
#include "buyers.h"

#define SWEEP_US 200000 /* how often requests without an answer are looked for */
#define SERVE_US 5000   /* at most before what is due is looked at */
#define CONNECT_WITHIN_US 500000
#define PROGRESS_US 1000000

typedef struct {
    struct sockaddr_in address;
    habits_t habits;
    unsigned connections;
    uint64_t opens_at_ms, seconds, timeout_us, seed;

    links_t *links;
    buyers_t buyers;
    record_t record;
    uint64_t start_us, sweep_at_us, progress_at_us;
} visit_t;

static uint64_t clock_us(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t now_us(const visit_t *v)
{
    return clock_us(CLOCK_MONOTONIC) - v->start_us;
}

static void answered(void *context, request_t *request, bool whole)
{
    visit_t *v = context;
    buyers_answered(&v->buyers, request, whole, now_us(v));
}

/* --- the loop --- */

static void show_progress(const visit_t *v)
{
    record_progress(&v->record, (double)now_us(v) / 1e6);
}

/* A read that waits may take so much longer. */
static uint64_t sent_before_us(void *context, uint16_t kind)
{
    const visit_t *v = context;
    uint64_t limit = v->timeout_us + (kind == WAIT ? 1000u * (uint64_t)v->habits.wait_ms : 0);
    uint64_t now = now_us(v);
    return now > limit ? now - limit : 0;
}

static void sweep(visit_t *v)
{
    uint64_t now = now_us(v);
    if (now < v->sweep_at_us)
        return;
    v->sweep_at_us = now + SWEEP_US;
    links_give_up(v->links, sent_before_us);
    if (now >= v->progress_at_us) {
        v->progress_at_us = now + PROGRESS_US;
        show_progress(v);
    }
}

static void send_due(visit_t *v)
{
    uint64_t now = now_us(v);
    while (heap_due(&v->buyers.due) <= now) {
        attempt_t what = heap_pop(&v->buyers.due);
        request_t *request = links_request(v->links);
        if (!buyers_ask(&v->buyers, what, request)) {
            links_return(v->links, request);
            continue;
        }
        uint64_t sent = now_us(v);
        histogram_add(&v->record.lateness, sent - what.due_us);
        link_send(v->links, request, sent);
    }
}

static uint64_t wait_us(const visit_t *v)
{
    uint64_t now = now_us(v), due = heap_due(&v->buyers.due);
    uint64_t wait = due > now ? due - now : 0;
    return wait < SERVE_US ? wait : SERVE_US;
}

static void run(visit_t *v)
{
    v->links = links_new(v->address, v->connections, answered, v);
    v->start_us = clock_us(CLOCK_MONOTONIC);
    links_connect(v->links, CONNECT_WITHIN_US);
    v->start_us = clock_us(CLOCK_MONOTONIC);
    uint64_t now_ms = clock_us(CLOCK_REALTIME) / 1000;
    v->habits.opens_us = v->opens_at_ms > now_ms ? 1000 * (v->opens_at_ms - now_ms) : 0;
    v->habits.ends_us = v->habits.opens_us + 1000000 * v->seconds;
    buyers_begin(&v->buyers, v->habits, &v->record, v->seed);
    while (!buyers_done(&v->buyers, now_us(v)) || links_under_way(v->links) > 0) {
        sweep(v);
        send_due(v);
        links_serve(v->links, wait_us(v));
    }
    show_progress(v);
    record_end(&v->record, (double)now_us(v) / 1e6);
    v->record.connections_lost = links_lost(v->links);
}

static void write_result(const visit_t *v, FILE *out)
{
    const buyers_t *b = &v->buyers;
    uint64_t heard = b->last_heard_us;
    fprintf(out,
            "{\"opens_s\":%.6f,\"last_heard_s\":%.6f,\"ordered\":%" PRIu64 ",\"sold_out\":%" PRIu64
            ",\"confirmed\":%" PRIu64 ",\"lapsed\":%" PRIu64 ",\"abandoned\":%" PRIu64
            ",\"looks_wrong\":%" PRIu64 ",\"record\":",
            (double)v->habits.opens_us / 1e6, (double)heard / 1e6, b->ordered, b->sold_out,
            b->confirmed, b->lapsed, b->abandoned, b->looks_wrong);
    record_write(&v->record, out);
    fputs("}\n", out);
}

/* --- the command line --- */

static void usage(void)
{
    fputs(
        "visitors --port PORT --sku SKU --orders FILE --opens-at-ms MS [options]\n"
        "\n"
        "  --host ADDRESS       IPv4; default 127.0.0.1\n"
        "  --port PORT\n"
        "  --sku SKU            what all buyers want, one unit each\n"
        "  --orders FILE        a line \"201|202|held|confirmed|lapsed order_id buyer\" for each "
        "told\n"
        "  --opens-at-ms MS     when the sale begins, since 1970\n"
        "  --buyers N           default 1000\n"
        "  --connections N      of HTTP/2, shared by the buyers; default 10\n"
        "  --seconds N          so long after the opening buyers look and buy; default 10\n"
        "  --stock N            no look may show more; default 4294967295\n"
        "  --seed N             default 1\n"
        "  --look-ms MS         between two looks of a buyer; default 1000\n"
        "  --reaction-ms MS     mean time from the opening to a buyer's purchase; default 250\n"
        "  --think-ms MS        mean time from an order to its confirmation; default 1000\n"
        "  --wait-ms MS         of a read of an order; 0: it is read each --poll-ms; default 0\n"
        "  --poll-ms MS         default 200\n"
        "  --timeout-ms MS      of an answer; default 10000\n"
        "  --retries N          after 429, 5xx, or no answer; default 10\n"
        "  --retry-ms MS        about so long, and so much longer each time; default 300\n"
        "  --bots SHARE         0 to 1: buyers who send their purchase again and again; default 0\n"
        "  --repeats N          so many times; default 20\n"
        "  --gap-ms MS          and so long after each other; default 50\n"
        "  --keyed SHARE        0 to 1: bots who send an Idempotency-Key; default 0.5\n"
        "  --conditional SHARE  0 to 1: buyers who send If-None-Match; default 0.5\n"
        "  --abandon SHARE      0 to 1: buyers who let their order expire; default 0\n",
        stdout);
}

static const struct option options[] = {{"host", required_argument, NULL, 'h'},
                                        {"port", required_argument, NULL, 'p'},
                                        {"sku", required_argument, NULL, 's'},
                                        {"orders", required_argument, NULL, 'o'},
                                        {"opens-at-ms", required_argument, NULL, 'a'},
                                        {"buyers", required_argument, NULL, 'B'},
                                        {"connections", required_argument, NULL, 'c'},
                                        {"seconds", required_argument, NULL, 'S'},
                                        {"stock", required_argument, NULL, 'N'},
                                        {"seed", required_argument, NULL, 'n'},
                                        {"look-ms", required_argument, NULL, 'l'},
                                        {"reaction-ms", required_argument, NULL, 'R'},
                                        {"think-ms", required_argument, NULL, 'T'},
                                        {"wait-ms", required_argument, NULL, 'W'},
                                        {"poll-ms", required_argument, NULL, 'P'},
                                        {"timeout-ms", required_argument, NULL, 't'},
                                        {"retries", required_argument, NULL, 'r'},
                                        {"retry-ms", required_argument, NULL, 'w'},
                                        {"bots", required_argument, NULL, 'b'},
                                        {"repeats", required_argument, NULL, 'm'},
                                        {"gap-ms", required_argument, NULL, 'g'},
                                        {"keyed", required_argument, NULL, 'k'},
                                        {"conditional", required_argument, NULL, 'C'},
                                        {"abandon", required_argument, NULL, 'A'},
                                        {"help", no_argument, NULL, '?'},
                                        {NULL, 0, NULL, 0}};

static bool take_time(visit_t *v, int option, const char *text)
{
    habits_t *h = &v->habits;
    switch (option) {
    case 'l':
        return take_milliseconds(text, &h->look_us) && h->look_us > 0;
    case 'R':
        return take_milliseconds(text, &h->reaction_us);
    case 'T':
        return take_milliseconds(text, &h->think_us);
    case 'P':
        return take_milliseconds(text, &h->poll_us);
    case 't':
        return take_milliseconds(text, &v->timeout_us);
    case 'w':
        return take_milliseconds(text, &h->retry_us);
    case 'g':
        return take_milliseconds(text, &h->gap_us);
    case 'a':
        return take_number(text, UINT64_MAX / 1000, &v->opens_at_ms);
    case 'S':
        return take_number(text, SECONDS_MAX / 2, &v->seconds);
    default:
        return false;
    }
}

static bool take_option(visit_t *v, int option, const char *text)
{
    habits_t *h = &v->habits;
    switch (option) {
    case 'h':
        return inet_pton(AF_INET, text, &v->address.sin_addr) == 1;
    case 'p':
        return take_port(text, &v->address.sin_port);
    case 's':
        h->sku = text;
        return strlen(text) <= 64;
    case 'o':
        return (h->orders = fopen(text, "w")) != NULL;
    case 'B':
        return take_unsigned(text, &h->count) && h->count > 0;
    case 'c':
        return take_unsigned(text, &v->connections) && v->connections > 0;
    case 'N':
        return take_unsigned(text, &h->stock);
    case 'n':
        return take_number(text, UINT64_MAX, &v->seed);
    case 'W':
        return take_unsigned(text, &h->wait_ms);
    case 'r':
        return take_unsigned(text, &h->retries_max) && h->retries_max <= UINT16_MAX;
    case 'm':
        return take_unsigned(text, &h->repeats) && h->repeats <= UINT16_MAX;
    case 'b':
        return take_share(text, &h->bots);
    case 'k':
        return take_share(text, &h->keyed);
    case 'C':
        return take_share(text, &h->conditional);
    case 'A':
        return take_share(text, &h->abandon);
    default:
        return take_time(v, option, text);
    }
}

static bool parse_arguments(visit_t *v, int argc, char **argv)
{
    v->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    v->connections = 10;
    v->seconds = 10;
    v->timeout_us = 10000000;
    v->seed = 1;
    v->habits = (habits_t){.count = 1000,
                           .look_us = 1000000,
                           .reaction_us = 250000,
                           .think_us = 1000000,
                           .retry_us = 300000,
                           .gap_us = 50000,
                           .poll_us = 200000,
                           .retries_max = 10,
                           .repeats = 20,
                           .stock = UINT32_MAX,
                           .keyed = 0.5,
                           .conditional = 0.5};
    int option, at = 0;
    while ((option = getopt_long(argc, argv, "", options, &at)) != -1)
        if (option == '?' || !take_option(v, option, optarg)) {
            if (option != '?')
                fprintf(stderr, "visitors: bad --%s: %s\n", options[at].name, optarg);
            return false;
        }
    if (optind == argc && v->address.sin_port != 0 && v->habits.sku != NULL &&
        v->habits.orders != NULL && v->opens_at_ms != 0)
        return true;
    fprintf(stderr,
            "visitors: --port, --sku, --orders and --opens-at-ms, and nothing but options\n");
    return false;
}

int main(int argc, char **argv)
{
    static visit_t v;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage();
        return 0;
    }
    if (!parse_arguments(&v, argc, argv)) {
        fprintf(stderr, "visitors --help shows what it takes\n");
        return 2;
    }
    run(&v);
    write_result(&v, stdout);
    return ferror(stdout) || fclose(v.habits.orders) != 0;
}
