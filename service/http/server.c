#include "http/server.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "engine/engine.h"
#include "http/api.h"
#include "http/intake.h"
#include "http/listen.h"
#include "http/protocols.h"

/* During a drain: the interval of the checks, and how long an idle connection may still send a
   request. */
#define DRAIN_CHECK_MS 16
#define DRAIN_IDLE_MS 1000
/* Connections accepted in one turn of the loop. */
#define ACCEPT_BATCH 64

struct server_loop;

/* The listeners of a loop; the admin one is on the first loop only. */
typedef enum { LISTENER_PUBLIC, LISTENER_ADMIN, LISTENER_COUNT } listener_id_t;

typedef struct {
    struct server_loop *owner;
    int fd;
    h2o_socket_t *socket;
    protocols_t protocols;
    const routes_t *routes;
    bool open;
} listener_t;

typedef struct server_loop {
    server_t *server;
    unsigned index;
    loop_t loop;
    pthread_t thread;
    engine_loop_t *engine;
    access_t access;
    listener_t listeners[LISTENER_COUNT];
    int fds[LISTENER_COUNT];      /* -1: not on this loop */
    SSL_CTX *tls[LISTENER_COUNT]; /* NULL: no TLS; holds a reference */
    connections_t connections;
    uint64_t active_ms; /* monotonic: when the last request arrived */
    bool drained;       /* its connections send no new requests any more */
    loop_timer_t drain_timer;
    loop_message_t drain_message, end_message;
} server_loop_t;

struct server {
    node_t *node;
    const http_context_t *http;
    const routes_t *admin_routes;
    unsigned connections_max;
    unsigned loops_count;
    server_loop_t *loops;
    pthread_barrier_t engines; /* passed when each loop has its engine */
    h2o_sem_t signal; /* posted by each loop when it is set up, and again when it has drained */
};

/* --- requests --- */

static bool refuses(const h2o_req_t *head, void *context)
{
    const listener_t *listener = context;
    return route_refuses(listener->routes, &listener->owner->access, head);
}

static void serve(h2o_req_t *req, void *context)
{
    listener_t *listener = context;
    server_loop_t *owner = listener->owner;
    exchange_t *exchange =
        exchange_new(req, owner->engine, owner->server->http, listener->routes, &owner->access);
    const connection_t *connection = exchange->taking.connection;
    owner->active_ms = clock_mono_ms();
    if (owner->drained) /* the stores are being stopped */
        reply_problem(exchange, PROBLEM_UNAVAILABLE, "Shutting down");
    else if (connection->ended) /* read by libh2o before the connection was ended */
        reply_problem(exchange, PROBLEM_UNAVAILABLE, "The connection is ending");
    else if (intake_admits(exchange))
        route_dispatch(exchange);
}

/* --- connections --- */

static void accept_one(listener_t *listener, h2o_socket_t *socket)
{
    server_loop_t *owner = listener->owner;
    connection_t *connection = connection_open(&owner->connections, socket);
    if (METRIC_GET(http_connections) > (int64_t)owner->server->connections_max) {
        METRIC_INC(http_connections_refused_total);
        h2o_socket_close(socket);
        return;
    }
    if (listener->protocols.tls != NULL)
        connection_keep_tls(connection, listener->protocols.tls);
    protocols_accept(&listener->protocols, socket);
}

static void on_accept(h2o_socket_t *socket, const char *err)
{
    listener_t *listener = socket->data;
    h2o_socket_t *connection;
    if (err != NULL)
        return;
    for (int i = 0; i < ACCEPT_BATCH; ++i) {
        if ((connection = h2o_evloop_socket_accept(socket)) == NULL)
            return;
        accept_one(listener, connection);
    }
}

/* --- listeners --- */

static const config_tls_t *tls_files(const config_t *config, listener_id_t id)
{
    return id == LISTENER_PUBLIC ? &config->http.tls : &config->admin.tls;
}

