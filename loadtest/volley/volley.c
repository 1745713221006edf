/*
 * An open loop of purchases over HTTP/1.1: attempts go out when the schedule says, whether or not
 * earlier ones were answered, and latency counts from the moment for which an attempt was meant.
 * So a service that stalls is charged for all who would have come meanwhile.
 *
 * It reads the schedule (arrivals.h) on standard input and writes one JSON object (record.h) to
 * standard output; usage() has its options. One thread, one request at a time on each connection;
 * what finds no free connection waits for one, and its clock runs. Each second, and at the end, a
 * line "progress SECONDS ATTEMPTS ANSWERED ORDERS" goes to standard error.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "arrivals.h"
#include "record.h"
#include "words.h"

#define ANSWER_BYTES_MAX 4096
#define REQUEST_BYTES_MAX 1024
#define EVENTS_MAX 512
#define SWEEP_US 20000 /* how often time-outs and closed connections are looked at */
#define SPARE_MIN 256  /* with fewer free ones, connections that the service closed are reopened */
#define CONNECT_WITHIN_US 5000000
#define PROGRESS_US 1000000
#define REPLAYED_HEADER "\r\nidempotency-replayed:"

typedef enum { CLOSED, CONNECTING, IDLE, BUSY } state_t;

typedef struct {
    int fd;
    state_t state;
    attempt_t attempt; /* BUSY */
    uint64_t sent_us;  /* BUSY */
    size_t length;
    char answer[ANSWER_BYTES_MAX + 1];
} connection_t;

typedef struct {
    struct sockaddr_in address;
    const char *sku;
    unsigned connections_count, retries_max, repeats;
    uint64_t timeout_us, retry_us, gap_us;
    double bots, keyed;
    FILE *orders;

    int epoll;
    connection_t *connections;
    unsigned *idle, idle_count; /* a stack of free connections */
    unsigned busy_count;
    arrivals_t arrivals;
    uint64_t next_arrival_us, start_us, sweep_at_us, progress_at_us, random;
    heap_t later;
    queue_t ready; /* due, and waiting for a connection */
    record_t record;
} volley_t;

static uint64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t now_us(const volley_t *v)
{
    return clock_us() - v->start_us;
}

/* --- buyers --- */

static void plan(volley_t *v, attempt_t attempt)
{
    record_offered(&v->record, attempt.due_us);
    heap_push(&v->later, attempt);
}

static void arrive(volley_t *v)
{
    attempt_t attempt = {.due_us = v->next_arrival_us, .buyer = (uint32_t)v->record.buyers++};
    attempt.keyed = random_next(&v->random) < v->keyed;
    if (random_next(&v->random) < v->bots)
        attempt.repeats = (uint16_t)v->repeats;
    plan(v, attempt);
    v->next_arrival_us = arrivals_next(&v->arrivals);
}

/* A request went out, or was given up before it did: its repeats do not wait for its answer. */
static void plan_repeat(volley_t *v, attempt_t attempt)
{
    if (attempt.repeats == 0)
        return;
    attempt.repeats--;
    attempt.due_us += v->gap_us;
    ++v->record.repeats;
    plan(v, attempt);
}

static void try_again(volley_t *v, attempt_t attempt, uint64_t now)
{
    if (attempt.tries >= v->retries_max) {
        ++v->record.gave_up;
        return;
    }
    ++attempt.tries;
    attempt.repeats = 0; /* planned already */
    attempt.due_us =
        now + (uint64_t)((double)(v->retry_us * attempt.tries) * (0.5 + random_next(&v->random)));
    ++v->record.retries;
    plan(v, attempt);
}

static void ended(volley_t *v, const attempt_t *attempt, uint64_t sent_us, const char *kind,
                  bool again)
{
    uint64_t now = now_us(v);
    record_ended(&v->record, kind, attempt->due_us, sent_us, now);
    if (again)
        try_again(v, *attempt, now);
}

/* --- connections --- */

static void watch(volley_t *v, connection_t *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    int rc = epoll_ctl(v->epoll, operation, c->fd, &event);
    assert(rc == 0);
}

static void become_idle(volley_t *v, connection_t *c)
{
    c->state = IDLE;
    c->length = 0;
    v->idle[v->idle_count++] = (unsigned)(c - v->connections);
}

