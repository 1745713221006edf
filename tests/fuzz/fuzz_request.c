/*
 * Bytes of a client through libh2o's own parsers (HTTP/1.1, or HTTP/2 after its preface) and the
 * intake into the routes and handlers of both listeners.
 *
 * No server is there: work for a pool is refused or waits until its client has gone, and
 * purchases are answered here. Linked with --wrap for those. What reaches a purchase keeps the
 * documented limits, every request is answered at most once, and when the client has gone
 * nothing is left.
 */
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/log.h"
#include "engine/cross_request.h"
#include "engine/item_views.h"
#include "fuzz/fuzz.h"
#include "http/api.h"
#include "http/body.h"
#include "http/connection.h"
#include "http/intake.h"
#include "http/protocols.h"
#include "http/readiness.h"
#include "http/request_job.h"
#include "reconcile/reconciler.h"

#define TOKEN "0123456789abcdef"
#define WAITING_MAX 256
#define TURNS_MAX 400

typedef struct {
    protocols_t protocols;
    const routes_t *routes;
} listener_t;

/* A purchase that waits for its answer. */
typedef struct {
    purchase_answer_cb answer;
    void *waiter;
    purchase_request_t request;
    char bytes[SKU_BYTES_MAX + BUYER_BYTES_MAX + KEY_BYTES_MAX];
} waiting_t;

static struct {
    loop_t loop;
    config_t config;
    config_shard_t shard;
    node_t node;
    shard_t node_shard;
    http_context_t http;
    admin_t admin;
    routes_t admin_routes;
    item_count_t item_count;
    access_t access;
    atomic_int default_strategy;
    reconciler_t *reconciler; /* its report is ours */
    engine_loop_t engine;
    engine_loop_t *loops[1];
    listener_t listeners[2];
    waiting_t *waiting[WAITING_MAX];
    unsigned waiting_count;
    item_reader_t *readers[WAITING_MAX];
    unsigned readers_count;
    job_t *jobs[WAITING_MAX];
    unsigned jobs_count;
    connections_t connections;
} world;

/* --- what stands around the handlers --- */

problem_t __wrap_cross_request_refuse_early(engine_loop_t *engine,
                                            const purchase_request_t *request);
cross_request_t *__wrap_cross_request_start(engine_loop_t *engine,
                                            const purchase_request_t *request,
                                            purchase_answer_cb answer, void *waiter);
void __wrap_cross_request_forget_waiter(cross_request_t *visit);
bool __wrap_engine_submit(engine_loop_t *engine, unsigned shard, job_t *job,
                          void (*run)(job_t *, worker_t *), void (*done)(job_t *));
item_answer_t __wrap_item_views_read(item_views_t *views, str_t sku, uint64_t now_ms);
void __wrap_item_views_wait(item_views_t *views, struct item_view *view, item_reader_t *reader,
                            uint64_t now_ms);
void __wrap_item_views_forget_reader(item_reader_t *reader);
unsigned __wrap_writer_depth(writer_t *writer);
void __wrap_writer_each_aside(writer_t *writer, writer_aside_cb each, void *context);
bool __wrap_writer_away_for(writer_t *writer, uint64_t *ms, char *why);
bool __wrap_writer_is_away(const writer_t *writer);
unsigned __wrap_pool_depth(pool_t *pool);
void __wrap_reconciler_report(reconciler_t *reconciler, reconciler_report_t *out);

problem_t __wrap_cross_request_refuse_early(engine_loop_t *engine,
                                            const purchase_request_t *request)
{
    EXPECT(engine == &world.engine);
    return str_eq(request->sku, STR("gone")) ? PROBLEM_SOLD_OUT : PROBLEM_NONE;
}

static void check_request(const purchase_request_t *request)
{
    EXPECT(is_sku(request->sku) && is_buyer_id(request->buyer));
    EXPECT(request->key.p == NULL || is_idempotency_key(request->key));
    EXPECT(request->quantity >= 1 && request->quantity <= world.config.orders.quantity_max);
}

cross_request_t *__wrap_cross_request_start(engine_loop_t *engine,
                                            const purchase_request_t *request,
                                            purchase_answer_cb answer, void *waiter)
{
    waiting_t *waiting = calloc(1, sizeof(*waiting));
    char *at = waiting->bytes;
    EXPECT(engine == &world.engine && world.waiting_count < WAITING_MAX);
    check_request(request);
    *waiting = (waiting_t){.answer = answer, .waiter = waiter, .request = *request};
    waiting->request.sku = str_put(&at, request->sku);
    waiting->request.buyer = str_put(&at, request->buyer);
    world.waiting[world.waiting_count++] = waiting;
    return (cross_request_t *)waiting;
}

void __wrap_cross_request_forget_waiter(cross_request_t *visit)
{
    waiting_t *waiting = (waiting_t *)visit;
    EXPECT(waiting->waiter != NULL);
    waiting->waiter = NULL;
}