static void open_listener(server_loop_t *owner, listener_id_t id, const routes_t *routes)
{
    listener_t *listener = &owner->listeners[id];
    if (owner->fds[id] < 0)
        return;
    listener->owner = owner;
    listener->fd = owner->fds[id];
    listener->routes = routes;
    protocols_init(&listener->protocols, &owner->loop, owner->server->http->config,
                   &(protocols_use_t){serve, refuses, listener});
    listener->protocols.tls = owner->tls[id];
    listener->socket =
        h2o_evloop_socket_create(owner->loop.h2o, listener->fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->socket->data = listener;
    listener->open = true;
    h2o_socket_read_start(listener->socket, on_accept);
}

/* Clients in the backlog are connected already: they are served, and not reset. */
static void close_listener(listener_t *listener)
{
    h2o_socket_t *connection;
    if (!listener->open)
        return;
    while ((connection = h2o_evloop_socket_accept(listener->socket)) != NULL)
        accept_one(listener, connection);
    h2o_socket_read_stop(listener->socket);
    h2o_socket_close(listener->socket);
    listener->open = false;
    protocols_request_shutdown(&listener->protocols);
}

/* --- a new certificate --- */

typedef struct {
    loop_message_t message;
    server_loop_t *owner;
    listener_id_t id;
    SSL_CTX *tls;
} renewal_t;

static void on_renewal(loop_message_t *message)
{
    renewal_t *renewal = H2O_STRUCT_FROM_MEMBER(renewal_t, message, message);
    SSL_CTX **tls = &renewal->owner->tls[renewal->id];
    SSL_CTX_free(*tls);
    *tls = renewal->tls;
    renewal->owner->listeners[renewal->id].protocols.tls = *tls;
    free(renewal);
}

static void renew(server_t *server, listener_id_t id, SSL_CTX *tls)
{
    for (unsigned i = 0; i < server->loops_count; ++i) {
        server_loop_t *owner = &server->loops[i];
        if (owner->fds[id] < 0)
            continue;
        renewal_t *renewal = alloc_bytes(sizeof(*renewal));
        SSL_CTX_up_ref(tls);
        *renewal =
            (renewal_t){.message = {.run = on_renewal}, .owner = owner, .id = id, .tls = tls};
        loop_post(&owner->loop, &renewal->message);
    }
}

static void load_again(server_t *server, listener_id_t id)
{
    char reason[LISTEN_REASON_SIZE];
    const config_t *config = server->http->config;
    const config_tls_t *files = tls_files(config, id);
    if (files->certificate_file == NULL)
        return;
    SSL_CTX *tls = listen_tls(files, config->http.http2, reason);
    if (tls == NULL) {
        LOG_ALWAYS(LOG_LEVEL_ERROR, "the new certificate cannot be used; the old one stays in use",
                   LOG_STR("certificate", files->certificate_file), LOG_STR("key", files->key_file),
                   LOG_STR("error", reason));
        return;
    }
    renew(server, id, tls);
    SSL_CTX_free(tls);
    LOG_ALWAYS(LOG_LEVEL_INFO, "the certificate was loaded again; new connections use it",
               LOG_STR("certificate", files->certificate_file));
}

void server_renew_tls(server_t *server)
{
    for (listener_id_t id = LISTENER_PUBLIC; id < LISTENER_COUNT; ++id)
        load_again(server, id);
}

/* --- new tokens --- */

typedef struct {
    loop_message_t message;
    access_t *access;
    credentials_t *credentials;
} replacement_t;

static void on_replacement(loop_message_t *message)
{
    replacement_t *replacement = H2O_STRUCT_FROM_MEMBER(replacement_t, message, message);
    access_renew(replacement->access, replacement->credentials);
    free(replacement);
}

void server_renew_credentials(server_t *server, credentials_t *credentials)
{
    for (unsigned i = 0; i < server->loops_count; ++i) {
        replacement_t *replacement = alloc_bytes(sizeof(*replacement));
        *replacement = (replacement_t){.message = {.run = on_replacement},
                                       .access = &server->loops[i].access,
                                       .credentials = credentials_hold(credentials)};
        loop_post(&server->loops[i].loop, &replacement->message);
    }
}

/* --- draining --- */

static void check_again(server_loop_t *owner, void (*check)(loop_timer_t *))
{
    loop_timer_start(&owner->loop, &owner->drain_timer, DRAIN_CHECK_MS, check);
}

static void on_drain_timer(loop_timer_t *timer)
{
    server_loop_t *owner = H2O_STRUCT_FROM_MEMBER(server_loop_t, drain_timer, timer);
    bool silent =
        owner->connections.count == 0 || clock_mono_ms() - owner->active_ms > DRAIN_IDLE_MS;
    owner->drained = silent && engine_loop_is_idle(owner->engine);
    if (owner->drained)
        h2o_sem_post(&owner->server->signal);
    else
        check_again(owner, on_drain_timer);
}

static void on_idle_timer(loop_timer_t *timer)
{
    server_loop_t *owner = H2O_STRUCT_FROM_MEMBER(server_loop_t, drain_timer, timer);
    if (engine_loop_is_idle(owner->engine))
        h2o_sem_post(&owner->server->signal);
    else
        check_again(owner, on_idle_timer);
}

static void on_drain(loop_message_t *message)
{
    server_loop_t *owner = H2O_STRUCT_FROM_MEMBER(server_loop_t, drain_message, message);
    for (listener_id_t id = LISTENER_PUBLIC; id < LISTENER_COUNT; ++id)
        close_listener(&owner->listeners[id]);
    order_waits_close(owner->engine);
    owner->active_ms = clock_mono_ms();
    check_again(owner, on_drain_timer);
}

static void on_idle(loop_message_t *message)
{
    check_again(H2O_STRUCT_FROM_MEMBER(server_loop_t, drain_message, message), on_idle_timer);
}

static void wait_for_all(server_t *server)
{
    for (unsigned i = 0; i < server->loops_count; ++i)
        h2o_sem_wait(&server->signal);
}

static void run_on_all(server_t *server, void (*run)(loop_message_t *))
{
    for (unsigned i = 0; i < server->loops_count; ++i) {
        server->loops[i].drain_message.run = run;
        loop_post(&server->loops[i].loop, &server->loops[i].drain_message);
    }
    wait_for_all(server);
}

void server_drain(server_t *server)
{
    run_on_all(server, on_drain);
}

void server_await_idle(server_t *server)
{
    run_on_all(server, on_idle);
}

static void on_end(loop_message_t *message)
{
    H2O_STRUCT_FROM_MEMBER(server_loop_t, end_message, message)->loop.stop = true;
}

/* --- the whole --- */

/* h2o's buffers belong to the thread that made them, so all data of a loop is made and freed
   here. */
static void *loop_thread(void *arg)
{
    server_loop_t *owner = arg;
    loop_init(&owner->loop, owner->index);
    connections_init(&owner->connections, &owner->loop, owner->server->http->config);
    FAILPOINT("loop_starting");
    owner->engine = engine_loop_new(&owner->loop, owner->server->node);
    owner->server->node->loops[owner->index] = owner->engine;
    /* The first request may post to the other loops, so all engines must exist before it. */
    pthread_barrier_wait(&owner->server->engines);
    open_listener(owner, LISTENER_PUBLIC, &api_routes);
    open_listener(owner, LISTENER_ADMIN, owner->server->admin_routes);
    h2o_sem_post(&owner->server->signal);
    loop_run(&owner->loop);
    connections_dispose(&owner->connections);
    for (listener_id_t id = LISTENER_PUBLIC; id < LISTENER_COUNT; ++id)
        SSL_CTX_free(owner->tls[id]);
    access_dispose(&owner->access);
    /* The memory of h2o's contexts and of connections that are still open is not freed: the process
       ends. */
    engine_loop_free(owner->engine);
    return NULL;
}

static bool open_sockets(server_t *server, int *public_fds, int *admin_fd)
{
    const config_t *config = server->http->config;
    if (!listen_check_free(&config->http.listen) || !listen_check_free(&config->admin.listen))
        return false;
    for (unsigned i = 0; i < server->loops_count; ++i)
        if ((public_fds[i] = listen_open(&config->http.listen)) < 0)
            return false;
    return (*admin_fd = listen_open(&config->admin.listen)) >= 0;
}

static unsigned count_loops(const config_t *config)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (config->http.threads != 0)
        return config->http.threads;
    return cores < 1 ? 1 : (unsigned)cores;
}