static void start_connecting(volley_t *v, connection_t *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(c->fd >= 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(c->fd, (struct sockaddr *)&v->address, sizeof(v->address)) != 0 &&
        errno != EINPROGRESS) {
        close(c->fd);
        return; /* the next sweep tries again */
    }
    c->state = CONNECTING;
    watch(v, c, EPOLL_CTL_ADD, EPOLLOUT);
}

static void forget_idle(volley_t *v, const connection_t *c)
{
    unsigned number = (unsigned)(c - v->connections);
    for (unsigned i = 0; i < v->idle_count; ++i)
        if (v->idle[i] == number) {
            v->idle[i] = v->idle[--v->idle_count];
            return;
        }
}

static void lose(volley_t *v, connection_t *c, const char *kind)
{
    state_t was = c->state;
    close(c->fd);
    c->state = CLOSED;
    if (was == IDLE)
        forget_idle(v, c);
    if (was != BUSY)
        return;
    v->busy_count--;
    ++v->record.connections_lost;
    ended(v, &c->attempt, c->sent_us, kind, true);
}

static void connected(volley_t *v, connection_t *c)
{
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        lose(v, c, "");
        return;
    }
    watch(v, c, EPOLL_CTL_MOD, EPOLLIN);
    become_idle(v, c);
}

static void send_attempt(volley_t *v, attempt_t attempt)
{
    connection_t *c = &v->connections[v->idle[--v->idle_count]];
    char body[256], key[64] = "", request[REQUEST_BYTES_MAX];
    int body_length = snprintf(body, sizeof(body),
                               "{\"sku\":\"%s\",\"buyer_id\":\"v%08" PRIu32 "\",\"quantity\":1}",
                               v->sku, attempt.buyer);
    if (attempt.keyed)
        snprintf(key, sizeof(key), "Idempotency-Key: k%08" PRIu32 "\r\n", attempt.buyer);
    int length = snprintf(request, sizeof(request),
                          "POST /v1/orders HTTP/1.1\r\nHost: holdfast\r\nContent-Type: "
                          "application/json\r\n%sContent-Length: %d\r\n\r\n%s",
                          key, body_length, body);
    assert(length < (int)sizeof(request));
    c->attempt = attempt;
    c->sent_us = now_us(v);
    c->state = BUSY;
    ++v->busy_count;
    plan_repeat(v, attempt);
    /* It fits into the empty buffer of a connection with nothing under way. */
    if (send(c->fd, request, (size_t)length, MSG_NOSIGNAL) != length)
        lose(v, c, "no answer");
}

/* --- answers --- */

/* Whether the service says that a key came again: in the head, before the body. */
static bool is_replay(const char *answer, const char *body)
{
    const char *at = strcasestr(answer, REPLAYED_HEADER);
    if (at == NULL || at >= body)
        return false;
    at += strlen(REPLAYED_HEADER);
    at += strspn(at, " \t");
    return strncasecmp(at, "true", 4) == 0;
}

static void answered(volley_t *v, connection_t *c, int status, const char *body)
{
    char kind[KIND_BYTES_MAX], word[40];
    attempt_t attempt = c->attempt;
    bool replay = is_replay(c->answer, body);
    const char *tail = replay ? " replayed" : "";
    ++v->record.answered;
    if (status == 201 || status == 202) {
        if (!replay)
            ++v->record.orders;
        find_word(body, "\"order_id\"", word, sizeof(word));
        fprintf(v->orders, "%d %s v%08" PRIu32 "\n", status, word[0] ? word : "-", attempt.buyer);
        snprintf(kind, sizeof(kind), "%d%s", status, tail);
    } else {
        find_word(body, "\"code\"", word, sizeof(word));
        snprintf(kind, sizeof(kind), "%d%s%s%s", status, word[0] ? " " : "", word, tail);
    }
    v->busy_count--;
    become_idle(v, c);
    ended(v, &attempt, c->sent_us, kind, status == 503);
}

/* Whether a whole answer is there; false also for what is none, which `lose` then ends. */
static bool take_answer(volley_t *v, connection_t *c)
{
    c->answer[c->length] = '\0';
    const char *end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL)
        return false;
    const char *length = strcasestr(c->answer, "\r\ncontent-length:");
    int status = 0;
    if (sscanf(c->answer, "HTTP/1.1 %d", &status) != 1 || length == NULL || length > end) {
        lose(v, c, "malformed answer");
        return false;
    }
    size_t body = (size_t)(end + 4 - c->answer);
    if (c->length < body + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10))
        return false;
    answered(v, c, status, c->answer + body);
    return true;
}

