/*
 * The blocking calls to the gate, fed with whatever a Redis might say: the input is what the
 * server sends, over a socket pair instead of a connection.
 *
 * Linked with --wrap=redisConnectUnixWithTimeout.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "fuzz/fuzz.h"
#include "gate/gate_sync.h"

/* A call that is refused connects anew for the next; at most so many calls are made. */
#define SERVER_ENDS_MAX 16

static item_ref_t item; /* that the calls are about */
static const char hello[] = "*3\r\n:1000000\r\n$3\r\nrun\r\n:1\r\n";
static str_t server_says;
static bool says_hello;
static int server_ends[SERVER_ENDS_MAX], server_ends_count;

redisContext *__wrap_redisConnectUnixWithTimeout(const char *path, const struct timeval timeout);

redisContext *__wrap_redisConnectUnixWithTimeout(const char *path, const struct timeval timeout)
{
    int ends[2];
    (void)path;
    (void)timeout;
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    if (says_hello)
        EXPECT(write(ends[1], hello, sizeof(hello) - 1) == (ssize_t)sizeof(hello) - 1);
    EXPECT(write(ends[1], server_says.p, server_says.n) == (ssize_t)server_says.n);
    shutdown(ends[1], SHUT_WR);
    EXPECT(server_ends_count < SERVER_ENDS_MAX);
    server_ends[server_ends_count++] = ends[1];
    return redisConnectFd(ends[0]);
}

static void check_record(const gate_record_t *record)
{
    EXPECT(record->quantity != 0 && record->sku.n >= 1 && record->sku.n <= SKU_BYTES_MAX);
    EXPECT(record->buyer.n >= 1 && record->buyer.n <= BUYER_BYTES_MAX);
    EXPECT(record->key.n <= KEY_BYTES_MAX && record->owner.n <= GATE_OWNER_MAX);
}

static void on_orphan(void *context, const order_id_t *id, const gate_record_t *record)
{
    char text[ORDER_ID_TEXT + 1];
    if (id == NULL) /* what stands there is no record */
        return;
    order_id_format(text, id);
    check_record(record);
    ++*(unsigned *)context;
}

/* As the reconciler does: who owns orders, does he live, which are his. */
static void read_orphans(gate_sync_t *gate)
{
    gate_owner_t owners[4];
    unsigned count = 0, orphans = 0;
    bool alive = false;
    result_t result = gate_sync_owners(gate, 7, owners, 4, &count);
    EXPECT(count <= 4 && (result == RESULT_DONE || count == 0));
    for (unsigned i = 0; i < count; ++i) {
        EXPECT(owners[i].length <= GATE_OWNER_MAX);
        gate_sync_is_alive(gate, &owners[i], &alive);
    }
    result = gate_sync_orphans(gate, 7, owners, count, 64, on_orphan, &orphans);
    EXPECT(result == RESULT_DONE || orphans == 0);
}

static void get_unsettled(gate_sync_t *gate)
{
    order_id_t id = {{1, 2, 3, 4, 5, 6, 0x70, 7, 0x80}};
    gate_record_t record;
    char *text = NULL;
    bool found;
    result_t result = gate_sync_unsettled_get(gate, &id, &record, &text, &found);
    EXPECT(!found || result == RESULT_DONE);
    if (found)
        check_record(&record);
    free(text);
}

static void get_ids(gate_sync_t *gate)
{
    order_id_t *ids = NULL;
    size_t count = 0;
    result_t result = gate_sync_unsettled_ids(gate, &item, &ids, &count);
    EXPECT(result == RESULT_DONE ? ids != NULL : count == 0);
    free(ids);
}

static void on_buyer(void *context, str_t buyer)
{
    (void)context;
    EXPECT(buyer.n <= BUYER_BYTES_MAX);
}

static void look(gate_sync_t *gate, unsigned which)
{
    gate_item_t answer;
    gate_state_t state;
    uint64_t epoch;
    bool flag;
    if (which == 0)
        gate_sync_peek(gate, &item, 5, &answer, &epoch);
    else if (which == 1)
        gate_sync_inspect(gate, &item, &state);
    else if (which == 2)
        get_ids(gate);
    else if (which == 3)
        get_unsettled(gate);
    else if (which == 4)
        read_orphans(gate);
    else if (which == 5)
        gate_sync_unsettled_buyers(gate, &item, on_buyer, NULL);
    else
        gate_sync_is_alive(gate, &(gate_owner_t){"owner", 5}, &flag);
}

static void change(gate_sync_t *gate, unsigned which)
{
    release_t release = {.item = item, .buyer = {1, "b"}, .quantity = 1};
    const item_terms_t terms = {.total = 5};
    const gate_rebuild_t rebuild = {.epoch = 9, .capacity = 5, .terms = &terms};
    const gate_buyers_t part = {&(str_t){"b", 1}, &(int64_t){3}, 1, 7};
    gate_renewed_t renewed = GATE_RENEW_LATER;
    gate_load_t load = GATE_LOADED;
    gate_release_t released = GATE_RELEASE_LATER;
    gate_rebuilt_t rebuilt = GATE_REBUILD_STAGING;
    int64_t unsettled;
    uint64_t epoch, until;
    bool frozen;
    if (which == 0) {
        gate_sync_release(gate, &release, 1, &released);
        EXPECT(released <= GATE_RELEASE_LATER);
    } else if (which == 1) {
        gate_sync_freeze(gate, &item, 100, &unsettled, &epoch, &until);
    } else if (which == 2) {
        until = 100;
        gate_sync_frozen(gate, &item, 9, 100, &until, &frozen, &unsettled);
    } else if (which == 3) {
        gate_sync_rebuild(gate, &item, &rebuild, &rebuilt);
        EXPECT(rebuilt <= GATE_REBUILD_STAGING);
    } else if (which == 4) {
        gate_sync_stage(gate, &item, 9, &part);
    } else if (which == 5) {
        gate_sync_renew(gate, &item, &rebuild, &renewed);
        EXPECT(renewed <= GATE_RENEW_UNFIT);
    } else if (which == 6) {
        gate_sync_load(gate, &item, 9, &part, 100, true, &load, &frozen);
        EXPECT(load <= GATE_LOAD_STALE);
    } else {
        gate_sync_thaw(gate, &item, 100);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static config_t config = {.redis = {.socket = "unused", .timeout_ms = 1000}};
    fuzz_input_t input = {data, size};
    unsigned which = fuzz_take_byte(&input) % 30;
    log_set_level(LOG_LEVEL_ERROR + 1);
    item = item_ref_of(STR("sku"));
    says_hello = which < 15;
    which %= 15;
    server_says = fuzz_take_rest(&input);
    gate_sync_t *gate = gate_sync_new(&config);
    for (int i = 0; i < 2; ++i) {
        if (which < 7)
            look(gate, which);
        else
            change(gate, which - 7);
    }
    gate_sync_free(gate);
    while (server_ends_count != 0)
        close(server_ends[--server_ends_count]);
    return 0;
}