/* Descriptors that the process needs besides those of its clients: a connection to Redis and two to
   MySQL for each pool thread, those of the writers and of `watch`, and some more. */
static rlim_t own_descriptors(const config_t *config, unsigned loops)
{
    return 256 + loops * (config->redis.watch_connections + 8) +
           config->shards_count *
               (3 * config->mysql.pool_threads + config->mysql.writer_threads + 8);
}

/* Clients must never take the last descriptors: without one accept(2) fails for ever, and so does
   every new connection to Redis and MySQL. */
static unsigned count_connections_max(const config_t *config, unsigned loops)
{
    struct rlimit limit;
    rlim_t own = own_descriptors(config, loops), wanted = own + config->http.connections_max;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return config->http.connections_max;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted)
        return config->http.connections_max;
    unsigned left = limit.rlim_cur > own ? (unsigned)(limit.rlim_cur - own) : 1;
    LOG_WARN("the limit of open files allows fewer connections than http.connections_max",
             LOG_INT("open_files_max", limit.rlim_max),
             LOG_INT("connections_max", config->http.connections_max), LOG_INT("allowed", left));
    return left;
}

/* NULL in `tls`: the configuration has no TLS for that listener. The caller frees both. */
static bool load_tls(const config_t *config, SSL_CTX *tls[LISTENER_COUNT])
{
    char reason[LISTEN_REASON_SIZE];
    for (listener_id_t id = LISTENER_PUBLIC; id < LISTENER_COUNT; ++id) {
        const config_tls_t *files = tls_files(config, id);
        tls[id] = NULL;
        if (files->certificate_file == NULL ||
            (tls[id] = listen_tls(files, config->http.http2, reason)) != NULL)
            continue;
        fprintf(stderr, "holdfast: cannot use certificate %s with key %s: %s\n",
                files->certificate_file, files->key_file, reason);
        return false; /* the process ends */
    }
    return true;
}