static void readable(volley_t *v, connection_t *c)
{
    ssize_t n = recv(c->fd, c->answer + c->length, ANSWER_BYTES_MAX - c->length, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || c->state != BUSY) {
        lose(v, c, "no answer");
        return;
    }
    c->length += (size_t)n;
    if (!take_answer(v, c) && c->state == BUSY && c->length == ANSWER_BYTES_MAX)
        lose(v, c, "malformed answer");
}

/* --- the loop --- */

static void show_progress(const volley_t *v)
{
    record_progress(&v->record, (double)now_us(v) / 1e6);
}

static void sweep(volley_t *v, uint64_t now)
{
    if (now < v->sweep_at_us)
        return;
    v->sweep_at_us = now + SWEEP_US;
    if (now >= v->progress_at_us) {
        v->progress_at_us = now + PROGRESS_US;
        show_progress(v);
    }
    for (unsigned i = 0; i < v->connections_count; ++i) {
        connection_t *c = &v->connections[i];
        if (c->state == BUSY && now > c->attempt.due_us + v->timeout_us)
            lose(v, c, "no answer");
        if (c->state == CLOSED && v->idle_count < SPARE_MIN)
            start_connecting(v, c);
    }
    while (v->ready.count > 0 && now > v->ready.items[v->ready.first].due_us + v->timeout_us) {
        attempt_t attempt = queue_pop(&v->ready);
        plan_repeat(v, attempt);
        ended(v, &attempt, NOT_SENT, "not sent", true);
    }
}

static void send_due(volley_t *v)
{
    uint64_t now = now_us(v);
    while (v->next_arrival_us <= now)
        arrive(v);
    while (heap_due(&v->later) <= now) {
        attempt_t attempt = heap_pop(&v->later);
        if (v->ready.count == 0 && v->idle_count > 0) {
            histogram_add(&v->record.lateness, now - attempt.due_us);
            send_attempt(v, attempt);
        } else
            queue_push(&v->ready, attempt);
    }
    while (v->ready.count > 0 && v->idle_count > 0)
        send_attempt(v, queue_pop(&v->ready));
}

static bool all_done(const volley_t *v)
{
    return v->next_arrival_us == NEVER && v->later.count == 0 && v->ready.count == 0 &&
           v->busy_count == 0;
}

static uint64_t next_event_us(const volley_t *v)
{
    uint64_t until = v->sweep_at_us, due = heap_due(&v->later);
    until = v->next_arrival_us < until ? v->next_arrival_us : until;
    return due < until ? due : until;
}

static void wait_and_serve(volley_t *v, uint64_t until)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t now = now_us(v);
    uint64_t wait = until > now ? until - now : 0;
    struct timespec pause = {.tv_sec = (time_t)(wait / 1000000),
                             .tv_nsec = (long)(wait % 1000000) * 1000};
    int n = epoll_pwait2(v->epoll, events, EVENTS_MAX, &pause, NULL);
    assert(n >= 0 || errno == EINTR);
    for (int i = 0; i < n; ++i) {
        connection_t *c = events[i].data.ptr;
        if (c->state == CONNECTING)
            connected(v, c);
        else if (c->state != CLOSED)
            readable(v, c);
    }
}

/* Before the clock starts, as far as the service lets us. */
static void connect_all(volley_t *v)
{
    v->start_us = clock_us();
    for (unsigned i = 0; i < v->connections_count; ++i)
        start_connecting(v, &v->connections[i]);
    while (v->idle_count < v->connections_count && now_us(v) < CONNECT_WITHIN_US)
        wait_and_serve(v, now_us(v) + SWEEP_US);
}

static void run(volley_t *v)
{
    connect_all(v);
    v->start_us = clock_us();
    v->next_arrival_us = arrivals_next(&v->arrivals);
    while (!all_done(v)) {
        sweep(v, now_us(v));
        send_due(v);
        if (!all_done(v))
            wait_and_serve(v, next_event_us(v));
    }
    show_progress(v);
    record_end(&v->record, (double)now_us(v) / 1e6);
}

static void prepare(volley_t *v)
{
    /* Each connection is a file, and the usual soft limit is 1024. */
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    v->epoll = epoll_create1(EPOLL_CLOEXEC);
    v->connections = calloc(v->connections_count, sizeof(*v->connections));
    v->idle = calloc(v->connections_count, sizeof(*v->idle));
    assert(v->epoll >= 0 && v->connections != NULL && v->idle != NULL);
}