/* HTTP/1.1 asks one thing at a time and does not look whether its client is still there, so it is
   refused; a stream of HTTP/2 waits until it is gone. */
bool __wrap_engine_submit(engine_loop_t *engine, unsigned shard, job_t *job,
                          void (*run)(job_t *, worker_t *), void (*done)(job_t *))
{
    request_job_t *request = H2O_STRUCT_FROM_MEMBER(request_job_t, job, job);
    EXPECT(engine == &world.engine && shard == 0 && run != NULL);
    if (request->exchange->req->version < 0x200 || world.jobs_count == WAITING_MAX)
        return false;
    job->done = done;
    ++engine->jobs;
    world.jobs[world.jobs_count++] = job;
    return true;
}

/* The length of the name decides. */
item_answer_t __wrap_item_views_read(item_views_t *views, str_t sku, uint64_t now_ms)
{
    (void)views;
    EXPECT(is_sku(sku) && now_ms != 0);
    item_answer_t answer = {.verdict = (view_verdict_t)(sku.n % (VIEW_BUSY + 1))};
    if (answer.verdict == VIEW_WAIT && world.readers_count == WAITING_MAX)
        answer.verdict = VIEW_BUSY;
    answer.body = STR("{}");
    answer.etag = STR("\"0123456789abcdef\"");
    answer.age_ms = (uint32_t)sku.n * 100;
    answer.away = sku.n > 20 ? "redis" : NULL;
    return answer;
}

void __wrap_item_views_wait(item_views_t *views, struct item_view *view, item_reader_t *reader,
                            uint64_t now_ms)
{
    (void)views, (void)view, (void)now_ms;
    EXPECT(reader->ready != NULL);
    world.readers[world.readers_count++] = reader;
}

void __wrap_item_views_forget_reader(item_reader_t *reader)
{
    unsigned i = 0;
    while (i < world.readers_count && world.readers[i] != reader)
        ++i;
    EXPECT(i < world.readers_count);
    world.readers[i] = world.readers[--world.readers_count];
}

unsigned __wrap_writer_depth(writer_t *writer)
{
    (void)writer;
    return 0;
}

void __wrap_writer_each_aside(writer_t *writer, writer_aside_cb each, void *context)
{
    (void)writer, (void)each, (void)context;
}

bool __wrap_writer_away_for(writer_t *writer, uint64_t *ms, char *why)
{
    (void)writer, (void)why;
    *ms = 0;
    return false;
}

bool __wrap_writer_is_away(const writer_t *writer)
{
    (void)writer;
    return false;
}

unsigned __wrap_pool_depth(pool_t *pool)
{
    (void)pool;
    return 0;
}

void __wrap_reconciler_report(reconciler_t *reconciler, reconciler_report_t *out)
{
    (void)reconciler;
    *out = (reconciler_report_t){0};
}

static void answer_one(waiting_t *waiting)
{
    order_t order = {.state = ORDER_CONFIRMED, .quantity = waiting->request.quantity};
    answer_t answer = {ANSWER_ORDER, PROBLEM_NONE, &order, waiting->request.key.n != 0};
    order_set_sku(&order, waiting->request.sku);
    order_set_buyer(&order, waiting->request.buyer);
    if (waiting->request.quantity % 3 == 1)
        answer.kind = ANSWER_PENDING;
    if (waiting->request.quantity % 3 == 2)
        answer = (answer_t){ANSWER_REFUSED, PROBLEM_UNAVAILABLE, &order, false};
    waiting->answer(waiting->waiter, &answer);
}

/* Purchases of more than 500 units take as long as their client stays, over HTTP/2. */
static void answer_all(bool client_gone)
{
    unsigned left = 0;
    while (world.readers_count != 0) {
        item_reader_t *reader = world.readers[--world.readers_count];
        reader->ready(reader, &(item_answer_t){.verdict = VIEW_AWAY});
    }
    for (unsigned i = 0; i < world.waiting_count; ++i) {
        waiting_t *waiting = world.waiting[i];
        exchange_t *exchange = waiting->waiter;
        if (exchange != NULL && exchange->req->version >= 0x200 &&
            waiting->request.quantity > 500 && !client_gone) {
            world.waiting[left++] = waiting;
            continue;
        }
        if (exchange != NULL)
            answer_one(waiting);
        free(waiting);
    }
    world.waiting_count = left;
}

static void end_jobs(void)
{
    while (world.jobs_count != 0) {
        job_t *job = world.jobs[--world.jobs_count];
        EXPECT(H2O_STRUCT_FROM_MEMBER(request_job_t, job, job)->exchange == NULL);
        job->done(job);
    }
    EXPECT(world.engine.jobs == 0);
}

/* --- the two listeners --- */

static bool refuses(const h2o_req_t *head, void *context)
{
    return route_refuses(((listener_t *)context)->routes, &world.access, head);
}