static void init_loop(server_t *server, unsigned index, int public_fd, int admin_fd,
                      SSL_CTX *const tls[LISTENER_COUNT], credentials_t *credentials)
{
    server_loop_t *owner = &server->loops[index];
    owner->server = server;
    owner->index = index;
    owner->fds[LISTENER_PUBLIC] = public_fd;
    owner->fds[LISTENER_ADMIN] = index == 0 ? admin_fd : -1;
    access_init(&owner->access, server->http, credentials_hold(credentials));
    for (listener_id_t id = LISTENER_PUBLIC; id < LISTENER_COUNT; ++id)
        if (tls[id] != NULL && owner->fds[id] >= 0) {
            SSL_CTX_up_ref(tls[id]);
            owner->tls[id] = tls[id];
        }
}

server_t *server_open(node_t *node, const http_context_t *http, const routes_t *admin_routes,
                      credentials_t *credentials)
{
    SSL_CTX *tls[LISTENER_COUNT];
    server_t *server = alloc_zero(1, sizeof(*server));
    expect_take_over();
    server->node = node;
    server->http = http;
    server->admin_routes = admin_routes;
    server->loops_count = count_loops(http->config);
    server->connections_max = count_connections_max(http->config, server->loops_count);
    server->loops = alloc_zero(server->loops_count, sizeof(*server->loops));
    int *fds = alloc_zero(server->loops_count, sizeof(*fds)), admin_fd;
    node->loops = alloc_zero(server->loops_count, sizeof(*node->loops));
    node->loops_count = server->loops_count;
    announcements_init(&node->announcements, server->loops_count);
    if (!load_tls(http->config, tls) || !open_sockets(server, fds, &admin_fd)) {
        free(fds);
        return NULL; /* the process ends */
    }
    for (unsigned i = 0; i < server->loops_count; ++i)
        init_loop(server, i, fds[i], admin_fd, tls, credentials);
    for (listener_id_t id = LISTENER_PUBLIC; id < LISTENER_COUNT; ++id)
        SSL_CTX_free(tls[id]);
    h2o_sem_init(&server->signal, 0);
    pthread_barrier_init(&server->engines, NULL, server->loops_count);
    free(fds);
    return server;
}

void server_start(server_t *server)
{
    for (unsigned i = 0; i < server->loops_count; ++i)
        h2o_multithread_create_thread(&server->loops[i].thread, NULL, loop_thread,
                                      &server->loops[i]);
    wait_for_all(server);
}

void server_end(server_t *server)
{
    for (unsigned i = 0; i < server->loops_count; ++i) {
        server->loops[i].end_message.run = on_end;
        loop_post(&server->loops[i].loop, &server->loops[i].end_message);
        pthread_join(server->loops[i].thread, NULL);
    }
    h2o_sem_destroy(&server->signal);
    pthread_barrier_destroy(&server->engines);
}