/* --- the command line --- */

static void usage(void)
{
    fputs("volley --port PORT --sku SKU --orders FILE [options] <SCHEDULE\n"
          "\n"
          "  --host ADDRESS       IPv4; default 127.0.0.1\n"
          "  --port PORT\n"
          "  --sku SKU            what all buyers want, one unit each\n"
          "  --orders FILE        a line \"status order_id buyer\" for each 201 and 202, replays "
          "too\n"
          "  --connections N      default 512\n"
          "  --seed N             default 1\n"
          "  --timeout-ms MS      of an answer, from when its attempt was meant; default 10000\n"
          "  --retries N          after a 503, a broken connection or no answer; default 3\n"
          "  --retry-ms MS        about so long before each; default 500\n"
          "  --bots SHARE         0 to 1: buyers who send each request again; default 0\n"
          "  --repeats N          so many times; default 3\n"
          "  --gap-ms MS          and so long after each other; default 50\n"
          "  --keyed SHARE        0 to 1: buyers who send an Idempotency-Key; default 0.5\n",
          stdout);
}

static const struct option options[] = {{"host", required_argument, NULL, 'h'},
                                        {"port", required_argument, NULL, 'p'},
                                        {"sku", required_argument, NULL, 's'},
                                        {"orders", required_argument, NULL, 'o'},
                                        {"connections", required_argument, NULL, 'c'},
                                        {"seed", required_argument, NULL, 'n'},
                                        {"timeout-ms", required_argument, NULL, 't'},
                                        {"retries", required_argument, NULL, 'r'},
                                        {"retry-ms", required_argument, NULL, 'w'},
                                        {"bots", required_argument, NULL, 'b'},
                                        {"repeats", required_argument, NULL, 'm'},
                                        {"gap-ms", required_argument, NULL, 'g'},
                                        {"keyed", required_argument, NULL, 'k'},
                                        {"help", no_argument, NULL, '?'},
                                        {NULL, 0, NULL, 0}};

static bool take_option(volley_t *v, int option, const char *text)
{
    switch (option) {
    case 'h':
        return inet_pton(AF_INET, text, &v->address.sin_addr) == 1;
    case 'p':
        return take_port(text, &v->address.sin_port);
    case 's':
        v->sku = text;
        return strlen(text) <= 64;
    case 'o':
        return (v->orders = fopen(text, "w")) != NULL;
    case 'c':
        return take_unsigned(text, &v->connections_count) && v->connections_count > 0;
    case 'n':
        return take_number(text, UINT64_MAX, &v->random);
    case 't':
        return take_milliseconds(text, &v->timeout_us);
    case 'r':
        return take_unsigned(text, &v->retries_max);
    case 'w':
        return take_milliseconds(text, &v->retry_us);
    case 'b':
        return take_share(text, &v->bots);
    case 'm':
        return take_unsigned(text, &v->repeats);
    case 'g':
        return take_milliseconds(text, &v->gap_us);
    case 'k':
        return take_share(text, &v->keyed);
    default:
        return false;
    }
}

static bool parse_arguments(volley_t *v, int argc, char **argv)
{
    v->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    v->connections_count = 512;
    v->random = 1;
    v->timeout_us = 10000000;
    v->retries_max = 3;
    v->retry_us = 500000;
    v->repeats = 3;
    v->gap_us = 50000;
    v->keyed = 0.5;
    int option, at = 0;
    while ((option = getopt_long(argc, argv, "", options, &at)) != -1)
        if (option == '?' || !take_option(v, option, optarg)) {
            if (option != '?')
                fprintf(stderr, "volley: bad --%s: %s\n", options[at].name, optarg);
            return false;
        }
    if (optind == argc && v->address.sin_port != 0 && v->sku != NULL && v->orders != NULL)
        return true;
    fprintf(stderr, "volley: --port, --sku and --orders, and nothing but options\n");
    return false;
}

int main(int argc, char **argv)
{
    static volley_t v;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage();
        return 0;
    }
    if (!parse_arguments(&v, argc, argv)) {
        fprintf(stderr, "volley --help shows what it takes\n");
        return 2;
    }
    if (!arrivals_read(&v.arrivals, stdin, ~v.random)) {
        fprintf(stderr, "volley: bad schedule\n");
        return 2;
    }
    prepare(&v);
    run(&v);
    record_write(&v.record, stdout);
    return ferror(stdout) || fclose(v.orders) != 0;
}