/* Whose body was not waited for, by its head, is refused by its request too. */
static void serve(h2o_req_t *req, void *context)
{
    listener_t *listener = context;
    exchange_t *exchange =
        exchange_new(req, &world.engine, &world.http, listener->routes, &world.access);
    bool was_cut = exchange->taking.connection->expectation.was_cut;
    if (!intake_admits(exchange))
        return;
    EXPECT(req->entity.len <= world.config.http.body_bytes_max);
    EXPECT(!was_cut || route_refuses(listener->routes, &world.access, req));
    route_dispatch(exchange);
}

static void open_listener(listener_t *listener)
{
    protocols_init(&listener->protocols, &world.loop, &world.config,
                   &(protocols_use_t){serve, refuses, listener});
}

static void prepare_world(void)
{
    if (world.node.config != NULL)
        return;
    signal(SIGPIPE, SIG_IGN); /* as the service does */
    log_set_level(LOG_LEVEL_ERROR + 1);
    order_id_set_key(STR("0123456789abcdef"));
    world.shard = (config_shard_t){.name = "s", .slot_first = 0, .slot_last = SLOT_COUNT - 1};
    world.config.shards = &world.shard;
    world.config.shards_count = 1;
    world.config.orders.quantity_max = 1000;
    world.config.http.idle_timeout_ms = 10000;
    world.config.http.body_bytes_max = 1024;
    world.config.http.http2 = true;
    world.config.admin.token = TOKEN;
    world.config.deployment = deployment_new(NULL);
    world.node.config = &world.config;
    world.node.shards = &world.node_shard;
    world.loops[0] = &world.engine;
    world.node.loops = world.loops;
    world.node.loops_count = 1;
    h2o_linklist_init_anchor(&world.engine.live);
    shard_map_init(&world.node.map, &world.config);
    world.http = (http_context_t){.config = &world.config,
                                  .map = &world.node.map,
                                  .shards = &world.node_shard,
                                  .gate_clock = &world.node.gate_clock,
                                  .gate_health = &world.node.gate_health,
                                  .readiness = readiness_new(1)};
    orders_in_hand_init(&world.node.in_hand);
    item_count_init(&world.item_count);
    world.admin = (admin_t){.incarnation = world.node.incarnation,
                            .item_counts = &world.item_count,
                            .loops_count = 1,
                            .reconcilers = &world.reconciler,
                            .durability = durability_new(&world.config),
                            .default_strategy = &world.default_strategy};
    world.admin_routes = admin_routes(&world.admin);
    char reason[CREDENTIALS_REASON_SIZE];
    access_init(&world.access, &world.http, credentials_load(&world.config, reason));
    loop_init(&world.loop, 0);
    connections_init(&world.connections, &world.loop, &world.config);
    world.engine.loop = &world.loop;
    world.engine.node = &world.node;
    expect_take_over();
    world.listeners[0] = (listener_t){.routes = &api_routes};
    world.listeners[1] = (listener_t){.routes = &world.admin_routes};
    open_listener(&world.listeners[0]);
    open_listener(&world.listeners[1]);
}

/* --- one connection --- */

static void drain(int fd)
{
    char bytes[65536];
    while (read(fd, bytes, sizeof(bytes)) > 0)
        ;
}

static void turn(int client)
{
    h2o_evloop_run(world.loop.h2o, 0);
    answer_all(false);
    drain(client);
}

static void say(int client, str_t bytes)
{
    while (bytes.n != 0) {
        ssize_t n = send(client, bytes.p, bytes.n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0)
            return; /* the server has had enough */
        bytes = (str_t){bytes.p + n, bytes.n - (size_t)n};
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input_t input = {data, size};
    prepare_world();
    listener_t *listener = &world.listeners[fuzz_take_byte(&input) & 1];
    size_t split = fuzz_take_byte(&input);
    str_t bytes = fuzz_take_rest(&input);
    int ends[2];
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    h2o_socket_t *socket = h2o_evloop_socket_create(world.loop.h2o, ends[0], 0);
    connection_open(&world.connections, socket);
    protocols_accept(&listener->protocols, socket);
    split = split > bytes.n ? bytes.n : split;
    say(ends[1], (str_t){bytes.p, split});
    turn(ends[1]);
    say(ends[1], (str_t){bytes.p + split, bytes.n - split});
    for (int i = 0; i < 3; ++i)
        turn(ends[1]);
    close(ends[1]);
    for (int i = 0; i < TURNS_MAX && world.connections.count != 0; ++i) {
        h2o_evloop_run(world.loop.h2o, 0);
        answer_all(i > 2);
    }
    EXPECT(world.connections.count == 0 && h2o_linklist_is_empty(&world.connections.quiet) &&
           h2o_linklist_is_empty(&world.connections.untaken));
    answer_all(true);
    end_jobs();
    return 0;
}
